//! What this process keeps of one limiter's file, for all its handles and threads: its seat, its scratch for records, and its
//! callers that wait.

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
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};

pub(crate) struct ProcessState {
    pub(crate) seat: ProcessSeat,
    /// Handles of this process to the file. Changed under the lock of `STATES`.
    handles: AtomicUsize,
    /// Where the seat's cells are prepared, by one thread at a time.
    scratch: ProcessLock<Scratch>,
    /// The callers of this process that wait. Taken before the scratch.
    callers: ProcessLock<Callers>,
}

/// By device and inode: a file that is mapped keeps its inode, so no two have the same.
type States = BTreeMap<(u64, u64), Weak<ProcessState>>;
/// Of this process. Only locked inside the fork gate, so a forked child finds it free and whole.
static STATES: ProcessLock<States> = ProcessLock::new(States::new());

/// The right of this thread to write the seat's cells: no other thread of this process has it meanwhile. Threads of one
/// process wait for each other here; processes never do.
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
        }
    }

    /// The one for this file, for one more handle.
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

    /// One handle less. With the last one the process leaves its seat.
    pub(crate) fn leave(&self, segment: &Segment) {
        let _gate = NoFork::enter();
        let mut states = STATES.lock();
        if self.handles.fetch_sub(1, Ordering::Relaxed) == 1 {
            states.remove(&segment.file_id());
            self.seat.release(segment);
            self.release_place(segment, &mut self.callers());
        }
    }

    /// The right to write this process's cells, for this thread alone. `None` if no free seat was found.
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

    /// The callers of this process that wait, for this thread alone. While no signal handler runs in it: a child that one
    /// forks would go on with its parent's.
    pub(crate) fn callers(&self) -> ProcessLockGuard<'_, Callers> {
        let mut callers = self.callers.lock();
        if callers.process != process_token() {
            // A child's copy of its parent's, if there are any: not to be dropped here either.
            std::mem::forget(std::mem::take(&mut *callers));
            callers.process = process_token();
        }
        callers
    }

    /// This process's place in the line; takes one if it has none. `None` if no free one was found.
    pub(crate) fn place(&self, segment: &Segment, callers: &mut Callers) -> Result<Option<HolderId>> {
        if callers.place.is_none() {
            callers.place = callers.search.claim(segment, Table::Places)?;
        }
        Ok(callers.place.as_ref().map(|place| place.id))
    }

    /// Leaves the place, if this process has one.
    pub(crate) fn release_place(&self, segment: &Segment, callers: &mut Callers) {
        if let Some(Claimed { id, hold }) = callers.place.take() {
            end(Table::Places.holder(segment, id.seat), id.tenure);
            drop(hold);
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
impl ProcessState {
    /// That of another process, which has one handle to the file.
    pub(crate) fn of_another_process() -> Arc<ProcessState> {
        let state = ProcessState::new();
        state.handles.store(1, Ordering::Relaxed);
        Arc::new(state)
    }

    /// That process is killed: its locks are free, and all that it wrote stays as it is.
    pub(crate) fn is_killed(&self) {
        self.seat.is_killed();
        drop(self.callers().place.take());
        // Its last handle does not leave in order any more.
        self.handles.store(usize::MAX, Ordering::Relaxed);
    }
}
