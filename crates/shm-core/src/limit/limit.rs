//! One limit: a rate, how it is counted, and what it counts. The validated way in.

use super::{Rate, Unit, format_span};
use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

/// The longest time an empty bucket may take to fill (`burst × per / max`): ten years.
pub const MAX_REFILL: Duration = Duration::from_secs(3_653 * 86_400);
/// The most a [`greedy`](Limit::greedy) limit may admit per period: it remembers each admission, for 8 bytes.
pub const MAX_GREEDY: u64 = 1 << 20;
/// The most a window may admit per period.
pub const MAX_WINDOW: u64 = 1 << 48;

/// How a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The generic cell rate algorithm: `max` per `per` on average, `burst` at one instant. The same as a token bucket
    /// and as a leaky bucket (a meter).
    Bucket {
        /// How many may pass at one instant after a quiet time.
        burst: NonZeroU64,
    },
    /// At most `max` in any window of `per`, as fast as possible: an exact sliding log.
    Greedy,
    /// At most `max` in each window of `per`, one window after the other.
    FixedWindow(Start),
    /// At most `max` by an estimate over a sliding window: this fixed window's count, and the one before it in the part
    /// that still overlaps.
    SlidingCounter,
}

/// Where fixed windows begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Start {
    /// At multiples of `per` since 1970, by the wall clock as it was when the limiter was created: a minute's window
    /// begins with the minute.
    Epoch,
    /// With the first admission after the last window ended.
    FirstUse,
}

/// One limit, checked: what is accepted here can be kept exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    rate: Rate,
    kind: Kind,
    unit: Unit,
    guard_ns: u64,
}

impl Limit {
    fn of(rate: Rate, kind: Kind) -> Limit {
        Limit { rate, kind, unit: Unit::CALLS, guard_ns: 0 }
    }

    /// Evenly spaced admissions: a burst of 1.
    pub fn patient(rate: Rate) -> Self {
        Self::of(rate, Kind::Bucket { burst: NonZeroU64::MIN })
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
        Ok(Self::of(rate, Kind::Bucket { burst: nonzero }))
    }

    /// A token bucket: it holds `rate.max()` tokens, refilled evenly over `rate.per()`. Another name for
    /// [`with_burst`](Self::with_burst) with the whole `max` as burst.
    ///
    /// # Errors
    /// As [`with_burst`](Self::with_burst).
    pub fn token_bucket(rate: Rate) -> Result<Self> {
        Self::with_burst(rate, rate.max())
    }

    /// A leaky bucket (a meter): it holds `rate.max()`, and leaks evenly, empty after `rate.per()`. Another name for
    /// [`token_bucket`](Self::token_bucket), seen from the other side: its level is what is used.
    ///
    /// # Errors
    /// As [`with_burst`](Self::with_burst).
    pub fn leaky_bucket(rate: Rate) -> Result<Self> {
        Self::token_bucket(rate)
    }

    /// At most `max` in *any* window of `per`, as fast as possible: an exact sliding log, 8 bytes an admission.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a `max` over [`MAX_GREEDY`].
    pub fn greedy(rate: Rate) -> Result<Self> {
        if rate.max() > MAX_GREEDY {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "a greedy limit remembers each admission, at most {MAX_GREEDY} of them; for {} use a sliding counter \
                     (--window sliding) or a burst",
                    rate.max()
                ),
            ));
        }
        Ok(Self::of(rate, Kind::Greedy))
    }

    /// At most `max` per window of `per`, one window after the other, as many HTTP APIs count. Across a window's edge
    /// twice `max` may pass in a short time: that is its definition.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a `max` over [`MAX_WINDOW`].
    pub fn fixed_window(rate: Rate, start: Start) -> Result<Self> {
        windowed(rate)?;
        Ok(Self::of(rate, Kind::FixedWindow(start)))
    }

    /// At most `max` by an estimate over a sliding window of `per`, in a few bytes for any `max`. By its own definition
    /// it is never over; a real window may hold more than `max` if the calls of the window before came late in it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a `max` over [`MAX_WINDOW`].
    pub fn sliding_counter(rate: Rate) -> Result<Self> {
        windowed(rate)?;
        Ok(Self::of(rate, Kind::SlidingCounter))
    }

    /// Counts this unit and not calls.
    #[must_use]
    pub fn counting(self, unit: Unit) -> Self {
        Limit { unit, ..self }
    }

    /// Lengthens the window of a greedy limit by `guard`. Between an admission and the call lies the caller's scheduler:
    /// a caller that is late by up to `guard` can't bring one too many into a server's window.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for other kinds than greedy, and for a guard longer than the period.
    pub fn guarded(self, guard: Duration) -> Result<Self> {
        let bad = |why: &str| Err(Error::new(ErrorKind::InvalidInput, why.to_owned()));
        if self.kind != Kind::Greedy && !guard.is_zero() {
            return bad("only a greedy limit has an exact window for a guard to lengthen");
        }
        if guard > self.rate.per() {
            return bad("a guard longer than the period; it should be about as long as callers may be late");
        }
        Ok(Limit { guard_ns: guard.as_nanos() as u64, ..self })
    }

    /// The same in another rate. A bucket keeps its burst, unless it counts a unit and its burst is `max`, the default
    /// there: then the burst is the new `max`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if this kind can't be had at that rate.
    pub fn at_rate(self, rate: Rate) -> Result<Self> {
        let limit = match self.kind {
            Kind::Bucket { burst } if !self.unit.is_calls() && burst.get() == self.rate.max() => {
                Self::with_burst(rate, rate.max())?
            }
            Kind::Bucket { burst } => Self::with_burst(rate, burst.get())?,
            Kind::Greedy => Self::greedy(rate)?.guarded(self.guard().min(rate.per()))?,
            Kind::FixedWindow(start) => Self::fixed_window(rate, start)?,
            Kind::SlidingCounter => Self::sliding_counter(rate)?,
        };
        Ok(limit.counting(self.unit))
    }

    /// The rate.
    pub fn rate(self) -> Rate {
        self.rate
    }

    /// How it counts.
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// What it counts.
    pub fn unit(self) -> Unit {
        self.unit
    }

    /// By how much its window is lengthened.
    pub fn guard(self) -> Duration {
        Duration::from_nanos(self.guard_ns)
    }

    /// How many may pass at one instant: the burst of a bucket, `max` of a window. A request for more can never pass.
    pub fn burst(self) -> u64 {
        match self.kind {
            Kind::Bucket { burst } => burst.get(),
            _ => self.rate.max(),
        }
    }

    /// Whether both admit exactly the same: 10/s is the same bucket as 600/m with that burst.
    pub fn is_equivalent(self, other: Limit) -> bool {
        match self.kind {
            Kind::Bucket { .. } => {
                self.kind == other.kind && self.unit == other.unit && self.rate.same_ratio(other.rate)
            }
            _ => self == other,
        }
    }
}

fn windowed(rate: Rate) -> Result<()> {
    if rate.max() > MAX_WINDOW {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("a window counts to {MAX_WINDOW}; {} is more", rate.max()),
        ));
    }
    Ok(())
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.unit.is_calls() {
            write!(f, "{} ", self.unit)?;
        }
        match self.kind {
            Kind::Bucket { burst: NonZeroU64::MIN } => write!(f, "{} evenly spaced", self.rate),
            Kind::Bucket { burst } => write!(f, "{} with bursts of {burst}", self.rate),
            Kind::Greedy => write!(f, "{} greedy", self.rate),
            Kind::FixedWindow(Start::Epoch) => write!(f, "{} in fixed windows", self.rate),
            Kind::FixedWindow(Start::FirstUse) => write!(f, "{} in windows from first use", self.rate),
            Kind::SlidingCounter => write!(f, "{} by a sliding counter", self.rate),
        }?;
        if self.guard_ns > 0 {
            write!(f, ", guarded by {}", format_span(self.guard()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_burst_of_a_unit_follows_the_rate_and_a_chosen_one_stays() {
        let (old, new) = (Rate::per_minute(200_000).unwrap(), Rate::per_minute(400_000).unwrap());
        let tokens = Unit::named("tokens").unwrap();
        let burst = |limit: Limit| limit.at_rate(new).unwrap().burst();
        let whole = Limit::token_bucket(old).unwrap();
        assert_eq!(burst(whole.counting(tokens)), 400_000);
        assert_eq!(whole.counting(tokens).at_rate(Rate::per_minute(9).unwrap()).unwrap().burst(), 9);
        assert_eq!(burst(Limit::with_burst(old, 1_000).unwrap().counting(tokens)), 1_000);
        // The default burst of calls is 1: this one was chosen.
        assert_eq!(burst(whole), 200_000);
        assert_eq!(burst(Limit::patient(old)), 1);
    }
}
