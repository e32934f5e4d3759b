//! Several limits at once, taken all or none: the numbers for a decision, and the record that is their state.
//!
//! A record is the time of the last admission and, for each limit, a few words of its own. Requests are admitted in
//! one queue: no admission is earlier than the one before it. The instant of a request is the first that satisfies
//! every limit; each limit, once satisfied, stays so until the next admission, so that is the latest of their first
//! instants.

use super::gcra::CLOCK_SLACK;
use super::log::{self, Log, Ring, State as LogState};
use super::rule::{Rule, Unused, Words, edit};
use super::{Costs, Given, MAX_LIMITS, Outlook};
use crate::clock::Nanos;
use std::ops::Range;

/// Words of a record: room for the largest, in whole lines.
pub(crate) const RECORD_WORDS: usize = (1 + MAX_LIMITS * log::WORDS).next_multiple_of(LINE);
/// Words that are copied together.
pub(crate) const LINE: usize = 8;

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

/// The rings of all limits.
pub(crate) trait Rings {
    type Ring: Ring;
    fn ring(&self, limit: usize) -> Self::Ring;
}

/// All limits of one limiter, decided together.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    places: [Place; MAX_LIMITS],
    len: usize,
    /// Where each limit's words begin, whether or not there is such a limit.
    starts: [usize; MAX_LIMITS],
    /// Words of a record.
    words: usize,
    /// Which limits have a ring. Their words are those of a log, whatever they are now, or if there is no such limit
    /// now: a log can come back.
    ringed: [bool; MAX_LIMITS],
    /// Nothing is admitted before this.
    not_before: u64,
}

/// One limit, and where its words are in a record.
#[derive(Clone, Copy, Debug)]
struct Place {
    limit: usize,
    rule: Rule,
    /// Where its own words begin: a limit with a ring that is no log now leaves the log's count and era alone.
    start: usize,
}

impl Place {
    #[inline(always)]
    fn of<'r>(&self, record: &'r Record) -> &'r Words {
        record.0[self.start()..].first_chunk().unwrap_or(&[0; log::WORDS])
    }

    #[inline(always)]
    fn of_mut<'r>(&self, record: &'r mut Record) -> &'r mut Words {
        record.0[self.start()..].first_chunk_mut().expect("room for them")
    }

    /// Where there is room for them whatever happens: so nothing has to be checked.
    #[inline(always)]
    fn start(&self) -> usize {
        self.start.min(RECORD_WORDS - log::WORDS)
    }
}

impl Rules {
    /// `len` limits, where `rule` says what each is; `ringed` which have a ring.
    pub(crate) fn new(
        len: usize,
        rule: impl Fn(usize) -> Rule,
        ringed: [bool; MAX_LIMITS],
        not_before: u64,
    ) -> Rules {
        let len = len.clamp(1, MAX_LIMITS);
        let mut starts = [1; MAX_LIMITS];
        let mut words = 1;
        let places = std::array::from_fn(|limit| {
            let rule = rule(limit.min(len - 1));
            starts[limit] = words;
            let is_log = matches!(rule, Rule::Log(_));
            let start = words + usize::from(ringed[limit] && !is_log);
            words += match limit < len {
                _ if ringed[limit] => log::WORDS,
                true => rule.words(),
                false => 0,
            };
            Place { limit, rule, start }
        });
        Rules { places, len, starts, words, ringed, not_before }
    }

    /// The limits one after the other.
    #[inline]
    fn places(&self) -> impl Iterator<Item = &Place> {
        self.places[..self.len].iter()
    }

    /// Words of a record under these rules.
    #[inline]
    pub(crate) fn words(&self) -> usize {
        self.words.min(RECORD_WORDS)
    }

    /// What the ring of a limit last held.
    fn log_state(&self, record: &Record, limit: usize) -> LogState {
        if !self.ringed[limit] {
            return LogState::default();
        }
        LogState::read(&record.0[self.starts[limit]..][..log::WORDS])
    }

    /// The most that all of them can admit at once.
    pub(crate) fn most(&self) -> u64 {
        self.places().map(|p| p.rule.most()).min().unwrap_or(0)
    }

    /// The first limit that can never admit this cost, and the most that it can.
    #[inline]
    pub(crate) fn never(&self, costs: &Costs) -> Option<(usize, u64)> {
        self.places().find(|p| costs[p.limit] > p.rule.most()).map(|p| (p.limit, p.rule.most()))
    }

    /// Whether these costs concern a log.
    pub(crate) fn has_log(&self, costs: &Costs) -> bool {
        self.places().any(|p| costs[p.limit] > 0 && matches!(p.rule, Rule::Log(_)))
    }

    /// The first instant at which all limits admit these costs; anything up to `now` if that is now.
    #[inline(always)]
    pub(crate) fn ready(&self, record: &Record, costs: &Costs, now: u64, rings: &impl Rings) -> u64 {
        let mut ready = record.last().max(self.not_before);
        for (p, &cost) in self.places().zip(costs) {
            if cost > 0 {
                ready = ready.max(p.rule.ready(p.of(record), cost, now, || rings.ring(p.limit)));
            }
        }
        ready
    }

    /// The record after these costs were admitted at `at`: now, or a turn to come.
    #[inline]
    pub(crate) fn charge(&self, record: &mut Record, costs: &Costs, at: u64, is_turn: bool) {
        record.0[0] = at.max(record.0[0]);
        for (p, &cost) in self.places().zip(costs) {
            if cost > 0 {
                p.rule.charge(p.of_mut(record), at, is_turn, cost);
            }
        }
    }

    /// The record after the newest turn, which led from `old` to `newest`, was cancelled: `old`, and a log's note of it.
    pub(crate) fn cancel(&self, newest: &Record, old: &Record) -> Record {
        let mut record = *old;
        for p in self.places().filter(|p| matches!(p.rule, Rule::Log(_))) {
            let newest = LogState::read(p.of(newest));
            edit(p.of_mut(&mut record), LogState::read, LogState::write, |s| Log::cancel(s, &newest));
        }
        record
    }

    /// How much each bucket was charged so far, all in all: what a receipt needs for a refund.
    #[inline]
    pub(crate) fn charged(&self, record: &Record) -> Costs {
        let mut charged = [0; MAX_LIMITS];
        for p in self.places() {
            if let Rule::Bucket(_) = p.rule {
                charged[p.limit] = p.of(record)[1];
            }
        }
        charged
    }

    /// The record after `amounts` of what was charged at `at` turned out unused. `then`: what was charged so far right
    /// after it; `is_newest`: nothing was committed after it. Returns how much each limit was given back.
    pub(crate) fn refund(
        &self,
        record: &mut Record,
        amounts: &Costs,
        at: u64,
        then: Option<&Costs>,
        is_newest: bool,
    ) -> [Given; MAX_LIMITS] {
        let last = record.last();
        let mut given = [Given::default(); MAX_LIMITS];
        for p in self.places().filter(|p| amounts[p.limit] > 0) {
            let unused = Unused { at, last, then: then.map(|then| then[p.limit]), is_newest };
            given[p.limit] = p.rule.refund(p.of_mut(record), amounts[p.limit], &unused);
        }
        given
    }

    /// For each log: the slots that must be written before anything is committed after this record.
    #[inline]
    pub(crate) fn unwritten<'r>(
        &'r self,
        record: &'r Record,
    ) -> impl Iterator<Item = (usize, Range<u64>, u64)> + 'r {
        self.places().filter(|p| matches!(p.rule, Rule::Log(_))).map(|p| {
            let (range, slot) = LogState::read(p.of(record)).unwritten();
            (p.limit, range, slot)
        })
    }

    /// Before the record is forgotten, which may be damaged: logs go on in an era after all that their rings know of.
    pub(crate) fn mend_logs(&self, record: &mut Record, rings: &impl Rings) {
        for limit in (0..MAX_LIMITS).filter(|&limit| self.ringed[limit]) {
            let state = self.log_state(record, limit).mended(&rings.ring(limit));
            state.write(&mut record.0[self.starts[limit]..][..log::WORDS]);
        }
    }

    /// For each limit: slots are less than this, as long as its log's era lasts.
    pub(crate) fn ends_of_eras(&self, record: &Record) -> [u64; MAX_LIMITS] {
        std::array::from_fn(|limit| self.log_state(record, limit).end_of_era())
    }

    /// The record in which nothing is used at `now`.
    pub(crate) fn unused(&self, now: Nanos) -> Record {
        let mut record = Record::EMPTY;
        for p in self.places() {
            p.rule.as_if(p.of_mut(&mut record), 0, now.as_nanos(), &LogState::default());
        }
        record
    }

    /// The record with which `next` takes over. Those limits that go on from the one here keep what was used.
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
        for limit in (0..MAX_LIMITS).filter(|&limit| next.ringed[limit]) {
            self.log_state(record, limit).write(&mut to.0[next.starts[limit]..][..log::WORDS]);
        }
        for n in next.places() {
            let log = self.log_state(record, n.limit);
            match self.places().nth(n.limit).filter(|_| goes_on(n.limit)) {
                Some(p) => {
                    let mut state = *record;
                    let state = p.of_mut(&mut state);
                    if let (Rule::Bucket(g), true) = (&p.rule, self.len > 1 || self.not_before > late) {
                        // Its turns waited for others as well: they are not a token apart, as `carry` takes them to be.
                        state[0] = state[0].min(g.full(now));
                    }
                    p.rule.carry(state, now, &n.rule, n.of_mut(&mut to), &log, &rings.ring(n.limit));
                }
                None => n.rule.as_if(n.of_mut(&mut to), 0, now.as_nanos(), &log),
            }
            if let Rule::Log(_) = n.rule {
                to.0[0] = to.0[0].max(LogState::read(n.of(&to)).newest);
            }
        }
        to
    }

    /// How full each limit is at `now`.
    pub(crate) fn outlooks(&self, record: &Record, now: Nanos, rings: &impl Rings) -> [Outlook; MAX_LIMITS] {
        let held_until = record.last().max(self.not_before);
        let nothing = Outlook { available: 0, used: 0, next_at: now, queued: 0 };
        let mut seen = [nothing; MAX_LIMITS];
        for p in self.places() {
            let (state, ring) = (p.of(record), rings.ring(p.limit));
            let (used, queued) = p.rule.usage(state, now.as_nanos(), &ring);
            let ready = p.rule.ready(state, 1, now.as_nanos(), || ring);
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
                let state = p.of(record);
                match &p.rule {
                    Rule::Bucket(g) => g.is_absurd(state[0], now),
                    Rule::Log(_) => {
                        let state = LogState::read(state);
                        state.newest > far || !state.is_sound()
                    }
                    Rule::Fixed(_) | Rule::Sliding(_) => state[0] > far,
                }
            })
    }
}
