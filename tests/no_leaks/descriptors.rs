//! No descriptor available, or all of them closed by the program: the call works or gives a clear error, and nothing is lost.

use harness::file::{Patch, offset};
use harness::{Arena, RemoteWorker, Rng, WorkerPool, alone, eventually, in_child, log, shared_dir};
use nix::sys::resource::{Resource, setrlimit};
use shm_lib::{RateLimit, Start};
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
/// One word, one with records, one with permits.
const KINDS: [(&str, u64); 3] =
    [("bucket:20/366d:20", 0), ("fixed:20/366d+greedy:20/366d", 0), ("bucket:20/366d:20", 4)];
const PLENTY: &str = "nofile 1024";
/// Standard input, output and error, and no more.
const NONE: &str = "nofile 3";

/// A worker with three descriptors, whatever it was started with.
fn worker_without_spare_descriptors(arena: &Arena) -> RemoteWorker {
    let mut worker = RemoteWorker::new(WORKER, &arena.job("remote"));
    worker.expect_ok("closefrom");
    worker
}

fn no_descriptor(answer: &str) {
    assert!(answer.starts_with("error Io"), "{answer}");
    assert!(answer.contains("ulimit -n"), "{answer}");
}

fn admitted(answer: &str) -> bool {
    answer.starts_with("admitted") || answer.starts_with("held")
}

#[test]
fn opening_without_descriptors_is_an_io_error_and_works_later() {
    for (policy, permits) in KINDS {
        for exists in [false, true] {
            let arena = Arena::with_policy(policy, permits);
            if exists {
                drop(arena.open());
            }
            let mut worker = worker_without_spare_descriptors(&arena);
            worker.expect_ok(NONE);
            no_descriptor(&worker.ask("open"));
            no_descriptor(&worker.ask("attach"));
            assert_eq!(arena.file().exists(), exists, "half made");
            worker.expect_ok(PLENTY);
            worker.expect_ok("open");
            assert_eq!(worker.admitted_of(100), 20);
            // It knows which machine's clock it was made under, whatever could not be read at first.
            let patch = Patch::of(&arena.file());
            assert_ne!(patch.get(offset::BOOT_ID), 0, "the boot is not known");
        }
    }
}

/// With few descriptors it works or says why not, and is never a limiter that does not know its clock.
#[test]
fn opening_with_few_descriptors_records_the_clock_or_fails() {
    for few in 4..8 {
        let arena = Arena::with_policy("bucket:20/366d:20", 0);
        let mut worker = worker_without_spare_descriptors(&arena);
        worker.expect_ok(&format!("nofile {few}"));
        match worker.ask("open").as_str() {
            "ok" => {
                assert_ne!(Patch::of(&arena.file()).get(offset::BOOT_ID), 0, "{few}: the boot is not known");
            }
            answer => no_descriptor(answer),
        }
        worker.expect_ok(PLENTY);
        worker.expect_ok("open");
        assert_eq!(worker.admitted_of(100), 20, "{few}");
        assert_ne!(Patch::of(&arena.file()).get(offset::BOOT_ID), 0, "{few}: the boot is not known");
    }
}

/// A process without a descriptor gets no seat: a limiter of one word works without one; a limiter that needs a seat says why
/// there is none.
#[test]
fn taking_a_seat_without_descriptors_loses_nothing() {
    for (policy, permits) in KINDS {
        let arena = Arena::with_policy(policy, permits);
        let watcher = arena.open();
        let mut worker = worker_without_spare_descriptors(&arena);
        worker.expect_ok("join");
        worker.expect_ok(NONE);
        let seatless = permits == 0 && !policy.contains('+');
        if seatless {
            assert_eq!(worker.admitted_of(5), 5);
        } else {
            for order in ["try", "wait-ms 10", "hold", "reserve"] {
                let answer = worker.ask(order);
                // A turn ahead needs no permit, and one word no seat.
                if order == "reserve" && !policy.contains('+') {
                    assert_eq!(answer, "true");
                    continue;
                }
                no_descriptor(&answer);
            }
        }
        assert_eq!(watcher.inspect().unwrap().attached.len(), 1, "only the watcher");
        worker.expect_ok(PLENTY);
        // It looks for one again soon: not having found a descriptor is not having found all seats taken.
        std::thread::sleep(Duration::from_millis(50));
        let answer = worker.ask("hold");
        assert!(admitted(&answer), "{policy}: {answer}");
        assert_eq!(watcher.inspect().unwrap().attached.len(), 2, "{policy}");
        worker.expect_ok("release-all");
        let taken = if seatless { 6 } else { 1 };
        assert_eq!(worker.admitted_of(100), 20 - taken, "{policy}");
        assert_eq!(watcher.stats().calls, 20, "{policy}: not all are counted");
    }
}

/// Decisions need no descriptor; changes do, and change nothing when they fail.
#[test]
fn changing_without_descriptors_fails_and_blocks_no_decision() {
    for (policy, permits) in KINDS {
        let arena = Arena::with_policy(policy, permits);
        let watcher = arena.open();
        let before = watcher.policy().unwrap();
        let mut worker = worker_without_spare_descriptors(&arena);
        worker.expect_ok("open");
        worker.expect_ok(NONE);
        assert_eq!(worker.admitted_of(3), 3);
        assert!(admitted(&worker.ask("hold")), "a permit with a seat needs none");
        for order in ["change 7 1000000000", "reset", "pause-ms 1000", "retire", "inspect"] {
            no_descriptor(&worker.ask(order));
        }
        assert_eq!(watcher.policy().unwrap(), before);
        assert_eq!(watcher.inspect().unwrap().changes, 0);
        assert!(watcher.try_acquire(1).unwrap().is_admitted());
        worker.expect_ok(PLENTY);
        worker.expect_ok("release-all");
        worker.expect_ok("reset");
        assert_eq!(worker.admitted_of(100), 20);
        worker.expect_ok("retire");
    }
}

/// A process needs a descriptor to see whether holders are dead. Without one the request is an error, and no permit is lost.
#[test]
fn a_dead_holders_permit_is_found_once_there_is_a_descriptor() {
    let arena = Arena::with_policy("bucket:1000000/s:1000", 2);
    let mut holder = worker_without_spare_descriptors(&arena);
    holder.expect_ok("open");
    assert!(admitted(&holder.ask("hold")) && admitted(&holder.ask("hold")));
    let mut worker = worker_without_spare_descriptors(&arena);
    worker.expect_ok("open");
    worker.expect_ok(NONE);
    drop(holder);
    no_descriptor(&worker.ask("hold"));
    worker.expect_ok(PLENTY);
    // It looks at the holders every 10 ms.
    std::thread::sleep(Duration::from_millis(20));
    assert!(admitted(&worker.ask("hold")) && admitted(&worker.ask("hold")));
    assert_eq!(worker.ask("held"), "2");
    assert_eq!(worker.ask("hold"), "denied");
}

/// A process needs a descriptor to see whether holders are dead, so one that finds no free permit looks only now and then.
#[test]
fn a_try_without_a_free_permit_opens_the_file_at_most_every_ten_milliseconds() {
    let arena = Arena::with_policy("bucket:1000000/s:10000", 1);
    let limit = arena.open();
    let _held = limit.try_acquire(1).unwrap();
    assert!(!limit.try_acquire(1).unwrap().is_admitted());
    // What opens the file finds another one.
    let aside = arena.dir().join("aside");
    std::fs::rename(arena.file(), &aside).unwrap();
    std::fs::write(arena.file(), "").unwrap();
    let begun = std::time::Instant::now();
    let (mut tries, mut opened) = (0u32, 0u32);
    while begun.elapsed() < Duration::from_millis(90) {
        tries += 1;
        opened += u32::from(limit.try_acquire(1).is_err());
    }
    assert!(tries > 100 && opened <= 20, "{opened} of {tries} tries opened the file");
}

/// Every process closes all its descriptors right after it opened the limiter, and is killed at some time.
#[test]
fn processes_without_descriptors_keep_the_limits_under_kills() {
    let _alone = alone();
    let arena = Arena::with_policy("greedy:200/100ms+bucket:3000/s:50", 8);
    let watcher = arena.open();
    let job = arena.job("mixed").set("closefrom", 1).set("hold", 300);
    let mut pool = WorkerPool::new(WORKER);
    pool.spawn_many(&job, 16);
    // And four that are forked by one.
    pool.spawn_forked(&job, 4);
    pool.start();
    let mut rng = Rng::new();
    for _ in 0..60 {
        std::thread::sleep(Duration::from_micros(rng.below(25_000)));
        pool.replace(rng.below(16) as usize, &job);
        assert!(watcher.inspect().unwrap().permits_held <= 8);
    }
    assert!(eventually(Duration::from_secs(5), || watcher.inspect().unwrap().attached.len() >= 20));
    // All hear of a change, without a descriptor among them.
    watcher.pause_for(Duration::from_secs(100)).unwrap();
    watcher.resume().unwrap();
    pool.kill_all();
    let logs = log::read_each(arena.logs());
    let admitted: Vec<(u64, u64)> =
        logs.iter().flat_map(|words| words.chunks_exact(2).map(|w| (w[0], w[1]))).collect();
    arena.assert_all_kept(&admitted);
    assert!(admitted.len() > 500, "{} admitted", admitted.len());
    let free = || watcher.inspect().is_ok_and(|seen| seen.permits_held == 0 && seen.attached.len() == 1);
    assert!(eventually(Duration::from_secs(2), free), "{:?}", watcher.inspect());
}

/// The child has no descriptor to take a seat with. (The test process forks, so this test is alone.)
#[test]
fn a_missing_descriptor_is_not_reported_as_missing_seats() {
    let _alone = alone();
    let dir = shared_dir();
    let limit = RateLimit::builder("x")
        .directory(dir.path())
        .fixed_window(Start::FirstUse)
        .open(10, Duration::from_secs(3_600))
        .unwrap();
    assert!(in_child(|| {
        setrlimit(Resource::RLIMIT_NOFILE, 0, 0).unwrap();
        let e = limit.try_acquire(1).unwrap_err();
        !e.to_string().contains("seats are taken")
    }));
}
