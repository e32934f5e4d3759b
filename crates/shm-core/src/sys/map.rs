//! A limiter's file in memory, as typed atomics.

use crate::layout::{Fixed, SEATS_OFFSET, Seat, file_size};
use memmap2::{MmapOptions, MmapRaw};
use std::fs::File;
use std::io;

/// A shared mapping of a whole limiter. Inherited by `fork`; gone with `exec`.
///
/// The file may be shortened by somebody with write access; touching a page beyond its end is then a SIGBUS. Nobody
/// can be protected from that who maps a file others may write (see `docs/guarantees.md`).
pub(crate) struct Map {
    raw: MmapRaw,
    seats: usize,
}

impl Map {
    /// Maps a file that has room for this many seats: its size is `file_size(seats)`, checked by the caller.
    pub(crate) fn new(file: &File, seats: usize) -> io::Result<Map> {
        // Not populated: the first touch maps all pages around it, for less.
        let raw = MmapOptions::new().len(file_size(seats)).map_raw(file)?;
        debug_assert!(raw.as_ptr().cast::<Fixed>().is_aligned());
        Ok(Map { raw, seats })
    }

    #[inline]
    pub(crate) fn fixed(&self) -> &Fixed {
        // SAFETY: the mapping is page-aligned, at least `size_of::<Fixed>()` long (`file_size`) and lives as long as
        // `self`. `Fixed` is atomics only, so any bytes are valid and others may write at any time.
        unsafe { &*self.raw.as_ptr().cast::<Fixed>() }
    }

    #[inline]
    pub(crate) fn seats(&self) -> &[Seat] {
        // SAFETY: as above; `seats` places of `Seat` lie from `SEATS_OFFSET`, a multiple of their alignment, to the
        // end of the mapping.
        unsafe { std::slice::from_raw_parts(self.raw.as_ptr().add(SEATS_OFFSET).cast::<Seat>(), self.seats) }
    }
}
