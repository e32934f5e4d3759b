//! The turns that `reserve` and `schedule` took, as JSON.

use crate::exit::Failure;
use crate::output::duration::seconds_f64;
use serde::Serialize;
use shm_lib::{Directory, Name, Nanos};
use std::path::PathBuf;

/// The result of a command: its fields, and why it failed if it did.
#[derive(Serialize)]
pub(crate) struct Turns<'a, T> {
    /// The limiter's name.
    name: &'a str,
    /// The limiter's file.
    path: PathBuf,
    #[serde(flatten)]
    taken: T,
    /// Why the command failed, in one word; null if it did not.
    error: Option<String>,
    /// The same for a human, with what to do next.
    problem: Option<String>,
}

/// `reserve --json`. Both are null if no turn was taken.
#[derive(Default, Serialize)]
pub(crate) struct Reserved {
    /// The instant of the turn.
    at_ns: Option<u64>,
    /// In how long that is.
    wait_s: Option<f64>,
}

/// `schedule --json`.
#[derive(Default, Serialize)]
pub(crate) struct Scheduled {
    /// One turn for each request, in order of time. Empty if no turn was taken.
    turns: Vec<Turn>,
}

#[derive(Serialize)]
struct Turn {
    /// The instant of the turn.
    at_ns: u64,
    /// In how long that is.
    wait_s: f64,
}

impl<'a, T: Default> Turns<'a, T> {
    pub(crate) fn taken(dir: &Directory, name: &'a Name, taken: T) -> Turns<'a, T> {
        Turns { name: name.as_str(), path: dir.file(name), taken, error: None, problem: None }
    }

    pub(crate) fn failed(dir: &Directory, name: &'a Name, failure: &Failure) -> Turns<'a, T> {
        let (error, problem) = (Some(failure.word()), Some(failure.to_string()));
        Turns { error, problem, ..Turns::taken(dir, name, T::default()) }
    }
}

impl Reserved {
    pub(crate) fn new(at: Nanos, now: Nanos) -> Reserved {
        Reserved { at_ns: Some(at.as_nanos()), wait_s: Some(seconds_f64(at.since(now))) }
    }
}

impl Scheduled {
    pub(crate) fn new(turns: &[Nanos], now: Nanos) -> Scheduled {
        let turn = |&at: &Nanos| Turn { at_ns: at.as_nanos(), wait_s: seconds_f64(at.since(now)) };
        Scheduled { turns: turns.iter().map(turn).collect() }
    }
}
