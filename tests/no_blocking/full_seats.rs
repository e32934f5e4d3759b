//! Limiters of which all seats are taken: the search for one is bounded, no fork waits for it, and control needs none.

use harness::file::{Patch, offset};
use harness::{Arena, RemoteWorker, alone, log_uncaptured, raw};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::time::{ClockId, clock_gettime};
use shm_lib::RateLimit;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
/// A state in a record, which needs a seat.
const RECORD: &str = "fixed:1000/366d+fixed:1000/366d";
/// The most seats that a limiter can have.
const MOST: usize = 4_096;

fn worker(arena: &Arena) -> RemoteWorker {
    let mut worker = RemoteWorker::new(WORKER, &arena.job("remote"));
    worker.expect_ok("open");
    worker
}

#[test]
fn a_limiter_can_be_changed_while_all_seats_are_taken_by_stopped_processes() {
    for policy in ["bucket:1000/366d:1000", "bucket:1000/366d:1000+fixed:1000/366d", "greedy:1000/366d"] {
        let arena = Arena::with_policy(policy, 2).seats(2);
        let mut holders = [worker(&arena), worker(&arena)];
        for holder in &mut holders {
            assert_eq!(holder.admitted_of(10), 10);
            holder.signal(Signal::SIGSTOP);
        }
        let limit = RateLimit::builder("arena").directory(arena.dir()).attach().unwrap();
        for round in 1..=10u32 {
            limit.change(1_000 - u64::from(round), Duration::from_secs(366 * 86_400)).unwrap();
            limit.pause_for(Duration::from_secs(60)).unwrap();
            limit.resume().unwrap();
            assert_eq!(limit.inspect().unwrap().changes, u64::from(4 * round - 1));
            limit.reset().unwrap();
            assert_eq!(limit.status().unwrap().used, 0, "{policy}");
        }
        for holder in &mut holders {
            holder.signal(Signal::SIGCONT);
            assert_eq!(holder.admitted_of(10), 10, "after they have gone on");
        }
        assert_eq!(limit.status().unwrap().used, 20);
        holders.iter().for_each(|holder| holder.signal(Signal::SIGSTOP));
        limit.retire().unwrap();
        assert!(!arena.file().exists());
        holders.iter().for_each(|holder| holder.signal(Signal::SIGCONT));
    }
}

/// A reset of large logs looks at millions of slots. A fork in another thread does not wait for that.
#[test]
fn a_fork_does_not_wait_for_a_long_reset() {
    let _alone = alone();
    let large = "greedy:1048576/1h";
    let arena = Arena::with_policy(&[large; 4].join("+"), 0).seats(1);
    let limit = arena.open();
    let forks = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    // Forks that began and ended within one reset.
    let within = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                match raw::fork().expect("a child") {
                    Some(child) => drop(waitpid(child, None)),
                    None => raw::exit_now(0),
                }
                forks.fetch_add(1, Ordering::Relaxed);
            }
        });
        let resets = (0..30).map(|_| {
            let before = forks.load(Ordering::Relaxed);
            limit.reset().unwrap();
            forks.load(Ordering::Relaxed) - before
        });
        let most = resets.max();
        over.store(true, Ordering::Relaxed);
        most
    });
    // Were each of them to wait, one could end while the lock is taken, and one right after the end.
    assert!(within > Some(2), "{within:?} forks within a reset");
}

/// As the kernel counts for this thread, however often it is preempted.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock").into()
}

/// The locks of 4,096 living processes, held by this one file.
fn take_all_seats(arena: &Arena) -> File {
    let patch = Patch::of(&arena.file());
    let file = File::options().read(true).write(true).open(arena.file()).unwrap();
    for seat in 0..MOST as u64 {
        // In different tenures, so that no two bytes are neighbours and each lock is one of its own.
        let tenure = 2 * seat + 1;
        patch.set(offset::FIRST_SEAT + 256 * seat, tenure);
        let lock = libc::flock {
            l_type: libc::F_WRLCK as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: (1 << 40) + (tenure * 4_096 + seat) as i64,
            l_len: 1,
            l_pid: 0,
        };
        fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    }
    file
}

#[test]
fn a_search_among_4096_taken_seats_takes_less_than_20_ms() {
    let _alone = alone();
    for (policy, is_denied_a_seat) in [("bucket:1000000/366d:1000000", false), (RECORD, true)] {
        let arena = Arena::with_policy(policy, 0).seats(MOST);
        drop(arena.open());
        let _locks = take_all_seats(&arena);
        let limit = RateLimit::builder("arena").directory(arena.dir()).attach().unwrap();
        let (mut slowest, mut all) = (Duration::ZERO, Duration::ZERO);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(2_500) {
            let before = processor_time();
            let outcome = limit.try_acquire(1);
            let took = processor_time() - before;
            (slowest, all) = (slowest.max(took), all + took);
            assert_eq!(outcome.is_err(), is_denied_a_seat);
            std::thread::sleep(Duration::from_millis(1));
        }
        // A look at each seat, and 1 ms of questions to the kernel: the last one may take a while.
        assert!(slowest < Duration::from_millis(20), "{policy}: {slowest:?} of a processor for one decision");
        log_uncaptured(&format!("4,096 taken seats, {policy}: a decision takes up to {slowest:?}"));
    }
}
