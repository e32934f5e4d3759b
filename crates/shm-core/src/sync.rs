//! The seam between real atomics and loom's. Only what lies in shared memory goes through it.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};

/// Loom takes SeqCst accesses for AcqRel ones, and knows only fences. So there the order that they have is said aloud.
#[inline]
pub(crate) fn seq_cst_for_loom() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

/// After a lost race: leaves the line to the winner for a few hundred nanoseconds, so that it makes several decisions
/// while it holds it. Two processes then get more done together than without (docs/benchmarks.md). Nobody is waited
/// for.
#[inline]
pub(crate) fn back_off() {
    #[cfg(not(loom))]
    for _ in 0..32 {
        std::hint::spin_loop();
    }
}
