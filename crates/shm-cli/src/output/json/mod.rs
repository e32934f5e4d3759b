//! The JSON that programs read. Fields are only ever added. Durations are in seconds (`_s`), instants in nanoseconds of
//! `CLOCK_BOOTTIME` (`_ns`). `--help` of the commands documents the fields.

mod keys;
mod parts;
mod taken;
mod turns;

pub(crate) use keys::OneKey;
pub(crate) use taken::Taken;
pub(crate) use turns::{Reserved, Scheduled, Turns};

use crate::output::{Snapshot, duration::seconds_f64, usage};
use keys::Keys;
use parts::{Attached, Limit, Permits, Rate, Waiting};
use serde::Serialize;
use shm_lib::{Error, ErrorKind, Inspection};
use std::path::Path;

/// A limiter, for `list` and `inspect`.
#[derive(Serialize)]
pub(crate) struct Limiter<'a> {
    /// Its name.
    name: &'a str,
    /// Its file.
    path: &'a Path,
    /// The directory of the limiters.
    directory: &'a Path,
    /// `ok`, or what is wrong.
    health: &'static str,
    /// What is wrong and what to do next, for humans; null if nothing is wrong.
    problem: Option<String>,
    /// Absent if the limiter cannot be read.
    #[serde(flatten)]
    details: Option<Details>,
}

#[derive(Serialize)]
struct Details {
    /// Whether no request would be admitted now.
    full: bool,
    /// Whether the limiter is in shadow mode, and denies no request.
    shadow: bool,
    /// The number of the limit that is nearest to full, from 1, as in `set --limit`. The next five fields are about that limit.
    /// All are null if there is no limit.
    tightest: Option<usize>,
    /// The rate in force.
    rate: Option<Rate>,
    /// The most that may pass at one instant.
    burst: Option<u64>,
    /// How much is free now.
    available: Option<u64>,
    /// How much of the burst is used. In a pause, what is neither used nor available is held back.
    used: Option<u64>,
    /// How much is charged already for an instant to come.
    charged_ahead: Option<u64>,
    /// The time until one call would be admitted.
    next_in_s: f64,
    /// All limits.
    limits: Vec<Limit>,
    /// The limits per key, and the table of keys; null if it has none.
    keys: Option<Keys>,
    /// Null if it has none.
    permits: Option<Permits>,
    /// The number of callers that may wait at a time; null if any number may.
    max_waiters: Option<u32>,
    /// The number of waiting callers of living processes.
    callers_waiting: u64,
    /// The living processes with waiting callers, in the order of the line; absent from `list`.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<Vec<Waiting>>,
    /// The number of callers that found no place in the line since the limiter was created.
    unordered: u64,
    /// The time until a pause ends; null if there is none.
    paused_for_s: Option<f64>,
    /// The number of requests admitted since the limiter was created.
    admitted: u64,
    /// The number of calls that they were for.
    calls: u64,
    /// The number of requests denied or timed out.
    denied: u64,
    /// The number of requests admitted after a wait.
    waited: u64,
    /// The time that they waited altogether.
    waited_total_s: f64,
    /// The number of processes that can be attached at a time.
    seats: usize,
    /// The living processes that have the limiter open; absent from `list`.
    #[serde(skip_serializing_if = "Option::is_none")]
    attached: Option<Vec<Attached>>,
    /// Permissions of the file, in octal.
    mode: String,
    /// Owner of the file.
    owner_uid: u32,
    /// Group of the file.
    group_gid: u32,
    /// The time since the limiter was created.
    age_s: f64,
    /// When the limiter was created, by the creator's wall clock, in seconds since 1970.
    created_unix: u64,
    /// The number of changes, pauses, resumptions and resets.
    changes: u64,
    /// The time since the host's wall clock was set, if the last change was made because of that; otherwise null.
    clock_set_s: Option<f64>,
    /// Size of the file.
    bytes: u64,
}

impl<'a> Limiter<'a> {
    /// For `list`.
    pub(crate) fn brief(seen: &'a Snapshot) -> Limiter<'a> {
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
    pub(crate) fn in_full(seen: &'a Snapshot, top: usize) -> Limiter<'a> {
        let mut limiter = Limiter::brief(seen);
        if let (Some(details), Ok(inspection)) = (&mut limiter.details, &seen.inspection) {
            details.attached = Some(Attached::all(inspection));
            details.waiting = Some(Waiting::all(inspection));
            if let (Some(keys), Some(inspected)) = (&mut details.keys, &inspection.keys) {
                keys.add_most_denied(inspected, top);
            }
        }
        limiter
    }
}

/// What is wrong with a limiter, in a word that stays the same.
pub(crate) fn health(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => "not_found",
        ErrorKind::Corrupt => "corrupt",
        ErrorKind::NotALimiter => "not_a_limiter",
        ErrorKind::Incompatible => "incompatible",
        ErrorKind::OtherClock => "other_clock",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Untrusted => "untrusted",
        ErrorKind::PermissionDenied => "permission_denied",
        _ => "failed",
    }
}

impl Details {
    fn of(seen: &Inspection) -> Details {
        let counts = &seen.counts;
        let limits: Vec<Limit> = Limit::all(seen);
        let tightest = usage::tightest(seen);
        let of_it = tightest.and_then(|index| limits.get(index));
        Details {
            full: usage::is_full(seen),
            shadow: seen.policy.is_shadow(),
            tightest: tightest.map(|index| index + 1),
            rate: of_it.map(|limit| limit.rate.clone()),
            burst: of_it.map(|limit| limit.burst),
            available: of_it.map(|limit| limit.available),
            used: of_it.map(|limit| limit.used),
            charged_ahead: of_it.map(|limit| limit.charged_ahead),
            next_in_s: seconds_f64(usage::next_in(seen)),
            limits,
            keys: Keys::of(seen),
            permits: Permits::of(seen),
            max_waiters: seen.policy.max_waiters(),
            callers_waiting: seen.callers_waiting(),
            waiting: None,
            unordered: seen.unordered,
            paused_for_s: seen.paused_until.map(|until| seconds_f64(until.since(seen.now))),
            admitted: counts.admitted,
            calls: counts.calls,
            denied: counts.denied,
            waited: counts.waited,
            waited_total_s: counts.waited_time.as_secs_f64(),
            seats: seen.seats,
            attached: None,
            mode: format!("{:03o}", seen.mode),
            owner_uid: seen.owner,
            group_gid: seen.group,
            age_s: seen.now.since(seen.created).as_secs_f64(),
            created_unix: seen.created_unix,
            changes: seen.changes,
            clock_set_s: seen.clock_was_set.map(|at| seen.now.since(at).as_secs_f64()),
            bytes: seen.bytes,
        }
    }
}
