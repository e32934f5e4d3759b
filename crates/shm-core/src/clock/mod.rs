//! Instants, and the only place that reads the clock.
//!
//! | file | what |
//! |---|---|
//! | `mod` | [`Nanos`], and the clock itself |
//! | `anchor` | pure: a cheap counter between two readings of the clock; never ahead of it, by little behind |
//! | `quick` | that, with the processor's time-stamp counter, for each thread |
//! | `set` | for tests alone: a clock that a test moves itself |

mod anchor;
mod quick;
#[cfg(all(test, not(model)))]
pub(crate) mod set;

#[cfg(not(model))]
pub(crate) use quick::forget;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An instant: nanoseconds of `CLOCK_BOOTTIME`, the same for every process on the host.
///
/// It counts the time the machine was suspended and knows no steps: NTP, time zones and people who set the
/// clock don't move it. It starts anew when the machine does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(u64);

impl Nanos {
    /// The instant `ns` nanoseconds after the machine started.
    pub const fn from_nanos(ns: u64) -> Self {
        Nanos(ns)
    }

    /// Nanoseconds since the machine started.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Now.
    #[inline]
    pub fn now() -> Self {
        now()
    }

    /// From `earlier` to `self`; zero when `earlier` is later. The same as [`since`](Self::since), under the name that
    /// [`std::time::Instant`] has for it.
    pub const fn duration_since(self, earlier: Nanos) -> Duration {
        self.since(earlier)
    }

    /// From `earlier` to `self`; zero when `earlier` is later.
    pub const fn since(self, earlier: Nanos) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `self` and `span` more; stays at the last instant there is.
    pub fn plus(self, span: Duration) -> Nanos {
        Nanos(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// As [`plus`](Nanos::plus): stays at the last instant there is.
impl Add<Duration> for Nanos {
    type Output = Nanos;

    fn add(self, span: Duration) -> Nanos {
        self.plus(span)
    }
}

/// Stays at the first instant there is, the start of the machine.
impl Sub<Duration> for Nanos {
    type Output = Nanos;

    fn sub(self, span: Duration) -> Nanos {
        Nanos(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A time that a decision was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) at: Nanos,
    /// Whether it is the clock itself. A busy thread reads the clock itself every few
    /// microseconds, any other thread each time.
    pub(crate) is_exact: bool,
}

impl Reading {
    #[inline]
    pub(crate) fn exact(at: Nanos) -> Reading {
        Reading { at, is_exact: true }
    }
}

/// Where a decision gets its time from. A model brings its own.
pub(crate) trait Clock {
    /// The clock.
    fn exact(&self) -> Nanos;

    /// Cheaper: never ahead of the clock, and behind it by less than [`NEARLY`]. `None`: not now.
    #[inline]
    fn quick(&self) -> Option<Reading> {
        None
    }

    /// The cheaper one if it is to be had.
    #[inline]
    fn read(&self) -> Reading {
        self.quick().unwrap_or_else(|| Reading::exact(self.exact()))
    }
}

impl<F: Fn() -> Nanos> Clock for F {
    fn exact(&self) -> Nanos {
        self()
    }
}

/// This machine's.
#[derive(Clone, Copy)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[inline]
    fn exact(&self) -> Nanos {
        now()
    }

    #[inline]
    fn quick(&self) -> Option<Reading> {
        #[cfg(all(test, not(model)))]
        if let Some(at) = set::nearly() {
            return Some(Reading { at, is_exact: false });
        }
        quick::read().map(|at| Reading { at, is_exact: false })
    }

    #[inline]
    fn read(&self) -> Reading {
        self.quick().unwrap_or_else(|| Reading::exact(quick::exact()))
    }
}

/// By how much [`Clock::quick`] may be behind.
pub(crate) const QUICK_LAG: Duration = Duration::from_micros(4);

/// What must be added to this clock for nanoseconds since 1970 now. Both clocks are slewed together, so it changes only
/// when somebody sets the time of day, when the machine starts anew, or in another time namespace.
pub(crate) fn wall_offset() -> u64 {
    // Of several tries the one that was interrupted least.
    let offset = |_| {
        let before = now().as_nanos();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let took = now().as_nanos() - before;
        (took, wall.saturating_sub(before + took / 2))
    };
    (0..3).map(offset).min().map_or(0, |(_, offset)| offset)
}

/// Reads the clock. Costs a vDSO call: no system call where the kernel's clock source allows it.
#[inline]
#[allow(unsafe_code)]
pub fn now() -> Nanos {
    #[cfg(all(test, not(model)))]
    if let Some(at) = set::now() {
        return at;
    }
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec to write to. CLOCK_BOOTTIME exists on every Linux since 2.6.39, so the
    // call can't fail.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut t) };
    Nanos(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn an_instant_can_be_calculated_with() {
        let second = Duration::from_secs(1);
        let now = Nanos::now();
        assert_eq!((now + second).duration_since(now), second);
        assert_eq!(now + second - second, now);
        assert_eq!(now.duration_since(now + second), Duration::ZERO);
        assert_eq!(Nanos::from_nanos(5) - second, Nanos::from_nanos(0));
        assert_eq!(Nanos::from_nanos(5) + Duration::MAX, Nanos::from_nanos(u64::MAX));
        assert!(Nanos::now() >= now);
    }
}
