//! One validated limit: a rate, how it is counted, and what it counts.

use super::{Rate, Unit, format_span};
use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

/// The maximum time in which an empty bucket may fill (`burst × per / max`): ten years.
pub const MAX_REFILL: Duration = Duration::from_secs(3_653 * 86_400);
/// The maximum per period of a [`greedy`](Limit::greedy) limit, which stores every admission in 8 bytes.
pub const MAX_GREEDY: u64 = 1 << 20;
/// The maximum per period of a window.
pub const MAX_WINDOW: u64 = 1 << 48;

/// How a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The generic cell rate algorithm: `max` per `per` on average, up to `burst` at one instant. Equivalent to a token
    /// bucket, and to a leaky bucket used as a meter.
    Bucket {
        /// How many calls may pass at one instant after an idle time.
        burst: NonZeroU64,
    },
    /// At most `max` in any window of length `per`, as fast as possible: an exact sliding window log.
    Greedy,
    /// At most `max` in each of a series of consecutive windows of length `per`.
    FixedWindow(Start),
    /// At most `max` by an estimate over a sliding window: the count of the current fixed window, plus that of the
    /// previous one weighted by its remaining overlap.
    SlidingCounter,
}

/// Where fixed windows begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Start {
    /// At multiples of `per` since the Unix epoch, by the wall clock at the time when the limiter was created: a window
    /// of a minute begins with a minute.
    Epoch,
    /// With the first admission after the previous window ended.
    FirstUse,
}

/// One validated limit, which can be represented exactly.
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

    /// `rate` on average, with bursts of at most `burst`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `burst` is zero or would take more than ten years to refill.
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
                    "a burst of {burst} at {rate} takes over ten years to refill; choose a smaller burst"
                ),
            ));
        }
        Ok(Self::of(rate, Kind::Bucket { burst: nonzero }))
    }

    /// A token bucket: it holds `rate.max()` tokens, refilled evenly over `rate.per()`. The same as
    /// [`with_burst`](Self::with_burst) with `max` as burst.
    ///
    /// # Errors
    /// Those of [`with_burst`](Self::with_burst).
    pub fn token_bucket(rate: Rate) -> Result<Self> {
        Self::with_burst(rate, rate.max())
    }

    /// A leaky bucket used as a meter: it holds `rate.max()` and drains evenly within `rate.per()`. The same as
    /// [`token_bucket`](Self::token_bucket), with the level counting what is used instead of what is left.
    ///
    /// Those of [`with_burst`](Self::with_burst).
    /// As [`with_burst`](Self::with_burst).
    pub fn leaky_bucket(rate: Rate) -> Result<Self> {
        Self::token_bucket(rate)
    }

    /// At most `max` in *any* window of length `per`, as fast as possible: an exact sliding window log, with 8 bytes
    /// per admission.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a `max` over [`MAX_GREEDY`].
    pub fn greedy(rate: Rate) -> Result<Self> {
        if rate.max() > MAX_GREEDY {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "a greedy limit stores each admission, at most {MAX_GREEDY} of them; for {} use a sliding counter \
                     (--window sliding) or a burst",
                    rate.max()
                ),
            ));
        }
        Ok(Self::of(rate, Kind::Greedy))
    }

    /// At most `max` per window of length `per`, in consecutive windows, as many HTTP APIs count. Across a window
    /// boundary, `2 × max` may pass in a short time: that is inherent in the definition.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a `max` over [`MAX_WINDOW`].
    pub fn fixed_window(rate: Rate, start: Start) -> Result<Self> {
        windowed(rate)?;
        Ok(Self::of(rate, Kind::FixedWindow(start)))
    }

    /// At most `max` by an estimate over a sliding window of length `per`, in constant space. The estimate never
    /// exceeds `max`; a real window can, if the calls of the previous fixed window came late in it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a `max` over [`MAX_WINDOW`].
    pub fn sliding_counter(rate: Rate) -> Result<Self> {
        windowed(rate)?;
        Ok(Self::of(rate, Kind::SlidingCounter))
    }

    /// Counts this unit instead of calls.
    #[must_use]
    pub fn counting(self, unit: Unit) -> Self {
        Limit { unit, ..self }
    }

    /// Lengthens the window of a greedy limit by `guard`. Between admission and call lies the caller's scheduling
    /// delay: with a delay of up to `guard`, no window at the server contains one call too many.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for kinds other than greedy, and for a guard longer than the period.
    pub fn guarded(self, guard: Duration) -> Result<Self> {
        let bad = |why: &str| Err(Error::new(ErrorKind::InvalidInput, why.to_owned()));
        if self.kind != Kind::Greedy && !guard.is_zero() {
            return bad("a guard lengthens an exact window, which only a greedy limit has");
        }
        if guard > self.rate.per() {
            return bad(
                "the guard is longer than the period; it should be about as long as the delay between admission and call",
            );
        }
        Ok(Limit { guard_ns: guard.as_nanos() as u64, ..self })
    }

    /// The same limit at another rate. A bucket keeps its burst, except that a burst of `max`, the default for units
    /// other than calls, becomes the new `max`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if this kind does not support that rate.
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

    /// How much its window is lengthened.
    pub fn guard(self) -> Duration {
        Duration::from_nanos(self.guard_ns)
    }

    /// How many may pass at one instant: the burst of a bucket, `max` of a window. Larger requests can never be
    /// admitted.
    pub fn burst(self) -> u64 {
        match self.kind {
            Kind::Bucket { burst } => burst.get(),
            _ => self.rate.max(),
        }
    }

    /// Whether both admit exactly the same: 10/s and 600/m are the same bucket if their bursts are equal.
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
            format!(
                "a window can count to {MAX_WINDOW}, but the rate has {}; choose a smaller rate",
                rate.max()
            ),
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
    fn at_rate_scales_a_default_burst_and_keeps_a_chosen_one() {
        let (old, new) = (Rate::per_minute(200_000).unwrap(), Rate::per_minute(400_000).unwrap());
        let tokens = Unit::named("tokens").unwrap();
        let burst = |limit: Limit| limit.at_rate(new).unwrap().burst();
        let whole = Limit::token_bucket(old).unwrap();
        assert_eq!(burst(whole.counting(tokens)), 400_000);
        assert_eq!(whole.counting(tokens).at_rate(Rate::per_minute(9).unwrap()).unwrap().burst(), 9);
        assert_eq!(burst(Limit::with_burst(old, 1_000).unwrap().counting(tokens)), 1_000);
        // The default burst of calls is 1, so this one was chosen.
        assert_eq!(burst(whole), 200_000);
        assert_eq!(burst(Limit::patient(old)), 1);
    }
}
