//! Counters, in lanes with a single writer each where possible.

use crate::layout::Counters;
use crate::segment::Segment;
use crate::sync::{AtomicU64, Ordering};
use std::time::Duration;

/// The lanes of one thread.
#[derive(Clone, Copy)]
pub(crate) struct Counter<'a> {
    /// The lane that only this thread writes, if it has one.
    pub(super) own: Option<&'a Counters>,
    pub(super) shared: &'a Counters,
}

impl Counter<'_> {
    #[inline]
    fn add(&self, counter: impl Fn(&Counters) -> &AtomicU64, n: u64) {
        if let Some(own) = self.own.map(&counter) {
            // Single writer: no read-modify-write needed.
            own.store(own.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        } else {
            counter(self.shared).fetch_add(n, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn admitted(&self, calls: u64) {
        self.add(|counters| &counters.admitted, 1);
        if calls != 1 {
            // 0 calls subtract one.
            self.add(|counters| &counters.extra_calls, calls.wrapping_sub(1));
        }
    }

    #[inline]
    pub(crate) fn denied(&self) {
        self.add(|counters| &counters.denied, 1);
    }

    /// The same counter, but in the lane shared by all threads, for operations that are not performance-critical. A
    /// child forked by a signal handler in the middle of a store to the thread's own lane could write back an old count
    /// at any later time.
    pub(crate) fn in_shared_lane(self) -> Self {
        Counter { own: None, ..self }
    }

    pub(crate) fn waited(&self, time: Duration) {
        self.add(|counters| &counters.waited, 1);
        self.add(|counters| &counters.waited_ns, time.as_nanos() as u64);
    }
}

/// Counters of one process, or of all, since the limiter was created or the process attached. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Counts {
    /// Requests admitted.
    pub admitted: u64,
    /// Calls that the admitted requests took.
    pub calls: u64,
    /// Requests denied or timed out.
    pub denied: u64,
    /// Admitted requests that had to wait.
    pub waited: u64,
    /// The total time for which those requests waited.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "waited_time_ns", serialize_with = "crate::limit::serde_impls::nanos")
    )]
    pub waited_time: Duration,
}

impl Counts {
    pub(crate) fn of(counters: &Counters) -> Counts {
        let get = |w: &AtomicU64| w.load(Ordering::Relaxed);
        let admitted = get(&counters.admitted);
        Counts {
            admitted,
            calls: admitted.wrapping_add(get(&counters.extra_calls)),
            denied: get(&counters.denied),
            waited: get(&counters.waited),
            waited_time: Duration::from_nanos(get(&counters.waited_ns)),
        }
    }

    pub(super) fn store(self, counters: &Counters) {
        counters.admitted.store(self.admitted, Ordering::Relaxed);
        counters.extra_calls.store(self.calls.wrapping_sub(self.admitted), Ordering::Relaxed);
        counters.denied.store(self.denied, Ordering::Relaxed);
        counters.waited.store(self.waited, Ordering::Relaxed);
        counters.waited_ns.store(self.waited_time.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(crate) fn plus(self, other: Counts) -> Counts {
        Counts {
            admitted: self.admitted.wrapping_add(other.admitted),
            calls: self.calls.wrapping_add(other.calls),
            denied: self.denied.wrapping_add(other.denied),
            waited: self.waited.wrapping_add(other.waited),
            waited_time: self.waited_time.saturating_add(other.waited_time),
        }
    }

    pub(super) fn since(self, before: Counts) -> Counts {
        Counts {
            admitted: self.admitted.wrapping_sub(before.admitted),
            calls: self.calls.wrapping_sub(before.calls),
            denied: self.denied.wrapping_sub(before.denied),
            waited: self.waited.wrapping_sub(before.waited),
            waited_time: self.waited_time.saturating_sub(before.waited_time),
        }
    }
}

/// The sum of all counters, of living and dead processes.
pub(crate) fn totals(segment: &Segment) -> Counts {
    segment.seats().iter().fold(Counts::of(&segment.header().seatless), |sum, seat| {
        sum.plus(Counts::of(&seat.own)).plus(Counts::of(&seat.shared))
    })
}
