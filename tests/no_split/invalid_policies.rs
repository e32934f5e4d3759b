//! Invalid policies, requests and changes: a clear error for each, and nothing changed.

use harness::{Arena, RemoteWorker, policy, shared_dir};
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
fn invalid_policies_are_refused() {
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
    invalid(Limit::sliding_counter(year), "counts at most");
    invalid(Limit::fixed_window(year, Start::Epoch), "counts at most");

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
fn a_request_must_name_exactly_the_counted_units() {
    let [tokens, bytes] = ["tokens", "bytes"].map(|name| Unit::named(name).unwrap());
    let dir = shared_dir();
    let limit = open_in(dir.path(), "bucket:10/366d:10+greedy:1000/366d@tokens", 2);
    let ask = |request: Cost| limit.try_acquire(request);
    invalid(ask(Cost::one()), "state the amount");
    invalid(limit.try_acquire(1), "tokens");
    invalid(limit.wait(), "tokens");
    invalid(ask(Cost::one().and(tokens, 1).and(bytes, 1)), "no limit counts bytes");
    invalid(ask(Cost::from(0).and(tokens, 0)), "cannot acquire 0");
    invalid(limit.reserve(1), "state the amount");
    invalid(limit.schedule(1, 3), "tokens");
    invalid(limit.schedule(1, 0), "0 requests");
    for request in [Cost::from(11).and(tokens, 1), Cost::one().and(tokens, 1_001)] {
        refused(ask(request), ErrorKind::NeverAdmissible, "can never be admitted");
        refused(limit.acquire(request).wait(), ErrorKind::NeverAdmissible, "can never be admitted");
    }
    // None of that took anything.
    assert!(limit.status().unwrap().limits.iter().all(|seen| seen.used == 0));
    assert_eq!(limit.inspect().unwrap().permits_held, 0);
    assert!(ask(Cost::from(10).and(tokens, 1_000)).unwrap().is_admitted());

    let dir = shared_dir();
    let calls = open_in(dir.path(), "bucket:10/366d:10", 0);
    invalid(calls.try_acquire(Cost::one().and(tokens, 1)), "no limit counts tokens");
    invalid(calls.try_acquire(0), "cannot acquire 0");
    assert!(calls.try_acquire(10).unwrap().is_admitted());
}

#[test]
fn an_admission_is_settled_once_and_a_reservation_cancelled_once() {
    let dir = shared_dir();
    let limit = open_in(dir.path(), "bucket:100/366d:100+fixed:100/366d", 0);
    let used = || limit.status().unwrap().used;
    let mut admission = limit.try_acquire(10).unwrap().admission().unwrap();
    limit.settle(&mut admission, 4).unwrap();
    assert_eq!(used(), 4);
    invalid(limit.settle(&mut admission, 1), "already settled");
    assert_eq!(used(), 4);
    // More than it can admit at once is a debt like any other.
    let mut admission = limit.try_acquire(1).unwrap().admission().unwrap();
    limit.settle(&mut admission, 30).unwrap();
    assert_eq!(used(), 34);

    for policy in ["bucket:100/366d:100", "bucket:100/366d:100+fixed:100/366d", "greedy:100/366d"] {
        let dir = shared_dir();
        let limit = open_in(dir.path(), policy, 0);
        let used = || limit.status().unwrap().used;
        assert!(limit.reserve(5).unwrap().cancel(), "{policy}");
        assert_eq!(used(), 0, "{policy}: cancelled");
        drop(limit.reserve(5).unwrap());
        assert_eq!(used(), 0, "{policy}: dropped");
        drop(limit.reserve(5).unwrap().commit().unwrap());
        assert_eq!(used(), 5, "{policy}: used");
    }
}

#[test]
fn a_policy_mismatch_shows_both_policies() {
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

/// The command changes a limiter without any other request before.
#[test]
fn a_change_works_as_the_first_request_of_a_process() {
    for order in ["change 7 1000000000", "reset", "pause-ms 1", "retire"] {
        let policy = "greedy:100/100ms+bucket:5000/s:50+sliding:300/100ms+fixed:400/100ms";
        let arena = Arena::with_policy(policy, 8).seats(4);
        let _limit = arena.open();
        let mut worker = RemoteWorker::new(WORKER, &arena.job("remote"));
        worker.expect_ok("join");
        let began = Instant::now();
        worker.expect_ok(order);
        assert!(began.elapsed() < Duration::from_secs(10), "{order} took {:?}", began.elapsed());
    }
}
