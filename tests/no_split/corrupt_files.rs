//! Files whose words were overwritten while they are in use: errors or bounded answers, and a reset clears the damage.
//! (For longer, and all the time: `tests/fuzz`.)

use harness::file::{Patch, offset};
use harness::{Arena, RemoteWorker, Rng, shared_dir};
use shm_lib::{ErrorKind, RateLimit, Start};
use std::path::Path;
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const HOUR: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);

/// Where a record limiter of four seats has its parts: two cells for each seat, and two for changes.
const CELLS: u64 = offset::FIRST_SEAT + 4 * 256;
const RINGS: u64 = CELLS + (10 + 64) * 448;
const PERMITS: u64 = RINGS + 1_024 * 8;
const LINE: u64 = PERMITS + 64 * 8;
const END: u64 = LINE + 64 + 64 * 128;
const STATE: u64 = offset::GENERATIONS + offset::GENERATION_SIZE + offset::GENERATION_STATE;

fn builder(dir: &Path) -> shm_lib::Builder {
    RateLimit::builder("r").directory(dir).on_lost(shm_lib::OnLost::Error)
}

fn arena() -> Arena {
    let policy = "greedy:100/100ms+bucket:5000/s:50+sliding:300/100ms+fixed:400/100ms";
    Arena::with_policy(policy, 8).seats(4)
}

/// Answers in time, whatever the answer.
fn answer_in_time(worker: &mut RemoteWorker, order: &str) -> String {
    let began = Instant::now();
    let answer = worker.ask(order);
    assert!(began.elapsed() < Duration::from_secs(10), "{order} took {:?}: {answer}", began.elapsed());
    answer
}

/// Random words over everything but the header, while the limiter is in use and before it is opened: errors or decisions, but no
/// crash, no endless loop, no long sleep.
#[test]
fn operations_survive_random_words_in_the_file() {
    let mut rng = Rng::new();
    for round in 0..150 {
        let arena = Arena::new("1000/s", 5).seats(4);
        drop(arena.open());
        let mut early = RemoteWorker::new(WORKER, &arena.job("remote"));
        early.expect_ok("attach");
        let patch = Patch::of(&arena.file());
        let size = patch.bytes().len() as u64;
        let first = offset::GENERATIONS + offset::GENERATION_SIZE;
        // From a few words to all of them; some small numbers, since large ones are found out sooner.
        let count = [1, 3, 20, 2_000][round % 4];
        for _ in 0..count {
            let hot = [offset::EPOCH, first + offset::GENERATION_STATE];
            let at = match rng.below(4) {
                0 => hot[rng.below(2) as usize],
                1 => first + 8 * rng.below(offset::GENERATION_SIZE / 8),
                _ => offset::EPOCH + 8 * rng.below((size - offset::EPOCH) / 8),
            };
            let word = rng.below(u64::MAX) >> rng.below(64);
            patch.set(at, word);
        }
        let began = Instant::now();
        let mut late = RemoteWorker::new(WORKER, &arena.job("remote"));
        let joined = late.ask("attach") == "ok";
        for order in [
            "try",
            "wait-ms 5",
            "status",
            "inspect",
            "attached",
            "stats",
            "change 5 1000000",
            "try",
            "reset",
            "try",
            "pause-ms 1",
            "wait-ms 5",
            "take 3",
            "fork",
            "child try",
            "retire",
        ] {
            early.ask(order);
            if joined {
                late.ask(order);
            }
        }
        assert!(began.elapsed() < Duration::from_secs(20), "round {round} took {:?}", began.elapsed());
    }
}

/// Any operation on any damage: an error, or an answer in time; no panic, no hang, no long sleep.
#[test]
fn operations_survive_random_words_in_records() {
    let mut rng = Rng::new();
    for round in 0..150 {
        let arena = arena();
        let limit = arena.open();
        assert_eq!(std::fs::metadata(limit.path()).unwrap().len(), END);
        let mut early = RemoteWorker::new(WORKER, &arena.job("remote"));
        early.expect_ok("attach");
        early.ask("hold");
        let patch = Patch::of(&arena.file());
        for _ in 0..[1, 3, 30, 1_000][round % 4] {
            let generation = offset::GENERATIONS + offset::GENERATION_SIZE * rng.below(8);
            let at = match rng.below(7) {
                0 => STATE,
                1 => generation + 8 * rng.below(offset::GENERATION_SIZE / 8),
                2 => offset::EPOCH + 8 * rng.below(9),
                3 => CELLS + 8 * rng.below((RINGS - CELLS) / 8),
                4 => RINGS + 8 * rng.below(100),
                5 => PERMITS + 8 * rng.below(64),
                _ => offset::EPOCH + 8 * rng.below((END - offset::EPOCH) / 8),
            };
            patch.set(at, rng.below(u64::MAX) >> rng.below(64));
        }
        let mut late = RemoteWorker::new(WORKER, &arena.job("remote"));
        let joined = late.ask("attach") == "ok";
        #[rustfmt::skip]
        let orders = [
            "try", "wait-ms 5", "status", "inspect", "attached", "stats", "held", "hold", "hold-ms 5", "release-all",
            "reserve", "schedule 3", "settle", "charge 3", "change 50 100000000", "try", "reset", "try", "pause-ms 1",
            "wait-ms 5", "take 3", "fork", "child try", "child release-all", "retire",
        ];
        for order in orders {
            answer_in_time(&mut early, order);
            if joined {
                answer_in_time(&mut late, order);
            }
        }
    }
}

/// A reset forgets everything but the configuration, damage included: afterwards the limits are kept, and all that they allow is
/// delivered.
fn reset_clears(from: u64, to: u64) {
    let mut rng = Rng::new();
    for round in 0..5 {
        let arena = arena();
        let limit = arena.open();
        let _ = limit.try_acquire(1).unwrap();
        let patch = Patch::of(&arena.file());
        for at in (from..to).step_by(8) {
            patch.set(at, rng.below(u64::MAX) >> rng.below(64));
        }
        limit.reset().unwrap_or_else(|e| panic!("round {round}: {e}"));
        assert_eq!(limit.inspect().unwrap().permits_held, 0, "round {round}");
        let began = Instant::now();
        let admitted = |_| (1, limit.acquire(1).wait().unwrap().at().as_nanos());
        let times: Vec<_> = (0..300).map(admitted).collect();
        // It takes 0.2 s where this process is not kept from running.
        assert!(began.elapsed() < Duration::from_secs(20), "round {round}: {:?}", began.elapsed());
        arena.assert_all_kept(&times);
    }
}

#[test]
fn a_reset_clears_corrupt_permits() {
    reset_clears(PERMITS, LINE);
}

#[test]
fn a_reset_clears_a_corrupt_line() {
    reset_clears(LINE, END);
}

#[test]
fn a_reset_clears_corrupt_turns() {
    reset_clears(offset::TURNS, offset::FIRST_SEAT);
}

#[test]
fn a_reset_clears_a_corrupt_state() {
    reset_clears(STATE, STATE + 8);
}

#[test]
fn a_reset_clears_corrupt_records() {
    reset_clears(CELLS, RINGS);
}

#[test]
fn a_reset_clears_corrupt_rings() {
    reset_clears(RINGS, PERMITS);
}

/// The state names a cell that does not exist.
#[test]
fn a_reset_clears_a_dangling_record_pointer() {
    let dir = shared_dir();
    let limit = builder(dir.path()).fixed_window(Start::FirstUse).open(10, HOUR).unwrap();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    let patch = Patch::of(limit.path());
    let word = patch.get(STATE);
    assert!(word >> 62 == 0 && word > 0, "{word:x}");
    patch.set(STATE, word | 0x3fff);
    assert_eq!(limit.try_acquire(1).unwrap_err().kind(), ErrorKind::Corrupt);
    limit.reset().unwrap();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
}

/// Also if there was a change in between, which could not take over the usage.
#[test]
fn a_reset_clears_a_corrupt_record_after_a_change() {
    let dir = shared_dir();
    let limit = builder(dir.path()).fixed_window(Start::FirstUse).open(10, HOUR).unwrap();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    let patch = Patch::of(limit.path());
    patch.set(STATE, patch.get(STATE) | 0x3fff);
    let _ = limit.change(20, HOUR);
    assert_eq!(limit.try_acquire(1).unwrap_err().kind(), ErrorKind::Corrupt);
    limit.reset().unwrap();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
}

/// A reset of a damaged state must not bring old times of the log back.
#[test]
fn a_reset_of_a_corrupt_log_admits_at_most_the_limit() {
    let dir = shared_dir();
    let first = builder(dir.path()).greedy().open(1_000, SECOND).unwrap();
    // It has cells 0 and 1, and stays as it is; another seat has all that follows.
    let _ = first.try_acquire(1).unwrap();
    let _ = first.try_acquire(1).unwrap();
    let limit = builder(dir.path()).attach().unwrap();
    let all = || (0..5_000).filter_map(|_| limit.try_acquire(1).unwrap().admission()).map(|a| a.at());
    // A few eras.
    for _ in 0..5 {
        all().for_each(drop);
        limit.reset().unwrap();
    }
    all().for_each(drop);
    std::thread::sleep(Duration::from_millis(850));
    let patch = Patch::of(limit.path());
    let generation = offset::GENERATIONS + offset::GENERATION_SIZE * (patch.get(offset::EPOCH) % 8);
    patch.set(generation + offset::GENERATION_STATE, 1 << 62);
    assert_eq!(limit.try_acquire(1).unwrap_err().kind(), ErrorKind::Corrupt);
    limit.reset().unwrap();
    let began = Instant::now();
    let mut admitted = Vec::new();
    while began.elapsed() < Duration::from_millis(800) {
        admitted.extend(all());
    }
    // On a busy machine, the last ones may belong to the next second.
    let first_second = admitted.iter().filter(|at| at.since(admitted[0]) < SECOND).count();
    assert!(first_second <= 1_000, "{first_second}");
}
