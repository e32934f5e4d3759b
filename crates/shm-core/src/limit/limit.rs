//! One limit: a rate, the algorithm that counts it, and the unit that it counts, validated on construction.

use super::{Calendar, Rate, Unit, Zone, format_span};
use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

/// The longest time that an empty bucket may take to fill (`burst × per / max`): ten years.
pub const MAX_REFILL: Duration = Duration::from_secs(3_653 * 86_400);
/// The largest `max` of a [`greedy`](Limit::greedy) limit, which stores 8 bytes for each admission of a period.
pub const MAX_GREEDY: u64 = 1 << 20;
/// The largest `max` of a fixed window or a sliding counter.
pub const MAX_WINDOW: u64 = 1 << 48;
/// The longest period of fixed windows that are aligned to the Unix epoch: a day. Longer ones would not begin with a week, a
/// month or a year of the calendar.
pub const MAX_ALIGNED: Duration = Duration::from_secs(86_400);

/// The algorithm of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The generic cell rate algorithm: `max` per `per` on average, up to `burst` at one instant. Equivalent to a token bucket,
    /// and to a leaky bucket used as a meter.
    Bucket {
        /// The most that is admitted at one instant after an idle time.
        burst: NonZeroU64,
    },
    /// At most `max` in any window of `per`, as fast as possible: an exact sliding log.
    Greedy,
    /// At most `max` in each of the consecutive windows of `per`.
    FixedWindow(Start),
    /// At most `max` in each hour, day, week or month of the calendar of a zone.
    CalendarWindow {
        /// The period. Its exact length depends on the calendar; that of the limit's rate is the usual one.
        period: Calendar,
        /// The zone whose local time tells when a period begins.
        zone: Zone,
    },
    /// At most `max` by an estimate over a sliding window: the count of the current fixed window, plus that of the previous
    /// one, weighted by the part of it that the sliding window still overlaps.
    SlidingCounter,
}

/// Where fixed windows begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Start {
    /// At multiples of `per` since 1970, by the host's wall clock: a window of a minute begins with the minute, and one of a
    /// day at midnight UTC. The windows follow when the wall clock is set.
    Epoch,
    /// At the first admission after the previous window has ended.
    FirstUse,
}

/// One limit: a rate, a [kind](Kind), and the unit that it counts. Every limit that can be constructed is enforced exactly.
///
/// ```
/// # use shm_core::limit::{Limit, Rate, Start};
/// # use std::time::Duration;
/// # fn main() -> shm_core::Result<()> {
/// let patient = Limit::patient(Rate::per_second(5)?);
/// let bursty = Limit::with_burst(Rate::per_second(5)?, 20)?;
/// let strict = Limit::greedy(Rate::per_second(5)?)?.guarded(Duration::from_millis(20))?;
/// let daily = Limit::fixed_window(Rate::per_day(1_000)?, Start::Epoch)?;
/// assert_eq!([patient, bursty, strict, daily].map(Limit::burst), [1, 20, 5, 1_000]);
/// # Ok(())
/// # }
/// ```
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

    /// A bucket with a burst of 1: admissions are evenly spaced.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Limit, Rate};
    /// let limit = Limit::patient(Rate::per_second(5)?);
    /// assert_eq!(limit.to_string(), "5/s evenly spaced");
    /// # Ok(())
    /// # }
    /// ```
    pub fn patient(rate: Rate) -> Self {
        Self::of(rate, Kind::Bucket { burst: NonZeroU64::MIN })
    }

    /// A bucket: `rate` on average, with bursts of at most `burst`.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Limit, Rate};
    /// let limit = Limit::with_burst(Rate::per_second(5)?, 20)?;
    /// assert_eq!(limit.to_string(), "5/s with bursts of 20");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `burst` is zero, or would take more than ten years to refill.
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

    /// A token bucket: it holds `rate.max()` tokens and refills them evenly over `rate.per()`. The same as
    /// [`with_burst`](Self::with_burst) with `rate.max()` as the burst.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Limit, Rate};
    /// let rate = Rate::per_minute(600)?;
    /// assert_eq!(Limit::token_bucket(rate)?, Limit::with_burst(rate, 600)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`with_burst`](Self::with_burst).
    pub fn token_bucket(rate: Rate) -> Result<Self> {
        Self::with_burst(rate, rate.max())
    }

    /// A leaky bucket used as a meter: it holds `rate.max()` and leaks evenly, so that a full one is empty after `rate.per()`.
    /// The same as [`token_bucket`](Self::token_bucket): its level is what is used.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Limit, Rate};
    /// let rate = Rate::per_minute(600)?;
    /// assert_eq!(Limit::leaky_bucket(rate)?, Limit::token_bucket(rate)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`with_burst`](Self::with_burst).
    pub fn leaky_bucket(rate: Rate) -> Result<Self> {
        Self::token_bucket(rate)
    }

    /// At most `max` in *any* window of `per`, as fast as possible: an exact sliding log, which takes 8 bytes for each of `max`.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Kind, Limit, Rate};
    /// let limit = Limit::greedy(Rate::per_second(5)?)?;
    /// assert_eq!((limit.kind(), limit.burst()), (Kind::Greedy, 5));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `max` is more than [`MAX_GREEDY`].
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

    /// At most `max` in each of the consecutive windows of `per`, as many HTTP APIs count. By definition, up to twice `max` may be
    /// admitted within a short time across the end of a window.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Kind, Limit, Rate, Start};
    /// let limit = Limit::fixed_window(Rate::per_minute(100)?, Start::Epoch)?;
    /// assert_eq!(limit.kind(), Kind::FixedWindow(Start::Epoch));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `max` is more than [`MAX_WINDOW`], or if windows aligned to the Unix epoch are longer than
    /// [`MAX_ALIGNED`]: see [`calendar_window`](Self::calendar_window).
    pub fn fixed_window(rate: Rate, start: Start) -> Result<Self> {
        windowed(rate)?;
        if start == Start::Epoch && rate.per() > MAX_ALIGNED {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{rate}: fixed windows longer than a day would not begin with a week, month or year; use calendar windows \
                     (--window calendar) for {max}/week or {max}/month, windows from first use (--window first-use), or a burst \
                     (--burst {max})",
                    max = rate.max()
                ),
            ));
        }
        Ok(Self::of(rate, Kind::FixedWindow(start)))
    }

    /// At most `max` in each hour, day, week (from Monday) or month of the calendar of `zone`, as providers count quotas. By
    /// definition, up to twice `max` may be admitted within a short time across the end of a window.
    ///
    /// A call counts in the window in which the host's wall clock places it when it is admitted.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Calendar, Limit, Zone};
    /// let limit = Limit::calendar_window(1_000, Calendar::Month, Zone::UTC)?;
    /// assert_eq!(limit.to_string(), "1000/month by the calendar of UTC");
    /// # #[cfg(feature = "zones")]
    /// let limit = Limit::calendar_window(1_000, Calendar::Day, Zone::named("America/Los_Angeles")?)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `max` is 0 or more than [`MAX_WINDOW`].
    pub fn calendar_window(max: u64, period: Calendar, zone: Zone) -> Result<Self> {
        let rate = Rate::new(max, period.nominal())?;
        windowed(rate)?;
        Ok(Self::of(rate, Kind::CalendarWindow { period, zone }))
    }

    /// The same from a rate, whose period must be one of the calendar.
    pub(super) fn calendar_window_at(rate: Rate, zone: Zone) -> Result<Self> {
        let Some(period) = Calendar::of_nominal(rate.per()) else {
            let per = format_span(rate.per());
            let remedy = if rate.per() <= MAX_ALIGNED {
                format!("for windows of {per} use fixed ones (--window fixed)")
            } else {
                format!(
                    "for windows of {per} from first use add --window first-use; for an average over {per} add --burst {}",
                    rate.max()
                )
            };
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{rate}: a calendar window is one hour, day, week or month; {remedy}"),
            ));
        };
        Self::calendar_window(rate.max(), period, zone)
    }

    /// At most `max` by an estimate over a sliding window of `per`, in a few bytes for any `max`. The estimate never exceeds
    /// `max`; a real window may hold more, if the calls of the previous window came late in it.
    ///
    /// **A small `max` is not used in full**: single calls under constant demand get `max − 1` per period, and with a `max` of 1
    /// one call in two periods ([`sustained_rate`](Self::sustained_rate)). Below a `max` of 10 use [`greedy`](Self::greedy) or a
    /// bucket.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Limit, Rate};
    /// let limit = Limit::sliding_counter(Rate::per_day(10_000_000)?)?;
    /// assert_eq!(limit.burst(), 10_000_000);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `max` is more than [`MAX_WINDOW`].
    pub fn sliding_counter(rate: Rate) -> Result<Self> {
        windowed(rate)?;
        Ok(Self::of(rate, Kind::SlidingCounter))
    }

    /// This limit, counting `unit` instead of calls.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Limit, Rate, Unit};
    /// let limit = Limit::token_bucket(Rate::per_second(1_000_000)?)?.counting(Unit::named("bytes")?);
    /// assert_eq!(limit.to_string(), "bytes 1000000/s with bursts of 1000000");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn counting(self, unit: Unit) -> Self {
        Limit { unit, ..self }
    }

    /// This greedy limit with its window lengthened by `guard`. The scheduler may delay a caller between its admission and its
    /// call; if that delay is at most `guard`, no window of the server's contains one call too many.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Limit, Rate};
    /// let guard = std::time::Duration::from_millis(20);
    /// assert_eq!(Limit::greedy(Rate::per_second(5)?)?.guarded(guard)?.guard(), guard);
    /// assert!(Limit::patient(Rate::per_second(5)?).guarded(guard).is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the limit is not greedy, or if `guard` is longer than the period.
    pub fn guarded(self, guard: Duration) -> Result<Self> {
        let bad = |why: &str| Err(Error::new(ErrorKind::InvalidInput, why.to_owned()));
        if self.kind != Kind::Greedy && !guard.is_zero() {
            return bad("only a greedy limit has an exact window for a guard to lengthen");
        }
        if guard > self.rate.per() {
            return bad(
                "the guard is longer than the period; choose about the time by which callers may be late",
            );
        }
        Ok(Limit { guard_ns: guard.as_nanos() as u64, ..self })
    }

    /// This limit at another rate. A bucket keeps its burst, with one exception: a bucket of a unit other than calls whose burst
    /// is `max`, the default there, gets the new `max` as its burst.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Limit, Rate};
    /// let limit = Limit::with_burst(Rate::per_second(5)?, 20)?.at_rate(Rate::per_second(50)?)?;
    /// assert_eq!(limit, Limit::with_burst(Rate::per_second(50)?, 20)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if this kind of limit does not support the rate.
    pub fn at_rate(self, rate: Rate) -> Result<Self> {
        let limit = match self.kind {
            Kind::Bucket { burst } if !self.unit.is_calls() && burst.get() == self.rate.max() => {
                Self::with_burst(rate, rate.max())?
            }
            Kind::Bucket { burst } => Self::with_burst(rate, burst.get())?,
            Kind::Greedy => Self::greedy(rate)?.guarded(self.guard().min(rate.per()))?,
            Kind::FixedWindow(start) => Self::fixed_window(rate, start)?,
            Kind::CalendarWindow { zone, .. } => Self::calendar_window_at(rate, zone)?,
            Kind::SlidingCounter => Self::sliding_counter(rate)?,
        };
        Ok(limit.counting(self.unit))
    }

    /// The rate.
    pub fn rate(self) -> Rate {
        self.rate
    }

    /// What single calls get under constant demand: less than [`rate`](Self::rate) for a sliding counter, in whose estimate the
    /// calls of the previous window count up to the end of this one.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Limit, Rate};
    /// assert_eq!(Limit::sliding_counter(Rate::per_minute(5)?)?.sustained_rate(), Rate::per_minute(4)?);
    /// assert_eq!(Limit::sliding_counter(Rate::per_second(1)?)?.sustained_rate(), "1/2s".parse()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn sustained_rate(self) -> Rate {
        let rate = self.rate;
        match (self.kind, rate.max()) {
            (Kind::SlidingCounter, 1) => Rate::new(1, 2 * rate.per()).unwrap_or(rate),
            (Kind::SlidingCounter, max) => Rate::new(max - 1, rate.per()).unwrap_or(rate),
            _ => rate,
        }
    }

    /// The algorithm.
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// The unit that the limit counts.
    pub fn unit(self) -> Unit {
        self.unit
    }

    /// The time by which the window of a greedy limit is lengthened; zero by default.
    pub fn guard(self) -> Duration {
        Duration::from_nanos(self.guard_ns)
    }

    /// The most that is admitted at one instant: the burst of a bucket, otherwise `max`. A request for more can never be
    /// admitted.
    pub fn burst(self) -> u64 {
        match self.kind {
            Kind::Bucket { burst } => burst.get(),
            _ => self.rate.max(),
        }
    }

    /// Whether both limits make the same decisions: for example, buckets of 10/s and of 600/m with equal bursts do.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Limit, Rate};
    /// let (a, b) = (Limit::with_burst(Rate::per_second(10)?, 5)?, Limit::with_burst(Rate::per_minute(600)?, 5)?);
    /// assert!(a != b && a.is_equivalent(b));
    /// # Ok(())
    /// # }
    /// ```
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
            format!("a window counts at most {MAX_WINDOW}, and {} is more", rate.max()),
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
            Kind::CalendarWindow { period, zone } => {
                write!(f, "{}/{period} by the calendar of {zone}", self.rate.max())
            }
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
        // The default burst for calls is 1, so this burst was chosen.
        assert_eq!(burst(whole), 200_000);
        assert_eq!(burst(Limit::patient(old)), 1);
    }

    /// By simulation: a caller that always asks gets this much of a sliding counter, from the first window on.
    #[test]
    fn a_sliding_counter_delivers_its_sustained_rate() {
        use crate::limit::window::{SlidingCounter, SlidingState};
        const PER: u64 = 1_000_000;
        const WINDOWS: u64 = 100;
        for max in 1..20 {
            let counter = SlidingCounter { max, per: PER };
            let (mut state, mut now, mut admitted) = (SlidingState::default(), PER, 0);
            while now < WINDOWS * PER {
                now = now.max(counter.ready(&state, 1));
                counter.charge(&mut state, now, 1);
                admitted += 1;
            }
            let rate = Rate::new(max, Duration::from_nanos(PER)).unwrap();
            let sustained = Limit::sliding_counter(rate).unwrap().sustained_rate();
            let expected = WINDOWS * PER * sustained.max() / sustained.per_ns();
            // The first window is full, and the last one is not over.
            assert!(expected.abs_diff(admitted) <= max + 1, "{admitted}, not {expected}, for {max}");
        }
    }

    #[test]
    fn aligned_windows_longer_than_a_day_are_refused() {
        for (rate, ok) in
            [("5/day", true), ("5/12h", true), ("5/25h", false), ("5/week", false), ("5/month", false)]
        {
            let rate: Rate = rate.parse().unwrap();
            assert_eq!(Limit::fixed_window(rate, Start::Epoch).is_ok(), ok, "{rate}");
            assert!(Limit::fixed_window(rate, Start::FirstUse).is_ok());
        }
    }

    #[test]
    fn a_calendar_window_needs_a_period_of_the_calendar() {
        let at = |rate: &str| Limit::calendar_window_at(rate.parse().unwrap(), Zone::UTC);
        for (rate, shown) in [("5/h", "hour"), ("5/1day", "day"), ("5/7days", "week"), ("5/mo", "month")] {
            assert_eq!(at(rate).unwrap().to_string(), format!("5/{shown} by the calendar of UTC"));
        }
        for (rate, remedy) in [
            ("5/s", "--window fixed"),
            ("5/12h", "--window fixed"),
            ("5/2days", "--window first-use"),
            ("5/30days", "--burst 5"),
            ("5/year", "--window first-use"),
        ] {
            let error = at(rate).unwrap_err().to_string();
            assert!(error.contains(remedy), "{rate}: {error}");
        }
        let monthly = at("5/month").unwrap();
        assert_eq!(monthly.at_rate("7/week".parse().unwrap()).unwrap(), at("7/week").unwrap());
        assert!(monthly.at_rate("7/s".parse().unwrap()).is_err());
    }
}
