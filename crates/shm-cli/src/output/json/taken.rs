//! The result of `acquire`, as JSON.

use crate::args::Take;
use crate::exit::Failure;
use crate::output::{denial, duration::seconds_f64};
use serde::Serialize;
use shm_lib::{Directory, Error, Outcome};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Serialize)]
pub(crate) struct Taken<'a> {
    /// The limiter's name.
    name: &'a str,
    /// The limiter's file.
    path: PathBuf,
    /// `admitted`, `denied` or `failed`.
    outcome: &'static str,
    /// The parts of the key of the request; null if it names none.
    key: Option<&'a [String]>,
    /// The number of calls that were asked for.
    calls: u64,
    /// The amounts of units that were asked for.
    units: BTreeMap<&'a str, u64>,
    /// How long the request waited for its turn.
    waited_s: f64,
    /// After how long to try again; null if admitted, and where it is not known.
    retry_after_s: Option<f64>,
    /// Why the request was denied: `limits`, `pause`, `permits`, `line`, `unavailable`, `key` or `table`; null if it was not.
    denied_by: Option<&'static str>,
    /// Which limit that was, if several can be meant: from 1, as `inspect` counts them.
    denied_limit: Option<usize>,
    /// Whether the request was admitted only because the limiter is in shadow mode.
    shadowed: bool,
    /// The instant that the request was admitted for; null if it was not.
    at_ns: Option<u64>,
    /// Why the limiter could not decide, in one word; null if it could.
    error: Option<String>,
    /// The same for a human, with what to do next.
    problem: Option<String>,
}

impl<'a> Taken<'a> {
    /// Before it is known how it ends.
    pub(crate) fn new(dir: &Directory, asked: &'a Take) -> Taken<'a> {
        let name = &asked.target.name;
        Taken {
            name: name.as_str(),
            path: dir.file(name),
            outcome: "failed",
            key: asked.target.key.named().map(|key| key.parts.as_slice()),
            calls: asked.cost.calls(),
            units: asked.cost.amounts.iter().map(|(unit, amount)| (unit.name(), *amount)).collect(),
            waited_s: 0.0,
            retry_after_s: None,
            denied_by: None,
            denied_limit: None,
            shadowed: false,
            at_ns: None,
            error: None,
            problem: None,
        }
    }

    /// Admitted or denied, by the limiter or because the limiter failed.
    pub(crate) fn decided(self, outcome: &Outcome, problem: Option<&Error>) -> Taken<'a> {
        let taken = Taken {
            error: problem.map(|error| error.kind().word()),
            problem: problem.map(Error::to_string),
            ..self
        };
        match outcome {
            Outcome::Admitted(admission) => Taken {
                outcome: "admitted",
                waited_s: seconds_f64(admission.waited()),
                shadowed: admission.shadowed().is_some(),
                at_ns: Some(admission.at().as_nanos()),
                ..taken
            },
            Outcome::Denied(denied) => Taken {
                outcome: "denied",
                retry_after_s: denied.retry_after().map(seconds_f64),
                denied_by: Some(denied.by().word()),
                denied_limit: denial::limit(denied),
                ..taken
            },
        }
    }

    /// Neither admitted nor denied.
    pub(crate) fn failed(self, failure: &Failure) -> Taken<'a> {
        Taken { error: Some(failure.word()), problem: Some(failure.to_string()), ..self }
    }
}
