//! Why a request was denied. One value from the place where that is decided up to the caller.

use crate::clock::Nanos;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A denial: nothing was taken for the request.
///
/// ```
/// # use shm_core::{Denied, DeniedBy};
/// # use shm_core::clock::Nanos;
/// # use std::time::Duration;
/// let now = Nanos::now();
/// let denied = Denied::new(DeniedBy::Limit { index: 0, retry_at: now + Duration::from_secs(2) }, now);
/// assert_eq!(denied.retry_after(), Some(Duration::from_secs(2)));
/// assert_eq!(Denied::new(DeniedBy::Permits, now).retry_after(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    by: DeniedBy,
    at: Nanos,
}

/// What denied a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeniedBy {
    /// A limit: its turn would come too late. Of several limits, the one whose turn would come last.
    ///
    /// A pause of a limiter that has limits is told as this, too: `retry_at` is then not before its end.
    Limit {
        /// Which limit of the policy, from 0.
        index: u8,
        /// When the same request would be admitted if no other request came: not a nanosecond sooner.
        retry_at: Nanos,
    },
    /// A pause, of a limiter that has permits and no limit.
    Paused {
        /// When it ends.
        retry_at: Nanos,
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
        /// When the caller wants to try again.
        retry_at: Nanos,
    },
}

impl Denied {
    /// A denial by this, decided at the instant `at`. For programs that replace a limiter in their tests.
    #[inline]
    pub const fn new(by: DeniedBy, at: Nanos) -> Denied {
        Denied { by, at }
    }

    /// What denied the request.
    pub const fn by(&self) -> DeniedBy {
        self.by
    }

    /// The clock when it was decided.
    #[inline]
    pub const fn at(&self) -> Nanos {
        self.at
    }

    /// When the same request would be admitted if no other request came. `None` where that is not known: a permit or a place
    /// in the line is free when somebody gives it up.
    #[inline]
    pub const fn retry_at(&self) -> Option<Nanos> {
        match self.by {
            DeniedBy::Limit { retry_at, .. }
            | DeniedBy::Paused { retry_at }
            | DeniedBy::Unavailable { retry_at } => Some(retry_at),
            DeniedBy::Permits | DeniedBy::Line { .. } => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_known_instant_is_told() {
        let now = Nanos::from_nanos(1_000);
        let at = now.plus(Duration::from_nanos(5));
        for (by, known) in [
            (DeniedBy::Limit { index: 3, retry_at: at }, true),
            (DeniedBy::Paused { retry_at: at }, true),
            (DeniedBy::Unavailable { retry_at: at }, true),
            (DeniedBy::Permits, false),
            (DeniedBy::Line { waiting: 7 }, false),
        ] {
            let denied = Denied::new(by, now);
            assert_eq!((denied.by(), denied.at()), (by, now));
            assert_eq!(denied.retry_at(), known.then_some(at));
            assert_eq!(denied.retry_after(), known.then_some(Duration::from_nanos(5)));
            let jittered = denied.retry_after_jittered(Duration::from_nanos(10));
            assert_eq!(jittered.is_some(), known);
            assert!(jittered.is_none_or(|time| (5..=15).contains(&time.as_nanos())));
        }
    }
}
