//! Turns: charged to the limit ahead of their time, and unowned until a waiting caller claims one.
//!
//! A turn's state word is *free*, *being filled* by the holder of one place, or *ready* with a number that no other
//! turn in this slot ever has. Invariants:
//!
//! 1. A turn becomes ready only after its costs were charged to the limit, in the generation and for the instant that
//!    it names. So whatever happens to turns, the limit is never exceeded.
//! 2. Only the process named in the state word writes a slot, and only while the word names it. A slot whose filler is
//!    dead is freed; its charge, if there was one, is lost (over-charge rather than over-admit).
//! 3. Claiming or undoing a turn is one compare-and-swap from ready to free, so it happens once. If it succeeds, what
//!    was read of the slot before belongs to that turn, because its number never recurs.

use crate::layout::{MAX_COSTS, TURNS, TurnTable};
use crate::limit::Costs;
use crate::seat::{HolderId, TENURE_BITS};
use crate::sync::{AtomicU64, Ordering, fence};

/// The top two bits of a state word: 00 free, 01 being filled, 10 ready.
const FILLING: u64 = 1 << 62;
const READY: u64 = 2 << 62;
const KIND: u64 = 3 << 62;
const NUMBER: u64 = READY - FILLING - 1;

/// A ready turn, as found. Untrusted, like everything read from the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadyTurn {
    pub(crate) slot: usize,
    /// The state word.
    word: u64,
    /// The instant for which it was charged (ns).
    pub(crate) at: u64,
}

/// The charge behind a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) epoch: u64,
    /// The limit's state word right before and right after the charge.
    pub(crate) before: u64,
    pub(crate) after: u64,
    pub(crate) costs: Costs,
    /// Each bucket's running total of charges, right after this one.
    pub(crate) charged: Costs,
}

impl Charge {
    /// Whether it covers a request of these costs.
    pub(crate) fn is_enough_for(&self, costs: &Costs) -> bool {
        self.costs.iter().zip(costs).all(|(charged, cost)| charged >= cost)
    }
}

/// This process's right to fill a slot.
#[derive(Debug)]
pub(crate) struct Filling {
    slot: usize,
    word: u64,
}

/// All ready turns, ordered by instant.
#[derive(Clone, Debug)]
pub(crate) struct ReadyTurns {
    turns: [ReadyTurn; TURNS],
    len: usize,
}

impl ReadyTurns {
    pub(crate) fn all(&self) -> &[ReadyTurn] {
        &self.turns[..self.len]
    }
}

impl Filling {
    pub(crate) fn slot(&self) -> usize {
        self.slot
    }
}

fn filling(by: HolderId) -> u64 {
    FILLING | (by.seat as u64) << TENURE_BITS | by.tenure & ((1 << TENURE_BITS) - 1)
}

/// The filler that such a word names.
fn filler(word: u64) -> HolderId {
    let seat = (word & !KIND) as usize >> TENURE_BITS;
    HolderId { seat, tenure: word & ((1 << TENURE_BITS) - 1) }
}

fn set<const N: usize>(words: &[AtomicU64; N], values: [u64; N]) {
    words.iter().zip(values).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
}

fn get<const N: usize>(words: &[AtomicU64; N]) -> [u64; N] {
    words.each_ref().map(|word| word.load(Ordering::Relaxed))
}

impl TurnTable {
    /// Claims a free slot for filling, as the holder of this place; `None` if no slot is free.
    pub(crate) fn begin(&self, by: HolderId) -> Option<Filling> {
        let word = filling(by);
        let taken = |state: &AtomicU64| {
            state.load(Ordering::Relaxed) == 0
                && state.compare_exchange(0, word, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        let slot = self.states.iter().position(taken)?;
        // Pairs with the Acquire fence in `take`: a process that read a word of this new turn then also sees that the
        // old turn is gone.
        fence(Ordering::Release);
        Some(Filling { slot, word })
    }

    /// Makes the turn ready, charged for the instant `at`.
    #[allow(clippy::needless_pass_by_value)] // published once
    pub(crate) fn publish(&self, filling: Filling, at: u64, charge: &Charge) {
        let Some(turn) = self.turns.get(filling.slot) else { return };
        let number = turn.number.load(Ordering::Relaxed).wrapping_add(1) & NUMBER;
        turn.number.store(number, Ordering::Relaxed);
        self.instants[filling.slot].store(at, Ordering::Relaxed);
        turn.epoch.store(charge.epoch, Ordering::Relaxed);
        turn.before.store(charge.before, Ordering::Relaxed);
        turn.after.store(charge.after, Ordering::Relaxed);
        set(&turn.costs, charge.costs);
        set(&turn.charged, charge.charged);
        // Release: publishes the words written above. A CAS from this process's own word: no other process frees the
        // slot while this one is alive.
        let ready = READY | number;
        let _ = self.states[filling.slot].compare_exchange(
            filling.word,
            ready,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }

    /// Frees the slot again; nothing was charged.
    #[allow(clippy::needless_pass_by_value)]
    pub(crate) fn abandon(&self, filling: Filling) {
        let _ =
            self.states[filling.slot].compare_exchange(filling.word, 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Whether no slot is free.
    pub(crate) fn is_full(&self) -> bool {
        self.states.iter().all(|state| state.load(Ordering::Relaxed) != 0)
    }

    /// Frees slots that are stuck: their fillers are gone (even if their places have new holders by now), or their
    /// state words are invalid.
    pub(crate) fn free_stuck(&self, mut is_gone: impl FnMut(HolderId) -> bool) {
        for state in &self.states {
            let word = state.load(Ordering::Acquire);
            let is_lost = match word & KIND {
                0 => word != 0,
                FILLING => is_gone(filler(word)),
                READY => false,
                _ => true,
            };
            if is_lost {
                let _ = state.compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
    }

    /// The ready turns.
    pub(crate) fn ready(&self) -> ReadyTurns {
        let mut ready = ReadyTurns { turns: [ReadyTurn { slot: 0, word: 0, at: 0 }; TURNS], len: 0 };
        for (slot, state) in self.states.iter().enumerate() {
            // Acquire: pairs with the CAS in `publish`.
            let word = state.load(Ordering::Acquire);
            if word & KIND == READY {
                let at = self.instants[slot].load(Ordering::Relaxed);
                ready.turns[ready.len] = ReadyTurn { slot, word, at };
                ready.len += 1;
            }
        }
        ready.turns[..ready.len].sort_unstable_by_key(|turn| turn.at);
        ready
    }

    /// The instant of the first ready turn.
    pub(crate) fn earliest(&self) -> Option<u64> {
        let ready = |(slot, state): (usize, &AtomicU64)| {
            let is_ready = state.load(Ordering::Acquire) & KIND == READY;
            is_ready.then(|| self.instants[slot].load(Ordering::Relaxed))
        };
        self.states.iter().enumerate().filter_map(ready).min()
    }

    /// The charge of this turn. Valid only if a later [`take`](Self::take) of the turn succeeds.
    pub(crate) fn charge_of(&self, turn: &ReadyTurn) -> Charge {
        let words = &self.turns[turn.slot];
        Charge {
            epoch: words.epoch.load(Ordering::Relaxed),
            before: words.before.load(Ordering::Relaxed),
            after: words.after.load(Ordering::Relaxed),
            costs: get(&words.costs),
            charged: get(&words.charged),
        }
    }

    /// Takes the turn, to be used or undone by this caller alone. False if another process was faster. If true,
    /// everything read of the turn before is valid.
    pub(crate) fn take(&self, turn: &ReadyTurn) -> bool {
        // Pairs with the Release fence in `begin`.
        fence(Ordering::Acquire);
        self.states[turn.slot].compare_exchange(turn.word, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

const _: () = assert!(MAX_COSTS == crate::limit::MAX_LIMITS);
