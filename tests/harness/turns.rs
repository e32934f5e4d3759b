//! Which tests of a binary run at the same time.
//!
//! Cargo runs the binaries one after the other, and the tests of a binary in as many threads as there are processors. A test
//! that measures time, needs the whole machine, or forks the test process itself calls [`alone`] first. All others share the
//! machine: a test takes its share with its first directory ([`shared_dir`](crate::shared_dir), and with it every
//! [`Arena`](crate::Arena)), and gives it back when its thread ends.

use std::cell::{Cell, RefCell};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;

/// Tests that share the machine read; a test that is alone writes. A failed test poisons nothing that another one needs.
static MACHINE: RwLock<()> = RwLock::new(());

thread_local! {
    static SHARE: RefCell<Option<RwLockReadGuard<'static, ()>>> = const { RefCell::new(None) };
    static IS_ALONE: Cell<bool> = const { Cell::new(false) };
}

/// The machine, for one test. The others wait until this is dropped.
pub struct Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'static, ()>);

/// Waits until no other test of this binary runs, and keeps them from running until the guard is dropped.
#[must_use = "others run as soon as this is dropped"]
pub fn alone() -> Alone {
    // With `--test-threads=1` all tests have one thread, which keeps the share of an earlier one.
    SHARE.take();
    let machine = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
    IS_ALONE.set(true);
    Alone(machine)
}

impl Drop for Alone {
    fn drop(&mut self) {
        IS_ALONE.set(false);
    }
}

/// Waits until no test is [`alone`], unless this one is; no test is from then on, until this thread ends.
///
/// The threads that a test starts have no part in this: they are its own. They are told from the threads in which tests run
/// by their names, which the test runner takes from the tests.
pub(crate) fn share() {
    let is_test = thread::current().name().is_some();
    if !is_test || IS_ALONE.get() {
        return;
    }
    SHARE.with_borrow_mut(|share| {
        share.get_or_insert_with(|| MACHINE.read().unwrap_or_else(PoisonError::into_inner));
    });
}

#[cfg(test)]
mod tests {
    use super::{alone, share};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    /// A thread as the test runner starts it.
    fn test(work: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
        thread::Builder::new().name("a test".into()).spawn(work).expect("a thread")
    }

    #[test]
    fn a_test_that_is_alone_excludes_those_that_share_until_it_ends() {
        static IS_ALONE: AtomicBool = AtomicBool::new(false);
        let first = test(|| {
            share();
            share();
            thread::sleep(Duration::from_millis(50));
            assert!(!IS_ALONE.load(Ordering::SeqCst), "alone beside one that shares");
        });
        thread::sleep(Duration::from_millis(10));
        let second = test(|| {
            let _alone = alone();
            IS_ALONE.store(true, Ordering::SeqCst);
            // Neither it nor its threads wait for themselves.
            share();
            thread::scope(|scope| drop(scope.spawn(share)));
            thread::sleep(Duration::from_millis(50));
            IS_ALONE.store(false, Ordering::SeqCst);
        });
        first.join().expect("the first");
        let third = test(|| {
            share();
            assert!(!IS_ALONE.load(Ordering::SeqCst), "shared beside one that is alone");
        });
        second.join().expect("the second");
        third.join().expect("the third");
    }

    #[test]
    fn a_thread_that_shared_before_can_be_alone() {
        let both = test(|| {
            share();
            drop(alone());
            share();
            drop(alone());
        });
        both.join().expect("no deadlock");
    }
}
