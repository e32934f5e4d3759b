//! Generations: every control operation is one step to a new configuration with its own state.
//!
//! A changer (holding the control lock) fills the next slot of a ring of [`GENERATIONS`] slots, leaves the slot's state
//! unset, and publishes it by advancing the epoch word. The first process that meets the unset state helps: it freezes
//! the old state, computes the new one from it, and swaps that in. A changer that dies has published everything or
//! nothing. Invariants:
//!
//! 1. A slot is written only while no current epoch names it, and only after the states of all earlier epochs are set.
//!    So there is at most one unset state to help with. (A reset also restores damaged words of the current slot.)
//! 2. Nothing is committed to a frozen state, and the frozen value contains everything that was committed before the
//!    freeze.
//! 3. `unset(e)` contains `e`, so it never occurs in another generation. A helper with a stale epoch swaps in nothing.
//! 4. A helper that stalled for a full ring cycle may freeze the *current* state. Nothing is lost: the value is still
//!    there, and the next process that meets it publishes the same configuration again (`CommitError::Frozen`).
//! 5. A decision that stalled for a full ring cycle is never admitted uncharged: it detects this and retries
//!    (`WordState::attempt`). To charge the wrong generation first, it would have to meet exactly the word that it read
//!    before the stall. All generations count from the same instant, so a word is a time. Under the same rate, the same
//!    word means the same state, and the charge is one that could have been made; under different rates, the words
//!    differ for all practical purposes. Such a charge stays (over-charge rather than over-admit).

use super::config::Config;
use super::config_words;
use super::damage::{Damage, Expected};
use super::state_word::StateWord;
use crate::clock::{Clock, Nanos, Reading};
use crate::denied::Denied;
use crate::keyed::{KeyLimit, KeyRules};
use crate::layout::{GENERATIONS, Generation, Header, LIMITS, RETIRED};
use crate::limit::Gcra;
use crate::limit::gcra::TAT_END;
use crate::sync::{AtomicU64, Ordering, fence};

/// The outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Committed: charged for the instant `at` (`now`, or a later turn).
    Admitted {
        /// When the calls may be made.
        at: Nanos,
        /// The clock at the decision.
        now: Reading,
        /// The generation that was charged, and its state word right after.
        epoch: u64,
        state: u64,
    },
    /// Nothing was written.
    Denied {
        /// What denied it, with the clock at the decision.
        denied: Denied,
        /// Whether the limiter is in shadow mode, so that the caller may go on.
        shadow: bool,
    },
}

impl Verdict {
    /// A denial by a limit.
    #[inline(always)]
    pub(super) fn denied_by(index: usize, retry_at: Nanos, now: Nanos, shadow: bool) -> Verdict {
        Verdict::Denied { denied: Denied::by_limit(index, retry_at, now), shadow }
    }
}

/// Why a decision is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitError {
    Retired,
    /// The current state is frozen: the same configuration has to be published again.
    Frozen,
    Corrupt(Damage),
    /// The request lacks a unit that the limits count, or has one that they do not count.
    WrongUnits,
    /// The operation needs a seat, and none is free.
    NoSeat,
    /// A signal handler forked, and this is the child: the operation was the parent's. Retry.
    Forked,
    /// The costs refer to limits that are no longer current. Retry.
    Changed,
    /// The wall clock that windows follow has to be checked first. Retry after that.
    CheckDue(Nanos),
    /// The limiter has permits, and the caller holds none for this request.
    PermitsInForce,
    /// The limiter has no limit, and therefore no turns.
    Unlimited,
    /// The request exceeds what one of the limits can ever admit.
    NeverAdmissible {
        limit: usize,
        max: u64,
    },
    /// The turn would lie more than [`MAX_WAIT`](crate::limit::MAX_WAIT) ahead.
    TooFar {
        ready: Nanos,
        now: Nanos,
    },
}

/// The epoch word and the ring of generations that it selects from.
#[derive(Clone, Copy)]
pub(crate) struct Generations<'a> {
    pub(super) epoch: &'a AtomicU64,
    ring: &'a [Generation; GENERATIONS],
}

impl<'a> Generations<'a> {
    #[inline]
    pub(crate) fn of(header: &'a Header) -> Self {
        Generations { epoch: &header.epoch_line.epoch, ring: &header.generations }
    }

    #[cfg(model)]
    pub(super) fn for_model(epoch: &'a AtomicU64, ring: &'a [Generation; GENERATIONS]) -> Self {
        Generations { epoch, ring }
    }

    /// The current epoch. Acquire: pairs with the Release in `publish`.
    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The slot of this epoch's generation.
    #[inline]
    pub(super) fn slot(&self, epoch: u64) -> &'a Generation {
        &self.ring[(epoch % GENERATIONS as u64) as usize]
    }

    /// The parameters of the only limit. Possibly garbage: the caller checks afterwards that the epoch is still current
    /// (`is_current`), and the arithmetic on them cannot fail.
    #[inline]
    pub(super) fn gcra(&self, epoch: u64) -> Gcra {
        self.gcra_and_shadow(epoch).0
    }

    /// The same, and whether shadow mode is on.
    #[inline]
    pub(super) fn gcra_and_shadow(&self, epoch: u64) -> (Gcra, bool) {
        config_words::gcra(self.slot(epoch))
    }

    /// The limits of each key, where the file has this many tables. Possibly garbage, as above.
    #[inline]
    pub(crate) fn key_rules(&self, epoch: u64, tables: usize) -> KeyRules {
        config_words::key_rules(self.slot(epoch), tables)
    }

    /// The limit of each key and its largest request, if there is one table and a request needs nothing but that. Possibly garbage,
    /// as above.
    #[inline(always)]
    pub(crate) fn plain_key_limit(&self, epoch: u64) -> Option<(KeyLimit, u64)> {
        config_words::plain_key_limit(self.slot(epoch))
    }

    /// The same, if it is a bucket.
    #[inline(always)]
    pub(crate) fn plain_key_bucket(&self, epoch: u64) -> Option<(KeyLimit, u64)> {
        config_words::plain_key_bucket(self.slot(epoch))
    }

    /// Whether a request for a key also takes from a limit of all keys, or a permit. Possibly garbage, as above.
    #[inline]
    pub(crate) fn keys_take_more(&self, epoch: u64) -> bool {
        config_words::keys_take_more(self.slot(epoch))
    }

    /// Which unit each of them counts; `None` for calls. Possibly garbage, as above.
    pub(crate) fn key_units(&self, epoch: u64) -> [Option<[u64; 3]>; LIMITS] {
        config_words::key_units(self.slot(epoch))
    }

    /// Whether the names of denied keys are not kept. Possibly garbage, as above.
    pub(crate) fn hides_names(&self, epoch: u64) -> bool {
        config_words::hides_names(self.slot(epoch))
    }

    /// The state word in this epoch's slot, which may belong to a later generation by now.
    pub(crate) fn state_of(&self, epoch: u64) -> u64 {
        self.slot(epoch).state.word.load(Ordering::Acquire)
    }

    /// The same for the fast path, which decides only for one bucket of calls without permits.
    #[inline]
    pub(super) fn fast_gcra_and_shadow(&self, epoch: u64) -> (Gcra, bool) {
        config_words::fast_gcra(self.slot(epoch))
    }

    /// Whether everything read from `epoch`'s slot before this call belongs to that generation.
    #[inline]
    pub(crate) fn is_current(&self, epoch: u64) -> bool {
        // Pairs with the Release fence in `publish`: a reader that saw a word of the slot's next generation also sees
        // the epoch that was current when that word was written.
        fence(Ordering::Acquire);
        self.epoch.load(Ordering::Relaxed) == epoch
    }

    /// Whether a CAS that just succeeded in `epoch`'s slot hit that generation, and not one a full ring cycle later.
    #[inline]
    pub(super) fn was_not_recycled(&self, epoch: u64) -> bool {
        // The CAS was an Acquire, and `publish` stores the state of a slot's next generation with Release, after the
        // epoch before it was published. So if the CAS hit a later generation, this load sees an epoch at least
        // GENERATIONS - 1 ahead.
        let later = self.epoch.load(Ordering::Relaxed) & !RETIRED;
        later.wrapping_sub(epoch) < GENERATIONS as u64 - 1
    }

    /// Whether this epoch is still current, after the caller has written something. SeqCst: a process that then sees a
    /// later epoch, and looks for the written value after the same fence (`Permits::take_of`), sees that value.
    pub(crate) fn is_current_after_write(&self, epoch: u64) -> bool {
        fence(Ordering::SeqCst);
        self.epoch.load(Ordering::Acquire) == epoch
    }

    /// The current number of permits, the maximum there ever was, and the epoch of this information.
    #[inline]
    pub(crate) fn permits(&self) -> (usize, usize, u64) {
        loop {
            let epoch = self.epoch();
            let (now, ever) = config_words::permits(self.slot(epoch));
            if self.is_current(epoch) {
                return (now, ever.max(now), epoch);
            }
        }
    }

    /// How many requests may wait in this epoch (`Some(None)`: unlimited); `None` if the epoch is over.
    pub(crate) fn max_waiters(&self, epoch: u64) -> Option<Option<u32>> {
        let max = config_words::max_waiters(self.slot(epoch));
        self.is_current(epoch).then_some(max)
    }

    /// Whether there is no limit, only permits.
    pub(crate) fn is_unlimited(&self) -> bool {
        loop {
            let epoch = self.epoch();
            let unlimited = config_words::is_unlimited(self.slot(epoch));
            if self.is_current(epoch) {
                return unlimited;
            }
        }
    }

    /// Whether shadow mode is on.
    pub(crate) fn is_shadow(&self) -> bool {
        loop {
            let epoch = self.epoch();
            let shadow = config_words::is_shadow(self.slot(epoch));
            if self.is_current(epoch) {
                return shadow;
            }
        }
    }

    /// The current configuration, fully validated.
    pub(crate) fn config(&self) -> Result<(u64, Config), CommitError> {
        loop {
            let epoch = self.epoch();
            let words = Config::load(self.slot(epoch));
            if self.is_current(epoch) {
                return match words.check(epoch & !RETIRED) {
                    Ok(config) => Ok((epoch, config)),
                    Err(damage) => Err(CommitError::Corrupt(self.wrong_epoch(epoch).unwrap_or(damage))),
                };
            }
        }
    }

    /// The damage of the epoch, if its slot does not hold the words of its generation, damaged or not.
    #[cold]
    fn wrong_epoch(&self, epoch: u64) -> Option<Damage> {
        let number = epoch & !RETIRED;
        let words = Config::load(self.slot(number));
        if number > 0 && (words.number() == number || words.restored(number).is_some()) {
            return None;
        }
        let is_sound = |&n: &u64| Config::load(self.slot(n)).sound(n).is_some();
        let newest = self.ring.iter().map(|slot| Config::load(slot).number()).filter(is_sound).max()?;
        Some(Damage::epoch(epoch, Expected::Value(newest)))
    }

    /// Whether a retired limiter's epoch is the number of a generation; otherwise what is damaged.
    pub(crate) fn check_retirement(&self) -> Result<(), CommitError> {
        let epoch = self.epoch();
        if self.slot(epoch & !RETIRED).header.number.load(Ordering::Relaxed) == epoch & !RETIRED {
            return Ok(());
        }
        self.config().map(drop)
    }

    /// Before a reset: writes the configuration again if its words are damaged and their checksum tells what it was. The
    /// caller holds the control lock.
    ///
    /// Processes that decide meanwhile read damaged parameters, as they did before; the reset drops what they take.
    pub(crate) fn restore_config(&self) {
        let epoch = self.epoch();
        let slot = self.slot(epoch);
        let words = Config::load(slot);
        if epoch < RETIRED
            && words.sound(epoch).is_none()
            && let Some(config) = words.restored(epoch)
        {
            config.store(epoch, slot);
        }
    }

    /// Fills a segment that no other process sees yet.
    pub(crate) fn initialise(&self, config: &Config, state: u64) {
        config.store(1, self.slot(1));
        self.slot(1).state.word.store(state, Ordering::Relaxed);
        self.epoch.store(1, Ordering::Relaxed);
    }

    /// Before a reset: replaces an impossible state by "all used" (or by "no record"), in case this process dies before
    /// it publishes. The caller holds the control lock.
    pub(crate) fn clear_damage(&self, epoch: u64) {
        let state = &self.slot(epoch).state.word;
        let word = state.load(Ordering::Acquire);
        if let StateWord::Unset(_) | StateWord::Invalid = StateWord::decode(word)
            && (word != StateWord::Unset(epoch).encode() || epoch == 1)
        {
            let _ = state.compare_exchange(
                word,
                StateWord::Frozen(TAT_END - 1).encode(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
        }
    }

    /// Retires the limiter permanently: from now on every decision learns of it, and after this call nothing can be
    /// committed any more, not even by decisions that began long ago. Idempotent. The caller holds the control lock.
    ///
    /// The order matters: a process that meets the frozen state also sees the retirement, and does not wait for a
    /// changer to repair the state. If this process dies in between, the next process that removes the name freezes the
    /// state first.
    pub(crate) fn retire(&self) {
        let epoch = self.epoch.fetch_or(RETIRED, Ordering::AcqRel) & !RETIRED;
        if epoch > 1 {
            // Also the state before: the changer of this epoch may have died before any process froze it.
            self.freeze_before(epoch);
        }
        let state = &self.slot(epoch).state.word;
        // Freezes an unset state too, so that no helper sets it. AcqRel: as in `freeze_before`.
        let frozen = |word: u64| match StateWord::decode(word) {
            StateWord::Live(value) => Some(StateWord::Frozen(value).encode()),
            StateWord::Unset(_) | StateWord::Invalid => Some(StateWord::Frozen(TAT_END - 1).encode()),
            StateWord::Frozen(_) => None,
        };
        let _ = state.fetch_update(Ordering::AcqRel, Ordering::Acquire, frozen);
    }

    /// Freezes the state of the generation before `epoch`, and returns its value.
    pub(super) fn freeze_before(&self, epoch: u64) -> u64 {
        // AcqRel: the value contains everything committed before; later commits fail.
        self.slot(epoch - 1).state.word.fetch_or(StateWord::FREEZE, Ordering::AcqRel)
    }

    /// Whether the generation of `epoch` starts with zero usage.
    pub(super) fn starts_empty(&self, epoch: u64) -> bool {
        config_words::starts_empty(self.slot(epoch))
    }

    /// Sets the unset state. If the CAS succeeds, the state was unset until now, so no slot that was read to compute it
    /// has changed (invariant 1).
    pub(super) fn set(&self, epoch: u64, state: u64) {
        let _ = self.slot(epoch).state.word.compare_exchange(
            StateWord::Unset(epoch).encode(),
            state,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }
}

/// What a state word should be.
pub(super) const STATE_OF_THIS_EPOCH: &str = "a state of this generation";

/// How a generation keeps its state: in one word, or in a record to which the word points.
pub(crate) trait GenerationState {
    fn generations(&self) -> Generations<'_>;

    /// Freezes the state of the generation before `epoch`, and derives the initial state of this one from it.
    fn take_over(&self, epoch: u64, clock: &impl Clock) -> Result<(), CommitError>;

    /// Makes sure that the state of `epoch` is set, if `epoch` is still current: completes what a dead or slow changer
    /// left undone.
    #[cold]
    fn settle(&self, epoch: u64, clock: &impl Clock) -> Result<(), CommitError> {
        let word = self.generations().slot(epoch).state.word.load(Ordering::Acquire);
        if self.generations().epoch() != epoch {
            return Ok(());
        }
        match StateWord::decode(word) {
            StateWord::Live(_) => Ok(()),
            StateWord::Frozen(_) => Err(CommitError::Frozen),
            StateWord::Unset(e) if e == epoch && epoch > 1 => self.take_over(epoch, clock),
            StateWord::Unset(_) | StateWord::Invalid => {
                Err(CommitError::Corrupt(Damage::state(epoch, word, STATE_OF_THIS_EPOCH)))
            }
        }
    }

    /// Publishes `config` as the successor of the generation of `epoch`. The caller holds the control lock.
    ///
    /// Crash-atomic: if the caller is killed before the last swap, nothing has changed; after it, everything has.
    fn publish(&self, epoch: u64, config: &Config, clock: &impl Clock) -> Result<(), CommitError> {
        if epoch >= RETIRED {
            return Err(CommitError::Retired);
        }
        if epoch + 1 == RETIRED {
            let range = Expected::Any("a number that has a successor");
            return Err(CommitError::Corrupt(Damage::epoch(epoch, range)));
        }
        match self.settle(epoch, clock) {
            Ok(()) | Err(CommitError::Frozen) => {}
            // A state that cannot be taken over is not needed: the next generation starts empty.
            Err(CommitError::Corrupt(_)) if config.starts_empty => {}
            Err(why) => return Err(why),
        }
        let g = self.generations();
        let next = epoch + 1;
        // Pairs with the Acquire fence in `is_current`.
        fence(Ordering::Release);
        config.store(next, g.slot(next));
        g.slot(next).state.reserved.store(0, Ordering::Relaxed);
        // Release: pairs with the Acquire of the CAS before `was_not_recycled`. A swap rather than a store, so that it
        // and the freeze of a stalled helper have one modification order in loom too (loom does not order stores
        // against swaps).
        g.slot(next).state.word.swap(StateWord::Unset(next).encode(), Ordering::AcqRel);
        // Release: pairs with the Acquire in `epoch`. A CAS, because a second changer here means that the lock failed.
        if let Err(found) = g.epoch.compare_exchange(epoch, next, Ordering::AcqRel, Ordering::Relaxed) {
            let expected = Expected::Any("the number that it had when this process took the control lock");
            return Err(CommitError::Corrupt(Damage::epoch(found, expected)));
        }
        Ok(())
    }
}
