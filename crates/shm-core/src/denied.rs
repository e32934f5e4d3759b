//! Why a request was denied. The same value travels from the decision up to the caller.

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
    /// When to try again (ns), or how many callers wait; 0 for permits.
    value: u64,
    at: Nanos,
}

/// What denied a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeniedBy {
    /// A limit: its turn would come too late. With several limits, the one whose turn would come last.
    ///
    /// A pause of a limiter that has limits is also reported as this; `retry_after` then reaches at least to the end of
    /// the pause.
    Limit {
        /// The index of the limit in the policy, from 0.
        index: usize,
        /// After how long the same request would be admitted if no other request came; never too short, not by a
        /// nanosecond.
        retry_after: Duration,
    },
    /// A limit per key: the turn of this key would come too late. With several limits, the one whose turn would come last.
    KeyLimit {
        /// The index of the limit among those per key, from 0.
        index: usize,
        /// After how long the same request would be admitted if no other request of the key came; never too short. For a new key
        /// that inherited a debt (see `inherited`), other keys may make it longer.
        retry_after: Duration,
        /// Whether the key itself owes nothing: it is new, and inherited the debt of a key that was forgotten for it, because the
        /// table is too full.
        inherited: bool,
    },
    /// The table of keys is full for this key, which is new, and the limiter forgets no key to make room.
    TableFull,
    /// A pause of a limiter that has permits and no limit.
    Paused {
        /// After how long the pause ends.
        retry_after: Duration,
    },
    /// All permits are held. When one becomes free is not known.
    Permits,
    /// The maximum number of requests already wait; see `max_waiters`.
    Line {
        /// How many wait.
        waiting: u64,
    },
    /// The limiter could not decide, and the caller chose to fail closed.
    Unavailable {
        /// After how long the caller wants to retry.
        retry_after: Duration,
    },
}

impl DeniedBy {
    /// What denied the request, in a word that stays the same, for programs in other languages: `limits`, `key`, `table`, `pause`,
    /// `permits`, `line` or `unavailable`.
    pub fn word(self) -> &'static str {
        match self {
            DeniedBy::Limit { .. } => "limits",
            DeniedBy::KeyLimit { inherited: false, .. } => "key",
            DeniedBy::KeyLimit { inherited: true, .. } | DeniedBy::TableFull => "table",
            DeniedBy::Paused { .. } => "pause",
            DeniedBy::Permits => "permits",
            DeniedBy::Line { .. } => "line",
            DeniedBy::Unavailable { .. } => "unavailable",
        }
    }
}

/// [`DeniedBy`] without its values: a cause, and above the low byte the index of a limit. One word, because a decision returns it
/// by value: an enum with values of its own would be copied byte by byte (20 of 340 instructions on the fast path), and a
/// `Duration` would cost a division.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cause(u64);

impl Cause {
    const LIMIT: u64 = 0;
    const PAUSE: u64 = 1;
    const PERMITS: u64 = 2;
    const LINE: u64 = 3;
    const UNAVAILABLE: u64 = 4;
    const KEY_LIMIT: u64 = 5;
    const INHERITED: u64 = 6;
    const TABLE_FULL: u64 = 7;

    /// A cause of this kind: of the limit with this index, if it is one of a limit.
    const fn of(kind: u64, index: usize) -> Cause {
        let last = crate::limit::MAX_LIMITS - 1;
        Cause(kind | (if index < last { index } else { last } as u64) << 8)
    }

    const fn kind(self) -> u64 {
        self.0 & 0xff
    }

    const fn index(self) -> usize {
        (self.0 >> 8) as usize
    }
}

impl Denied {
    /// A denial decided at the instant `at`, for programs that fake a limiter in tests. (An index beyond the maximum
    /// number of limits stands for the last limit.)
    pub fn new(by: DeniedBy, at: Nanos) -> Denied {
        let known = |kind, time| Denied { cause: Cause::of(kind, 0), value: at.plus(time).as_nanos(), at };
        match by {
            DeniedBy::Limit { index, retry_after } => Denied::by_limit(index, at.plus(retry_after), at),
            DeniedBy::KeyLimit { index, retry_after, inherited } => {
                Denied::by_key_limit(index, at.plus(retry_after), at, inherited)
            }
            DeniedBy::TableFull => Denied::by_full_table(at),
            DeniedBy::Paused { retry_after } => known(Cause::PAUSE, retry_after),
            DeniedBy::Unavailable { retry_after } => known(Cause::UNAVAILABLE, retry_after),
            DeniedBy::Permits => Denied { cause: Cause::of(Cause::PERMITS, 0), value: 0, at },
            DeniedBy::Line { waiting } => Denied { cause: Cause::of(Cause::LINE, 0), value: waiting, at },
        }
    }

    /// A denial by a limit that would admit the request at `retry_at`.
    #[inline(always)]
    pub(crate) const fn by_limit(index: usize, retry_at: Nanos, at: Nanos) -> Denied {
        Denied { cause: Cause::of(Cause::LIMIT, index), value: retry_at.as_nanos(), at }
    }

    /// A denial by a limit per key.
    pub(crate) const fn by_key_limit(index: usize, retry_at: Nanos, at: Nanos, inherited: bool) -> Denied {
        let kind = if inherited { Cause::INHERITED } else { Cause::KEY_LIMIT };
        Denied { cause: Cause::of(kind, index), value: retry_at.as_nanos(), at }
    }

    /// A denial because a table of keys is full.
    pub(crate) const fn by_full_table(at: Nanos) -> Denied {
        Denied { cause: Cause::of(Cause::TABLE_FULL, 0), value: 0, at }
    }

    /// A denial by a pause that ends at `retry_at`.
    pub(crate) const fn by_pause(retry_at: Nanos, at: Nanos) -> Denied {
        Denied { cause: Cause::of(Cause::PAUSE, 0), value: retry_at.as_nanos(), at }
    }

    /// What denied the request.
    pub const fn by(&self) -> DeniedBy {
        let retry_after = Nanos::from_nanos(self.value).since(self.at);
        let index = self.cause.index();
        match self.cause.kind() {
            Cause::PAUSE => DeniedBy::Paused { retry_after },
            Cause::PERMITS => DeniedBy::Permits,
            Cause::LINE => DeniedBy::Line { waiting: self.value },
            Cause::UNAVAILABLE => DeniedBy::Unavailable { retry_after },
            Cause::KEY_LIMIT => DeniedBy::KeyLimit { index, retry_after, inherited: false },
            Cause::INHERITED => DeniedBy::KeyLimit { index, retry_after, inherited: true },
            Cause::TABLE_FULL => DeniedBy::TableFull,
            _ => DeniedBy::Limit { index, retry_after },
        }
    }

    /// The instant of the decision.
    #[inline]
    pub const fn at(&self) -> Nanos {
        self.at
    }

    /// When the same request would be admitted if no other request came. `None` where that is not known: a permit or a
    /// place in the line becomes free when another caller gives it up, and a slot of a full table when a key recovers.
    pub const fn retry_at(&self) -> Option<Nanos> {
        match self.cause.kind() {
            Cause::PERMITS | Cause::LINE | Cause::TABLE_FULL => None,
            _ => Some(Nanos::from_nanos(self.value)),
        }
    }

    /// The time from the decision to [`retry_at`](Self::retry_at).
    pub const fn retry_after(&self) -> Option<Duration> {
        match self.retry_at() {
            Some(at) => Some(at.since(self.at)),
            None => None,
        }
    }

    /// [`retry_after`](Self::retry_after) plus a random time up to `spread`, so that requests that were denied together
    /// do not retry together.
    pub fn retry_after_jittered(&self, spread: Duration) -> Option<Duration> {
        // Each hasher has different random keys.
        let part = RandomState::new().hash_one(self.at.as_nanos()) as f64 / u64::MAX as f64;
        self.retry_after().map(|time| time + spread.mul_f64(part))
    }
}

#[expect(clippy::missing_fields_in_debug, reason = "`by` and `at` are all that the packed word says")]
impl fmt::Debug for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denied").field("by", &self.by()).field("at", &self.at).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_at_is_known_for_all_but_permits_and_line() {
        let now = Nanos::from_nanos(1_000);
        let time = Duration::from_nanos(5);
        for (by, known) in [
            (DeniedBy::Limit { index: 0, retry_after: time }, true),
            (DeniedBy::Limit { index: 1, retry_after: time }, true),
            (DeniedBy::Limit { index: 2, retry_after: time }, true),
            (DeniedBy::Limit { index: 3, retry_after: time }, true),
            (DeniedBy::KeyLimit { index: 3, retry_after: time, inherited: false }, true),
            (DeniedBy::KeyLimit { index: 1, retry_after: time, inherited: true }, true),
            (DeniedBy::TableFull, false),
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
