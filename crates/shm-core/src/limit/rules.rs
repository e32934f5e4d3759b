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
use std::ops::Range;

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
                let after = g
                    .ticks
                    .at(unused.last)
                    .saturating_add(g.ticks.tokens(state[1].wrapping_sub(unused.then)));
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
                state[0] = g.unused(Nanos::from_nanos(now)).wrapping_add(g.ticks.tokens(used));
            }
            Rule::Log(_) => Log::as_if(log, used, now).write(state),
            Rule::Fixed(w) => w.as_if(used, now).write(state),
            Rule::Sliding(w) => w.as_if(used, now).write(state),
        }
    }

    /// The state with which `next` takes over at `now`. Turns up to `CLOCK_SLACK` later count as admitted.
    fn carry(
        &self,
        state: &[u64],
        now: Nanos,
        next: &Rule,
        to: &mut [u64],
        log: &LogState,
        ring: &impl Ring,
    ) {
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

/// Where the numbers of all limits are.
pub(crate) trait Source {
    /// How many limits, 1 to 4.
    fn len(&self) -> usize;
    fn rule(&self, limit: usize) -> Rule;
    /// Whether this limit has a ring. Its words are then those of a log, whatever it is now, or if there is no such
    /// limit now: a log can come back.
    fn has_ring(&self, limit: usize) -> bool;
    /// Nothing is admitted before this.
    fn not_before(&self) -> u64;
}

/// All limits of one limiter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<S>(pub(crate) S);

/// One limit, and where its words are in a record.
struct Place {
    limit: usize,
    rule: Rule,
    /// All of its words.
    whole: Range<usize>,
    /// Those that are its own: a limit with a ring that is no log now leaves the log's count and era alone.
    own: Range<usize>,
}

impl<S: Source> Rules<S> {
    /// The limits one after the other.
    #[inline]
    fn places(&self) -> impl Iterator<Item = Place> + '_ {
        let mut start = 1;
        (0..self.0.len()).map(move |limit| {
            let rule = self.0.rule(limit);
            let (whole, own) = if !self.0.has_ring(limit) {
                let own = start..start + rule.words();
                (own.clone(), own)
            } else if let Rule::Log(_) = rule {
                let own = start..start + log::WORDS;
                (own.clone(), own)
            } else {
                (start..start + log::WORDS, start + 1..start + log::WORDS - 1)
            };
            start = whole.end;
            Place { limit, rule, whole, own }
        })
    }

    /// Where limit `limit`'s words begin, whether or not there is such a limit, and where those of all end.
    fn starts(&self) -> ([usize; MAX_LIMITS], usize) {
        let (mut starts, mut end) = ([1; MAX_LIMITS], 1);
        for place in self.places() {
            starts[place.limit] = place.whole.start;
            end = place.whole.end;
        }
        for limit in self.0.len()..MAX_LIMITS {
            starts[limit] = end;
            end += if self.0.has_ring(limit) { log::WORDS } else { 0 };
        }
        (starts, end)
    }

    /// Words of a record under these rules.
    pub(crate) fn words(&self) -> usize {
        self.starts().1
    }

    /// What the ring of a limit last held.
    fn log_state(&self, record: &Record, limit: usize) -> LogState {
        if !self.0.has_ring(limit) {
            return LogState::default();
        }
        LogState::read(&record.0[self.starts().0[limit]..][..log::WORDS])
    }

    /// The words of a record, if it can ever admit these costs.
    #[inline]
    pub(crate) fn appraise(&self, costs: &Costs) -> Option<usize> {
        let (mut end, mut possible) = (1, true);
        for place in self.places() {
            possible &= costs[place.limit] <= place.rule.most();
            end = place.whole.end;
        }
        for limit in self.0.len()..MAX_LIMITS {
            end += if self.0.has_ring(limit) { log::WORDS } else { 0 };
        }
        possible.then_some(end)
    }

    /// The first limit that can never admit this cost, and the most that it can.
    pub(crate) fn never(&self, costs: &Costs) -> Option<(usize, u64)> {
        self.places().find(|p| costs[p.limit] > p.rule.most()).map(|p| (p.limit, p.rule.most()))
    }

    /// Whether these costs concern a log.
    pub(crate) fn has_log(&self, costs: &Costs) -> bool {
        self.places().any(|p| costs[p.limit] > 0 && matches!(p.rule, Rule::Log(_)))
    }

    /// The first instant at which all limits admit these costs; anything up to `now` if that is now.
    #[inline]
    pub(crate) fn ready(&self, record: &Record, costs: &Costs, now: u64, rings: &impl Rings) -> u64 {
        let mut ready = record.last().max(self.0.not_before());
        for p in self.places() {
            if costs[p.limit] > 0 {
                let state = &record.0[p.own];
                ready = ready.max(p.rule.ready(state, costs[p.limit], now, &rings.ring(p.limit)));
            }
        }
        ready
    }

    /// The record after these costs were admitted at `at`.
    #[inline]
    pub(crate) fn charge(&self, record: &mut Record, costs: &Costs, at: u64) {
        record.0[0] = at.max(record.0[0]);
        for p in self.places() {
            if costs[p.limit] > 0 {
                p.rule.charge(&mut record.0[p.own], at, costs[p.limit]);
            }
        }
    }

    /// The record after the newest turn, which led from `old` to `newest`, was cancelled: `old`, and a log's note of it.
    pub(crate) fn cancel(&self, newest: &Record, old: &Record) -> Record {
        let mut record = *old;
        for p in self.places().filter(|p| matches!(p.rule, Rule::Log(_))) {
            let newest = LogState::read(&newest.0[p.own.clone()]);
            edit(&mut record.0[p.own], LogState::read, LogState::write, |s| Log::cancel(s, &newest));
        }
        record
    }

    /// How much each bucket was charged so far, all in all: what a receipt needs for a refund.
    #[inline]
    pub(crate) fn charged(&self, record: &Record) -> Costs {
        let mut charged = [0; MAX_LIMITS];
        for p in self.places() {
            if let Rule::Bucket(_) = p.rule {
                charged[p.limit] = record.0[p.own.start + 1];
            }
        }
        charged
    }

    /// The record after `amounts` of what was charged at `at` turned out unused. `then`: what was charged so far right
    /// after it; `is_newest`: nothing was admitted after it.
    pub(crate) fn refund(
        &self,
        record: &mut Record,
        amounts: &Costs,
        at: u64,
        then: &Costs,
        is_newest: bool,
    ) {
        let last = record.last();
        for p in self.places().filter(|p| amounts[p.limit] > 0) {
            let unused = Unused { at, last, then: then[p.limit], is_newest };
            p.rule.refund(&mut record.0[p.own], amounts[p.limit], &unused);
        }
    }

    /// For each log: the slots that must be written before anything is committed after this record.
    #[inline]
    pub(crate) fn unwritten<'r>(
        &'r self,
        record: &'r Record,
    ) -> impl Iterator<Item = (usize, Range<u64>, u64)> + 'r {
        self.places().filter(|p| matches!(p.rule, Rule::Log(_))).map(|p| {
            let (range, slot) = LogState::read(&record.0[p.own]).unwritten();
            (p.limit, range, slot)
        })
    }

    /// The record in which nothing is used at `now`.
    pub(crate) fn unused(&self, now: Nanos) -> Record {
        let mut record = Record::EMPTY;
        for p in self.places() {
            p.rule.as_if(&mut record.0[p.own], 0, now.as_nanos(), &LogState::default());
        }
        record
    }

    /// The record with which `next` takes over. Those limits that go on from the one here keep what was used.
    pub(crate) fn carry<N: Source>(
        &self,
        record: &Record,
        now: Nanos,
        next: &Rules<N>,
        goes_on: impl Fn(usize) -> bool,
        rings: &impl Rings,
    ) -> Record {
        let late = now.plus(CLOCK_SLACK).as_nanos();
        let mut to = Record::EMPTY;
        // The queue is dropped; a log that can't drop its own keeps everybody behind it.
        to.0[0] = record.last().min(late);
        let (starts, _) = next.starts();
        for limit in (0..MAX_LIMITS).filter(|&limit| next.0.has_ring(limit)) {
            self.log_state(record, limit).write(&mut to.0[starts[limit]..][..log::WORDS]);
        }
        for n in next.places() {
            let log = self.log_state(record, n.limit);
            let to_words = &mut to.0[n.own.clone()];
            match self.places().nth(n.limit).filter(|_| goes_on(n.limit)) {
                Some(p) => {
                    let mut state = *record;
                    let state = &mut state.0[p.own];
                    if let (Rule::Bucket(g), true) = (&p.rule, self.0.len() > 1 || self.0.not_before() > late)
                    {
                        // Its turns waited for others as well: they are not a token apart, as `carry` takes them to be.
                        state[0] = state[0].min(g.full(now));
                    }
                    p.rule.carry(state, now, &n.rule, to_words, &log, &rings.ring(n.limit));
                }
                None => n.rule.as_if(to_words, 0, now.as_nanos(), &log),
            }
            if let Rule::Log(_) = n.rule {
                to.0[0] = to.0[0].max(LogState::read(&to.0[n.own]).newest);
            }
        }
        to
    }

    /// How full each limit is at `now`.
    pub(crate) fn outlooks(&self, record: &Record, now: Nanos, rings: &impl Rings) -> [Outlook; MAX_LIMITS] {
        let held_until = record.last().max(self.0.not_before());
        let nothing = Outlook { available: 0, used: 0, next_at: now, queued: 0 };
        let mut seen = [nothing; MAX_LIMITS];
        for p in self.places() {
            let (state, ring) = (&record.0[p.own], rings.ring(p.limit));
            let (used, queued) = p.rule.usage(state, now.as_nanos(), &ring);
            let ready = p.rule.ready(state, 1, now.as_nanos(), &ring);
            let next_at = Nanos::from_nanos(ready.max(held_until)).max(now);
            let available = match &p.rule {
                Rule::Bucket(g) => g.outlook(state[0], now).available,
                rule => rule.most().saturating_sub(used),
            };
            let available = if held_until > now.as_nanos() || queued > 0 { 0 } else { available };
            seen[p.limit] = Outlook { available, used, next_at, queued };
        }
        seen
    }

    /// Whether no sequence of calls can have led to this record.
    pub(crate) fn is_absurd(&self, record: &Record, now: Nanos) -> bool {
        let far = now.as_nanos().saturating_add(2 * super::MAX_WAIT.as_nanos() as u64);
        record.last() > far
            || self.places().any(|p| {
                let state = &record.0[p.own];
                match &p.rule {
                    Rule::Bucket(g) => g.is_absurd(state[0], now),
                    Rule::Log(_) => LogState::read(state).newest > far,
                    Rule::Fixed(_) | Rule::Sliding(_) => state[0] > far,
                }
            })
    }
}

/// Rules as a list, for tests.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed {
    rules: [Rule; MAX_LIMITS],
    len: usize,
    ringed: [bool; MAX_LIMITS],
    not_before: u64,
}

#[cfg(test)]
impl Source for Listed {
    fn len(&self) -> usize {
        self.len
    }

    fn rule(&self, limit: usize) -> Rule {
        self.rules[limit]
    }

    fn has_ring(&self, limit: usize) -> bool {
        self.ringed[limit]
    }

    fn not_before(&self) -> u64 {
        self.not_before
    }
}

#[cfg(test)]
impl Rules<Listed> {
    pub(crate) fn new(
        len: usize,
        rule: impl Fn(usize) -> Rule,
        ringed: [bool; MAX_LIMITS],
        not_before: u64,
    ) -> Rules<Listed> {
        let len = len.clamp(1, MAX_LIMITS);
        Rules(Listed { rules: std::array::from_fn(|i| rule(i.min(len - 1))), len, ringed, not_before })
    }
}
