//! The exact sliding window log: at most `max` in any window of `span`, as fast as possible.
//!
//! Admissions have indices 0, 1, 2, … and times that never decrease. Admission `i` is allowed from `t[i − max] + span`
//! on. That suffices: between the two lie `max` admissions, so no window of `span` contains more.
//!
//! The times are in a ring of slots (index modulo capacity, which is at least `max`). The newest admission is
//! *pending*: its slots are written by the next process that commits, before its commit. Slots only grow (`fetch_max`),
//! so writing one twice, late, or by a process that was stopped for an hour changes nothing. So that times grow
//! although a queue can be dropped, a slot contains `era | time`, and each drop begins a new era.
//!
//! **A dropped queue** leaves a *gap* in the indices: the admissions in it count as never made. One gap is stored
//! exactly. If another queue is dropped while an earlier gap still matters, admissions from before that gap count as
//! made at its end: later than they were, so this never over-admits.

use std::ops::Range;

/// Times are stored in steps of this many nanoseconds, rounded up: a slot has room for 36 years of them.
pub(crate) const STEP_NS: u64 = 64;
const TIME_BITS: u32 = 54;
/// After this many dropped queues, the next drop counts all earlier admissions as made when it happens.
const LAST_ERA: u64 = (1 << (64 - TIME_BITS)) - 1;
/// An upper bound of the number of admissions of a log.
const COUNT_END: u64 = 1 << 62;
/// Words of state.
pub(crate) const WORDS: usize = 9;
/// Which of them says how many of the newest admissions have no slots yet.
pub(crate) const PENDING: usize = 1;

/// What is known about a log's admissions later than some instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Later {
    /// Only what the slots tell.
    AsWritten,
    /// Exactly this many turns of a queue.
    Turns(u64),
    /// A debt, possibly with turns behind it: counts as used as far as it is stored.
    Debt,
}

/// The ring of slots, in any kind of memory.
pub(crate) trait Ring {
    /// The slot of this index, 0 if there is none.
    fn slot(&self, index: u64) -> u64;
    /// The number of slots.
    fn capacity(&self) -> u64;
}

/// The parameters of one greedy limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) max: u64,
    /// The window, guard included.
    pub(crate) span: u64,
}

/// The state, word by word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Admissions so far, including those in gaps.
    pub(crate) count: u64,
    /// How many of the newest are not in the ring yet.
    pub(crate) pending: u64,
    /// The time of the newest, pending or not.
    pub(crate) newest: u64,
    /// Indices that do not count: a dropped queue.
    pub(crate) gap: (u64, u64),
    /// All indices below this have the time `floor_time`; 0 means that they do not count.
    pub(crate) floor_index: u64,
    pub(crate) floor_time: u64,
    /// Turns up to this time were cancelled in this era. Slots may contain their times, although other admissions took
    /// their indices.
    pub(crate) cancelled_until: u64,
    pub(crate) era: u64,
}

impl State {
    pub(crate) fn read(words: &[u64]) -> State {
        let w = |i: usize| words.get(i).copied().unwrap_or(0);
        State {
            count: w(0),
            pending: w(1),
            newest: w(2),
            gap: (w(3), w(4)),
            floor_index: w(5),
            floor_time: w(6),
            cancelled_until: w(7),
            era: w(8).min(LAST_ERA),
        }
    }

    pub(crate) fn write(self, words: &mut [u64]) {
        let (from, to) = self.gap;
        let all = [
            self.count,
            self.pending,
            self.newest,
            from,
            to,
            self.floor_index,
            self.floor_time,
            self.cancelled_until,
            self.era,
        ];
        for (to, from) in words.iter_mut().zip(all) {
            *to = from;
        }
    }

    /// The same state with an era no earlier than that of any slot, and a count that can grow. For a reset.
    pub(crate) fn repaired(self, ring: &impl Ring) -> State {
        let latest = (0..ring.capacity()).map(|i| ring.slot(i) >> TIME_BITS).max().unwrap_or(0);
        let count = if self.count < COUNT_END { self.count } else { 0 };
        State { count, era: self.era.max(latest), ..self }
    }

    /// A word that cannot be that of a log in which no time is later than `far`: its index and name, and what it should
    /// be.
    pub(crate) fn implausible(&self, far: u64) -> Option<(usize, &'static str, &'static str)> {
        let at_most_count = "at most the log's count";
        if self.newest > far {
            Some((2, "newest ns", super::gcra::REACHABLE_TIME))
        } else if self.count >= COUNT_END {
            Some((0, "count", "a count that can grow"))
        } else if self.gap.1 > self.count {
            Some((4, "gap to", at_most_count))
        } else if self.floor_index > self.count {
            Some((5, "floor index", at_most_count))
        } else {
            None
        }
    }

    /// Whether these can be the words of a log. A count that cannot grow, or bounds ahead of it, would admit every
    /// request.
    pub(crate) fn is_sound(&self) -> bool {
        self.implausible(u64::MAX).is_none()
    }

    /// An upper bound of all slots until the next era begins.
    pub(crate) fn end_of_era(&self) -> u64 {
        (self.era + 1).checked_shl(TIME_BITS).filter(|_| self.era < LAST_ERA).unwrap_or(u64::MAX)
    }

    /// The slots to write before anything follows, and their value.
    pub(crate) fn unwritten(&self) -> (Range<u64>, u64) {
        (self.count.saturating_sub(self.pending)..self.count, slot(self.era, self.newest))
    }

    /// The time of admission `index`, mapping indices before the gap as if the gap were empty: never earlier than it
    /// was. 0: there was none.
    fn time_of(&self, index: u64, ring: &impl Ring) -> u64 {
        if index >= self.count.saturating_sub(self.pending) {
            return self.newest;
        }
        let (from, to) = self.gap;
        match if index >= to { Some(index) } else { index.checked_sub(to.saturating_sub(from)) } {
            Some(place) => self.time_at(place, ring),
            // The index precedes the first admission.
            None => 0,
        }
    }

    /// The same where a queue may have overwritten the slot. Then, `max` admissions later, the next one came at least
    /// one `span` later, which gives a lower bound.
    fn time_of_any(&self, index: u64, log: &Log, ring: &impl Ring) -> u64 {
        let oldest = self.count.saturating_sub(ring.capacity());
        let (from, to) = self.gap;
        let gap = to.saturating_sub(from);
        let known = if index >= to { index } else { index.saturating_sub(gap) };
        if known >= oldest || known < self.floor_index {
            return self.time_of(index, ring);
        }
        let target =
            if oldest.saturating_add(gap) < to { oldest.saturating_add(gap) } else { oldest.max(to) };
        let spans = target.saturating_sub(index).div_ceil(log.max.max(1));
        let later = index.saturating_add(spans.saturating_mul(log.max)).min(self.count);
        self.time_of(later, ring).saturating_sub(spans.saturating_mul(log.span)).max(1)
    }

    /// The time at this place of the ring, clamped to the newest: a slot with a later time was written for an admission
    /// in a gap, or long afterwards. A slot of a future era is corrupt: it could never be overwritten, so it must not
    /// count as free.
    fn time_at(&self, place: u64, ring: &impl Ring) -> u64 {
        if place < self.floor_index {
            return self.floor_time;
        }
        let slot = ring.slot(place);
        if slot >> TIME_BITS > self.era { self.newest } else { time(slot).min(self.newest) }
    }

    /// The oldest index since the gap that is still in the ring.
    fn oldest(&self, ring: &impl Ring) -> u64 {
        self.gap.1.max(self.count.saturating_sub(ring.capacity())).min(self.count)
    }

    /// Whether turns after `now` were cancelled, so that the slots do not tell which admissions come after it.
    fn cancelled_ahead_of(&self, now: u64) -> bool {
        self.newest > now && self.cancelled_until > now
    }

    /// The next era, up to the last one.
    fn next_era(&self) -> u64 {
        (self.era + 1).min(LAST_ERA)
    }
}

/// Rounds a time to the stored resolution.
fn round_up(ns: u64) -> u64 {
    ns.div_ceil(STEP_NS).saturating_mul(STEP_NS)
}

fn slot(era: u64, ns: u64) -> u64 {
    era << TIME_BITS | ns.div_ceil(STEP_NS).min((1 << TIME_BITS) - 1)
}

fn time(slot: u64) -> u64 {
    (slot & ((1 << TIME_BITS) - 1)) * STEP_NS
}

impl Log {
    /// The first instant at which `cost` more conform.
    #[inline]
    pub(crate) fn ready(&self, state: &State, cost: u64, ring: &impl Ring) -> u64 {
        if !state.is_sound() {
            return u64::MAX;
        }
        let Some(index) = (state.count.saturating_add(cost)).checked_sub(self.max.saturating_add(1)) else {
            return 0;
        };
        match state.time_of(index, ring) {
            0 => 0,
            at => at.saturating_add(self.span),
        }
    }

    /// Charges `cost` at `at`. Pending slots must have been written. Works on the words in place, because most stay
    /// unchanged.
    #[inline]
    pub(crate) fn charge_words(words: &mut [u64], at: u64, cost: u64) {
        if let [count, pending, newest, ..] = words {
            *count = count.saturating_add(cost);
            *pending = cost;
            *newest = round_up(at).max(*newest);
        }
    }

    /// A debt of `amount`. Returns the instant of its last call; `None` if that is not representable. Pending slots
    /// must have been written.
    ///
    /// Let `amount` be `k·max + r` with `r` from 1 to `max`. In a queue of single calls, number `i + max` comes one
    /// span after number `i`, or together with its predecessor if that is later; nothing before the queue is later than
    /// number `r`. So the last one comes exactly `k` spans after number `r`, which comes as soon as `r` calls together
    /// may. (Times in the ring are rounded up; this one is late by at most one step.)
    ///
    /// Only that instant is stored: the last `max` of the debt, or all of it, count as admitted then. So later requests
    /// are admitted no earlier than behind single calls, and at most one span later.
    pub(crate) fn debt(&self, state: &mut State, base: u64, amount: u64, ring: &impl Ring) -> Option<u64> {
        let before_last = amount.checked_sub(1)?;
        let (spans, first) = (before_last / self.max.max(1), before_last % self.max.max(1) + 1);
        let at = base.max(self.ready(state, first, ring)).checked_add(spans.checked_mul(self.span)?)?;
        Log::charge(state, at, amount.min(self.max));
        Some(at)
    }

    fn charge(state: &mut State, at: u64, cost: u64) {
        state.count = state.count.saturating_add(cost);
        state.pending = cost;
        state.newest = round_up(at).max(state.newest);
    }

    /// The state after cancelling what led from it to `newest`.
    pub(crate) fn cancel(state: &mut State, newest: &State) {
        if newest.count > state.count {
            state.cancelled_until = state.cancelled_until.max(newest.newest);
        }
    }

    /// Shortens the newest admission by `amount`. Returns by how much it was shortened.
    pub(crate) fn shorten(state: &mut State, amount: u64) -> u64 {
        let amount = amount.min(state.pending);
        state.pending -= amount;
        state.count = state.count.saturating_sub(amount);
        amount
    }

    /// Drops everything: nothing counts any more.
    pub(crate) fn forget(state: &State) -> State {
        Log::all_at(state, 0)
    }

    /// As if all admissions so far had been made at `at`, with no queue; at 0 they do not count.
    fn all_at(state: &State, at: u64) -> State {
        let count = state.count;
        let era = state.next_era();
        // Without a new era, the slots of a queue remain, like those of cancelled turns.
        let cancelled_until = if era > state.era { 0 } else { state.cancelled_until.max(state.newest) };
        State {
            count,
            pending: 0,
            newest: at,
            gap: (count, count),
            floor_index: count,
            floor_time: at,
            cancelled_until,
            era,
        }
    }

    /// As if `used` had been admitted at `now`, and nothing before.
    pub(crate) fn as_if(state: &State, used: u64, now: u64) -> State {
        let mut state = Log::forget(state);
        if used > 0 {
            Log::charge(&mut state, now, used);
        }
        state
    }

    /// The number of admissions in the window that ends at `now`, and of those after it, if that is known.
    pub(crate) fn usage(
        &self,
        state: &State,
        now: u64,
        later: Later,
        ring: &impl Ring,
    ) -> (u64, Option<u64>) {
        let queued = match later {
            Later::Turns(queued) => queued,
            Later::Debt if state.newest > now => return (self.max.min(state.count), None),
            _ if state.cancelled_ahead_of(now) => return (self.max.min(state.count), None),
            _ => {
                let first = Self::first_after(state, now, ring);
                if first < state.count && first > 0 && first == state.count.saturating_sub(ring.capacity()) {
                    // The ring contains only the queue.
                    return (self.max.min(first), None);
                }
                state.count.saturating_sub(first)
            }
        };
        let window = now.saturating_sub(self.span);
        let end = state.count.saturating_sub(queued);
        let gone = |i| {
            let at = state.time_of_any(i, self, ring);
            at == 0 || (at <= window && now >= self.span)
        };
        (end - partition(end.saturating_sub(self.max)..end, gone), Some(queued))
    }

    /// The first index whose time is after `now`, as far back as is known.
    fn first_after(state: &State, now: u64, ring: &impl Ring) -> u64 {
        let now = round_up(now);
        if state.newest <= now {
            return state.count;
        }
        partition(state.oldest(ring)..state.count, |i| state.time_of(i, ring) <= now)
    }

    /// The state with which `next` takes over at `now`: the queue is dropped, usage is kept.
    pub(crate) fn carry(&self, state: &State, now: u64, next: &Log, later: Later, ring: &impl Ring) -> State {
        // New admissions overwrite the slots before a gap while those still matter; with a larger `max`, they matter
        // longer.
        let spared = |mut s: State| {
            let window = self.max.max(next.max);
            let lost = (state.count.saturating_add(window)).saturating_sub(ring.capacity()).min(s.gap.0);
            if lost > s.floor_index {
                (s.floor_index, s.floor_time) = (lost, s.time_at(lost - 1, ring));
            }
            s
        };
        let first = match later {
            Later::Turns(queued) => state.count.saturating_sub(queued).max(state.gap.1.min(state.count)),
            Later::AsWritten | Later::Debt => Self::first_after(state, now, ring),
        };
        if first == state.count {
            return spared(*state);
        }
        let newest = round_up(now);
        let is_known = matches!(later, Later::Turns(_));
        if later == Later::Debt || (state.cancelled_until > now && !is_known) || state.era >= LAST_ERA {
            // A slot with a later time may belong to an admission that took the index of a cancelled turn, or to a
            // queue that is dropped without a new era: they cannot be told apart.
            return Log::all_at(state, newest);
        }
        let mut s = State {
            pending: 0,
            newest,
            cancelled_until: 0,
            era: state.next_era(),
            gap: (first, state.count),
            ..*state
        };
        if first == state.oldest(ring) && first > state.gap.1 && !is_known {
            // The ring contains only the queue: as many as possible count as admitted just now.
            (s.floor_index, s.floor_time) = (first, newest);
        } else if first == state.gap.1 {
            // Nothing was admitted since the last gap, so it grows.
            s.gap.0 = state.gap.0;
        } else if state.gap.1 > state.gap.0 {
            (s.floor_index, s.floor_time) = (state.gap.1, s.time_at(state.gap.1, ring));
        }
        spared(s)
    }
}

/// The first of `range` for which `before` is false; it is true for a prefix and false for the rest.
fn partition(range: Range<u64>, before: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (range.start, range.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
