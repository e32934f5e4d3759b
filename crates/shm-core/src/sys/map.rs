//! A limiter's file in memory, as typed atomics.

use super::mid_write::Extent;
use crate::layout::{Cell, Header, Place, SEATS_OFFSET, Seat, Shape};
use crate::sync::AtomicU64;
use memmap2::{MmapOptions, MmapRaw};
use std::fs::File;
use std::io;

/// A shared mapping of a whole limiter. Inherited by `fork`; gone with `exec`.
///
/// The file may be shortened by somebody with write access; touching a page beyond its end is then a SIGBUS. Nobody
/// can be protected from that who maps a file others may write (see `docs/guarantees.md`).
pub(crate) struct Map {
    raw: MmapRaw,
    extent: Extent,
    shape: Shape,
    /// Where the parts begin, in bytes; all follow from the shape.
    cells_at: usize,
    turn_cells_at: usize,
    slots_at: usize,
    slots: usize,
    permits_at: usize,
    standing_at: usize,
    places_at: usize,
    places: usize,
}

impl Map {
    /// Maps a file of this shape: its size is `shape.file_size()`, checked by the caller.
    pub(crate) fn new(file: &File, shape: Shape) -> io::Result<Map> {
        Whole::of(file, shape.file_size()).map(|whole| whole.shaped(shape))
    }

    #[inline]
    pub(crate) fn fixed(&self) -> &Header {
        fixed(&self.raw)
    }

    /// Where it lies.
    #[inline]
    pub(crate) fn extent(&self) -> &Extent {
        &self.extent
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    #[inline]
    pub(crate) fn seats(&self) -> &[Seat] {
        // SAFETY: the shape says that `seats` of these lie there.
        unsafe { self.part(SEATS_OFFSET, self.shape.seats) }
    }

    #[inline]
    pub(crate) fn cells(&self) -> &[Cell] {
        // SAFETY: the shape says that `cells` of these lie there.
        unsafe { self.part(self.cells_at, self.shape.cells) }
    }

    /// The records before the turns of the line were charged.
    #[inline]
    pub(crate) fn turn_cells(&self) -> &[Cell] {
        // SAFETY: the shape says that so many of these lie there.
        unsafe { self.part(self.turn_cells_at, self.shape.turn_cells()) }
    }

    /// The slots of all rings, one ring after the other.
    #[inline]
    pub(crate) fn slots(&self) -> &[AtomicU64] {
        // SAFETY: the shape says that so many slots lie there.
        unsafe { self.part(self.slots_at, self.slots) }
    }

    #[inline]
    pub(crate) fn permits(&self) -> &[AtomicU64] {
        // SAFETY: the shape says that `permits` of these lie there.
        unsafe { self.part(self.permits_at, self.shape.permits) }
    }

    /// A bit for each place: whether somebody stands there.
    #[inline]
    pub(crate) fn standing(&self) -> &[AtomicU64] {
        // SAFETY: the shape says that so many words lie there.
        unsafe { self.part(self.standing_at, self.places / 64) }
    }

    #[inline]
    pub(crate) fn places(&self) -> &[Place] {
        // SAFETY: the shape says that `places` of these lie there.
        unsafe { self.part(self.places_at, self.places) }
    }

    /// `count` values of `T` from the byte `at` on.
    ///
    /// # Safety
    /// They must lie within the mapping, `at` must be a multiple of `T`'s alignment (a mapping begins with a page), and
    /// `T` must be made of atomics only: then any bytes are valid, and others may write at any time.
    #[inline]
    unsafe fn part<T>(&self, at: usize, count: usize) -> &[T] {
        debug_assert!(at.is_multiple_of(align_of::<T>()) && at + count * size_of::<T>() <= self.raw.len());
        // SAFETY: the caller's promise; the mapping lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.raw.as_ptr().add(at).cast::<T>(), count) }
    }
}

/// A mapping of which only the fixed part is known.
pub(crate) struct Whole(MmapRaw);

impl Whole {
    /// Maps a file of this size, which is at least that of the fixed part.
    pub(crate) fn of(file: &File, size: usize) -> io::Result<Whole> {
        // Not populated: the first touch maps all pages around it, for less.
        let raw = MmapOptions::new().len(size.max(SEATS_OFFSET)).map_raw(file)?;
        debug_assert!(raw.as_ptr().cast::<Header>().is_aligned());
        Ok(Whole(raw))
    }

    pub(crate) fn fixed(&self) -> &Header {
        fixed(&self.0)
    }

    /// With the shape that it turned out to have.
    ///
    /// # Panics
    /// If the mapping is shorter than that.
    pub(crate) fn shaped(self, shape: Shape) -> Map {
        assert!(self.0.len() >= shape.file_size(), "the caller compares the sizes");
        Map {
            extent: Extent { start: self.0.as_ptr().addr(), len: self.0.len() },
            raw: self.0,
            shape,
            cells_at: shape.cells_at(),
            turn_cells_at: shape.turn_cells_at(),
            slots_at: shape.slots_at(),
            slots: shape.slots(),
            permits_at: shape.permits_at(),
            standing_at: shape.standing_at(),
            places_at: shape.places_at(),
            places: shape.places(),
        }
    }
}

#[inline]
fn fixed(raw: &MmapRaw) -> &Header {
    // SAFETY: the mapping is page-aligned, at least `size_of::<Fixed>()` long (`Whole::of`) and lives as long as `raw`.
    // `Fixed` is atomics only, so any bytes are valid and others may write at any time.
    unsafe { &*raw.as_ptr().cast::<Header>() }
}
