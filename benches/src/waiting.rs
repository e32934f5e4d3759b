//! Waiting: how late a caller wakes, in which order callers are served, and how soon they wake after a change.

use crate::baselines::shared_words;
use crate::processes::{Children, quantiles};
use crate::shm_limit::fixture;
use crate::standing::{exhausted, wait_until_queued};
use hdrhistogram::Histogram;
use shm_lib::{Limit, Rate, RateLimit};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How late a wait ends, next to a plain sleep of the same duration.
fn lateness() {
    println!(
        "\n| wait | late by, p50 µs | p99 µs | slowest µs | a plain sleep is late by, p50 µs | p99 µs | slowest µs |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (wait, samples) in [(1, 1_000), (10, 200), (1_000, 10)] {
        let time = Duration::from_millis(wait);
        let fixture = fixture(|b| b.open(1, time));
        let limit = &fixture.limit;
        let (mut waits, mut sleeps) = (empty(), empty());
        for _ in 0..samples {
            let admission = limit.wait().expect("an admission");
            waits.saturating_record(shm_lib::now().since(admission.at()).as_nanos() as u64);
            let began = shm_lib::now();
            std::thread::sleep(time);
            sleeps.saturating_record(shm_lib::now().since(began).saturating_sub(time).as_nanos() as u64);
            // Makes the next wait take the whole time.
            let _ = limit.reset();
            let _ = limit.try_acquire(1);
        }
        println!("| {time:?} ({samples} times) | {} | {} |", quantiles(&waits), quantiles(&sleeps));
    }
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds")
}

fn order_of_service() {
    const PROCESSES: usize = 64;
    const TURNS: usize = 40;
    let fixture = fixture(|b| b.open(2_000, Duration::from_secs(1)));
    let limit = &fixture.limit;
    let words = shared_words(PROCESSES * TURNS * 2);
    let work = |index: usize| {
        for turn in 0..TURNS {
            let arrived = shm_lib::now();
            let at = limit.wait().expect("an admission").at();
            let word = 2 * (index * TURNS + turn);
            words[word].store(arrived.as_nanos(), Ordering::Relaxed);
            words[word + 1].store(at.as_nanos(), Ordering::Relaxed);
        }
    };
    Children::fork(PROCESSES, work).wait();
    let pair = |pair: &[AtomicU64]| (pair[0].load(Ordering::Relaxed), pair[1].load(Ordering::Relaxed));
    let mut all: Vec<(u64, u64)> = words.chunks_exact(2).map(pair).collect();
    all.sort_unstable();
    let overtaken = all.windows(2).filter(|two| two[1].1 < two[0].1).count();
    let furthest = all.windows(2).map(|two| two[0].1.saturating_sub(two[1].1)).max().unwrap_or(0);
    println!(
        "\nOf {} waits by {PROCESSES} processes, {overtaken} overtook the wait that arrived just before them, by at most {:.1} ms (a \
         turn is 0.5 ms).",
        all.len(),
        furthest as f64 / 1e6
    );
}

fn wakeup_after_change() {
    const PROCESSES: usize = 64;
    let (mut last, mut first) = (empty(), empty());
    for _ in 0..20 {
        let fixture = exhausted(64);
        let words = shared_words(PROCESSES);
        let limit: &RateLimit = &fixture.limit;
        let children = Children::fork(PROCESSES, |index| {
            let _ = limit.wait();
            words[index].store(shm_lib::now().as_nanos(), Ordering::Relaxed);
        });
        wait_until_queued(limit, PROCESSES);
        std::thread::sleep(Duration::from_millis(20));
        let changed = shm_lib::now().as_nanos();
        let fast = Rate::new(1_000_000_000, Duration::from_secs(1)).expect("a rate");
        limit.change_policy(Limit::with_burst(fast, 1_000_000).expect("a limit")).expect("a change");
        children.wait();
        let awake = || words.iter().map(|word| word.load(Ordering::Relaxed).saturating_sub(changed));
        last.saturating_record(awake().max().unwrap_or(0));
        first.saturating_record(awake().min().unwrap_or(0));
    }
    println!(
        "\nAfter a change that admits all of {PROCESSES} sleeping processes, the first is awake and admitted after {:.2} ms, and the \
         last after {:.2} ms (medians of 20).",
        first.value_at_quantile(0.5) as f64 / 1e6,
        last.value_at_quantile(0.5) as f64 / 1e6
    );
}

pub(crate) fn print() {
    println!("\n## Waiting");
    lateness();
    order_of_service();
    wakeup_after_change();
}
