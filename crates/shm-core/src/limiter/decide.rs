//! Taking: decisions, reservations, schedules.

use super::Limiter;
use crate::clock::{self, Clock, Nanos};
use crate::commit::{self, Decides, Halt, Terms, Wanted};
use crate::denied::Denied;
use crate::error::{Error, ErrorKind, Result};
use crate::limit::rules::Record;
use crate::limit::{Asked, Cost, Costs};
use crate::seat::CellAccess;
use crate::sync::Ordering;
use crate::sys::fork::process_token;
use crate::sys::futex;
use crate::sys::signal::NoHandlers;
use std::time::Duration;

/// How often a busy process looks whether the file was removed underneath.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The longest sleep without looking around: for a removed file, a suspended machine, a signal just missed.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// What to write down of an admission, for who may want to undo or settle it.
struct Notes {
    keep_before: bool,
    before: Option<Box<Record>>,
    charged: Charged,
}

impl Notes {
    fn new(keep_before: bool) -> Notes {
        Notes { keep_before, before: None, charged: Charged::default() }
    }
}

/// Only [`Words::take_without_permit`](commit::Words::take_without_permit) asks whether there are permits.
const PERMITS_PLAY_NO_PART: &str = "a decision that permits play no part in";

/// That something was taken for an instant: now, or a later turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// When it may be used.
    pub at: Nanos,
    pub(super) epoch: u64,
    /// The state word right after, of what can be cancelled; 0 of what can't, where the state is one word.
    pub(super) state: u64,
    /// See [`Limiter::owner`].
    pub(super) owner: u64,
}

impl Receipt {
    /// For what was let through at this instant without having been taken: nobody's.
    pub const fn of_nothing(at: Nanos) -> Receipt {
        Receipt { at, epoch: 0, state: 0, owner: 0 }
    }
}

/// What a settlement needs to know of an admission, besides the receipt, where it is known: each bucket's charges so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charged(pub(super) Option<Costs>);

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is taken.
    Admitted(Receipt),
    /// Nothing is taken.
    Denied {
        /// Why.
        denied: Denied,
        /// Whether the limiter is in shadow, so that this is only what would have been.
        shadow: bool,
    },
}

/// Why [`Limiter::try_at_once`] did not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecided {
    /// There may be permits, so that one is to be held.
    MayNeedPermit,
    /// Another attempt, or more than an attempt, is needed.
    ByOneAttempt,
}

/// A turn that was taken and can still be given back.
#[derive(Debug)]
pub struct Reservation {
    /// Which turn.
    pub receipt: Receipt,
    pub(super) calls: u64,
    /// For a settlement.
    pub charged: Charged,
    /// The record before it, where the state is one.
    pub(super) before: Option<Box<Record>>,
}

impl Limiter {
    /// Takes `calls` now, or nothing, where that is decided in one attempt: by a limiter that is one bucket without
    /// permits, undisturbed. Otherwise nobody was admitted, and [`try_without_permit`](Self::try_without_permit) decides.
    ///
    /// # Errors
    /// Whether there may be permits.
    #[inline]
    pub fn try_at_once(&self, calls: u64) -> std::result::Result<Decision, Undecided> {
        self.at_once(calls, Wanted::NOW, true)
    }

    /// The same, if it is wanted. `count_denied`: a denial is counted.
    #[inline(always)]
    pub(super) fn at_once(
        &self,
        calls: u64,
        wanted: Wanted,
        count_denied: bool,
    ) -> std::result::Result<Decision, Undecided> {
        if calls == 0 || self.segment.has_records() {
            return Err(Undecided::ByOneAttempt);
        }
        let mut process = 0;
        // When it is time to look around, that is done on the slow path.
        let read = || {
            let now = clock::Host.quick().filter(|now| !self.is_time_to_look(now.at))?;
            process = process_token();
            Some(now)
        };
        match self.segment.words().attempt(calls, wanted, false, Decides::WithoutPermitsAtOnce, read, |_| ())
        {
            Ok(commit::Decision::Admitted { at, epoch, .. }) => {
                if process != process_token() {
                    // A signal handler forked, and this is the child. Perhaps it was its parent that was admitted.
                    return Err(Undecided::ByOneAttempt);
                }
                self.seat.counting(&self.segment).admitted(calls);
                let receipt = Receipt { at, epoch, state: 0, owner: self.owner(process) };
                Ok(Decision::Admitted(receipt))
            }
            Ok(commit::Decision::Denied { denied, shadow: false }) => {
                if count_denied {
                    self.seat.counting(&self.segment).denied();
                }
                Ok(Decision::Denied { denied, shadow: false })
            }
            Err(commit::Miss::Blocked(_)) => Err(Undecided::MayNeedPermit),
            _ => Err(Undecided::ByOneAttempt),
        }
    }

    /// Takes `calls` now, or nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NeverAdmissible`], [`ErrorKind::Retired`], [`ErrorKind::Removed`], [`ErrorKind::Corrupt`];
    /// [`ErrorKind::InvalidInput`] where units are counted, [`ErrorKind::NoSeat`] where a seat is needed.
    #[inline]
    pub fn try_acquire(&self, calls: u64) -> Result<Decision> {
        if self.segment.has_records() {
            return self.decide_record(Asked::Calls(calls), Wanted::NOW, None, true);
        }
        // First, so that a process attaches even when its request is impossible, and `inspect` lists it.
        let counting = self.seat.counting(&self.segment);
        let decision = self.try_word(calls)?;
        match decision {
            Decision::Admitted(_) => counting.admitted(calls),
            Decision::Denied { .. } => counting.denied(),
        }
        Ok(decision)
    }

    /// The same where no permit is to be held; `None`, and nothing is taken, where there are permits.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_without_permit(&self, calls: u64) -> Result<Option<Decision>> {
        if self.segment.has_records() {
            if self.has_permits() {
                return Ok(None);
            }
            return self.decide_record(Asked::Calls(calls), Wanted::NOW, None, true).map(Some);
        }
        let counting = self.seat.counting(&self.segment);
        let decision = match self.try_word_without_permit(calls) {
            Ok(decision) => decision,
            Err(None) => return Ok(None),
            Err(Some(e)) => return Err(e),
        };
        match decision {
            Decision::Admitted(_) => counting.admitted(calls),
            Decision::Denied { .. } => counting.denied(),
        }
        Ok(Some(decision))
    }

    /// Whether there are turns to reserve: not where there is no limit.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there is no limit, only permits.
    fn check_has_turns(&self) -> Result<()> {
        if self.segment.generations().is_unlimited() {
            return Err(self.segment.halted(Halt::Unlimited, 0));
        }
        Ok(())
    }

    /// Takes this cost now, or nothing.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_cost(&self, cost: &Cost) -> Result<(Decision, Charged)> {
        if !self.segment.has_records() {
            return Ok((self.try_acquire(self.only_calls(cost)?)?, Charged::default()));
        }
        let mut notes = Notes::new(false);
        let decision = self.decide_record(Asked::of(cost), Wanted::NOW, Some(&mut notes), true)?;
        Ok((decision, notes.charged))
    }

    /// Whether a request of this cost could ever be admitted.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], [`ErrorKind::NeverAdmissible`], and as [`policy`](Self::policy).
    pub fn check(&self, cost: &Cost) -> Result<()> {
        let policy = self.policy()?;
        cost.check(&policy).map_err(|e| e.at(self.name().as_str(), self.path()))?;
        let over = |limit: crate::limit::Limit| {
            cost.amount(limit.unit()).filter(|&n| n > limit.burst()).map(|n| (n, limit.burst()))
        };
        match policy.limits().enumerate().find_map(|(i, limit)| over(limit).map(|over| (i, over))) {
            None => Ok(()),
            Some((limit, (n, most))) => Err(self.segment.halted(Halt::NeverAdmissible { limit, most }, n)),
        }
    }

    /// Takes this cost for the first turn that is free. Not yet counted: see [`count_admitted`](Self::count_admitted).
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire), [`ErrorKind::TooFar`]; [`ErrorKind::InvalidInput`] if there is no limit, only permits.
    pub fn reserve(&self, cost: &Cost) -> Result<Reservation> {
        self.check_has_turns()?;
        // A process that reserves attaches as well.
        let _ = self.seat.counting(&self.segment);
        let mut notes = Notes::new(true);
        let latest = Nanos::from_nanos(u64::MAX);
        let decision = if self.segment.has_records() {
            self.decide_record(Asked::of(cost), latest.into(), Some(&mut notes), false)?
        } else {
            self.reserve_word(self.only_calls(cost)?, latest)?
        };
        match decision {
            Decision::Admitted(receipt) => {
                let Notes { before, charged, .. } = notes;
                Ok(Reservation { receipt, calls: cost.call_count(), charged, before })
            }
            // Only a turn after the last instant of the clock.
            Decision::Denied { denied, .. } => {
                let ready = denied.retry_at().unwrap_or(latest);
                Err(self.segment.halted(Halt::TooFar { ready, now: denied.at() }, cost.largest()))
            }
        }
    }

    /// Takes turns for `k` requests of this cost, and says when they are. In one step, unless there is a greedy limit among
    /// them: then others may come in between. They are kept whatever is changed later.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    pub fn schedule(&self, cost: &Cost, k: usize) -> Result<Vec<Nanos>> {
        if !self.segment.has_records() {
            self.only_calls(cost)?;
        }
        self.segment.check_still_there()?;
        // A child that a handler forks would have the same turns.
        let _no_handlers = NoHandlers::enter();
        loop {
            let turns = if self.segment.has_records() {
                let mut cells = self.cells()?;
                let records = self.segment.records(Some(cells.pair()));
                records.schedule(Asked::of(cost), k, &clock::Host, &mut cells.desk)
            } else {
                // A process that takes turns attaches as well.
                let _ = self.seat.counting(&self.segment);
                self.segment.words().schedule(cost.call_count(), k, &clock::Host)
            };
            match turns {
                Ok(turns) => {
                    // Looked at afterwards: this process may have been stopped for long before it read its clock.
                    self.segment.check_still_there()?;
                    return Ok(turns);
                }
                Err(Halt::Miscounted) => return Err(self.miscounted(cost)),
                Err(halt) => self.recover(halt, cost.largest())?,
            }
        }
    }

    /// Why the limits deny this cost now; `None` if they do not. Takes nothing.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn denial(&self, cost: &Cost) -> Result<Option<Denied>> {
        loop {
            let denial = if self.segment.has_records() {
                let mut cells = self.cells()?;
                let records = self.segment.records(Some(cells.pair()));
                let denial = records.denial(Asked::of(cost), &clock::Host, &mut cells.desk);
                if cells.is_ours() { denial } else { Err(Halt::Forked) }
            } else {
                // A process attaches even when its request is impossible, so that `inspect` lists it.
                let _ = self.seat.counting(&self.segment);
                self.segment.words().denial(self.only_calls(cost)?, &clock::Host)
            };
            match denial {
                Ok(denial) => return Ok(denial),
                Err(Halt::Miscounted) => return Err(self.miscounted(cost)),
                Err(halt) => self.recover(halt, cost.largest())?,
            }
        }
    }

    /// The right to write this process's cells; an error if there is no seat for it.
    #[inline]
    pub(super) fn cells(&self) -> Result<CellAccess<'_>> {
        self.seat.cells(&self.segment)?.ok_or_else(|| self.seatless())
    }

    /// Takes this cost at once, if it is wanted. A denial is not counted.
    pub(super) fn decide_now(&self, cost: &Cost, wanted: Wanted) -> Result<(Decision, Charged)> {
        if self.segment.has_records() {
            let mut notes = Notes::new(false);
            let decision = self.decide_record(Asked::of(cost), wanted, Some(&mut notes), false)?;
            return Ok((decision, notes.charged));
        }
        Ok((self.try_word_if_wanted(self.only_calls(cost)?, wanted)?, Charged::default()))
    }

    /// How many calls this cost is for a limiter that counts nothing else.
    #[inline]
    pub(super) fn only_calls(&self, cost: &Cost) -> Result<u64> {
        cost.only_calls().filter(|&n| n > 0).ok_or_else(|| self.miscounted(cost))
    }

    /// The uses of `decide_word`, each compiled for itself with its constants.
    fn try_word(&self, calls: u64) -> Result<Decision> {
        self.try_word_if_wanted(calls, Wanted::NOW)
    }

    pub(super) fn try_word_if_wanted(&self, calls: u64, wanted: Wanted) -> Result<Decision> {
        let take = || self.segment.words().reserve(calls, wanted, false, &clock::Host);
        self.decide_word(calls, false, take).map_err(|e| e.expect(PERMITS_PLAY_NO_PART))
    }

    fn try_word_without_permit(&self, calls: u64) -> std::result::Result<Decision, Option<Error>> {
        self.decide_word(calls, false, || self.segment.words().take_without_permit(calls, &clock::Host))
    }

    fn reserve_word(&self, calls: u64, latest: Nanos) -> Result<Decision> {
        let take = || self.segment.words().reserve(calls, latest, true, &clock::Host);
        self.decide_word(calls, true, take).map_err(|e| e.expect(PERMITS_PLAY_NO_PART))
    }

    /// `cancellable`: it may be given back by [`cancel`](Self::cancel). Fails without an error if
    /// a permit is to be held.
    #[inline(always)]
    fn decide_word(
        &self,
        calls: u64,
        cancellable: bool,
        take: impl Fn() -> std::result::Result<commit::Decision, Halt>,
    ) -> std::result::Result<Decision, Option<Error>> {
        loop {
            let process = process_token();
            match take() {
                // In a child that a signal handler forked: perhaps it was its parent that was admitted.
                Ok(commit::Decision::Admitted { .. }) if process != process_token() => {}
                Ok(commit::Decision::Admitted { at, now, epoch, state, .. }) => {
                    self.glance_around(now.at)?;
                    let state = if cancellable { state } else { 0 };
                    let receipt = Receipt { at, epoch, state, owner: self.owner(process) };
                    return Ok(Decision::Admitted(receipt));
                }
                Ok(commit::Decision::Denied { denied, shadow }) => {
                    self.glance_around(denied.at())?;
                    return Ok(Decision::Denied { denied, shadow });
                }
                Err(halt) => self.recover_or_ask_for_permit(halt, calls)?,
            }
        }
    }

    #[inline]
    fn decide_record(
        &self,
        asked: Asked<'_>,
        wanted: Wanted,
        notes: Option<&mut Notes>,
        count: bool,
    ) -> Result<Decision> {
        loop {
            let mut cells = self.cells()?;
            let records = self.segment.records(Some(cells.pair()));
            let keep_before = notes.as_ref().is_some_and(|notes| notes.keep_before);
            let halt = match records.reserve(asked, wanted, &clock::Host, keep_before, &mut cells.desk) {
                // Perhaps it was the parent that was admitted.
                _ if !cells.is_ours() => Halt::Forked,
                Ok(commit::Decision::Admitted { at, now, epoch, state, .. }) => {
                    if let Some(notes) = notes {
                        notes.charged = Charged(Some(cells.desk.charged()));
                        notes.before = keep_before.then(|| cells.desk.before());
                    }
                    if count {
                        let seat = &self.segment.seats()[cells.seat];
                        self.seat.counting_at(seat).admitted(asked.call_count());
                    }
                    let process = cells.process();
                    drop(cells);
                    self.glance_around(now.at)?;
                    let receipt = Receipt { at, epoch, state, owner: self.owner(process) };
                    return Ok(Decision::Admitted(receipt));
                }
                Ok(commit::Decision::Denied { denied, shadow }) => {
                    if count {
                        self.seat.counting_at(&self.segment.seats()[cells.seat]).denied();
                    }
                    drop(cells);
                    self.glance_around(denied.at())?;
                    return Ok(Decision::Denied { denied, shadow });
                }
                Err(halt) => halt,
            };
            drop(cells);
            match halt {
                Halt::Miscounted => return Err(self.miscounted(&asked.cost())),
                halt => self.recover(halt, asked.cost().largest())?,
            }
        }
    }

    /// Now and then: whether the file is still there.
    #[inline]
    pub(super) fn glance_around(&self, now: Nanos) -> Result<()> {
        if self.is_time_to_look(now) { self.look_around(now) } else { Ok(()) }
    }

    /// Asked with every decision. Not only with those that read the clock itself: who uses several limiters may read it for
    /// the same one each time.
    #[inline]
    fn is_time_to_look(&self, now: Nanos) -> bool {
        now.as_nanos() >= self.look_again_ns.load(Ordering::Relaxed)
    }

    /// In few words: a handle that hears it goes on to the other one.
    fn check_not_superseded(&self) -> Result<()> {
        if self.is_superseded.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Removed, "there is another one"));
        }
        Ok(())
    }

    #[cold]
    fn look_around(&self, now: Nanos) -> Result<()> {
        self.check_not_superseded()?;
        self.segment.check_still_there()?;
        // Not before: until one thread knows, the others look, too.
        self.look_again_ns.store(now.plus(LOOK_EVERY).as_nanos(), Ordering::Relaxed);
        Ok(())
    }

    #[cold]
    pub(super) fn miscounted(&self, cost: &Cost) -> Error {
        let policy = match self.policy() {
            Ok(policy) => policy,
            Err(e) => return e,
        };
        match cost.check(&policy) {
            Err(e) => e.at(self.name().as_str(), self.path()),
            // It was changed in between.
            Ok(()) => self.segment.error(ErrorKind::Busy, "its units were just changed; try again"),
        }
    }

    /// [`recover`](Self::recover), unless what is missing is a permit.
    #[cold]
    fn recover_or_ask_for_permit(&self, halt: Halt, cost: u64) -> std::result::Result<(), Option<Error>> {
        match halt {
            Halt::PermitsInForce => Err(None),
            halt => self.recover(halt, cost).map_err(Some),
        }
    }

    /// Mends what can be mended without a person, or says what is wrong.
    #[cold]
    pub(super) fn recover(&self, halt: Halt, cost: u64) -> Result<()> {
        match halt {
            Halt::Forked | Halt::Changed => return Ok(()),
            Halt::Frozen => {}
            halt => {
                self.check_not_superseded()?;
                return Err(self.segment.halted(halt, cost));
            }
        }
        // A process that slept through many changes froze the state it once had to freeze. See `generation`.
        self.publish(|terms| {
            let epoch = self.segment.generations().epoch();
            let still = self.segment.settle(epoch, None) == Err(Halt::Frozen);
            Ok(still.then_some(Terms { forget: false, ..*terms }))
        })
    }

    /// Whether it was this process that was admitted, by this limiter: not a forked child with a copy, nor the next limiter
    /// of that name.
    pub fn is_ours(&self, receipt: &Receipt) -> bool {
        receipt.owner == self.owner(process_token())
    }

    /// Whether the terms have changed since: then a reserved turn is void, and its owner asks again.
    pub fn is_void(&self, receipt: &Receipt) -> bool {
        self.segment.generations().epoch() != receipt.epoch
    }

    /// Sleeps until the turn, news, a signal or one second, whichever comes first.
    ///
    /// # Errors
    /// [`ErrorKind::Removed`].
    pub fn sleep(&self, receipt: &Receipt, now: Nanos) -> Result<()> {
        let until = receipt.at.min(now.plus(LONGEST_SLEEP));
        futex::sleep(&self.segment.fixed().news.epoch, receipt.epoch, until);
        if until < receipt.at {
            self.segment.check_still_there()?;
        }
        Ok(())
    }

    /// Whether the limiter goes on: not retired, and its file still has its name.
    ///
    /// # Errors
    /// [`ErrorKind::Removed`], [`ErrorKind::Retired`].
    pub fn check_still_there(&self) -> Result<()> {
        if self.segment.is_retired() {
            return Err(self.segment.halted(Halt::Retired, 0));
        }
        self.segment.check_still_there()
    }

    /// Counts a turn that is used now, after a wait (or none).
    pub fn count_admitted(&self, calls: u64, waited: Duration) {
        let counting = self.seat.counting(&self.segment).in_shared_lane();
        counting.admitted(calls);
        if !waited.is_zero() {
            counting.waited(waited);
        }
    }

    /// Counts a request that was not admitted.
    pub fn count_denied(&self) {
        self.seat.counting(&self.segment).in_shared_lane().denied();
    }
}
