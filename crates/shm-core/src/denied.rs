//! Why a request was denied. One value from the place where that is decided up to the caller.

use crate::clock::Nanos;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A denial: nothing was taken for the request.
///
/// ```
/// # use shm_core::{Denied, DeniedBy};
/// # use shm_core::clock::Nanos;
/// # use std::time::Duration;
/// let (now, time) = (Nanos::now(), Duration::from_secs(2));
/// let denied = Denied::new(DeniedBy::Limit { index: 0, retry_after: time }, now);
/// assert_eq!((denied.retry_after(), denied.retry_at()), (Some(time), Some(now + time)));
/// assert_eq!(Denied::new(DeniedBy::Permits, now).retry_after(), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    cause: Cause,
    /// When to try again, or how many wait; 0 with permits.
    value: u64,
    at: Nanos,
}

/// What denied a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeniedBy {
    /// A limit: its turn would come too late. Of several limits, the one whose turn would come last.
    ///
    /// A pause of a limiter that has limits is told as this, too: `retry_after` then goes at least to its end.
    Limit {
        /// Which limit of the policy, from 0.
        index: usize,
        /// After how long the same request would be admitted if no other request came: not a nanosecond sooner.
        retry_after: Duration,
    },
    /// A pause, of a limiter that has permits and no limit.
    Paused {
        /// After how long it ends.
        retry_after: Duration,
    },
    /// All permits are held. It is not known when one will be free.
    Permits,
    /// As many requests wait already as may wait: see `max_waiters`.
    Line {
        /// How many wait.
        waiting: u64,
    },
    /// The limiter could not decide, and the caller chose to fail closed.
    Unavailable {
        /// After how long the caller wants to try again.
        retry_after: Duration,
    },
}

/// [`DeniedBy`] without its amounts. A word, because a decision hands it on by value: an enum with amounts of its own is
/// copied byte by byte (20 instructions of 340 on the fast path), and a span costs it a division.
#[repr(u64)]
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    FirstLimit,
    SecondLimit,
    ThirdLimit,
    FourthLimit,
    Pause,
    Permits,
    Line,
    Unavailable,
}

impl Denied {
    /// A denial that was decided at the instant `at`. For programs that replace a limiter in their tests. (The index of a
    /// limit above the most that a limiter can have is that of the last one.)
    pub fn new(by: DeniedBy, at: Nanos) -> Denied {
        let known = |cause, time| Denied { cause, value: at.plus(time).as_nanos(), at };
        match by {
            DeniedBy::Limit { index, retry_after } => Denied::by_limit(index, at.plus(retry_after), at),
            DeniedBy::Paused { retry_after } => known(Cause::Pause, retry_after),
            DeniedBy::Unavailable { retry_after } => known(Cause::Unavailable, retry_after),
            DeniedBy::Permits => Denied { cause: Cause::Permits, value: 0, at },
            DeniedBy::Line { waiting } => Denied { cause: Cause::Line, value: waiting, at },
        }
    }

    /// By a limit that would admit the request at `retry_at`.
    #[inline(always)]
    pub(crate) const fn by_limit(index: usize, retry_at: Nanos, at: Nanos) -> Denied {
        let cause = match index {
            0 => Cause::FirstLimit,
            1 => Cause::SecondLimit,
            2 => Cause::ThirdLimit,
            _ => Cause::FourthLimit,
        };
        Denied { cause, value: retry_at.as_nanos(), at }
    }

    /// By a pause that ends at `retry_at`.
    pub(crate) const fn by_pause(retry_at: Nanos, at: Nanos) -> Denied {
        Denied { cause: Cause::Pause, value: retry_at.as_nanos(), at }
    }

    /// What denied the request.
    pub const fn by(&self) -> DeniedBy {
        let retry_after = Nanos::from_nanos(self.value).since(self.at);
        match self.cause {
            Cause::FirstLimit => DeniedBy::Limit { index: 0, retry_after },
            Cause::SecondLimit => DeniedBy::Limit { index: 1, retry_after },
            Cause::ThirdLimit => DeniedBy::Limit { index: 2, retry_after },
            Cause::FourthLimit => DeniedBy::Limit { index: 3, retry_after },
            Cause::Pause => DeniedBy::Paused { retry_after },
            Cause::Permits => DeniedBy::Permits,
            Cause::Line => DeniedBy::Line { waiting: self.value },
            Cause::Unavailable => DeniedBy::Unavailable { retry_after },
        }
    }

    /// The clock when it was decided.
    #[inline]
    pub const fn at(&self) -> Nanos {
        self.at
    }

    /// When the same request would be admitted if no other request came. `None` where that is not known: a permit or a place
    /// in the line is free when somebody gives it up.
    pub const fn retry_at(&self) -> Option<Nanos> {
        match self.cause {
            Cause::Permits | Cause::Line => None,
            _ => Some(Nanos::from_nanos(self.value)),
        }
    }

    /// How long after the decision that is.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self.retry_at() {
            Some(at) => Some(at.since(self.at)),
            None => None,
        }
    }

    /// The same, and up to `spread` more, at random: so that requests that were denied together don't come back together.
    pub fn retry_after_jittered(&self, spread: Duration) -> Option<Duration> {
        // A hasher's random keys differ each time.
        let part = RandomState::new().hash_one(self.at.as_nanos()) as f64 / u64::MAX as f64;
        self.retry_after().map(|time| time + spread.mul_f64(part))
    }
}

impl fmt::Debug for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denied").field("by", &self.by()).field("at", &self.at).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_known_instant_is_told() {
        let now = Nanos::from_nanos(1_000);
        let time = Duration::from_nanos(5);
        for (by, known) in [
            (DeniedBy::Limit { index: 0, retry_after: time }, true),
            (DeniedBy::Limit { index: 1, retry_after: time }, true),
            (DeniedBy::Limit { index: 2, retry_after: time }, true),
            (DeniedBy::Limit { index: 3, retry_after: time }, true),
            (DeniedBy::Paused { retry_after: time }, true),
            (DeniedBy::Unavailable { retry_after: time }, true),
            (DeniedBy::Permits, false),
            (DeniedBy::Line { waiting: 7 }, false),
        ] {
            let denied = Denied::new(by, now);
            assert_eq!((denied.by(), denied.at()), (by, now));
            assert_eq!(denied.retry_at(), known.then_some(now.plus(time)));
            assert_eq!(denied.retry_after(), known.then_some(time));
            let jittered = denied.retry_after_jittered(Duration::from_nanos(10));
            assert_eq!(jittered.is_some(), known);
            assert!(jittered.is_none_or(|time| (5..=15).contains(&time.as_nanos())));
        }
    }
}
