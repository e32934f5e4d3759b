//! Read-only views: how full the limits are, which processes are attached or waiting, and the counters.

use super::Limiter;
use super::keys::{DeniedKey, TableStatus};
use crate::clock::{self, Nanos};
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Error, Result};
use crate::limit::{LimitStatus, LocalDateTime, Policy};
use crate::seat::{self, Attached, Counts, HolderId, HolderInfo, Probe, Table};
use crate::sync::Ordering;
use crate::sys::host;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

impl Limiter {
    /// The fill level of each limit, in the order of the policy. Takes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Retired`], [`ErrorKind::Removed`],
    /// [`ErrorKind::Corrupt`].
    pub fn status(&self) -> Result<(Vec<LimitStatus>, Nanos)> {
        self.segment.check_not_removed()?;
        if self.segment.has_records() {
            self.follow_wall_clock(&self.config()?, clock::now());
        }
        loop {
            let seen = if self.segment.has_records() {
                let limits = self.config()?.policy.limits().count();
                self.segment
                    .records(None)
                    .status(&clock::SystemClock)
                    .map(|(seen, now)| (seen.into_iter().take(limits).collect(), now))
            } else {
                self.segment
                    .words()
                    .status(&clock::SystemClock)
                    .map(|(seen, now)| (seen.into_iter().collect(), now))
            };
            match seen {
                Ok(seen) => return Ok(seen),
                Err(why) => self.recover(why, 0)?,
            }
        }
    }

    /// Counters summed over all processes, including those that have ended.
    pub fn counts(&self) -> Counts {
        seat::totals(&self.segment)
    }

    /// A complete snapshot for operators.
    ///
    /// # Errors
    /// [`ErrorKind::Retired`], [`ErrorKind::Removed`], [`ErrorKind::Corrupt`].
    pub fn inspect(&self) -> Result<Inspection> {
        let (status, now) = self.status()?;
        let config = self.config()?;
        let (held_by, held) = self.permits().holders(&mut Probe::of(&self.segment));
        let file = self.segment.reopen()?;
        let meta = file.metadata().map_err(|e| Error::os("cannot stat the file", e))?;
        let geometry = &self.segment.header().geometry;
        Ok(Inspection {
            policy: config.policy,
            now,
            limits: status,
            window_ends: config
                .policy
                .limits()
                .map(|limit| config.window_end(limit, now))
                .map(|end| end.map(WindowEnd::of))
                .collect(),
            clock_was_set: config.clock_was_set.then_some(config.since),
            permits_held: held,
            permit_holders: held_by,
            paused_until: config.paused_until(now),
            changes: self.segment.generations().epoch().saturating_sub(1),
            counts: self.counts(),
            attached: seat::attached(&self.segment),
            waiting: self.waiting(&config.policy, now),
            unordered: self.segment.header().line.unordered.load(Ordering::Relaxed),
            seats: self.segment.seats().len(),
            created: Nanos::from_nanos(geometry.created_ns.load(Ordering::Relaxed)),
            created_unix: geometry.created_unix.load(Ordering::Relaxed),
            mode: meta.mode() & 0o7777,
            owner: meta.uid(),
            group: meta.gid(),
            bytes: meta.size(),
            keys: self
                .table_status()?
                .map(|table| KeyInspection { table, most_denied: self.most_denied(usize::MAX) }),
        })
    }
}

impl Limiter {
    /// The living processes in the line, in the order in which they are served.
    fn waiting(&self, policy: &Policy, now: Nanos) -> Vec<Waiting> {
        let mut locks = Probe::of_table(&self.segment, Table::Places);
        let (line, places) = (self.line(), self.segment.places());
        let epoch = self.segment.generations().epoch();
        let here = host::process_info().pid_namespace;
        let mut entries: Vec<_> = line.all().collect();
        entries.sort_unstable_by_key(|entry| (entry.ticket, entry.place));
        entries.retain(|entry| {
            let holder = &places[entry.place].holder;
            let id = HolderId { seat: entry.place, tenure: holder.tenure.load(Ordering::Acquire) };
            !seat::has_ended(holder, id, &mut locks).unwrap_or(false)
        });
        let waiting = entries.into_iter().map(|entry| {
            let HolderInfo { pid, foreign_pid, command } =
                seat::holder_info(&places[entry.place].holder, here);
            let costs = line.costs(entry.place, epoch);
            let asks = policy.limits().zip(costs.into_iter().flatten());
            Waiting {
                pid,
                foreign_pid,
                command,
                since: Nanos::from_nanos(entry.ticket).min(now),
                callers: entry.behind.saturating_add(1),
                asks: asks.map(|(limit, cost)| (limit.unit().to_string(), cost)).collect(),
                late: entry.is_late(now.as_nanos()),
            }
        });
        waiting.collect()
    }
}

/// When a window ends that follows the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct WindowEnd {
    /// The instant.
    #[cfg_attr(feature = "serde", serde(rename = "at_ns"))]
    pub at: Nanos,
    /// The same in the local time of its zone; of UTC, if the window is not of a calendar.
    pub local: LocalDateTime,
}

impl WindowEnd {
    fn of((at, local): (Nanos, LocalDateTime)) -> WindowEnd {
        WindowEnd { at, local }
    }
}

/// A process in the line, with its first waiting caller.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Waiting {
    /// The PID in the process's own PID namespace.
    pub pid: u32,
    /// Whether that namespace differs from the caller's.
    pub foreign_pid: bool,
    /// The name of the process's command.
    pub command: String,
    /// When its first caller arrived.
    #[cfg_attr(feature = "serde", serde(rename = "since_ns"))]
    pub since: Nanos,
    /// How many callers of the process wait.
    pub callers: u64,
    /// The first caller's request, by unit (`calls` for calls). Empty for a moment after a change.
    pub asks: BTreeMap<String, u64>,
    /// Whether the process is overdue, so that others are served before it: it should be awake, but is stopped or gets
    /// no CPU.
    pub late: bool,
}

impl Inspection {
    /// How many callers wait, in all living processes.
    pub fn callers_waiting(&self) -> u64 {
        self.waiting.iter().fold(0, |sum, process| sum.saturating_add(process.callers))
    }
}

/// A snapshot of a limiter.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Inspection {
    /// The current limits and permits.
    pub policy: Policy,
    /// When the snapshot was taken.
    #[cfg_attr(feature = "serde", serde(rename = "now_ns"))]
    pub now: Nanos,
    /// How full each limit is.
    pub limits: Vec<LimitStatus>,
    /// When the current window of each limit ends, if its windows follow the wall clock.
    pub window_ends: Vec<Option<WindowEnd>>,
    /// When it was changed last, if the reason was that the wall clock was set.
    #[cfg_attr(feature = "serde", serde(rename = "clock_was_set_ns"))]
    pub clock_was_set: Option<Nanos>,
    /// Permits held by living processes.
    pub permits_held: u64,
    /// How many permits each seat holds. The seat identifies a process in `attached`.
    pub permit_holders: Vec<(usize, u64)>,
    /// Until when a pause denies all requests.
    #[cfg_attr(feature = "serde", serde(rename = "paused_until_ns"))]
    pub paused_until: Option<Nanos>,
    /// How many times the limiter was changed, paused, resumed or reset.
    pub changes: u64,
    /// Counters summed over all processes, including those that have ended.
    pub counts: Counts,
    /// The living processes that use the limiter.
    pub attached: Vec<Attached>,
    /// The living processes that wait, in the order in which they are served.
    pub waiting: Vec<Waiting>,
    /// Callers that found the line's table full, since the limiter was created. They waited for a place outside the
    /// line.
    pub unordered: u64,
    /// The number of seats: how many processes can be attached with counters of their own.
    pub seats: usize,
    /// When it was created.
    #[cfg_attr(feature = "serde", serde(rename = "created_ns"))]
    pub created: Nanos,
    /// The same in Unix seconds, by the creator's wall clock.
    pub created_unix: u64,
    /// Permission bits of the file.
    pub mode: u32,
    /// Owner of the file.
    pub owner: u32,
    /// Group of the file.
    pub group: u32,
    /// Size of the file.
    pub bytes: u64,
    /// Of a limiter with limits per key: its tables. `policy` has the limits.
    pub keys: Option<KeyInspection>,
}

/// The tables of a limiter with limits per key.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct KeyInspection {
    /// How full they are, and how often keys were forgotten.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub table: TableStatus,
    /// The keys that were denied most in the last minute, as far as the sample has them. Empty if names are hidden.
    pub most_denied: Vec<DeniedKey>,
}
