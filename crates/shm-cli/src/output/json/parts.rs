//! The parts of a limiter, as JSON: its limits, its permits, the processes that use it, and the line.

use crate::output::{duration::seconds_f64, usage};
use serde::Serialize;
use shm_lib::limit::{LimitKind, LimitSpec};
use shm_lib::{Inspection, Start, Unit, WindowEnd, Zone};
use std::collections::BTreeMap;

#[derive(Clone, Serialize)]
pub(super) struct Rate {
    /// At most this many per `per_s`.
    max: u64,
    /// The period.
    per_s: f64,
    /// As it is written on the command line.
    text: String,
}

impl Rate {
    pub(super) fn of(rate: shm_lib::Rate) -> Rate {
        Rate { max: rate.max(), per_s: rate.per().as_secs_f64(), text: rate.to_string() }
    }
}

/// One limit and its usage.
#[derive(Clone, Serialize)]
pub(super) struct Limit {
    /// In words.
    text: String,
    /// What the limit counts: `calls` or the unit's name.
    unit: Unit,
    /// How the limit counts, as in a policy file.
    kind: LimitKind,
    /// Its rate.
    pub(super) rate: Rate,
    /// The most that may pass at one instant.
    pub(super) burst: u64,
    /// Where fixed windows begin; null for other kinds.
    start: Option<Start>,
    /// The time zone of calendar windows; null for other kinds.
    zone: Option<Zone>,
    /// When the current window ends, if windows follow the wall clock; otherwise null.
    window_ends: Option<End>,
    /// By how much the window of a greedy limit is longer.
    guard_s: f64,
    /// How much is free now.
    pub(super) available: u64,
    /// How much is used.
    pub(super) used: u64,
    /// How much is charged already for an instant to come: turns of waiting callers, reservations, schedules, debts.
    pub(super) charged_ahead: u64,
    /// The time until the limit admits one more.
    next_in_s: f64,
}

/// The end of a window.
#[derive(Clone, Serialize)]
struct End {
    /// In the local time of the zone, as in RFC 3339.
    local: String,
    /// In Unix seconds.
    unix: i64,
    /// The time until then.
    in_s: f64,
}

impl End {
    fn of(end: WindowEnd, seen: &Inspection) -> End {
        let in_s = seconds_f64(end.at.since(seen.now));
        End { local: format!("{:#}", end.local), unix: end.local.unix(), in_s }
    }
}

impl Limit {
    pub(super) fn all(seen: &Inspection) -> Vec<Limit> {
        let one = |(index, (limit, status)): (usize, (shm_lib::Limit, &shm_lib::limit::LimitStatus))| {
            let LimitSpec { rate, kind, start, zone, .. } = limit.into();
            Limit {
                text: limit.to_string(),
                unit: limit.unit(),
                kind,
                rate: Rate::of(rate),
                burst: limit.burst(),
                start,
                zone,
                window_ends: usage::window_end(seen, index).map(|end| End::of(end, seen)),
                guard_s: limit.guard().as_secs_f64(),
                available: status.available,
                used: status.used,
                charged_ahead: status.queued,
                next_in_s: seconds_f64(status.next_at.since(seen.now)),
            }
        };
        usage::of(seen).enumerate().map(one).collect()
    }
}

/// The permits of a limiter.
#[derive(Serialize)]
pub(super) struct Permits {
    /// The number of permits.
    max: u32,
    /// The number of permits that living processes hold.
    held: u64,
    /// The processes that hold them.
    holders: Vec<Holder>,
}

#[derive(Serialize)]
struct Holder {
    /// The seat of the process.
    seat: usize,
    /// The PID of the process; null if it left at this instant.
    pid: Option<u32>,
    /// The number of permits that it holds.
    held: u64,
}

impl Permits {
    pub(super) fn of(seen: &Inspection) -> Option<Permits> {
        let holder = |&(seat, held): &(usize, u64)| Holder {
            seat,
            pid: seen.attached.iter().find(|process| process.seat == seat).map(|process| process.pid),
            held,
        };
        Some(Permits {
            max: seen.policy.permits()?,
            held: seen.permits_held,
            holders: seen.permit_holders.iter().map(holder).collect(),
        })
    }
}

#[derive(Serialize)]
pub(super) struct Attached {
    /// Its PID.
    pid: u32,
    /// Whether that is one of another PID namespace.
    foreign_pid: bool,
    /// Its command's name.
    command: String,
    /// The seat of the process.
    seat: usize,
    /// For how long the process has used the limiter.
    since_s: f64,
    /// Its requests admitted.
    admitted: u64,
    /// Its requests denied or timed out.
    denied: u64,
    /// Its requests admitted after a wait.
    waited: u64,
    /// The number of permits that it holds.
    permits: u64,
}

impl Attached {
    pub(super) fn all(seen: &Inspection) -> Vec<Attached> {
        let one = |process: &shm_lib::Attached| Attached {
            pid: process.pid,
            foreign_pid: process.foreign_pid,
            command: process.command.clone(),
            seat: process.seat,
            since_s: seen.now.since(process.since).as_secs_f64(),
            admitted: process.counts.admitted,
            denied: process.counts.denied,
            waited: process.counts.waited,
            permits: usage::held_by(seen, process),
        };
        seen.attached.iter().map(one).collect()
    }
}

/// A process with waiting callers, and the first of them.
#[derive(Serialize)]
pub(super) struct Waiting {
    /// Its position among the processes of the line, from 1.
    position: usize,
    /// Its PID.
    pid: u32,
    /// Whether that is one of another PID namespace.
    foreign_pid: bool,
    /// Its command's name.
    command: String,
    /// For how long its first caller has waited.
    since_s: f64,
    /// The number of its waiting callers.
    callers: u64,
    /// The amounts of units that the first of them asks for.
    asks: BTreeMap<String, u64>,
    /// Whether the process did not wake up in time, so that others are served before it.
    late: bool,
}

impl Waiting {
    pub(super) fn all(seen: &Inspection) -> Vec<Waiting> {
        let one = |(index, process): (usize, &shm_lib::Waiting)| Waiting {
            position: index + 1,
            pid: process.pid,
            foreign_pid: process.foreign_pid,
            command: process.command.clone(),
            since_s: seen.now.since(process.since).as_secs_f64(),
            callers: process.callers,
            asks: process.asks.clone(),
            late: process.late,
        };
        seen.waiting.iter().enumerate().map(one).collect()
    }
}
