//! Which process am I, and moments in which this process must not fork.

use std::cell::{Cell, UnsafeCell};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// A page that the kernel wipes in a forked child. Its first word is this process's token, 0 for "not known yet".
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
/// The next token. A child inherits the value, so its token differs from those of all its ancestors, which is what
/// matters: only what they left in memory can be mistaken for the child's own.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A number that is this process's own: a forked child has another one. Under 2^48.
#[inline]
pub(crate) fn process_token() -> u64 {
    let page = PAGE.load(Ordering::Acquire);
    if !page.is_null() {
        // SAFETY: once published, the page is never unmapped.
        let token = unsafe { &*page }.load(Ordering::Relaxed);
        if token != 0 {
            return token;
        }
    }
    new_token()
}

#[cold]
fn new_token() -> u64 {
    let mut page = PAGE.load(Ordering::Acquire);
    if page.is_null() {
        page = publish_page();
    }
    // SAFETY: once published, the page is never unmapped.
    let word = unsafe { &*page };
    let token = NEXT.fetch_add(1, Ordering::Relaxed) & ((1 << 48) - 1);
    match word.compare_exchange(0, token, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => token,
        Err(another_threads) => another_threads,
    }
}

/// No lock here: a fork in the middle of it by another thread would leave the lock taken in the child for good.
fn publish_page() -> *mut AtomicU64 {
    const LEN: usize = 4096;
    // SAFETY: a fresh anonymous mapping; no memory in use is touched.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            LEN,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert!(page != libc::MAP_FAILED, "out of memory for one page");
    // The hook below covers kernels that don't know this, and this covers a clone(2) that runs no hooks.
    // SAFETY: the page was just mapped and is ours.
    unsafe { libc::madvise(page, LEN, libc::MADV_WIPEONFORK) };
    let page: *mut AtomicU64 = page.cast();
    match PAGE.compare_exchange(ptr::null_mut(), page, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            // SAFETY: the hooks are functions that live as long as the program and do only what may be done there.
            unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(in_child)) };
            page
        }
        Err(winner) => {
            // SAFETY: mapped above, never shared.
            unsafe { libc::munmap(page.cast(), LEN) };
            winner
        }
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
    let page = PAGE.load(Ordering::Relaxed);
    if !page.is_null() {
        // SAFETY: once published, the page is never unmapped.
        unsafe { &*page }.store(0, Ordering::Relaxed);
    }
}

thread_local! {
    /// How often this thread is inside.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
}

/// While this lives, `fork` in another thread waits. Short: held for a few system calls, never while sleeping. A thread
/// may be inside several times.
///
/// Without it a child forked in the moment in which a locked descriptor is open would inherit it, and with it the
/// lock. It never waits for another process.
pub(crate) struct NoFork(std::marker::PhantomData<*const ()>);

impl NoFork {
    pub(crate) fn enter() -> NoFork {
        process_token(); // the hooks are set with the page
        if INSIDE.get() == 0 {
            GATE.lock();
        }
        INSIDE.set(INSIDE.get() + 1);
        NoFork(std::marker::PhantomData)
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

    #[test]
    fn a_forked_child_has_another_token() {
        let mine = process_token();
        assert_eq!(mine, process_token());
        // SAFETY: the child only does arithmetic and exits.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let ok = process_token() != mine && process_token() == process_token();
            // SAFETY: leaves the child without running the test harness's exit handlers.
            unsafe { libc::_exit(i32::from(!ok)) };
        }
        let mut status = 0;
        // SAFETY: our own child, and a valid place for its status.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(status, 0);
        assert_eq!(mine, process_token());
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
