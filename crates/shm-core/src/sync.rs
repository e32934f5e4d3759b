//! Selects real atomics or those of a model checker. Only words in shared memory go through this module.
//!
//! `--cfg model` selects loom, which explores all interleavings and weak memory. Adding `--cfg shuttle` selects
//! shuttle, which explores random schedules of longer runs, with sequentially consistent memory.

#[cfg(not(model))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(all(model, not(shuttle)))]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(shuttle)]
pub(crate) use shuttle::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(not(model))]
pub(crate) use crate::sys::pair::AtomicPair;

/// Two words that are replaced together, as a model checker sees them: the swap is one step for other swaps, and a reader
/// that sees its first word sees its second word, too.
#[cfg(model)]
pub(crate) use mock::AtomicPair;

#[cfg(model)]
mod mock {
    use super::{AtomicU64, Ordering};
    #[cfg(not(shuttle))]
    use loom::sync::Mutex;
    #[cfg(shuttle)]
    use shuttle::sync::Mutex;

    pub(crate) struct AtomicPair {
        first: AtomicU64,
        second: AtomicU64,
        swap: Mutex<()>,
    }

    impl AtomicPair {
        pub(crate) fn new(first: u64, second: u64) -> AtomicPair {
            AtomicPair { first: AtomicU64::new(first), second: AtomicU64::new(second), swap: Mutex::new(()) }
        }

        pub(crate) fn first(&self, order: Ordering) -> u64 {
            self.first.load(order)
        }

        pub(crate) fn second(&self, order: Ordering) -> u64 {
            self.second.load(order)
        }

        pub(crate) fn compare_exchange(&self, seen: (u64, u64), new: (u64, u64)) -> bool {
            let _one_at_a_time = self.swap.lock().unwrap();
            let is_unchanged =
                (self.first.load(Ordering::Relaxed), self.second.load(Ordering::Relaxed)) == seen;
            if is_unchanged {
                self.second.store(new.1, Ordering::Relaxed);
                self.first.store(new.0, Ordering::Release);
            }
            is_unchanged
        }
    }
}

/// The token of this process, which differs in a forked child. (Models do not fork.)
#[inline]
pub(crate) fn this_process() -> u64 {
    #[cfg(not(model))]
    return crate::sys::process_token::process_token();
    #[cfg(model)]
    return 1;
}

/// Called after a lost race: leaves the cache line to the winner for a few hundred nanoseconds, so that the winner
/// makes several decisions while it owns the line. This raises the total throughput of two processes
/// (docs/benchmarks.md). It does not wait for anything.
#[cold]
#[inline(never)]
pub(crate) fn back_off() {
    #[cfg(not(model))]
    for _ in 0..32 {
        std::hint::spin_loop();
    }
}
