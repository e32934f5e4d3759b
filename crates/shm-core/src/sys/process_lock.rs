//! A fork-safe mutex among the threads of one process.
//!
//! The word has three states, as in Drepper's "Futexes Are Tricky": free, held, and held while threads sleep on it.
//! Waiting threads sleep in the kernel, so that a holder of lower priority can run on the same CPU.

use super::futex;
use super::process_token::process_token;
use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};

const FREE: u64 = 0;
/// In the low bits; above them is the token of the process whose thread holds the lock.
const HELD: u64 = 1;
const HELD_WITH_SLEEPERS: u64 = 2;
const TOKEN_SHIFT: u32 = 2;
/// How often a thread polls before it sleeps: critical sections take well under a microsecond.
const SPINS: usize = 100;

/// Guards a `T` among the threads of this process. A forked child that finds it held by a thread of its parent, which
/// the child does not have, takes it over with a new `T`.
pub struct ProcessLock<T> {
    word: AtomicU64,
    inside: UnsafeCell<T>,
}

// SAFETY: `inside` is reached only through a `ProcessLockGuard`, of which there is one at a time.
unsafe impl<T: Send> Sync for ProcessLock<T> {}

impl<T> ProcessLock<T> {
    /// A free lock around this value.
    pub const fn new(inside: T) -> Self {
        ProcessLock { word: AtomicU64::new(FREE), inside: UnsafeCell::new(inside) }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<ProcessLockGuard<'_, T>> {
        let held = process_token() << TOKEN_SHIFT | HELD;
        // Acquire: pairs with the Release in the guard's `drop`.
        self.word
            .compare_exchange(FREE, held, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            .then(|| ProcessLockGuard { lock: self })
    }
}

impl<T: Default> Default for ProcessLock<T> {
    fn default() -> ProcessLock<T> {
        ProcessLock::new(T::default())
    }
}

impl<T: Default> ProcessLock<T> {
    /// Takes the lock. Waits only for other threads of this process.
    #[inline]
    pub fn lock(&self) -> ProcessLockGuard<'_, T> {
        match self.try_lock() {
            Some(held) => held,
            None => self.wait(),
        }
    }

    #[cold]
    fn wait(&self) -> ProcessLockGuard<'_, T> {
        let me = process_token() << TOKEN_SHIFT;
        let swap = |from: u64, to: u64| {
            self.word.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        // A thread that has slept does not know whether others still do.
        let mut mine = HELD;
        let mut spins = 0;
        loop {
            let seen = self.word.load(Ordering::Relaxed);
            if seen == FREE {
                if swap(FREE, me | mine) {
                    return ProcessLockGuard { lock: self };
                }
            } else if seen >> TOKEN_SHIFT != me >> TOKEN_SHIFT {
                if swap(seen, me | mine) {
                    // SAFETY: this thread now owns the lock. The previous holder was a thread of the parent, in the
                    // parent's memory; no thread of this process refers to the old value. The value is not dropped:
                    // that thread may have been in the middle of changing it.
                    unsafe { self.inside.get().write(T::default()) };
                    return ProcessLockGuard { lock: self };
                }
            } else if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else if seen & HELD == 0 || swap(seen, me | HELD_WITH_SLEEPERS) {
                mine = HELD_WITH_SLEEPERS;
                futex::sleep_in_process(&self.word, me | HELD_WITH_SLEEPERS);
            }
        }
    }
}

/// While this lives, no other thread of this process holds the lock.
pub struct ProcessLockGuard<'a, T> {
    lock: &'a ProcessLock<T>,
}

impl<T> Deref for ProcessLockGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.lock.inside.get() }
    }
}

impl<T> DerefMut for ProcessLockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held exclusively.
        unsafe { &mut *self.lock.inside.get() }
    }
}

impl<T> Drop for ProcessLockGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.lock.word.swap(FREE, Ordering::Release) & HELD_WITH_SLEEPERS != 0 {
            futex::wake_one_in_process(&self.lock.word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_exclude_each_other() {
        let lock = ProcessLock::<u64>::new(0);
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

    /// A spinning thread would keep a holder of lower priority off the CPU; a sleeping one does not.
    #[test]
    fn a_waiting_thread_sleeps() {
        let lock = ProcessLock::<u64>::new(0);
        let held = lock.lock();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                drop(lock.lock());
                let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
                // SAFETY: a valid timespec to write to.
                unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut used) };
                std::time::Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
            });
            std::thread::sleep(std::time::Duration::from_millis(500));
            drop(held);
            let used = waiter.join().unwrap();
            assert!(used < std::time::Duration::from_millis(250), "{used:?} of CPU time");
        });
    }

    #[test]
    fn a_forked_child_takes_over_a_held_lock() {
        let lock = ProcessLock::<u64>::new(0);
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
