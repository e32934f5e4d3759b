//! A lock among the threads of one process, with what it guards.

use super::fork::process_token;
use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};

/// Guards a `T` among the threads of this process. A forked child that finds it held by a thread of its parent, which
/// it does not have, takes it over, with a new `T`.
pub(crate) struct ProcessLock<T> {
    /// Token of the process whose thread holds it; 0: free.
    holder: AtomicU64,
    inside: UnsafeCell<T>,
}

// SAFETY: `inside` is reached only through a `Held`, of which there is one at a time.
unsafe impl<T: Send> Sync for ProcessLock<T> {}

impl<T: Default> ProcessLock<T> {
    pub(crate) fn new() -> Self {
        ProcessLock { holder: AtomicU64::new(0), inside: UnsafeCell::new(T::default()) }
    }

    /// Waits for other threads of this process only.
    #[inline]
    pub(crate) fn lock(&self) -> Held<'_, T> {
        let me = process_token();
        // Acquire: pairs with the Release in `drop`.
        if self.holder.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.wait(me);
        }
        Held { lock: self }
    }

    #[cold]
    fn wait(&self, me: u64) {
        for tries in 0u64.. {
            let holder = self.holder.load(Ordering::Relaxed);
            if holder != me
                && self.holder.compare_exchange(holder, me, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                if holder != 0 {
                    // SAFETY: the lock is ours now. Whoever held it was a thread of the parent, in the parent's memory:
                    // no one in this process refers to the old value.
                    unsafe { *self.inside.get() = T::default() };
                }
                return;
            }
            if tries < 100 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }
}

/// While this lives, no other thread of this process holds the lock.
pub(crate) struct Held<'a, T> {
    lock: &'a ProcessLock<T>,
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.lock.inside.get() }
    }
}

impl<T> DerefMut for Held<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held, by this alone.
        unsafe { &mut *self.lock.inside.get() }
    }
}

impl<T> Drop for Held<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.holder.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_take_turns() {
        let lock = ProcessLock::<u64>::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let mut held = lock.lock();
                        let seen = *held;
                        *held = seen + 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), 40_000);
    }

    #[test]
    fn a_forked_child_is_not_locked_out() {
        let lock = ProcessLock::<u64>::new();
        let mut held = lock.lock();
        *held = 7;
        // SAFETY: the child only takes the lock and exits.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let fresh = *lock.lock() == 0;
            // SAFETY: leaves the child without running the test harness's exit handlers.
            unsafe { libc::_exit(i32::from(!fresh)) };
        }
        let mut status = 0;
        // SAFETY: our own child, and a valid place for its status.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(status, 0);
        assert_eq!(*held, 7);
    }
}
