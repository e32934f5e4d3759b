//! The control lock: one changer at a time. Decisions never take it.

use super::{Plan, Segment, create};
use crate::commit::Pair;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::CONTROL_LOCK;
use crate::sys::fork_gate::NoFork;
use crate::sys::lock::{self, HeldByMapping};
use crate::sys::process_token::process_token;
use crate::sys::signal::NoHandlers;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{AccessFlags, UnlinkatFlags, faccessat, geteuid, unlinkat};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a change waits for another one. Changes take microseconds: a holder for this long is stopped.
const PATIENCE: Duration = Duration::from_secs(2);

/// Proof that this thread is the only changer. The lock is the kernel's: it dies with this process, and a forked child
/// does not inherit it.
pub(crate) struct Control<'a> {
    segment: &'a Segment,
    _lock: HeldByMapping,
    /// A child that a handler forks would go on with the change beside its parent.
    _no_handlers: NoHandlers,
}

impl Segment {
    /// Takes the control lock.
    ///
    /// The file is opened for it each time: no descriptor is kept, so none can be closed by others (`closefrom`) or
    /// inherited.
    pub(crate) fn control(&self) -> Result<Control<'_>> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let no_handlers = NoHandlers::enter();
            let gate = NoFork::enter();
            let file = self.reopen()?;
            if lock::try_lock(&file, CONTROL_LOCK).map_err(|e| self.lock_refused(e))? {
                let lock = HeldByMapping::keep(file, &gate).map_err(|e| {
                    Error::os("cannot map the control lock", e).at(self.name.as_str(), &self.path)
                })?;
                drop(gate);
                return Ok(Control { segment: self, _lock: lock, _no_handlers: no_handlers });
            }
            drop((file, gate, no_handlers));
            if Instant::now() >= give_up {
                return Err(self.error(
                    ErrorKind::Busy,
                    format!(
                        "another process has held the lock for changes for {PATIENCE:?} (is it stopped? `fuser -v {}` lists the \
                         processes that use the limiter); decisions go on; let it run or end it, then try again",
                        self.path.display()
                    ),
                ));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Fails if this process may not take the name away, before anything is changed.
    pub(crate) fn check_removable(&self) -> Result<()> {
        let dir = self.path.parent().unwrap_or(&self.path);
        let allowed = faccessat(AT_FDCWD, dir, AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS);
        let sticky = |dir: std::fs::Metadata, file: std::fs::Metadata| {
            let me = geteuid().as_raw();
            dir.mode() & libc::S_ISVTX == 0 || [0, dir.uid(), file.uid()].contains(&me)
        };
        let sticky_allows = match (std::fs::metadata(dir), std::fs::symlink_metadata(&self.path)) {
            (Ok(dir), Ok(file)) => sticky(dir, file),
            // Gone: that is for others to say.
            _ => true,
        };
        if allowed.is_ok() && sticky_allows {
            return Ok(());
        }
        Err(self.error(
            ErrorKind::PermissionDenied,
            format!(
                "its file can't be removed from {}, so it was not retired; do it as the owner",
                dir.display()
            ),
        ))
    }

    /// Takes the name of a retired limiter away, unless somebody else has done it.
    pub(super) fn finish_removal(&self) -> Result<()> {
        match self.control() {
            Ok(control) => control.remove_name(),
            Err(e) if e.kind() == ErrorKind::Retired => Ok(()),
            Err(e) => Err(e),
        }
    }
}

impl Control<'_> {
    /// The cells that only the holder of the lock writes.
    pub(crate) fn pair(&self) -> Pair {
        Pair::of(self.segment.map.shape().control_pair(), process_token())
    }

    /// Puts a new limiter in the place of this one, which is retired when everything else is done: whoever hears of that
    /// finds the new one under the name, or waits for this lock to take the name away.
    pub(crate) fn replace(&self, plan: &Plan) -> Result<Segment> {
        let (name, path) = (&self.segment.name, &self.segment.path);
        create::instead(name, path, plan, || self.segment.generations().retire())
            .map_err(|e| e.at(name.as_str(), path))
    }

    /// Unlinks the path, if it still leads to this limiter. Only for a retired one: nobody uses it any more.
    pub(crate) fn remove_name(&self) -> Result<()> {
        if !self.segment.is_retired() {
            let what =
                "damaged: it was retired, and then somebody took the mark away; its file stays where it is";
            return Err(self.segment.error(ErrorKind::Corrupt, what));
        }
        // Again, if whoever retired it died in between.
        self.segment.generations().retire();
        // Whoever plays by the rules needs this lock to take the name away, so it can't change in between.
        unlink_if(&self.segment.path, self.segment.device, self.segment.inode).map(|_| ()).map_err(|e| {
            Error::os("it is retired, but its file can't be removed", e)
                .at(self.segment.name.as_str(), &self.segment.path)
        })
    }
}

/// Unlinks the path if it leads to this file; whether it did. The directory is opened once: who puts another one in its
/// place meanwhile loses no file there.
pub(crate) fn unlink_if(path: &Path, device: u64, inode: u64) -> std::result::Result<bool, Errno> {
    let (dir, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
    let dir = open(dir, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    match fstatat(&dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(found) if (found.st_dev, found.st_ino) == (device, inode) => {
            unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir).map(|()| true)
        }
        Ok(_) | Err(Errno::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}
