//! What an adversarial reading broke, once.

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use shm_lib::{Limit, RateLimit, Start};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);

fn dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn builder(dir: &Path) -> shm_lib::Builder {
    RateLimit::builder("r").directory(dir).on_lost(shm_lib::OnLost::Error)
}

/// Runs in a forked child; whether it said yes.
#[allow(unsafe_code)]
fn in_child(what: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child does a few decisions and leaves.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(what)).unwrap_or(false);
            // SAFETY: leaves without the harness's exit handlers.
            unsafe { libc::_exit(i32::from(!ok)) }
        }
        ForkResult::Parent { child } => waitpid(child, None).unwrap() == WaitStatus::Exited(child, 0),
    }
}

fn poke(path: &Path, at: usize, word: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&word.to_ne_bytes(), at as u64).unwrap();
}

fn peek(path: &Path, at: usize) -> u64 {
    let file = OpenOptions::new().read(true).open(path).unwrap();
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at as u64).unwrap();
    u64::from_ne_bytes(bytes)
}

/// An admission of calls that a child inherited gives nothing back there.
#[test]
fn a_forked_copy_of_an_admission_of_calls_settles_nothing() {
    for records in [false, true] {
        let dir = dir();
        let b = builder(dir.path()).burst(10);
        let b = if records { b.and(Limit::with_burst("20/h".parse().unwrap(), 20).unwrap()) } else { b };
        let limit = b.open(10, HOUR).unwrap();
        let _three = limit.try_acquire(3).unwrap();
        let mut five = limit.try_acquire(5).unwrap().admission().unwrap();
        assert!(in_child(|| {
            let _ = limit.settle(&mut five, 0);
            true
        }));
        assert_eq!(limit.peek().unwrap().available, 2, "records: {records}: a copy gave back");
        limit.settle(&mut five, 0).unwrap();
        // What leaked since is not given back.
        assert!((6..=7).contains(&limit.peek().unwrap().available), "records: {records}");
    }
}

/// The handle was opened anew after a retirement, and old admissions are settled with it.
#[test]
fn what_an_earlier_limiter_was_charged_is_not_given_back_to_the_next_one() {
    for records in [false, true] {
        let dir = dir();
        let open = || {
            let b = builder(dir.path()).burst(10);
            let b = if records { b.and(Limit::with_burst("20/h".parse().unwrap(), 20).unwrap()) } else { b };
            b.open(10, HOUR).unwrap()
        };
        let limit = open();
        let mut old = limit.try_acquire(8).unwrap().admission().unwrap();
        limit.retire().unwrap();
        let limit = open();
        let _eight = limit.try_acquire(8).unwrap().admission().unwrap();
        limit.settle(&mut old, 0).unwrap();
        assert_eq!(limit.peek().unwrap().available, 2, "records: {records}");
    }
}

#[test]
fn a_limiter_with_very_many_permits_can_be_opened_again() {
    let dir = dir();
    let limit = builder(dir.path()).burst(10).permits(40_000).open(10, SECOND).unwrap();
    let _one = limit.try_acquire(1).unwrap();
    builder(dir.path()).attach().unwrap();
}

/// A change and a first decision of two threads.
#[test]
fn a_change_does_not_wait_for_a_thread_that_waits_for_it() {
    let mut worst = Duration::ZERO;
    for i in 0..3_000u64 {
        let dir = dir();
        let limit = builder(dir.path())
            .burst(10)
            .and(Limit::with_burst("20/h".parse().unwrap(), 20).unwrap())
            .open(10, HOUR)
            .unwrap();
        let both = Barrier::new(2);
        let took = std::thread::scope(|s| {
            s.spawn(|| {
                both.wait();
                for _ in 0..(i % 40) * 50 {
                    std::hint::spin_loop();
                }
                limit.try_acquire(1).unwrap().is_admitted()
            });
            both.wait();
            let began = Instant::now();
            limit.change(20, HOUR).unwrap();
            began.elapsed()
        });
        worst = worst.max(took);
    }
    eprintln!("worst change: {worst:?}");
    assert!(worst < Duration::from_millis(15), "{worst:?}");
}

/// The one who retired it was killed before it took the name away.
#[test]
fn who_waits_for_a_permit_hears_of_a_retirement_that_was_cut_off() {
    let dir = dir();
    let limit = builder(dir.path()).burst(10).permits(1).open(10, SECOND).unwrap();
    let _held = limit.try_acquire(1).unwrap().admission().unwrap();
    let epoch_at = 448;
    let ended = AtomicBool::new(false);
    std::thread::scope(|s| {
        let waiter = s.spawn(|| {
            let e = limit.acquire(1).timeout(Duration::from_secs(5)).wait().map(|o| o.is_admitted());
            ended.store(true, Ordering::SeqCst);
            e
        });
        std::thread::sleep(Duration::from_millis(100));
        poke(limit.path(), epoch_at, peek(limit.path(), epoch_at) | 1 << 63);
        std::thread::sleep(Duration::from_millis(1_500));
        let heard = ended.load(Ordering::SeqCst);
        let e = waiter.join().unwrap();
        assert!(heard, "{e:?}");
        assert_eq!(e.unwrap_err().kind(), shm_lib::ErrorKind::Retired);
    });
}

/// Others take all the time.
#[test]
fn a_schedule_gets_through_a_crowd() {
    for records in [false, true] {
        let dir = dir();
        let b = builder(dir.path()).burst(1_000_000);
        let b = if records {
            b.and(Limit::with_burst("1000000000/s".parse().unwrap(), 1_000_000).unwrap())
        } else {
            b
        };
        let limit = b.open(1_000_000_000, SECOND).unwrap();
        let other = builder(dir.path()).attach().unwrap();
        let over = AtomicBool::new(false);
        let took = std::thread::scope(|s| {
            s.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let _ = other.try_acquire(1).unwrap();
                }
            });
            s.spawn(|| {
                std::thread::sleep(Duration::from_secs(4));
                over.store(true, Ordering::Relaxed);
            });
            let longest = s.spawn(|| {
                let mut longest = Duration::ZERO;
                while !over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let _ = limit.try_acquire(1).unwrap();
                    longest = longest.max(began.elapsed());
                    std::thread::sleep(Duration::from_millis(1));
                }
                longest
            });
            std::thread::sleep(Duration::from_millis(20));
            let began = Instant::now();
            let turns = limit.schedule(1, 100_000).unwrap();
            assert_eq!(turns.len(), 100_000);
            let took = began.elapsed();
            over.store(true, Ordering::Relaxed);
            eprintln!("records: {records}: a sibling thread waited for {:?}", longest.join().unwrap());
            took
        });
        eprintln!("records: {records}: {took:?}");
        assert!(took < SECOND, "records: {records}: {took:?}");
    }
}

/// A reset clears any damaged state.
#[test]
fn a_reset_clears_a_record_that_points_nowhere() {
    let dir = dir();
    let limit = builder(dir.path()).fixed_window(Start::FirstUse).open(10, HOUR).unwrap();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    // Generation 1's state.
    let state_at = 4096 + 640 + 576;
    let word = peek(limit.path(), state_at);
    assert!(word >> 62 == 0 && word > 0, "{word:x}");
    poke(limit.path(), state_at, word | 0x3fff);
    assert_eq!(limit.try_acquire(1).unwrap_err().kind(), shm_lib::ErrorKind::Corrupt);
    limit.reset().unwrap();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
}

/// Also if it was changed in between, which nobody could take over.
#[test]
fn a_reset_clears_a_damaged_record_after_a_change() {
    let dir = dir();
    let limit = builder(dir.path()).fixed_window(Start::FirstUse).open(10, HOUR).unwrap();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    let state_at = 4096 + 640 + 576;
    poke(limit.path(), state_at, peek(limit.path(), state_at) | 0x3fff);
    let _ = limit.change(20, HOUR);
    assert_eq!(limit.try_acquire(1).unwrap_err().kind(), shm_lib::ErrorKind::Corrupt);
    limit.reset().unwrap();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
}

/// Greedy: a reset of a damaged state must not bring old times back.
#[test]
fn a_reset_of_a_damaged_log_is_never_over() {
    let dir = dir();
    let first = builder(dir.path()).greedy().open(1_000, SECOND).unwrap();
    // It has cells 0 and 1, and stays as it is; another seat has all that follows.
    let _ = first.try_acquire(1).unwrap();
    let _ = first.try_acquire(1).unwrap();
    let limit = builder(dir.path()).attach().unwrap();
    let all = || (0..5_000).filter(|_| limit.try_acquire(1).unwrap().is_admitted()).count();
    // A few eras.
    for _ in 0..5 {
        all();
        limit.reset().unwrap();
    }
    all();
    std::thread::sleep(Duration::from_millis(850));
    let epoch = peek(limit.path(), 448);
    let state_at = 4096 + 640 * (epoch as usize % 8) + 576;
    poke(limit.path(), state_at, 1 << 62);
    assert_eq!(limit.try_acquire(1).unwrap_err().kind(), shm_lib::ErrorKind::Corrupt);
    let began = Instant::now();
    limit.reset().unwrap();
    let mut admitted = 0;
    while began.elapsed() < Duration::from_millis(800) {
        admitted += all();
    }
    assert!(admitted <= 1_000, "{admitted}");
}

/// Its turn is the parent's.
#[test]
fn a_forked_copy_of_a_reservation_is_no_turn() {
    let dir = dir();
    let limit = builder(dir.path()).burst(1).open(1, HOUR).unwrap();
    let turn = limit.reserve(1).unwrap();
    let child_got_it = in_child(|| turn.wait().is_ok());
    assert!(!child_got_it);
}

/// No descriptor is free: that is no lack of seats.
#[test]
#[allow(unsafe_code)]
fn without_descriptors_it_is_not_said_that_all_seats_are_taken() {
    let dir = dir();
    let limit = builder(dir.path()).fixed_window(Start::FirstUse).open(10, HOUR).unwrap();
    assert!(in_child(|| {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a valid limit.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none) };
        let e = limit.try_acquire(1).unwrap_err();
        eprintln!("{e}");
        !e.to_string().contains("seats are taken")
    }));
}
