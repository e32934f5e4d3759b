//! Which process and which thread this is.

use super::fork_gate::set_hooks;
use super::signal::NoHandlers;
use super::wiped::WIPED;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The next token. A child inherits the value, so its token differs from those of all its ancestors, which is what
/// matters: only what they left in memory can be mistaken for the child's own.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// What tells this process from those it was forked from. PIDs don't: in two PID namespaces they may be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessToken(u64);

impl ProcessToken {
    /// This process's.
    pub fn current() -> ProcessToken {
        ProcessToken(process_token())
    }
}

/// A number that is this process's own: a forked child has another one. Not 0, and under 2^48.
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
    // A child that is forked while the hooks are being set would lack some of them.
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

    /// Whether a child made in this way, which returns 0 in it, has a token of its own.
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

    /// Since Linux 4.14.
    #[test]
    fn so_has_one_that_was_made_without_hooks() {
        // SAFETY: as above; without a new stack it is a fork.
        let clone = || unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } as libc::pid_t;
        assert!(has_a_token_of_its_own(clone));
    }

    #[test]
    fn threads_have_marks_of_their_own() {
        let other = std::thread::spawn(thread_mark).join().unwrap();
        std::thread::scope(|s| {
            s.spawn(|| assert_ne!(thread_mark(), 0));
        });
        let _ = other; // a dead thread's mark may come again
        assert_eq!(thread_mark(), thread_mark());
    }
}
