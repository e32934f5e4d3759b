//! One slot of the table: the state of a key, and its tag. Both words are replaced by one 128-bit compare-and-swap, and
//! read one after the other.

use crate::sync::{AtomicPair, Ordering};

/// The content of a slot. All zeros: never used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    /// How much the key has used, and until when: see [`KeyLimit`](super::key_limit::KeyLimit). It only grows.
    pub(crate) state: u64,
    pub(crate) tag: Tag,
}

/// What tells a key from the other keys of its row, and from itself after a reset: 56 bits of its hash, not 0, then its
/// life (8 bits).
///
/// A key that is reset while it is in use begins a new life. Life 0 is counted in the key's own slot. Every further life
/// has a slot of its own, and the key's own slot says which life is the current one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tag(u64);

/// The last life of a key. Life 1 follows again: if its debt has not expired by then, the key has that debt.
const LAST_LIFE: u64 = 0xff;

impl Tag {
    /// The tag of the key with this hash, in life 0.
    pub(crate) fn of_key(hash: u64) -> Tag {
        let hash = hash & !LAST_LIFE;
        Tag(if hash == 0 { LAST_LIFE + 1 } else { hash })
    }

    /// The tag of the slot in which this key's life is counted.
    ///
    /// The hash is mixed again (by the finalizer of MurmurHash3), so that lives collide as rarely as keys do.
    pub(crate) fn of_life(self, life: u64) -> Tag {
        if life == 0 {
            return Tag(self.0 & !LAST_LIFE);
        }
        let mut mixed = (self.0 & !LAST_LIFE) ^ life;
        mixed = (mixed ^ mixed >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        Tag::of_key(mixed ^ mixed >> 33)
    }

    /// The tag of the key's own slot after a reset.
    pub(crate) fn in_next_life(self) -> Tag {
        Tag(self.0 & !LAST_LIFE | (self.life() % LAST_LIFE + 1))
    }

    /// As a word.
    pub(crate) fn word(self) -> u64 {
        self.0
    }

    /// Which life of the key is the current one.
    pub(crate) fn life(self) -> u64 {
        self.0 & LAST_LIFE
    }

    /// Whether both are tags of the same key, whatever its life.
    pub(crate) fn is_same_key(self, other: Tag) -> bool {
        (self.0 ^ other.0) & !LAST_LIFE == 0
    }
}

impl Slot {
    /// Reads a slot while other processes may replace it: the state first, then the tag.
    ///
    /// If it is replaced in between, the result is an older state beside a newer tag. A slot's state only grows, so
    /// that pair was never in the slot, and a swap from it fails. (In the other order, a newer state beside an older
    /// tag would hide that a key was inserted: `loom_tests` shows it.)
    pub(crate) fn load(from: &AtomicPair) -> Slot {
        let state = from.first(Ordering::Acquire);
        Slot { state, tag: Tag(from.second(Ordering::Acquire)) }
    }

    /// Replaces the content of a slot, if it is still what was read. Returns whether it did.
    pub(crate) fn replace(at: &AtomicPair, seen: Slot, by: Slot) -> bool {
        debug_assert!(by.state > seen.state || by.state == seen.state && by.tag != seen.tag);
        at.compare_exchange((seen.state, seen.tag.0), (by.state, by.tag.0))
    }

    /// Clears a slot whose state is damaged, if it is still what was read.
    pub(crate) fn clear(at: &AtomicPair, seen: Slot) {
        at.compare_exchange((seen.state, seen.tag.0), (0, 0));
    }
}
