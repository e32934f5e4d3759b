//! The turns that `reserve` and `schedule` took, as JSON.

use crate::output::duration::seconds_f64;
use serde::Serialize;
use shm_lib::{Nanos, RateLimit};
use std::path::Path;

/// One turn.
#[derive(Serialize)]
pub(crate) struct Turn {
    /// The instant of the turn.
    at_ns: u64,
    /// In how long that is.
    wait_s: f64,
}

/// `reserve --json`.
#[derive(Serialize)]
pub(crate) struct Reserved<'a> {
    /// The limiter's name.
    name: &'a str,
    /// The limiter's file.
    path: &'a Path,
    #[serde(flatten)]
    turn: Turn,
}

/// `schedule --json`.
#[derive(Serialize)]
pub(crate) struct Scheduled<'a> {
    /// The limiter's name.
    name: &'a str,
    /// The limiter's file.
    path: &'a Path,
    /// One turn for each request, in order of time.
    turns: Vec<Turn>,
}

impl Turn {
    fn new(at: Nanos, now: Nanos) -> Turn {
        Turn { at_ns: at.as_nanos(), wait_s: seconds_f64(at.since(now)) }
    }
}

impl<'a> Reserved<'a> {
    pub(crate) fn new(limiter: &'a RateLimit, at: Nanos, now: Nanos) -> Reserved<'a> {
        Reserved { name: limiter.name(), path: limiter.path(), turn: Turn::new(at, now) }
    }
}

impl<'a> Scheduled<'a> {
    pub(crate) fn new(limiter: &'a RateLimit, turns: &[Nanos], now: Nanos) -> Scheduled<'a> {
        let turns = turns.iter().map(|&at| Turn::new(at, now)).collect();
        Scheduled { name: limiter.name(), path: limiter.path(), turns }
    }
}
