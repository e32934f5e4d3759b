//! Seats: which processes are here, what each of them did, and who is dead.
//!
//! A seat is an index, held by a lock on one byte of the file. The kernel frees the lock when the process dies,
//! whatever namespace it is in; a forked child has no seat until it takes its own.

use crate::clock::{self, Nanos};
use crate::commit::Desk;
use crate::error::{Error, Result};
use crate::layout::{Lane, SEAT_LOCKS, Seat};
use crate::segment::Segment;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::fork::{NoFork, process_token, thread_mark};
use crate::sys::process_lock::{Held, ProcessLock};
use crate::sys::{host, lock};
use std::fs::File;
use std::sync::atomic::{AtomicPtr, AtomicUsize};
use std::time::Duration;

/// How long to do without after all seats were taken.
const RETRY: Duration = Duration::from_secs(1);
/// The same after there was no descriptor or no memory for one.
const RETRY_SOON: Duration = Duration::from_millis(10);

/// No seat has this number.
const TAKING: u64 = 0xffff;

/// This process's place at the table. All threads share it.
pub(crate) struct Seating {
    /// `process token << 16 | seat + 1`; the low half is 0 while there is no seat, `TAKING` while a thread takes one.
    sitting: std::sync::atomic::AtomicU64,
    /// The thread that counts in the seat's own lane.
    counter: AtomicUsize,
    /// Keeps the seat's lock. A forked child leaves its parent's alone.
    hold: AtomicPtr<lock::HeldByMapping>,
    retry_ns: std::sync::atomic::AtomicU64,
    /// Where the seat's cells are prepared, by one thread at a time.
    desk: ProcessLock<Desk>,
}

/// Who sits where, and since which taking of the seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sitter {
    pub(crate) seat: usize,
    pub(crate) tenure: u64,
}

/// The right of this thread to write the seat's cells: no other thread of this process has it meanwhile. Threads of one
/// process wait for each other here; processes never do.
pub(crate) struct Turn<'a> {
    pub(crate) seat: usize,
    pub(crate) desk: Held<'a, Desk>,
}

/// Where to count.
#[derive(Clone, Copy)]
pub(crate) struct Counting<'a> {
    lane: &'a Lane,
    alone: bool,
}

impl Counting<'_> {
    #[inline]
    fn add(&self, counter: &AtomicU64, n: u64) {
        if self.alone {
            // One writer: no read-modify-write needed.
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        } else {
            counter.fetch_add(n, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn admitted(&self, tokens: u64) {
        self.add(&self.lane.admitted, 1);
        if tokens != 1 {
            // None at all takes one back.
            self.add(&self.lane.extra_tokens, tokens.wrapping_sub(1));
        }
    }

    #[inline]
    pub(crate) fn denied(&self) {
        self.add(&self.lane.denied, 1);
    }

    pub(crate) fn waited(&self, time: Duration) {
        self.add(&self.lane.waited, 1);
        self.add(&self.lane.waited_ns, time.as_nanos() as u64);
    }
}

impl Seating {
    pub(crate) fn none() -> Seating {
        Seating {
            sitting: std::sync::atomic::AtomicU64::new(0),
            counter: AtomicUsize::new(0),
            hold: AtomicPtr::new(std::ptr::null_mut()),
            retry_ns: std::sync::atomic::AtomicU64::new(0),
            desk: ProcessLock::new(),
        }
    }

    /// This process's lane; takes a seat if it has none. Never waits: while another thread takes the seat, and when
    /// all seats are taken, counting is in the common lane.
    #[inline]
    pub(crate) fn counting<'a>(&self, segment: &'a Segment) -> Counting<'a> {
        let sitting = self.sitting.load(Ordering::Acquire);
        match seat_of(sitting, segment) {
            Some(seat) => self.counting_at(&segment.seats()[seat]),
            None => self.sit_down(segment, sitting),
        }
    }

    /// The lane of this thread at this process's seat.
    #[inline]
    pub(crate) fn counting_at<'a>(&self, seat: &'a Seat) -> Counting<'a> {
        let alone = self.counter.load(Ordering::Relaxed) == thread_mark();
        Counting { lane: if alone { &seat.own } else { &seat.shared }, alone }
    }

    /// This process's seat; takes one if it has none. `None` if all are taken.
    #[inline]
    fn seat(&self, segment: &Segment) -> Option<usize> {
        // While another thread takes the seat there is none to be had yet. That is a few system calls.
        for _ in 0..100_000 {
            let sitting = self.sitting.load(Ordering::Acquire);
            if let Some(seat) = seat_of(sitting, segment) {
                return Some(seat);
            }
            if sitting >> 16 == process_token() {
                if sitting & 0xffff == TAKING {
                    std::thread::yield_now();
                    continue;
                }
                if clock::now().as_nanos() < self.retry_ns.load(Ordering::Relaxed) {
                    return None;
                }
            }
            self.sit_down(segment, sitting);
        }
        None
    }

    /// This process's seat, and the proof that it is still the same holder.
    pub(crate) fn sitter(&self, segment: &Segment) -> Option<Sitter> {
        let seat = self.seat(segment)?;
        Some(Sitter { seat, tenure: segment.seats()[seat].holder.tenure.load(Ordering::Relaxed) })
    }

    /// The right to write this process's cells, for this thread alone. `None` if all seats are taken.
    #[inline]
    pub(crate) fn turn(&self, segment: &Segment) -> Option<Turn<'_>> {
        let seat = self.seat(segment)?;
        Some(Turn { seat, desk: self.desk.lock() })
    }

    /// The same, if this process has a seat already.
    pub(crate) fn turn_if_seated(&self, segment: &Segment) -> Option<Turn<'_>> {
        let seat = seat_of(self.sitting.load(Ordering::Acquire), segment)?;
        Some(Turn { seat, desk: self.desk.lock() })
    }

    #[cold]
    fn sit_down<'a>(&self, segment: &'a Segment, before: u64) -> Counting<'a> {
        let seatless = Counting { lane: &segment.fixed().seatless, alone: false };
        let me = process_token();
        let now = clock::now();
        let again = before >> 16 == me;
        if again && (before & 0xffff == TAKING || now.as_nanos() < self.retry_ns.load(Ordering::Relaxed)) {
            return seatless;
        }
        // Before others can see that a seat is being taken: who is inside the gate may wait for that (`seat`).
        let gate = NoFork::enter();
        if self.sitting.load(Ordering::Relaxed) != before {
            return seatless;
        }
        self.retry_ns.store(now.plus(RETRY).as_nanos(), Ordering::Relaxed);
        let taking = me << 16 | TAKING;
        if self.sitting.compare_exchange(before, taking, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return seatless;
        }
        let taken = take(segment, now, gate);
        let Ok(Some((index, hold))) = taken else {
            if taken.is_err() {
                self.retry_ns.store(now.plus(RETRY_SOON).as_nanos(), Ordering::Relaxed);
            }
            self.sitting.store(me << 16, Ordering::Release);
            return seatless;
        };
        // What is there belongs to a parent process: not ours to drop.
        self.hold.store(Box::into_raw(Box::new(hold)), Ordering::Release);
        self.counter.store(thread_mark(), Ordering::Relaxed);
        self.sitting.store(me << 16 | (index as u64 + 1), Ordering::Release);
        Counting { lane: &segment.seats()[index].own, alone: true }
    }

    /// Leaves the seat, if this process has one here.
    #[allow(unsafe_code)]
    pub(crate) fn leave(&self, segment: &Segment) {
        let sitting = self.sitting.swap(0, Ordering::AcqRel);
        let Some(index) = seat_of(sitting, segment) else { return };
        let hold = self.hold.swap(std::ptr::null_mut(), Ordering::AcqRel);
        let tenure = &segment.seats()[index].holder.tenure;
        tenure.store(tenure.load(Ordering::Relaxed).wrapping_add(1) & !1, Ordering::Release);
        if !hold.is_null() {
            // SAFETY: made by Box::into_raw in `sit_down` of this process (the token says so), and taken once.
            drop(unsafe { Box::from_raw(hold) });
        }
    }
}

/// The seat that `sitting` says this process has.
#[inline]
fn seat_of(sitting: u64, segment: &Segment) -> Option<usize> {
    let seat = (sitting as usize & 0xffff).wrapping_sub(1);
    (sitting >> 16 == process_token() && seat < segment.seats().len()).then_some(seat)
}

/// Takes a free seat: one that was left if there is any, else one whose holder died.
fn take(segment: &Segment, now: Nanos, gate: NoFork) -> Result<Option<(usize, lock::HeldByMapping)>> {
    // Asked before a seat is locked: between that and the next tenure the permits of a dead holder seem to be held.
    host::me();
    let file = segment.reopen()?;
    let vacant =
        |odd: u64| move |(_, seat): &(usize, &Seat)| seat.holder.tenure.load(Ordering::Acquire) & 1 == odd;
    let seats = || segment.seats().iter().enumerate();
    for (index, seat) in seats().filter(vacant(0)).chain(seats().filter(vacant(1))) {
        if lock::try_lock(&file, SEAT_LOCKS + index as i64).unwrap_or(false) {
            vacate(seat);
            let hold = lock::HeldByMapping::keep(file, &gate)
                .map_err(|e| Error::os("can't map what holds its seat", e))?;
            drop(gate);
            occupy(seat, now);
            return Ok(Some((index, hold)));
        }
    }
    Ok(None)
}

/// What its dead holder held is free from here on.
fn vacate(seat: &Seat) {
    let tenure = seat.holder.tenure.load(Ordering::Relaxed);
    seat.holder.tenure.store(tenure.wrapping_add(tenure & 1), Ordering::Release);
}

/// Writes who sits here. Killed in the middle, the next holder writes it again.
fn occupy(seat: &Seat, now: Nanos) {
    let holder = &seat.holder;
    holder.pid.store(std::process::id().into(), Ordering::Relaxed);
    let me = host::me();
    holder.pid_namespace.store(me.pid_namespace, Ordering::Relaxed);
    holder.since_ns.store(now.as_nanos(), Ordering::Relaxed);
    for (word, value) in holder.command.iter().zip(me.command) {
        word.store(value, Ordering::Relaxed);
    }
    let so_far = Counts::of(&seat.own).plus(Counts::of(&seat.shared));
    so_far.store(&seat.before);
    let tenure = holder.tenure.load(Ordering::Relaxed);
    holder.tenure.store((tenure.wrapping_add(1)) | 1, Ordering::Release);
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Counts {
    /// Requests admitted.
    pub admitted: u64,
    /// Tokens they took.
    pub tokens: u64,
    /// Requests denied or timed out.
    pub denied: u64,
    /// Admitted requests that had to wait.
    pub waited: u64,
    /// For how long they waited altogether.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "waited_time_ns", serialize_with = "crate::limit::serial::nanos")
    )]
    pub waited_time: Duration,
}

impl Counts {
    pub(crate) fn of(lane: &Lane) -> Counts {
        let get = |w: &AtomicU64| w.load(Ordering::Relaxed);
        let admitted = get(&lane.admitted);
        Counts {
            admitted,
            tokens: admitted.wrapping_add(get(&lane.extra_tokens)),
            denied: get(&lane.denied),
            waited: get(&lane.waited),
            waited_time: Duration::from_nanos(get(&lane.waited_ns)),
        }
    }

    fn store(self, lane: &Lane) {
        lane.admitted.store(self.admitted, Ordering::Relaxed);
        lane.extra_tokens.store(self.tokens.wrapping_sub(self.admitted), Ordering::Relaxed);
        lane.denied.store(self.denied, Ordering::Relaxed);
        lane.waited.store(self.waited, Ordering::Relaxed);
        lane.waited_ns.store(self.waited_time.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(crate) fn plus(self, other: Counts) -> Counts {
        Counts {
            admitted: self.admitted.wrapping_add(other.admitted),
            tokens: self.tokens.wrapping_add(other.tokens),
            denied: self.denied.wrapping_add(other.denied),
            waited: self.waited.wrapping_add(other.waited),
            waited_time: self.waited_time.saturating_add(other.waited_time),
        }
    }

    fn since(self, before: Counts) -> Counts {
        Counts {
            admitted: self.admitted.wrapping_sub(before.admitted),
            tokens: self.tokens.wrapping_sub(before.tokens),
            denied: self.denied.wrapping_sub(before.denied),
            waited: self.waited.wrapping_sub(before.waited),
            waited_time: self.waited_time.saturating_sub(before.waited_time),
        }
    }
}

/// All that was ever counted, by the living and the dead.
pub(crate) fn totals(segment: &Segment) -> Counts {
    segment.seats().iter().fold(Counts::of(&segment.fixed().seatless), |sum, seat| {
        sum.plus(Counts::of(&seat.own)).plus(Counts::of(&seat.shared))
    })
}

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

/// Who is attached now. The dead are left out: the kernel has freed their locks.
pub(crate) fn attached(segment: &Segment, file: &File) -> Vec<Attached> {
    let here = host::me().pid_namespace;
    segment
        .seats()
        .iter()
        .enumerate()
        .filter(|(index, seat)| {
            seat.holder.tenure.load(Ordering::Acquire) & 1 == 1
                && lock::is_held(file, SEAT_LOCKS + *index as i64).unwrap_or(true)
        })
        .map(|(index, seat)| {
            let get = |w: &AtomicU64| w.load(Ordering::Relaxed);
            let bytes: Vec<u8> = seat
                .holder
                .command
                .iter()
                .flat_map(|w| get(w).to_le_bytes())
                .take_while(|&b| b != 0)
                .collect();
            Attached {
                seat: index,
                pid: get(&seat.holder.pid) as u32,
                foreign_pid: get(&seat.holder.pid_namespace) != here,
                // Printed by people's terminals, so nothing but printable text leaves here.
                command: String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control()).collect(),
                since: Nanos::from_nanos(get(&seat.holder.since_ns)),
                counts: Counts::of(&seat.own).plus(Counts::of(&seat.shared)).since(Counts::of(&seat.before)),
            }
        })
        .collect()
}
