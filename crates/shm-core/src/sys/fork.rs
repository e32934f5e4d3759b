//! Which process this is, and moments in which it must not fork.

use super::signal::NoHandlers;
use std::cell::{Cell, UnsafeCell};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Pages of our own that the kernel wipes in a forked child. In static memory, so that the token is one load away.
/// (As large as the largest page that Linux has on this processor: a part of a page can't be wiped.)
#[cfg_attr(target_arch = "x86_64", repr(C, align(4096)))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C, align(65536)))]
struct Wiped {
    /// This process's token, 0 for "not known yet".
    token: AtomicU64,
}

static WIPED: Wiped = Wiped { token: AtomicU64::new(0) };
/// Whether the hooks are set, by this process or one that it was forked from.
static HOOKED: AtomicBool = AtomicBool::new(false);
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
    prepare();
    let token = NEXT.fetch_add(1, Ordering::Relaxed) & ((1 << 48) - 1);
    match WIPED.token.compare_exchange(0, token, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => token,
        Err(another_threads) => another_threads,
    }
}

/// No lock here: a fork in the middle of it by another thread would leave the lock taken in the child for good.
fn prepare() {
    if HOOKED.load(Ordering::Acquire) {
        return;
    }
    let pages = ptr::from_ref(&WIPED).cast_mut().cast();
    // The hooks below cover kernels that don't know this, and this covers a clone(2) that runs no hooks. It holds for
    // all descendants.
    // SAFETY: these pages hold nothing but `WIPED`, whose zeros mean "not known yet".
    unsafe { libc::madvise(pages, size_of::<Wiped>(), libc::MADV_WIPEONFORK) };
    if !HOOKED.swap(true, Ordering::AcqRel) {
        // SAFETY: the hooks are functions that live as long as the program and do only what may be done there.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(in_child)) };
    }
}

struct Gate(UnsafeCell<libc::pthread_mutex_t>);
// SAFETY: a pthread mutex is made to be used from any thread.
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
    // A thread that forks inside has it locked.
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
    /// How often this thread is inside the gate.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
}

/// While this lives, this process does not fork: `fork` in another thread waits, and no signal handler runs in this one.
/// Short: held for a few system calls, never while sleeping or looking for something. A thread may be inside several
/// times.
///
/// Without it a child forked in the moment in which a locked descriptor is open would inherit it, and with it the
/// lock. It never waits for another process.
pub(crate) struct NoFork {
    _no_handlers: NoHandlers,
}

impl NoFork {
    pub(crate) fn enter() -> NoFork {
        process_token(); // the hooks are set with it
        let no_handlers = NoHandlers::enter();
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
