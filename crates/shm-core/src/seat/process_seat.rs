//! This process's own seat at a limiter: one, however many handles and threads it has.

use super::counts::Counter;
use super::probe::Table;
use super::search::{Claimed, Search};
use super::tenure::{self, HolderId};
use crate::clock;
use crate::error::Result;
use crate::intervals::{NO_SEAT_BACKOFF, SEAT_ERROR_BACKOFF};
use crate::layout::Seat;
use crate::segment::Segment;
use crate::sync::Ordering;
use crate::sys::lock::HeldByMapping;
use crate::sys::process_lock::ProcessLock;
use crate::sys::process_token::{process_token, thread_mark};
use crate::sys::signal::NoHandlers;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};

/// The seat of this process at one limiter file, shared by all its handles and threads.
pub(crate) struct ProcessSeat {
    /// `process token << 16 | seat + 1`; the low half is 0 without a seat.
    seat_word: AtomicU64,
    /// The tenure of the seat.
    tenure: AtomicU64,
    /// The thread that counts in the seat's own lane.
    counting_thread: AtomicUsize,
    /// Keeps the seat's lock. A forked child does not touch its parent's.
    hold: AtomicPtr<HeldByMapping>,
    /// Until when counting does not search for a seat again.
    retry_ns: AtomicU64,
    /// How many permits this process has taken; approximate under concurrency.
    permits_taken: AtomicU64,
    /// Held by the thread that searches for a seat.
    search: ProcessLock<Search>,
}

impl ProcessSeat {
    pub(crate) fn new() -> ProcessSeat {
        ProcessSeat {
            seat_word: AtomicU64::new(0),
            tenure: AtomicU64::new(0),
            counting_thread: AtomicUsize::new(0),
            hold: AtomicPtr::new(std::ptr::null_mut()),
            retry_ns: AtomicU64::new(0),
            permits_taken: AtomicU64::new(0),
            search: ProcessLock::new(Search::default()),
        }
    }

    /// The counter of this thread; takes a seat if the process has none. Never waits: while another thread is taking
    /// the seat, and when no seat is free, it is the lane shared by processes without a seat.
    #[inline]
    pub(crate) fn counter<'a>(&self, segment: &'a Segment) -> Counter<'a> {
        match self.current(segment) {
            Some(seat) => self.counter_at(&segment.seats()[seat]),
            None => self.counter_after_search(segment),
        }
    }

    /// The counter of this thread at this process's seat.
    #[inline]
    pub(crate) fn counter_at<'a>(&self, seat: &'a Seat) -> Counter<'a> {
        let alone = self.counting_thread.load(Ordering::Relaxed) == thread_mark();
        Counter { own: alone.then_some(&seat.own), shared: &seat.shared }
    }

    #[cold]
    fn counter_after_search<'a>(&self, segment: &'a Segment) -> Counter<'a> {
        let without = Counter { own: None, shared: &segment.header().seatless };
        let now = clock::now();
        let is_same_process = self.seat_word.load(Ordering::Relaxed) >> 16 == process_token();
        if is_same_process && now.as_nanos() < self.retry_ns.load(Ordering::Relaxed) {
            return without;
        }
        let Some(mut search) = self.search.try_lock() else { return without };
        match self.take(segment, &mut search) {
            Ok(Some(seat)) => self.counter_at(&segment.seats()[seat]),
            other => {
                let time = if other.is_ok() { NO_SEAT_BACKOFF } else { SEAT_ERROR_BACKOFF };
                self.retry_ns.store(now.plus(time).as_nanos(), Ordering::Relaxed);
                self.seat_word.store(process_token() << 16, Ordering::Release);
                without
            }
        }
    }

    /// This process's seat, if it has one.
    #[inline]
    pub(crate) fn current(&self, segment: &Segment) -> Option<usize> {
        // For another process's word, and without a seat, the difference is larger than any seat index.
        let word = self.seat_word.load(Ordering::Acquire);
        let seat = word.wrapping_sub(process_token() << 16).wrapping_sub(1);
        (seat < segment.seats().len() as u64).then_some(seat as usize)
    }

    /// This process's seat; takes one if it has none. `None` if no free seat was found.
    #[inline]
    pub(crate) fn seat(&self, segment: &Segment) -> Result<Option<usize>> {
        match self.current(segment) {
            Some(seat) => Ok(Some(seat)),
            None => self.take(segment, &mut self.search.lock()),
        }
    }

    /// This process's seat with its tenure, which proves later that it is still the same holder.
    pub(crate) fn holder_id(&self, segment: &Segment) -> Result<Option<HolderId>> {
        Ok(self.seat(segment)?.map(|seat| HolderId { seat, tenure: self.tenure.load(Ordering::Relaxed) }))
    }

    /// A number for the next permit that this process takes, different from the most recent ones.
    pub(crate) fn next_permit_serial(&self) -> u64 {
        let serial = self.permits_taken.load(Ordering::Relaxed).wrapping_add(1);
        self.permits_taken.store(serial, Ordering::Relaxed);
        serial
    }

    /// Takes a free seat. Called by the thread that holds `search`.
    #[cold]
    fn take(&self, segment: &Segment, search: &mut Search) -> Result<Option<usize>> {
        if let Some(seat) = self.current(segment) {
            // Another thread took it in the meantime.
            return Ok(Some(seat));
        }
        let _no_handlers = NoHandlers::enter();
        let process = process_token();
        let Some(Claimed { id, hold }) = search.claim(segment, Table::Seats)? else { return Ok(None) };
        // An old value belongs to a parent process: this process must not drop it.
        self.hold.store(Box::into_raw(Box::new(hold)), Ordering::Release);
        self.counting_thread.store(thread_mark(), Ordering::Relaxed);
        self.tenure.store(id.tenure, Ordering::Relaxed);
        self.seat_word.store(process << 16 | (id.seat as u64 + 1), Ordering::Release);
        Ok(Some(id.seat))
    }

    /// Releases the seat, if this process has one here.
    #[allow(unsafe_code)]
    pub(crate) fn release(&self, segment: &Segment) {
        let Some(seat) = self.current(segment) else { return };
        self.seat_word.store(0, Ordering::Release);
        let hold = self.hold.swap(std::ptr::null_mut(), Ordering::AcqRel);
        tenure::end(&segment.seats()[seat].holder, self.tenure.load(Ordering::Relaxed));
        if !hold.is_null() {
            // SAFETY: made by Box::into_raw in `take` of this process (the token says so), and taken once.
            drop(unsafe { Box::from_raw(hold) });
        }
    }
}

#[cfg(test)]
impl ProcessSeat {
    /// Simulates a kill of this process: its lock is released, and everything it wrote stays.
    #[allow(unsafe_code)]
    pub(crate) fn is_killed(&self) {
        let hold = self.hold.swap(std::ptr::null_mut(), Ordering::AcqRel);
        if !hold.is_null() {
            // SAFETY: made by Box::into_raw in `take`, and taken once.
            drop(unsafe { Box::from_raw(hold) });
        }
    }
}
