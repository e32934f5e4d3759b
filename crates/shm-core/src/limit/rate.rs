//! A validated amount per period, so that the algorithms have nothing to check.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

/// The maximum of `per`: 366 days.
pub const MAX_PER: Duration = Duration::from_secs(366 * 86_400);

/// At most `max` admissions per `per`. In text: `5/s`, `100/10s`, `30/1m30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    max: NonZeroU64,
    per_ns: NonZeroU64,
}

impl Rate {
    pub(crate) const EVERY_SECOND: Rate =
        Rate { max: NonZeroU64::MIN, per_ns: NonZeroU64::new(1_000_000_000).unwrap() };

    /// Checks that the rate can be represented exactly.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `max` or `per` is zero, `per` is over 366 days, or the rate exceeds one admission
    /// per nanosecond.
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
                "{max} per {per:?} is more than one per nanosecond, the resolution of the clock; choose a lower rate"
            ));
        }
        Ok(Rate { max: nonzero_max, per_ns })
    }

    /// `max` per second.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn per_second(max: u64) -> Result<Self> {
        Rate::new(max, Duration::from_secs(1))
    }

    /// `max` per minute.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn per_minute(max: u64) -> Result<Self> {
        Rate::new(max, Duration::from_secs(60))
    }

    /// `max` per hour.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn per_hour(max: u64) -> Result<Self> {
        Rate::new(max, Duration::from_secs(3_600))
    }

    /// `max` per day of 24 hours.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn per_day(max: u64) -> Result<Self> {
        Rate::new(max, Duration::from_secs(86_400))
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

    /// Admissions per second as a floating-point number, for display and statistics.
    pub fn as_per_second(self) -> f64 {
        self.max() as f64 * 1e9 / self.per_ns() as f64
    }

    pub(super) fn same_ratio(self, other: Rate) -> bool {
        u128::from(self.max()) * u128::from(other.per_ns())
            == u128::from(other.max()) * u128::from(self.per_ns())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = super::format_span(self.per());
        // "5/s" is more readable than "5/1s".
        let span = match span.strip_prefix('1') {
            Some(unit) if !unit.contains(|c: char| c.is_ascii_digit()) => unit,
            _ => &span,
        };
        write!(f, "{}/{span}", self.max())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_can_be_constructed_by_period() {
        for (rate, text) in [
            (Rate::per_second(50), "50/s"),
            (Rate::per_minute(600), "600/m"),
            (Rate::per_hour(1), "1/h"),
            (Rate::per_day(10_000), "10000/day"),
        ] {
            let rate = rate.unwrap();
            assert_eq!(rate.to_string(), text);
            assert_eq!(text.parse::<Rate>().unwrap(), rate);
        }
        for refused in [Rate::per_second(0), Rate::per_day(0), Rate::per_second(1_000_000_001)] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }
}
