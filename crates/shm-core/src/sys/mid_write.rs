//! Writes to shared memory that a fork in a signal handler must not duplicate.
//!
//! A child forked by a handler returns from it into the middle of its parent's write, and would finish that write at
//! any later time, over what its parent has written since. So before the child returns, the mapping being written is
//! replaced by private memory, into which the child may write anything. When the write is over, the child gets the
//! shared mapping back. Everything that the child has read in between is invalid.

use super::process_token::process_token;
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

/// A mapping: its address and length.
pub(crate) struct Extent {
    /// Only passed to the kernel.
    pub(super) start: usize,
    pub(super) len: usize,
}

thread_local! {
    /// What this thread is writing; null if nothing.
    static WRITING: Cell<*const Extent> = const { Cell::new(ptr::null()) };
    /// In a child that was forked meanwhile: where the shared mapping was moved.
    static ASIDE: Cell<*mut libc::c_void> = const { Cell::new(ptr::null_mut()) };
}

/// While this lives, this thread is writing to this mapping. One at a time.
pub(crate) struct MidWrite<'a> {
    process: u64,
    mapping: &'a Extent,
    /// Belongs to the thread.
    _not_send: PhantomData<*const ()>,
}

impl<'a> MidWrite<'a> {
    #[inline]
    pub(crate) fn begin(mapping: &'a Extent) -> MidWrite<'a> {
        let write = MidWrite { process: process_token(), mapping, _not_send: PhantomData };
        WRITING.set(mapping);
        write
    }

    /// Whether this is still the process that began the write, and not a child that a signal handler forked since.
    #[inline]
    pub(crate) fn is_same_process(&self) -> bool {
        self.process == process_token()
    }

    /// The token of the process that began the write.
    #[inline]
    pub(crate) fn process(&self) -> u64 {
        self.process
    }
}

impl Drop for MidWrite<'_> {
    #[inline]
    fn drop(&mut self) {
        WRITING.set(ptr::null());
        if !self.is_same_process() {
            put_back(self.mapping);
        }
    }
}

fn address(start: usize) -> *mut libc::c_void {
    ptr::without_provenance_mut(start)
}

/// In a forked child, before the handler returns: replaces the mapping that this thread is writing by zeroed private
/// memory.
pub(super) fn put_aside() {
    // SAFETY: null, or borrowed by the `MidWrite` of this thread, which lives as long as the pointer is set.
    let Some(&Extent { start, len }) = (unsafe { WRITING.get().as_ref() }) else { return };
    // SAFETY: a shared mapping of this length; with an old length of 0, the first call creates a second mapping of it.
    // The second call replaces the original by private memory. References to it stay valid: it consists of atomics, for
    // which any bytes are valid.
    let aside = unsafe { libc::mremap(address(start), 0, len, libc::MREMAP_MAYMOVE) };
    if aside == libc::MAP_FAILED {
        return;
    }
    let (rights, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED);
    // SAFETY: as above.
    if unsafe { libc::mmap(address(start), len, rights, kind, -1, 0) } == libc::MAP_FAILED {
        // SAFETY: the mapping that was just created.
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
    // SAFETY: moves the shared mapping back to its address, replacing the private memory from `put_aside`.
    unsafe { libc::mremap(aside, len, len, how, address(start)) };
}
