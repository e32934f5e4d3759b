//! Decisions by one compare-and-swap on one word, which holds a theoretical arrival time (see `limit::gcra`).

use super::config::Config;
use super::config_words;
use super::damage::Damage;
use super::generation::{CommitError, GenerationState, Generations, STATE_OF_THIS_EPOCH, Verdict};
use super::state_word::StateWord;
use crate::clock::{Clock, Nanos, QUICK_LAG, Reading};
use crate::denied::Denied;
use crate::layout::RETIRED;
use crate::limit::gcra::REACHABLE_TIME;
use crate::limit::{Given, LimitStatus, MAX_WAIT};
use crate::sync::{Ordering, back_off};
use std::time::Duration;

const TAT_END: u64 = crate::limit::gcra::TAT_END;
/// At least [`QUICK_LAG`] in the ticks of any rate: every tick is longer than half a nanosecond.
const QUICK_LAG_TICKS: u64 = 2 * QUICK_LAG.as_nanos() as u64;

/// The state of a limiter without a limit.
const UNLIMITED_STATE: u64 = 0;

/// Why an attempt made no decision.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AttemptError {
    /// The quick clock was not available.
    NoCheapClock,
    /// The decision is closer than the lag of the quick clock: retry with the exact clock.
    TooCloseToCall,
    /// The epoch is over or retired, or its state is not set; or the request exceeds the burst.
    NotLive(u64),
    /// Another process won the race. Or this one stalled for a full ring cycle, and may have charged another
    /// generation. Such a charge stays: by now the same state word may be another caller's turn.
    LostRace,
    /// The turn lies more than a year ahead.
    BeyondMaxWait { epoch: u64, tat: u64, ready: Nanos, now: Reading },
    /// The state is a time that cannot be reached.
    Corrupt { epoch: u64, tat: u64 },
}

/// For which limiters an attempt may decide; all others give [`AttemptError::NotLive`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decides {
    /// All: if there are permits, the caller holds one already, or needs none.
    Any,
    /// One bucket without permits.
    WithoutPermits,
    /// The same, checked before the clock is read: with permits, reading the clock would be wasted.
    WithoutPermitsAtOnce,
}

/// The retry delay reported when a request could be admitted now, but the caller's deadline has passed.
pub(super) const SOON: Duration = Duration::from_nanos(1);

/// Which instants the caller accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The latest acceptable future turn; 0: none.
    pub(super) turn: Nanos,
    /// The latest clock reading at which an immediate admission is acceptable.
    pub(super) decided: Nanos,
}

impl Wanted {
    /// Immediate admission, at any time.
    pub(crate) const NOW: Wanted =
        Wanted { turn: Nanos::from_nanos(0), decided: Nanos::from_nanos(u64::MAX) };

    /// Immediate admission, not later than this instant.
    pub(crate) fn now_by(latest: Nanos) -> Wanted {
        Wanted { decided: latest, ..Wanted::NOW }
    }
}

/// Immediate admission or a turn, not later than this instant. 0: immediate admission, at any time.
impl From<Nanos> for Wanted {
    #[inline]
    fn from(latest: Nanos) -> Wanted {
        if latest.as_nanos() == 0 { Wanted::NOW } else { Wanted { turn: latest, decided: latest } }
    }
}

/// A limiter whose state is one word.
#[derive(Clone, Copy)]
pub(crate) struct WordState<'a>(pub(crate) Generations<'a>);

impl GenerationState for WordState<'_> {
    fn generations(&self) -> Generations<'_> {
        self.0
    }

    fn take_over(&self, epoch: u64, clock: &impl Clock) -> Result<(), CommitError> {
        let g = self.0;
        let frozen = g.freeze_before(epoch);
        let (from, to) = (g.gcra(epoch - 1), g.gcra(epoch));
        let unlimited = |epoch| config_words::has_no_limit(g.slot(epoch));
        // Read after the epoch: a process that acted on a turn before it saw the new epoch has an earlier time.
        let now = clock.exact();
        let start = match StateWord::decode(frozen) {
            _ if unlimited(epoch) => UNLIMITED_STATE,
            _ if g.starts_empty(epoch) || unlimited(epoch - 1) => to.unused(now),
            StateWord::Live(tat) | StateWord::Frozen(tat) => from.carry(tat, now, &to),
            StateWord::Unset(_) | StateWord::Invalid if g.epoch() != epoch => return Ok(()),
            StateWord::Unset(_) | StateWord::Invalid => {
                return Err(CommitError::Corrupt(Damage::state(epoch - 1, frozen, STATE_OF_THIS_EPOCH)));
            }
        };
        g.set(epoch, StateWord::live(start));
        Ok(())
    }
}

impl WordState<'_> {
    /// Fills a segment that no other process sees yet.
    pub(crate) fn initialise(&self, config: &Config) {
        let start = config.gcra().map_or(UNLIMITED_STATE, |gcra| gcra.unused(config.since));
        self.0.initialise(config, StateWord::live(start));
    }

    /// Takes `cost` calls for the first instant at which they conform, if that is `wanted`. `cancellable`:
    /// [`cancel`](Self::cancel) may undo it.
    #[inline(always)]
    pub(crate) fn reserve(
        &self,
        cost: u64,
        wanted: impl Into<Wanted>,
        cancellable: bool,
        clock: &impl Clock,
    ) -> Result<Verdict, CommitError> {
        self.decide(cost, wanted.into(), cancellable, Decides::Any, clock, |_| ())
    }

    /// Charges `cost` calls for a turn of the line, if it comes by `latest`. Also returns the state word right before,
    /// by which the charge can be [undone](Self::undo).
    pub(crate) fn charge_turn(
        &self,
        cost: u64,
        latest: Nanos,
        clock: &impl Clock,
    ) -> Result<(Verdict, u64), CommitError> {
        let mut before = 0;
        let decision = self.decide(cost, latest.into(), true, Decides::Any, clock, |word| before = word)?;
        Ok((decision, before))
    }

    /// Takes `cost` calls now or not at all. With permits: [`CommitError::PermitsInForce`].
    #[inline(always)]
    pub(crate) fn take_without_permit(&self, cost: u64, clock: &impl Clock) -> Result<Verdict, CommitError> {
        self.decide(cost, Wanted::NOW, false, Decides::WithoutPermits, clock, |_| ())
    }

    #[inline(always)]
    fn decide(
        &self,
        cost: u64,
        wanted: Wanted,
        cancellable: bool,
        decides: Decides,
        clock: &impl Clock,
        mut note: impl FnMut(u64),
    ) -> Result<Verdict, CommitError> {
        let mut exact = false;
        loop {
            let read = || Some(if exact { Reading::exact(clock.exact()) } else { clock.read() });
            match self.attempt(cost, wanted, cancellable, decides, read, &mut note) {
                Ok(decision) => return Ok(decision),
                Err(AttemptError::TooCloseToCall) => exact = true,
                Err(AttemptError::NotLive(epoch)) => {
                    if let Some(decision) = self.blocked(epoch, cost, wanted, decides, clock)? {
                        return Ok(decision);
                    }
                }
                Err(AttemptError::LostRace | AttemptError::NoCheapClock) => {}
                Err(AttemptError::BeyondMaxWait { epoch, tat, ready, now }) => {
                    self.check_max_wait(epoch, tat, now.at, ready, wanted.turn)?;
                    return Ok(Verdict::denied_by(0, ready, now.at, self.0.is_shadow()));
                }
                Err(AttemptError::Corrupt { epoch, tat }) => {
                    return Err(CommitError::Corrupt(Damage::state(epoch, tat, REACHABLE_TIME)));
                }
            }
        }
    }

    /// One attempt without retry. If it fails, nothing was taken (but see [`AttemptError::LostRace`]). On success,
    /// `note` gets the state word from right before.
    #[inline(always)]
    pub(crate) fn attempt(
        &self,
        cost: u64,
        wanted: Wanted,
        cancellable: bool,
        decides: Decides,
        read: impl FnOnce() -> Option<Reading>,
        note: impl FnOnce(u64),
    ) -> Result<Verdict, AttemptError> {
        let epoch = self.0.epoch();
        let (gcra, shadow) = match decides {
            Decides::Any => self.0.gcra_and_shadow(epoch),
            Decides::WithoutPermits | Decides::WithoutPermitsAtOnce => self.0.fast_gcra_and_shadow(epoch),
        };
        if decides == Decides::WithoutPermitsAtOnce && cost > gcra.burst {
            return Err(AttemptError::NotLive(epoch));
        }
        // Read before the state: an older time charges no less, and the window for losing the CAS race is shorter.
        let Some(now) = read() else { return Err(AttemptError::NoCheapClock) };
        let state = &self.0.slot(epoch).state.word;
        let word = state.load(Ordering::Acquire);
        if self.is_blocked(epoch, word) || cost > gcra.burst {
            return Err(AttemptError::NotLive(epoch));
        }
        let tick = gcra.ticks.at(now.at.as_nanos());
        let at = if gcra.conforms(word, tick, cost) {
            if now.at > wanted.decided {
                return Ok(Verdict::denied_by(0, now.at.plus(SOON), now.at, shadow));
            }
            now.at
        } else {
            let slot = gcra.slot(word, cost);
            let ahead = slot.wrapping_sub(tick);
            if ahead < QUICK_LAG_TICKS && !now.is_exact {
                return Err(AttemptError::TooCloseToCall);
            }
            let ready = Nanos::from_nanos(gcra.ticks.first_ns(slot));
            // Compare in ticks first, of which a nanosecond has one or more: a denial does not need the exact instant.
            if ahead > MAX_WAIT.as_nanos() as u64 && ready.since(now.at) > MAX_WAIT {
                return Err(AttemptError::BeyondMaxWait { epoch, tat: word, ready, now });
            }
            if slot > gcra.ticks.at(wanted.turn.as_nanos().min(u64::MAX >> 1)) {
                return Ok(Verdict::denied_by(0, ready, now.at, shadow));
            }
            ready
        };
        let tat = gcra.charge(word, tick, cost);
        if tat >= TAT_END {
            return Err(AttemptError::Corrupt { epoch, tat: word });
        }
        if cancellable {
            // Before the CAS: a process that reads the resulting state also reads this. Pairs with the load in
            // `refund`.
            self.0.slot(epoch).state.reserved.fetch_max(tat, Ordering::AcqRel);
        }
        // AcqRel: see `was_not_recycled`.
        match state.compare_exchange_weak(word, tat, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) if self.0.was_not_recycled(epoch) => {
                note(word);
                Ok(Verdict::Admitted { at, now, epoch, state: tat })
            }
            Ok(_) => Err(AttemptError::LostRace),
            Err(_) => {
                back_off();
                Err(AttemptError::LostRace)
            }
        }
    }

    /// Why `cost` calls are denied now, or `None` if they are admitted. Takes nothing.
    pub(crate) fn denial(&self, cost: u64, clock: &impl Clock) -> Result<Option<Denied>, CommitError> {
        loop {
            let epoch = self.0.epoch();
            let gcra = self.0.gcra(epoch);
            let word = self.0.slot(epoch).state.word.load(Ordering::Acquire);
            if self.is_blocked(epoch, word) || cost > gcra.burst {
                match self.without_limit(epoch, Wanted::NOW, clock) {
                    Some(Verdict::Denied { denied, .. }) => return Ok(Some(denied)),
                    Some(Verdict::Admitted { .. }) => return Ok(None),
                    None => self.obstacle(epoch, cost, clock)?,
                }
                continue;
            }
            let (now, ready) = (clock.exact(), gcra.ready_at(word, cost));
            return Ok((ready > now).then_some(Denied::by_limit(0, ready, now)));
        }
    }

    /// When `cost` calls would be admitted after `ahead` others; `None` if the epoch is over. Takes nothing.
    pub(crate) fn estimate(
        &self,
        epoch: u64,
        ahead: u64,
        cost: u64,
        clock: &impl Clock,
    ) -> Result<Option<Nanos>, CommitError> {
        loop {
            let place = self.0.slot(epoch);
            let (gcra, unlimited) = (self.0.gcra(epoch), config_words::is_unlimited(place));
            let not_before = config_words::not_before(place);
            let word = place.state.word.load(Ordering::Acquire);
            if !self.0.is_current(epoch) {
                return Ok(None);
            }
            if self.is_blocked(epoch, word) {
                self.obstacle(epoch, 0, clock)?;
                continue;
            }
            let now = clock.exact();
            if unlimited {
                return Ok(Some(not_before.max(now)));
            }
            let tick = gcra.ticks.at(now.as_nanos());
            let tat = if ahead == 0 { Some(word) } else { gcra.debt(word, tick, ahead).map(|(tat, _)| tat) };
            return Ok(Some(
                tat.map_or(Nanos::from_nanos(u64::MAX), |tat| gcra.ready_at(tat, cost).max(now)),
            ));
        }
    }

    /// The largest admissible request of this epoch; `None` if the epoch is over.
    pub(crate) fn max_cost(&self, epoch: u64) -> Option<u64> {
        let (burst, unlimited) = (self.0.gcra(epoch).burst, config_words::is_unlimited(self.0.slot(epoch)));
        self.0.is_current(epoch).then_some(if unlimited { u64::MAX } else { burst })
    }

    /// Whether this epoch is over or retired, or this word of it is not a time.
    #[inline]
    fn is_blocked(&self, epoch: u64, word: u64) -> bool {
        // One comparison for both: retired, or not a time.
        word | epoch >> 1 >= TAT_END || !self.0.is_current(epoch)
    }

    /// The decision where there is no limit: admitted, unless a pause is active. Writes nothing. `None` if there is a
    /// limit, or if this epoch's state is not live.
    #[cold]
    fn without_limit(self, epoch: u64, wanted: Wanted, clock: &impl Clock) -> Option<Verdict> {
        let place = self.0.slot(epoch);
        if !config_words::is_unlimited(place) {
            return None;
        }
        let (not_before, shadow) = (config_words::not_before(place), config_words::is_shadow(place));
        let now = Reading::exact(clock.exact());
        // Read after the clock: this generation was current at the time that was read.
        let state = place.state.word.load(Ordering::Acquire);
        if self.is_blocked(epoch, state) {
            return None;
        }
        let at = not_before.max(now.at);
        let denied = |retry_at| Verdict::Denied { denied: Denied::by_pause(retry_at, now.at), shadow };
        if at > now.at && at > wanted.turn {
            return Some(denied(at));
        }
        if at == now.at && now.at > wanted.decided {
            return Some(denied(now.at.plus(SOON)));
        }
        Some(Verdict::Admitted { at, now, epoch, state })
    }

    /// Settles what blocks this epoch so that the caller can retry, or returns the error.
    #[cold]
    fn obstacle(self, epoch: u64, cost: u64, clock: &impl Clock) -> Result<(), CommitError> {
        if epoch >= RETIRED {
            return Err(CommitError::Retired);
        }
        self.settle(epoch, clock)?;
        let burst = self.0.gcra(epoch).burst;
        let unlimited = config_words::is_unlimited(self.0.slot(epoch));
        if cost > burst && !unlimited && self.0.is_current(epoch) {
            return Err(CommitError::NeverAdmissible { limit: 0, max: burst });
        }
        Ok(())
    }

    /// The same, or the decision if there is no limit.
    #[cold]
    fn blocked(
        self,
        epoch: u64,
        cost: u64,
        wanted: Wanted,
        decides: Decides,
        clock: &impl Clock,
    ) -> Result<Option<Verdict>, CommitError> {
        if decides == Decides::Any {
            return match self.without_limit(epoch, wanted, clock) {
                None => self.obstacle(epoch, cost, clock).map(|()| None),
                decision => Ok(decision),
            };
        }
        let place = self.0.slot(epoch);
        let (permits, burst) = (config_words::permits(place).0, config_words::fast_gcra(place).0.burst);
        if permits > 0 && self.0.is_current(epoch) {
            return Err(CommitError::PermitsInForce);
        }
        self.obstacle(epoch, cost, clock)?;
        if cost > burst && self.0.is_current(epoch) {
            // Without permits, the fast burst equals the burst, unless the configuration is damaged, or one for a file with
            // records.
            self.0.config()?;
            if self.0.is_current(epoch) {
                return Err(CommitError::Corrupt(Damage::fast_burst(epoch, burst)));
            }
        }
        Ok(None)
    }

    /// Handles a turn more than a year ahead: corruption, a queue too long to join, or a very slow limiter.
    #[cold]
    fn check_max_wait(
        self,
        epoch: u64,
        tat: u64,
        now: Nanos,
        ready: Nanos,
        latest: Nanos,
    ) -> Result<(), CommitError> {
        // Such a time may follow from damaged parameters.
        self.0.config()?;
        if self.0.gcra(epoch).is_implausible(tat, now) && self.0.is_current(epoch) {
            return Err(CommitError::Corrupt(Damage::state(epoch, tat, REACHABLE_TIME)));
        }
        if ready <= latest { Err(CommitError::TooFar { ready, now }) } else { Ok(()) }
    }

    /// Takes turns for `k` requests of `cost` calls each, in one commit; returns their instants.
    pub(crate) fn schedule(
        &self,
        cost: u64,
        k: usize,
        clock: &impl Clock,
    ) -> Result<Vec<Nanos>, CommitError> {
        loop {
            let epoch = self.0.epoch();
            let gcra = self.0.gcra(epoch);
            let state = &self.0.slot(epoch).state.word;
            let word = state.load(Ordering::Acquire);
            if self.is_blocked(epoch, word) || cost > gcra.burst {
                self.obstacle(epoch, cost, clock)?;
                if self.0.is_unlimited() {
                    return Err(CommitError::Unlimited);
                }
                continue;
            }
            let now = clock.exact();
            let tick = gcra.ticks.at(now.as_nanos());
            // One step, so that it also succeeds under contention; the instants are computed afterwards.
            let before_last =
                gcra.charge(word, tick, 0).saturating_add(gcra.ticks.tokens_saturating(cost, k as u64 - 1));
            let tat = before_last.saturating_add(gcra.ticks.tokens(cost));
            let last = gcra.ready_at(before_last.min(TAT_END), cost);
            if last.since(now) > MAX_WAIT || tat >= TAT_END {
                self.check_max_wait(epoch, word, now, last, Nanos::from_nanos(u64::MAX))?;
                return Err(CommitError::TooFar { ready: last, now });
            }
            if state.compare_exchange(word, tat, Ordering::AcqRel, Ordering::Relaxed).is_ok()
                && self.0.was_not_recycled(epoch)
            {
                let first = gcra.charge(word, tick, 0);
                // The first few may be admitted immediately although the bucket is not full; their own instants follow
                // from the word.
                let mut tat = word;
                return Ok((0..k)
                    .map(|i| {
                        let at = gcra.ready_at(tat, cost).max(now);
                        tat = if i == 0 { first } else { tat } + gcra.ticks.tokens(cost);
                        at
                    })
                    .collect());
            }
            back_off();
        }
    }

    /// Charges `calls` unconditionally, in one step however many they are, as if each had queued separately.
    pub(crate) fn debt(&self, calls: u64, clock: &impl Clock) -> Result<(), CommitError> {
        loop {
            let epoch = self.0.epoch();
            let gcra = self.0.gcra(epoch);
            let state = &self.0.slot(epoch).state.word;
            let word = state.load(Ordering::Acquire);
            let unlimited = config_words::is_unlimited(self.0.slot(epoch));
            if self.is_blocked(epoch, word) {
                self.obstacle(epoch, 0, clock)?;
                continue;
            }
            if unlimited {
                return Ok(());
            }
            let now = clock.exact();
            let debt = gcra.debt(word, gcra.ticks.at(now.as_nanos()), calls);
            let (tat, slot) = debt.unwrap_or((TAT_END, TAT_END));
            let last = Nanos::from_nanos(gcra.ticks.first_ns(slot));
            if tat >= TAT_END || last.since(now) > MAX_WAIT {
                self.check_max_wait(epoch, word, now, last, Nanos::from_nanos(u64::MAX))?;
                return Err(CommitError::TooFar { ready: last, now });
            }
            if state.compare_exchange(word, tat, Ordering::AcqRel, Ordering::Relaxed).is_ok()
                && self.0.was_not_recycled(epoch)
            {
                return Ok(());
            }
            back_off();
        }
    }

    /// Undoes a reservation if nothing was taken after it; `tat` is the state right after it. Otherwise the calls are
    /// forfeited, because later turns are already promised. Only for a reservation made as cancellable, and at most
    /// once.
    pub(crate) fn cancel(&self, epoch: u64, tat: u64, cost: u64) -> bool {
        let before = self.0.gcra(epoch).refund(tat, cost);
        self.swap_in_place(epoch, tat, before)
    }

    /// The same for a turn of the line, given the state right before it. That state is restored, even where the charge
    /// began later than it, at the end of a pause.
    pub(crate) fn undo(&self, epoch: u64, (before, tat): (u64, u64), cost: u64) -> bool {
        // `before` was read from the file; it is 0 if the process that charged the turn did not record it.
        let without = self.0.gcra(epoch).refund(tat, cost);
        let before = if before == 0 { without } else { before.min(without) };
        self.swap_in_place(epoch, tat, before)
    }

    /// Refunds `calls` of an admission for `at` under the configuration of `epoch`; after a change they stay used.
    /// `reserved`: the state right after the admission, if it was a reservation. Returns how much was refunded.
    ///
    /// If nothing was taken after a reservation, the state from before it is correct, and so is any state between the
    /// two. Otherwise, whatever may have leaked since is not refunded, and the state stays above that of every
    /// reservation. Hence the invariant:
    ///
    /// **While a reservation can be cancelled, the state is never less than right after it, and equals that only if
    /// nothing that counts was taken after it.** (The state is lowered in two ways. A cancellation, or a refund of the
    /// newest reservation, lowers it at most to its value before that reservation. Any other refund leaves it above
    /// `reserved`, thus above this reservation for good.)
    pub(crate) fn refund(
        &self,
        epoch: u64,
        at: Nanos,
        reserved: Option<u64>,
        calls: u64,
        clock: &impl Clock,
    ) -> Given {
        let place = self.0.slot(epoch);
        let gcra = self.0.gcra(epoch);
        loop {
            let word = place.state.word.load(Ordering::Acquire);
            if word >= TAT_END || !self.0.is_current(epoch) {
                return Given::default();
            }
            let less = if reserved == Some(word) {
                gcra.refund(word, calls)
            } else {
                // Read after the state: pairs with the `fetch_max` in `attempt`.
                let least = place.state.reserved.load(Ordering::Acquire).saturating_add(1);
                gcra.give_back(word, at, clock.exact(), calls, least)
            };
            if less == word {
                return Given::default();
            }
            if self.swap_in_place(epoch, word, less) {
                return Given::ticks(word - less, gcra.ticks.shift);
            }
            back_off();
        }
    }

    /// Swaps the state of this epoch's generation from one time to another, if it has the first.
    fn swap_in_place(&self, epoch: u64, from: u64, to: u64) -> bool {
        let state = &self.0.slot(epoch).state.word;
        if !self.0.is_current(epoch)
            || state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return false;
        }
        if self.0.was_not_recycled(epoch) {
            return true;
        }
        // Stalled for a full ring cycle: it was the same time, but in another generation. Put it back.
        let _ = state.compare_exchange(to, from, Ordering::AcqRel, Ordering::Relaxed);
        false
    }

    /// The current fill level; `None` without a limit. Takes nothing.
    pub(crate) fn status(&self, clock: &impl Clock) -> Result<(Option<LimitStatus>, Nanos), CommitError> {
        loop {
            let epoch = self.0.epoch();
            if epoch >= RETIRED {
                return Err(CommitError::Retired);
            }
            let gcra = self.0.gcra(epoch);
            let unlimited = config_words::has_no_limit(self.0.slot(epoch));
            let word = self.0.slot(epoch).state.word.load(Ordering::Acquire);
            let now = clock.exact();
            if !self.0.is_current(epoch) {
                continue;
            }
            match StateWord::decode(word) {
                StateWord::Live(_) if unlimited => return Ok((None, now)),
                StateWord::Live(tat) if gcra.is_implausible(tat, now) => {
                    return Err(CommitError::Corrupt(Damage::state(epoch, tat, REACHABLE_TIME)));
                }
                StateWord::Live(tat) => return Ok((Some(gcra.status(tat, now)), now)),
                _ => self.settle(epoch, clock)?,
            }
        }
    }
}
