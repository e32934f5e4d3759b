//! Where records are stored: the cells, the word that points to one, and the rings of logs.

use crate::layout::{Cell, RINGS};
use crate::limit::log::Ring;
use crate::limit::rule_set::{LINE, Record, Rings, Size};
use crate::sync::{AtomicU64, Ordering};
use std::ops::Range;

const CELL_BITS: u32 = 14;
/// State words below this are live.
pub(super) const LIVE_END: u64 = crate::limit::gcra::TAT_END;

/// The state word as a pointer: the index of the cell, and the version of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordPtr(pub(crate) u64);

impl RecordPtr {
    pub(crate) fn cell(self) -> usize {
        (self.0 & ((1 << CELL_BITS) - 1)) as usize
    }

    /// The state word for the next record, in this cell.
    pub(crate) fn next(self, cell: usize) -> u64 {
        let version = (self.0 & (LIVE_END - 1)) >> CELL_BITS;
        ((version + 1) << CELL_BITS | cell as u64) & (LIVE_END - 1)
    }
}

/// One limit's ring slots.
#[derive(Clone, Copy)]
pub(crate) struct Slots<'a>(pub(super) &'a [AtomicU64]);

impl Slots<'_> {
    pub(super) fn slot_ref(&self, index: u64) -> Option<&AtomicU64> {
        // The length is a power of two, or 0.
        self.0.get(index as usize & self.0.len().wrapping_sub(1))
    }
}

impl Ring for Slots<'_> {
    #[inline]
    fn slot(&self, index: u64) -> u64 {
        // Acquire: pairs with the `fetch_max` in `write_pending`. A reader that sees a slot overwritten by a later
        // commit also sees a later state word.
        self.slot_ref(index).map_or(0, |slot| slot.load(Ordering::Acquire))
    }

    fn capacity(&self) -> u64 {
        self.0.len() as u64
    }
}

/// All cells and rings of a limiter.
#[derive(Clone, Copy)]
pub(crate) struct RecordStore<'a> {
    pub(crate) cells: &'a [Cell],
    /// The slots of all rings, one ring after the other.
    pub(crate) slots: &'a [AtomicU64],
    /// How many slots each limit's ring has.
    pub(crate) rings: &'a [usize; RINGS],
}

impl<'a> Rings for RecordStore<'a> {
    type Ring = Slots<'a>;

    #[inline]
    fn ring(&self, limit: usize) -> Slots<'a> {
        let (before, rest) = self.rings.split_at(limit.min(RINGS - 1));
        let slots = self.slots.get(before.iter().sum()..).unwrap_or_default();
        Slots(slots.get(..rest[0]).unwrap_or_default())
    }
}

/// Copies a cell, possibly while another process writes it.
#[inline]
pub(super) fn load(cell: &Cell, record: &mut Record, size: Size) {
    load_lines(cell, record, 0..size.least_lines());
    load_lines(cell, record, size.least_lines()..size.lines(record));
}

#[inline]
fn load_lines(cell: &Cell, record: &mut Record, lines: Range<usize>) {
    let (to, _) = record.0.as_chunks_mut::<LINE>();
    let (from, _) = cell.words.as_chunks::<LINE>();
    for (to, from) in to.iter_mut().zip(from).take(lines.end).skip(lines.start) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = from.load(Ordering::Relaxed);
        }
    }
}

#[inline]
pub(super) fn store(cell: &Cell, record: &Record, size: Size) {
    let (to, _) = cell.words.as_chunks::<LINE>();
    let (from, _) = record.0.as_chunks::<LINE>();
    for (to, from) in to.iter().zip(from).take(size.lines(record)) {
        for (to, &from) in to.iter().zip(from) {
            to.store(from, Ordering::Relaxed);
        }
    }
}
