//! Sections in which this process must not fork, and the fork hooks.

use super::signal::NoHandlers;
use super::wiped::{WIPED, wipe_on_fork};
use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the hooks are installed, by this process or an ancestor by fork.
static HOOKED: AtomicBool = AtomicBool::new(false);

/// Lock-free: if another thread forked in the middle, the child would find a lock held for ever.
///
/// The caller blocks signal handlers: a child forked by a handler in the middle would lack some of the hooks.
pub(super) fn set_hooks() {
    if HOOKED.load(Ordering::Acquire) {
        return;
    }
    // Inherited by all descendants.
    wipe_on_fork();
    if !HOOKED.swap(true, Ordering::AcqRel) {
        // SAFETY: the hooks are functions with static lifetime, and do only what is allowed in fork hooks.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(in_child)) };
    }
}

struct Gate(UnsafeCell<libc::pthread_mutex_t>);
// SAFETY: a pthread mutex may be used from any thread.
unsafe impl Sync for Gate {}
static GATE: Gate = Gate(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));

impl Gate {
    fn lock(&self) {
        // SAFETY: statically initialised, never destroyed, never locked twice by one thread (`INSIDE`).
        unsafe { libc::pthread_mutex_lock(self.0.get()) };
    }

    fn unlock(&self) {
        // SAFETY: locked by this thread.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) };
    }
}

extern "C" fn before_fork() {
    // A thread that forks inside the gate already holds the mutex.
    if INSIDE.get() == 0 {
        GATE.lock();
    }
}

extern "C" fn after_fork() {
    if INSIDE.get() == 0 {
        GATE.unlock();
    }
}

extern "C" fn in_child() {
    // The child's only thread is the one that locked it.
    after_fork();
    crate::clock::forget();
    super::descriptor::close_inherited();
    super::mid_write::put_aside();
    WIPED.token.store(0, Ordering::Relaxed);
}

thread_local! {
    /// How many times this thread is inside the gate.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
}

/// While this lives, this process does not fork: `fork` in another thread blocks, and no signal handler runs in this
/// one. Held for a few system calls only, never while sleeping or searching. Reentrant.
///
/// Without it, a child forked while a locked descriptor is open would inherit the descriptor, and with it the lock.
/// Never waits for another process.
pub(crate) struct NoFork {
    _no_handlers: NoHandlers,
}

impl NoFork {
    pub(crate) fn enter() -> NoFork {
        let no_handlers = NoHandlers::enter();
        set_hooks();
        if INSIDE.get() == 0 {
            GATE.lock();
        }
        INSIDE.set(INSIDE.get() + 1);
        NoFork { _no_handlers: no_handlers }
    }
}

impl Drop for NoFork {
    fn drop(&mut self) {
        INSIDE.set(INSIDE.get() - 1);
        if INSIDE.get() == 0 {
            GATE.unlock();
        }
    }
}
