//! What `acquire` got, as JSON.

use crate::args::Take;
use crate::output::{denial, span::seconds_f64};
use serde::Serialize;
use shm_lib::{Outcome, RateLimit};
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Serialize)]
pub(crate) struct Taken<'a> {
    /// The limiter's name.
    name: &'a str,
    /// The limiter's file.
    path: &'a Path,
    /// `admitted` or `denied`.
    outcome: &'static str,
    /// How many calls it was for.
    tokens: u64,
    /// How much of which unit was asked for.
    units: BTreeMap<&'a str, u64>,
    /// How long it waited for its turn.
    waited_s: f64,
    /// After how long to try again; null if admitted, and where nobody knows.
    retry_after_s: Option<f64>,
    /// Why it was denied: `limits`, `pause`, `permits` or `line`; null if admitted.
    denied_by: Option<&'static str>,
    /// Whether it was admitted only because the limiter is in shadow.
    shadowed: bool,
    /// The instant that it was admitted for; null if denied.
    at_ns: Option<u64>,
}

impl<'a> Taken<'a> {
    pub(crate) fn new(limiter: &'a RateLimit, asked: &'a Take, outcome: &Outcome) -> Taken<'a> {
        let taken = Taken {
            name: limiter.name(),
            path: limiter.path(),
            outcome: "denied",
            tokens: asked.calls,
            units: asked.amounts.iter().map(|(unit, amount)| (unit.name(), *amount)).collect(),
            waited_s: 0.0,
            retry_after_s: None,
            denied_by: None,
            shadowed: false,
            at_ns: None,
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
                retry_after_s: denied.retry_after().map(seconds_f64),
                denied_by: Some(denial::by(denied)),
                ..taken
            },
        }
    }
}
