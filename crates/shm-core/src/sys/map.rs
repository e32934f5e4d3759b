//! A mapped limiter file, as typed atomics.

use super::mid_write::Extent;
use crate::layout::{CHUNK, Cell, Header, KeyStatsWords, Place, RowSlots, SEATS_OFFSET, Seat, Shape};
use crate::sync::AtomicU64;
use memmap2::{MmapOptions, MmapRaw};
use std::fs::File;
use std::io;

/// Since Linux 5.14. (Not every C library's headers have it.)
const MADV_POPULATE_WRITE: libc::c_int = 23;

/// A shared mapping of a whole limiter. Inherited by `fork`; gone after `exec`.
///
/// A process with write access can truncate the file; touching a page beyond its end then raises SIGBUS. No process
/// that maps a file writable by others can be protected from that (see `docs/guarantees.md`).
pub(crate) struct Map {
    raw: MmapRaw,
    extent: Extent,
    shape: Shape,
    /// Byte offsets of the parts, all determined by the shape.
    cells_at: usize,
    turn_cells_at: usize,
    slots_at: usize,
    slots: usize,
    permits_at: usize,
    occupied_at: usize,
    places_at: usize,
    places: usize,
    chunks_at: usize,
    chunk_words: usize,
    tables_at: usize,
}

impl Map {
    /// Maps a file of this shape. The caller has checked that its size is `shape.file_size()`.
    pub(crate) fn new(file: &File, shape: Shape) -> io::Result<Map> {
        Whole::of(file, shape.file_size()).map(|whole| whole.shaped(shape))
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        header(&self.raw)
    }

    /// The extent of the mapping.
    #[inline]
    pub(crate) fn extent(&self) -> &Extent {
        &self.extent
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    #[inline]
    pub(crate) fn seats(&self) -> &[Seat] {
        // SAFETY: the shape places `seats` of these at this offset.
        unsafe { self.part(SEATS_OFFSET, self.shape.seats) }
    }

    #[inline]
    pub(crate) fn cells(&self) -> &[Cell] {
        // SAFETY: the shape places `cells` of these at this offset.
        unsafe { self.part(self.cells_at, self.shape.cells) }
    }

    /// The records from before the charges of the line's turns.
    #[inline]
    pub(crate) fn turn_cells(&self) -> &[Cell] {
        // SAFETY: the shape places this many at this offset.
        unsafe { self.part(self.turn_cells_at, self.shape.turn_cells()) }
    }

    /// The slots of all rings, one ring after the other.
    #[inline]
    pub(crate) fn slots(&self) -> &[AtomicU64] {
        // SAFETY: the shape places this many at this offset.
        unsafe { self.part(self.slots_at, self.slots) }
    }

    #[inline]
    pub(crate) fn permits(&self) -> &[AtomicU64] {
        // SAFETY: the shape places `permits` of these at this offset.
        unsafe { self.part(self.permits_at, self.shape.permits) }
    }

    /// One bit per place: whether its process is in line.
    #[inline]
    pub(crate) fn occupied(&self) -> &[AtomicU64] {
        // SAFETY: the shape places this many words at this offset.
        unsafe { self.part(self.occupied_at, self.places / 64) }
    }

    #[inline]
    pub(crate) fn places(&self) -> &[Place] {
        // SAFETY: the shape places `places` of these at this offset.
        unsafe { self.part(self.places_at, self.places) }
    }

    /// What is counted about keys, if there are tables of keys.
    pub(crate) fn key_stats(&self) -> Option<&KeyStatsWords> {
        if self.shape.keys.tables == 0 {
            return None;
        }
        // SAFETY: with tables, the shape places one of these at this offset.
        unsafe { self.part::<KeyStatsWords>(self.shape.key_stats_at(), 1) }.first()
    }

    /// One bit per chunk of the tables: whether it has memory.
    #[inline]
    pub(crate) fn chunks(&self) -> &[AtomicU64] {
        // SAFETY: the shape places this many words at this offset.
        unsafe { self.part(self.chunks_at, self.chunk_words) }
    }

    /// Table `index` of keys. A row may be accessed only after its chunk has got memory: see [`chunks`](Self::chunks).
    #[inline]
    pub(crate) fn table(&self, index: usize) -> &[RowSlots] {
        let rows = if index < self.shape.keys.tables { self.shape.keys.rows } else { 0 };
        // SAFETY: the shape places `tables` tables of `rows` rows each at this offset, one after the other.
        unsafe { self.part(self.tables_at + index * rows * size_of::<RowSlots>(), rows) }
    }

    /// Where the tables begin in the file.
    pub(crate) fn tables_at(&self) -> usize {
        self.tables_at
    }

    /// Gives memory to a chunk of the tables, all zeros unless it has some already. Without this, the first access would end in
    /// SIGBUS on a full file system.
    pub(crate) fn allocate_chunk(&self, index: usize) -> io::Result<()> {
        let chunk = self.tables_at + (index * CHUNK).min(self.shape.keys.bytes());
        let end = (chunk + CHUNK).min(self.raw.len());
        // SAFETY: reads a constant of the system.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(1) as usize;
        let start = chunk / page * page;
        let len = end - start;
        let at = self.raw.as_mut_ptr().wrapping_add(start).cast::<libc::c_void>();
        loop {
            // SAFETY: the range is within the mapping and begins on a page boundary (as the mapping does). The call changes no
            // content: it only makes pages present.
            if unsafe { libc::madvise(at, len, MADV_POPULATE_WRITE) } == 0 {
                return Ok(());
            }
            match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e => return Err(e),
            }
        }
    }

    /// `count` values of `T`, starting at byte `at`.
    ///
    /// # Safety
    /// They must lie within the mapping, `at` must be a multiple of `T`'s alignment (a mapping starts on a page
    /// boundary), and `T` must consist of atomics only: then any bytes are valid, and other processes may write at any
    /// time.
    #[inline]
    unsafe fn part<T>(&self, at: usize, count: usize) -> &[T] {
        debug_assert!(at.is_multiple_of(align_of::<T>()) && at + count * size_of::<T>() <= self.raw.len());
        // SAFETY: the caller's obligation; the mapping lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.raw.as_ptr().add(at).cast::<T>(), count) }
    }
}

/// A mapping of which only the header is known.
pub(crate) struct Whole(MmapRaw);

impl Whole {
    /// Maps a file of this size, which is at least that of the header.
    pub(crate) fn of(file: &File, size: usize) -> io::Result<Whole> {
        // Not prefaulted: the first touch maps the pages around it for less.
        let raw = MmapOptions::new().len(size.max(SEATS_OFFSET)).map_raw(file)?;
        debug_assert!(raw.as_ptr().cast::<Header>().is_aligned());
        Ok(Whole(raw))
    }

    pub(crate) fn header(&self) -> &Header {
        header(&self.0)
    }

    /// The mapping with the shape found in its header.
    ///
    /// # Panics
    /// If the mapping is shorter than that.
    pub(crate) fn shaped(self, shape: Shape) -> Map {
        assert!(self.0.len() >= shape.file_size(), "the caller has checked the size");
        Map {
            extent: Extent { start: self.0.as_ptr().addr(), len: self.0.len() },
            raw: self.0,
            shape,
            cells_at: shape.cells_at(),
            turn_cells_at: shape.turn_cells_at(),
            slots_at: shape.slots_at(),
            slots: shape.slots(),
            permits_at: shape.permits_at(),
            occupied_at: shape.occupied_at(),
            places_at: shape.places_at(),
            places: shape.places(),
            chunks_at: shape.chunks_at(),
            chunk_words: shape.chunk_words(),
            tables_at: shape.tables_at(),
        }
    }
}

#[inline]
fn header(raw: &MmapRaw) -> &Header {
    // SAFETY: the mapping is page-aligned, at least `size_of::<Header>()` long (`Whole::of`) and lives as long as
    // `raw`. `Header` consists of atomics only, so any bytes are valid and other processes may write at any time.
    unsafe { &*raw.as_ptr().cast::<Header>() }
}
