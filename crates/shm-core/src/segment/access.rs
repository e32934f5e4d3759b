//! Owner, group and mode of a new file, decided by the directory in which it is created.
//!
//! The first rule that applies decides:
//!
//! - Only its owner can write to the directory, and root creates the file: it belongs to that owner and the directory's
//!   group, as if the owner had created it.
//! - The directory is setgid and group-writable: the file has the directory's group (from the kernel), and mode 0660
//!   unless the caller chose one.
//! - The directory is group-writable, and the caller chose mode 0660 or 0666: the file has the directory's group, if the
//!   caller may assign it.
//! - The directory is world-writable, and the caller chose 0660 or 0666: creation is refused, unless root or the
//!   directory's owner creates the file. Other users would not trust it.
//! - Any other case: the file belongs to the caller, with mode 0600 unless the caller chose one.
//!
//! **Why root may give a file away.** A user who controls the path can make root create the file in any directory, by a
//! symbolic link. So the directory is opened once, and its owner is read from the same descriptor through which the
//! file is created and named. Whichever directory that is, the file goes to the only user (besides root) who could have
//! put a file there. Nothing is given away in directories that other users can write to: they could move the file to a
//! place where a file of that owner has more authority.

use crate::error::{Error, ErrorKind, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat};
use nix::unistd::{Gid, Uid, fchown, geteuid};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The default mode of a limiter's file: its owner only.
const DEFAULT_MODE: u32 = 0o600;
/// The default in a directory that a group shares.
const SHARED_MODE: u32 = 0o660;

/// The directory in which a file is created, opened once.
pub(super) struct Parent {
    fd: OwnedFd,
    path: PathBuf,
    rights: Rights,
}

impl AsFd for Parent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The attributes of a directory that decide about new files in it.
#[derive(Clone, Copy, Debug)]
struct Rights {
    owner: u32,
    group: u32,
    mode: u32,
}

/// Owner, group and mode of a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    mode: u32,
    owner: Option<u32>,
    /// The group to assign, if any.
    group: Option<u32>,
}

impl Rights {
    fn group_can_write(self) -> bool {
        self.mode & 0o020 != 0
    }

    fn everybody_can_write(self) -> bool {
        self.mode & 0o002 != 0
    }

    /// Access to a new file created by user `me`; `None` if other users would not trust it although its mode lets them
    /// use it.
    fn access(self, me: u32, asked: Option<u32>) -> Option<Access> {
        let for_a_group = self.group_can_write() && !self.everybody_can_write();
        let is_setgid = self.mode & libc::S_ISGID != 0;
        let mode = asked.unwrap_or(if for_a_group && is_setgid { SHARED_MODE } else { DEFAULT_MODE });
        let others_may = mode & 0o066 != 0;
        if others_may && self.everybody_can_write() && me != 0 && me != self.owner {
            return None;
        }
        if me == 0 && self.owner != 0 && !self.group_can_write() && !self.everybody_can_write() {
            return Some(Access { mode, owner: Some(self.owner), group: Some(self.group) });
        }
        let group = (others_may && for_a_group).then_some(self.group);
        Some(Access { mode, owner: None, group })
    }
}

impl Parent {
    /// Opens the directory of this file.
    pub(super) fn of(file: &Path) -> Result<Parent> {
        let path = file.parent().unwrap_or(file);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::ENOENT => Error::os(
                &format!(
                    "the directory {} does not exist, so the limiter cannot be created; create the directory first",
                    path.display()
                ),
                errno,
            ),
            Errno::ENOTDIR => Error::os(&format!("{} is not a directory; choose another one", path.display()), errno),
            _ => Error::os(&format!("cannot open the directory {}", path.display()), errno),
        })?;
        let stat: FileStat = fstat(&fd)
            .map_err(|errno| Error::os(&format!("cannot stat the directory {}", path.display()), errno))?;
        let rights = Rights { owner: stat.st_uid, group: stat.st_gid, mode: stat.st_mode };
        Ok(Parent { fd, path: path.to_owned(), rights })
    }

    /// Owner, group and mode of a file created here.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a mode that lets other users use the file where they would not trust it.
    pub(super) fn access(&self, asked: Option<u32>) -> Result<Access> {
        let me = geteuid().as_raw();
        self.rights.access(me, asked).ok_or_else(|| {
            let (dir, mode) = (self.path.display(), asked.unwrap_or_default());
            Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "mode {mode:o} cannot work in {dir}: every user can write to that directory, so a file in it is only \
                     trusted if it belongs to root, to the directory's owner (uid {}) or to the user who opens it, and \
                     this one would belong to uid {me}; use mode 600, or a directory that only one group can write to: \
                     install -d -m 2770 -g GROUP DIR",
                    self.rights.owner
                ),
            )
        })
    }

    /// Sets mode, owner and group of a new file, which no other process can use yet.
    pub(super) fn grant(&self, file: &File, access: Access) -> Result<()> {
        fchmod(file, Mode::from_bits_truncate(access.mode))
            .map_err(|e| Error::os("cannot set the mode of the new file", e))?;
        let Access { owner, group, .. } = access;
        let meta = file.metadata().map_err(|e| Error::os("cannot stat the file", e))?;
        let group = group.filter(|&group| group != meta.gid());
        if owner.is_none() && group.is_none() {
            return Ok(());
        }
        match fchown(file, owner.map(Uid::from_raw), group.map(Gid::from_raw)) {
            // Only members of a group may assign it. Files of other users keep their own group.
            Err(Errno::EPERM) if owner.is_none() => Ok(()),
            Err(errno) => Err(Error::os(
                &format!(
                    "cannot give the new file to uid {}, who owns {} and otherwise could not use it; create it as that user",
                    self.rights.owner,
                    self.path.display()
                ),
                errno,
            )),
            Ok(()) => Ok(()),
        }
    }

    /// Why a file could not be created here.
    pub(super) fn creation_error(&self, errno: Errno) -> Error {
        let Rights { owner, group, mode } = self.rights;
        match errno {
            Errno::EACCES | Errno::EPERM => Error::os(
                &format!(
                    "uid {} cannot create a file in {} (owner uid {owner}, group gid {group}, mode {:o}); choose another \
                     directory (--dir, {}), or have a user who can write to this one create the limiter with a mode that \
                     includes you",
                    geteuid(),
                    self.path.display(),
                    mode & 0o7777,
                    crate::directory::DIR_VARIABLE,
                ),
                errno,
            ),
            _ => Error::os(&format!("cannot create a file in {}", self.path.display()), errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: u32 = 0;
    const OWNER: u32 = 1_000;
    const OTHER: u32 = 1_001;
    const GROUP: u32 = 2_000;

    #[test]
    fn directory_determines_owner_group_and_mode() {
        let given = Some((Some(OWNER), Some(GROUP)));
        let shared = Some((None, Some(GROUP)));
        let plain = Some((None, None));
        for (dir_owner, dir_mode, me, asked, mode, expected) in [
            // A user's own directory.
            (OWNER, 0o700, OWNER, None, 0o600, plain),
            (OWNER, 0o700, ROOT, None, 0o600, given),
            (OWNER, 0o755, ROOT, Some(0o660), 0o660, given),
            (OWNER, 0o2755, ROOT, None, 0o600, given),
            (ROOT, 0o700, ROOT, None, 0o600, plain),
            (ROOT, 0o755, ROOT, Some(0o666), 0o666, plain),
            // Shared by a group.
            (ROOT, 0o2770, OTHER, None, 0o660, shared),
            (ROOT, 0o2770, OTHER, Some(0o600), 0o600, plain),
            (ROOT, 0o2770, ROOT, None, 0o660, shared),
            (OWNER, 0o2770, ROOT, None, 0o660, shared),
            (OWNER, 0o3770, OTHER, None, 0o660, shared),
            (ROOT, 0o0770, OTHER, None, 0o600, plain),
            (ROOT, 0o0770, OTHER, Some(0o660), 0o660, shared),
            (OWNER, 0o0770, ROOT, None, 0o600, plain),
            // Setgid without group write permission.
            (ROOT, 0o2755, ROOT, None, 0o600, plain),
            // World-writable.
            (ROOT, 0o1777, OTHER, None, 0o600, plain),
            (ROOT, 0o1777, OTHER, Some(0o660), 0o660, None),
            (ROOT, 0o1777, OTHER, Some(0o666), 0o666, None),
            (ROOT, 0o0777, OTHER, Some(0o666), 0o666, None),
            (ROOT, 0o3777, OTHER, None, 0o600, plain),
            (ROOT, 0o1777, ROOT, Some(0o666), 0o666, plain),
            (OWNER, 0o1777, OWNER, Some(0o666), 0o666, plain),
            (OWNER, 0o1777, ROOT, Some(0o666), 0o666, plain),
        ] {
            let dir = Rights { owner: dir_owner, group: GROUP, mode: dir_mode };
            let expected = expected.map(|(owner, group)| Access { mode, owner, group });
            assert_eq!(dir.access(me, asked), expected, "{dir:?}, uid {me}, asked {asked:?}");
        }
    }
}
