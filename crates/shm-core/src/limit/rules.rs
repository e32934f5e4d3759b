//! Several limits at once, taken all or none: the numbers for a decision, and the record that is their state.
//!
//! A record is the time of the last admission and, for each limit, a few words of its own. Requests are admitted in
//! one queue: no admission is earlier than the one before it. The instant of a request is the first that satisfies
//! every limit; each limit, once satisfied, stays so until the next admission, so that is the latest of their first
//! instants.

use super::gcra::CLOCK_SLACK;
use super::log::{self, Log, Ring, State as LogState};
use super::window::{FIXED_WORDS, Fixed, FixedState, SLIDING_WORDS, Sliding, SlidingState};
use super::{Costs, Gcra, MAX_LIMITS, Outlook};
use crate::clock::Nanos;

/// Words of the largest record.
pub(crate) const RECORD_WORDS: usize = 1 + MAX_LIMITS * log::WORDS;

/// A record, copied out of shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record(pub(crate) [u64; RECORD_WORDS]);

impl Record {
    pub(crate) const EMPTY: Record = Record([0; RECORD_WORDS]);

    /// When the last admission is.
    pub(crate) fn last(&self) -> u64 {
        self.0[0]
    }
}

/// One limit's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Bucket(Gcra),
    Log(Log),
    Fixed(Fixed),
    Sliding(Sliding),
}

impl Rule {
    #[inline]
    fn words(&self) -> usize {
        match self {
            Rule::Bucket(_) => 2,
            Rule::Log(_) => log::WORDS,
            Rule::Fixed(_) => FIXED_WORDS,
            Rule::Sliding(_) => SLIDING_WORDS,
        }
    }

    /// The most that one request can take.
    #[inline]
    pub(crate) fn most(&self) -> u64 {
        match self {
            Rule::Bucket(g) => g.burst,
            Rule::Log(l) => l.max,
            Rule::Fixed(w) => w.max,
            Rule::Sliding(w) => w.max,
        }
    }

    /// The first instant, in nanoseconds, at which `cost` more conform; anything up to `now` if that is now.
    #[inline]
    fn ready(&self, state: &[u64], cost: u64, now: u64, ring: &impl Ring) -> u64 {
        match self {
            Rule::Bucket(g) => {
                let slot = g.slot(state[0], cost);
                if slot <= g.ticks.at(now) { 0 } else { g.ticks.first_ns(slot) }
            }
            Rule::Log(l) => l.ready(&LogState::read(state), cost, ring),
            Rule::Fixed(w) => w.ready(&FixedState::read(state), cost),
            Rule::Sliding(w) => w.ready(&SlidingState::read(state), cost),
        }
    }

    /// `cost` admitted at `at`.
    #[inline]
    fn charge(&self, state: &mut [u64], at: u64, cost: u64) {
        match self {
            Rule::Bucket(g) => {
                let slot = g.slot(state[0], cost);
                let tick = g.ticks.at(at);
                // Booked at the slot itself if that is what `at` is the first nanosecond of: so nothing drifts.
                let first = tick.wrapping_sub(slot) < 2 && g.ticks.first_ns(slot) == at;
                let tick = if first { slot } else { tick };
                state[0] = g.charge(state[0], tick, cost);
                state[1] = state[1].wrapping_add(cost);
            }
            Rule::Log(_) => edit(state, LogState::read, LogState::write, |s| Log::charge(s, at, cost)),
            Rule::Fixed(w) => edit(state, FixedState::read, FixedState::write, |s| w.charge(s, at, cost)),
            Rule::Sliding(w) => {
                edit(state, SlidingState::read, SlidingState::write, |s| w.charge(s, at, cost))
            }
        }
    }

    /// `amount` of what was charged was not used.
    fn refund(&self, state: &mut [u64], amount: u64, unused: &Unused) {
        match self {
            Rule::Bucket(g) => {
                // As if it had never been taken: but the bucket may have been empty at some time since, if it had not.
                // Those who came after it would have left at most so much in it, had it been empty right after.
                let after = g.ticks.at(unused.last).saturating_add(g.ticks.tokens(state[1].wrapping_sub(unused.then)));
                state[0] = g.refund(state[0], amount).max(after).min(state[0]);
            }
            Rule::Log(_) if unused.is_newest => {
                edit(state, LogState::read, LogState::write, |s| Log::shorten(s, amount));
            }
            Rule::Log(_) => {}
            Rule::Fixed(w) => {
                edit(state, FixedState::read, FixedState::write, |s| w.refund(s, unused.at, amount));
            }
            Rule::Sliding(w) => {
                edit(state, SlidingState::read, SlidingState::write, |s| w.refund(s, unused.at, amount));
            }
        }
    }

    /// How much counts as used at `now`, and how much is queued behind that.
    fn usage(&self, state: &[u64], now: u64, ring: &impl Ring) -> (u64, u64) {
        match self {
            Rule::Bucket(g) => {
                let seen = g.outlook(state[0], Nanos::from_nanos(now));
                (seen.used, seen.queued)
            }
            Rule::Log(l) => l.usage(&LogState::read(state), now, ring),
            Rule::Fixed(w) => {
                let s = FixedState::read(state);
                (w.used(&s, now), w.queued(&s, now))
            }
            Rule::Sliding(w) => {
                let s = SlidingState::read(state);
                (w.used(&s, now), if s.start > now { s.used } else { 0 })
            }
        }
    }

    /// The state in which `used` were taken at `now`, and nothing is queued. A log goes on from `log`, what its ring
    /// last held.
    fn as_if(&self, state: &mut [u64], used: u64, now: u64, log: &LogState) {
        let used = used.min(self.most());
        match self {
            Rule::Bucket(g) => {
                state[0] = g.charge(g.unused(Nanos::from_nanos(now)), 0, 0).wrapping_add(g.ticks.tokens(used))
            }
            Rule::Log(_) => Log::as_if(log, used, now).write(state),
            Rule::Fixed(w) => w.as_if(used, now).write(state),
            Rule::Sliding(w) => w.as_if(used, now).write(state),
        }
    }

    /// The state with which `next` takes over at `now`. Turns up to `CLOCK_SLACK` later count as admitted.
    fn carry(&self, state: &[u64], now: Nanos, next: &Rule, to: &mut [u64], log: &LogState, ring: &impl Ring) {
        let late = now.plus(CLOCK_SLACK).as_nanos();
        match (self, next) {
            (Rule::Bucket(g), Rule::Bucket(n)) => to[0] = g.carry(state[0], now, n),
            (Rule::Log(l), Rule::Log(n)) => l.carry(&LogState::read(state), late, n, ring).write(to),
            (Rule::Fixed(w), Rule::Fixed(n)) if (w.per, w.origin) == (n.per, n.origin) => {
                w.carry(&FixedState::read(state), late).write(to);
            }
            (Rule::Sliding(w), Rule::Sliding(n)) if w.per == n.per => {
                w.carry(&SlidingState::read(state), late).write(to);
            }
            _ => {
                let (used, _) = self.usage(state, late, ring);
                next.as_if(to, used, late, log);
            }
        }
    }
}

fn edit<S>(
    state: &mut [u64],
    read: impl Fn(&[u64]) -> S,
    write: impl Fn(S, &mut [u64]),
    change: impl FnOnce(&mut S),
) {
    let mut s = read(state);
    change(&mut s);
    write(s, state);
}

/// Which charge turned out unused.
struct Unused {
    at: u64,
    /// The time of the last admission of all.
    last: u64,
    /// What the bucket was charged so far, right after this charge.
    then: u64,
    /// Nothing was admitted after it.
    is_newest: bool,
}

/// The rings of all limits.
pub(crate) trait Rings {
    type Ring: Ring;
    fn ring(&self, limit: usize) -> Self::Ring;
}

/// The numbers of all limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    rules: [Rule; MAX_LIMITS],
    len: usize,
    /// Where each limit's words begin in a record, and where the last one's end.
    offsets: [usize; MAX_LIMITS + 1],
    /// Which limits have a ring. Their words are those of a log, whatever they are now: a log can come back.
    ringed: [bool; MAX_LIMITS],
    /// Nothing is admitted before this.
    not_before: u64,
}

impl Rules {
    pub(crate) const NONE: Rules = Rules {
        rules: [Rule::Fixed(Fixed { max: 0, per: 0, origin: None }); MAX_LIMITS],
        len: 1,
        offsets: [1; MAX_LIMITS + 1],
        ringed: [false; MAX_LIMITS],
        not_before: 0,
    };

    #[cfg(test)]
    pub(crate) fn new(
        len: usize,
        rule: impl Fn(usize) -> Rule,
        ringed: [bool; MAX_LIMITS],
        not_before: u64,
    ) -> Rules {
        let mut rules = Rules::NONE;
        rules.set(len, rule, ringed, not_before);
        rules
    }

    /// Makes these the rules. In place: they are large, and made anew for each decision.
    #[inline]
    pub(crate) fn set(
        &mut self,
        len: usize,
        rule: impl Fn(usize) -> Rule,
        ringed: [bool; MAX_LIMITS],
        not_before: u64,
    ) {
        self.len = len.clamp(1, MAX_LIMITS);
        self.ringed = ringed;
        self.not_before = not_before;
        let mut end = 1;
        for i in 0..self.len {
            self.rules[i] = rule(i);
            self.offsets[i] = end;
            end += if ringed[i] { log::WORDS } else { self.rules[i].words() };
            self.offsets[i + 1] = end;
        }
    }

    /// Whether these costs concern a log.
    pub(crate) fn has_log(&self, costs: &Costs) -> bool {
        (0..self.len).any(|i| costs[i] > 0 && matches!(self.rules[i], Rule::Log(_)))
    }

    /// Words of a record under these rules.
    #[inline]
    pub(crate) fn words(&self) -> usize {
        self.offsets[self.len].min(RECORD_WORDS)
    }

    /// The words of limit `i`. A limit with a ring that is no log now leaves the log's count and era alone.
    #[inline]
    fn range(&self, i: usize) -> std::ops::Range<usize> {
        let start = self.offsets[i];
        let is_log = matches!(self.rules[i], Rule::Log(_));
        if self.ringed[i] && !is_log {
            start + 1..start + log::WORDS - 1
        } else {
            start..start + self.rules[i].words()
        }
    }

    /// What the ring of limit `i` last held.
    #[inline]
    fn log_state(&self, record: &Record, i: usize) -> LogState {
        if i >= self.len || !self.ringed[i] {
            return LogState::default();
        }
        LogState::read(&record.0[self.offsets[i]..][..log::WORDS])
    }

    /// The first limit that can never admit this cost, and the most that it can.
    #[inline]
    pub(crate) fn never(&self, costs: &Costs) -> Option<(usize, u64)> {
        (0..self.len).find(|&i| costs[i] > self.rules[i].most()).map(|i| (i, self.rules[i].most()))
    }

    /// The first instant at which all limits admit these costs; anything up to `now` if that is now.
    #[inline]
    pub(crate) fn ready(&self, record: &Record, costs: &Costs, now: u64, rings: &impl Rings) -> u64 {
        let mut ready = record.last().max(self.not_before);
        for i in 0..self.len {
            if costs[i] > 0 {
                ready =
                    ready.max(self.rules[i].ready(&record.0[self.range(i)], costs[i], now, &rings.ring(i)));
            }
        }
        ready
    }

    /// The record after these costs were admitted at `at`.
    #[inline]
    pub(crate) fn charge(&self, record: &mut Record, costs: &Costs, at: u64) {
        record.0[0] = at.max(record.0[0]);
        for i in 0..self.len {
            if costs[i] > 0 {
                self.rules[i].charge(&mut record.0[self.range(i)], at, costs[i]);
            }
        }
    }

    /// The record after the newest turn, which led from `old` to `newest`, was cancelled: `old`, and a log's note of it.
    pub(crate) fn cancel(&self, newest: &Record, old: &Record) -> Record {
        let mut record = *old;
        for i in (0..self.len).filter(|&i| matches!(self.rules[i], Rule::Log(_))) {
            let newest = LogState::read(&newest.0[self.range(i)]);
            edit(&mut record.0[self.range(i)], LogState::read, LogState::write, |s| Log::cancel(s, &newest));
        }
        record
    }

    /// How much each bucket was charged so far, all in all: what a receipt needs for a refund.
    #[inline]
    pub(crate) fn charged(&self, record: &Record) -> Costs {
        let mut charged = [0; MAX_LIMITS];
        for i in 0..self.len {
            if let Rule::Bucket(_) = self.rules[i] {
                charged[i] = record.0[self.range(i).start + 1];
            }
        }
        charged
    }

    /// The record after `amounts` of what was charged at `at` turned out unused. `then`: what was charged so far right
    /// after it; `is_newest`: nothing was admitted after it.
    pub(crate) fn refund(&self, record: &mut Record, amounts: &Costs, at: u64, then: &Costs, is_newest: bool) {
        let last = record.last();
        for i in 0..self.len {
            if amounts[i] > 0 {
                let unused = Unused { at, last, then: then[i], is_newest };
                self.rules[i].refund(&mut record.0[self.range(i)], amounts[i], &unused);
            }
        }
    }

    /// For each limit with one: the slots that must be written before anything is committed after this record.
    #[inline]
    pub(crate) fn unwritten(
        &self,
        record: &Record,
    ) -> impl Iterator<Item = (usize, std::ops::Range<u64>, u64)> {
        let record = *record;
        (0..self.len).filter(|&i| matches!(self.rules[i], Rule::Log(_))).map(move |i| {
            let (range, slot) = self.log_state(&record, i).unwritten();
            (i, range, slot)
        })
    }

    /// The record in which nothing is used at `now`.
    pub(crate) fn unused(&self, now: Nanos) -> Record {
        let mut record = Record::EMPTY;
        for i in 0..self.len {
            self.rules[i].as_if(&mut record.0[self.range(i)], 0, now.as_nanos(), &LogState::default());
        }
        record
    }

    /// The record with which `next` takes over. `same[i]` is the limit here that limit `i` there goes on from.
    pub(crate) fn carry(
        &self,
        record: &Record,
        now: Nanos,
        next: &Rules,
        goes_on: impl Fn(usize) -> bool,
        rings: &impl Rings,
    ) -> Record {
        let late = now.plus(CLOCK_SLACK).as_nanos();
        let mut to = Record::EMPTY;
        // The queue is dropped; a log that can't drop its own keeps everybody behind it.
        to.0[0] = record.last().min(late);
        for i in 0..next.len {
            let log = self.log_state(record, i);
            let start = next.offsets[i];
            if next.ringed[i] {
                log.write(&mut to.0[start..start + log::WORDS]);
            }
            let range = next.range(i);
            if i < self.len && goes_on(i) {
                let mut state = *record;
                let state = &mut state.0[self.range(i)];
                if let (Rule::Bucket(g), true) = (&self.rules[i], self.len > 1 || self.not_before > late) {
                    // Its turns waited for others as well: they are not a token apart, as `carry` takes them to be.
                    state[0] = state[0].min(g.full(now));
                }
                let to = &mut to.0[range.clone()];
                self.rules[i].carry(state, now, &next.rules[i], to, &log, &rings.ring(i));
            } else {
                next.rules[i].as_if(&mut to.0[range.clone()], 0, now.as_nanos(), &log);
            }
            if let Rule::Log(_) = next.rules[i] {
                to.0[0] = to.0[0].max(LogState::read(&to.0[range]).newest);
            }
        }
        to
    }

    /// How full each limit is at `now`.
    pub(crate) fn outlooks(&self, record: &Record, now: Nanos, rings: &impl Rings) -> [Outlook; MAX_LIMITS] {
        let held_until = record.last().max(self.not_before);
        std::array::from_fn(|i| {
            let i = i.min(self.len - 1);
            let (rule, ring) = (&self.rules[i], rings.ring(i));
            let state = &record.0[self.range(i)];
            let (used, queued) = rule.usage(state, now.as_nanos(), &ring);
            let next_at =
                Nanos::from_nanos(rule.ready(state, 1, now.as_nanos(), &ring).max(held_until)).max(now);
            let available = match rule {
                Rule::Bucket(g) => g.outlook(state[0], now).available,
                _ => rule.most().saturating_sub(used),
            };
            Outlook {
                available: if held_until > now.as_nanos() || queued > 0 { 0 } else { available },
                used,
                next_at,
                queued,
            }
        })
    }

    /// Whether no sequence of calls can have led to this record.
    pub(crate) fn is_absurd(&self, record: &Record, now: Nanos) -> bool {
        let far = now.as_nanos().saturating_add(2 * super::MAX_WAIT.as_nanos() as u64);
        record.last() > far
            || (0..self.len).any(|i| {
                let state = &record.0[self.range(i)];
                match &self.rules[i] {
                    Rule::Bucket(g) => g.is_absurd(state[0], now),
                    Rule::Log(_) => LogState::read(state).newest > far,
                    Rule::Fixed(_) | Rule::Sliding(_) => state[0] > far,
                }
            })
    }
}
