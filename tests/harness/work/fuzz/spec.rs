//! Limiters of all kinds.

use harness::{Rng, policy};
use shm_lib::{Builder, Cost, Policy, RateLimit, Unit};
use std::path::Path;

/// Policies as `policy::parse` reads them, and permits. Fast ones and slow ones: `RATE` is put in.
const POLICIES: [(&str, u64); 16] = [
    ("bucket:RATE:1", 0),
    ("bucket:RATE:5", 0),
    ("greedy:RATE", 0),
    ("fixed:RATE", 0),
    ("first:RATE", 0),
    ("sliding:RATE", 0),
    ("bucket:RATE:5+greedy:RATE", 0),
    ("greedy:RATE+greedy:RATE", 0),
    ("bucket:RATE:3+greedy:RATE+fixed:RATE+sliding:RATE", 0),
    ("bucket:RATE:5+bucket:RATE:9@tokens", 0),
    ("greedy:RATE+sliding:RATE@tokens", 3),
    ("bucket:RATE:5", 3),
    ("greedy:RATE~1ms+first:RATE", 0),
    ("bucket:RATE:5", 200),
    ("none", 3),
    ("bucket:RATE:2+greedy:RATE@tokens", 65_535),
];
const RATES: [&str; 5] = ["10/s", "1000/s", "10/10ms", "10/366d", "10/1h"];

/// How one is made.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) policy: Policy,
    pub(super) seats: usize,
    pub(super) has_units: bool,
}

impl Spec {
    pub(super) fn any(rng: &mut Rng) -> Spec {
        let rate = RATES[rng.below(RATES.len() as u64) as usize];
        let mut index = rng.below(POLICIES.len() as u64) as usize;
        // It is large: now and then only.
        if index == POLICIES.len() - 1 && rng.below(8) > 0 {
            index = 0;
        }
        Spec::of(index, rate, rng.below(12) == 0, [1, 4, 4, 9][rng.below(4) as usize])
    }

    /// One that refills in years: what is admitted was there before.
    pub(super) fn slow(rng: &mut Rng) -> Spec {
        // Not fixed windows since 1970: one could begin.
        let index = [0, 1, 2, 4, 5, 6, 7, 11][rng.below(8) as usize];
        Spec::of(index, "10/366d", false, 4)
    }

    fn of(index: usize, rate: &str, shadow: bool, seats: usize) -> Spec {
        let (text, permits) = POLICIES[index];
        let policy = policy::parse(&text.replace("RATE", rate), permits).in_shadow(shadow);
        Spec { policy, seats, has_units: text.contains('@') }
    }

    pub(super) fn builder(&self, dir: &Path) -> Builder {
        RateLimit::builder("f").directory(dir).seats(self.seats)
    }

    /// A small request that it understands.
    pub(super) fn cost(&self, n: u64) -> Cost {
        let tokens = Unit::named("tokens").expect("a unit");
        if self.has_units { Cost::from(n).and(tokens, n) } else { Cost::from(n) }
    }

    /// The most that it admits at once; some number where there is no limit.
    pub(super) fn most(&self) -> u64 {
        self.policy.limits().map(shm_lib::Limit::burst).min().unwrap_or(9)
    }
}
