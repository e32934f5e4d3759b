//! Places: which processes are in line, in which order, and which of them are awake.
//!
//! A process is in line with its first waiting caller; the bit of its place says so. Its *ticket* is that caller's
//! arrival. Its *plan* is the instant of its next wake-up. A process that is still asleep after its plan is *late*, and
//! is passed. The futex word on which it sleeps is its *bell*. Invariants:
//!
//! 1. Only the holder of a place writes to it, except to the plan, which others may move forward, and to the bell.
//! 2. The order is advisory: torn or corrupt tickets make the line unfair, and nothing worse. Turns and permits decide
//!    what may be used.
//! 3. A process stores its plan, then looks once more, then sleeps. A process that changes what it would see reads the
//!    plan afterwards. All four accesses are SeqCst (store-buffering pattern), so at least one of the two sees the
//!    other, and a process that sleeps too long is woken.

use crate::intervals::{MAX_PLAN, MIN_PLAN_GAIN, SLOW_WAKE_UP, WAKE_GRACE};
use crate::layout::{MAX_COSTS, Place};
use crate::limit::Costs;
use crate::sync::{AtomicU64, Ordering, fence};

/// All places of a limiter.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    /// One bit per place: whether its process is in line.
    pub(crate) occupied: &'a [AtomicU64],
    pub(crate) places: &'a [Place],
    /// How many limits have costs at the places: 1 where the state is one word.
    pub(crate) limits: usize,
}

/// A process in line, as read from its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineEntry {
    pub(crate) place: usize,
    pub(crate) ticket: u64,
    pub(crate) plan: u64,
    pub(crate) behind: u64,
    newest: u64,
}

/// What a process publishes about its first caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Front {
    pub(crate) ticket: u64,
    /// How many callers are behind it in this process, and when the newest of them arrived.
    pub(crate) behind: u64,
    pub(crate) newest: u64,
    pub(crate) costs: Costs,
    /// The epoch whose limits the costs refer to.
    pub(crate) epoch: u64,
}

impl LineEntry {
    /// The order of the line: by arrival, then by place.
    pub(crate) fn order(&self) -> (u64, usize) {
        (self.ticket, self.place)
    }

    /// The instant after which it is late, if it does not look before.
    pub(crate) fn late_after(&self) -> u64 {
        self.plan.saturating_add(WAKE_GRACE.as_nanos() as u64)
    }

    /// Whether it should be awake and is not (or its plan is corrupt).
    pub(crate) fn is_late(&self, now: u64) -> bool {
        self.late_after() < now || self.plan > now.saturating_add(MAX_PLAN.as_nanos() as u64)
    }

    /// Whether its wake-up takes longer than usual. It is not passed yet, but not relied on to act at once either.
    pub(crate) fn is_slow_to_wake(&self, now: u64) -> bool {
        self.plan.saturating_add(SLOW_WAKE_UP.as_nanos() as u64) < now
    }

    /// An estimate of how many of its callers are served before this ticket at this place: only the arrivals of the
    /// first and the newest are known, so they are interpolated.
    pub(crate) fn callers_before(&self, ticket: u64, place: usize) -> u64 {
        if self.order() >= (ticket, place) {
            return 0;
        }
        let behind = if self.newest <= ticket {
            self.behind
        } else {
            let (span, part) = (self.newest.saturating_sub(self.ticket), ticket.saturating_sub(self.ticket));
            let part = u128::from(self.behind) * u128::from(part) / u128::from(span.max(1));
            u64::try_from(part).unwrap_or(self.behind)
        };
        behind.saturating_add(1)
    }
}

impl<'a> Places<'a> {
    /// All processes in line.
    pub(crate) fn all(self) -> impl Iterator<Item = LineEntry> + 'a {
        let taken = self.occupied.iter().enumerate().flat_map(|(i, word)| {
            // Acquire: pairs with the `fetch_or` in `enter`.
            let mut bits = word.load(Ordering::Acquire);
            std::iter::from_fn(move || {
                let bit = bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
                (bit < 64).then_some(i * 64 + bit as usize)
            })
        });
        taken.filter_map(move |place| self.entry_at(place))
    }

    fn entry_at(self, place: usize) -> Option<LineEntry> {
        let p = self.places.get(place)?;
        Some(LineEntry {
            place,
            ticket: p.ticket.load(Ordering::Relaxed),
            plan: p.plan.load(Ordering::SeqCst),
            behind: p.behind.load(Ordering::Relaxed),
            newest: p.newest.load(Ordering::Relaxed),
        })
    }

    /// Whether any process is in line, alive or not.
    #[inline]
    pub(crate) fn is_occupied(self) -> bool {
        self.occupied.iter().any(|word| word.load(Ordering::SeqCst) != 0)
    }

    /// How many processes are in line.
    pub(crate) fn count(self) -> u32 {
        self.occupied.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum()
    }

    /// Whether any process in line is not late: then free turns and permits belong to the line.
    pub(crate) fn has_awake_process(self, now: u64) -> bool {
        self.is_occupied() && self.all().any(|entry| !entry.is_late(now))
    }

    /// What the first caller of this process asks of each limit, if that was computed for this epoch.
    pub(crate) fn costs(self, place: usize, epoch: u64) -> Option<Costs> {
        let p = self.places.get(place)?;
        let costs = match self.limits {
            1 => [p.costs[0].load(Ordering::Relaxed); MAX_COSTS],
            _ => p.costs.each_ref().map(|cost| cost.load(Ordering::Relaxed)),
        };
        (p.epoch.load(Ordering::Relaxed) == epoch).then_some(costs)
    }

    /// The first process in line that is not late.
    pub(crate) fn first(self, now: u64) -> Option<LineEntry> {
        self.in_order(now).next()
    }

    /// The processes in line that are not late, in order.
    pub(crate) fn in_order(self, now: u64) -> impl Iterator<Item = LineEntry> + 'a {
        let all = move || self.all().filter(move |entry| !entry.is_late(now));
        let first = all().min_by_key(LineEntry::order);
        // Sorted lazily: most callers use only the first.
        let others = first.into_iter().flat_map(move |first| {
            let mut others: Vec<_> = all().filter(|entry| entry.order() > first.order()).collect();
            others.sort_unstable_by_key(LineEntry::order);
            others
        });
        first.into_iter().chain(others)
    }

    /// Publishes the first caller of this place. Only by its holder.
    pub(crate) fn write(self, place: usize, front: &Front) {
        let Some(p) = self.places.get(place) else { return };
        let set = |word: &AtomicU64, value: u64| word.store(value, Ordering::Relaxed);
        set(&p.ticket, front.ticket);
        set(&p.behind, front.behind);
        set(&p.newest, front.newest);
        for i in 0..self.limits.min(MAX_COSTS) {
            set(&p.costs[i], front.costs[i]);
        }
        set(&p.epoch, front.epoch);
    }

    /// Publishes the callers behind the first of this place. Only by its holder.
    pub(crate) fn write_behind(self, place: usize, behind: u64, newest: u64) {
        if let Some(p) = self.places.get(place) {
            p.behind.store(behind, Ordering::Relaxed);
            p.newest.store(newest, Ordering::Relaxed);
        }
    }

    /// Enters the line at this place, which has been written. Only by its holder.
    pub(crate) fn enter(self, place: usize) {
        if let Some(word) = self.occupied.get(place / 64) {
            word.fetch_or(1 << (place % 64), Ordering::SeqCst);
        }
    }

    /// Enters the line again if its bit is gone: a slow process may have cleared it on behalf of the place's dead former
    /// holder. Only by its holder.
    pub(crate) fn reenter(self, place: usize) {
        let bits = self.occupied.get(place / 64).map_or(0, |word| word.load(Ordering::Relaxed));
        if bits & 1 << (place % 64) == 0 {
            self.enter(place);
        }
    }

    /// Leaves the line. By the holder of the place, or on behalf of a dead one.
    pub(crate) fn leave(self, place: usize) {
        if let Some(word) = self.occupied.get(place / 64) {
            word.fetch_and(!(1 << (place % 64)), Ordering::SeqCst);
        }
    }

    /// Stores the plan of this place.
    pub(crate) fn plan(self, place: usize, until: u64) {
        if let Some(p) = self.places.get(place) {
            p.plan.store(until, Ordering::SeqCst);
            // Then the process looks once more: see invariant 3.
            fence(Ordering::SeqCst);
        }
    }

    /// Whether this is still its plan: no other process has moved it forward.
    pub(crate) fn has_plan(self, place: usize, until: u64) -> bool {
        self.places.get(place).is_some_and(|p| p.plan.load(Ordering::SeqCst) == until)
    }

    /// The futex word on which the holder of this place sleeps.
    pub(crate) fn bell(self, place: usize) -> Option<&'a AtomicU64> {
        self.places.get(place).map(|p| &p.bell)
    }

    /// Moves the plan of this process forward to `due`. Returns true if it was later: then the caller rings the bell.
    pub(crate) fn advance_plan(self, entry: &LineEntry, due: u64) -> bool {
        if entry.plan <= due.saturating_add(MIN_PLAN_GAIN.as_nanos() as u64) {
            return false;
        }
        self.places.get(entry.place).is_some_and(|p| p.plan.fetch_min(due, Ordering::SeqCst) > due)
    }
}
