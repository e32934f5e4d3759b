//! Standard output, in all its formats.

pub(crate) mod denial;
pub(crate) mod json;
pub(crate) mod level;
pub(crate) mod person;
pub(crate) mod span;
mod style;
pub(crate) mod table;

pub(crate) use style::{BAD, GOOD, STRONG, WEAK, paint};

use crate::exit::Failure;
use serde::Serialize;
use shm_core::Limiter;
use shm_lib::{Directory, Error, ErrorKind, Inspection, Name};
use std::io::{self, Write};
use std::path::PathBuf;

/// A limiter as it was found, usable or not.
pub(crate) struct Seen {
    pub(crate) name: Name,
    pub(crate) directory: PathBuf,
    pub(crate) path: PathBuf,
    pub(crate) inspection: Result<Inspection, Error>,
}

impl Seen {
    /// Looks, and takes no seat.
    pub(crate) fn look(dir: &Directory, name: &Name) -> Seen {
        Seen {
            name: name.clone(),
            directory: dir.path().to_owned(),
            path: dir.file(name),
            inspection: Limiter::attach(dir, name).and_then(|limiter| limiter.inspect()),
        }
    }

    /// Whether there is anything, usable or not.
    pub(crate) fn exists(&self) -> bool {
        !self
            .inspection
            .as_ref()
            .is_err_and(|e| matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Removed | ErrorKind::Retired))
    }
}

/// Writes it all, without colours unless on a terminal. That nobody reads any more is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(e)),
        _ => Ok(()),
    }
}

/// Writes a line.
pub(crate) fn print_line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Writes a value as JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Failure::new(format!("can't write this as JSON: {e}")))?;
    print_line(&text)
}

/// What clap has to say: help on standard output, errors on standard error.
pub(crate) fn clap_message(message: &clap::Error) -> Result<(), Failure> {
    match message.print() {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(e)),
        _ => Ok(()),
    }
}
