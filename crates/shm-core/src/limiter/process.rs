//! What one process keeps of one limiter's file, for all its handles and threads: its seat, its scratch space for
//! records, and its waiting callers.

use crate::commit::{Pair, Scratch};
use crate::error::Result;
use crate::line::Callers;
use crate::seat::{Claimed, HolderId, ProcessSeat, Table, end};
use crate::segment::Segment;
use crate::sync::Ordering;
use crate::sys::fork_gate::NoFork;
use crate::sys::mid_write::MidWrite;
use crate::sys::process_lock::{ProcessLock, ProcessLockGuard};
use crate::sys::process_token::process_token;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Weak};

pub(crate) struct ProcessState {
    pub(crate) seat: ProcessSeat,
    /// Handles of this process to the file. Modified under the lock of `STATES`.
    handles: AtomicUsize,
    /// Where the contents of the seat's cells are prepared, by one thread at a time.
    scratch: ProcessLock<Scratch>,
    /// The waiting callers of this process. Locked before the scratch.
    callers: ProcessLock<Callers>,
    /// When this process may next publish that the wall clock was set.
    pub(crate) next_clock_step_ns: AtomicU64,
}

/// By device and inode. A mapped file keeps its inode, so no two files share a key.
type States = BTreeMap<(u64, u64), Weak<ProcessState>>;
/// This process's states. Locked only inside the fork gate, so a forked child finds the lock free and the map
/// consistent.
static STATES: ProcessLock<States> = ProcessLock::new(States::new());

/// This thread's exclusive right to write the seat's cells. Threads of one process wait for each other here; processes
/// never do.
pub(crate) struct CellAccess<'a> {
    pub(crate) seat: usize,
    pub(crate) scratch: ProcessLockGuard<'a, Scratch>,
    write: MidWrite<'a>,
}

impl ProcessState {
    fn new() -> ProcessState {
        ProcessState {
            seat: ProcessSeat::new(),
            handles: AtomicUsize::new(0),
            scratch: ProcessLock::new(Scratch::default()),
            callers: ProcessLock::new(Callers::default()),
            next_clock_step_ns: AtomicU64::new(0),
        }
    }

    /// The state for this file, with one more handle.
    pub(crate) fn join(segment: &Segment) -> Arc<ProcessState> {
        let _gate = NoFork::enter();
        let mut states = STATES.lock();
        let state = match states.get(&segment.file_id()).and_then(Weak::upgrade) {
            Some(state) => state,
            None => {
                let state = Arc::new(ProcessState::new());
                states.insert(segment.file_id(), Arc::downgrade(&state));
                state
            }
        };
        state.handles.fetch_add(1, Ordering::Relaxed);
        state
    }

    /// Removes one handle. The last one releases the process's seat and place.
    pub(crate) fn leave(&self, segment: &Segment) {
        let _gate = NoFork::enter();
        let mut states = STATES.lock();
        if self.handles.fetch_sub(1, Ordering::Relaxed) == 1 {
            states.remove(&segment.file_id());
            self.seat.release(segment);
            self.release_place(segment, &mut self.callers());
        }
    }

    /// Exclusive access to this process's cells, for this thread. `None` if no free seat was found.
    #[inline]
    pub(crate) fn cells<'a>(&'a self, segment: &'a Segment) -> Result<Option<CellAccess<'a>>> {
        loop {
            let Some(seat) = self.seat.seat(segment)? else { return Ok(None) };
            let scratch = self.scratch.lock();
            let write = MidWrite::begin(segment.extent());
            if self.seat.current(segment) == Some(seat) {
                return Ok(Some(CellAccess { seat, scratch, write }));
            }
            // A signal handler forked since, and this is the child: it takes a seat of its own.
        }
    }

    /// The waiting callers of this process, locked for this thread. The caller blocks signal handlers meanwhile: a
    /// child forked by one would continue with its parent's callers.
    pub(crate) fn callers(&self) -> ProcessLockGuard<'_, Callers> {
        let mut callers = self.callers.lock();
        if callers.process != process_token() {
            // A forked child's copy of its parent's callers. Not dropped: their place and its lock are the parent's.
            std::mem::forget(std::mem::take(&mut *callers));
            callers.process = process_token();
        }
        callers
    }

    /// This process's place in the line; claims one if it has none. `None` if no free place was found.
    pub(crate) fn place(&self, segment: &Segment, callers: &mut Callers) -> Result<Option<HolderId>> {
        if callers.place.is_none() {
            callers.place = callers.search.claim(segment, Table::Places)?;
        }
        Ok(callers.place.as_ref().map(|place| place.id))
    }

    /// Releases the place, if this process has one.
    pub(crate) fn release_place(&self, segment: &Segment, callers: &mut Callers) {
        if let Some(Claimed { id, hold }) = callers.place.take() {
            end(Table::Places.holder(segment, id.seat), id.tenure);
            drop(hold);
        }
    }
}

impl CellAccess<'_> {
    /// The pair of cells.
    #[inline]
    pub(crate) fn pair(&self) -> Pair {
        Pair::of(self.seat, self.write.process())
    }

    /// The token of the process that has access.
    pub(crate) fn process(&self) -> u64 {
        self.write.process()
    }

    /// Whether this is still the process that got access. False in a child that a signal handler forked meanwhile: the
    /// cells are the parent's, and everything read of the limiter since is invalid.
    #[inline]
    pub(crate) fn is_same_process(&self) -> bool {
        self.write.is_same_process()
    }
}

/// Simulates several processes in one test process. The locks are OFD locks, and each seat and place has its own open
/// file description, so they conflict as those of real processes do.
#[cfg(test)]
impl ProcessState {
    /// The state of another process with one handle to the file.
    pub(crate) fn of_another_process() -> Arc<ProcessState> {
        let state = ProcessState::new();
        state.handles.store(1, Ordering::Relaxed);
        Arc::new(state)
    }

    /// Simulates a kill of that process: its locks are released, and everything it wrote stays.
    pub(crate) fn is_killed(&self) {
        self.seat.is_killed();
        drop(self.callers().place.take());
        // Its last handle no longer releases anything.
        self.handles.store(usize::MAX, Ordering::Relaxed);
    }
}
