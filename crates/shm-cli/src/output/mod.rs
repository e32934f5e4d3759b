//! Output in all its formats.

pub(crate) mod denial;
pub(crate) mod duration;
pub(crate) mod human;
pub(crate) mod json;
pub(crate) mod keys;
pub(crate) mod notice;
pub(crate) mod printable;
mod style;
pub(crate) mod table;
pub(crate) mod usage;
mod write;

pub(crate) use style::{BAD, GOOD, STRONG, WARNING, WEAK, paint};

use crate::exit::Failure;
use clap::builder::StyledStr;
use clap::error::ContextValue;
use serde::Serialize;
use shm_lib::{Directory, Error, ErrorKind, Inspection, Name, RateLimit, Unit};
use std::fmt;
use std::io;
use std::path::PathBuf;

/// A limiter as it was found at one instant, usable or not.
pub(crate) struct Snapshot {
    pub(crate) name: Name,
    pub(crate) directory: PathBuf,
    pub(crate) path: PathBuf,
    pub(crate) inspection: Result<Inspection, Error>,
}

impl Snapshot {
    /// Inspects the limiter, without taking a seat.
    pub(crate) fn new(dir: &Directory, name: &Name, limiter: Result<RateLimit, Error>) -> Snapshot {
        Snapshot {
            name: name.clone(),
            directory: dir.path().to_owned(),
            path: dir.file(name),
            inspection: limiter.and_then(|limiter| limiter.inspect()),
        }
    }

    /// Whether there is a file, usable or not.
    pub(crate) fn exists(&self) -> bool {
        !self.inspection.as_ref().is_err_and(|e| e.kind() == ErrorKind::NotFound || e.kind().is_lost())
    }
}

/// Writes all of the text, with colours on a terminal only. A reader that has closed the pipe is not a failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    delivered(write::whole(&io::stdout(), &printable::page(text)))
}

/// Writes a message on standard error. If that fails, the exit status is all that is left to tell.
pub(crate) fn report(what: impl fmt::Display) {
    let text = format!("shm-limit: {}\n", printable::lines(&what.to_string()));
    let _ = write::whole(&io::stderr(), &text);
}

fn delivered(written: io::Result<()>) -> Result<(), Failure> {
    match written {
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
        .map_err(|e| Failure::new(format!("cannot write this as JSON: {e}")))?;
    print_line(&printable::json(&text))
}

/// Bytes, in two or three figures: "4.1 MB".
pub(crate) fn size(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    if bytes < 1_000 {
        return count(bytes, "byte");
    }
    let mut size = bytes as f64 / 1e3;
    for unit in units {
        // What would be shown as 1000 is 1 of the next unit.
        if size < 999.5 {
            return if size < 9.95 { format!("{size:.1} {unit}") } else { format!("{size:.0} {unit}") };
        }
        size /= 1e3;
    }
    format!("{size:.0} PB")
}

/// A number of things: "1 seat", "2 seats".
pub(crate) fn count(n: u64, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}

/// An amount of a unit, whose name is not this program's.
pub(crate) fn amount(unit: &str, n: u64) -> String {
    if unit == Unit::CALLS.name() { count(n, "call") } else { format!("{n} {}", printable::word(unit)) }
}

/// Writes a message of clap: help on standard output, errors on standard error. A message repeats arguments as they are,
/// among clap's own styles, so the arguments are escaped first.
pub(crate) fn clap_message(message: &mut clap::Error) -> Result<(), Failure> {
    escape_arguments(message);
    let text = printable::page(&message.render().ansi().to_string());
    delivered(if message.use_stderr() {
        write::whole(&io::stderr(), &text)
    } else {
        write::whole(&io::stdout(), &text)
    })
}

fn escape_arguments(message: &mut clap::Error) {
    let values: Vec<_> = message.context().map(|(kind, value)| (kind, value.clone())).collect();
    let words = |value: &ContextValue| match value {
        ContextValue::String(word) => vec![word.clone()],
        ContextValue::Strings(words) => words.clone(),
        _ => Vec::new(),
    };
    let arguments: Vec<String> = values.iter().flat_map(|(_, value)| words(value)).collect();
    // A suggestion repeats the argument between styles.
    let in_styles = |text: &StyledStr| {
        let text = text.ansi().to_string();
        let escaped = arguments.iter().filter(|argument| !argument.is_empty());
        StyledStr::from(
            escaped.fold(text, |text, argument| text.replace(argument, &printable::word(argument))),
        )
    };
    for (kind, value) in values {
        let escaped = match value {
            ContextValue::String(word) => ContextValue::String(printable::word(&word)),
            ContextValue::Strings(words) => {
                ContextValue::Strings(words.iter().map(|word| printable::word(word)).collect())
            }
            ContextValue::StyledStrs(texts) => {
                ContextValue::StyledStrs(texts.iter().map(in_styles).collect())
            }
            other => other,
        };
        message.insert(kind, escaped);
    }
}
