//! Attacks on the line of waiting callers: badly timed changes, killed processes in front, and corrupt data.

use shm_lib::{Limit, Policy, Rate, RateLimit};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::pin;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// Environment variables that tell a child process what to do, and in which directory.
const ROLE: &str = "SHM_LIMIT_TEST_ROLE";
const DIR: &str = "SHM_LIMIT_TEST_DIR";

fn open(dir: &Path, rate: &str) -> RateLimit {
    RateLimit::builder("line").directory(dir).open_rate(rate.parse().unwrap()).unwrap()
}

/// The CPU time of this thread.
fn cpu_time() -> Duration {
    let mut cpu_time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid timespec to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut cpu_time) };
    Duration::new(cpu_time.tv_sec as u64, cpu_time.tv_nsec as u32)
}

/// A child process, killed when it is dropped.
struct ChildProcess(Child);

impl ChildProcess {
    fn start(dir: &Path, role: &str) -> ChildProcess {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child_process", "--nocapture", "--test-threads=1"]);
        ChildProcess(command.env(ROLE, role).env(DIR, dir).spawn().unwrap())
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a test of its own: the program of the child processes.
#[test]
fn child_process() {
    let (Ok(role), Ok(dir)) = (std::env::var(ROLE), std::env::var(DIR)) else { return };
    let limit = RateLimit::builder("line").directory(&dir).attach().unwrap();
    let (what, n) = role.split_once(' ').unwrap();
    let n: usize = n.parse().unwrap();
    match what {
        "large" => drop(limit.acquire(n as u64).wait().unwrap()),
        "wait" => (0..n).for_each(|_| drop(limit.wait().unwrap())),
        // `n` callers that join the line and are never polled again.
        "crowd" => {
            let crowd: Vec<_> = (0..n)
                .filter_map(|_| {
                    let mut acquiring = Box::pin(limit.acquire(1).into_future());
                    let polled = acquiring.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    matches!(polled, Poll::Pending).then_some(acquiring)
                })
                .collect();
            thread::sleep(600 * SECOND);
            drop(crowd);
        }
        other => panic!("{other}"),
    }
}

/// Blocks until this many callers wait in line.
fn until_waiting(limit: &RateLimit, callers: u64) {
    let begun = Instant::now();
    while limit.inspect().unwrap().callers_waiting() < callers {
        assert!(begun.elapsed() < 20 * SECOND, "fewer than {callers} callers wait");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A waiter that polls while the limits change charges one turn under the new limits. It must not charge turn after turn until
/// a year is full.
#[test]
fn concurrent_changes_never_charge_more_than_the_line_needs() {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(dir.path(), "200/s");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    drop(limit.wait().unwrap());
                }
            });
        }
        let begun = Instant::now();
        while begun.elapsed() < 3 * SECOND {
            limit.change(200, SECOND).unwrap();
            let queued = limit.status().unwrap().queued;
            if queued > 70 {
                over.store(true, Ordering::Relaxed);
                limit.reset().unwrap();
                panic!("{queued} turns are charged for two waiters");
            }
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// After a change to fewer permits than are held, a waiter sleeps until enough permits are released.
#[test]
fn a_waiter_sleeps_while_more_permits_are_held_than_exist() {
    let dir = tempfile::tempdir().unwrap();
    let builder = RateLimit::builder("line").directory(dir.path());
    let limit = builder.permits(3).open_rate("1000/s".parse().unwrap()).unwrap();
    let mut held: Vec<_> = (0..3).map(|_| limit.wait().unwrap()).collect();
    limit.change_policy(Policy::from(limit.limit().unwrap()).with_permits(1).unwrap()).unwrap();
    // The slot of the one remaining permit is free, but two permits are still held.
    held.remove(0);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| (limit.acquire(1).timeout(10 * SECOND).wait().unwrap(), cpu_time()));
        until_waiting(&limit, 1);
        thread::sleep(SECOND / 2);
        held.clear();
        let (outcome, busy) = waiter.join().unwrap();
        assert!(outcome.is_admitted());
        assert!(busy < SECOND / 8, "the waiter used {busy:?} of CPU time");
    });
}

/// A killed process leaves turns that were charged before any live caller arrived. They delay no live caller.
#[test]
fn turns_of_killed_processes_delay_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(dir.path(), "500/s");
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let other = ChildProcess::start(dir.path(), "wait 1000000");
        until_waiting(&limit, 1);
        thread::sleep(Duration::from_millis(30));
        other.kill();
        thread::sleep(Duration::from_millis(20));
        let begun = Instant::now();
        drop(limit.wait().unwrap());
        drop(limit.wait().unwrap());
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_millis(60), "{slowest:?} for two turns");
}

/// When a process with thousands of waiting callers is killed, the others move up at once.
#[test]
fn a_killed_crowd_is_skipped_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(dir.path(), "10/s");
    let crowd = ChildProcess::start(dir.path(), "crowd 3000");
    until_waiting(&limit, 2_900);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| limit.wait().unwrap().at());
        until_waiting(&limit, 2_901);
        crowd.kill();
        let begun = Instant::now();
        waiter.join().unwrap();
        let took = begun.elapsed();
        assert!(took < SECOND, "{took:?} after the crowd was killed");
    });
}

/// Killed callers behind live ones are not cleared from the line immediately. But before a request is denied because of the
/// number of waiters, every process in line is probed.
#[test]
fn killed_waiters_do_not_count_towards_max_waiters() {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(dir.path(), "1/h");
    drop(limit.wait().unwrap());
    // Enough processes that the next one polls only every half second.
    let before: Vec<_> = (1..=6)
        .map(|n| {
            let other = ChildProcess::start(dir.path(), "wait 1");
            until_waiting(&limit, n);
            other
        })
        .collect();
    let crowd = ChildProcess::start(dir.path(), "crowd 50");
    until_waiting(&limit, 56);
    let joins = || {
        let mut acquiring = Box::pin(limit.acquire(1).max_waiters(30).into_future());
        acquiring.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
    };
    // On a busy machine a late caller may briefly not be counted.
    let begun = Instant::now();
    while joins() {
        assert!(begun.elapsed() < 20 * SECOND, "a caller with max_waiters(30) joins 56 others");
    }
    crowd.kill();
    thread::sleep(Duration::from_millis(150));
    assert!(joins());
    assert_eq!(limit.inspect().unwrap().callers_waiting(), 6);
    before.into_iter().for_each(ChildProcess::kill);
}

/// The offsets of the line's layout in the file: see docs/format.md.
struct LineLayout {
    file: File,
    standing: u64,
    places: u64,
}

const TURNS: u64 = 13_312;
const INSTANTS: u64 = TURNS + 512;
const CHARGES: u64 = TURNS + 1_024;
const PROBED: u64 = 512;
const FILE_SIZE: u64 = 24;
const SEATS: u64 = 64;

impl LineLayout {
    fn of(limit: &RateLimit) -> LineLayout {
        let file = File::options().read(true).write(true).open(limit.path()).unwrap();
        let get = |at: u64| {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, at).unwrap();
            u64::from_ne_bytes(bytes)
        };
        let n = (2 * get(SEATS)).next_multiple_of(64).clamp(64, 4_096);
        let places = get(FILE_SIZE) - n * 128;
        let standing = places - (n / 8).next_multiple_of(64);
        LineLayout { file, standing, places }
    }

    fn set(&self, at: u64, word: u64) {
        self.file.write_all_at(&word.to_ne_bytes(), at).unwrap();
    }
}

fn now() -> u64 {
    shm_lib::now().as_nanos()
}

/// A waiter is served although `corrupt` has overwritten parts of the file.
#[track_caller]
fn assert_served_despite(what: &str, corrupt: impl Fn(&LineLayout)) {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(dir.path(), "100/s");
    drop(limit.wait().unwrap());
    drop(limit.wait().unwrap());
    corrupt(&LineLayout::of(&limit));
    for n in 0..3 {
        let mut acquiring = pin!(limit.acquire(1).timeout(3_000 * SECOND).into_future());
        let begun = Instant::now();
        loop {
            if let Poll::Ready(outcome) = acquiring.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                assert!(outcome.unwrap().is_admitted());
                break;
            }
            assert!(begun.elapsed() < 3 * SECOND, "{what}: caller {n} is not served");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn corrupt_places_delay_no_waiter() {
    for plan in [0, u64::MAX, now() + 3_600_000_000_000] {
        for (ticket, behind) in [(0, u64::MAX), (0, 0), (u64::MAX, 3)] {
            assert_served_despite(&format!("plan {plan}, ticket {ticket}"), |layout| {
                for place in 0..60 {
                    let at = layout.places + 128 * place;
                    layout.set(at, ticket);
                    layout.set(at + 8, plan);
                    layout.set(at + 24, behind);
                    layout.set(at + 32, u64::MAX);
                }
                layout.set(layout.standing, u64::MAX);
            });
        }
    }
}

#[test]
fn corrupt_turn_words_delay_no_waiter() {
    let words = [1 << 62, (1 << 62) + 77, (1 << 62) | 3 << 40 | 1, 3 << 62, u64::MAX, 1, (1 << 62) - 1];
    for word in words {
        assert_served_despite(&format!("turns of {word:x}"), |layout| {
            (0..64).for_each(|turn| layout.set(TURNS + 8 * turn, word));
        });
    }
}

#[test]
fn corrupt_turn_instants_delay_no_waiter() {
    for at in [u64::MAX, u64::MAX >> 1, now() + (800 * 86_400_000_000_000), 0, 1] {
        for epoch in [0, 1, 2, u64::MAX] {
            assert_served_despite(&format!("turns for {at} of epoch {epoch}"), |layout| {
                for turn in 0..64 {
                    layout.set(INSTANTS + 8 * turn, at);
                    layout.set(CHARGES + 96 * turn + 8, epoch);
                    layout.set(CHARGES + 96 * turn + 32, 1);
                    layout.set(TURNS + 8 * turn, 2 << 62 | 5);
                }
            });
        }
    }
}

#[test]
fn a_corrupt_probe_time_keeps_no_killed_process_in_line() {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(dir.path(), "100/s");
    let other = ChildProcess::start(dir.path(), "wait 1000000");
    until_waiting(&limit, 1);
    LineLayout::of(&limit).set(PROBED, u64::MAX);
    other.kill();
    let standing = |limit: &RateLimit| {
        let layout = LineLayout::of(limit);
        let mut bytes = [0; 8];
        layout.file.read_exact_at(&mut bytes, layout.standing).unwrap();
        u64::from_ne_bytes(bytes)
    };
    (0..20).for_each(|_| drop(limit.wait().unwrap()));
    assert_eq!(standing(&limit), 0, "the killed process is still in line");
}

/// Turns are charged for waiting callers. When a caller with a large request leaves in any way, the distant turn charged for it
/// must not delay callers with small requests.
#[test]
fn a_small_request_behind_an_abandoned_large_one_is_served_at_its_own_rate() {
    for policy in ["100/100s", "100/100s and another"] {
        for is_killed in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let builder = RateLimit::builder("line").directory(dir.path()).burst(100);
            let another = Limit::with_burst(Rate::new(1, SECOND).unwrap(), 100).unwrap();
            let builder = if policy.ends_with("another") { builder.and(another) } else { builder };
            let limit = builder.open(100, 100 * SECOND).unwrap();
            assert!(limit.try_acquire(100).unwrap().is_admitted());
            // The turn of the large request is 100 seconds away.
            let mut large = Box::pin(limit.acquire(100).into_future());
            let process = is_killed.then(|| ChildProcess::start(dir.path(), "large 100"));
            if process.is_none() {
                let polled = large.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(polled.is_pending());
            }
            until_waiting(&limit, 1);
            let small = thread::spawn({
                let limit = limit.clone();
                move || limit.acquire(1).timeout(120 * SECOND).wait().unwrap().is_admitted()
            });
            until_waiting(&limit, 2);
            // By then one call is available again.
            thread::sleep(Duration::from_millis(1_100));
            let gone = Instant::now();
            drop(large);
            process.into_iter().for_each(ChildProcess::kill);
            assert!(small.join().unwrap());
            assert!(gone.elapsed() < 15 * SECOND, "{policy}, {is_killed}: after {:?}", gone.elapsed());
        }
    }
}
