//! The list of attached processes.

use super::{Counts, HolderId, Probe, SeesLocks};
use crate::clock::Nanos;
use crate::layout::Holder;
use crate::segment::Segment;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::host;

/// A process that uses the limiter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Attached {
    /// The index of its seat.
    pub seat: usize,
    /// The PID in the process's own PID namespace. Informational: never used to decide liveness.
    pub pid: u32,
    /// Whether that namespace differs from the caller's.
    pub foreign_pid: bool,
    /// The name of the process's command.
    pub command: String,
    /// When it attached.
    #[cfg_attr(feature = "serde", serde(rename = "since_ns"))]
    pub since: Nanos,
    /// Its counters.
    pub counts: Counts,
}

/// False for control characters, which could drive a terminal, and for characters that reverse the text around them.
fn is_printable(c: char) -> bool {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !turns
}

/// The processes attached now. Dead ones are left out: the kernel has released their locks.
pub(crate) fn attached(segment: &Segment) -> Vec<Attached> {
    let mut locks = Probe::of(segment);
    let here = host::process_info().pid_namespace;
    segment
        .seats()
        .iter()
        .enumerate()
        .filter(|&(index, seat)| {
            let tenure = seat.holder.tenure.load(Ordering::Acquire);
            tenure & 1 == 1 && locks.is_held(HolderId { seat: index, tenure }).unwrap_or(true)
        })
        .map(|(index, seat)| {
            let HolderInfo { pid, foreign_pid, command } = holder_info(&seat.holder, here);
            Attached {
                seat: index,
                pid,
                foreign_pid,
                command,
                since: Nanos::from_nanos(seat.holder.since_ns.load(Ordering::Relaxed)),
                counts: Counts::of(&seat.own).plus(Counts::of(&seat.shared)).since(Counts::of(&seat.before)),
            }
        })
        .collect()
}

/// The holder of a seat or a place, for display.
pub(crate) struct HolderInfo {
    pub(crate) pid: u32,
    pub(crate) foreign_pid: bool,
    pub(crate) command: String,
}

/// The holder, as seen from this PID namespace.
pub(crate) fn holder_info(holder: &Holder, here: u64) -> HolderInfo {
    let get = |w: &AtomicU64| w.load(Ordering::Relaxed);
    let bytes = holder.command.iter().flat_map(|w| get(w).to_le_bytes());
    let bytes: Vec<u8> = bytes.take_while(|&b| b != 0).collect();
    HolderInfo {
        pid: get(&holder.pid) as u32,
        foreign_pid: get(&holder.pid_namespace) != here,
        // Ends up on terminals, so only printable text is passed on.
        command: String::from_utf8_lossy(&bytes).chars().filter(|&c| is_printable(c)).collect(),
    }
}
