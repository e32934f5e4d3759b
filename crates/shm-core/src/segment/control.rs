//! The control lock: only one changer at a time. Decisions never take it.

use super::{Plan, Segment, create};
use crate::commit::Pair;
use crate::error::{Error, ErrorKind, Result};
use crate::intervals::CONTROL_LOCK_TIMEOUT;
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

/// Proof that this thread is the only changer. The lock is an OFD lock: the kernel releases it when this process dies,
/// and a forked child does not inherit it.
pub(crate) struct Control<'a> {
    segment: &'a Segment,
    _lock: HeldByMapping,
    /// A child forked by a handler would continue the change alongside its parent.
    _no_handlers: NoHandlers,
}

impl Segment {
    /// Takes the control lock.
    ///
    /// Opens the file each time: no descriptor is kept that other code could close (`closefrom`) or a child could
    /// inherit.
    pub(crate) fn control(&self) -> Result<Control<'_>> {
        let give_up = Instant::now() + CONTROL_LOCK_TIMEOUT;
        loop {
            if let Some(control) = self.try_control()? {
                return Ok(control);
            }
            if Instant::now() >= give_up {
                return Err(self.error(
                    ErrorKind::Busy,
                    format!(
                        "another process has held the control lock for {CONTROL_LOCK_TIMEOUT:?} (is it stopped? `fuser -v {}` \
                         lists the processes that use the limiter); decisions are not affected; resume or \
                         end that process, then try again",
                        self.path.display()
                    ),
                ));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Takes the control lock if no other process holds it.
    pub(crate) fn try_control(&self) -> Result<Option<Control<'_>>> {
        let no_handlers = NoHandlers::enter();
        let gate = NoFork::enter();
        let file = self.reopen()?;
        if !lock::try_lock(&file, CONTROL_LOCK).map_err(|e| self.lock_refused(e))? {
            return Ok(None);
        }
        let lock = HeldByMapping::keep(file, &gate)
            .map_err(|e| Error::os("cannot map the control lock", e).at(self.name.as_str(), &self.path))?;
        drop(gate);
        Ok(Some(Control { segment: self, _lock: lock, _no_handlers: no_handlers }))
    }

    /// Fails if this process may not unlink the file, before anything is changed.
    pub(crate) fn check_removable(&self) -> Result<()> {
        let dir = self.path.parent().unwrap_or(&self.path);
        let allowed = faccessat(AT_FDCWD, dir, AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS);
        let sticky = |dir: std::fs::Metadata, file: std::fs::Metadata| {
            let me = geteuid().as_raw();
            dir.mode() & libc::S_ISVTX == 0 || [0, dir.uid(), file.uid()].contains(&me)
        };
        let sticky_allows = match (std::fs::metadata(dir), std::fs::symlink_metadata(&self.path)) {
            (Ok(dir), Ok(file)) => sticky(dir, file),
            // Already gone: reported elsewhere.
            _ => true,
        };
        if allowed.is_ok() && sticky_allows {
            return Ok(());
        }
        Err(self.error(
            ErrorKind::PermissionDenied,
            format!(
                "no permission to remove its file from {}, so the limiter was not retired; run this as the owner",
                dir.display()
            ),
        ))
    }

    /// Unlinks a retired limiter, unless another process has already done so.
    pub(super) fn finish_removal(&self) -> Result<()> {
        match self.control() {
            Ok(control) => control.remove_name(),
            Err(e) if e.kind() == ErrorKind::Retired => Ok(()),
            Err(e) => Err(e),
        }
    }
}

impl Control<'_> {
    /// The cells that only the holder of the control lock writes.
    pub(crate) fn pair(&self) -> Pair {
        Pair::of(self.segment.map.shape().control_pair(), process_token())
    }

    /// Puts a new limiter in place of this one. This one is retired last, right before the rename: a process that
    /// learns of the retirement then finds the new limiter under the name, or waits for this lock to remove the name.
    pub(crate) fn replace(&self, plan: &Plan) -> Result<Segment> {
        let (name, path) = (&self.segment.name, &self.segment.path);
        create::replace(name, path, plan, || self.segment.generations().retire())
            .map_err(|e| e.at(name.as_str(), path))
    }

    /// Unlinks the path if it still refers to this limiter. Only for a retired one.
    pub(crate) fn remove_name(&self) -> Result<()> {
        if !self.segment.is_retired() {
            let what = "damaged: it was retired, but its retired flag has been overwritten; its file was not removed; run \
                        `shm-limit remove` again";
            return Err(self.segment.error(ErrorKind::Corrupt, what));
        }
        // Again, in case the process that retired it died halfway.
        self.segment.generations().retire();
        // Every well-behaved process needs this lock to unlink the file, so the path cannot change in between.
        unlink_if(&self.segment.path, self.segment.device, self.segment.inode).map(|_| ()).map_err(|e| {
            Error::os("it is retired, but its file cannot be removed", e)
                .at(self.segment.name.as_str(), &self.segment.path)
        })
    }
}

/// Unlinks the path if it refers to this file; returns whether it did. The directory is opened once: if another
/// directory takes its place meanwhile, no file is removed there.
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
