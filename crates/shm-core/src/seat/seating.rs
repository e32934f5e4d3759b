//! This process's own seat.

use super::Probe;
use super::counts::{Counting, Counts};
use super::tenure::{self, Sitter};
use crate::clock::{self, Nanos};
use crate::commit::Desk;
use crate::error::{Error, Result};
use crate::layout::Seat;
use crate::segment::Segment;
use crate::sync::Ordering;
use crate::sys::fork::{NoFork, process_token, thread_mark};
use crate::sys::process_lock::{Held, ProcessLock};
use crate::sys::{host, lock};
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

/// The right of this thread to write the seat's cells: no other thread of this process has it meanwhile. Threads of one
/// process wait for each other here; processes never do.
pub(crate) struct Turn<'a> {
    pub(crate) seat: usize,
    pub(crate) desk: Held<'a, Desk>,
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
        match seat_of(sitting, process_token(), segment) {
            Some(seat) => self.counting_at(&segment.seats()[seat]),
            None => self.sit_down(segment, sitting),
        }
    }

    /// The lane of this thread at this process's seat.
    #[inline]
    pub(crate) fn counting_at<'a>(&self, seat: &'a Seat) -> Counting<'a> {
        let alone = self.counter.load(Ordering::Relaxed) == thread_mark();
        Counting { own: alone.then_some(&seat.own), shared: &seat.shared }
    }

    /// This process's seat; takes one if it has none. `None` if all are taken.
    #[inline]
    fn seat(&self, segment: &Segment) -> Option<usize> {
        // While another thread takes the seat there is none to be had yet. That is a few system calls.
        for _ in 0..100_000 {
            let sitting = self.sitting.load(Ordering::Acquire);
            if let Some(seat) = seat_of(sitting, process_token(), segment) {
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
        let seat = seat_of(self.sitting.load(Ordering::Acquire), process_token(), segment)?;
        Some(Turn { seat, desk: self.desk.lock() })
    }

    #[cold]
    fn sit_down<'a>(&self, segment: &'a Segment, before: u64) -> Counting<'a> {
        let seatless = Counting { own: None, shared: &segment.fixed().seatless };
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
        self.counting_at(&segment.seats()[index])
    }

    /// Leaves the seat, if this process has one here.
    #[allow(unsafe_code)]
    pub(crate) fn leave(&self, segment: &Segment) {
        let sitting = self.sitting.swap(0, Ordering::AcqRel);
        let Some(index) = seat_of(sitting, process_token(), segment) else { return };
        let hold = self.hold.swap(std::ptr::null_mut(), Ordering::AcqRel);
        tenure::end(&segment.seats()[index].holder);
        if !hold.is_null() {
            // SAFETY: made by Box::into_raw in `sit_down` of this process (the token says so), and taken once.
            drop(unsafe { Box::from_raw(hold) });
        }
    }
}

/// The seat that `sitting` says the process with this token has.
#[inline]
fn seat_of(sitting: u64, process: u64, segment: &Segment) -> Option<usize> {
    // Another process's, none and `TAKING` are all larger than any seat.
    let seat = sitting.wrapping_sub(process << 16).wrapping_sub(1);
    (seat < segment.seats().len() as u64).then_some(seat as usize)
}

/// Takes a free seat: one that was left if there is any, else one whose holder died.
fn take(segment: &Segment, now: Nanos, gate: NoFork) -> Result<Option<(usize, lock::HeldByMapping)>> {
    let mut locks = Probe::of(segment);
    let vacant =
        |odd: u64| move |(_, seat): &(usize, &Seat)| seat.holder.tenure.load(Ordering::Relaxed) & 1 == odd;
    let seats = || segment.seats().iter().enumerate();
    for (index, seat) in seats().filter(vacant(0)).chain(seats().filter(vacant(1))) {
        if let Some(sitter) = tenure::claim(index, &seat.holder, &mut locks)? {
            let Some(file) = locks.into_file() else { return Ok(None) };
            let hold = lock::HeldByMapping::keep(file, &gate)
                .map_err(|e| Error::os("can't map what holds its seat", e))?;
            drop(gate);
            introduce(seat, now);
            tenure::begin(&seat.holder, sitter);
            return Ok(Some((index, hold)));
        }
    }
    Ok(None)
}

/// Writes who will sit here. Killed in the middle, the next one writes it again.
fn introduce(seat: &Seat, now: Nanos) {
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
}
