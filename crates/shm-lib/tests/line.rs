//! Attacks on the line of those who wait: changes at bad moments, the dead in front, bytes that nobody wrote.

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

/// What a process started by these tests does, and where.
const ROLE: &str = "SHM_LIMIT_TEST_ROLE";
const DIR: &str = "SHM_LIMIT_TEST_DIR";

fn open(dir: &Path, rate: &str) -> RateLimit {
    RateLimit::builder("line").directory(dir).open_rate(rate.parse().unwrap()).unwrap()
}

/// How much of a processor this thread has used.
fn used() -> Duration {
    let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid timespec to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut used) };
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

/// Another process, killed at the end.
struct Other(Child);

impl Other {
    fn start(dir: &Path, role: &str) -> Other {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "another_process", "--nocapture", "--test-threads=1"]);
        Other(command.env(ROLE, role).env(DIR, dir).spawn().unwrap())
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a test of its own: what the processes do that the tests start.
#[test]
fn another_process() {
    let (Ok(role), Ok(dir)) = (std::env::var(ROLE), std::env::var(DIR)) else { return };
    let limit = RateLimit::builder("line").directory(&dir).attach().unwrap();
    let (what, n) = role.split_once(' ').unwrap();
    let n: usize = n.parse().unwrap();
    match what {
        "large" => drop(limit.acquire(n as u64).wait().unwrap()),
        "wait" => (0..n).for_each(|_| drop(limit.wait().unwrap())),
        // So many callers that stand and never look again.
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

/// Waits until so many callers stand.
fn until_waiting(limit: &RateLimit, callers: u64) {
    let begun = Instant::now();
    while limit.inspect().unwrap().callers_waiting() < callers {
        assert!(begun.elapsed() < 20 * SECOND, "nobody stands");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whoever looks while the limits change charges one turn by the next ones, not turn after turn until a year is full.
#[test]
fn a_change_while_a_waiter_looks_charges_no_more_than_the_line_needs() {
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
            let queued = limit.peek().unwrap().queued;
            if queued > 70 {
                over.store(true, Ordering::Relaxed);
                limit.reset().unwrap();
                panic!("{queued} turns are charged for two who wait");
            }
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// Fewer permits than are held: whoever waits sleeps, and gets one when enough have come back.
#[test]
fn a_waiter_sleeps_while_more_permits_are_held_than_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let builder = RateLimit::builder("line").directory(dir.path());
    let limit = builder.permits(3).open_rate("1000/s".parse().unwrap()).unwrap();
    let mut held: Vec<_> = (0..3).map(|_| limit.wait().unwrap()).collect();
    limit.change_policy(Policy::from(limit.limit().unwrap()).with_permits(1).unwrap()).unwrap();
    // The one that is still in force is free, but two are held.
    held.remove(0);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| (limit.acquire(1).timeout(10 * SECOND).wait().unwrap(), used()));
        until_waiting(&limit, 1);
        thread::sleep(SECOND / 2);
        held.clear();
        let (outcome, busy) = waiter.join().unwrap();
        assert!(outcome.is_admitted());
        assert!(busy < SECOND / 8, "it used {busy:?} of a processor");
    });
}

/// Those who died left turns that came before anybody who lives arrived: they keep nobody waiting.
#[test]
fn turns_of_the_dead_hold_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(dir.path(), "500/s");
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let other = Other::start(dir.path(), "wait 1000000");
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

/// However many callers one process had: when it is killed the others notice.
#[test]
fn a_crowd_that_is_killed_is_passed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(dir.path(), "10/s");
    let crowd = Other::start(dir.path(), "crowd 3000");
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

/// Nobody looks after those who were killed behind others that live. Before a caller is refused because of them they are
/// looked for.
#[test]
fn the_dead_in_the_middle_of_the_line_refuse_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(dir.path(), "1/h");
    drop(limit.wait().unwrap());
    // So many processes that the next one looks once in half a second.
    let before: Vec<_> = (1..=6)
        .map(|n| {
            let other = Other::start(dir.path(), "wait 1");
            until_waiting(&limit, n);
            other
        })
        .collect();
    let crowd = Other::start(dir.path(), "crowd 50");
    until_waiting(&limit, 56);
    let joins = || {
        let mut acquiring = Box::pin(limit.acquire(1).max_waiters(30).into_future());
        acquiring.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
    };
    // On a busy machine one that is late is not counted for a moment.
    let begun = Instant::now();
    while joins() {
        assert!(begun.elapsed() < 20 * SECOND, "a caller joins 56 others");
    }
    crowd.kill();
    thread::sleep(Duration::from_millis(150));
    assert!(joins());
    assert_eq!(limit.inspect().unwrap().callers_waiting(), 6);
    before.into_iter().for_each(Other::kill);
}

/// Where the parts of the line are: see docs/format.md.
struct Parts {
    file: File,
    standing: u64,
    places: u64,
}

const TURNS: u64 = 9_216;
const INSTANTS: u64 = TURNS + 512;
const CHARGES: u64 = TURNS + 1_024;
const PROBED: u64 = 512;
const FILE_SIZE: u64 = 24;
const SEATS: u64 = 64;

impl Parts {
    fn of(limit: &RateLimit) -> Parts {
        let file = File::options().read(true).write(true).open(limit.path()).unwrap();
        let get = |at: u64| {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, at).unwrap();
            u64::from_ne_bytes(bytes)
        };
        let n = (2 * get(SEATS)).next_multiple_of(64).clamp(64, 4_096);
        let places = get(FILE_SIZE) - n * 128;
        let standing = places - (n / 8).next_multiple_of(64);
        Parts { file, standing, places }
    }

    fn set(&self, at: u64, word: u64) {
        self.file.write_all_at(&word.to_ne_bytes(), at).unwrap();
    }
}

fn now() -> u64 {
    shm_lib::now().as_nanos()
}

/// With such bytes in the file, one who waits is served all the same.
#[track_caller]
fn is_served_in_spite_of(what: &str, spoil: impl Fn(&Parts)) {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(dir.path(), "100/s");
    drop(limit.wait().unwrap());
    drop(limit.wait().unwrap());
    spoil(&Parts::of(&limit));
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
fn places_that_nobody_has_hold_nobody_up() {
    for plan in [0, u64::MAX, now() + 3_600_000_000_000] {
        for (ticket, behind) in [(0, u64::MAX), (0, 0), (u64::MAX, 3)] {
            is_served_in_spite_of(&format!("plan {plan}, ticket {ticket}"), |parts| {
                for place in 0..60 {
                    let at = parts.places + 128 * place;
                    parts.set(at, ticket);
                    parts.set(at + 8, plan);
                    parts.set(at + 24, behind);
                    parts.set(at + 32, u64::MAX);
                }
                parts.set(parts.standing, u64::MAX);
            });
        }
    }
}

#[test]
fn turns_that_nobody_fills_hold_nobody_up() {
    let words = [1 << 62, (1 << 62) + 77, (1 << 62) | 3 << 40 | 1, 3 << 62, u64::MAX, 1, (1 << 62) - 1];
    for word in words {
        is_served_in_spite_of(&format!("turns of {word:x}"), |parts| {
            (0..64).for_each(|turn| parts.set(TURNS + 8 * turn, word));
        });
    }
}

#[test]
fn turns_that_never_come_hold_nobody_up() {
    for at in [u64::MAX, u64::MAX >> 1, now() + (800 * 86_400_000_000_000), 0, 1] {
        for epoch in [0, 1, 2, u64::MAX] {
            is_served_in_spite_of(&format!("turns for {at} of epoch {epoch}"), |parts| {
                for turn in 0..64 {
                    parts.set(INSTANTS + 8 * turn, at);
                    parts.set(CHARGES + 96 * turn + 8, epoch);
                    parts.set(CHARGES + 96 * turn + 32, 1);
                    parts.set(TURNS + 8 * turn, 2 << 62 | 5);
                }
            });
        }
    }
}

#[test]
fn a_probe_in_the_future_keeps_no_dead_in_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(dir.path(), "100/s");
    let other = Other::start(dir.path(), "wait 1000000");
    until_waiting(&limit, 1);
    Parts::of(&limit).set(PROBED, u64::MAX);
    other.kill();
    let standing = |limit: &RateLimit| {
        let parts = Parts::of(limit);
        let mut bytes = [0; 8];
        parts.file.read_exact_at(&mut bytes, parts.standing).unwrap();
        u64::from_ne_bytes(bytes)
    };
    (0..20).for_each(|_| drop(limit.wait().unwrap()));
    assert_eq!(standing(&limit), 0, "the dead still stands");
}

/// Turns are charged for those who stand: one that asks for much and goes, in whatever way, must not leave its turn, which is
/// far away, to those who ask for little.
#[test]
fn behind_one_that_asks_for_much_and_goes_the_next_is_served_as_if_it_had_never_come() {
    for policy in ["100/100s", "100/100s and another"] {
        for is_killed in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let builder = RateLimit::builder("line").directory(dir.path()).burst(100);
            let another = Limit::with_burst(Rate::new(1, SECOND).unwrap(), 100).unwrap();
            let builder = if policy.ends_with("another") { builder.and(another) } else { builder };
            let limit = builder.open(100, 100 * SECOND).unwrap();
            assert!(limit.try_acquire(100).unwrap().is_admitted());
            // Its turn is 100 seconds away.
            let mut large = Box::pin(limit.acquire(100).into_future());
            let process = is_killed.then(|| Other::start(dir.path(), "large 100"));
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
            // One call is there again.
            thread::sleep(Duration::from_millis(1_100));
            let gone = Instant::now();
            drop(large);
            process.into_iter().for_each(Other::kill);
            assert!(small.join().unwrap());
            assert!(gone.elapsed() < 15 * SECOND, "{policy}, {is_killed}: after {:?}", gone.elapsed());
        }
    }
}
