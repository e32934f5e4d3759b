//! Proves that the file system and the kernel provide what a limiter depends on, for this process.
//!
//! Each requirement, and how it is proved:
//!
//! - A lock outlives its descriptor while a mapping of the same open file description exists. Locked on one
//!   description, mapped, closed; another description must see the lock.
//! - The lock ends with the mapping. Unmapped; the other description must no longer see it.
//! - All mappings of the file are the same memory. An increment through one must be visible through another of another
//!   description, and vice versa.
//! - A sleeper in one process is woken from another: see below.
//! - No other page cache holds the file, such as another host's, or that of whatever FUSE mirrors. This is decided by
//!   the file system type, since it cannot be tested from here.
//!
//! **Why the proof needs no sleeper.** The kernel finds the sleepers of a shared futex by the inode and the offset of
//! the word's page or, for a page without an inode, by the page itself. Two mappings that are the same memory have the
//! same pages. So coherence makes a wake-up cross from one mapping to another, and it remains to prove that the kernel
//! lets this process wait and wake on this mapping. `tests/file_systems.rs` wakes real sleepers.
//!
//! overlayfs fails the first requirement: its `mmap` maps the underlying file, with a description of that file, so
//! closing the descriptor releases the lock although the mapping exists.
//!
//! The proof holds for the file system as long as it is mounted. So it is made once per process and file system (device
//! number and type: an anonymous device number may be reused for another type), and forked children inherit it. It
//! takes about a dozen system calls.

use super::file_system::{self, Reach};
use super::fork_gate::NoFork;
use super::futex;
use super::lock::{self, HeldByMapping};
use super::process_token::process_token;
use super::signal::NoHandlers;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Hash, Header, PROBE_LOCKS};
use nix::errno::Errno;
use nix::sys::statfs::fstatfs;
use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The file systems that this process, or an ancestor by fork, has proved. Lock-free: each word is independent, and a
/// file system whose word was overwritten is proved again.
static PROVED: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

/// The file system on which a limiter is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileSystem {
    /// Identifies the mounted file system. Not 0.
    key: u64,
    /// Its type according to `statfs`.
    kind: u64,
}

impl FileSystem {
    /// The file system of this file.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for types whose files may be cached elsewhere.
    pub(crate) fn of(file: &File) -> Result<FileSystem> {
        let device = file.metadata().map_err(|e| Error::os("cannot stat the file", e))?.dev();
        let kind =
            fstatfs(file).map_err(|e| Error::os("cannot query its file system", e))?.filesystem_type().0;
        // The field's type differs between architectures; the numbers have 32 bits.
        let kind = kind as u64 & 0xffff_ffff;
        let this = FileSystem { key: Hash::new().word(device).word(kind).0 | 1, kind };
        match file_system::reach(kind) {
            Reach::Kernel => Ok(this),
            Reach::Hosts => {
                Err(this.refused("it is a network file system, and other hosts do not see this host's memory"))
            }
            Reach::Program => Err(this.refused(
                "a program is behind it, and processes that access the same file another way would not see this memory",
            )),
        }
    }

    fn slot(self) -> &'static AtomicU64 {
        &PROVED[(self.key >> 1) as usize % PROVED.len()]
    }

    pub(crate) fn is_proved(self) -> bool {
        self.slot().load(Ordering::Relaxed) == self.key
    }

    /// Proves that this process may make the required calls, given any description of the file and any mapping of it.
    /// `word` is the file's `coherence_probe`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`].
    pub(crate) fn check_calls(self, file: &File, word: &AtomicU64) -> Result<()> {
        if self.is_proved() {
            return Ok(());
        }
        self.check_locks(file)?;
        futex::check(word).map_err(|errno| self.futex_refused(errno))
    }

    /// Proves that this process may take locks on this file and query those of others.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`].
    pub(crate) fn check_locks(self, file: &File) -> Result<()> {
        // A child forked at this moment would inherit the lock.
        let _gate = NoFork::enter();
        let byte = self.lock_any(file)?;
        lock::unlock(file, byte);
        lock::is_held(file, byte).map_err(|e| self.lock_refused(e)).map(drop)
    }

    /// Proves the file system itself. `open` opens the file once more; `word` is its `coherence_probe`, mapped through
    /// another description.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the proof fails, other kinds if it cannot be carried out.
    pub(crate) fn prove(self, open: impl Fn() -> Result<File>, word: &AtomicU64) -> Result<()> {
        if self.is_proved() {
            return Ok(());
        }
        // A child forked by a handler would look for a lock that its parent has released.
        let _no_handlers = NoHandlers::enter();
        let gate = NoFork::enter();
        let file = open()?;
        let byte = self.lock_any(&file)?;
        let held = HeldByMapping::keep(file, &gate).map_err(|e| self.map_refused(e))?;
        drop(gate);
        let other = open()?;
        let is_held = || lock::is_held(&other, byte).map_err(|e| self.lock_refused(e));
        if !is_held()? {
            return Err(self
                .refused("a lock there ends with its descriptor, although a mapping of the file lives on"));
        }
        if !(is_shared(held.word(offset_of!(Header, coherence_probe)), word)
            && is_shared(word, held.word(offset_of!(Header, coherence_probe))))
        {
            return Err(self.refused("two mappings of one file are not the same memory there"));
        }
        drop(held);
        if is_held()? {
            return Err(self.refused("a lock there outlives the last descriptor and mapping that held it"));
        }
        self.slot().store(self.key, Ordering::Relaxed);
        Ok(())
    }

    /// Locks a byte that no other process has locked.
    fn lock_any(self, file: &File) -> Result<i64> {
        static TRIES: AtomicU64 = AtomicU64::new(0);
        for _ in 0..64 {
            let hash =
                [process_token(), crate::clock::now().as_nanos(), TRIES.fetch_add(1, Ordering::Relaxed)]
                    .into_iter()
                    .fold(Hash::new().word(u64::from(std::process::id())), Hash::word)
                    .0;
            let byte = PROBE_LOCKS.start + (hash % (PROBE_LOCKS.end - PROBE_LOCKS.start) as u64) as i64;
            if lock::try_lock(file, byte).map_err(|e| self.lock_refused(e))? {
                return Ok(byte);
            }
        }
        Err(Error::new(
            ErrorKind::Busy,
            "another process holds the locks that are used for testing the file system (`fuser -v` with the file lists \
             the processes that use it); end it, then try again",
        ))
    }

    /// The error for a refused lock call.
    pub(crate) fn lock_refused(self, refusal: io::Error) -> Error {
        match refusal.raw_os_error() {
            Some(libc::EPERM | libc::EACCES | libc::ENOSYS | libc::EINVAL) => Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the kernel denies this process the locks that a limiter depends on (fcntl F_OFD_SETLK, on {}: {refusal}); \
                     allow fcntl with F_OFD_SETLK and F_OFD_GETLK in its seccomp filter or security policy",
                    self.name()
                ),
            ),
            Some(libc::EOPNOTSUPP | libc::ENOTTY) => {
                self.refused(&format!("it does not support locks ({refusal})"))
            }
            _ => Error::os("cannot lock the file", refusal),
        }
    }

    fn futex_refused(self, errno: Errno) -> Error {
        match errno {
            Errno::EFAULT => self.refused("futexes do not work on its mappings (futex: EFAULT)"),
            errno => Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the kernel does not let this process wait and wake in shared memory (futex: {}); \
                     allow futex in its seccomp filter or security policy",
                    io::Error::from(errno)
                ),
            ),
        }
    }

    /// The error for a file that cannot be mapped.
    pub(crate) fn map_refused(self, refusal: io::Error) -> Error {
        match refusal.raw_os_error() {
            Some(libc::ENODEV | libc::EOPNOTSUPP | libc::EINVAL) => {
                self.refused(&format!("its files cannot be mapped as shared memory ({refusal})"))
            }
            _ => Error::os("cannot map the file", refusal),
        }
    }

    /// The error for a file that cannot be linked in any way that never replaces another file.
    pub(crate) fn naming_refused(self, refusal: Errno) -> Error {
        match refusal {
            Errno::EPERM | Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP => self.refused(&format!(
                "it cannot link a finished file without the risk of replacing another one ({})",
                io::Error::from(refusal)
            )),
            other => Error::os("cannot link the file into place", other),
        }
    }

    fn refused(self, what: &str) -> Error {
        Error::new(
            ErrorKind::Unsupported,
            format!(
                "a limiter cannot be kept on {}: {what}; choose a directory on another file system \
                 (SHM_LIMIT_DIR, --dir, directory()): a tmpfs such as /dev/shm, or in a container a volume or bind mount",
                self.name()
            ),
        )
    }

    fn name(self) -> String {
        match file_system::name(self.kind) {
            Some(name) => name.to_owned(),
            None => format!("this file system (type {:#x})", self.kind),
        }
    }
}

/// Whether an increment of one word is visible in the other. Other processes may increment both at the same time.
fn is_shared(from: &AtomicU64, to: &AtomicU64) -> bool {
    // SeqCst: the loads and the increment happen in this order.
    let before = to.load(Ordering::SeqCst);
    let found = from.fetch_add(1, Ordering::SeqCst);
    let after = to.load(Ordering::SeqCst);
    let at_least = |value: u64, least: u64| value.wrapping_sub(least) < 1 << 63;
    at_least(found, before) && at_least(after, found.wrapping_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_increment_is_seen_in_the_same_word_only() {
        for start in [0, 7, u64::MAX - 1, u64::MAX] {
            let word = AtomicU64::new(start);
            assert!(is_shared(&word, &word), "{start}");
            assert!(!is_shared(&word, &AtomicU64::new(start.wrapping_sub(5))), "{start}: behind");
            assert!(!is_shared(&word, &AtomicU64::new(word.load(Ordering::Relaxed))), "{start}: a copy");
        }
    }
}
