//! The search for a free seat, or a free place in the line, in bounded time and outside the fork gate.
//!
//! A seat that was left is found at once: its tenure says so. A seat whose holder died looks taken in memory, and only
//! the kernel knows better; each question to it takes as long as the file has locks. So only so many are asked in one
//! search, those first of whose holders no process is left, and the next search goes on where this one ended.

use super::counts::Counts;
use super::probe::{OnFile, Probe, Table};
use super::tenure::{self, HolderId, SeesLocks};
use crate::clock::{self, Nanos};
use crate::error::{Error, Result};
use crate::layout::Holder;
use crate::segment::Segment;
use crate::sync::Ordering;
use crate::sys::fork_gate::NoFork;
use crate::sys::host;
use crate::sys::lock::HeldByMapping;
use std::time::Duration;

/// The kernel is asked about locks for this long in one search, and at least once: about some 500 seats of a small
/// limiter, and 50 of one with 4,096.
const ASK_FOR: Duration = Duration::from_millis(1);
/// And not again sooner than this after it knew of no dead holder.
const ASK_EVERY: Duration = Duration::from_millis(10);
/// So many seats that were left may turn out to be taken in one search: by others who look as well, or by whoever keeps
/// the lock of a tenure that it has no right to.
const LOST_CLAIMS: usize = 256;

/// Where the next search goes on.
pub(crate) struct Search {
    next: usize,
    ask_again_ns: u64,
}

impl Default for Search {
    fn default() -> Search {
        Search { next: std::process::id() as usize, ask_again_ns: 0 }
    }
}

/// A seat or place that this process has from now on.
pub(crate) struct Claimed {
    pub(crate) id: HolderId,
    /// Keeps its lock.
    pub(crate) hold: HeldByMapping,
}

impl Search {
    /// Takes a free one of this table, if it finds one. While no signal handler runs: its child would go on with half a seat.
    pub(crate) fn claim(&mut self, segment: &Segment, table: Table) -> Result<Option<Claimed>> {
        let all = table.len(segment);
        let tenure_of = |seat: usize| table.holder(segment, seat).tenure.load(Ordering::Acquire);
        for seat in (0..all).filter(|&seat| tenure_of(seat) & 1 == 0).take(LOST_CLAIMS) {
            if let Some(claimed) = claim(segment, table, seat)? {
                return Ok(Some(claimed));
            }
        }
        let begun = clock::now();
        if begun.as_nanos() < self.ask_again_ns {
            return Ok(None);
        }
        let mut locks = Probe::of_table(segment, table);
        let mut claim_a_dead_ones = |seat: usize| {
            let tenure = tenure_of(seat);
            if tenure & 1 == 0 || locks.is_held(HolderId { seat, tenure })? {
                Ok(None)
            } else {
                claim(segment, table, seat)
            }
        };
        // In turns, from a place of this process's own: not all begin with the same seat.
        for _ in 0..all {
            let seat = self.next % all;
            self.next = seat + 1;
            if is_without_process(table.holder(segment, seat))
                && let Some(claimed) = claim_a_dead_ones(seat)?
            {
                return Ok(Some(claimed));
            }
        }
        for asked in 0..all {
            if asked > 0 && clock::now().since(begun) > ASK_FOR {
                break;
            }
            let seat = self.next % all;
            self.next = seat + 1;
            if let Some(claimed) = claim_a_dead_ones(seat)? {
                return Ok(Some(claimed));
            }
        }
        self.ask_again_ns = clock::now().plus(ASK_EVERY).as_nanos();
        Ok(None)
    }
}

/// Whether there is no process any more with the PID that the holder had, as far as can be told here. A hint: PIDs come
/// again, and mean something in their own namespace alone.
fn is_without_process(holder: &Holder) -> bool {
    let namespace = holder.pid_namespace.load(Ordering::Relaxed);
    let pid = holder.pid.load(Ordering::Relaxed);
    namespace != 0 && namespace == host::me().pid_namespace && host::is_without_process(pid)
}

/// Takes this one, if nobody else does.
fn claim(segment: &Segment, table: Table, seat: usize) -> Result<Option<Claimed>> {
    let found = table.holder(segment, seat);
    // Around the descriptor that has the lock: a child must not inherit it.
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

/// Writes who will have it. If this process is killed in the middle, the next holder writes it again.
fn write_holder(holder: &Holder, now: Nanos) {
    holder.pid.store(std::process::id().into(), Ordering::Relaxed);
    let me = host::me();
    holder.pid_namespace.store(me.pid_namespace, Ordering::Relaxed);
    holder.since_ns.store(now.as_nanos(), Ordering::Relaxed);
    for (word, value) in holder.command.iter().zip(me.command) {
        word.store(value, Ordering::Relaxed);
    }
}
