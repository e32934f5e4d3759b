//! Scenarios that are too long for loom, in random interleavings, by shuttle: several processes, each with several
//! consecutive operations, in simulated time. Run by `cargo xtask test loom`; longer by `cargo xtask interleave`.

mod line;
mod permits;
mod states;

use crate::clock::Nanos;
use shuttle::rand::Rng;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of interleavings of each scenario.
fn interleavings() -> usize {
    std::env::var("SHM_LIMIT_INTERLEAVINGS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000)
}

/// Half of them random, half with few preemptions at unlikely points (PCT).
fn play(scene: impl Fn() + Send + Sync + Copy + 'static) {
    let mut config = Config::new();
    config.max_steps = shuttle::MaxSteps::None;
    // Each scene, with all its words, is built on the stack of the first task.
    config.stack_size = 1 << 20;
    Runner::new(RandomScheduler::new(interleavings() / 2), config.clone()).run(scene);
    Runner::new(PctScheduler::new(4, interleavings() / 2), config).run(scene);
}

fn roll(n: u64) -> u64 {
    shuttle::rand::thread_rng().gen_range(0..n)
}

/// A clock shared by all processes. It advances when one waits, and slightly with each reading.
struct Time(AtomicU64);

impl Time {
    const START: u64 = 1_000_000_000;

    fn new() -> Time {
        Time(AtomicU64::new(Time::START))
    }

    fn now(&self) -> Nanos {
        Nanos::from_nanos(self.0.fetch_add(roll(50), Ordering::Relaxed))
    }

    fn wait_until(&self, at: Nanos) {
        self.0.fetch_max(at.as_nanos(), Ordering::Relaxed);
    }
}
