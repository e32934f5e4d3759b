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
