//! Generations: every control operation is one move to a new configuration with its own state.
//!
//! A changer (under the control lock) fills the next place of the ring, leaves its state unset and publishes it by
//! the epoch word. Whoever meets the unset state helps: it freezes the old state, computes the new one from it and
//! swaps it in. A changer that dies has either not begun or is done. The invariants:
//!
//! 1. A place is written only while no epoch that names it is current, and only after every state of the epochs
//!    before is settled. So there is at most one unset state to help with.
//! 2. Nothing is committed to a frozen state, and what was committed before the freeze is in the frozen value.
//! 3. `unset(e)` contains `e` and is never the value of another generation. So a helper that slept through changes
//!    swaps in nothing.
//! 4. A helper that slept through a whole turn of the ring may freeze the *current* state. That loses nothing: the
//!    value is still there, and whoever meets it publishes the same configuration again (`CommitError::Frozen`).
//! 5. A decision that slept that long never goes uncharged: it notices, and starts over (`word::reserve`). To charge
//!    the wrong generation first it would have to meet the very word that it once read. All generations count from
//!    the same instant, so a word is a time: under the same rate the same word means the same, and the charge is one
//!    that could have been made; under two rates the words differ for all practical purposes. It stays charged.

use super::config::Config;
use super::config_words;
use super::state_word::StateWord;
use crate::clock::{Clock, Nanos, Reading};
use crate::denied::Denied;
use crate::layout::{GENERATIONS, Generation, Header, RETIRED};
use crate::limit::Gcra;
use crate::limit::gcra::TAT_END;
use crate::sync::{AtomicU64, Ordering, fence};

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Committed: the tokens are taken, for the instant `at` (`now`, or a later turn).
    Admitted {
        /// When the tokens may be used.
        at: Nanos,
        /// The clock when it was decided.
        now: Reading,
        /// The generation that was charged, and its state word right after.
        epoch: u64,
        state: u64,
    },
    /// Nothing was written.
    Denied {
        /// By what, and the clock when it was decided.
        denied: Denied,
        /// Whether nobody is to be denied, so that this is only what would have been.
        shadow: bool,
    },
}

impl Verdict {
    /// Denied by a limit.
    #[inline(always)]
    pub(super) fn denied_by(index: usize, retry_at: Nanos, now: Nanos, shadow: bool) -> Verdict {
        Verdict::Denied { denied: Denied::by_limit(index, retry_at, now), shadow }
    }
}

/// Why no decision is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitError {
    Retired,
    /// The current state is frozen: the same configuration must be published again.
    Frozen,
    Corrupt(&'static str),
    /// It says nothing of a unit that is counted, or something of one that is not.
    WrongUnits,
    /// It needs a seat, and all are taken.
    NoSeat,
    /// A signal handler forked, and this is the child: what was begun is the parent's. To be begun again.
    Forked,
    /// The limits that costs were in the order of are not those in force any more. To be begun again.
    Changed,
    /// There are permits, and none is held for this request.
    PermitsInForce,
    /// There is no limit, so there are no turns.
    Unlimited,
    /// More than one of the limits can ever admit.
    NeverAdmissible {
        limit: usize,
        most: u64,
    },
    /// The turn would come in more than [`MAX_WAIT`](crate::limit::MAX_WAIT).
    TooFar {
        ready: Nanos,
        now: Nanos,
    },
}

/// The epoch word and the ring it points into.
#[derive(Clone, Copy)]
pub(crate) struct Generations<'a> {
    pub(super) epoch: &'a AtomicU64,
    ring: &'a [Generation; GENERATIONS],
    /// Where windows since 1970 begin.
    wall_ns: &'a AtomicU64,
}

impl<'a> Generations<'a> {
    #[inline]
    pub(crate) fn of(fixed: &'a Header) -> Self {
        Generations {
            epoch: &fixed.epoch_line.epoch,
            ring: &fixed.generations,
            wall_ns: &fixed.geometry.wall_ns,
        }
    }

    #[cfg(model)]
    pub(super) fn for_model(
        epoch: &'a AtomicU64,
        ring: &'a [Generation; GENERATIONS],
        wall_ns: &'a AtomicU64,
    ) -> Self {
        Generations { epoch, ring, wall_ns }
    }

    /// The current epoch. Acquire: pairs with the Release in `publish`.
    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The place of this epoch's generation.
    #[inline]
    pub(super) fn slot(&self, epoch: u64) -> &'a Generation {
        &self.ring[(epoch % GENERATIONS as u64) as usize]
    }

    /// The numbers of the only limit. Possibly rubbish: the caller checks that the epoch is still current
    /// (`is_current`), and the arithmetic on them can't fail.
    #[inline]
    pub(super) fn gcra(&self, epoch: u64) -> Gcra {
        self.gcra_and_shadow(epoch).0
    }

    /// The same, and whether nobody is denied.
    #[inline]
    pub(super) fn gcra_and_shadow(&self, epoch: u64) -> (Gcra, bool) {
        config_words::gcra(self.slot(epoch))
    }

    /// The state word of this epoch's generation, if it is still in its place.
    pub(crate) fn state_of(&self, epoch: u64) -> u64 {
        self.slot(epoch).state.word.load(Ordering::Acquire)
    }

    /// The same for the fast path, where only one bucket of calls without permits is decided.
    #[inline]
    pub(super) fn fast_gcra_and_shadow(&self, epoch: u64) -> (Gcra, bool) {
        config_words::fast_gcra(self.slot(epoch))
    }

    fn wall_ns(&self) -> u64 {
        self.wall_ns.load(Ordering::Relaxed)
    }

    /// Whether what was read from `epoch`'s place before this call is that generation's.
    #[inline]
    pub(super) fn is_current(&self, epoch: u64) -> bool {
        // Pairs with the Release fence in `publish`: who read a word of the next tenant of a place also sees the
        // epoch that was current when it was written.
        fence(Ordering::Acquire);
        self.epoch.load(Ordering::Relaxed) == epoch
    }

    /// Whether a swap that succeeded in `epoch`'s place, just before this call, was in that generation.
    #[inline]
    pub(super) fn was_not_recycled(&self, epoch: u64) -> bool {
        // The swap was an Acquire; a new tenant's state is stored with Release after the epoch before it was
        // published. So if the swap met a new tenant, this load sees an epoch at least GENERATIONS - 1 further.
        let later = self.epoch.load(Ordering::Relaxed) & !RETIRED;
        later.wrapping_sub(epoch) < GENERATIONS as u64 - 1
    }

    /// Whether this is the current epoch, asked after something was written. SeqCst: who then sees a later epoch, and looks
    /// for what was written after the same fence (`Permits::take_of`), sees it.
    pub(crate) fn is_current_after_write(&self, epoch: u64) -> bool {
        fence(Ordering::SeqCst);
        self.epoch.load(Ordering::Acquire) == epoch
    }

    /// Permits in force, the most that ever were, and the epoch that says so.
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

    /// How many requests may wait in this epoch, if that is limited (`Some(None)`: it is not); `None` if the epoch is over.
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

    /// Whether nobody is denied.
    pub(crate) fn is_shadow(&self) -> bool {
        loop {
            let epoch = self.epoch();
            let shadow = config_words::is_shadow(self.slot(epoch));
            if self.is_current(epoch) {
                return shadow;
            }
        }
    }

    /// The configuration in force, fully checked.
    pub(crate) fn config(&self) -> Result<(u64, Config), CommitError> {
        loop {
            let epoch = self.epoch();
            let words = Config::load(self.slot(epoch));
            if self.is_current(epoch) {
                let config = words.check(epoch & !RETIRED, self.wall_ns()).map_err(CommitError::Corrupt)?;
                return Ok((epoch, config));
            }
        }
    }

    /// Fills a segment that nobody else sees yet.
    pub(crate) fn initialise(&self, config: &Config, state: u64) {
        config.store(1, self.wall_ns(), self.slot(1));
        self.slot(1).state.word.store(state, Ordering::Relaxed);
        self.epoch.store(1, Ordering::Relaxed);
    }

    /// Replaces a state that can't be, before it is forgotten: by all used, or by no record at all, for whoever goes on if
    /// this process dies before it publishes. The caller holds the control lock.
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

    /// Retires the limiter for good: from now on every decision learns of it, and after this call nothing is committed
    /// any more, by whomever and however long ago it was begun. The caller holds the control lock. Done twice it is
    /// done once.
    ///
    /// In this order: whoever meets the frozen state also sees that it is retired, and waits for no changer to repair it. If
    /// this process dies in between, whoever takes the name away freezes the state first.
    pub(crate) fn retire(&self) {
        let epoch = self.epoch.fetch_or(RETIRED, Ordering::AcqRel) & !RETIRED;
        if epoch > 1 {
            // The state before, too: the changer of this epoch may have died before anybody froze it.
            self.freeze_before(epoch);
        }
        let state = &self.slot(epoch).state.word;
        // An unset state as well, so that no helper sets it. AcqRel: as in `freeze_before`.
        let frozen = |word: u64| match StateWord::decode(word) {
            StateWord::Live(value) => Some(StateWord::Frozen(value).encode()),
            StateWord::Unset(_) | StateWord::Invalid => Some(StateWord::Frozen(TAT_END - 1).encode()),
            StateWord::Frozen(_) => None,
        };
        let _ = state.fetch_update(Ordering::AcqRel, Ordering::Acquire, frozen);
    }

    /// Freezes the state of the generation before `epoch`, and says what it was.
    pub(super) fn freeze_before(&self, epoch: u64) -> u64 {
        // AcqRel: what was committed before is in the value, what comes after fails.
        self.slot(epoch - 1).state.word.fetch_or(StateWord::FREEZE, Ordering::AcqRel)
    }

    /// Whether the generation of `epoch` is to start with nothing used.
    pub(super) fn starts_empty(&self, epoch: u64) -> bool {
        self.slot(epoch).header.starts_empty.load(Ordering::Relaxed) != 0
    }

    /// Sets the state that was unset. If this succeeds it was unset until now, so no place that was read to compute it
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

/// One way to keep the state of a generation: in a word, or in a record that a word points to.
pub(crate) trait GenerationState {
    fn generations(&self) -> Generations<'_>;

    /// Freezes the state of the generation before `epoch` and starts this one from it.
    fn take_over(&self, epoch: u64, clock: &impl Clock) -> Result<(), CommitError>;

    /// Makes sure that the state of `epoch` is set, if `epoch` is still current; does what a dead or slow changer
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
                Err(CommitError::Corrupt("the state is none that was ever written"))
            }
        }
    }

    /// Puts `config` in force, in place of that of `epoch`. The caller holds the control lock.
    ///
    /// Killed before the last swap, the caller has changed nothing; after it, everything.
    fn publish(&self, epoch: u64, config: &Config, clock: &impl Clock) -> Result<(), CommitError> {
        if epoch >= RETIRED {
            return Err(CommitError::Retired);
        }
        if epoch + 1 == RETIRED {
            return Err(CommitError::Corrupt("the epoch is one that nobody reached"));
        }
        match self.settle(epoch, clock) {
            Ok(()) | Err(CommitError::Frozen) => {}
            // A state that nobody can take over is not needed: the next one starts with nothing.
            Err(CommitError::Corrupt(_)) if config.starts_empty => {}
            Err(why) => return Err(why),
        }
        let g = self.generations();
        let next = epoch + 1;
        // Pairs with the Acquire fence in `is_current`.
        fence(Ordering::Release);
        config.store(next, g.wall_ns(), g.slot(next));
        g.slot(next).state.reserved.store(0, Ordering::Relaxed);
        // Release: pairs with the Acquire swap before `still_in_place`. A swap and no store, so that it and the freeze
        // of a helper that overslept have one order for loom too (it takes stores and swaps for unordered).
        g.slot(next).state.word.swap(StateWord::Unset(next).encode(), Ordering::AcqRel);
        // Release: pairs with the Acquire in `epoch`. A swap, because a second changer here means a lost lock.
        if g.epoch.compare_exchange(epoch, next, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return Err(CommitError::Corrupt("two changes at once, though one held the lock"));
        }
        Ok(())
    }
}
