//! Kernel locks that are released when their holder dies: open-file-description (OFD) locks on single bytes.

use super::fork_gate::NoFork;
use super::process_token::process_token;
use memmap2::{Advice, MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::sync::atomic::AtomicU64;

fn byte(kind: i32, at: i64) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: at, l_len: 1, l_pid: 0 }
}

/// Takes the lock on the byte at `at`, if it is free. It lives as long as the open file description.
pub(crate) fn try_lock(file: &File, at: i64) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&byte(libc::F_WRLCK, at))) {
        Ok(_) => Ok(true),
        // Linux returns EAGAIN for a lock that is held. EACCES comes from a security policy.
        Err(Errno::EAGAIN) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Releases the lock on the byte at `at`, even if a child has inherited the descriptor.
pub(crate) fn unlock(file: &File, at: i64) {
    let _ = fcntl(file, FcntlArg::F_OFD_SETLK(&byte(libc::F_UNLCK, at)));
}

/// Whether another open file description holds the lock on the byte at `at`.
pub(crate) fn is_held(file: &File, at: i64) -> io::Result<bool> {
    let mut lock = byte(libc::F_WRLCK, at);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// A lock kept by a mapping alone: without a descriptor, not inherited by `fork`, released by `exec` and by death.
///
/// The mapping keeps the open file description, and with it the lock, alive after its last descriptor is closed;
/// `MADV_DONTFORK` keeps it out of children.
pub(crate) struct HeldByMapping {
    map: ManuallyDrop<MmapRaw>,
    process: u64,
}

impl HeldByMapping {
    /// Turns the lock held by `file` into one held by a mapping. `file` must be the only descriptor of its open file
    /// description; `_gate` prevents a concurrent fork from duplicating it.
    pub(crate) fn keep(file: File, _gate: &NoFork) -> io::Result<HeldByMapping> {
        let map = MmapOptions::new().len(4096).map_raw(&file)?;
        map.advise(Advice::DontFork)?;
        drop(file);
        Ok(HeldByMapping { map: ManuallyDrop::new(map), process: process_token() })
    }

    /// The word of the file at this offset, through this mapping.
    ///
    /// # Panics
    /// If it is not an aligned word of the first page.
    pub(crate) fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.map.len() && self.process == process_token());
        // SAFETY: within the mapping, aligned since a mapping starts on a page boundary, and any bytes are a valid
        // atomic. A limiter's file is longer than a page.
        unsafe { &*self.map.as_ptr().add(at).cast::<AtomicU64>() }
    }
}

impl Drop for HeldByMapping {
    fn drop(&mut self) {
        // A forked child does not have the mapping; something else may be at its address.
        if self.process == process_token() {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.map) };
        }
    }
}
