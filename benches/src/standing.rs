//! The waiting line: what waiting callers cost, how soon the next caller continues, and whether the limit is delivered in full.
#![allow(unsafe_code)]

use crate::baselines::shared_words;
use crate::processes::{Children, cpu_time, quantiles};
use crate::shm_limit::{Fixture, fixture};
use hdrhistogram::Histogram;
use shm_lib::RateLimit;
use std::future::IntoFuture;
use std::io::{Read, Write};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn print() {
    println!("\n## Standing in line");
    sleepers();
    tasks();
    permit_handover();
    delivered_rate();
}

/// A limiter with this many seats whose only call is used; the next one comes in an hour.
pub(crate) fn exhausted(seats: usize) -> Fixture {
    let fixture = fixture(|b| b.seats(seats).open(1, HOUR));
    let _ = fixture.limit.try_acquire(1);
    fixture
}

/// Blocks until this many callers wait.
pub(crate) fn wait_until_queued(limit: &RateLimit, count: usize) {
    while limit.inspect().expect("a healthy limiter").callers_waiting() < count as u64 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// CPU time of waiting processes, next to processes that only sleep. Target: 1 %.
fn sleepers() {
    const SLEEPERS: usize = 1_000;
    const TIME: Duration = Duration::from_secs(10);
    let share = |children: &Children| {
        let before = cpu_time(children.pids());
        std::thread::sleep(TIME);
        100.0 * (cpu_time(children.pids()) - before).as_secs_f64() / TIME.as_secs_f64()
    };
    let baseline = {
        let children = Children::fork(SLEEPERS, |index| {
            std::thread::sleep(Duration::from_millis(10 * index as u64));
            loop {
                std::thread::sleep(TIME);
            }
        });
        std::thread::sleep(SECOND);
        share(&children)
    };
    let fixture = exhausted(SLEEPERS);
    let children =
        Children::fork(SLEEPERS, |_| drop(fixture.limit.acquire(1).timeout(100_000 * HOUR).wait()));
    wait_until_queued(&fixture.limit, SLEEPERS);
    println!(
        "\n{SLEEPERS} waiting processes use {:.2} % of a processor. (As many processes that only sleep, and wake every 10 seconds: \
         {baseline:.2} %.)",
        share(&children)
    );
}

/// Bytes that this process has allocated on the heap.
fn allocated() -> usize {
    // SAFETY: it has no arguments, and returns numbers.
    unsafe { libc::mallinfo2() }.uordblks
}

/// CPU time and memory of waiting tasks of one process. Target: one thread, 1 %, and 400 bytes each.
fn tasks() {
    const TASKS: usize = 10_000;
    const TIME: Duration = Duration::from_secs(10);
    // The last task waits for a week.
    let fixture = fixture(|b| b.open(1, Duration::from_secs(60)));
    let _ = fixture.limit.try_acquire(1);
    let acquire = || fixture.limit.acquire(1).timeout(100_000 * HOUR).into_future();
    let size = size_of_val(&acquire());
    let mut context = Context::from_waker(Waker::noop());
    let mut futures: Vec<_> = (0..TASKS).map(|_| acquire()).collect();
    let before = allocated();
    for future in &mut futures {
        assert!(Pin::new(future).poll(&mut context).is_pending());
    }
    let heap = (allocated() - before) as f64 / TASKS as f64;
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let me = nix::unistd::getpid();
    let before = cpu_time(&[me]);
    std::thread::sleep(TIME);
    let share = (cpu_time(&[me]) - before).as_secs_f64() / TIME.as_secs_f64();
    println!(
        "\n{TASKS} waiting futures of one process need {} thread that wakes them, {:.2} % of a processor, and {:.0} bytes each: \
         {size} in the future and {heap:.0} on the heap.",
        threads - 1,
        100.0 * share,
        heap + size as f64,
    );
}

/// The time from a release in one process until another process, which sleeps until then, continues.
struct Handover {
    released_at: &'static AtomicU64,
    received_at: &'static AtomicU64,
    times: Histogram<u64>,
}

impl Handover {
    const ROUNDS: usize = 3_000;

    fn new() -> Handover {
        let words = shared_words(2);
        let times = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds");
        Handover { released_at: &words[0], received_at: &words[1], times }
    }

    /// In the releasing process.
    fn release(&mut self, release: impl FnOnce()) {
        // Gives the other process time to fall asleep.
        std::thread::sleep(Duration::from_micros(300));
        self.received_at.store(0, Ordering::Relaxed);
        let released_at = shm_lib::now().as_nanos();
        self.released_at.store(released_at, Ordering::Relaxed);
        release();
        let received_at = loop {
            match self.received_at.load(Ordering::Acquire) {
                0 => std::thread::sleep(Duration::from_micros(20)),
                received_at => break received_at,
            }
        };
        self.times.saturating_record(received_at.saturating_sub(released_at));
    }

    /// In the process that continues.
    fn received(received_at: &AtomicU64) {
        received_at.store(shm_lib::now().as_nanos(), Ordering::Release);
    }
}

/// A permit, from its release in one process until `wait` returns in another. Target: 60 µs (p50) and 1 ms (p99).
fn permit_handover() {
    println!(
        "\n| handed over to a process that sleeps until then | p50 µs | p99 µs | slowest µs |\n|---|---|---|---|"
    );
    let mut handover = Handover::new();
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let received_at = handover.received_at;
    let child = Children::fork(1, |_| {
        let mut byte = [0];
        while (&reader).read(&mut byte).is_ok_and(|n| n == 1 && byte[0] == 1) {
            Handover::received(received_at);
        }
    });
    for _ in 0..Handover::ROUNDS {
        handover.release(|| drop(writer.write(&[1])));
    }
    drop(writer.write(&[0]));
    child.wait();
    println!("| a byte in a pipe | {} |", quantiles(&handover.times));
    for (name, with_rate) in
        [("a permit, without a rate", false), ("a permit, with a rate that never denies", true)]
    {
        let fixture = fixture(|b| {
            let b = b.permits(1);
            if with_rate { b.burst(1_000_000).open(1_000_000_000, SECOND) } else { b.open_permits() }
        });
        let mut handover = Handover::new();
        let received_at = handover.received_at;
        let limit = &fixture.limit;
        let held = limit.wait().expect("a permit");
        let child = Children::fork(1, |_| {
            for _ in 0..Handover::ROUNDS {
                let held = limit.wait().expect("a permit");
                Handover::received(received_at);
                // Makes sure that the other process waits, so that it gets the permit.
                while limit.inspect().expect("a healthy limiter").callers_waiting() == 0 {
                    std::thread::sleep(Duration::from_micros(50));
                }
                drop(held);
            }
        });
        let mut held = Some(held);
        for _ in 0..Handover::ROUNDS {
            wait_until_queued(limit, 1);
            handover.release(|| drop(held.take()));
            held = Some(limit.wait().expect("a permit"));
        }
        drop(held);
        child.wait();
        println!("| {name} | {} |", quantiles(&handover.times));
    }
}

/// How much of the rate is delivered to processes that request again immediately. Target: 99.9 %.
fn delivered_rate() {
    const PROCESSES: usize = 64;
    const RATE: u64 = 20_000;
    const TIME: Duration = Duration::from_secs(10);
    let fixture = fixture(|b| b.open(RATE, SECOND));
    let limit = &fixture.limit;
    let words = shared_words(PROCESSES * 2);
    let begin = shm_lib::now().plus(SECOND);
    let end = begin.plus(TIME);
    let work = |word: &AtomicU64| {
        loop {
            let at = limit.wait().expect("an admission").at();
            if at >= end {
                return;
            }
            if at >= begin {
                word.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let children = Children::fork(PROCESSES, |index| {
        std::thread::scope(|scope| {
            for thread in 0..2 {
                scope.spawn(move || work(&words[2 * index + thread]));
            }
        });
    });
    children.wait();
    let admitted: u64 = words.iter().map(|word| word.load(Ordering::Relaxed)).sum();
    let share = admitted as f64 / (RATE as f64 * TIME.as_secs_f64());
    println!(
        "\n{PROCESSES} processes with 2 threads each, which request again immediately, get {:.2} % of {RATE}/s.",
        100.0 * share
    );
}
