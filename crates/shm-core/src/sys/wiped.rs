//! Memory that a forked child finds wiped.

use std::ptr;
use std::sync::atomic::AtomicU64;

/// Pages of our own that the kernel wipes in a forked child. In static memory, so that the token is one load away.
/// (As large as the largest page that Linux has on this processor: a part of a page can't be wiped.)
#[cfg_attr(target_arch = "x86_64", repr(C, align(4096)))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C, align(65536)))]
pub(super) struct Wiped {
    /// This process's token, 0 for "not known yet".
    pub(super) token: AtomicU64,
}

pub(super) static WIPED: Wiped = Wiped { token: AtomicU64::new(0) };

/// Asks the kernel to wipe it in every child, also in those made by a clone(2) that runs no hooks. Kernels before 4.14 don't:
/// there the hook in the child does.
pub(super) fn wipe_on_fork() {
    let pages = ptr::from_ref(&WIPED).cast_mut().cast();
    // SAFETY: these pages hold nothing but `WIPED`, whose zeros mean "not known yet".
    unsafe { libc::madvise(pages, size_of::<Wiped>(), libc::MADV_WIPEONFORK) };
}
