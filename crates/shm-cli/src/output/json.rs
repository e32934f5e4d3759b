//! The JSON that programs read. Fields are only ever added. Spans of time are in seconds (`_s`), instants in
//! nanoseconds of `CLOCK_BOOTTIME` (`_ns`). `--help` of `inspect` and `acquire` says the same.

use crate::output::{Seen, span::seconds_f64};
use serde::Serialize;
use shm_lib::{Error, ErrorKind, Inspection, Outcome, RateLimit};
use std::path::Path;

/// A limiter, for `list` and `inspect`.
#[derive(Serialize)]
pub(crate) struct Limiter<'a> {
    /// Its name.
    name: &'a str,
    /// Its file.
    path: &'a Path,
    /// The directory it was looked for in.
    directory: &'a Path,
    /// `ok`, or what is wrong.
    health: &'static str,
    /// What is wrong and what to do next, for people; null if nothing is.
    problem: Option<String>,
    /// Absent if it can't be read.
    #[serde(flatten)]
    details: Option<Details>,
}

#[derive(Serialize)]
struct Details {
    /// The rate in force.
    rate: Rate,
    /// Tokens that may pass at one instant.
    burst: u64,
    /// Tokens free now.
    available: u64,
    /// Tokens of the burst that are used. In a pause those that are neither used nor available are held back.
    used: u64,
    /// Tokens reserved by those who wait.
    queued: u64,
    /// Until one token would be admitted.
    next_in_s: f64,
    /// Until a pause ends; null without one.
    paused_for_s: Option<f64>,
    /// Requests admitted since it was created.
    admitted: u64,
    /// Tokens they took.
    tokens: u64,
    /// Requests denied or timed out.
    denied: u64,
    /// Requests admitted after a wait.
    waited: u64,
    /// For how long they waited altogether.
    waited_total_s: f64,
    /// How many processes can be told apart.
    seats: usize,
    /// The living processes that have it open; absent from `list`.
    #[serde(skip_serializing_if = "Option::is_none")]
    attached: Option<Vec<Attached>>,
    /// Permissions of the file, in octal.
    mode: String,
    /// Owner of the file.
    owner_uid: u32,
    /// Since it was created.
    age_s: f64,
    /// When it was created, by its creator's wall clock, in seconds since 1970.
    created_unix: u64,
    /// How often it was changed, paused, resumed or reset.
    changes: u64,
    /// Size of the file.
    bytes: u64,
}

#[derive(Serialize)]
struct Rate {
    /// Tokens per `per_s`.
    max: u64,
    /// The period.
    per_s: f64,
    /// As it is written on the command line.
    text: String,
}

#[derive(Serialize)]
struct Attached {
    /// Its PID.
    pid: u32,
    /// Whether that is one of another PID namespace.
    foreign_pid: bool,
    /// Its command's name.
    command: String,
    /// Its seat.
    seat: usize,
    /// For how long it has been here.
    since_s: f64,
    /// Its requests admitted.
    admitted: u64,
    /// Its requests denied or timed out.
    denied: u64,
    /// Its requests admitted after a wait.
    waited: u64,
}

/// What `acquire` got.
#[derive(Serialize)]
pub(crate) struct Taken<'a> {
    /// The limiter's name.
    name: &'a str,
    /// The limiter's file.
    path: &'a Path,
    /// `admitted` or `denied`.
    outcome: &'static str,
    /// How many tokens were asked for.
    tokens: u64,
    /// How long it waited for its turn.
    waited_s: f64,
    /// After how long to try again; null if admitted.
    retry_after_s: Option<f64>,
    /// The instant that the tokens are for; null if denied.
    at_ns: Option<u64>,
}

impl<'a> Taken<'a> {
    pub(crate) fn new(limiter: &'a RateLimit, tokens: u64, outcome: Outcome) -> Taken<'a> {
        let (word, waited_s, at_ns) = match outcome {
            Outcome::Admitted(a) => ("admitted", seconds_f64(a.waited()), Some(a.at().as_nanos())),
            Outcome::Denied(_) => ("denied", 0.0, None),
        };
        Taken {
            name: limiter.name(),
            path: limiter.path(),
            outcome: word,
            tokens,
            waited_s,
            retry_after_s: outcome.retry_after().map(seconds_f64),
            at_ns,
        }
    }
}

impl<'a> Limiter<'a> {
    /// For `list`.
    pub(crate) fn brief(seen: &'a Seen) -> Limiter<'a> {
        let inspection = seen.inspection.as_ref();
        Limiter {
            name: seen.name.as_str(),
            path: &seen.path,
            directory: &seen.directory,
            health: inspection.err().map_or("ok", health),
            problem: inspection.err().map(Error::to_string),
            details: inspection.ok().map(Details::of),
        }
    }

    /// For `inspect`.
    pub(crate) fn with_attached(seen: &'a Seen) -> Limiter<'a> {
        let mut limiter = Limiter::brief(seen);
        if let (Some(details), Ok(inspection)) = (&mut limiter.details, &seen.inspection) {
            details.attached = Some(attached(inspection));
        }
        limiter
    }
}

/// What is wrong, in a word that stays the same.
pub(crate) fn health(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Corrupt => "corrupt",
        ErrorKind::NotALimiter => "not_a_limiter",
        ErrorKind::Incompatible => "incompatible",
        ErrorKind::OtherClock => "other_clock",
        ErrorKind::Untrusted => "untrusted",
        ErrorKind::PermissionDenied => "permission_denied",
        _ => "failed",
    }
}

impl Details {
    fn of(seen: &Inspection) -> Details {
        let (rate, counts, outlook) = (seen.limit.rate(), &seen.counts, &seen.outlook);
        Details {
            rate: Rate { max: rate.max(), per_s: rate.per().as_secs_f64(), text: rate.to_string() },
            burst: seen.limit.burst(),
            available: outlook.available,
            used: outlook.used,
            queued: outlook.queued,
            next_in_s: seconds_f64(outlook.next_at.since(seen.now)),
            paused_for_s: seen.paused_until.map(|until| seconds_f64(until.since(seen.now))),
            admitted: counts.admitted,
            tokens: counts.tokens,
            denied: counts.denied,
            waited: counts.waited,
            waited_total_s: counts.waited_time.as_secs_f64(),
            seats: seen.seats,
            attached: None,
            mode: format!("{:03o}", seen.mode),
            owner_uid: seen.owner,
            age_s: seen.now.since(seen.created).as_secs_f64(),
            created_unix: seen.created_unix,
            changes: seen.changes,
            bytes: seen.bytes,
        }
    }
}

fn attached(seen: &Inspection) -> Vec<Attached> {
    let one = |process: &shm_lib::Attached| Attached {
        pid: process.pid,
        foreign_pid: process.foreign_pid,
        command: process.command.clone(),
        seat: process.seat,
        since_s: seen.now.since(process.since).as_secs_f64(),
        admitted: process.counts.admitted,
        denied: process.counts.denied,
        waited: process.counts.waited,
    };
    seen.attached.iter().map(one).collect()
}
