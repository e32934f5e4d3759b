//! Shared parts of the loom tests.

#[cfg(not(shuttle))]
mod record;
#[cfg(not(shuttle))]
mod word;

use super::*;
use crate::clock::Nanos;
use crate::layout::{GENERATIONS, Generation};
use crate::limit::{Limit, Policy, Rate};
use crate::sync::AtomicU64;
use std::time::Duration;

/// So slow that time is irrelevant: only the burst matters.
pub(crate) fn bucket(burst: u64) -> Limit {
    Limit::with_burst(Rate::new(1, Duration::from_secs(86_400)).unwrap(), burst).unwrap()
}

pub(crate) fn keep(policy: impl Into<Policy>) -> Config {
    Config { starts_empty: false, ..Config::new(policy.into(), at(0)) }
}

fn at(ns: u64) -> Nanos {
    Nanos::from_nanos(ns)
}

pub(crate) fn now() -> Nanos {
    at(10)
}

/// A later instant: right after a change, slightly more counts as used than was (`CLOCK_SLACK`).
fn later() -> Nanos {
    at(1_000_000)
}

/// The generations, without a file.
pub(crate) struct Ring {
    epoch: AtomicU64,
    places: [Generation; GENERATIONS],
}

impl Ring {
    pub(crate) fn new() -> Ring {
        Ring { epoch: AtomicU64::new(0), places: std::array::from_fn(|_| Generation::model()) }
    }

    pub(crate) fn generations(&self) -> Generations<'_> {
        Generations::for_model(&self.epoch, &self.places)
    }
}
