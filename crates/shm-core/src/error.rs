//! The crate's only error type. A denial is not an error but a value.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, for programs to match on. [`Error`]'s message explains it to people, with a remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The name breaks the rules for names.
    InvalidName,
    /// A rate, burst, cost, mode or number of seats is outside the range that can be represented exactly.
    InvalidInput,
    /// No limiter of that name exists.
    NotFound,
    /// The limiter exists and differs from what the caller specified.
    Mismatch,
    /// The request is larger than the limiter can ever admit.
    NeverAdmissible,
    /// The wait would be longer than a year.
    TooFar,
    /// The limiter was retired. Opening its name now creates a new one.
    Retired,
    /// The file was removed or replaced without being retired.
    Removed,
    /// The file contains bytes that this library cannot have written.
    Corrupt,
    /// The file is not a limiter: a directory, a FIFO, a symlink, other content, too short.
    NotALimiter,
    /// The limiter was created by another version or with another layout.
    Incompatible,
    /// The limiter was created before the last boot, or under another clock.
    OtherClock,
    /// The file or directory belongs to a user who is not trusted here.
    Untrusted,
    /// The operating system refused access.
    PermissionDenied,
    /// There is not enough space for a new limiter.
    NoSpace,
    /// The file system or the kernel lacks something that a limiter depends on, or denies it to this process.
    Unsupported,
    /// No seat is free, and this limiter needs one for each process (as all do but a single bucket of calls without permits).
    NoSeat,
    /// Another process is changing the limiter and has not finished.
    Busy,
    /// The maximum number of requests already wait (`max_waiters`), and the caller set no bound of its own that would
    /// turn this into a denial.
    LineFull,
    /// The caller's own condition, given to `stop_when`, ended the wait.
    Interrupted,
    /// Any other failure of the operating system.
    Io,
}

impl ErrorKind {
    /// The kind in a word that stays the same, for programs in other languages: `not_found`, `corrupt`.
    pub fn word(self) -> String {
        let mut word = String::new();
        for c in format!("{self:?}").chars() {
            if c.is_uppercase() && !word.is_empty() {
                word.push('_');
            }
            word.push(c.to_ascii_lowercase());
        }
        word
    }

    /// Whether the limiter no longer exists: it was retired, or its file was removed or replaced.
    pub fn is_lost(self) -> bool {
        matches!(self, ErrorKind::Retired | ErrorKind::Removed)
    }
}

/// An error that names the limiter and suggests a remedy.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    limiter: Option<(String, PathBuf)>,
    source: Option<Arc<io::Error>>,
}

impl Error {
    /// An error of this kind; `message` says what happened and what to do about it.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, message: message.into(), limiter: None, source: None }))
    }

    /// Names the limiter and its file, unless the error already names one.
    #[must_use]
    pub fn at(mut self, name: &str, path: &Path) -> Self {
        self.0.limiter.get_or_insert_with(|| (name.to_owned(), path.to_owned()));
        self
    }

    /// A failed system call; the kind follows from its errno. The remedy for a refusal depends on what was refused, so
    /// `doing` has to contain it.
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
        Error(Box::new(Inner { kind, message, limiter: None, source: Some(Arc::new(source)) }))
    }

    /// What went wrong, for a program to match on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The limiter's file, if the error is about one.
    pub fn path(&self) -> Option<&Path> {
        self.0.limiter.as_ref().map(|(_, path)| path.as_path())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.limiter {
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
