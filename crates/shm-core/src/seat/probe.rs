//! Queries of the kernel's locks for seats and places.

use super::tenure::{HolderId, SeesLocks, TakesLocks};
use crate::error::Result;
use crate::layout::{Holder, place_lock, seat_lock};
use crate::segment::Segment;
use crate::sys::descriptor::Momentary;
use crate::sys::lock;
use std::fs::File;

/// The table of the file that a seat or place is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Seats,
    /// The places of the line.
    Places,
}

impl Table {
    pub(super) fn len(self, segment: &Segment) -> usize {
        match self {
            Table::Seats => segment.seats().len(),
            Table::Places => segment.places().len(),
        }
    }

    pub(crate) fn holder(self, segment: &Segment, index: usize) -> &Holder {
        match self {
            Table::Seats => &segment.seats()[index].holder,
            Table::Places => &segment.places()[index].holder,
        }
    }

    fn lock(self, id: HolderId) -> i64 {
        match self {
            Table::Seats => seat_lock(id.seat, id.tenure),
            Table::Places => place_lock(id.seat, id.tenure),
        }
    }
}

/// Queries the locks of a limiter's seats or places, on a descriptor that is opened on first use.
pub(crate) struct Probe<'a> {
    segment: &'a Segment,
    table: Table,
    file: Option<Momentary>,
}

impl<'a> Probe<'a> {
    pub(crate) fn of(segment: &'a Segment) -> Probe<'a> {
        Probe::of_table(segment, Table::Seats)
    }

    pub(crate) fn of_table(segment: &'a Segment, table: Table) -> Probe<'a> {
        Probe { segment, table, file: None }
    }
}

impl SeesLocks for Probe<'_> {
    fn is_held(&mut self, by: HolderId) -> Result<bool> {
        if self.file.is_none() {
            self.file = Some(Momentary::open(|| self.segment.reopen())?);
        }
        let file = self.file.as_ref().expect("just opened");
        lock::is_held(file, self.table.lock(by)).map_err(|e| self.segment.lock_refused(e))
    }
}

/// Takes locks on this open file description. They live as long as it does.
pub(super) struct OnFile<'a> {
    pub(super) segment: &'a Segment,
    pub(super) table: Table,
    pub(super) file: &'a File,
}

impl SeesLocks for OnFile<'_> {
    fn is_held(&mut self, by: HolderId) -> Result<bool> {
        lock::is_held(self.file, self.table.lock(by)).map_err(|e| self.segment.lock_refused(e))
    }
}

impl TakesLocks for OnFile<'_> {
    fn try_lock(&mut self, id: HolderId) -> Result<bool> {
        lock::try_lock(self.file, self.table.lock(id)).map_err(|e| self.segment.lock_refused(e))
    }

    fn unlock(&mut self, id: HolderId) {
        lock::unlock(self.file, self.table.lock(id));
    }
}
