//! The line: what callers that stand in it cost, how soon the next one goes on, and whether all that is there is served.
#![allow(unsafe_code)]

use crate::floors::shared_words;
use crate::ours::{Place, place};
use crate::processes::{Children, processor_time, quantiles};
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
    handing_over();
    in_full();
}

/// A limiter with places for twice so many processes, whose one call is taken: the next comes in an hour.
pub(crate) fn far(seats: usize) -> Place {
    let place = place(|b| b.seats(seats).open(1, HOUR));
    let _ = place.limit.try_acquire(1);
    place
}

/// Until so many wait.
pub(crate) fn until_queued(limit: &RateLimit, count: usize) {
    while limit.inspect().expect("a healthy limiter").callers_waiting() < count as u64 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Processes that sleep, beside some that look at nothing when they wake. To reach: 1 %.
fn sleepers() {
    const SLEEPERS: usize = 1_000;
    const TIME: Duration = Duration::from_secs(10);
    let share = |children: &Children| {
        let before = processor_time(children.pids());
        std::thread::sleep(TIME);
        100.0 * (processor_time(children.pids()) - before).as_secs_f64() / TIME.as_secs_f64()
    };
    let floor = {
        let children = Children::fork(SLEEPERS, |index| {
            std::thread::sleep(Duration::from_millis(10 * index as u64));
            loop {
                std::thread::sleep(TIME);
            }
        });
        std::thread::sleep(SECOND);
        share(&children)
    };
    let place = far(SLEEPERS);
    let children = Children::fork(SLEEPERS, |_| drop(place.limit.acquire(1).timeout(100_000 * HOUR).wait()));
    until_queued(&place.limit, SLEEPERS);
    println!(
        "\n{SLEEPERS} sleeping processes use {:.2} % of a processor. (As many that wake every 10 seconds and look at nothing: \
         {floor:.2} %.)",
        share(&children)
    );
}

/// Bytes that this process has allocated.
fn allocated() -> usize {
    // SAFETY: it takes nothing, and returns numbers.
    unsafe { libc::mallinfo2() }.uordblks
}

/// Tasks of one process that wait. To reach: one thread, 1 %, 400 bytes each.
fn tasks() {
    const TASKS: usize = 10_000;
    const TIME: Duration = Duration::from_secs(10);
    // The last of them waits for a week.
    let place = place(|b| b.open(1, Duration::from_secs(60)));
    let _ = place.limit.try_acquire(1);
    let acquire = || place.limit.acquire(1).timeout(100_000 * HOUR).into_future();
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
    let before = processor_time(&[me]);
    std::thread::sleep(TIME);
    let share = (processor_time(&[me]) - before).as_secs_f64() / TIME.as_secs_f64();
    println!(
        "\n{TASKS} waiting futures of one process: {} thread that wakes them, {:.2} % of a processor; {:.0} bytes each, {size} \
         in the future and {heap:.0} beside it.",
        threads - 1,
        100.0 * share,
        heap + size as f64,
    );
}

/// How long after one process gives something back another one goes on, which slept for it.
struct Relay {
    given: &'static AtomicU64,
    taken: &'static AtomicU64,
    times: Histogram<u64>,
}

impl Relay {
    const ROUNDS: usize = 3_000;

    fn new() -> Relay {
        let words = shared_words(2);
        let times = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds");
        Relay { given: &words[0], taken: &words[1], times }
    }

    /// In the process that gives.
    fn give(&mut self, give: impl FnOnce()) {
        // So that the other one sleeps.
        std::thread::sleep(Duration::from_micros(300));
        self.taken.store(0, Ordering::Relaxed);
        let given = shm_lib::now().as_nanos();
        self.given.store(given, Ordering::Relaxed);
        give();
        let taken = loop {
            match self.taken.load(Ordering::Acquire) {
                0 => std::thread::sleep(Duration::from_micros(20)),
                taken => break taken,
            }
        };
        self.times.saturating_record(taken.saturating_sub(given));
    }

    /// In the one that goes on.
    fn goes_on(taken: &AtomicU64) {
        taken.store(shm_lib::now().as_nanos(), Ordering::Release);
    }
}

/// A permit, from its release in one process to the return of the next holder in another. To reach: 60 µs and 1 ms.
fn handing_over() {
    println!(
        "\n| handed to another process that sleeps for it | p50 µs | p99 µs | slowest µs |\n|---|---|---|---|"
    );
    let mut relay = Relay::new();
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let taken = relay.taken;
    let child = Children::fork(1, |_| {
        let mut byte = [0];
        while (&reader).read(&mut byte).is_ok_and(|n| n == 1 && byte[0] == 1) {
            Relay::goes_on(taken);
        }
    });
    for _ in 0..Relay::ROUNDS {
        relay.give(|| drop(writer.write(&[1])));
    }
    drop(writer.write(&[0]));
    child.wait();
    println!("| a byte in a pipe | {} |", quantiles(&relay.times));
    for (name, with_rate) in [("a permit, no rate", false), ("a permit, and a rate that is no matter", true)]
    {
        let place = place(|b| {
            let b = b.permits(1);
            if with_rate { b.burst(1_000_000).open(1_000_000_000, SECOND) } else { b.open_permits() }
        });
        let mut relay = Relay::new();
        let taken = relay.taken;
        let limit = &place.limit;
        let held = limit.wait().expect("a permit");
        let child = Children::fork(1, |_| {
            for _ in 0..Relay::ROUNDS {
                let held = limit.wait().expect("a permit");
                Relay::goes_on(taken);
                // The other one is next, as soon as it stands.
                while limit.inspect().expect("a healthy limiter").callers_waiting() == 0 {
                    std::thread::sleep(Duration::from_micros(50));
                }
                drop(held);
            }
        });
        let mut held = Some(held);
        for _ in 0..Relay::ROUNDS {
            until_queued(limit, 1);
            relay.give(|| drop(held.take()));
            held = Some(limit.wait().expect("a permit"));
        }
        drop(held);
        child.wait();
        println!("| {name} | {} |", quantiles(&relay.times));
    }
}

/// What many processes get that ask again at once. To reach: 99.9 %.
fn in_full() {
    const PROCESSES: usize = 64;
    const RATE: u64 = 20_000;
    const TIME: Duration = Duration::from_secs(10);
    let place = place(|b| b.open(RATE, SECOND));
    let limit = &place.limit;
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
        "\n{PROCESSES} processes with 2 threads each that ask again at once get {:.2} % of {RATE}/s.",
        100.0 * share
    );
}
