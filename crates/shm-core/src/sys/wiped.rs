//! Memory that is zeroed in a forked child.

use std::ptr;
use std::sync::atomic::AtomicU64;

/// Pages that the kernel zeroes in a forked child. In static memory, so that the token is one load away. (As large as
/// the largest page of Linux on this architecture: a part of a page cannot be zeroed.)
#[cfg_attr(target_arch = "x86_64", repr(C, align(4096)))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C, align(65536)))]
pub(super) struct Wiped {
    /// This process's token; 0 if not known yet.
    pub(super) token: AtomicU64,
}

pub(super) static WIPED: Wiped = Wiped { token: AtomicU64::new(0) };

/// Asks the kernel to zero it in every child, even one made by a clone(2) that runs no hooks. Kernels before 4.14 do
/// not support it: there, the hook in the child does it.
pub(super) fn wipe_on_fork() {
    let pages = ptr::from_ref(&WIPED).cast_mut().cast();
    // SAFETY: these pages contain only `WIPED`, whose zeros mean "not known yet".
    unsafe { libc::madvise(pages, size_of::<Wiped>(), libc::MADV_WIPEONFORK) };
}
