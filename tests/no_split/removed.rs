//! Limiters that are retired, removed underneath, or replaced.

use harness::file::{Patch, RETIRED, offset};
use harness::{Arena, RemoteWorker, WorkerPool, shared_dir};
use shm_lib::{Error, ErrorKind, OnLost, Outcome, RateLimit, Result};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

fn inode(limit: &RateLimit) -> u64 {
    std::fs::metadata(limit.path()).unwrap().ino()
}

/// Asks until it fails.
fn error_within(limit: &RateLimit, patience: Duration) -> Error {
    first_error(patience, || limit.try_acquire(1))
}

fn first_error(patience: Duration, ask: impl Fn() -> Result<Outcome>) -> Error {
    let end = Instant::now() + patience;
    loop {
        match ask() {
            Err(e) => return e,
            Ok(_) => assert!(Instant::now() < end, "goes on as if nothing had happened"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A busy process looks ten times a second.
#[test]
fn a_removed_file_is_noticed_within_a_second() {
    let arena = Arena::new("1000/s", 10);
    let limit = arena.open();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    std::fs::remove_file(arena.file()).unwrap();
    let e = error_within(&limit, Duration::from_secs(1));
    assert_eq!(e.kind(), ErrorKind::Removed);
    assert!(e.to_string().contains("open it again"), "{e}");
    // And from then on, whatever is asked.
    for e in [
        limit.change(5, Duration::from_secs(1)).unwrap_err(),
        limit.pause_for(Duration::from_secs(1)).unwrap_err(),
        limit.retire().unwrap_err(),
        limit.inspect().unwrap_err(),
    ] {
        assert_eq!(e.kind(), ErrorKind::Removed, "{e}");
    }
}

/// The clock itself is then read for the other limiter, each time, and its reading serves this one, too.
#[test]
fn a_removed_file_is_noticed_beside_decisions_on_another_limiter() {
    for policy in ["bucket:1000000/s:1000", "bucket:1000000/s:1000+bucket:2000000/s:1000"] {
        let (other, arena) = (Arena::new("1000/s", 10), Arena::with_policy(policy, 0));
        let (other, limit) = (other.open(), arena.open());
        let ask = || {
            std::thread::sleep(Duration::from_millis(1));
            // The first reading after a sleep may be too slow to be of use to the next.
            for _ in 0..20 {
                let _ = other.try_acquire(1).unwrap();
            }
            limit.try_acquire(1)
        };
        // Until the clock is known so well that it need not be read each time.
        for _ in 0..100 {
            let _ = ask().unwrap();
        }
        std::fs::remove_file(arena.file()).unwrap();
        let e = first_error(Duration::from_secs(10), ask);
        assert_eq!(e.kind(), ErrorKind::Removed, "{policy}");
    }
}

/// The budget must not split in two unnoticed.
#[test]
fn a_replaced_file_is_noticed_and_not_touched() {
    let arena = Arena::new("1000/s", 10);
    let limit = arena.open();
    std::fs::remove_file(arena.file()).unwrap();
    let mut other = RemoteWorker::new(WORKER, &arena.job("remote"));
    other.expect_ok("open");
    let e = error_within(&limit, Duration::from_secs(1));
    assert_eq!(e.kind(), ErrorKind::Removed);
    // The old handle can't take the new one away.
    assert_eq!(limit.retire().unwrap_err().kind(), ErrorKind::Removed);
    assert_eq!(other.admitted_of(1), 1);
    let again = arena.open();
    assert_eq!(inode(&again), other.numbers("inode")[0]);
    assert_eq!(again.inspect().unwrap().attached.len(), 2);
}

#[test]
fn every_user_of_a_removed_limiter_notices() {
    let arena = Arena::new("1000/s", 10);
    let limit = arena.open();
    let mut pool = WorkerPool::new(WORKER);
    let job = arena.job("hammer").set("how", "try").set("until", "Removed");
    pool.spawn_many(&job, 4);
    pool.start();
    std::thread::sleep(Duration::from_millis(100));
    let removed = shm_lib::now();
    std::fs::remove_file(limit.path()).unwrap();
    let said = pool.join();
    assert_eq!(said.len(), 8);
    for line in said {
        let at = line.strip_prefix("Removed ").unwrap().parse().unwrap();
        let after = shm_lib::Nanos::from_nanos(at).since(removed);
        assert!(after < Duration::from_secs(1), "noticed after {after:?}");
    }
}

#[test]
fn retiring_ends_every_handle_and_frees_the_name() {
    let arena = Arena::with_fixed_budget(10);
    let limit = arena.open();
    let mut other = RemoteWorker::new(WORKER, &arena.job("remote"));
    other.expect_ok("open");
    assert_eq!(other.admitted_of(4), 4);
    let old = inode(&limit);
    limit.retire().unwrap();
    assert!(!arena.file().exists());
    assert_eq!(limit.try_acquire(1).unwrap_err().kind(), ErrorKind::Retired);
    assert_eq!(limit.wait().unwrap_err().kind(), ErrorKind::Retired);
    for order in ["try", "change 1 1000000000", "reset", "retire", "status", "inspect"] {
        let answer = other.ask(order);
        assert!(answer.starts_with("error Retired"), "{order}: {answer}");
    }
    // A new one of the same name is another one, with a whole budget.
    let new = arena.open();
    assert_ne!(inode(&new), old);
    assert!(other.ask("try").starts_with("error Retired"), "an old handle never moves to the new one");
    assert!(other.ask("retire").starts_with("error Retired"));
    assert_eq!((0..20).filter(|_| new.try_acquire(1).unwrap().is_admitted()).count(), 10);
    other.expect_ok("open");
    assert_eq!(other.admitted_of(1), 0);
}

/// A process that retires the limiter is killed between its mark and the removal of the name: the next process finishes.
#[test]
fn an_interrupted_retirement_is_finished_by_the_next_open() {
    let arena = Arena::with_fixed_budget(10);
    let limit = arena.open();
    let old = inode(&limit);
    let patch = Patch::of(&arena.file());
    patch.set(offset::EPOCH, patch.get(offset::EPOCH) | RETIRED);
    assert_eq!(limit.try_acquire(1).unwrap_err().kind(), ErrorKind::Retired);

    let attach = || arena.job("attach").attach();
    assert_eq!(attach().unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!arena.file().exists());

    let new = arena.open();
    assert_ne!(inode(&new), old);
    assert!(new.try_acquire(1).unwrap().is_admitted());

    // The same when it is opened at once.
    let patch = Patch::of(&arena.file());
    patch.set(offset::EPOCH, patch.get(offset::EPOCH) | RETIRED);
    let newer = arena.open();
    assert!(newer.try_acquire(1).unwrap().is_admitted());
    assert_eq!(new.try_acquire(1).unwrap_err().kind(), ErrorKind::Retired);
}

/// Many processes retire and open a name again and again: each of them has either a working handle or a clear error.
#[test]
fn a_name_that_is_retired_repeatedly_never_splits() {
    let arena = Arena::new("1000/s", 10);
    let mut workers: Vec<RemoteWorker> =
        (0..6).map(|_| RemoteWorker::new(WORKER, &arena.job("remote"))).collect();
    for _ in 0..50 {
        workers.iter_mut().for_each(|p| p.tell("open"));
        workers.iter_mut().for_each(|p| assert_eq!(p.answer(), "ok"));
        let inodes: Vec<u64> = workers.iter_mut().map(|p| p.numbers("inode")[0]).collect();
        assert!(inodes.iter().all(|i| *i == inodes[0]), "{inodes:?}");
        // Two retire, the others open at the same moment: they get the old one or the new one.
        let (retirers, openers) = workers.split_at_mut(2);
        retirers.iter_mut().for_each(|p| p.tell("retire"));
        openers.iter_mut().for_each(|p| p.tell("open"));
        for p in retirers {
            let answer = p.answer();
            assert!(answer == "ok" || answer.starts_with("error Retired"), "{answer}");
        }
        openers.iter_mut().for_each(|p| assert_eq!(p.answer(), "ok"));
        for p in openers {
            let answer = p.ask("try");
            assert!(answer.starts_with("error Retired") || !answer.starts_with("error"), "{answer}");
        }
    }
}

/// Of all processes that had it open, forked children included, one recreates it and the others join that one.
#[test]
fn handles_that_reopen_a_lost_name_share_one_budget() {
    for policy in ["bucket:10/366d:10", "greedy:10/366d", "bucket:10/366d:10+bucket:12/366d:12"] {
        let arena = Arena::with_policy(policy, 0);
        let job = arena.job("remote").set("lost", "reopen");
        let mut workers: Vec<RemoteWorker> = (0..5).map(|_| RemoteWorker::new(WORKER, &job)).collect();
        workers.iter_mut().for_each(|p| p.expect_ok("open"));
        for p in &mut workers {
            p.ask("fork");
        }
        for round in 0..4 {
            let file = std::fs::metadata(arena.file()).unwrap().ino();
            if round % 2 == 0 {
                arena.job("attach").attach().unwrap().retire().unwrap();
            } else {
                std::fs::remove_file(arena.file()).unwrap();
                // Busy or not, each of them looks for its file by then.
                std::thread::sleep(Duration::from_millis(200));
            }
            workers.iter_mut().for_each(|p| p.tell("take 20"));
            let first = |answer: String| answer.split(' ').next().unwrap().parse::<u64>().unwrap();
            let parents: u64 = workers.iter_mut().map(|p| first(p.answer())).sum();
            let children: u64 = workers.iter_mut().map(|p| p.numbers("child take 20")[0]).sum();
            assert_eq!(parents + children, 10, "{policy}, round {round}");
            let again = std::fs::metadata(arena.file()).unwrap().ino();
            assert_ne!(again, file);
            let new = arena.job("attach").attach().unwrap();
            assert_eq!(new.inspect().unwrap().attached.len(), 10, "all of them use this one");
            // They look at most ten times a second.
            std::thread::sleep(Duration::from_millis(150));
        }
    }
}

/// The process that retired the limiter was killed before it woke the waiters and removed the name.
#[test]
fn a_permit_waiter_notices_an_interrupted_retirement() {
    let dir = shared_dir();
    let limit = RateLimit::builder("r")
        .directory(dir.path())
        .on_lost(OnLost::Error)
        .burst(10)
        .permits(1)
        .open(10, Duration::from_secs(1))
        .unwrap();
    let _held = limit.try_acquire(1).unwrap().admission().unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|s| {
        let waiter = s.spawn(|| {
            let e = limit.acquire(1).timeout(Duration::from_secs(5)).wait().map(|o| o.is_admitted());
            ended.store(true, Ordering::SeqCst);
            e
        });
        std::thread::sleep(Duration::from_millis(100));
        let patch = Patch::of(limit.path());
        patch.set(offset::EPOCH, patch.get(offset::EPOCH) | RETIRED);
        std::thread::sleep(Duration::from_millis(1_500));
        let heard = ended.load(Ordering::SeqCst);
        let e = waiter.join().unwrap();
        assert!(heard, "{e:?}");
        assert_eq!(e.unwrap_err().kind(), ErrorKind::Retired);
    });
}
