//! The seam between real atomics and those of models. Only what lies in shared memory goes through it.
//!
//! `--cfg model` takes loom's, which knows every interleaving and weak memory; with `--cfg shuttle` as well shuttle's,
//! which knows neither but goes through long scenes at random.

#[cfg(not(model))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(all(model, not(shuttle)))]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(shuttle)]
pub(crate) use shuttle::sync::atomic::{AtomicU64, Ordering, fence};

/// The token of this process: a forked child has another one. (In a model nobody forks.)
#[inline]
pub(crate) fn this_process() -> u64 {
    #[cfg(not(model))]
    return crate::sys::process_token::process_token();
    #[cfg(model)]
    return 1;
}

/// After a lost race: leaves the line to the winner for a few hundred nanoseconds, so that it makes several decisions
/// while it holds it. Two processes then get more done together than without (docs/benchmarks.md). Nobody is waited
/// for.
#[cold]
#[inline(never)]
pub(crate) fn back_off() {
    #[cfg(not(model))]
    for _ in 0..32 {
        std::hint::spin_loop();
    }
}
