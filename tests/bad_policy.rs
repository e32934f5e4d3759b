//! Policies, requests and changes that can't be: a clear error for each, and nothing changed.

use harness::file::{Patch, offset};
use harness::{Arena, Dice, Puppet, policy, shared_dir};
use shm_lib::limit::{MAX_GREEDY, MAX_PERMITS};
use shm_lib::{Cost, Error, ErrorKind, Limit, OnMismatch, Policy, Rate, RateLimit, Start, Unit};
use std::path::Path;
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const SECOND: Duration = Duration::from_secs(1);

fn open_in(dir: &Path, policy: &str, permits: u64) -> RateLimit {
    RateLimit::builder("x").directory(dir).open_policy(policy::parse(policy, permits)).expect(policy)
}

fn invalid<T: std::fmt::Debug>(result: Result<T, Error>, words: &str) {
    refused(result, ErrorKind::InvalidInput, words);
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>, kind: ErrorKind, words: &str) {
    let e = result.expect_err(words);
    assert_eq!(e.kind(), kind, "{e}");
    assert!(e.to_string().contains(words), "{words:?} is not in: {e}");
}

fn per_second(max: u64) -> Rate {
    Rate::new(max, SECOND).unwrap()
}

#[test]
fn policies_that_cannot_be_kept_are_refused() {
    let one = Limit::patient(per_second(5));
    invalid(Policy::new(&[]), "needs a limit");
    invalid(Policy::new(&[one; 5]), "at most 4");
    assert_eq!(Policy::new(&[one; 4]).unwrap().limits().count(), 4);
    for n in [0, MAX_PERMITS + 1, u32::MAX] {
        invalid(Policy::from(one).with_permits(n), "choose 1 to 65535");
    }
    Policy::from(one).with_permits(MAX_PERMITS).unwrap();

    invalid(Limit::greedy(per_second(MAX_GREEDY + 1)), "sliding counter");
    invalid(Limit::greedy(per_second(MAX_GREEDY + 1)), "1048576");
    Limit::greedy(per_second(MAX_GREEDY)).unwrap();
    let year = Rate::new(1 << 49, 366 * 86_400 * SECOND).unwrap();
    invalid(Limit::sliding_counter(year), "can count to");
    invalid(Limit::fixed_window(year, Start::Epoch), "can count to");

    let guard = Duration::from_millis(5);
    invalid(one.guarded(guard), "only a greedy limit");
    invalid(Limit::sliding_counter(per_second(5)).unwrap().guarded(guard), "only a greedy limit");
    let greedy = Limit::greedy(per_second(5)).unwrap();
    invalid(greedy.guarded(2 * SECOND), "longer than the period");
    greedy.guarded(guard).unwrap();

    for name in ["", "calls", "two words", "naïve", "x".repeat(25).as_str(), "a/b"] {
        invalid(Unit::named(name), "is not a valid unit");
    }

    // The same by the builder, and nothing is created.
    let dir = shared_dir();
    let build = || RateLimit::builder("x").directory(dir.path());
    invalid(build().permits(0).open(5, SECOND), "choose 1 to");
    invalid(build().permits(0).open_permits(), "choose 1 to");
    invalid(build().open_permits(), "needs permits");
    invalid(build().permits(65_536).open(5, SECOND), "choose 1 to");
    invalid(build().greedy().open(MAX_GREEDY + 1, SECOND), "sliding counter");
    invalid(build().and(one).and(one).and(one).and(one).open(5, SECOND), "5 limits are too many");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn requests_say_what_is_counted_and_nothing_else() {
    let [tokens, bytes] = ["tokens", "bytes"].map(|name| Unit::named(name).unwrap());
    let dir = shared_dir();
    let limit = open_in(dir.path(), "bucket:10/366d:10+greedy:1000/366d@tokens", 2);
    let ask = |request: Cost| limit.try_acquire(request);
    invalid(ask(Cost::one()), "say how many");
    invalid(limit.try_acquire(1), "tokens");
    invalid(limit.wait(), "tokens");
    invalid(ask(Cost::one().and(tokens, 1).and(bytes, 1)), "no limit counts bytes");
    invalid(ask(Cost::from(0).and(tokens, 0)), "cannot acquire 0");
    invalid(limit.reserve(1), "say how many");
    invalid(limit.schedule(1, 3), "tokens");
    invalid(limit.schedule(1, 0), "0 requests");
    for request in [Cost::from(11).and(tokens, 1), Cost::one().and(tokens, 1_001)] {
        refused(ask(request), ErrorKind::NeverAdmissible, "can never be admitted");
        refused(limit.acquire(request).wait(), ErrorKind::NeverAdmissible, "can never be admitted");
    }
    // None of that took anything.
    assert!(limit.peek().unwrap().limits.iter().all(|seen| seen.used == 0));
    assert_eq!(limit.inspect().unwrap().permits_held, 0);
    assert!(ask(Cost::from(10).and(tokens, 1_000)).unwrap().is_admitted());

    let dir = shared_dir();
    let calls = open_in(dir.path(), "bucket:10/366d:10", 0);
    invalid(calls.try_acquire(Cost::one().and(tokens, 1)), "no limit counts tokens");
    invalid(calls.try_acquire(0), "cannot acquire 0");
    assert!(calls.try_acquire(10).unwrap().is_admitted());
}

#[test]
fn an_admission_is_settled_once_and_a_turn_given_back_once() {
    let dir = shared_dir();
    let limit = open_in(dir.path(), "bucket:100/366d:100+fixed:100/366d", 0);
    let used = || limit.peek().unwrap().used;
    let mut admission = limit.try_acquire(10).unwrap().admission().unwrap();
    limit.settle(&mut admission, 4).unwrap();
    assert_eq!(used(), 4);
    invalid(limit.settle(&mut admission, 1), "settled before");
    assert_eq!(used(), 4);
    // More than it can admit at once is a debt like any other.
    let mut admission = limit.try_acquire(1).unwrap().admission().unwrap();
    limit.settle(&mut admission, 30).unwrap();
    assert_eq!(used(), 34);

    for policy in ["bucket:100/366d:100", "bucket:100/366d:100+fixed:100/366d", "greedy:100/366d"] {
        let dir = shared_dir();
        let limit = open_in(dir.path(), policy, 0);
        let used = || limit.peek().unwrap().used;
        assert!(limit.reserve(5).unwrap().cancel(), "{policy}");
        assert_eq!(used(), 0, "{policy}: cancelled");
        drop(limit.reserve(5).unwrap());
        assert_eq!(used(), 0, "{policy}: dropped");
        drop(limit.reserve(5).unwrap().commit().unwrap());
        assert_eq!(used(), 5, "{policy}: used");
    }
}

#[test]
fn opening_with_another_policy_shows_both() {
    let dir = shared_dir();
    let there = "bucket:5/s:10+fixed:100/m@tokens";
    let limit = open_in(dir.path(), there, 3);
    for (other, permits) in [
        (there, 4),
        (there, 0),
        ("bucket:5/s:10", 3),
        ("bucket:5/s:10+fixed:100/m", 3),
        ("bucket:5/s:10+sliding:100/m@tokens", 3),
        ("fixed:100/m@tokens+bucket:5/s:10", 3),
    ] {
        let asked = policy::parse(other, permits);
        let result = RateLimit::builder("x").directory(dir.path()).open_policy(asked);
        let e = result.expect_err(other);
        assert_eq!(e.kind(), ErrorKind::Mismatch, "{e}");
        for policy in [asked, policy::parse(there, 3)] {
            assert!(e.to_string().contains(&policy.to_string()), "{policy} is not in: {e}");
        }
    }
    open_in(dir.path(), there, 3);
    let kept = RateLimit::builder("x").directory(dir.path()).on_mismatch(OnMismatch::Keep);
    assert_eq!(kept.open(1, SECOND).unwrap().policy().unwrap(), limit.policy().unwrap());
    assert_eq!(limit.inspect().unwrap().changes, 0);
}

/// A file has the room that it was made with.
#[test]
fn a_change_that_does_not_fit_the_file_is_refused_and_changes_nothing() {
    for (there, permits, asked, more, words) in [
        ("bucket:5/s:10", 0, "bucket:5/s:10+bucket:5/s", 0, "a single bucket"),
        ("bucket:5/s:10", 0, "greedy:5/s", 0, "a single bucket"),
        ("bucket:5/s:10", 0, "bucket:5/s:10@tokens", 0, "a single bucket"),
        ("bucket:5/s:10", 0, "bucket:5/s:10", 65, "at most 64 permits"),
        ("bucket:5/s:10", 3, "bucket:5/s:10", 65, "at most 64 permits"),
        ("greedy:100/s", 0, "greedy:1025/s", 0, "at most 1024"),
        ("fixed:100/s", 0, "greedy:100/s", 0, "at most 0"),
        ("greedy:100/s", 0, "fixed:100/s+greedy:5/s", 0, "limit 2 has room"),
    ] {
        let dir = shared_dir();
        let limit = open_in(dir.path(), there, permits);
        let before = limit.policy().unwrap();
        invalid(limit.change_policy(policy::parse(asked, more)), words);
        invalid(limit.change_policy(policy::parse(asked, more)), "create x --replace");
        let changing = RateLimit::builder("x").directory(dir.path()).on_mismatch(OnMismatch::Change);
        invalid(changing.open_policy(policy::parse(asked, more)), words);
        assert_eq!((limit.policy().unwrap(), limit.inspect().unwrap().changes), (before, 0));
    }
    // What fits goes through.
    let dir = shared_dir();
    let limit = open_in(dir.path(), "greedy:100/s", 3);
    for (policy, permits) in [("greedy:1024/s", 64), ("sliding:5000/s+fixed:5/s", 0), ("greedy:7/s", 1)] {
        limit.change_policy(policy::parse(policy, permits)).expect(policy);
        assert!(limit.try_acquire(1).unwrap().is_admitted(), "{policy}");
    }
    // A rate that this kind can't have.
    invalid(limit.change(MAX_GREEDY + 1, SECOND), "sliding counter");
    invalid(limit.change(1_025, SECOND), "at most 1024");
}

/// Where a record limiter of four seats has its parts: two cells for each seat, and two for changes.
const CELLS: u64 = offset::FIRST_SEAT + 4 * 256;
const RINGS: u64 = CELLS + (10 + 64) * 448;
const PERMITS: u64 = RINGS + 1_024 * 8;
const LINE: u64 = PERMITS + 64 * 8;
const END: u64 = LINE + 64 + 64 * 128;
const STATE: u64 = offset::GENERATIONS + offset::GENERATION_SIZE + offset::GENERATION_STATE;

fn arena() -> Arena {
    let policy = "greedy:100/100ms+bucket:5000/s:50+sliding:300/100ms+fixed:400/100ms";
    Arena::with_policy(policy, 8).seats(4)
}

/// Answers in time, whatever the answer.
fn told(puppet: &mut Puppet, order: &str) -> String {
    let began = Instant::now();
    let answer = puppet.ask(order);
    assert!(began.elapsed() < Duration::from_secs(10), "{order} took {:?}: {answer}", began.elapsed());
    answer
}

/// Any operation on any rubbish: an error, or an answer in time; no panic, no hang, no long sleep.
#[test]
fn rubbish_in_the_parts_of_a_record_is_survived() {
    let mut dice = Dice::new();
    for round in 0..150 {
        let arena = arena();
        let limit = arena.open();
        assert_eq!(std::fs::metadata(limit.path()).unwrap().len(), END);
        let mut early = Puppet::new(WORKER, &arena.job("puppet"));
        early.must("attach");
        early.ask("hold");
        let patch = Patch::of(&arena.file());
        for _ in 0..[1, 3, 30, 1_000][round % 4] {
            let generation = offset::GENERATIONS + offset::GENERATION_SIZE * dice.roll(8);
            let at = match dice.roll(7) {
                0 => STATE,
                1 => generation + 8 * dice.roll(offset::GENERATION_SIZE / 8),
                2 => offset::EPOCH + 8 * dice.roll(9),
                3 => CELLS + 8 * dice.roll((RINGS - CELLS) / 8),
                4 => RINGS + 8 * dice.roll(100),
                5 => PERMITS + 8 * dice.roll(64),
                _ => offset::EPOCH + 8 * dice.roll((END - offset::EPOCH) / 8),
            };
            patch.set(at, dice.roll(u64::MAX) >> dice.roll(64));
        }
        let mut late = Puppet::new(WORKER, &arena.job("puppet"));
        let joined = late.ask("attach") == "ok";
        #[rustfmt::skip]
        let orders = [
            "try", "wait-ms 5", "peek", "inspect", "attached", "stats", "held", "hold", "hold-ms 5", "release-all",
            "reserve", "schedule 3", "settle", "charge 3", "change 50 100000000", "try", "reset", "try", "pause-ms 1",
            "wait-ms 5", "take 3", "fork", "child try", "child release-all", "retire",
        ];
        for order in orders {
            told(&mut early, order);
            if joined {
                told(&mut late, order);
            }
        }
    }
}

/// The first thing that a process does with it may be a change, as the command does.
#[test]
fn a_change_can_be_the_first_request_of_a_process() {
    for order in ["change 7 1000000000", "reset", "pause-ms 1", "retire"] {
        let arena = arena();
        let _limit = arena.open();
        let mut puppet = Puppet::new(WORKER, &arena.job("puppet"));
        puppet.must("join");
        assert_eq!(told(&mut puppet, order), "ok");
    }
}

/// What is not the configuration is forgotten by a reset, damage and all: afterwards the limits are kept, and all that
/// they allow is delivered.
fn reset_clears(from: u64, to: u64) {
    let mut dice = Dice::new();
    for round in 0..5 {
        let arena = arena();
        let limit = arena.open();
        let _ = limit.try_acquire(1).unwrap();
        let patch = Patch::of(&arena.file());
        for at in (from..to).step_by(8) {
            patch.set(at, dice.roll(u64::MAX) >> dice.roll(64));
        }
        limit.reset().unwrap_or_else(|e| panic!("round {round}: {e}"));
        assert_eq!(limit.inspect().unwrap().permits_held, 0, "round {round}");
        let until = Instant::now() + Duration::from_millis(450);
        let mut times = Vec::new();
        while Instant::now() < until {
            let outcome = limit.acquire(1).timeout(Duration::from_millis(50)).wait().unwrap();
            times.extend(outcome.admission().map(|admission| (1, admission.at().as_nanos())));
        }
        arena.assert_all_kept(&times);
        assert!(times.len() >= 300, "round {round}: only {} in 450 ms at 100/100ms", times.len());
    }
}

#[test]
fn a_reset_clears_damaged_permits() {
    reset_clears(PERMITS, LINE);
}

#[test]
fn a_reset_clears_a_damaged_line() {
    reset_clears(LINE, END);
}

#[test]
fn a_reset_clears_damaged_turns() {
    reset_clears(offset::TURNS, offset::FIRST_SEAT);
}

#[test]

fn a_reset_clears_a_damaged_state() {
    reset_clears(STATE, STATE + 8);
}

#[test]
fn a_reset_clears_damaged_records() {
    reset_clears(CELLS, RINGS);
}

#[test]

fn a_reset_clears_damaged_rings() {
    reset_clears(RINGS, PERMITS);
}
