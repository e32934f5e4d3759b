//! The one error type. A denial is not an error: it is a value.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, for programs. [`Error`]'s message says it for people, with what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The name breaks the rules for names.
    InvalidName,
    /// A rate, burst, cost, mode or number of seats is outside what can be kept exactly.
    InvalidInput,
    /// No limiter of that name is there.
    NotFound,
    /// The limiter exists, and differs from what the caller stated.
    Mismatch,
    /// The request is larger than the limiter can ever admit at once.
    NeverAdmissible,
    /// The queue is so long that the turn would come in more than a year.
    TooFar,
    /// The limiter was retired; whoever opens the name now gets a new one.
    Retired,
    /// The file was removed or replaced without being retired.
    Removed,
    /// The bytes in the segment can't have been written by this library.
    Corrupt,
    /// The file is not a limiter: a directory, a FIFO, a symlink, other content, too short.
    NotALimiter,
    /// The limiter was made by another version or for another layout.
    Incompatible,
    /// The limiter was made before the machine started, or under another clock.
    OtherClock,
    /// The file or directory belongs to somebody who isn't trusted here.
    Untrusted,
    /// The operating system refused access.
    PermissionDenied,
    /// There is no room for a new limiter.
    NoSpace,
    /// The file system or the kernel does not do what a limiter rests on, or refuses it to this process.
    Unsupported,
    /// All seats are taken, and several limits or permits need one.
    NoSeat,
    /// Another process is changing the limiter and has not finished.
    Busy,
    /// As many requests wait already as the limiter lets wait (`max_waiters`), and the caller set no bound of its own that
    /// would make that a denial.
    LineFull,
    /// The caller's own condition, given to `stop_when`, ended the wait.
    Interrupted,
    /// Any other failure of the operating system.
    Io,
}

impl ErrorKind {
    /// Whether the limiter is no more: it was retired, or its file was removed or replaced.
    pub fn is_lost(self) -> bool {
        matches!(self, ErrorKind::Retired | ErrorKind::Removed)
    }
}

/// An error that names the limiter and says what to do next.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    place: Option<(String, PathBuf)>,
    source: Option<Arc<io::Error>>,
}

impl Error {
    /// An error of this kind; `message` says what happened and what to do next.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, message: message.into(), place: None, source: None }))
    }

    /// Names the limiter and its file, unless that is already said.
    #[must_use]
    pub fn at(mut self, name: &str, path: &Path) -> Self {
        self.0.place.get_or_insert_with(|| (name.to_owned(), path.to_owned()));
        self
    }

    /// A failed system call: the kind follows from its errno. What to do about a refusal depends on what was refused, so
    /// for those `doing` says it.
    pub(crate) fn os(doing: &str, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let (kind, next) = match source.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => (ErrorKind::PermissionDenied, ""),
            Some(libc::EROFS) => (
                ErrorKind::PermissionDenied,
                "; its file system is mounted read-only: mount it writable, or choose another directory (SHM_LIMIT_DIR)",
            ),
            Some(libc::ENOSPC | libc::EDQUOT | libc::ENOMEM) => {
                (ErrorKind::NoSpace, "; free some space there or choose another directory (SHM_LIMIT_DIR)")
            }
            Some(libc::EMFILE | libc::ENFILE) => {
                (ErrorKind::Io, "; close some files or raise the limit on open files (ulimit -n)")
            }
            _ => (ErrorKind::Io, ""),
        };
        let message = format!("{doing}: {source}{next}");
        Error(Box::new(Inner { kind, message, place: None, source: Some(Arc::new(source)) }))
    }

    /// What went wrong, for a program to act on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The limiter's file, when the error is about one.
    pub fn path(&self) -> Option<&Path> {
        self.0.place.as_ref().map(|(_, path)| path.as_path())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.place {
            Some((name, path)) => {
                write!(f, "limiter {name:?} ({}): {}", path.display(), self.0.message)
            }
            None => f.write_str(&self.0.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}
