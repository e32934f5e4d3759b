//! Removing what can't be retired.

use super::Limiter;
use crate::error::{Error, ErrorKind, Result};
use crate::name::{Directory, Name};
use crate::segment::unlink_if;
use std::os::unix::fs::MetadataExt;

/// Removes a file that is no usable limiter: damaged, of another version, from before the machine started. Those
/// that are usable are retired properly.
///
/// # Errors
/// [`ErrorKind::NotFound`], [`ErrorKind::NotALimiter`] for what is not a regular file, or that it can't be removed.
pub fn remove_by_force(dir: &Directory, name: &Name) -> Result<()> {
    use ErrorKind::{Corrupt, Incompatible, NotALimiter, OtherClock, Untrusted};
    let path = dir.file(name);
    let meta = std::fs::symlink_metadata(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(ErrorKind::NotFound, "there is none").at(name.as_str(), &path)
        }
        _ => Error::os("can't look at it", e).at(name.as_str(), &path),
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
            "this is no regular file; remove it by hand if it should go",
        )
        .at(name.as_str(), &path));
    }
    // What was found unusable, not what somebody has put there since.
    match unlink_if(&path, meta.dev(), meta.ino()) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let why = "another file has its name now, or none has; look again";
            Err(Error::new(ErrorKind::Busy, why).at(name.as_str(), &path))
        }
        Err(e) => Err(Error::os("can't remove it", e).at(name.as_str(), &path)),
    }
}
