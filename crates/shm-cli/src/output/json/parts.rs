//! What a limiter consists of, as JSON: its limits, its permits, the processes that use it, and the line.

use crate::output::{duration::seconds_f64, usage};
use serde::Serialize;
use shm_lib::limit::{Description, KindName};
use shm_lib::{Inspection, Start, Unit};
use std::collections::BTreeMap;

#[derive(Clone, Serialize)]
pub(super) struct Rate {
    /// So many per `per_s`.
    max: u64,
    /// The period.
    per_s: f64,
    /// As it is written on the command line.
    text: String,
}

/// One limit, and how full it is.
#[derive(Clone, Serialize)]
pub(super) struct Limit {
    /// In words.
    text: String,
    /// What it counts: `calls` or the unit's name.
    unit: Unit,
    /// How it counts, as in a policy's file.
    kind: KindName,
    /// Its rate.
    pub(super) rate: Rate,
    /// How many may pass at one instant.
    pub(super) burst: u64,
    /// Where fixed windows begin; null for other kinds.
    start: Option<Start>,
    /// By how much the window of a greedy limit is longer.
    guard_s: f64,
    /// How many are free now.
    pub(super) available: u64,
    /// How many are used.
    pub(super) used: u64,
    /// How many are charged already for an instant to come: turns of callers that wait, reservations, schedules, debts.
    pub(super) charged_ahead: u64,
    /// Until the limit admits one that is not charged yet.
    next_in_s: f64,
}

impl Limit {
    pub(super) fn all(seen: &Inspection) -> Vec<Limit> {
        let one = |(limit, outlook): (shm_lib::Limit, &shm_lib::limit::Outlook)| {
            let Description { rate, kind, start, .. } = limit.into();
            Limit {
                text: limit.to_string(),
                unit: limit.unit(),
                kind,
                rate: Rate { max: rate.max(), per_s: rate.per().as_secs_f64(), text: rate.to_string() },
                burst: limit.burst(),
                start,
                guard_s: limit.guard().as_secs_f64(),
                available: outlook.available,
                used: outlook.used,
                charged_ahead: outlook.queued,
                next_in_s: seconds_f64(outlook.next_at.since(seen.now)),
            }
        };
        usage::of(seen).map(one).collect()
    }
}

/// How many may be held at once, and are.
#[derive(Serialize)]
pub(super) struct Permits {
    /// At most so many.
    max: u32,
    /// By the living.
    held: u64,
    /// By whom.
    holders: Vec<Holder>,
}

#[derive(Serialize)]
struct Holder {
    /// Its seat.
    seat: usize,
    /// Its PID; null if it left just now.
    pid: Option<u32>,
    /// How many it holds.
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
    /// How many permits it holds.
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

/// A process that waits, with the first of its callers.
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
    /// How many of its callers wait.
    callers: u64,
    /// How much of which unit the first of them asks for.
    asks: BTreeMap<String, u64>,
    /// Whether it was not awake in time, so that others are served before it.
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
