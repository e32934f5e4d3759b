//! Exit statuses, and which failure has which status.

use crate::output;
use shm_lib::{Error, ErrorKind};
use std::fmt;
use std::io;
use std::process::ExitCode;

/// Done, or admitted.
pub(crate) const DONE: u8 = 0;
/// Failed.
pub(crate) const FAILED: u8 = 1;
/// The command line, or the request, is not valid.
pub(crate) const USAGE: u8 = 2;
/// The request is denied, or its turn would come too late (`EX_TEMPFAIL`: try again later).
pub(crate) const DENIED: u8 = 75;
/// `run`: the command was found but cannot be executed, as in a shell.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// `run`: the command does not exist, as in a shell.
pub(crate) const NO_COMMAND: u8 = 127;

/// Why a command failed.
pub(crate) enum Failure {
    /// An error of the library.
    Limiter(Error),
    /// Standard output cannot be written.
    Output(io::Error),
    /// Anything else, with its exit status.
    Other(u8, String),
}

impl Failure {
    /// A failure with status 1.
    pub(crate) fn new(message: impl Into<String>) -> Failure {
        Failure::Other(FAILED, message.into())
    }

    /// The kind of the failure, in a word that stays the same: `not_found`, `corrupt`, `failed`.
    pub(crate) fn word(&self) -> String {
        match self {
            Failure::Limiter(error) => error.kind().word(),
            _ => "failed".to_owned(),
        }
    }

    /// The exit status.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Failure::Limiter(e) => match e.kind() {
                ErrorKind::InvalidName | ErrorKind::InvalidInput | ErrorKind::NeverAdmissible => USAGE,
                _ => FAILED,
            },
            Failure::Output(_) => FAILED,
            Failure::Other(status, _) => *status,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Limiter(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Limiter(e) => e.fmt(f),
            Failure::Output(e) => write!(f, "cannot write to standard output: {e}"),
            Failure::Other(_, message) => f.write_str(message),
        }
    }
}

/// The process's exit code; reports a failure.
pub(crate) fn code(ended: Result<u8, Failure>) -> ExitCode {
    ExitCode::from(status(ended))
}

/// The same as a number.
pub(crate) fn status(ended: Result<u8, Failure>) -> u8 {
    ended.unwrap_or_else(|failure| {
        output::report(&failure);
        failure.status()
    })
}
