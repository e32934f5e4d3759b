//! Permits: a limited number of concurrent holders, each permit a word that names its holder's seat.
//!
//! The number of held permits is not stored but counted. A permit is free if its word is 0. It counts as abandoned if
//! the seat that it names was released, taken by another process since, or belongs to a dead process; the next process
//! that looks for a permit then frees it. Freeing is one CAS from the exact word that was found, so doing it twice, or
//! dying in between, is harmless.
//!
//! 1. A word names one tenure of one seat. Tenures never recur, so a word that was found dead stays dead.
//! 2. After the number of permits was lowered, a process that takes one counts all held permits once its own is
//!    visible, and gives it back if there are too many: of two that take at once, at least one sees the other.
//!
//! A caller that waits for a permit is in the line, and is woken by the process that returns one: see `line`.

#[cfg(all(model, not(shuttle), test))]
mod loom_tests;

use crate::commit::Generations;
use crate::error::Result;
use crate::layout::Seat;
use crate::seat::{HolderId, SeesLocks, TENURE_BITS, has_ended};
use crate::sync::{AtomicU64, Ordering, fence};
use std::collections::HashMap;

const HELD: u64 = 1 << 63;
/// Above the tenure: the low bits of the number of permits that the process has taken; above those, the seat.
const SERIAL_BITS: u32 = 11;
const SEAT_SHIFT: u32 = TENURE_BITS + SERIAL_BITS;

/// A permit held by this process: its index, and its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermitToken {
    word: u64,
    /// `process token << 16 | index`: a forked child has a copy of this, but no right to the permit.
    slot: u64,
}

impl PermitToken {
    pub(crate) fn index(self) -> usize {
        self.slot as usize & 0xffff
    }

    pub(crate) fn is_of(self, process: u64) -> bool {
        self.slot >> 16 == process
    }
}

/// The word for a permit that this holder takes. `serial` distinguishes it from the holder's previous permits: a child
/// that a signal handler forked while its parent returned an earlier one must not free this one.
pub(crate) fn word_of(id: HolderId, serial: u64) -> u64 {
    let serial = serial % (1 << SERIAL_BITS);
    HELD | (id.seat as u64) << SEAT_SHIFT | serial << TENURE_BITS | id.tenure & ((1 << TENURE_BITS) - 1)
}

/// The holder that a word names.
fn holder_of(word: u64) -> HolderId {
    let seat = (word & !HELD) as usize >> SEAT_SHIFT;
    HolderId { seat, tenure: word & ((1 << TENURE_BITS) - 1) }
}

/// All permits of a limiter.
#[derive(Clone, Copy)]
pub(crate) struct Permits<'a> {
    pub(crate) slots: &'a [AtomicU64],
    pub(crate) seats: &'a [Seat],
    /// Whether this is the process with that token, and not a child that a signal handler forked since.
    pub(crate) is_process: fn(u64) -> bool,
}

#[cfg(all(model, test))]
impl<'a> Permits<'a> {
    /// Models do not fork.
    pub(crate) fn for_model(slots: &'a [AtomicU64], seats: &'a [Seat]) -> Self {
        Permits { slots, seats, is_process: |_| true }
    }
}

impl Permits<'_> {
    /// Takes a permit, for the holder in this [`word_of`]. `hint` is the index to try first.
    pub(crate) fn take(
        &self,
        generations: &Generations<'_>,
        hint: usize,
        word: u64,
        process: u64,
    ) -> Option<PermitToken> {
        loop {
            let (n, ever, epoch) = generations.permits();
            let held = self.take_of(n, ever, hint, word, process)?;
            // Valid only if the number of permits did not change meanwhile.
            if generations.is_current_after_write(epoch) {
                return Some(held);
            }
            self.give_back(held, process);
        }
    }

    /// Takes one of `n` permits; `ever` is the maximum there ever were.
    fn take_of(&self, n: usize, ever: usize, hint: usize, word: u64, process: u64) -> Option<PermitToken> {
        let (n, ever) = (n.min(self.slots.len()), ever.min(self.slots.len()));
        let mut slots = self.slots.iter().enumerate().take(n).cycle().skip(hint % n.max(1)).take(n);
        let index = slots
            .find(|(_, slot)| {
                slot.load(Ordering::Relaxed) == 0
                    // The word names this process.
                    && (self.is_process)(process)
                    && slot.compare_exchange(0, word, Ordering::SeqCst, Ordering::Relaxed).is_ok()
            })?
            .0;
        let held = PermitToken { word, slot: process << 16 | index as u64 };
        // There were more permits once, and some of those may still be held. Two takers that see each other both step
        // back. Pairs with the fence in `Generations::is_current_after_write`.
        fence(Ordering::SeqCst);
        let taken = || self.slots[..ever].iter().filter(|slot| slot.load(Ordering::SeqCst) != 0).count();
        if ever > n && taken() > n {
            self.give_back(held, process);
            return None;
        }
        Some(held)
    }

    /// How many permits can be taken, counted up to `max`. None while more are held (including those from before the
    /// number was lowered) than there are.
    pub(crate) fn free(&self, generations: &Generations<'_>, max: usize) -> u64 {
        let (n, ever, _) = generations.permits();
        let (n, ever) = (n.min(self.slots.len()), ever.min(self.slots.len()));
        let is_held = |slot: &&AtomicU64| slot.load(Ordering::SeqCst) != 0;
        let free = self.slots[..n].iter().filter(|slot| !is_held(slot)).take(max).count();
        if ever == n || free == 0 {
            return free as u64;
        }
        let held = self.slots[..ever].iter().filter(is_held).count();
        free.min(n.saturating_sub(held)) as u64
    }

    /// Returns a permit; tells whether it was held. Does nothing the second time, or in a forked child with a copy. The
    /// caller wakes a waiter.
    pub(crate) fn give_back(&self, held: PermitToken, process: u64) -> bool {
        let mine = held.is_of(process) && (self.is_process)(process);
        // SeqCst: a waiting process looks for a permit after it has stored its plan; see `line::places`.
        mine && self.slots.get(held.index()).is_some_and(|slot| {
            slot.compare_exchange(held.word, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        })
    }

    /// Frees the permits of dead holders. Returns how many.
    pub(crate) fn reclaim(&self, locks: &mut impl SeesLocks) -> Result<usize> {
        let mut freed = 0;
        // A map, not a list: corrupt words may all be different.
        let mut known: HashMap<u64, bool> = HashMap::new();
        let holder = |word: u64| word & !(((1 << SERIAL_BITS) - 1) << TENURE_BITS);
        for slot in self.slots {
            let word = slot.load(Ordering::Acquire);
            if word == 0 {
                continue;
            }
            let ended = match known.get(&holder(word)) {
                Some(&ended) => ended,
                None => {
                    let ended = self.is_dead(word, locks)?;
                    known.insert(holder(word), ended);
                    ended
                }
            };
            // If the holder's seat was taken over in between, the word is as dead as before.
            if ended && slot.compare_exchange(word, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                freed += 1;
            }
        }
        Ok(freed)
    }

    /// Whether the holder that a word names has ended for good, or never existed.
    fn is_dead(&self, word: u64, locks: &mut impl SeesLocks) -> Result<bool> {
        let id = holder_of(word);
        match self.seats.get(id.seat) {
            Some(seat) if word & HELD != 0 => has_ended(&seat.holder, id, locks),
            _ => Ok(true),
        }
    }

    /// How many permits each seat holds, without dead holders, and the total.
    pub(crate) fn holders(&self, locks: &mut impl SeesLocks) -> (Vec<(usize, u64)>, u64) {
        let mut by_seat: Vec<(usize, u64)> = Vec::new();
        let mut all = 0;
        for slot in self.slots {
            let word = slot.load(Ordering::Acquire);
            if word == 0 || self.is_dead(word, locks).unwrap_or(false) {
                continue;
            }
            all += 1;
            let seat = holder_of(word).seat;
            match by_seat.iter_mut().find(|(s, _)| *s == seat) {
                Some((_, held)) => *held += 1,
                None => by_seat.push((seat, 1)),
            }
        }
        (by_seat, all)
    }
}
