//! The exact sliding log: at most `max` in any window of `span`, as fast as possible.
//!
//! Admissions have indices 0, 1, 2, … and times that never decrease. Number `i` may be admitted from
//! `t[i − max] + span` on. That is all: between them lie `max` admissions, so no window of `span` holds more.
//!
//! The times lie in a ring of slots (index modulo capacity, which is at least `max`). The newest admission is
//! *pending*: its slots are written by whoever commits next, before it commits. Slots only grow, so that writing
//! twice, late, or by a process that was stopped for an hour changes nothing. For times to grow although a queue can be
//! dropped, a slot is `era | time`, and each drop begins a new era.
//!
//! **A dropped queue** leaves a *gap* in the indices: those who stood in it count as never admitted. One gap is
//! remembered exactly. If another drop comes while an earlier gap still matters, what was admitted before that one
//! counts as admitted at its end: later than it was, so never too much is admitted.

use std::ops::Range;

/// Times are kept in steps of this many nanoseconds, rounded up: a slot has room for 36 years of them.
pub(crate) const STEP_NS: u64 = 64;
const TIME_BITS: u32 = 54;
/// After this many dropped queues all that was admitted counts as admitted when the next one is dropped.
const LAST_ERA: u64 = (1 << (64 - TIME_BITS)) - 1;
/// No log has admitted so many.
const COUNT_END: u64 = 1 << 62;
/// Words of state.
pub(crate) const WORDS: usize = 9;

/// What is known of a log's admissions later than some instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Later {
    /// As much as the slots tell.
    AsWritten,
    /// Exactly so many turns of a queue.
    Turns(u64),
    /// A debt, perhaps with turns behind it: it counts as used, as far as it is kept.
    Debt,
}

/// The ring of slots, in whatever memory it is.
pub(crate) trait Ring {
    /// The slot of this index, 0 if there is none.
    fn slot(&self, index: u64) -> u64;
    /// Slots that there are.
    fn capacity(&self) -> u64;
}

/// The numbers of one greedy limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) max: u64,
    /// The window, with its guard.
    pub(crate) span: u64,
}

/// The state, word by word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Admissions so far, those in gaps included.
    pub(crate) count: u64,
    /// How many of the newest are not in the ring yet.
    pub(crate) pending: u64,
    /// The time of the newest, whether pending or not.
    pub(crate) newest: u64,
    /// Indices that count for nothing.
    pub(crate) gap: (u64, u64),
    /// Everything before this index has the time `low_at`; 0 means that it doesn't count.
    pub(crate) low: u64,
    pub(crate) low_at: u64,
    /// Turns up to this time were cancelled in this era. Slots may hold their times, whoever came instead.
    pub(crate) void: u64,
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
            low: w(5),
            low_at: w(6),
            void: w(7),
            era: w(8).min(LAST_ERA),
        }
    }

    pub(crate) fn write(self, words: &mut [u64]) {
        let (from, to) = self.gap;
        let all =
            [self.count, self.pending, self.newest, from, to, self.low, self.low_at, self.void, self.era];
        for (to, from) in words.iter_mut().zip(all) {
            *to = from;
        }
    }

    /// The same, with an era that is not before that of any slot, and a count that can grow. To be forgotten.
    pub(crate) fn mended(self, ring: &impl Ring) -> State {
        let latest = (0..ring.capacity()).map(|i| ring.slot(i) >> TIME_BITS).max().unwrap_or(0);
        let count = if self.count < COUNT_END { self.count } else { 0 };
        State { count, era: self.era.max(latest), ..self }
    }

    /// Whether these can be the words of a log. A count that can't grow, or bounds that lie ahead of it, would let
    /// everybody pass.
    pub(crate) fn is_sound(&self) -> bool {
        self.count < COUNT_END && self.gap.1 <= self.count && self.low <= self.count
    }

    /// Every slot is less than this until the next era begins.
    pub(crate) fn end_of_era(&self) -> u64 {
        (self.era + 1).checked_shl(TIME_BITS).filter(|_| self.era < LAST_ERA).unwrap_or(u64::MAX)
    }

    /// The slots to write before anything follows, and what to.
    pub(crate) fn unwritten(&self) -> (Range<u64>, u64) {
        (self.count.saturating_sub(self.pending)..self.count, slot(self.era, self.newest))
    }

    /// The time of admission `index`, counted without the gap's end as the newest come last: never earlier than it
    /// was. 0: there was none.
    fn time_of(&self, index: u64, ring: &impl Ring) -> u64 {
        if index >= self.count.saturating_sub(self.pending) {
            return self.newest;
        }
        let (from, to) = self.gap;
        match if index >= to { Some(index) } else { index.checked_sub(to.saturating_sub(from)) } {
            Some(place) => self.time_at(place, ring),
            // There were never so many.
            None => 0,
        }
    }

    /// The same where a queue may have overwritten it. Then `max` admissions later the next one came at least one `span`
    /// later, which says how early it was at least.
    fn time_of_any(&self, index: u64, log: &Log, ring: &impl Ring) -> u64 {
        let oldest = self.count.saturating_sub(ring.capacity());
        let (from, to) = self.gap;
        let gap = to.saturating_sub(from);
        let known = if index >= to { index } else { index.saturating_sub(gap) };
        if known >= oldest || known < self.low {
            return self.time_of(index, ring);
        }
        let target =
            if oldest.saturating_add(gap) < to { oldest.saturating_add(gap) } else { oldest.max(to) };
        let spans = target.saturating_sub(index).div_ceil(log.max.max(1));
        let later = index.saturating_add(spans.saturating_mul(log.max)).min(self.count);
        self.time_of(later, ring).saturating_sub(spans.saturating_mul(log.span)).max(1)
    }

    /// The time at this place of the ring. Nobody was admitted later than the newest: a slot that says so was written
    /// for somebody in a gap, or long after. A slot of an era to come is damaged: nothing can be written there any
    /// more, so it must not be free for ever.
    fn time_at(&self, place: u64, ring: &impl Ring) -> u64 {
        if place < self.low {
            return self.low_at;
        }
        let slot = ring.slot(place);
        if slot >> TIME_BITS > self.era { self.newest } else { time(slot).min(self.newest) }
    }

    /// The oldest index since the gap that the ring remembers.
    fn oldest(&self, ring: &impl Ring) -> u64 {
        self.gap.1.max(self.count.saturating_sub(ring.capacity())).min(self.count)
    }

    /// Whether turns after `now` were cancelled, so that the slots don't tell which admissions come after it.
    fn cancelled_ahead_of(&self, now: u64) -> bool {
        self.newest > now && self.void > now
    }

    /// The next era, as long as there is one.
    fn next_era(&self) -> u64 {
        (self.era + 1).min(LAST_ERA)
    }
}

/// As the times of admissions are kept.
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

    /// `cost` admitted at `at`. What was pending must be in the ring. On the words themselves: most stay as they are.
    #[inline]
    pub(crate) fn charge_words(words: &mut [u64], at: u64, cost: u64) {
        if let [count, pending, newest, ..] = words {
            *count = count.saturating_add(cost);
            *pending = cost;
            *newest = round_up(at).max(*newest);
        }
    }

    /// A debt of `amount`. Returns when the last of it is; `None` if that lies beyond all time. What was pending must be in
    /// the ring.
    ///
    /// Let `amount` be `k·max + r` with `r` from 1 to `max`. In a queue of single calls number `i + max` comes one span
    /// after number `i`, or together with the one before it, if that is later; nothing before the queue is later than
    /// number `r`. So the last one comes exactly `k` spans after number `r`, which comes as soon as `r` together may.
    /// (Times in the ring are rounded up; this one is late by no more than one step.)
    ///
    /// Only that instant is kept: the last `max` of the debt, or all of it, count as admitted then. So whoever comes
    /// after them comes no earlier than behind single calls, and at most one span later.
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

    /// The state after what led from it to `newest` was cancelled.
    pub(crate) fn cancel(state: &mut State, newest: &State) {
        if newest.count > state.count {
            state.void = state.void.max(newest.newest);
        }
    }

    /// The newest was `amount` less. Returns by how much it was shortened.
    pub(crate) fn shorten(state: &mut State, amount: u64) -> u64 {
        let amount = amount.min(state.pending);
        state.pending -= amount;
        state.count = state.count.saturating_sub(amount);
        amount
    }

    /// Nothing counts any more.
    pub(crate) fn forget(state: &State) -> State {
        Log::all_at(state, 0)
    }

    /// As if all so far had been admitted at `at`, and nobody is queued; at 0 they don't count.
    fn all_at(state: &State, at: u64) -> State {
        let count = state.count;
        let era = state.next_era();
        // Without a new era the slots of a queue stay as those of cancelled turns do.
        let void = if era > state.era { 0 } else { state.void.max(state.newest) };
        State { count, pending: 0, newest: at, gap: (count, count), low: count, low_at: at, void, era }
    }

    /// As if `used` had been admitted at `now`, and nothing before.
    pub(crate) fn as_if(state: &State, used: u64, now: u64) -> State {
        let mut state = Log::forget(state);
        if used > 0 {
            Log::charge(&mut state, now, used);
        }
        state
    }

    /// Admissions in the window that ends at `now`, and those after it, if that can be told.
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
                    // All that the ring remembers is queue.
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

    /// The first index whose time is after `now`, as far back as can be told.
    fn first_after(state: &State, now: u64, ring: &impl Ring) -> u64 {
        let now = round_up(now);
        if state.newest <= now {
            return state.count;
        }
        partition(state.oldest(ring)..state.count, |i| state.time_of(i, ring) <= now)
    }

    /// The state with which `next` takes over at `now`: the queue is dropped, what was admitted stays.
    pub(crate) fn carry(&self, state: &State, now: u64, next: &Log, later: Later, ring: &impl Ring) -> State {
        // Newcomers overwrite the places before a gap while those still matter; with a larger `max` they matter longer.
        let spared = |mut s: State| {
            let window = self.max.max(next.max);
            let lost = (state.count.saturating_add(window)).saturating_sub(ring.capacity()).min(s.gap.0);
            if lost > s.low {
                (s.low, s.low_at) = (lost, s.time_at(lost - 1, ring));
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
        if later == Later::Debt || (state.void > now && !is_known) || state.era >= LAST_ERA {
            // A slot with a later time may be of one who came instead of a cancelled turn, or of a queue that is dropped
            // without a new era. Nobody can tell.
            return Log::all_at(state, newest);
        }
        let mut s =
            State { pending: 0, newest, void: 0, era: state.next_era(), gap: (first, state.count), ..*state };
        if first == state.oldest(ring) && first > state.gap.1 && !is_known {
            // All that the ring remembers is queue: as many as can be were admitted just now.
            (s.low, s.low_at) = (first, newest);
        } else if first == state.gap.1 {
            // Nobody was admitted since the last gap: it grows.
            s.gap.0 = state.gap.0;
        } else if state.gap.1 > state.gap.0 {
            (s.low, s.low_at) = (state.gap.1, s.time_at(state.gap.1, ring));
        }
        spared(s)
    }
}

/// The first of `range` for which `before` says no; it says yes for some, then no for the rest.
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
