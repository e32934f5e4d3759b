//! How often something happened: in all, and in the last minute. Only for display: an update may be lost.

use crate::clock::Nanos;
use crate::layout::{EVENT_SECONDS, EventWords};
use crate::sync::Ordering;

const SECOND: u64 = 1_000_000_000;
/// Seconds over which recent events are summed.
const RECENT: u64 = 60;

/// A number of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EventCount {
    /// Since the limiter was created.
    pub total: u64,
    /// In the last minute.
    pub last_minute: u64,
}

/// Counts one event.
pub(crate) fn count(events: &EventWords, now: Nanos) {
    events.total.fetch_add(1, Ordering::Relaxed);
    let second = now.as_nanos() / SECOND;
    let word = &events.seconds[second as usize % EVENT_SECONDS];
    let seen = word.load(Ordering::Relaxed);
    if seen >> 32 == second & 0xffff_ffff {
        word.fetch_add(1, Ordering::Relaxed);
    } else {
        // The first event of this second. If another process counts it at the same time, one of the two is lost.
        let _ = word.compare_exchange(seen, second << 32 | 1, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// How many there were.
pub(crate) fn counted(events: &EventWords, now: Nanos) -> EventCount {
    let second = now.as_nanos() / SECOND;
    let is_recent = |of: u64| (second & 0xffff_ffff).wrapping_sub(of) < RECENT;
    let seconds = events.seconds.iter().map(|word| word.load(Ordering::Relaxed));
    let last_minute = seconds.filter(|word| is_recent(word >> 32)).map(|word| word & 0xffff_ffff).sum();
    EventCount { total: events.total.load(Ordering::Relaxed), last_minute }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;
    use crate::sync::AtomicU64;

    #[test]
    fn events_of_the_last_minute_are_told_from_older_ones() {
        let word = || AtomicU64::new(0);
        let events = EventWords {
            total: word(),
            _reserved: std::array::from_fn(|_| word()),
            seconds: std::array::from_fn(|_| word()),
        };
        let at = |seconds: u64| Nanos::from_nanos(seconds * SECOND + 5);
        assert_eq!(counted(&events, at(1_000)), EventCount::default());
        for second in [1_000, 1_000, 1_001, 1_059, 1_070] {
            count(&events, at(second));
        }
        let last_minute = |second| counted(&events, at(second)).last_minute;
        // 1_064 took the place of 1_000, had it had events; 1_070 is in the future for the first of these.
        assert_eq!((last_minute(1_059), last_minute(1_070), last_minute(1_130)), (4, 2, 0));
        assert_eq!(counted(&events, at(1_130)).total, 5);
    }
}
