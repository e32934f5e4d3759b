//! Instants, and the only code that reads the clock.
//!
//! | file | content |
//! |---|---|
//! | `mod` | [`Nanos`], and the clock itself |
//! | `anchor` | pure: interpolates between clock readings by a counter; never ahead, slightly behind |
//! | `quick` | that, with the CPU's time-stamp counter, per thread |
//! | `set` | for tests only: a clock that a test advances itself |

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
/// It includes the time during which the machine was suspended and never jumps: NTP, time zones and setting the wall
/// clock do not affect it. It restarts at boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(u64);

impl Nanos {
    /// The instant `ns` nanoseconds after boot.
    pub const fn from_nanos(ns: u64) -> Self {
        Nanos(ns)
    }

    /// Nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The current instant.
    #[inline]
    pub fn now() -> Self {
        now()
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later. Like [`since`](Self::since), under the name that
    /// [`std::time::Instant`] uses.
    pub const fn duration_since(self, earlier: Nanos) -> Duration {
        self.since(earlier)
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Nanos) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `self` plus `span`, clamped to the last representable instant.
    #[must_use]
    pub fn plus(self, span: Duration) -> Nanos {
        Nanos(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Like [`plus`](Nanos::plus): clamped to the last representable instant.
impl Add<Duration> for Nanos {
    type Output = Nanos;

    fn add(self, span: Duration) -> Nanos {
        self.plus(span)
    }
}

/// Clamped to the first instant, the boot of the machine.
impl Sub<Duration> for Nanos {
    type Output = Nanos;

    fn sub(self, span: Duration) -> Nanos {
        Nanos(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// The time on which a decision is based.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) at: Nanos,
    /// Whether it is an exact clock reading. A busy thread reads the exact clock every few microseconds, any other
    /// thread every time.
    pub(crate) is_exact: bool,
}

impl Reading {
    #[inline]
    pub(crate) fn exact(at: Nanos) -> Reading {
        Reading { at, is_exact: true }
    }
}

/// The source of a decision's time. Models provide their own.
pub(crate) trait Clock {
    /// The exact clock.
    fn exact(&self) -> Nanos;

    /// Cheaper: never ahead of the exact clock, and behind it by less than [`QUICK_LAG`]. `None`: not available now.
    #[inline]
    fn quick(&self) -> Option<Reading> {
        None
    }

    /// The quick clock if available, otherwise the exact one.
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

/// The clock of this machine.
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
        if let Some(at) = set::quick() {
            return Some(Reading { at, is_exact: false });
        }
        quick::read().map(|at| Reading { at, is_exact: false })
    }

    #[inline]
    fn read(&self) -> Reading {
        self.quick().unwrap_or_else(|| Reading::exact(quick::exact()))
    }
}

/// The maximum lag of [`Clock::quick`].
pub(crate) const QUICK_LAG: Duration = Duration::from_micros(4);

/// A measurement of [`wall_offset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WallOffset {
    /// The true value differs by at most half of this.
    pub(crate) uncertainty_ns: u64,
    pub(crate) ns: u64,
}

/// The offset to add to this clock for nanoseconds since the Unix epoch, now. Both clocks are slewed together, so it
/// changes only when the wall clock is set, at boot, or in another time namespace.
pub(crate) fn wall_offset() -> WallOffset {
    #[cfg(all(test, not(model)))]
    if let Some(ns) = set::wall_offset() {
        return WallOffset { uncertainty_ns: 0, ns };
    }
    // The best of several tries is the one that was interrupted least.
    let offset = |_| {
        let before = by_system_call(libc::CLOCK_BOOTTIME)?;
        let wall = by_system_call(libc::CLOCK_REALTIME)?;
        let uncertainty_ns = by_system_call(libc::CLOCK_BOOTTIME)?.saturating_sub(before);
        Some(WallOffset { uncertainty_ns, ns: wall.saturating_sub(before + uncertainty_ns / 2) })
    };
    (0..3).filter_map(offset).min().unwrap_or_else(|| {
        // Refused by a filter, which the vDSO's calls never meet. Good enough to begin with, but not to tell that the clock
        // was set.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        WallOffset { uncertainty_ns: UNKNOWN, ns: wall.saturating_sub(now().as_nanos()) }
    })
}

/// The uncertainty of an offset that could not be measured: longer than any clock is set by.
const UNKNOWN: u64 = u64::MAX / 2;

/// Reads a clock from the kernel, not from the C library: a process under `libfaketime` must not take its own wall clock
/// for the host's. `None` if the call is refused.
#[allow(unsafe_code)]
fn by_system_call(clock: libc::clockid_t) -> Option<u64> {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec to write to, of the kernel's layout on 64-bit platforms.
    let done = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, &raw mut t) };
    (done == 0).then_some(u64::try_from(t.tv_sec).unwrap_or(0) * 1_000_000_000 + t.tv_nsec as u64)
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
    // SAFETY: `t` is a valid timespec to write to. CLOCK_BOOTTIME exists since Linux 2.6.39, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut t) };
    Nanos(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn instants_support_saturating_arithmetic() {
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
