//! The limiters that are put under load.

use std::time::Duration;

/// A limiter, and how much it can deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name, one word.
    pub name: &'static str,
    /// Its limits, as [`policy::parse`](crate::policy::parse) reads them.
    pub policy: &'static str,
    /// The number of permits; 0: the limiter has none.
    pub permits: u32,
    /// How long an admitted client keeps its permit.
    pub hold: Duration,
    /// How many admissions it can deliver per second.
    pub per_second: u64,
    /// The longest time between two admissions while clients wait: how long the next call waits at most when no other
    /// client is left.
    pub interval: Duration,
}

const fn rate_limit(name: &'static str, policy: &'static str, interval_ms: u64) -> Kind {
    Kind {
        name,
        policy,
        permits: 0,
        hold: Duration::ZERO,
        per_second: 20,
        interval: Duration::from_millis(interval_ms),
    }
}

/// Evenly spaced, 20 per second.
pub const PATIENT: Kind = rate_limit("patient", "bucket:20/s:1", 50);

/// All kinds of limiters that can deliver 20 admissions per second.
pub const KINDS: [Kind; 6] = [
    PATIENT,
    rate_limit("burst", "bucket:20/s:10", 50),
    rate_limit("greedy", "greedy:20/1s", 1_000),
    rate_limit("window", "first:20/1s", 1_000),
    rate_limit("two-limits", "bucket:20/s:1+bucket:1200/1m:40", 50),
    Kind {
        name: "permits",
        policy: "bucket:1000000/s:1000000",
        permits: 4,
        hold: Duration::from_millis(200),
        per_second: 20,
        interval: Duration::from_millis(50),
    },
];

/// Evenly spaced, 1000 per second.
pub const FAST: Kind = Kind {
    name: "fast",
    policy: "bucket:1000/s:1",
    permits: 0,
    hold: Duration::ZERO,
    per_second: 1_000,
    interval: Duration::from_millis(1),
};
