//! Two processes together, next to one alone.

use super::candidates::{Candidate, baseline, bucket, fixture, in_batches, in_memory, one_by_one, write_key};
use super::candidates::{DAY, Keys};
use super::rounds::{count, median};
use crate::baselines::shared_words;
use crate::processes::Children;
use harness::Rng;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const MANY: u64 = 10_000_000;
const MILLION: u64 = 1_000_000;
const WORKERS: usize = 2;
const SLICE: Duration = Duration::from_millis(40);
const SLICES: usize = 31;
/// Decisions between two looks at the phase.
const STRIDE: usize = 250;
/// Keys that a worker has prepared. They are read in their order.
const PREPARED: usize = 1_000_000;
/// The phase in which the workers end. Otherwise it has a bit for each worker that decides.
const END: u64 = 1 << 63;

/// Which keys the workers use.
#[derive(Clone, Copy)]
enum Traffic {
    Random,
    /// Every second request is for the same key.
    Hot,
    OnlyHot,
}

pub(super) fn print() {
    println!(
        "\n### Two processes\n\nDecisions per second of two processes, next to the mean of each alone: medians of {SLICES} turns of \
         {SLICE:?} each.\n\n| keys | one, M/s | two, M/s | ratio | target |\n|---|---|---|---|---|"
    );
    for keys in [MILLION, MANY] {
        row(&format!("baseline, random, {}", count(keys)), None, keys, Traffic::Random, || baseline(keys));
        let goal = Some(1.7);
        row(&format!("random, {}", count(keys)), goal, keys, Traffic::Random, || shm_limit(keys));
    }
    let goal = None;
    row("every second one the same, among a million", goal, MILLION, Traffic::Hot, || shm_limit(MILLION));
    row("only the same", goal, MILLION, Traffic::OnlyHot, || shm_limit(MILLION));
    row("only the same, denied", goal, MILLION, Traffic::OnlyHot, || {
        let fixture = fixture(in_memory(), MILLION, |builder| builder.open(1, DAY));
        one_by_one("denied", &fixture, None)
    });
}

/// A limiter whose keys are all in use.
fn shm_limit(keys: u64) -> Candidate {
    let fixture = fixture(in_memory(), keys, |builder| match keys {
        // The hot key is never denied.
        MILLION => builder.burst(1_000_000_000).open(1_000_000_000, Duration::from_secs(1)),
        _ => bucket(true)(builder),
    });
    let mut fill = in_batches("fill", &fixture, 16);
    Keys::new(keys).each_once(|keys| {
        let _ = (fill.decide)(keys);
    });
    one_by_one("shm-limit", &fixture, Some(true))
}

fn row(name: &str, target: Option<f64>, keys: u64, traffic: Traffic, make: impl FnOnce() -> Candidate) {
    let (one, two, ratio) = measure(make(), keys, traffic);
    let target = target.map_or_else(String::new, |target| format!("{target}"));
    println!("| {name} | {one:.2} | {two:.2} | {ratio:.2} | {target} |");
}

fn measure(candidate: Candidate, keys: u64, traffic: Traffic) -> (f64, f64, f64) {
    let words = shared_words(512);
    let (phase, ready) = (&words[0], &words[8]);
    let decided: Vec<&AtomicU64> = (0..WORKERS).map(|worker| &words[64 * (worker + 1)]).collect();
    let decide = std::cell::RefCell::new(candidate.decide);
    let children = Children::fork(WORKERS, |worker| {
        let prepared = prepare(worker as u64, keys, traffic);
        let mut decide = decide.borrow_mut();
        ready.fetch_add(1, Ordering::SeqCst);
        for keys in prepared.chunks(STRIDE).cycle() {
            loop {
                match phase.load(Ordering::Relaxed) {
                    END => return,
                    phase if phase >> worker & 1 != 0 => break,
                    _ => std::thread::sleep(Duration::from_micros(200)),
                }
            }
            decide(keys);
            decided[worker].fetch_add(keys.len() as u64, Ordering::Relaxed);
        }
    });
    while ready.load(Ordering::SeqCst) < WORKERS as u64 {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Millions per second of all workers, while those of the mask decide.
    let rate = |mask: u64| {
        let total = || decided.iter().map(|word| word.load(Ordering::Relaxed)).sum::<u64>();
        phase.store(mask, Ordering::Relaxed);
        std::thread::sleep(SLICE / 8);
        let (before, began) = (total(), Instant::now());
        std::thread::sleep(SLICE);
        (total() - before) as f64 / began.elapsed().as_secs_f64() / 1e6
    };
    let slices: Vec<(f64, f64)> =
        (0..SLICES).map(|_| ((rate(0b01) + rate(0b10)) / 2.0, rate(0b11))).collect();
    phase.store(END, Ordering::Relaxed);
    children.wait();
    let of = |part: fn(&(f64, f64)) -> f64| median(slices.iter().map(part));
    (of(|slice| slice.0), of(|slice| slice.1), of(|slice| slice.1 / slice.0))
}

fn prepare(worker: u64, keys: u64, traffic: Traffic) -> Vec<String> {
    let mut rng = Rng::seeded(worker + 77);
    let key = |i: usize| {
        let index = match traffic {
            Traffic::OnlyHot => 0,
            Traffic::Hot if i.is_multiple_of(2) => 0,
            _ => rng.below(keys),
        };
        let mut text = String::with_capacity(20);
        write_key(index, &mut text);
        text
    };
    (0..PREPARED).map(key).collect()
}
