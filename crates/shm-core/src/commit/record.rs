//! Decisions on a state of several words: prepared in a private cell, committed by one compare-and-swap.
//!
//! The state word names the cell of the current record, and a version. To commit, a process copies that record,
//! decides, writes the new record to the one of its two cells that is not current, and swaps the state word. This is
//! crash-atomic: killed before the swap, nothing has happened; after it, everything has. Invariants:
//!
//! 1. Only the holder of a seat writes the seat's pair of cells, one thread at a time (`ProcessState::cells`), and only
//!    the holder of the control lock writes the changer's pair. Neither ever writes the current cell: the state word is
//!    read while the right to write is held, and only the holder's own commits can make one of its cells current. A
//!    child forked by a signal handler in the middle of a write continues on private memory until the write is over
//!    (`sys/mid_write`).
//! 2. A copy is used only if the state word is unchanged afterwards: a process that overwrites a cell has seen that the
//!    cell is no longer current (release fence before writing, acquire fence after copying).
//! 3. Versions never recur. So a successful CAS met exactly the record that was copied, in that generation, and a
//!    process with a stale word changes nothing.
//! 4. The slots of a log's newest entry are written before anything is committed after it. Slot values only grow.

use super::config::Config;
use super::config_words;
use super::damage::Damage;
use super::generation::{CommitError, GenerationState, Generations, STATE_OF_THIS_EPOCH, Verdict};
use super::record_store::{LIVE_END, RecordPtr, RecordStore, load, store};
use super::scratch::{Scratch, possible};
use super::state_word::StateWord;
use super::word_state::{SOON, Wanted};
use crate::clock::{Clock, Nanos, QUICK_LAG, Reading};
use crate::denied::Denied;
use crate::layout::{CELL_PAIR, Cell, LIMITS, RETIRED};
use crate::limit::log::Ring;
use crate::limit::rule_set::{ImplausibleWord, Record, Rings, Rules, Size};
use crate::limit::{Asked, Cost, Costs, LimitStatus, MAX_LIMITS, MAX_WAIT, Refund};
use crate::sync::{Ordering, back_off, fence, this_process};

/// A limiter whose state is a record, as seen by a process that may write some cells, or by one that only reads.
#[derive(Clone, Copy)]
pub(crate) struct Records<'a> {
    pub(crate) generations: Generations<'a>,
    pub(crate) table: RecordStore<'a>,
    /// `None` for a process that only reads.
    pub(crate) pair: Option<Pair>,
    /// From this time on, decisions by windows that follow the wall clock first need a check of it.
    pub(crate) check_at_ns: u64,
}

/// Two cells that only this thread may write.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    index: usize,
    /// The token of the process that may write them.
    process: u64,
}

impl Pair {
    /// The pair of a seat, or of the changer; the process with this token has the right to write it.
    pub(crate) fn of(index: usize, process: u64) -> Pair {
        Pair { index, process }
    }

    /// Whether this is still that process, and not a child that a signal handler forked since.
    #[inline]
    fn is_same_process(self) -> bool {
        self.process == this_process()
    }
}

impl GenerationState for Records<'_> {
    fn generations(&self) -> Generations<'_> {
        self.generations
    }

    fn take_over(&self, epoch: u64, clock: &impl Clock) -> Result<(), CommitError> {
        let frozen = self.generations.freeze_before(epoch);
        if let Some(record) = self.start_of(epoch, frozen, clock)? {
            self.write_cell(RecordPtr(frozen), &record, self.rules(epoch).size())
                .map(|next| self.generations.set(epoch, next))?;
        }
        Ok(())
    }
}

impl Records<'_> {
    /// Fills a segment that no other process sees yet. Its first record is in the last cell, which is the changer's.
    pub(crate) fn initialise(&self, config: &Config) {
        let cell = self.table.cells.len() - 1;
        self.generations.initialise(config, RecordPtr(0).next(cell));
        let rules = self.rules(1);
        store(&self.table.cells[cell], &rules.unused(config.since), rules.size());
    }

    fn rules(&self, epoch: u64) -> Rules {
        config_words::rules(self.generations.slot(epoch), self.table.rings.map(|slots| slots > 0))
    }

    /// Copies the record to which a state word of this generation points. False if the state word has changed
    /// meanwhile.
    #[inline]
    fn copy(&self, word: u64, epoch: u64, size: Size, to: &mut Record) -> Result<bool, CommitError> {
        let Some(cell) = self.table.cells.get(RecordPtr(word).cell()) else {
            return Err(CommitError::Corrupt(Damage::state(
                epoch,
                word,
                "a pointer to one of the file's cells",
            )));
        };
        load(cell, to, size);
        // Pairs with the Release fence in `write_cell`.
        fence(Ordering::Acquire);
        let unchanged = self.generations.slot(epoch).state.word.load(Ordering::Relaxed) == word;
        if !unchanged {
            // Losing the record while copying it is a lost race, too.
            back_off();
        }
        Ok(unchanged)
    }

    /// The record with which the generation of `epoch` starts, derived from the frozen state before it; `None` if
    /// `epoch` is over.
    fn start_of(&self, epoch: u64, frozen: u64, clock: &impl Clock) -> Result<Option<Record>, CommitError> {
        let g = self.generations;
        let before = epoch - 1;
        let (from, to) = (self.rules(before), self.rules(epoch));
        let starts_empty = g.starts_empty(epoch);
        let mut record = Record::EMPTY;
        let readable = match StateWord::decode(frozen) {
            StateWord::Live(_) | StateWord::Frozen(_) => {
                match self.copy(frozen | StateWord::FREEZE, before, from.size(), &mut record) {
                    Err(_) if starts_empty => false,
                    copied => copied?,
                }
            }
            StateWord::Unset(_) | StateWord::Invalid => false,
        };
        if starts_empty {
            from.repair_logs(&mut record, &self.table);
        }
        // Read after the epoch: a process that acted on a turn before it saw the new epoch has an earlier time.
        let now = clock.exact();
        let same_unit = {
            let (a, b) = (config_words::units(g.slot(before)), config_words::units(g.slot(epoch)));
            move |i: usize| i < LIMITS && a[i] == b[i]
        };
        if !readable && g.epoch() == epoch && !starts_empty {
            return Err(CommitError::Corrupt(Damage::state(before, frozen, STATE_OF_THIS_EPOCH)));
        }
        let keeps_usage = |i| !starts_empty && same_unit(i);
        Ok((readable || starts_empty).then(|| from.carry(&record, now, &to, keeps_usage, &self.table)))
    }

    /// Writes the record to the cell of this process's pair that is not current, and returns the state word that points
    /// to it.
    #[inline]
    fn write_cell(&self, current: RecordPtr, record: &Record, size: Size) -> Result<u64, CommitError> {
        let Some(pair) = self.pair else { return Err(CommitError::NoSeat) };
        if !pair.is_same_process() {
            return Err(CommitError::Forked);
        }
        let mine = pair.index * CELL_PAIR;
        let free = if current.cell() == mine { mine + 1 } else { mine };
        let Some(cell) = self.table.cells.get(free) else {
            return Err(CommitError::Corrupt(Damage::cells(self.table.cells.len())));
        };
        // Pairs with the Acquire fence in `copy`: a reader that saw a word of this record also sees that the cell is
        // not current.
        fence(Ordering::Release);
        store(cell, record, size);
        // In a child forked by a signal handler, the cell may contain the parent's next record by now.
        if pair.is_same_process() { Ok(current.next(free)) } else { Err(CommitError::Forked) }
    }

    /// Writes the log slots of the newest admission, so that another can follow it.
    #[inline]
    fn write_pending(&self, rules: &Rules, record: &Record, word: u64) -> Result<(), CommitError> {
        for (limit, range, value) in rules.unwritten(record) {
            let ring = self.table.ring(limit);
            if range.end.saturating_sub(range.start) > ring.capacity() {
                return Err(self.damaged_record(record, word, rules.too_many_pending(limit)));
            }
            for slot in range.filter_map(|index| ring.slot_ref(index)) {
                // Release: pairs with the Acquire in `slot`.
                if slot.load(Ordering::Relaxed) < value {
                    slot.fetch_max(value, Ordering::Release);
                }
            }
        }
        Ok(())
    }

    /// Takes the request from all limits or from none, for the first instant at which it conforms to all, if that is
    /// `wanted`. If `remember`, the scratch keeps the record from before the admission.
    #[inline]
    pub(crate) fn reserve(
        &self,
        asked: Asked<'_>,
        wanted: impl Into<Wanted>,
        clock: &impl Clock,
        remember: bool,
        scratch: &mut Scratch,
    ) -> Result<Verdict, CommitError> {
        let wanted = wanted.into();
        loop {
            let Some((word, costs)) = self.read(asked, clock, scratch)? else { continue };
            let Scratch { epoch, rules, record, before, from, .. } = &mut *scratch;
            let state = &self.generations.slot(*epoch).state.word;
            let mut now = clock.read();
            if now.at.as_nanos() >= self.check_at_ns && rules.follow_wall_clock() {
                return Err(CommitError::CheckDue(now.at));
            }
            let mut ready = Nanos::from_nanos(rules.ready(record, &costs, now.at.as_nanos(), &self.table));
            if ready > now.at && !now.is_exact && ready.since(now.at) < QUICK_LAG {
                (now, ready) = self.read_exact_clock(rules, record, &costs, clock);
            }
            if ready > now.at {
                // The ring slots that were read are valid if nothing was committed meanwhile.
                if state.load(Ordering::Acquire) != word {
                    continue;
                }
                if ready.since(now.at) > MAX_WAIT {
                    self.check_max_wait(rules, (record, word), now.at, ready, wanted.turn)?;
                }
                if ready > wanted.turn {
                    let denied = self.denied_by(rules, record, &costs, now.at, ready);
                    return Ok(Verdict::Denied { denied, shadow: self.generations.is_shadow() });
                }
            }
            if ready <= now.at && now.at > wanted.decided {
                let denied = self.denied_by(rules, record, &costs, now.at, now.at.plus(SOON));
                return Ok(Verdict::Denied { denied, shadow: self.generations.is_shadow() });
            }
            let at = ready.max(now.at);
            self.write_pending(rules, record, word)?;
            if remember {
                (*before, *from) = (*record, word);
            }
            rules.charge(record, &costs, at.as_nanos(), now.at.as_nanos());
            let new = self.write_cell(RecordPtr(word), record, rules.size())?;
            // AcqRel: publishes the record and the slots written before.
            if state.compare_exchange(word, new, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Ok(Verdict::Admitted { at, now, epoch: *epoch, state: new });
            }
            back_off();
        }
    }

    /// Which limit denies these costs, which would be admitted at `retry_at`. Evaluates each limit again, so it is used
    /// only for denials.
    #[cold]
    fn denied_by(
        &self,
        rules: &Rules,
        record: &Record,
        costs: &Costs,
        now: Nanos,
        retry_at: Nanos,
    ) -> Denied {
        match rules.len() {
            0 => Denied::by_pause(retry_at, now),
            1 => Denied::by_limit(0, retry_at, now),
            _ => {
                let (_, index) = rules.slowest(record, costs, now.as_nanos(), &self.table);
                Denied::by_limit(index, retry_at, now)
            }
        }
    }

    /// Why the request is denied now, or `None` if it is admitted. Takes nothing.
    pub(crate) fn denial(
        &self,
        asked: Asked<'_>,
        clock: &impl Clock,
        scratch: &mut Scratch,
    ) -> Result<Option<Denied>, CommitError> {
        loop {
            let Some((word, costs)) = self.read(asked, clock, scratch)? else { continue };
            let (now, ready) = self.read_exact_clock(&scratch.rules, &scratch.record, &costs, clock);
            // The ring slots that were read are valid if nothing was committed meanwhile.
            let state = &self.generations.slot(scratch.epoch).state.word;
            if state.load(Ordering::Acquire) == word {
                let denied = ready > now.at;
                return Ok(
                    denied.then(|| self.denied_by(&scratch.rules, &scratch.record, &costs, now.at, ready))
                );
            }
        }
    }

    /// The exact clock, and the instant for these costs by it.
    #[cold]
    fn read_exact_clock(
        &self,
        rules: &Rules,
        record: &Record,
        costs: &Costs,
        clock: &impl Clock,
    ) -> (Reading, Nanos) {
        let now = clock.exact();
        (Reading::exact(now), Nanos::from_nanos(rules.ready(record, costs, now.as_nanos(), &self.table)))
    }

    /// Takes turns for `k` such requests and returns their instants. One commit if there is no contention, several if
    /// others keep committing, and one per request if a limit is greedy: a log's newest entry has a single time.
    pub(crate) fn schedule(
        &self,
        asked: Asked<'_>,
        k: usize,
        clock: &impl Clock,
        scratch: &mut Scratch,
    ) -> Result<Vec<Nanos>, CommitError> {
        let mut turns = Vec::with_capacity(k);
        let now = clock.exact();
        let mut batch = k;
        while turns.len() < k {
            let Some((word, costs)) = self.read(asked, clock, scratch)? else { continue };
            let Scratch { epoch, rules, record, .. } = &mut *scratch;
            let together = if rules.has_log(&costs) { 1 } else { batch.min(k - turns.len()) };
            let start = turns.len();
            if rules.len() == 0 {
                return Err(CommitError::Unlimited);
            }
            self.write_pending(rules, record, word)?;
            for _ in 0..together {
                let ready = rules.ready(record, &costs, now.as_nanos(), &self.table);
                let at = Nanos::from_nanos(ready).max(now);
                if at.since(now) > MAX_WAIT {
                    self.check_max_wait(rules, (record, word), now, at, Nanos::from_nanos(u64::MAX))?;
                }
                rules.charge(record, &costs, at.as_nanos(), now.as_nanos());
                turns.push(at);
            }
            if !self.replace(*epoch, word, record, rules.size())? {
                turns.truncate(start);
                // Under contention, one large step may never succeed.
                batch = (batch / 2).max(16);
                back_off();
            }
        }
        Ok(turns)
    }

    /// Charges the named amounts unconditionally, in one step whatever they are, as if single calls had queued.
    pub(crate) fn debt(
        &self,
        what: &Cost,
        clock: &impl Clock,
        scratch: &mut Scratch,
    ) -> Result<(), CommitError> {
        loop {
            let Some(word) = self.read_record(clock, scratch)? else { continue };
            let amounts = what.costs(scratch.units()).ok_or(CommitError::WrongUnits)?;
            let Scratch { epoch, rules, record, .. } = &mut *scratch;
            if rules.len() == 0 {
                return Ok(());
            }
            let before = *record;
            self.write_pending(rules, record, word)?;
            let now = clock.exact();
            let end = Nanos::from_nanos(u64::MAX);
            let last =
                rules.debt(record, &amounts, now.as_nanos(), &self.table).map_or(end, Nanos::from_nanos);
            if last.since(now) > MAX_WAIT {
                self.check_max_wait(rules, (&before, word), now, last, end)?;
            }
            if self.replace(*epoch, word, record, rules.size())? {
                return Ok(());
            }
            back_off();
        }
    }

    /// Reads the current configuration and record into the scratch; returns the state word and the costs of the
    /// request. `None`: retry.
    #[inline]
    fn read(
        &self,
        asked: Asked<'_>,
        clock: &impl Clock,
        scratch: &mut Scratch,
    ) -> Result<Option<(u64, Costs)>, CommitError> {
        let Some(word) = self.read_record(clock, scratch)? else { return Ok(None) };
        let costs = match asked {
            Asked::Calls(n) if 0 < n && n <= scratch.max_calls => [n; MAX_LIMITS],
            Asked::Costs(costs, epoch) => {
                if scratch.epoch != epoch {
                    return Err(CommitError::Changed);
                }
                scratch.possible(costs)?
            }
            asked => scratch.costs(&asked.cost())?,
        };
        Ok(Some((word, costs)))
    }

    /// Reads the current configuration and record into the scratch; returns the state word. `None`: retry.
    #[inline]
    fn read_record(&self, clock: &impl Clock, scratch: &mut Scratch) -> Result<Option<u64>, CommitError> {
        let epoch = self.generations.epoch();
        if epoch != scratch.epoch && !self.read_config(epoch, scratch)? {
            return Ok(None);
        }
        let word = self.generations.slot(epoch).state.word.load(Ordering::Acquire);
        // If the epoch is still current, the word belongs to this generation.
        if !self.generations.is_current(epoch) {
            return Ok(None);
        }
        if word >= LIVE_END {
            return self.settle(epoch, clock).map(|()| None);
        }
        Ok(self.copy(word, epoch, scratch.rules.size(), &mut scratch.record)?.then_some(word))
    }

    /// Reads the configuration of this epoch into the scratch; false if the epoch is over.
    #[cold]
    fn read_config(&self, epoch: u64, scratch: &mut Scratch) -> Result<bool, CommitError> {
        if epoch >= RETIRED {
            return Err(CommitError::Retired);
        }
        scratch.epoch = 0;
        scratch.rules = self.rules(epoch);
        scratch.units = config_words::units(self.generations.slot(epoch));
        let only_calls = scratch.units.iter().all(Option::is_none);
        scratch.max_calls = if only_calls { scratch.rules.max_cost() } else { 0 };
        let current = self.generations.is_current(epoch);
        if current {
            scratch.epoch = epoch;
        }
        Ok(current)
    }

    /// Handles a turn more than a year ahead: corruption, a queue too long to join, or a very slow limiter.
    #[cold]
    fn check_max_wait(
        &self,
        rules: &Rules,
        (record, word): (&Record, u64),
        now: Nanos,
        ready: Nanos,
        latest: Nanos,
    ) -> Result<(), CommitError> {
        // Such a time may follow from damaged parameters.
        self.generations.config()?;
        self.check_plausible(rules, record, word, now)?;
        if ready <= latest { Err(CommitError::TooFar { ready, now }) } else { Ok(()) }
    }

    /// Checks that a sequence of calls can have led to the record that was copied from where `word` points.
    fn check_plausible(
        &self,
        rules: &Rules,
        record: &Record,
        word: u64,
        now: Nanos,
    ) -> Result<(), CommitError> {
        match rules.implausible(record, now) {
            None => Ok(()),
            Some(at) => Err(self.damaged_record(record, word, at)),
        }
    }

    #[cold]
    fn damaged_record(&self, record: &Record, word: u64, at: ImplausibleWord) -> CommitError {
        let found = record.0.get(at.index).copied().unwrap_or(0);
        CommitError::Corrupt(Damage::record(RecordPtr(word).cell(), self.table.cells.len(), at, found))
    }

    /// Undoes the admission that led to `state`, if nothing was committed after it. `before` is the record from before
    /// it. Returns the new state word; `None` means that the admission is forfeited.
    pub(crate) fn cancel(&self, epoch: u64, state: u64, before: &Record) -> Result<Option<u64>, CommitError> {
        let rules = self.rules(epoch);
        let size = rules.size();
        let mut newest = Record::EMPTY;
        // If the copy fails, something was committed since, perhaps by this process; then its free cell may be the
        // current one.
        if !self.generations.is_current(epoch) || !self.copy(state, epoch, size, &mut newest)? {
            return Ok(None);
        }
        self.replace_with(epoch, state, &rules.cancel(&newest, before), size)
    }

    /// Refunds `unused` of an admission at `at` in this epoch's generation, which led to `state` and to the running
    /// totals `charged`. After a change of configuration, nothing is refunded.
    pub(crate) fn refund(
        &self,
        epoch: u64,
        state: u64,
        charged: Option<&Costs>,
        unused: Asked<'_>,
        at: Nanos,
    ) -> Result<Refund, CommitError> {
        loop {
            let rules = self.rules(epoch);
            let size = rules.size();
            let units = config_words::units(self.generations.slot(epoch));
            let amounts = match unused {
                Asked::Costs(costs, of) if of == epoch => *costs,
                Asked::Costs(..) => return Ok(Refund::default()),
                unused => match unused.cost().costs(&units[..rules.len()]) {
                    Some(amounts) => amounts,
                    None => return Ok(Refund::default()),
                },
            };
            let word = self.generations.slot(epoch).state.word.load(Ordering::Acquire);
            if word >= LIVE_END || !self.generations.is_current(epoch) {
                return Ok(Refund::default());
            }
            let mut record = Record::EMPTY;
            if !self.copy(word, epoch, size, &mut record)? {
                continue;
            }
            let is_newest = word == state;
            if !is_newest {
                self.write_pending(&rules, &record, word)?;
            }
            let before = record;
            let given = rules.refund(&mut record, &amounts, at.as_nanos(), charged, is_newest);
            // Where nothing was given back, the state stays: a later admission can still be given back, as the newest.
            if record == before || self.replace(epoch, word, &record, size)? {
                return Ok(Refund::of(&units[..rules.len()], &amounts, &given));
            }
            back_off();
        }
    }

    /// What a request costs each limit of this epoch, if it can ever be admitted; `None` if the epoch is over. Needs no
    /// cells.
    pub(crate) fn costs_in(&self, epoch: u64, asked: Asked<'_>) -> Result<Option<Costs>, CommitError> {
        let (rules, units) = (self.rules(epoch), config_words::units(self.generations.slot(epoch)));
        if !self.generations.is_current(epoch) {
            return Ok(None);
        }
        let costs = asked.cost().costs(&units[..rules.len()]).ok_or(CommitError::WrongUnits)?;
        possible(&rules, &costs).map(Some)
    }

    /// When these costs would be admitted after `ahead`, and which limit decides that. Takes nothing.
    pub(crate) fn estimate(
        &self,
        epoch: u64,
        ahead: &Costs,
        costs: &Costs,
        clock: &impl Clock,
    ) -> Result<Option<(Nanos, usize)>, CommitError> {
        let g = self.generations;
        loop {
            let rules = self.rules(epoch);
            let word = g.slot(epoch).state.word.load(Ordering::Acquire);
            if !g.is_current(epoch) {
                return Ok(None);
            }
            if word >= LIVE_END {
                self.settle(epoch, clock)?;
                continue;
            }
            let mut record = Record::EMPTY;
            if !self.copy(word, epoch, rules.size(), &mut record)? {
                continue;
            }
            let now = clock.exact();
            if rules.debt(&mut record, ahead, now.as_nanos(), &self.table).is_none() {
                return Ok(Some((Nanos::from_nanos(u64::MAX), 0)));
            }
            let (ready, limit) = rules.slowest(&record, costs, now.as_nanos(), &self.table);
            if g.slot(epoch).state.word.load(Ordering::Acquire) == word {
                return Ok(Some((Nanos::from_nanos(ready).max(now), limit)));
            }
        }
    }

    /// Copies the record from before a turn to the turn's own cell, so that any process can undo the turn.
    pub(crate) fn store_before(&self, epoch: u64, cell: &Cell, before: &Record) {
        store(cell, before, self.rules(epoch).size());
    }

    /// Reads that record.
    pub(crate) fn load_before(&self, epoch: u64, cell: &Cell) -> Record {
        let mut before = Record::EMPTY;
        load(cell, &mut before, self.rules(epoch).size());
        before
    }

    /// Replaces the record to which `word` points, if it is still current.
    fn replace(&self, epoch: u64, word: u64, record: &Record, size: Size) -> Result<bool, CommitError> {
        self.replace_with(epoch, word, record, size).map(|new| new.is_some())
    }

    /// The same; returns the new state word.
    fn replace_with(
        &self,
        epoch: u64,
        word: u64,
        record: &Record,
        size: Size,
    ) -> Result<Option<u64>, CommitError> {
        let state = &self.generations.slot(epoch).state.word;
        let new = self.write_cell(RecordPtr(word), record, size)?;
        let swapped = state.compare_exchange(word, new, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        Ok(swapped.then_some(new))
    }

    /// Before a reset: clears slot values that cannot have been written. The caller holds the control lock, so there is
    /// no later generation yet that could have written them.
    pub(crate) fn clear_damage(&self, epoch: u64) {
        self.generations.clear_damage(epoch);
        let rules = self.rules(epoch);
        let mut record = Record::EMPTY;
        let mut read = || {
            let word = self.generations.slot(epoch).state.word.load(Ordering::Acquire);
            self.copy(word, epoch, rules.size(), &mut record)
        };
        // Other processes may commit meanwhile, but the era does not change.
        if !(0..1_000).map(|_| read()).take_while(Result::is_ok).any(|copied| copied == Ok(true)) {
            return;
        }
        for (limit, end) in rules.ends_of_eras(&record).into_iter().enumerate() {
            for slot in self.table.ring(limit).0 {
                let value = slot.load(Ordering::Relaxed);
                if value >= end {
                    let _ = slot.compare_exchange(value, 0, Ordering::AcqRel, Ordering::Relaxed);
                }
            }
        }
    }

    /// The current fill level of each limit. Takes nothing.
    pub(crate) fn status(
        &self,
        clock: &impl Clock,
    ) -> Result<([LimitStatus; MAX_LIMITS], Nanos), CommitError> {
        loop {
            let epoch = self.generations.epoch();
            if epoch >= RETIRED {
                return Err(CommitError::Retired);
            }
            let rules = self.rules(epoch);
            let word = self.generations.slot(epoch).state.word.load(Ordering::Acquire);
            let now = clock.exact();
            let mut record = Record::EMPTY;
            let readable = match StateWord::decode(word) {
                StateWord::Live(_) => self.copy(word, epoch, rules.size(), &mut record)?,
                StateWord::Unset(e) if e == epoch && epoch > 1 => {
                    match self.start_of(epoch, self.generations.freeze_before(epoch), clock)? {
                        Some(start) => {
                            record = start;
                            true
                        }
                        None => false,
                    }
                }
                StateWord::Frozen(_) => return Err(CommitError::Frozen),
                _ => return Err(CommitError::Corrupt(Damage::state(epoch, word, STATE_OF_THIS_EPOCH))),
            };
            let seen = rules.statuses(&record, now, &self.table);
            let unchanged = self.generations.slot(epoch).state.word.load(Ordering::Acquire) == word;
            if !readable || !unchanged || !self.generations.is_current(epoch) {
                continue;
            }
            self.check_plausible(&rules, &record, word, now)?;
            return Ok((seen, now));
        }
    }
}
