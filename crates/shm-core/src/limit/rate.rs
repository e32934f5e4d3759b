//! A rate: an amount per period, validated once on construction.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

/// The longest period of a rate: 366 days.
pub const MAX_PER: Duration = Duration::from_secs(366 * 86_400);

/// Written as `week`, and not as `7days`.
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// A rate: at most `max` calls (or amounts of another unit) per period `per`. Its text form is `5/s`, `100/10s`, `30/1m30s`.
///
/// ```
/// # use shm_core::limit::Rate;
/// # use std::time::Duration;
/// # fn main() -> shm_core::Result<()> {
/// let rate = Rate::new(30, Duration::from_secs(90))?;
/// assert_eq!(rate, "30/1m30s".parse()?);
/// assert_eq!(rate.emission_interval(), Duration::from_secs(3));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    max: NonZeroU64,
    per_ns: NonZeroU64,
}

impl Rate {
    pub(crate) const EVERY_SECOND: Rate =
        Rate { max: NonZeroU64::MIN, per_ns: NonZeroU64::new(1_000_000_000).unwrap() };

    /// `max` per `per`.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Rate};
    /// let rate = Rate::new(100, std::time::Duration::from_secs(10))?;
    /// assert_eq!(rate.to_string(), "100/10s");
    /// assert!(Rate::new(0, std::time::Duration::from_secs(1)).is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `max` or `per` is zero, `per` is longer than 366 days, or the rate is more than one per
    /// nanosecond.
    pub fn new(max: u64, per: Duration) -> Result<Self> {
        let bad = |why: String| Err(Error::new(ErrorKind::InvalidInput, why));
        let Some(nonzero_max) = NonZeroU64::new(max) else {
            return bad("a rate of 0 would admit nothing; to stop a limiter for a while, pause it".into());
        };
        if per > MAX_PER {
            return bad(format!("a period of {per:?} is too long; the longest is 366 days"));
        }
        let Some(per_ns) = NonZeroU64::new(per.as_nanos() as u64) else {
            return bad("the period of a rate cannot be zero; write for example 5 per second".into());
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
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Rate};
    /// assert_eq!(Rate::per_second(5)?.to_string(), "5/s");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn per_second(max: u64) -> Result<Self> {
        Rate::new(max, Duration::from_secs(1))
    }

    /// `max` per minute.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Rate};
    /// assert_eq!(Rate::per_minute(5)?.to_string(), "5/m");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn per_minute(max: u64) -> Result<Self> {
        Rate::new(max, Duration::from_secs(60))
    }

    /// `max` per hour.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Rate};
    /// assert_eq!(Rate::per_hour(5)?.to_string(), "5/h");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn per_hour(max: u64) -> Result<Self> {
        Rate::new(max, Duration::from_secs(3_600))
    }

    /// `max` per day of 24 hours.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Rate};
    /// assert_eq!(Rate::per_day(5)?.to_string(), "5/day");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn per_day(max: u64) -> Result<Self> {
        Rate::new(max, Duration::from_secs(86_400))
    }

    /// The amount per period.
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

    /// The time between two evenly spaced calls, `per / max`, rounded down to nanoseconds.
    pub fn emission_interval(self) -> Duration {
        Duration::from_nanos(self.per_ns() / self.max())
    }

    /// The amount per second, for display and statistics.
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
        let span = match self.per() {
            WEEK => "week".to_owned(),
            per => super::format_span(per),
        };
        // "1s" reads best as "s": 5/s, not 5/1s.
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
    fn a_rate_can_be_given_by_its_period() {
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
