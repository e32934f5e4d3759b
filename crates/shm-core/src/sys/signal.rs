//! Moments in which no signal handler may run in this thread.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// Faults of the thread itself. Blocked, the kernel ends the process for them.
const FAULTS: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// While this lives, no signal handler runs in this thread, but for its own faults. Two system calls.
///
/// A handler that forks makes a child that returns into the interrupted call and goes on with what was its parent's: a
/// descriptor, a lock, a turn to write. Here it can't come in between.
pub(crate) struct NoHandlers {
    before: libc::sigset_t,
    /// The mask is the thread's.
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

/// Calls `f` while no signal handler runs in this thread. A thread that `f` starts runs none either, for as long as it lives.
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
