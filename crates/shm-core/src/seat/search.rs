//! The search for a free seat, or a free place in the line, in bounded time and outside the fork gate.
//!
//! A released seat is found at once by its tenure. A seat whose holder died looks taken in memory, and only the kernel
//! knows better; each query takes time proportional to the number of locks on the file. So one search makes a limited
//! number of queries, first for holders whose PID no longer exists, and the next search continues where this one ended.

use super::counts::Counts;
use super::probe::{OnFile, Probe, Table};
use super::tenure::{self, HolderId, SeesLocks};
use crate::clock::{self, Nanos};
use crate::error::{Error, Result};
use crate::intervals::{SEAT_PROBE_BUDGET, SEAT_PROBE_INTERVAL};
use crate::layout::Holder;
use crate::segment::Segment;
use crate::sync::Ordering;
use crate::sys::fork_gate::NoFork;
use crate::sys::host;
use crate::sys::lock::HeldByMapping;

/// The most released seats that one search tries to claim in vain: other processes may claim them first, or a process
/// may keep the lock of a tenure that it has no right to.
const MAX_LOST_CLAIMS: usize = 256;

/// Where the next search continues.
pub(crate) struct Search {
    next: usize,
    ask_again_ns: u64,
}

impl Default for Search {
    fn default() -> Search {
        Search { next: std::process::id() as usize, ask_again_ns: 0 }
    }
}

/// A seat or place that this process has claimed.
pub(crate) struct Claimed {
    pub(crate) id: HolderId,
    /// Keeps its lock.
    pub(crate) hold: HeldByMapping,
}

impl Search {
    /// Claims a free entry of this table, if it finds one. The caller blocks signal handlers: a forked child would
    /// continue with a half-claimed seat.
    pub(crate) fn claim(&mut self, segment: &Segment, table: Table) -> Result<Option<Claimed>> {
        let all = table.len(segment);
        let tenure_of = |seat: usize| table.holder(segment, seat).tenure.load(Ordering::Acquire);
        for seat in (0..all).filter(|&seat| tenure_of(seat) & 1 == 0).take(MAX_LOST_CLAIMS) {
            if let Some(claimed) = claim(segment, table, seat)? {
                return Ok(Some(claimed));
            }
        }
        let start = clock::now();
        if start.as_nanos() < self.ask_again_ns {
            return Ok(None);
        }
        let mut locks = Probe::of_table(segment, table);
        let mut claim_if_dead = |seat: usize| {
            let tenure = tenure_of(seat);
            if tenure & 1 == 0 || locks.is_held(HolderId { seat, tenure })? {
                Ok(None)
            } else {
                claim(segment, table, seat)
            }
        };
        // Round-robin from this process's own starting point, so that processes do not all begin with the same seat.
        for _ in 0..all {
            let seat = self.next % all;
            self.next = seat + 1;
            if is_without_process(table.holder(segment, seat))
                && let Some(claimed) = claim_if_dead(seat)?
            {
                return Ok(Some(claimed));
            }
        }
        for probed in 0..all {
            if probed > 0 && clock::now().since(start) > SEAT_PROBE_BUDGET {
                break;
            }
            let seat = self.next % all;
            self.next = seat + 1;
            if let Some(claimed) = claim_if_dead(seat)? {
                return Ok(Some(claimed));
            }
        }
        self.ask_again_ns = clock::now().plus(SEAT_PROBE_INTERVAL).as_nanos();
        Ok(None)
    }
}

/// Whether the holder's PID no longer exists, as far as that can be known here. A hint only: PIDs are reused, and are
/// meaningful in their own namespace only.
fn is_without_process(holder: &Holder) -> bool {
    let namespace = holder.pid_namespace.load(Ordering::Relaxed);
    let pid = holder.pid.load(Ordering::Relaxed);
    namespace != 0 && namespace == host::process_info().pid_namespace && host::is_without_process(pid)
}

/// Claims this seat, unless another process does.
fn claim(segment: &Segment, table: Table, seat: usize) -> Result<Option<Claimed>> {
    let found = table.holder(segment, seat);
    // The gate surrounds the descriptor that has the lock: a child must not inherit it.
    let gate = NoFork::enter();
    let file = segment.reopen()?;
    let mut locks = OnFile { segment, table, file: &file };
    let Some(id) = tenure::claim(seat, found, &mut locks)? else {
        return Ok(None);
    };
    let hold = HeldByMapping::keep(file, &gate)
        .map_err(|e| Error::os("cannot map the seat lock", e).at(segment.name().as_str(), segment.path()))?;
    drop(gate);
    write_holder(found, clock::now());
    if table == Table::Seats {
        let seat = &segment.seats()[seat];
        let so_far = Counts::of(&seat.own).plus(Counts::of(&seat.shared));
        so_far.store(&seat.before);
    }
    tenure::begin(found, id);
    Ok(Some(Claimed { id, hold }))
}

/// Writes the holder's description. If this process is killed in the middle, the next holder overwrites it.
fn write_holder(holder: &Holder, now: Nanos) {
    holder.pid.store(std::process::id().into(), Ordering::Relaxed);
    let me = host::process_info();
    holder.pid_namespace.store(me.pid_namespace, Ordering::Relaxed);
    holder.since_ns.store(now.as_nanos(), Ordering::Relaxed);
    for (word, value) in holder.command.iter().zip(me.command) {
        word.store(value, Ordering::Relaxed);
    }
}
