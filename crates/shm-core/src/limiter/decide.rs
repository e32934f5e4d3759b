//! Decisions: acquire now, reserve a turn, schedule many turns.

use super::Limiter;
use super::receipt::{ChargeTotals, Decision, Receipt, ReservedTurn, Undecided};
use crate::clock::{self, Clock, Nanos};
use crate::commit::{self, CommitError, Decides, Wanted};
use crate::denied::Denied;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Error, Result};
use crate::limit::rule_set::Record;
use crate::limit::{Asked, Cost};
use crate::limiter::process::CellAccess;
use crate::sys::process_token::process_token;
use crate::sys::signal::NoHandlers;
use std::time::Duration;

/// What to record about an admission, so that the caller can cancel or settle it later.
struct AdmissionTrace {
    keep_before: bool,
    before: Option<Box<Record>>,
    charged: ChargeTotals,
}

impl AdmissionTrace {
    fn new(keep_before: bool) -> AdmissionTrace {
        AdmissionTrace { keep_before, before: None, charged: ChargeTotals::default() }
    }
}

/// Only [`WordState::take_without_permit`](commit::WordState::take_without_permit) checks whether there are permits.
const PERMIT_NOT_CHECKED: &str = "only a decision that checks for permits fails without an error";

impl Limiter {
    /// Fast path: takes `calls` now or not at all, in one attempt without retries. Covers an undisturbed limiter that
    /// is one bucket without permits; in every other case nothing is taken, and
    /// [`try_without_permit`](Self::try_without_permit) decides.
    ///
    /// # Errors
    /// [`Undecided`], which tells whether the limiter may have permits.
    #[inline]
    pub fn try_acquire_fast(&self, calls: u64) -> std::result::Result<Decision, Undecided> {
        self.try_immediate(calls, Wanted::NOW, true)
    }

    /// Like [`try_acquire_fast`](Self::try_acquire_fast), but takes only a turn that is `wanted`. `count_denied`:
    /// whether a denial is counted.
    #[inline(always)]
    pub(super) fn try_immediate(
        &self,
        calls: u64,
        wanted: Wanted,
        count_denied: bool,
    ) -> std::result::Result<Decision, Undecided> {
        if calls == 0 || self.segment.has_records() {
            return Err(Undecided::ByOneAttempt);
        }
        let mut process = 0;
        // A due file check is left to the slow path.
        let read = || {
            let now = clock::SystemClock.quick().filter(|now| !self.file_check_due(now.at))?;
            process = process_token();
            Some(now)
        };
        match self.segment.words().attempt(calls, wanted, false, Decides::WithoutPermitsAtOnce, read, |_| ())
        {
            Ok(commit::Verdict::Admitted { at, epoch, .. }) => {
                if process != process_token() {
                    // A signal handler forked, and this is the child. The admission may have been its parent's.
                    return Err(Undecided::ByOneAttempt);
                }
                self.process.seat.counter(&self.segment).admitted(calls);
                let receipt = Receipt { at, epoch, state: 0, owner: self.owner(process) };
                Ok(Decision::Admitted(receipt))
            }
            Ok(commit::Verdict::Denied { denied, shadow: false }) => {
                if count_denied {
                    self.process.seat.counter(&self.segment).denied();
                }
                Ok(Decision::Denied { denied, shadow: false })
            }
            Err(commit::AttemptError::NotLive(_)) => Err(Undecided::MayNeedPermit),
            _ => Err(Undecided::ByOneAttempt),
        }
    }

    /// Takes `calls` now, or nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NeverAdmissible`], [`ErrorKind::Retired`], [`ErrorKind::Removed`], [`ErrorKind::Corrupt`];
    /// [`ErrorKind::InvalidInput`] if the limits count other units, [`ErrorKind::NoSeat`] if a seat is needed and none
    /// is free.
    #[inline]
    pub fn try_acquire(&self, calls: u64) -> Result<Decision> {
        if self.segment.has_records() {
            return self.decide_record(Asked::Calls(calls), Wanted::NOW, None, true);
        }
        // Attach first: a process attaches even when its first request is impossible, so that `inspect` lists it.
        let counter = self.process.seat.counter(&self.segment);
        let decision = self.try_word(calls)?;
        match decision {
            Decision::Admitted(_) => counter.admitted(calls),
            Decision::Denied { .. } => counter.denied(),
        }
        Ok(decision)
    }

    /// Like [`try_acquire`](Self::try_acquire) for a limiter without permits. With permits, returns `None` and takes
    /// nothing.
    ///
    /// # Errors
    /// Those of [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_without_permit(&self, calls: u64) -> Result<Option<Decision>> {
        if self.segment.has_records() {
            if self.has_permits() {
                return Ok(None);
            }
            return self.decide_record(Asked::Calls(calls), Wanted::NOW, None, true).map(Some);
        }
        let counter = self.process.seat.counter(&self.segment);
        let decision = match self.try_word_without_permit(calls) {
            Ok(decision) => decision,
            Err(None) => return Ok(None),
            Err(Some(e)) => return Err(e),
        };
        match decision {
            Decision::Admitted(_) => counter.admitted(calls),
            Decision::Denied { .. } => counter.denied(),
        }
        Ok(Some(decision))
    }

    /// Fails if the limiter has no limit, and therefore no turns to reserve.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there is no limit, only permits.
    fn check_has_turns(&self) -> Result<()> {
        if self.segment.generations().is_unlimited() {
            return self.recover(CommitError::Unlimited, 0);
        }
        Ok(())
    }

    /// Takes this cost now, or nothing.
    ///
    /// # Errors
    /// Those of [`try_acquire`](Self::try_acquire).
    pub fn try_cost(&self, cost: &Cost) -> Result<(Decision, ChargeTotals)> {
        if !self.segment.has_records() {
            return Ok((self.try_acquire(self.only_calls(cost)?)?, ChargeTotals::default()));
        }
        let mut trace = AdmissionTrace::new(false);
        let decision = self.decide_record(Asked::of(cost), Wanted::NOW, Some(&mut trace), true)?;
        Ok((decision, trace.charged))
    }

    /// Checks whether a request of this cost could ever be admitted.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], [`ErrorKind::NeverAdmissible`], and those of [`policy`](Self::policy).
    pub fn check(&self, cost: &Cost) -> Result<()> {
        let policy = self.policy()?;
        cost.check(&policy).map_err(|e| e.at(self.name().as_str(), self.path()))?;
        let excess = |limit: crate::limit::Limit| {
            cost.amount(limit.unit()).filter(|&n| n > limit.burst()).map(|n| (n, limit.burst()))
        };
        match policy.limits().enumerate().find_map(|(i, limit)| excess(limit).map(|excess| (i, excess))) {
            None => Ok(()),
            Some((limit, (n, max))) => {
                Err(self.segment.commit_error(CommitError::NeverAdmissible { limit, max }, n))
            }
        }
    }

    /// Takes the first free turn for this cost. The caller counts it when it uses it: see
    /// [`count_admitted`](Self::count_admitted).
    ///
    /// # Errors
    /// Those of [`try_acquire`](Self::try_acquire), [`ErrorKind::TooFar`], and [`ErrorKind::InvalidInput`] if the
    /// limiter has only permits.
    pub fn reserve(&self, cost: &Cost) -> Result<ReservedTurn> {
        self.check_has_turns()?;
        // Attach, so that `inspect` lists this process.
        let _ = self.process.seat.counter(&self.segment);
        let mut trace = AdmissionTrace::new(true);
        let latest = Nanos::from_nanos(u64::MAX);
        let decision = if self.segment.has_records() {
            self.decide_record(Asked::of(cost), latest.into(), Some(&mut trace), false)?
        } else {
            self.reserve_word(self.only_calls(cost)?, latest)?
        };
        match decision {
            Decision::Admitted(receipt) => {
                let AdmissionTrace { before, charged, .. } = trace;
                Ok(ReservedTurn { receipt, calls: cost.call_count(), charged, before })
            }
            // Denied only if the turn lies beyond the last instant that the clock can represent.
            Decision::Denied { denied, .. } => {
                let ready = denied.retry_at().unwrap_or(latest);
                Err(self
                    .segment
                    .commit_error(CommitError::TooFar { ready, now: denied.at() }, cost.largest()))
            }
        }
    }

    /// Takes turns for `k` requests of this cost and returns their instants. This is one atomic step, unless a limit is
    /// greedy: then requests of other callers may come in between. Later changes do not move the turns.
    ///
    /// # Errors
    /// Those of [`reserve`](Self::reserve).
    pub fn schedule(&self, cost: &Cost, k: usize) -> Result<Vec<Nanos>> {
        if !self.segment.has_records() {
            self.only_calls(cost)?;
        }
        self.segment.check_not_removed()?;
        // The turns follow from parameters that are not validated where they are used.
        self.config()?;
        // A child forked by a signal handler would get the same turns.
        let _no_handlers = NoHandlers::enter();
        loop {
            let turns = if self.segment.has_records() {
                let mut cells = self.cell_access()?;
                let records = self.segment.records(Some(cells.pair()));
                records.schedule(Asked::of(cost), k, &clock::SystemClock, &mut cells.scratch)
            } else {
                // Attach, so that `inspect` lists this process.
                let _ = self.process.seat.counter(&self.segment);
                self.segment.words().schedule(cost.call_count(), k, &clock::SystemClock)
            };
            match turns {
                Ok(turns) => {
                    // Checked again afterwards: this process may have been stopped for long before it read its clock.
                    self.segment.check_not_removed()?;
                    return Ok(turns);
                }
                Err(CommitError::WrongUnits) => return Err(self.wrong_units_error(cost)),
                Err(why) => self.recover(why, cost.largest())?,
            }
        }
    }

    /// Why the limits deny this cost now, or `None` if they admit it. Takes nothing.
    ///
    /// # Errors
    /// Those of [`try_acquire`](Self::try_acquire).
    pub fn denial(&self, cost: &Cost) -> Result<Option<Denied>> {
        loop {
            let denial = if self.segment.has_records() {
                let mut cells = self.cell_access()?;
                let records = self.segment.records(Some(cells.pair()));
                let denial = records.denial(Asked::of(cost), &clock::SystemClock, &mut cells.scratch);
                if cells.is_same_process() { denial } else { Err(CommitError::Forked) }
            } else {
                // A process attaches even when its request is impossible, so that `inspect` lists it.
                let _ = self.process.seat.counter(&self.segment);
                self.segment.words().denial(self.only_calls(cost)?, &clock::SystemClock)
            };
            match denial {
                Ok(denial) => return Ok(denial),
                Err(CommitError::WrongUnits) => return Err(self.wrong_units_error(cost)),
                Err(why) => self.recover(why, cost.largest())?,
            }
        }
    }

    /// Exclusive access to this process's cells, or an error if it cannot get a seat.
    #[inline]
    pub(super) fn cell_access(&self) -> Result<CellAccess<'_>> {
        self.process.cells(&self.segment)?.ok_or_else(|| self.no_seat_error())
    }

    /// Takes this cost if its turn is `wanted`, without waiting. A denial is not counted.
    pub(super) fn decide_now(&self, cost: &Cost, wanted: Wanted) -> Result<(Decision, ChargeTotals)> {
        if self.segment.has_records() {
            let mut trace = AdmissionTrace::new(false);
            let decision = self.decide_record(Asked::of(cost), wanted, Some(&mut trace), false)?;
            return Ok((decision, trace.charged));
        }
        Ok((self.try_word_if_wanted(self.only_calls(cost)?, wanted)?, ChargeTotals::default()))
    }

    /// The number of calls in this cost, for a limiter that counts only calls.
    #[inline]
    pub(super) fn only_calls(&self, cost: &Cost) -> Result<u64> {
        cost.only_calls().filter(|&n| n > 0).ok_or_else(|| self.wrong_units_error(cost))
    }

    /// Wrappers of `decide_word`, each compiled separately with its constants.
    fn try_word(&self, calls: u64) -> Result<Decision> {
        self.try_word_if_wanted(calls, Wanted::NOW)
    }

    pub(super) fn try_word_if_wanted(&self, calls: u64, wanted: Wanted) -> Result<Decision> {
        let take = || self.segment.words().reserve(calls, wanted, false, &clock::SystemClock);
        self.decide_word(calls, false, take).map_err(|e| e.expect(PERMIT_NOT_CHECKED))
    }

    fn try_word_without_permit(&self, calls: u64) -> std::result::Result<Decision, Option<Error>> {
        self.decide_word(calls, false, || {
            self.segment.words().take_without_permit(calls, &clock::SystemClock)
        })
    }

    fn reserve_word(&self, calls: u64, latest: Nanos) -> Result<Decision> {
        let take = || self.segment.words().reserve(calls, latest, true, &clock::SystemClock);
        self.decide_word(calls, true, take).map_err(|e| e.expect(PERMIT_NOT_CHECKED))
    }

    /// `cancellable`: whether [`cancel`](Self::cancel) may undo the admission. `Err(None)`: the caller needs a permit
    /// first.
    #[inline(always)]
    fn decide_word(
        &self,
        calls: u64,
        cancellable: bool,
        take: impl Fn() -> std::result::Result<commit::Verdict, CommitError>,
    ) -> std::result::Result<Decision, Option<Error>> {
        loop {
            let process = process_token();
            match take() {
                // This is a child that a signal handler forked; the admission may have been its parent's.
                Ok(commit::Verdict::Admitted { .. }) if process != process_token() => {}
                Ok(commit::Verdict::Admitted { at, now, epoch, state, .. }) => {
                    self.maybe_check_file(now.at)?;
                    let state = if cancellable { state } else { 0 };
                    let receipt = Receipt { at, epoch, state, owner: self.owner(process) };
                    return Ok(Decision::Admitted(receipt));
                }
                Ok(commit::Verdict::Denied { denied, shadow }) => {
                    self.maybe_check_file(denied.at())?;
                    return Ok(Decision::Denied { denied, shadow });
                }
                Err(why) => self.recover_or_ask_for_permit(why, calls)?,
            }
        }
    }

    #[inline]
    fn decide_record(
        &self,
        asked: Asked<'_>,
        wanted: Wanted,
        trace: Option<&mut AdmissionTrace>,
        count: bool,
    ) -> Result<Decision> {
        loop {
            let mut cells = self.cell_access()?;
            let records = self.segment.records(Some(cells.pair()));
            let keep_before = trace.as_ref().is_some_and(|trace| trace.keep_before);
            let why =
                match records.reserve(asked, wanted, &clock::SystemClock, keep_before, &mut cells.scratch) {
                    // A signal handler forked: the admission may have been the parent's.
                    _ if !cells.is_same_process() => CommitError::Forked,
                    Ok(commit::Verdict::Admitted { at, now, epoch, state, .. }) => {
                        if let Some(trace) = trace {
                            trace.charged = ChargeTotals(Some(cells.scratch.charged()));
                            trace.before = keep_before.then(|| cells.scratch.before());
                        }
                        if count {
                            let seat = &self.segment.seats()[cells.seat];
                            self.process.seat.counter_at(seat).admitted(asked.call_count());
                        }
                        let process = cells.process();
                        drop(cells);
                        self.maybe_check_file(now.at)?;
                        let receipt = Receipt { at, epoch, state, owner: self.owner(process) };
                        return Ok(Decision::Admitted(receipt));
                    }
                    Ok(commit::Verdict::Denied { denied, shadow }) => {
                        if count {
                            self.process.seat.counter_at(&self.segment.seats()[cells.seat]).denied();
                        }
                        drop(cells);
                        self.maybe_check_file(denied.at())?;
                        return Ok(Decision::Denied { denied, shadow });
                    }
                    Err(why) => why,
                };
            drop(cells);
            match why {
                CommitError::WrongUnits => return Err(self.wrong_units_error(&asked.cost())),
                why => self.recover(why, asked.cost().largest())?,
            }
        }
    }

    /// Counts a turn that is used now, with the time that its caller waited (possibly zero).
    pub fn count_admitted(&self, calls: u64, waited: Duration) {
        let counter = self.process.seat.counter(&self.segment).in_shared_lane();
        counter.admitted(calls);
        if !waited.is_zero() {
            counter.waited(waited);
        }
    }

    /// Counts a denied request.
    pub fn count_denied(&self) {
        self.process.seat.counter(&self.segment).in_shared_lane().denied();
    }
}
