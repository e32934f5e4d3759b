//! Two processes together, next to one alone.

use super::candidates::{Candidate, baseline, bucket, fixture, in_memory, one_by_one, write_key};
use super::candidates::{DAY, Keys};
use super::rounds::{count, median};
use crate::baselines::shared_words;
use crate::processes::{Children, cpu_time};
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
         {} ms each. The last column compares decisions per CPU time, twofold: on a machine \
         that is busy otherwise, the ratio mostly says how busy, and the processes rarely run at the same time.\n\n| keys | one, M/s | two, M/s | ratio | target | by CPU time |\n|---|---|---|---|---|---|",
        SLICE.as_millis()
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
        _ => bucket(MANY, true)(builder),
    });
    one_by_one("shm-limit", &fixture, Some(true))
}

fn row(name: &str, target: Option<f64>, keys: u64, traffic: Traffic, make: impl FnOnce() -> Candidate) {
    let [one, two, ratio, by_cpu] = measure(make(), keys, traffic);
    let target = target.map_or_else(String::new, |target| format!("{target}"));
    println!("| {name} | {one:.2} | {two:.2} | {ratio:.2} | {target} | {by_cpu:.2} |");
}

/// The throughputs of one and of two in millions per second, their ratio, and that of the decisions per CPU time, twofold.
fn measure(mut candidate: Candidate, keys: u64, traffic: Traffic) -> [f64; 4] {
    // All of the memory is there.
    Keys::new(keys).each_once(|keys| {
        let _ = (candidate.decide)(keys);
    });
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
    // Millions per second of all workers while those of the mask decide, and per second of their CPU time.
    let rates = |mask: u64| {
        let total = || decided.iter().map(|word| word.load(Ordering::Relaxed)).sum::<u64>();
        phase.store(mask, Ordering::Relaxed);
        std::thread::sleep(SLICE / 8);
        let (before, cpu, began) = (total(), cpu_time(children.pids()), Instant::now());
        std::thread::sleep(SLICE);
        let done = (total() - before) as f64 / 1e6;
        let cpu = cpu_time(children.pids()) - cpu;
        (done / began.elapsed().as_secs_f64(), done / cpu.as_secs_f64())
    };
    let slice = || {
        let (a, b, both) = (rates(0b01), rates(0b10), rates(0b11));
        [(a.0 + b.0) / 2.0, both.0, 2.0 * both.0 / (a.0 + b.0), 4.0 * both.1 / (a.1 + b.1)]
    };
    let slices: Vec<[f64; 4]> = (0..SLICES).map(|_| slice()).collect();
    phase.store(END, Ordering::Relaxed);
    children.wait();
    std::array::from_fn(|i| median(slices.iter().map(|slice| slice[i])))
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
