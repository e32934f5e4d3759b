//! Seats: one for each process, and free again when it leaves or dies.

use harness::file::{Parts, Patch};
use harness::{Arena, RemoteWorker, eventually};
use nix::sys::signal::Signal;
use shm_lib::{ErrorKind, RateLimit};
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
/// A state in a record, which needs a seat.
const RECORD: &str = "first:1000/366d+first:1000/366d";

fn worker(arena: &Arena) -> RemoteWorker {
    let mut worker = RemoteWorker::new(WORKER, &arena.job("remote"));
    worker.expect_ok("open");
    worker
}

#[test]
fn a_process_has_one_seat_however_many_handles() {
    for policy in ["bucket:1000/366d:1000", RECORD] {
        let arena = Arena::with_policy(policy, 4).seats(2);
        let handles: Vec<RateLimit> = (0..130).map(|_| arena.open()).collect();
        for handle in &handles {
            assert!(handle.try_acquire(1).unwrap().is_admitted());
        }
        assert_eq!(handles[0].inspect().unwrap().attached.len(), 1);
        let mut other = worker(&arena);
        assert_eq!(other.admitted_of(1), 1, "a process beside one with many handles");
        assert_eq!(handles[0].inspect().unwrap().attached.len(), 2);
        // It is left with the last of them.
        let last = handles.into_iter().next().unwrap();
        assert!(last.try_acquire(1).unwrap().is_admitted());
        drop(last);
        let attached = other.ask("attached");
        assert_eq!(attached.split(' ').count(), 1, "{attached}");
    }
}

#[test]
fn a_reset_frees_dead_holders_permits_while_all_seats_are_taken() {
    let arena = Arena::with_policy(RECORD, 2).seats(2);
    let (mut living, mut dead) = (worker(&arena), worker(&arena));
    assert!(living.ask("hold").starts_with("held"));
    assert!(dead.ask("hold").starts_with("held"));
    dead.signal(Signal::SIGKILL);
    dead.wait();
    let words = || {
        let patch = Patch::of(&arena.file());
        let permits = Parts::of(|at| patch.get(at)).permits;
        (0..64).filter(|i| patch.get(permits + 8 * i) != 0).count()
    };
    assert_eq!(words(), 2, "the dead one's permit is still written down");
    RateLimit::builder("arena").directory(arena.dir()).attach().unwrap().reset().unwrap();
    assert_eq!(words(), 1);
}

#[test]
fn a_released_seat_is_found_at_once() {
    let arena = Arena::with_policy(RECORD, 0).seats(1);
    let mut holder = worker(&arena);
    let limit = RateLimit::builder("arena").directory(arena.dir()).attach().unwrap();
    for _ in 0..10 {
        assert_eq!(limit.try_acquire(1).unwrap_err().kind(), ErrorKind::NoSeat);
    }
    holder.expect_ok("drop");
    assert!(limit.try_acquire(1).unwrap().is_admitted(), "right after it was left");
}

#[test]
fn a_dead_holders_seat_is_found_within_half_a_second() {
    let arena = Arena::with_policy(RECORD, 0).seats(1);
    let mut holder = worker(&arena);
    let limit = RateLimit::builder("arena").directory(arena.dir()).attach().unwrap();
    assert_eq!(limit.try_acquire(1).unwrap_err().kind(), ErrorKind::NoSeat);
    holder.signal(Signal::SIGKILL);
    holder.wait();
    let begun = Instant::now();
    assert!(eventually(Duration::from_secs(20), || limit.try_acquire(1).is_ok()));
    // The kernel is asked every 10 ms. The machine may be busy.
    let waited = begun.elapsed();
    assert!(waited < Duration::from_millis(500), "{waited:?}");
}
