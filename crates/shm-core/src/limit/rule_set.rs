//! Several limits decided at once, all or none: their parameters, and the record that is their state.
//!
//! A record contains the time of the last admission, the time of the queue's first turn and, for each limit, a few
//! words of its own. Requests are admitted in one queue: no admission is earlier than the one before it. The instant of
//! a request is the first that satisfies every limit; a satisfied limit stays satisfied until the next admission, so
//! that is the maximum of their first instants.
//!
//! While there is a queue, the record also has a *tail*: the limits' words from before the queue's first turn, and how
//! much was taken from each limit since. So as long as no turn of the queue has come, both the used and the queued
//! amounts are known exactly, and the queue can be dropped without a trace. A record without a queue is shorter.

use super::gcra::{CLOCK_SLACK, REACHABLE_TIME};
use super::log::{self, Later, Log, Ring, State as LogState};
use super::rule::{Rule, Unused, Words, edit};
use super::window::SLIDING_WORDS;
use super::{Costs, Given, LimitStatus, MAX_LIMITS};
use crate::clock::Nanos;
use std::ops::Range;

/// Words of a record: room for the largest, in whole cache lines.
pub(crate) const RECORD_WORDS: usize =
    (HEAD_WORDS + MAX_LIMITS * log::WORDS + 1 + MAX_LIMITS * TAIL_WORDS).next_multiple_of(LINE);
/// The time of the last admission, and of the queue's first turn.
const HEAD_WORDS: usize = 2;
/// Per limit, at most: the queued amount, and its words from before the queue. (A log does not need those.)
const TAIL_WORDS: usize = 1 + SLIDING_WORDS;
/// In place of the time of the queue's first turn: the last admission was not a turn.
const NO_QUEUE: u64 = 0;
/// In place of the time of the queue's first turn: a debt lies ahead, which a tail cannot distinguish from the queue
/// behind it.
const BEHIND_A_DEBT: u64 = u64::MAX;
/// Words per cache line, which are copied together.
pub(crate) const LINE: usize = 8;

/// A record, copied from shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record(pub(crate) [u64; RECORD_WORDS]);

impl Record {
    pub(crate) const EMPTY: Record = Record([0; RECORD_WORDS]);

    /// The time of the last admission.
    pub(crate) fn last(&self) -> u64 {
        self.0[0]
    }

    /// The time of the queue's first turn, if the record has a tail.
    fn queue_from(&self) -> Option<u64> {
        Some(self.0[1]).filter(|&from| from != NO_QUEUE && from != BEHIND_A_DEBT)
    }

    /// What is known about a log's later admissions where the tail does not tell.
    fn later(&self) -> Later {
        if self.0[1] == BEHIND_A_DEBT { Later::Debt } else { Later::AsWritten }
    }

    /// What is known at `now` about turns that come later.
    fn queue(&self, now: u64) -> Queue {
        match self.queue_from() {
            _ if self.last() <= now => Queue::Over,
            None => Queue::Unknown,
            Some(from) if now < from => Queue::Ahead,
            Some(from) => Queue::Partly { from },
        }
    }
}

/// The queue at some instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    /// No turn is later.
    Over,
    /// All of its turns are later: the tail is exact.
    Ahead,
    /// Some of its turns have come.
    Partly { from: u64 },
    /// Something is later, but there is no tail.
    Unknown,
}

/// How many words of a record are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    without_queue: usize,
    with_queue: usize,
}

impl Size {
    /// The lines that a record has with or without a queue.
    #[inline]
    pub(crate) fn least_lines(self) -> usize {
        self.without_queue.div_ceil(LINE)
    }

    /// The lines of this record, known from its first line.
    #[inline]
    pub(crate) fn lines(self, record: &Record) -> usize {
        match record.queue_from() {
            None => self.least_lines(),
            Some(_) => self.with_queue.div_ceil(LINE),
        }
    }

    /// The words of this record.
    #[cfg(all(test, not(model)))]
    pub(crate) fn words(self, record: &Record) -> &[u64] {
        match record.queue_from() {
            None => &record.0[..self.without_queue],
            Some(_) => &record.0[..self.with_queue],
        }
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
    entries: [RuleEntry; MAX_LIMITS],
    len: usize,
    /// Where each limit's words begin, whether or not that limit exists.
    starts: [usize; MAX_LIMITS],
    size: Size,
    /// Which limits have a ring. Their words are reserved for a log even while the limit is of another kind or does not
    /// exist: a log can come back.
    ringed: [bool; MAX_LIMITS],
    /// End of a pause: nothing is admitted before this.
    not_before: u64,
}

/// One limit, and where its words are in a record.
#[derive(Clone, Copy, Debug)]
struct RuleEntry {
    limit: usize,
    rule: Rule,
    /// Where its own words begin: a limit with a ring that is not a log now leaves the log's count and era alone.
    start: usize,
    /// Where its part of the tail begins.
    tail: usize,
}

impl RuleEntry {
    /// Its words from before the queue, for any limit but a log.
    fn before(&self, record: &Record) -> Words {
        let mut words = [0; log::WORDS];
        let from = record.0.iter().skip(self.tail + 1).take(self.tail_words() - 1);
        words.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
        words
    }

    fn set_before(&self, record: &mut Record, words: &Words) {
        let to = record.0.iter_mut().skip(self.tail + 1).take(self.tail_words() - 1);
        to.zip(words).for_each(|(to, &from)| *to = from);
    }

    /// The amount queued at it, or that was queued before the first turn came.
    fn queued(&self, record: &Record) -> u64 {
        record.0.get(self.tail).copied().unwrap_or(0)
    }

    fn queued_mut<'r>(&self, record: &'r mut Record) -> &'r mut u64 {
        &mut record.0[self.tail.min(RECORD_WORDS - 1)]
    }

    fn tail_words(&self) -> usize {
        match self.rule {
            Rule::Log(_) => 1,
            rule => 1 + rule.words(),
        }
    }
    #[inline(always)]
    fn of<'r>(&self, record: &'r Record) -> &'r Words {
        record.0[self.start()..].first_chunk().unwrap_or(&[0; log::WORDS])
    }

    #[inline(always)]
    fn of_mut<'r>(&self, record: &'r mut Record) -> &'r mut Words {
        record.0[self.start()..].first_chunk_mut().expect("room for them")
    }

    /// Clamped so that the words always fit: accesses need no further check.
    #[inline(always)]
    fn start(&self) -> usize {
        self.start.min(RECORD_WORDS - log::WORDS)
    }
}

impl Rules {
    /// `len` limits (possibly none), where `rule` returns each; `ringed` tells which have a ring.
    pub(crate) fn new(
        len: usize,
        rule: impl Fn(usize) -> Rule,
        ringed: [bool; MAX_LIMITS],
        not_before: u64,
    ) -> Rules {
        let len = len.min(MAX_LIMITS);
        let mut starts = [HEAD_WORDS; MAX_LIMITS];
        let mut words = HEAD_WORDS;
        let mut entries = std::array::from_fn(|limit| {
            let rule = rule(limit.min(len.saturating_sub(1)));
            starts[limit] = words;
            let is_log = matches!(rule, Rule::Log(_));
            let start = words + usize::from(ringed[limit] && !is_log);
            words += match limit < len {
                _ if ringed[limit] => log::WORDS,
                true => rule.words(),
                false => 0,
            };
            RuleEntry { limit, rule, start, tail: 0 }
        });
        let without_queue = words;
        // The first word of the tail is the time of the last admission before the queue.
        words += 1;
        for entry in &mut entries[..len] {
            entry.tail = words;
            words += entry.tail_words();
        }
        let size = Size { without_queue, with_queue: words };
        Rules { entries, len, starts, size, ringed, not_before }
    }

    /// The number of limits.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The limits, in order.
    #[inline]
    fn entries(&self) -> impl Iterator<Item = &RuleEntry> {
        self.entries[..self.len].iter()
    }

    /// The size of a record under these rules.
    #[inline]
    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// The time of the last admission before the queue.
    fn last_before(&self, record: &Record) -> u64 {
        record.0.get(self.size.without_queue).copied().unwrap_or(0)
    }

    /// The last log state of a limit's ring.
    fn log_state(&self, record: &Record, limit: usize) -> LogState {
        if !self.ringed[limit] {
            return LogState::default();
        }
        LogState::read(&record.0[self.starts[limit]..][..log::WORDS])
    }

    /// The largest request that all limits can admit; without limits, any.
    pub(crate) fn max_cost(&self) -> u64 {
        self.entries().map(|p| p.rule.max_cost()).min().unwrap_or(u64::MAX)
    }

    /// The first limit that can never admit this cost, and its maximum.
    #[inline]
    pub(crate) fn never(&self, costs: &Costs) -> Option<(usize, u64)> {
        self.entries().find(|p| costs[p.limit] > p.rule.max_cost()).map(|p| (p.limit, p.rule.max_cost()))
    }

    /// The instant of [`ready`](Self::ready), and the limit that determines it.
    pub(crate) fn slowest(
        &self,
        record: &Record,
        costs: &Costs,
        now: u64,
        rings: &impl Rings,
    ) -> (u64, usize) {
        let all = self.ready(record, costs, now, rings);
        let of = |p: &RuleEntry| p.rule.ready(p.of(record), costs[p.limit], now, || rings.ring(p.limit));
        let limit =
            self.entries().filter(|p| costs[p.limit] > 0).max_by_key(|p| of(p)).map_or(0, |p| p.limit);
        (all, limit)
    }

    /// Whether these costs affect a log.
    pub(crate) fn has_log(&self, costs: &Costs) -> bool {
        self.entries().any(|p| costs[p.limit] > 0 && matches!(p.rule, Rule::Log(_)))
    }

    /// The first instant at which all limits admit these costs; any value up to `now` means now.
    #[inline(always)]
    pub(crate) fn ready(&self, record: &Record, costs: &Costs, now: u64, rings: &impl Rings) -> u64 {
        let mut ready = record.last().max(self.not_before);
        for (p, &cost) in self.entries().zip(costs) {
            if cost > 0 {
                ready = ready.max(p.rule.ready(p.of(record), cost, now, || rings.ring(p.limit)));
            }
        }
        ready
    }

    /// The record after charging these costs at `at`: `now`, or a future turn.
    #[inline]
    pub(crate) fn charge(&self, record: &mut Record, costs: &Costs, at: u64, now: u64) {
        let is_turn = at > now;
        if is_turn {
            self.queue_up(record, costs, at, now);
        } else {
            record.0[1] = NO_QUEUE;
        }
        record.0[0] = at.max(record.0[0]);
        for (p, &cost) in self.entries().zip(costs) {
            if cost > 0 {
                p.rule.charge(p.of_mut(record), at, is_turn, cost);
            }
        }
    }

    /// Records a turn that is about to be charged, in the existing queue or as the first of a new one.
    #[inline(never)]
    fn queue_up(&self, record: &mut Record, costs: &Costs, at: u64, now: u64) {
        match record.queue(now) {
            Queue::Unknown if record.0[1] == BEHIND_A_DEBT => return,
            Queue::Ahead | Queue::Partly { .. } => {}
            // Unknown: admitted by a clock that is ahead by less than the slack, or a log that orders all later
            // requests behind it.
            Queue::Over | Queue::Unknown => {
                record.0[1] = at;
                record.0[self.size.without_queue.min(RECORD_WORDS - 1)] = record.last();
                for p in self.entries() {
                    let before = *p.of(record);
                    p.set_before(record, &before);
                    *p.queued_mut(record) = 0;
                }
            }
        }
        for (p, &cost) in self.entries().zip(costs) {
            let queued = p.queued_mut(record);
            *queued = queued.saturating_add(cost);
        }
    }

    /// Charges `amounts` unconditionally, at each limit separately and in one step, as if single calls had queued for
    /// each of them. Returns the instant of the last; `None`, with nothing charged, if that is not representable.
    /// Pending log slots must have been written.
    ///
    /// Later requests are admitted no earlier than behind such single calls: at the same instant if all limits are
    /// buckets, windows or counters, at most one span later if there is a log.
    pub(crate) fn debt(
        &self,
        record: &mut Record,
        amounts: &Costs,
        now: u64,
        rings: &impl Rings,
    ) -> Option<u64> {
        let base = record.last().max(self.not_before).max(now);
        let (mut next, mut last) = (*record, base);
        for (p, &amount) in self.entries().zip(amounts) {
            if amount > 0 {
                let at = p.rule.debt(p.of_mut(&mut next), amount, base, || rings.ring(p.limit))?;
                last = last.max(at);
            }
        }
        next.0[0] = last;
        next.0[1] = if last > now { BEHIND_A_DEBT } else { NO_QUEUE };
        *record = next;
        Some(last)
    }

    /// The record after cancelling the newest turn, which led from `old` to `newest`: `old`, plus a log's note of the
    /// cancellation.
    pub(crate) fn cancel(&self, newest: &Record, old: &Record) -> Record {
        let mut record = *old;
        for p in self.entries().filter(|p| matches!(p.rule, Rule::Log(_))) {
            let newest = LogState::read(p.of(newest));
            edit(p.of_mut(&mut record), LogState::read, LogState::write, |s| Log::cancel(s, &newest));
        }
        record
    }

    /// Each bucket's running total of charges: needed by a receipt for a refund.
    #[inline]
    pub(crate) fn charged(&self, record: &Record) -> Costs {
        let mut charged = [0; MAX_LIMITS];
        for p in self.entries() {
            if let Rule::Bucket(_) = p.rule {
                charged[p.limit] = p.of(record)[1];
            }
        }
        charged
    }

    /// Refunds `amounts` of a charge at `at`. `then`: the running totals right after the charge; `is_newest`: nothing
    /// was committed after it. Returns how much each limit returned.
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
        for p in self.entries().filter(|p| amounts[p.limit] > 0) {
            let unused = Unused { at, last, then: then.map(|then| then[p.limit]), is_newest };
            given[p.limit] = p.rule.refund(p.of_mut(record), amounts[p.limit], &unused);
        }
        if let Some(from) = record.queue_from() {
            self.refund_in_tail(
                record,
                amounts,
                &given,
                at < from,
                &Unused { at, last: self.last_before(record), then: None, is_newest: false },
                then,
            );
        }
        given
    }

    /// The same for the tail: its queue, or the words from before the queue.
    #[inline(never)]
    fn refund_in_tail(
        &self,
        record: &mut Record,
        amounts: &Costs,
        given: &[Given; MAX_LIMITS],
        was_before: bool,
        unused: &Unused,
        then: Option<&Costs>,
    ) {
        for p in self.entries().filter(|p| amounts[p.limit] > 0) {
            let is_log = matches!(p.rule, Rule::Log(_));
            if !was_before {
                // A log counts what it does not return as queued, because its slots do, too.
                let less = if is_log { given[p.limit].rounded_down() } else { amounts[p.limit] };
                let queued = p.queued_mut(record);
                *queued = queued.saturating_sub(less);
            } else if !is_log {
                let mut words = p.before(record);
                let unused = Unused { then: then.map(|then| then[p.limit]), ..*unused };
                p.rule.refund(&mut words, amounts[p.limit], &unused);
                p.set_before(record, &words);
            }
        }
    }

    /// For each log: the slots that must be written before anything is committed after this record.
    #[inline]
    pub(crate) fn unwritten<'r>(
        &'r self,
        record: &'r Record,
    ) -> impl Iterator<Item = (usize, Range<u64>, u64)> + 'r {
        self.entries().filter(|p| matches!(p.rule, Rule::Log(_))).map(|p| {
            let (range, slot) = LogState::read(p.of(record)).unwritten();
            (p.limit, range, slot)
        })
    }

    /// Before a reset of a possibly corrupt record: moves logs to an era later than any in their rings.
    pub(crate) fn repair_logs(&self, record: &mut Record, rings: &impl Rings) {
        for limit in (0..MAX_LIMITS).filter(|&limit| self.ringed[limit]) {
            let state = self.log_state(record, limit).repaired(&rings.ring(limit));
            state.write(&mut record.0[self.starts[limit]..][..log::WORDS]);
        }
    }

    /// For each limit: an upper bound of slot values while its log's era lasts.
    pub(crate) fn ends_of_eras(&self, record: &Record) -> [u64; MAX_LIMITS] {
        std::array::from_fn(|limit| self.log_state(record, limit).end_of_era())
    }

    /// The record with zero usage at `now`.
    pub(crate) fn unused(&self, now: Nanos) -> Record {
        let mut record = Record::EMPTY;
        for p in self.entries() {
            p.rule.as_if(p.of_mut(&mut record), 0, now.as_nanos(), &LogState::default());
        }
        record
    }

    /// The record with which `next` takes over. Limits for which `keeps_usage` is true keep their usage.
    pub(crate) fn carry(
        &self,
        record: &Record,
        now: Nanos,
        next: &Rules,
        keeps_usage: impl Fn(usize) -> bool,
        rings: &impl Rings,
    ) -> Record {
        let late = now.plus(CLOCK_SLACK).as_nanos();
        let queue = record.queue(late);
        let mut to = Record::EMPTY;
        // The queue is dropped; a log that cannot drop its own keeps later requests behind it.
        to.0[0] = record.last().min(late);
        for limit in (0..MAX_LIMITS).filter(|&limit| next.ringed[limit]) {
            self.log_state(record, limit).write(&mut to.0[next.starts[limit]..][..log::WORDS]);
        }
        for n in next.entries() {
            let log = self.log_state(record, n.limit);
            match self.entries().nth(n.limit).filter(|_| keeps_usage(n.limit)) {
                Some(p) => {
                    let (state, later) = self.without_queue(record, p, queue, now, late);
                    let ring = rings.ring(n.limit);
                    p.rule.carry(&state, now, &n.rule, n.of_mut(&mut to), (&log, later), &ring);
                }
                None => n.rule.as_if(n.of_mut(&mut to), 0, now.as_nanos(), &log),
            }
            if let Rule::Log(_) = n.rule {
                to.0[0] = to.0[0].max(LogState::read(n.of(&to)).newest);
            }
        }
        to
    }

    /// A limit's words without the turns after `late`, as far as they can be told apart, and what is known about a
    /// log's.
    fn without_queue(
        &self,
        record: &Record,
        p: &RuleEntry,
        queue: Queue,
        now: Nanos,
        late: u64,
    ) -> (Words, Later) {
        let mut state = *p.of(record);
        match queue {
            Queue::Over | Queue::Unknown => {}
            Queue::Ahead if matches!(p.rule, Rule::Log(_)) => return (state, Later::Turns(p.queued(record))),
            Queue::Ahead => return (p.before(record), Later::AsWritten),
            Queue::Partly { .. } => {
                let (before, queued) = (p.before(record), p.queued(record));
                p.rule.without_queue(&mut state, &before, queued, late, self.len == 1);
            }
        }
        if let (Rule::Bucket(g), true) = (&p.rule, self.len > 1 || self.not_before > late) {
            // Its turns waited for other limits as well, so they are not one token apart, as `carry` assumes.
            state[0] = state[0].min(g.full(now));
        }
        (state, record.later())
    }

    /// How full each limit is at `now`.
    pub(crate) fn statuses(
        &self,
        record: &Record,
        now: Nanos,
        rings: &impl Rings,
    ) -> [LimitStatus; MAX_LIMITS] {
        let held_until = record.last().max(self.not_before);
        let nothing = LimitStatus { available: 0, used: 0, next_at: now, queued: 0 };
        let mut seen = [nothing; MAX_LIMITS];
        for p in self.entries() {
            let (state, ring) = (p.of(record), rings.ring(p.limit));
            let (used, queued) = self.usage(record, p, now.as_nanos(), &ring);
            let ready = p.rule.ready(state, 1, now.as_nanos(), || ring);
            let next_at = Nanos::from_nanos(ready.max(held_until)).max(now);
            let available = match &p.rule {
                Rule::Bucket(g) => g.status(state[0], now).available,
                rule => rule.max_cost().saturating_sub(used),
            };
            let available = if held_until > now.as_nanos() { 0 } else { available };
            seen[p.limit] = LimitStatus { available, used, next_at, queued };
        }
        seen
    }

    /// How much of a limit is used at `now`, and how much is queued behind that.
    fn usage(&self, record: &Record, p: &RuleEntry, now: u64, ring: &impl Ring) -> (u64, u64) {
        let state = p.of(record);
        let all = p.queued(record);
        match record.queue(now) {
            Queue::Over => (p.rule.used(state, now, Later::AsWritten, ring), 0),
            Queue::Ahead if matches!(p.rule, Rule::Log(_)) => {
                (p.rule.used(state, now, Later::Turns(all), ring), all)
            }
            Queue::Ahead => (p.rule.used(&p.before(record), now, Later::AsWritten, ring), all),
            Queue::Unknown => {
                (p.rule.used(state, now, record.later(), ring), p.rule.queued(state, now, ring).unwrap_or(0))
            }
            Queue::Partly { from } => {
                // Assumes evenly spaced turns, of which at least one has come.
                let (left, span) = (record.last().saturating_sub(now), record.last().saturating_sub(from));
                let rest = u128::from(all.saturating_sub(1)) * u128::from(left);
                let evenly = u64::try_from(rest.div_ceil(u128::from(span.max(1)))).unwrap_or(u64::MAX);
                let queued = match p.rule {
                    Rule::Log(_) => p.rule.queued(state, now, ring).unwrap_or(evenly),
                    Rule::Bucket(_) | Rule::Fixed(_) if self.len == 1 => {
                        p.rule.queued(state, now, ring).unwrap_or(evenly).min(all)
                    }
                    _ => evenly,
                };
                let mut state = *state;
                p.rule.without_queue(&mut state, &p.before(record), all, now, self.len == 1);
                (p.rule.used(&state, now, Later::AsWritten, ring).min(p.rule.max_cost()), queued)
            }
        }
    }

    /// A word of the record to which no sequence of calls can have led, if there is one.
    pub(crate) fn implausible(&self, record: &Record, now: Nanos) -> Option<ImplausibleWord> {
        let far = now.as_nanos().saturating_add(2 * super::MAX_WAIT.as_nanos() as u64);
        if record.last() > far {
            let (name, expected) = ("last admission", REACHABLE_TIME);
            return Some(ImplausibleWord { index: 0, name, limit: None, expected });
        }
        self.entries().find_map(|p| {
            let state = p.of(record);
            let (offset, name, expected) = match &p.rule {
                Rule::Bucket(g) => g.is_implausible(state[0], now).then_some((0, "TAT", REACHABLE_TIME)),
                Rule::Log(_) => LogState::read(state).implausible(far),
                Rule::Fixed(_) | Rule::Sliding(_) => {
                    (state[0] > far).then_some((0, "start ns", REACHABLE_TIME))
                }
            }?;
            Some(ImplausibleWord { index: p.start() + offset, name, limit: Some(p.limit), expected })
        })
    }

    /// The word that says how many entries of a log are pending, where they are more than the log's ring has slots.
    pub(crate) fn too_many_pending(&self, limit: usize) -> ImplausibleWord {
        let index = self.starts[limit.min(MAX_LIMITS - 1)] + log::PENDING;
        let expected = "at most as many as the limit's ring has slots";
        ImplausibleWord { index, name: "pending", limit: Some(limit), expected }
    }
}

/// A word of a record with a value that cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImplausibleWord {
    pub(crate) index: usize,
    /// As in docs/format.md.
    pub(crate) name: &'static str,
    /// The limit to which it belongs, from 0; `None` for the words of the record as a whole.
    pub(crate) limit: Option<usize>,
    pub(crate) expected: &'static str,
}
