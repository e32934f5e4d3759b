//! What a limiter rests on, proved on the file system that it lies on and with the calls that this process may make.
//!
//! | what | how it is proved |
//! |---|---|
//! | a lock outlives its descriptor while a mapping of the same open file description lives | locked on one description, mapped, closed; another description must see the lock |
//! | the lock goes with the mapping | unmapped; the other description must not see it any more |
//! | all mappings of the file are the same memory | an increment through one must be seen through another of another description, and the other way round |
//! | a sleeper in one process is woken from another | see below |
//! | nobody has the file in other memory: another host, or whoever reaches what FUSE mirrors | by the kind of file system; it can't be tried from here |
//!
//! **Why nobody sleeps in the proof.** The kernel finds the sleepers of a shared futex by the inode and the offset of the
//! page that the word lies on, or, for a page without an inode, by the page itself. Two mappings that are the same
//! memory have the same pages. So coherence is what makes a wake cross from one mapping to another, and it remains to
//! prove that the kernel lets this process wait and wake on this mapping. `tests/file_systems.rs` wakes real sleepers.
//!
//! overlayfs fails the first: its `mmap` maps the file below, with a description of that file, so closing the descriptor
//! ends the lock although the mapping lives.
//!
//! What was proved holds for the file system as long as it is mounted. So the proof is made once in a process for each
//! (device number and kind: an anonymous device number may come again with another file system), and forked children
//! inherit it. It takes about a dozen system calls.

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

/// The grounds that this process, or one that it was forked from, has proved. No lock: each word stands for itself, and
/// one that is overwritten is proved again.
static PROVED: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

/// The file system that a limiter lies on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground {
    /// Names the mounted file system. Not 0.
    key: u64,
    /// Which kind it is, as `statfs` says.
    kind: u64,
}

impl Ground {
    /// That of this file.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for those whose files others may have in other memory.
    pub(crate) fn of(file: &File) -> Result<Ground> {
        let device = file.metadata().map_err(|e| Error::os("can't look at it", e))?.dev();
        let kind =
            fstatfs(file).map_err(|e| Error::os("can't look at its file system", e))?.filesystem_type().0;
        // The type of the field differs between architectures; the numbers have 32 bits.
        let kind = kind as u64 & 0xffff_ffff;
        let ground = Ground { key: Hash::new().word(device).word(kind).0 | 1, kind };
        match file_system::reach(kind) {
            Reach::Kernel => Ok(ground),
            Reach::Hosts => {
                Err(ground.refused("it is a network file system, and other hosts do not see this host's memory"))
            }
            Reach::Program => Err(ground.refused(
                "a program is behind it, and whoever reaches the same file by another way would not see this memory",
            )),
        }
    }

    fn slot(self) -> &'static AtomicU64 {
        &PROVED[(self.key >> 1) as usize % PROVED.len()]
    }

    pub(crate) fn is_proved(self) -> bool {
        self.slot().load(Ordering::Relaxed) == self.key
    }

    /// Proves that this process may make the calls that a limiter needs, with any one description of the file and any one
    /// mapping of it. `word` is the file's `ground` word.
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

    /// Proves that this process may take locks on this file, and ask for others'.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`].
    pub(crate) fn check_locks(self, file: &File) -> Result<()> {
        // A child forked in this moment would inherit the lock.
        let _gate = NoFork::enter();
        let byte = self.lock_any(file)?;
        lock::unlock(file, byte);
        lock::is_held(file, byte).map_err(|e| self.lock_refused(e)).map(drop)
    }

    /// Proves the file system itself. `open` opens the file once more; `word` is its `ground` word, mapped by a
    /// description that is none of those.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if it fails, others if it can't be tried.
    pub(crate) fn prove(self, open: impl Fn() -> Result<File>, word: &AtomicU64) -> Result<()> {
        if self.is_proved() {
            return Ok(());
        }
        // A child that a handler forks would look for what its parent has given up.
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
        if !(passes_on(held.word(offset_of!(Header, ground)), word)
            && passes_on(word, held.word(offset_of!(Header, ground))))
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

    /// Locks a byte that nobody else has locked.
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
            "another process holds the locks with which an opening process tests the file system (`fuser -v` with the file lists \
             the processes that use it); end it, then try again",
        ))
    }

    /// The error for a refused call about a lock that nobody else holds.
    pub(crate) fn lock_refused(self, refusal: io::Error) -> Error {
        match refusal.raw_os_error() {
            Some(libc::EPERM | libc::EACCES | libc::ENOSYS | libc::EINVAL) => Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the kernel refuses this process the locks that a limiter rests on (fcntl F_OFD_SETLK, on {}: {refusal}); \
                     allow fcntl with F_OFD_SETLK and F_OFD_GETLK in its seccomp filter or security policy",
                    self.name()
                ),
            ),
            Some(libc::EOPNOTSUPP | libc::ENOTTY) => self.refused(&format!("it has no locks ({refusal})")),
            _ => Error::os("can't lock it", refusal),
        }
    }

    fn futex_refused(self, errno: Errno) -> Error {
        match errno {
            Errno::EFAULT => self.refused("the kernel finds no sleepers by a mapping of it (futex: EFAULT)"),
            errno => Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the kernel refuses this process to wait and wake in shared memory (futex: {}); \
                     allow futex in its seccomp filter or security policy",
                    io::Error::from(errno)
                ),
            ),
        }
    }

    /// The error for a file that can't be mapped.
    pub(crate) fn map_refused(self, refusal: io::Error) -> Error {
        match refusal.raw_os_error() {
            Some(libc::ENODEV | libc::EOPNOTSUPP | libc::EINVAL) => {
                self.refused(&format!("its files can't be mapped as shared memory ({refusal})"))
            }
            _ => Error::os("can't map it", refusal),
        }
    }

    /// The error for a file that can't be given its name by any way that replaces no other file.
    pub(crate) fn naming_refused(self, refusal: Errno) -> Error {
        match refusal {
            Errno::EPERM | Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP => self.refused(&format!(
                "a finished file can be given no name there without perhaps replacing another one ({})",
                io::Error::from(refusal)
            )),
            other => Error::os("can't give it its name", other),
        }
    }

    fn refused(self, what: &str) -> Error {
        Error::new(
            ErrorKind::Unsupported,
            format!(
                "a limiter can't be kept on {}: {what}; choose a directory on another file system \
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

/// Whether an increment of the one word is seen in the other. Others may increment both at the same time.
fn passes_on(from: &AtomicU64, to: &AtomicU64) -> bool {
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
    fn an_increment_passes_on_within_one_word_and_not_between_two() {
        for start in [0, 7, u64::MAX - 1, u64::MAX] {
            let word = AtomicU64::new(start);
            assert!(passes_on(&word, &word), "{start}");
            assert!(!passes_on(&word, &AtomicU64::new(start.wrapping_sub(5))), "{start}: behind");
            assert!(!passes_on(&word, &AtomicU64::new(word.load(Ordering::Relaxed))), "{start}: a copy");
        }
    }
}
