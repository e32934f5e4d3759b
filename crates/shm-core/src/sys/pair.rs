//! Two adjacent words that are replaced by one 128-bit compare-and-swap.

use portable_atomic::AtomicU128;
use std::sync::atomic::{AtomicU64, Ordering};

/// Two words of 64 bits, of which each can be read alone, and which are replaced together.
#[repr(transparent)]
#[derive(Default)]
pub(crate) struct AtomicPair(AtomicU128);

/// Where the first word is.
const FIRST: usize = if cfg!(target_endian = "little") { 0 } else { 1 };

impl AtomicPair {
    /// Whether the processor replaces both words in one step. Otherwise the library would use a lock in this process's memory,
    /// which excludes no other process.
    pub(crate) fn is_lock_free() -> bool {
        AtomicU128::is_lock_free()
    }

    #[cfg(test)]
    pub(crate) fn with(self, (first, second): (u64, u64)) -> AtomicPair {
        AtomicPair(AtomicU128::new(u128::from(second) << 64 | u128::from(first)))
    }

    #[inline(always)]
    pub(crate) fn first(&self, order: Ordering) -> u64 {
        self.words()[FIRST].load(order)
    }

    #[inline(always)]
    pub(crate) fn second(&self, order: Ordering) -> u64 {
        self.words()[1 - FIRST].load(order)
    }

    /// Replaces both words, if they are as seen. Returns whether they were.
    #[inline(always)]
    pub(crate) fn compare_exchange(&self, seen: (u64, u64), new: (u64, u64)) -> bool {
        let pair = |(first, second): (u64, u64)| u128::from(second) << 64 | u128::from(first);
        self.0.compare_exchange(pair(seen), pair(new), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    #[inline(always)]
    #[allow(unsafe_code)]
    fn words(&self) -> &[AtomicU64; 2] {
        // SAFETY: same size, the alignment of 16 bytes is more than enough, and both types are plain memory that is accessed
        // atomically. Rust's memory model does not define atomic accesses of different size to the same memory; but the
        // 128-bit swap is one instruction in assembly (cmpxchg16b, casp, ldxp and stxp), which the compiler sees as opaque, and
        // both architectures define it for each aligned half: a load of a half sees a whole swap or none of it.
        unsafe { &*(&raw const self.0).cast::<[AtomicU64; 2]>() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first word counts up, and the second one is its square.
    #[test]
    fn a_reader_never_sees_a_first_word_without_its_second_one() {
        assert!(AtomicPair::is_lock_free());
        let (pair, swaps) = (AtomicPair::default(), 200_000);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let first = pair.first(Ordering::Acquire);
                        let second = pair.second(Ordering::Acquire);
                        // Another swap may have come in between, but none has been missed.
                        assert!(second >= first * first, "{first} and {second}");
                        if first == swaps {
                            return;
                        }
                        let swapped =
                            pair.compare_exchange((first, second), (first + 1, (first + 1) * (first + 1)));
                        assert!(
                            !swapped || second == first * first,
                            "a pair that never was: {first}, {second}"
                        );
                    }
                });
            }
        });
    }
}
