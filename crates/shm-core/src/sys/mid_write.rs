//! Writes to shared memory that a signal handler's fork must not double.
//!
//! A child that is forked by a handler returns from it into the middle of its parent's write, and would finish it at any
//! time later, over what its parent has written since. So before the child returns, the mapping that is being written
//! becomes private memory of the child, in which it may write what it likes. When the write is over the child has the
//! shared mapping back. Nothing that the child found in between is true.

use super::process_token::process_token;
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

/// A mapping: where it is, and its length.
pub(crate) struct Extent {
    /// For the kernel alone.
    pub(super) start: usize,
    pub(super) len: usize,
}

thread_local! {
    /// What this thread is writing; null if it is not.
    static WRITING: Cell<*const Extent> = const { Cell::new(ptr::null()) };
    /// In a child that was forked meanwhile: where the shared mapping went.
    static ASIDE: Cell<*mut libc::c_void> = const { Cell::new(ptr::null_mut()) };
}

/// While this lives, this thread writes to this mapping. One at a time.
pub(crate) struct MidWrite<'a> {
    process: u64,
    mapping: &'a Extent,
    /// It is the thread's.
    _not_send: PhantomData<*const ()>,
}

impl<'a> MidWrite<'a> {
    #[inline]
    pub(crate) fn begin(mapping: &'a Extent) -> MidWrite<'a> {
        let write = MidWrite { process: process_token(), mapping, _not_send: PhantomData };
        WRITING.set(mapping);
        write
    }

    /// Whether this is still the process that began it, and no child that a signal handler forked since.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.process == process_token()
    }

    /// The token of the process that began it.
    #[inline]
    pub(crate) fn process(&self) -> u64 {
        self.process
    }
}

impl Drop for MidWrite<'_> {
    #[inline]
    fn drop(&mut self) {
        WRITING.set(ptr::null());
        if !self.is_ours() {
            put_back(self.mapping);
        }
    }
}

fn address(start: usize) -> *mut libc::c_void {
    ptr::without_provenance_mut(start)
}

/// In a forked child, before it returns: what this thread is writing becomes private memory, full of zeros.
pub(super) fn put_aside() {
    // SAFETY: null, or borrowed by the `MidWrite` of this thread, which lives as long as it is here.
    let Some(&Extent { start, len }) = (unsafe { WRITING.get().as_ref() }) else { return };
    // SAFETY: a shared mapping of this length, of which the first call makes a second one: so an old length of 0 says. The
    // second call puts private memory in its place. References to it stay valid: it is made of atomics, for which any
    // bytes are right.
    let aside = unsafe { libc::mremap(address(start), 0, len, libc::MREMAP_MAYMOVE) };
    if aside == libc::MAP_FAILED {
        return;
    }
    let (rights, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED);
    // SAFETY: as above.
    if unsafe { libc::mmap(address(start), len, rights, kind, -1, 0) } == libc::MAP_FAILED {
        // SAFETY: the mapping that was just made.
        unsafe { libc::munmap(aside, len) };
        return;
    }
    ASIDE.set(aside);
}

#[cold]
fn put_back(&Extent { start, len }: &Extent) {
    let aside = ASIDE.replace(ptr::null_mut());
    if aside.is_null() {
        return;
    }
    let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: moves the shared mapping to where it was, in place of the private memory that `put_aside` put there.
    unsafe { libc::mremap(aside, len, len, how, address(start)) };
}
