//! The identity of this process and of the current thread.

use super::fork_gate::set_hooks;
use super::signal::NoHandlers;
use super::wiped::WIPED;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The next token. A child inherits the value, so its token differs from those of all its ancestors. That is enough:
/// only what they left in memory can be mistaken for the child's own.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Distinguishes this process from those it was forked from. PIDs do not: they may be equal in two PID namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessToken(u64);

impl ProcessToken {
    /// This process's token.
    pub fn current() -> ProcessToken {
        ProcessToken(process_token())
    }
}

/// A number of this process, different in a forked child. Not 0, and below 2^48.
#[inline]
pub(crate) fn process_token() -> u64 {
    match WIPED.token.load(Ordering::Relaxed) {
        0 => new_token(),
        token => token,
    }
}

#[cold]
#[inline(never)]
fn new_token() -> u64 {
    // A child forked while the hooks are being set would lack some of them.
    let _no_handlers = NoHandlers::enter();
    set_hooks();
    let token = NEXT.fetch_add(1, Ordering::Relaxed) & ((1 << 48) - 1);
    match WIPED.token.compare_exchange(0, token, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => token,
        Err(another_threads) => another_threads,
    }
}

thread_local! {
    static MARK: u8 = const { 0 };
}

/// A number that no other living thread of this process has.
#[inline]
pub(crate) fn thread_mark() -> usize {
    MARK.with(|mark| ptr::from_ref(mark).addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a child made by `fork`, which returns 0 in the child, has a token of its own.
    fn has_a_token_of_its_own(fork: impl Fn() -> libc::pid_t) -> bool {
        let mine = process_token();
        let child = fork();
        if child == 0 {
            let ok = process_token() != mine && process_token() == process_token();
            // SAFETY: leaves the child without running the test harness's exit handlers.
            unsafe { libc::_exit(i32::from(!ok)) };
        }
        assert!(child > 0);
        let mut status = 0;
        // SAFETY: our own child, and a valid place for its status.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(mine, process_token());
        status == 0
    }

    #[test]
    fn a_forked_child_has_another_token() {
        assert_eq!(process_token(), process_token());
        // SAFETY: the child only does arithmetic and exits.
        assert!(has_a_token_of_its_own(|| unsafe { libc::fork() }));
    }

    /// Needs Linux 4.14.
    #[test]
    fn a_child_cloned_without_fork_hooks_has_another_token() {
        // SAFETY: as above; clone without a new stack is a fork.
        let clone = || unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } as libc::pid_t;
        assert!(has_a_token_of_its_own(clone));
    }

    #[test]
    fn threads_have_distinct_marks() {
        let other = std::thread::spawn(thread_mark).join().unwrap();
        std::thread::scope(|s| {
            s.spawn(|| assert_ne!(thread_mark(), 0));
        });
        let _ = other; // a dead thread's mark may be reused
        assert_eq!(thread_mark(), thread_mark());
    }
}
