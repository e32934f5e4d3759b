//! This process's own seat at a limiter: one, however many handles and threads it has.

use super::counts::Counting;
use super::probe::Table;
use super::search::{Claimed, Search};
use super::tenure::{self, Sitter};
use crate::clock;
use crate::commit::{Desk, Pair};
use crate::error::Result;
use crate::layout::Seat;
use crate::line::Callers;
use crate::segment::Segment;
use crate::sync::Ordering;
use crate::sys::fork::{NoFork, process_token, thread_mark};
use crate::sys::lock::HeldByMapping;
use crate::sys::mid_write::MidWrite;
use crate::sys::process_lock::{Held, ProcessLock};
use crate::sys::signal::NoHandlers;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// For how long a process only counts in the common lane after it found no free seat.
const COUNT_WITHOUT: Duration = Duration::from_millis(100);

/// The same after it could not look, perhaps for want of a descriptor.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// The seat of this process at one limiter file. All its handles and threads share it.
pub(crate) struct ProcessSeat {
    /// `process token << 16 | seat + 1`; the low half is 0 while there is no seat.
    sitting: AtomicU64,
    /// Which taking of the seat that is.
    tenure: AtomicU64,
    /// The thread that counts in the seat's own lane.
    counter: AtomicUsize,
    /// Keeps the seat's lock. A forked child leaves its parent's alone.
    hold: AtomicPtr<HeldByMapping>,
    /// Until when counting does not look for a seat again.
    retry_ns: AtomicU64,
    /// Handles of this process to the file. Changed under the lock of `SEATS`.
    handles: AtomicUsize,
    /// How many permits this process has taken; about, if threads take some at once.
    permits_taken: AtomicU64,
    /// Held by the thread that takes a seat.
    search: ProcessLock<Search>,
    /// Where the seat's cells are prepared, by one thread at a time.
    desk: ProcessLock<Desk>,
    /// The callers of this process that wait. Taken before the desk.
    callers: ProcessLock<Callers>,
}

/// By device and inode: a file that is mapped keeps its inode, so no two have the same.
type Seats = BTreeMap<(u64, u64), Weak<ProcessSeat>>;
/// Of this process. Only locked inside the fork gate, so a forked child finds it free and whole.
static SEATS: ProcessLock<Seats> = ProcessLock::new(Seats::new());

/// The right of this thread to write the seat's cells: no other thread of this process has it meanwhile. Threads of one
/// process wait for each other here; processes never do.
pub(crate) struct CellAccess<'a> {
    pub(crate) seat: usize,
    pub(crate) desk: Held<'a, Desk>,
    write: MidWrite<'a>,
}

impl ProcessSeat {
    fn new() -> ProcessSeat {
        ProcessSeat {
            sitting: AtomicU64::new(0),
            tenure: AtomicU64::new(0),
            counter: AtomicUsize::new(0),
            hold: AtomicPtr::new(std::ptr::null_mut()),
            retry_ns: AtomicU64::new(0),
            handles: AtomicUsize::new(0),
            permits_taken: AtomicU64::new(0),
            search: ProcessLock::new(Search::default()),
            desk: ProcessLock::new(Desk::default()),
            callers: ProcessLock::new(Callers::default()),
        }
    }

    /// The one for this file, for one more handle.
    pub(crate) fn join(segment: &Segment) -> Arc<ProcessSeat> {
        let _gate = NoFork::enter();
        let mut seats = SEATS.lock();
        let seat = match seats.get(&segment.file_id()).and_then(Weak::upgrade) {
            Some(seat) => seat,
            None => {
                let seat = Arc::new(ProcessSeat::new());
                seats.insert(segment.file_id(), Arc::downgrade(&seat));
                seat
            }
        };
        seat.handles.fetch_add(1, Ordering::Relaxed);
        seat
    }

    /// One handle less. With the last one the process leaves its seat.
    pub(crate) fn leave(&self, segment: &Segment) {
        let _gate = NoFork::enter();
        let mut seats = SEATS.lock();
        if self.handles.fetch_sub(1, Ordering::Relaxed) == 1 {
            seats.remove(&segment.file_id());
            self.release(segment);
            self.release_place(segment, &mut self.callers());
        }
    }

    /// This process's lane; takes a seat if it has none. Never waits: while another thread takes the seat, and when
    /// all seats are taken, counting is in the common lane.
    #[inline]
    pub(crate) fn counting<'a>(&self, segment: &'a Segment) -> Counting<'a> {
        match self.current(segment) {
            Some(seat) => self.counting_at(&segment.seats()[seat]),
            None => self.counting_after_a_search(segment),
        }
    }

    /// The lane of this thread at this process's seat.
    #[inline]
    pub(crate) fn counting_at<'a>(&self, seat: &'a Seat) -> Counting<'a> {
        let alone = self.counter.load(Ordering::Relaxed) == thread_mark();
        Counting { own: alone.then_some(&seat.own), shared: &seat.shared }
    }

    #[cold]
    fn counting_after_a_search<'a>(&self, segment: &'a Segment) -> Counting<'a> {
        let without = Counting { own: None, shared: &segment.fixed().seatless };
        let now = clock::now();
        let is_ours = self.sitting.load(Ordering::Relaxed) >> 16 == process_token();
        if is_ours && now.as_nanos() < self.retry_ns.load(Ordering::Relaxed) {
            return without;
        }
        let Some(mut search) = self.search.try_lock() else { return without };
        match self.take(segment, &mut search) {
            Ok(Some(seat)) => self.counting_at(&segment.seats()[seat]),
            other => {
                let time = if other.is_ok() { COUNT_WITHOUT } else { TRY_AGAIN };
                self.retry_ns.store(now.plus(time).as_nanos(), Ordering::Relaxed);
                self.sitting.store(process_token() << 16, Ordering::Release);
                without
            }
        }
    }

    /// This process's seat, if it has one.
    #[inline]
    fn current(&self, segment: &Segment) -> Option<usize> {
        // Another process's, and none, are larger than any seat.
        let sitting = self.sitting.load(Ordering::Acquire);
        let seat = sitting.wrapping_sub(process_token() << 16).wrapping_sub(1);
        (seat < segment.seats().len() as u64).then_some(seat as usize)
    }

    /// This process's seat; takes one if it has none. `None` if no free one was found.
    #[inline]
    fn seat(&self, segment: &Segment) -> Result<Option<usize>> {
        match self.current(segment) {
            Some(seat) => Ok(Some(seat)),
            None => self.take(segment, &mut self.search.lock()),
        }
    }

    /// This process's seat, and the proof that it is still the same holder.
    pub(crate) fn sitter(&self, segment: &Segment) -> Result<Option<Sitter>> {
        Ok(self.seat(segment)?.map(|seat| Sitter { seat, tenure: self.tenure.load(Ordering::Relaxed) }))
    }

    /// A number for the next permit that this process takes, other than those of the last ones.
    pub(crate) fn next_taking(&self) -> u64 {
        let taking = self.permits_taken.load(Ordering::Relaxed).wrapping_add(1);
        self.permits_taken.store(taking, Ordering::Relaxed);
        taking
    }

    /// The right to write this process's cells, for this thread alone. `None` if no free seat was found.
    #[inline]
    pub(crate) fn cells<'a>(&'a self, segment: &'a Segment) -> Result<Option<CellAccess<'a>>> {
        loop {
            let Some(seat) = self.seat(segment)? else { return Ok(None) };
            let desk = self.desk.lock();
            let write = MidWrite::begin(segment.extent());
            if self.current(segment) == Some(seat) {
                return Ok(Some(CellAccess { seat, desk, write }));
            }
            // A signal handler forked since, and this is the child: it takes a seat of its own.
        }
    }

    /// The callers of this process that wait, for this thread alone. While no signal handler runs in it: a child that one
    /// forks would go on with its parent's.
    pub(crate) fn callers(&self) -> Held<'_, Callers> {
        let mut callers = self.callers.lock();
        if callers.process != process_token() {
            // A child's copy of its parent's, if there are any: not to be dropped here either.
            std::mem::forget(std::mem::take(&mut *callers));
            callers.process = process_token();
        }
        callers
    }

    /// This process's place in the line; takes one if it has none. `None` if no free one was found.
    pub(crate) fn place(&self, segment: &Segment, callers: &mut Callers) -> Result<Option<Sitter>> {
        if callers.place.is_none() {
            callers.place = callers.search.claim(segment, Table::Places)?;
        }
        Ok(callers.place.as_ref().map(|place| place.sitter))
    }

    /// Leaves the place, if this process has one.
    pub(crate) fn release_place(&self, segment: &Segment, callers: &mut Callers) {
        if let Some(Claimed { sitter, hold }) = callers.place.take() {
            tenure::end(Table::Places.holder(segment, sitter.seat), sitter.tenure);
            drop(hold);
        }
    }

    /// Takes a free seat. For the thread that holds the search.
    #[cold]
    fn take(&self, segment: &Segment, search: &mut Search) -> Result<Option<usize>> {
        if let Some(seat) = self.current(segment) {
            // Another thread took it in the meantime.
            return Ok(Some(seat));
        }
        let _no_handlers = NoHandlers::enter();
        let process = process_token();
        let Some(Claimed { sitter, hold }) = search.claim(segment, Table::Seats)? else { return Ok(None) };
        // What is there belongs to a parent process: not ours to drop.
        self.hold.store(Box::into_raw(Box::new(hold)), Ordering::Release);
        self.counter.store(thread_mark(), Ordering::Relaxed);
        self.tenure.store(sitter.tenure, Ordering::Relaxed);
        self.sitting.store(process << 16 | (sitter.seat as u64 + 1), Ordering::Release);
        Ok(Some(sitter.seat))
    }

    /// Leaves the seat, if this process has one here.
    #[allow(unsafe_code)]
    fn release(&self, segment: &Segment) {
        let Some(seat) = self.current(segment) else { return };
        self.sitting.store(0, Ordering::Release);
        let hold = self.hold.swap(std::ptr::null_mut(), Ordering::AcqRel);
        tenure::end(&segment.seats()[seat].holder, self.tenure.load(Ordering::Relaxed));
        if !hold.is_null() {
            // SAFETY: made by Box::into_raw in `take` of this process (the token says so), and taken once.
            drop(unsafe { Box::from_raw(hold) });
        }
    }
}

impl CellAccess<'_> {
    /// The cells.
    #[inline]
    pub(crate) fn pair(&self) -> Pair {
        Pair::of(self.seat, self.write.process())
    }

    /// The token of the process that has the right.
    pub(crate) fn process(&self) -> u64 {
        self.write.process()
    }

    /// Whether this is still the process that was given the right. In a child that a signal handler forked in the meantime
    /// it is not: the cells are the parent's, and nothing that was read of the limiter since is true.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.write.is_ours()
    }
}

/// Several processes in one, for a test. Locks belong to open file descriptions, and each seat and place has its own, so
/// they are as separate as those of real processes.
#[cfg(test)]
impl ProcessSeat {
    /// That of another process, which has one handle to the file.
    pub(crate) fn of_another_process() -> Arc<ProcessSeat> {
        let seat = ProcessSeat::new();
        seat.handles.store(1, Ordering::Relaxed);
        Arc::new(seat)
    }

    /// That process is killed: its locks are free, and all that it wrote stays as it is.
    #[allow(unsafe_code)]
    pub(crate) fn is_killed(&self) {
        let hold = self.hold.swap(std::ptr::null_mut(), Ordering::AcqRel);
        if !hold.is_null() {
            // SAFETY: made by Box::into_raw in `take`, and taken once.
            drop(unsafe { Box::from_raw(hold) });
        }
        drop(self.callers().place.take());
        // Its last handle does not leave in order any more.
        self.handles.store(usize::MAX, Ordering::Relaxed);
    }
}
