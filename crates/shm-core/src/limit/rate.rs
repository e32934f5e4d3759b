//! How much per how long, and the burst: checked once, here, so that the inside has nothing to check.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

/// The longest `per`: 366 days.
pub const MAX_PER: Duration = Duration::from_secs(366 * 86_400);
/// The longest time an empty bucket may take to fill (`burst × per / max`): ten years.
pub const MAX_REFILL: Duration = Duration::from_secs(3_653 * 86_400);

/// At most `max` admissions per `per`. Written `5/s`, `100/10s`, `30/1m30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    max: NonZeroU64,
    per_ns: NonZeroU64,
}

impl Rate {
    /// Checks that the rate can be kept exactly.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when `max` or `per` is zero, `per` is over 366 days, or the rate is over one
    /// admission per nanosecond.
    pub fn new(max: u64, per: Duration) -> Result<Self> {
        let bad = |why: String| Err(Error::new(ErrorKind::InvalidInput, why));
        let Some(nonzero_max) = NonZeroU64::new(max) else {
            return bad("a rate of 0 would admit nothing; to stop a limiter for a while, pause it".into());
        };
        if per > MAX_PER {
            return bad(format!("a period of {per:?} is too long; the longest is 366 days"));
        }
        let Some(per_ns) = NonZeroU64::new(per.as_nanos() as u64) else {
            return bad("the period of a rate can't be zero; write for example 5 per second".into());
        };
        if max > per_ns.get() {
            return bad(format!(
                "{max} per {per:?} is over one per nanosecond, finer than any clock here; ask for less"
            ));
        }
        Ok(Rate { max: nonzero_max, per_ns })
    }

    /// Admissions per [`per`](Self::per).
    pub fn max(self) -> u64 {
        self.max.get()
    }

    /// The period.
    pub fn per(self) -> Duration {
        Duration::from_nanos(self.per_ns.get())
    }

    pub(crate) fn per_ns(self) -> u64 {
        self.per_ns.get()
    }

    /// The time between two evenly spaced admissions, `per / max`, rounded down.
    pub fn emission_interval(self) -> Duration {
        Duration::from_nanos(self.per_ns() / self.max())
    }

    /// Admissions per second, for display.
    pub fn per_second(self) -> f64 {
        self.max() as f64 * 1e9 / self.per_ns() as f64
    }

    fn same_ratio(self, other: Rate) -> bool {
        u128::from(self.max()) * u128::from(other.per_ns())
            == u128::from(other.max()) * u128::from(self.per_ns())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = super::format_span(self.per());
        // "1s" reads best as "s": 5/s, not 5/1s.
        let span = match span.strip_prefix('1') {
            Some(unit) if !unit.contains(|c: char| c.is_ascii_digit()) => unit,
            _ => &span,
        };
        write!(f, "{}/{span}", self.max())
    }
}

/// A rate, and how many may pass at one instant after a pause (the burst).
///
/// A burst of 1 is *patient*: admissions are evenly spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    rate: Rate,
    burst: NonZeroU64,
}

impl Limit {
    /// Evenly spaced admissions: a burst of 1.
    pub fn patient(rate: Rate) -> Self {
        Limit { rate, burst: NonZeroU64::MIN }
    }

    /// On average `rate`, with bursts of at most `burst`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when `burst` is zero or would take over ten years to refill.
    pub fn with_burst(rate: Rate, burst: u64) -> Result<Self> {
        let Some(nonzero) = NonZeroU64::new(burst) else {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a burst of 0 would admit nothing; the smallest burst is 1 (evenly spaced)",
            ));
        };
        let refill_ns = u128::from(burst) * u128::from(rate.per_ns()) / u128::from(rate.max());
        if refill_ns > MAX_REFILL.as_nanos() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "a burst of {burst} at {rate} takes over ten years to refill; ask for a smaller burst"
                ),
            ));
        }
        Ok(Limit { rate, burst: nonzero })
    }

    /// The rate on average.
    pub fn rate(self) -> Rate {
        self.rate
    }

    /// How many may pass at one instant.
    pub fn burst(self) -> u64 {
        self.burst.get()
    }

    /// Whether both admit exactly the same: 10/s is the same limit as 600/m.
    pub fn is_equivalent(self, other: Limit) -> bool {
        self.burst == other.burst && self.rate.same_ratio(other.rate)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.burst() {
            1 => write!(f, "{} evenly spaced", self.rate),
            n => write!(f, "{} with bursts of {n}", self.rate),
        }
    }
}
