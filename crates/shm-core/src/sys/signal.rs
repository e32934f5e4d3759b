//! Sections without signal handlers in this thread.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// Synchronous faults. If they are blocked, the kernel kills the process.
const FAULTS: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// While this lives, no signal handler runs in this thread, except for its own faults. Two system calls.
///
/// A child forked by a handler returns into the interrupted call and would continue with what belongs to its parent: a
/// descriptor, a lock, a pending write.
pub(crate) struct NoHandlers {
    before: libc::sigset_t,
    /// The mask belongs to the thread.
    _not_send: PhantomData<*const ()>,
}

impl NoHandlers {
    pub(crate) fn enter() -> NoHandlers {
        let mut all = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: valid places for sets, which the calls fill; none of them fails with these arguments.
        let before = unsafe {
            libc::sigfillset(all.as_mut_ptr());
            let mut all = all.assume_init();
            for fault in FAULTS {
                libc::sigdelset(&raw mut all, fault);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, before.as_mut_ptr());
            before.assume_init()
        };
        NoHandlers { before, _not_send: PhantomData }
    }
}

/// Calls `f` with signal handlers blocked in this thread. A thread that `f` starts has them blocked for its whole life.
pub fn without_handlers<T>(f: impl FnOnce() -> T) -> T {
    let _no_handlers = NoHandlers::enter();
    f()
}

impl Drop for NoHandlers {
    fn drop(&mut self) {
        // SAFETY: a set that `enter` filled.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}
