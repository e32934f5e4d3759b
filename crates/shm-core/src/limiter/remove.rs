//! Removing a file that cannot be retired.

use super::Limiter;
use crate::directory::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::name::Name;
use crate::segment::unlink_if;
use std::os::unix::fs::MetadataExt;

/// Removes the limiter of this name even if its file is not a usable limiter: corrupt, of another version, from before
/// the last boot, or any other regular file. A usable limiter is retired first, so that every process that uses it
/// finds out.
///
/// # Errors
/// [`ErrorKind::NotFound`], [`ErrorKind::NotALimiter`] for anything but a regular file, and whatever error prevents
/// this process from removing the file.
pub fn remove_by_force(dir: &Directory, name: &Name) -> Result<()> {
    use ErrorKind::{Corrupt, Incompatible, NotALimiter, OtherClock, Untrusted};
    let path = dir.file(name);
    let meta = std::fs::symlink_metadata(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(ErrorKind::NotFound, "the limiter does not exist, so there is nothing to remove")
                .at(name.as_str(), &path)
        }
        _ => Error::os("cannot stat the file", e).at(name.as_str(), &path),
    })?;
    match Limiter::attach(dir, name) {
        Ok(limiter) => return limiter.retire(),
        Err(e) if !matches!(e.kind(), Corrupt | Incompatible | NotALimiter | OtherClock | Untrusted) => {
            return Err(e);
        }
        Err(_) => {}
    }
    if !meta.is_file() {
        return Err(Error::new(
            ErrorKind::NotALimiter,
            "this is not a regular file, so it was not removed; delete it by hand if nothing needs it",
        )
        .at(name.as_str(), &path));
    }
    // Only the file that was found unusable, not one that replaced it since.
    match unlink_if(&path, meta.dev(), meta.ino()) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let why = "another process has just replaced or removed the file; try again";
            Err(Error::new(ErrorKind::Busy, why).at(name.as_str(), &path))
        }
        Err(e) => Err(Error::os(
            "cannot remove the file; run this as a user who can write to its directory (if that is sticky: as the file's owner)",
            e,
        )
        .at(name.as_str(), &path)),
    }
}
