//! Everybody who is here.

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
    /// Index of its seat.
    pub seat: usize,
    /// Its PID in its own PID namespace. For people: never used to tell who is alive.
    pub pid: u32,
    /// Whether that is another namespace than the caller's.
    pub foreign_pid: bool,
    /// Its command's name.
    pub command: String,
    /// Since when it is here.
    #[cfg_attr(feature = "serde", serde(rename = "since_ns"))]
    pub since: Nanos,
    /// What it did.
    pub counts: Counts,
}

/// Neither commands a terminal nor turns round what is written beside it.
fn is_printable(c: char) -> bool {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !turns
}

/// Who is attached now. The dead are left out: the kernel has freed their locks.
pub(crate) fn attached(segment: &Segment) -> Vec<Attached> {
    let mut locks = Probe::of(segment);
    let here = host::me().pid_namespace;
    segment
        .seats()
        .iter()
        .enumerate()
        .filter(|&(index, seat)| {
            let tenure = seat.holder.tenure.load(Ordering::Acquire);
            tenure & 1 == 1 && locks.is_held(HolderId { seat: index, tenure }).unwrap_or(true)
        })
        .map(|(index, seat)| {
            let Person { pid, foreign_pid, command } = person(&seat.holder, here);
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

/// Who has a seat or a place, for people.
pub(crate) struct Person {
    pub(crate) pid: u32,
    pub(crate) foreign_pid: bool,
    pub(crate) command: String,
}

/// Who that is, seen from this PID namespace.
pub(crate) fn person(holder: &Holder, here: u64) -> Person {
    let get = |w: &AtomicU64| w.load(Ordering::Relaxed);
    let bytes = holder.command.iter().flat_map(|w| get(w).to_le_bytes());
    let bytes: Vec<u8> = bytes.take_while(|&b| b != 0).collect();
    Person {
        pid: get(&holder.pid) as u32,
        foreign_pid: get(&holder.pid_namespace) != here,
        // Printed by people's terminals, so nothing but printable text leaves here.
        command: String::from_utf8_lossy(&bytes).chars().filter(|&c| is_printable(c)).collect(),
    }
}
