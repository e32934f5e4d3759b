//! Places: who stands in the line, in which order, and who of them is awake.
//!
//! A process stands with its first waiting caller; the bit of its place says so. The invariants:
//!
//! 1. Only the holder of a place writes it, but for its plan, which others move forward, and its bell.
//! 2. Order is advice: whoever reads tickets that are being written, or damaged, is unfair, and nothing else. What may be
//!    used is said by turns and permits.
//! 3. A process stores its plan, then looks once more, then sleeps; whoever changes what it would find looks at the plan
//!    afterwards. All four are SeqCst. So a process that sleeps too long is woken.

use crate::layout::{MAX_COSTS, Place};
use crate::limit::Costs;
use crate::sync::{AtomicU64, Ordering, fence};
use std::time::Duration;

/// A process that is awake later than it planned, by more than this, is passed over: it is stopped, dead, or gets no
/// processor. More than what a wake-up usually takes, and less than what a caller would notice.
pub(crate) const GRACE: Duration = Duration::from_millis(2);

/// Nobody plans to sleep for longer. A plan that says so was written by nobody, and its place is passed over.
pub(crate) const LONGEST_PLAN: Duration = Duration::from_secs(20);

/// All places of a limiter.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    /// A bit for each place: whether somebody stands there.
    pub(crate) standing: &'a [AtomicU64],
    pub(crate) places: &'a [Place],
    /// How many limits there are at most, whose costs are written and read. Where the state is one word: 1.
    pub(crate) limits: usize,
}

/// Somebody who stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) place: usize,
    pub(crate) ticket: u64,
    pub(crate) plan: u64,
    pub(crate) behind: u64,
    newest: u64,
}

/// What a process writes of its first caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Front {
    pub(crate) ticket: u64,
    /// How many stand behind it in this process, and when the newest of them arrived.
    pub(crate) behind: u64,
    pub(crate) newest: u64,
    pub(crate) costs: Costs,
    /// The epoch whose limits the costs are in the order of.
    pub(crate) epoch: u64,
}

impl Standing {
    /// What orders the line: who arrived first and, of two that arrived together, who has the first place.
    pub(crate) fn order(&self) -> (u64, usize) {
        (self.ticket, self.place)
    }

    /// After when it is late, if it keeps its plan and does not look until then.
    pub(crate) fn late_after(&self) -> u64 {
        self.plan.saturating_add(GRACE.as_nanos() as u64)
    }

    /// Whether it should be awake, and is not.
    pub(crate) fn is_late(&self, now: u64) -> bool {
        self.late_after() < now || self.plan > now.saturating_add(LONGEST_PLAN.as_nanos() as u64)
    }

    /// Whether it should have been awake for longer than a wake-up usually takes. Then it is not relied on to go on at once,
    /// though it is not passed over yet.
    pub(crate) fn has_overslept(&self, now: u64) -> bool {
        /// Three times what a wake-up takes.
        const A_WAKE_UP: u64 = 200_000;
        self.plan.saturating_add(A_WAKE_UP) < now
    }

    /// How many of its callers are served before this ticket at this place, about: it says only when the first and the
    /// newest of them arrived.
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
    /// Those who stand.
    pub(crate) fn all(self) -> impl Iterator<Item = Standing> + 'a {
        let taken = self.standing.iter().enumerate().flat_map(|(i, word)| {
            // Acquire: pairs with the swap in `stand`.
            let mut bits = word.load(Ordering::Acquire);
            std::iter::from_fn(move || {
                let bit = bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
                (bit < 64).then_some(i * 64 + bit as usize)
            })
        });
        taken.filter_map(move |place| self.standing_at(place))
    }

    fn standing_at(self, place: usize) -> Option<Standing> {
        let p = self.places.get(place)?;
        Some(Standing {
            place,
            ticket: p.ticket.load(Ordering::Relaxed),
            plan: p.plan.load(Ordering::SeqCst),
            behind: p.behind.load(Ordering::Relaxed),
            newest: p.newest.load(Ordering::Relaxed),
        })
    }

    /// Whether anybody stands, alive or not.
    #[inline]
    pub(crate) fn is_anybody_there(self) -> bool {
        self.standing.iter().any(|word| word.load(Ordering::SeqCst) != 0)
    }

    /// How many stand.
    pub(crate) fn count(self) -> u32 {
        self.standing.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum()
    }

    /// Whether anybody stands who is not late: then what is free is theirs.
    pub(crate) fn is_anybody_awake(self, now: u64) -> bool {
        self.is_anybody_there() && self.all().any(|standing| !standing.is_late(now))
    }

    /// What the first caller of a process asks of each limit, if it knows the limits of this epoch.
    pub(crate) fn costs(self, place: usize, epoch: u64) -> Option<Costs> {
        let p = self.places.get(place)?;
        let costs = match self.limits {
            1 => [p.costs[0].load(Ordering::Relaxed); MAX_COSTS],
            _ => p.costs.each_ref().map(|cost| cost.load(Ordering::Relaxed)),
        };
        (p.epoch.load(Ordering::Relaxed) == epoch).then_some(costs)
    }

    /// The first in line that is not late.
    pub(crate) fn first(self, now: u64) -> Option<Standing> {
        self.in_order(now).next()
    }

    /// Those who stand and are not late, in their order.
    pub(crate) fn in_order(self, now: u64) -> impl Iterator<Item = Standing> + 'a {
        let all = move || self.all().filter(move |standing| !standing.is_late(now));
        let first = all().min_by_key(Standing::order);
        // Hardly anybody asks for more.
        let others = first.into_iter().flat_map(move |first| {
            let mut others: Vec<_> = all().filter(|standing| standing.order() > first.order()).collect();
            others.sort_unstable_by_key(Standing::order);
            others
        });
        first.into_iter().chain(others)
    }

    /// Writes who is first at this place. By its holder.
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

    /// Writes who stands behind the first at this place. By its holder.
    pub(crate) fn write_behind(self, place: usize, behind: u64, newest: u64) {
        if let Some(p) = self.places.get(place) {
            p.behind.store(behind, Ordering::Relaxed);
            p.newest.store(newest, Ordering::Relaxed);
        }
    }

    /// Stands up in the line at this place, which was written. By its holder.
    pub(crate) fn stand(self, place: usize) {
        if let Some(word) = self.standing.get(place / 64) {
            word.fetch_or(1 << (place % 64), Ordering::SeqCst);
        }
    }

    /// The same, if it does not stand any more: whoever cleared the place of the dead holder before may have come late. By
    /// its holder.
    pub(crate) fn stand_again(self, place: usize) {
        let bits = self.standing.get(place / 64).map_or(0, |word| word.load(Ordering::Relaxed));
        if bits & 1 << (place % 64) == 0 {
            self.stand(place);
        }
    }

    /// Leaves the line. By the holder of the place, or for one that is dead.
    pub(crate) fn leave(self, place: usize) {
        if let Some(word) = self.standing.get(place / 64) {
            word.fetch_and(!(1 << (place % 64)), Ordering::SeqCst);
        }
    }

    /// Says when the holder of this place will be awake next.
    pub(crate) fn plan(self, place: usize, until: u64) {
        if let Some(p) = self.places.get(place) {
            p.plan.store(until, Ordering::SeqCst);
            // Then it looks once more: see invariant 3.
            fence(Ordering::SeqCst);
        }
    }

    /// Whether this is still its plan, and nobody has moved it forward.
    pub(crate) fn has_plan(self, place: usize, until: u64) -> bool {
        self.places.get(place).is_some_and(|p| p.plan.load(Ordering::SeqCst) == until)
    }

    /// The word on which the holder of this place sleeps.
    pub(crate) fn bell(self, place: usize) -> Option<&'a AtomicU64> {
        self.places.get(place).map(|p| &p.bell)
    }

    /// Moves this one's plan forward to `due`. True if it was later: then the caller rings.
    pub(crate) fn hasten(self, standing: &Standing, due: u64) -> bool {
        /// A plan this much later is not worth a wake-up.
        const NEARLY: u64 = 20_000;
        if standing.plan <= due.saturating_add(NEARLY) {
            return false;
        }
        self.places.get(standing.place).is_some_and(|p| p.plan.fetch_min(due, Ordering::SeqCst) > due)
    }
}
