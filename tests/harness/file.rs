//! A limiter's file from outside: read and patched by its documented offsets, as another language would.

use nix::fcntl::{FcntlArg, fcntl};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Offsets of words in the file. See `docs/format.md`.
pub mod offset {
    #![allow(missing_docs)]
    pub const MAGIC: u64 = 0;
    pub const VERSION: u64 = 8;
    pub const LAYOUT: u64 = 16;
    pub const FILE_SIZE: u64 = 24;
    pub const BOOT_ID: u64 = 32;
    pub const TIME_NAMESPACE: u64 = 48;
    pub const CHECKSUM: u64 = 56;
    pub const SEATS: u64 = 64;
    pub const CELLS: u64 = 96;
    pub const PERMITS: u64 = 104;
    pub const RINGS: u64 = 112;
    pub const CREATED: u64 = 80;
    pub const WALL: u64 = 144;
    pub const KEY_TABLES: u64 = 152;
    pub const KEY_ROWS: u64 = 160;
    pub const REGIONS_END: u64 = 184;
    pub const NAME: u64 = 192;
    pub const EPOCH: u64 = 448;
    pub const PROBED: u64 = 512;
    pub const SEATLESS: u64 = 576;
    pub const GENERATIONS: u64 = 2_560;
    pub const GENERATION_SIZE: u64 = 1_344;
    pub const GENERATION_CHECKSUM: u64 = 48;
    pub const GENERATION_KEY_LIMITS: u64 = 576;
    pub const GENERATION_CALENDAR: u64 = 1_088;
    pub const GENERATION_STATE: u64 = 1_280;
    pub const TURNS: u64 = 13_312;
    pub const TURN_INSTANTS: u64 = 13_824;
    pub const TURN_CHARGES: u64 = 14_336;
    pub const FIRST_SEAT: u64 = 20_480;
}

/// The byte whose lock a changer holds.
const CONTROL_LOCK: i64 = (1 << 40) - 1;

/// Bytes of what is counted about keys, and of a chunk of their tables.
const KEY_STATS: u64 = 9_920;
/// The tables get their memory in chunks of so many bytes.
pub const CHUNK: u64 = 4_096;

/// Set in the epoch of a retired limiter.
pub const RETIRED: u64 = 1 << 63;

/// A limiter's file.
pub struct Patch {
    file: File,
    path: PathBuf,
}

impl Patch {
    /// Opens it.
    pub fn of(path: &Path) -> Patch {
        let file = File::options().read(true).write(true).open(path).expect("the limiter's file");
        Patch { file, path: path.to_owned() }
    }

    /// One word.
    pub fn get(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, at).expect("a word");
        u64::from_ne_bytes(bytes)
    }

    /// Changes one word.
    pub fn set(&self, at: u64, word: u64) -> &Patch {
        self.file.write_all_at(&word.to_ne_bytes(), at).expect("a word");
        self
    }

    /// Makes the header's checksum right again.
    pub fn seal(&self) -> &Patch {
        self.set(offset::CHECKSUM, header_checksum(|at| self.get(at)))
    }

    /// Whether a process holds the lock for changes.
    pub fn is_being_changed(&self) -> bool {
        let mut lock = libc::flock {
            l_type: libc::F_WRLCK as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: CONTROL_LOCK,
            l_len: 1,
            l_pid: 0,
        };
        fcntl(&self.file, FcntlArg::F_OFD_GETLK(&mut lock)).expect("to look at a lock");
        i32::from(lock.l_type) != libc::F_UNLCK
    }

    /// What lies in the line.
    pub fn line(&self) -> InLine {
        let parts = Parts::of(|at| self.get(at));
        let bits = (parts.standing..parts.places).step_by(8).map(|at| self.get(at).count_ones());
        let kinds = (offset::TURNS..offset::TURN_INSTANTS).step_by(8).map(|at| self.get(at) >> 62);
        let mut seen = InLine { standing: bits.sum(), ..InLine::default() };
        for kind in kinds {
            seen.filling += u32::from(kind == 1);
            seen.ready += u32::from(kind == 2);
        }
        seen
    }

    /// All its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).expect("the limiter's file")
    }
}

/// Which processes stand in the line, dead ones included, and what is charged ahead, as the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InLine {
    /// Processes that stand.
    pub standing: u32,
    /// Turns that are being charged.
    pub filling: u32,
    /// Turns that are ready.
    pub ready: u32,
}

/// The header's checksum, from its words.
pub fn header_checksum(get: impl Fn(u64) -> u64) -> u64 {
    let summed = |at: &u64| *at != offset::CHECKSUM && !(offset::REGIONS_END..offset::NAME).contains(at);
    hash((0..offset::EPOCH / 8).map(|i| 8 * i).filter(summed).map(get))
}

/// The checksum of the generation in this place of the ring, from its words.
pub fn generation_checksum(place: u64, get: impl Fn(u64) -> u64) -> u64 {
    let start = offset::GENERATIONS + place * offset::GENERATION_SIZE;
    let about = (0..6).chain([7]).map(|i| start + 8 * i);
    let limit = |i: u64| {
        let numbers = start + 64 + 128 * i;
        (0..6).map(move |k| numbers + 8 * k).chain((0..6).map(move |k| numbers + 64 + 8 * k))
    };
    let key_limit = |i: u64| {
        let params = start + offset::GENERATION_KEY_LIMITS + 128 * i;
        (0..7).map(move |k| params + 8 * k).chain((0..5).map(move |k| params + 64 + 8 * k))
    };
    let calendar = (0..24).map(|i| start + offset::GENERATION_CALENDAR + 8 * i);
    hash(about.chain((0..4).flat_map(limit)).chain((0..4).flat_map(key_limit)).chain(calendar).map(get))
}

fn hash(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(0xcbf2_9ce4_8422_2325_u64, |hash, word| {
        let mixed = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        mixed ^ (mixed >> 29)
    })
}

/// Where the parts of a file lie, in bytes, by what its header says. Meaningless numbers give meaningless places.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Where the cells begin, and the seats end.
    pub cells: u64,
    /// Where the cells of turns begin.
    pub turn_cells: u64,
    /// Where the slots begin.
    pub slots: u64,
    /// Where the permits begin.
    pub permits: u64,
    /// Where the bits begin that say which processes stand in the line.
    pub standing: u64,
    /// Where the places of the line begin.
    pub places: u64,
    /// With limits per key: where the counts about keys begin, the bits of the chunks of the tables, and the tables; otherwise the
    /// end of the places.
    pub key_stats: u64,
    /// See `key_stats`.
    pub chunks: u64,
    /// See `key_stats`.
    pub tables: u64,
    /// The size of the file.
    pub size: u64,
}

impl Parts {
    /// From the header's words.
    pub fn of(get: impl Fn(u64) -> u64) -> Parts {
        let times = |at: u64, size: u64| get(at).saturating_mul(size);
        let line = |end: u64| end.checked_next_multiple_of(64).unwrap_or(u64::MAX);
        let cells = offset::FIRST_SEAT.saturating_add(times(offset::SEATS, 256));
        let turn_cells = cells.saturating_add(times(offset::CELLS, 448));
        let slots = turn_cells.saturating_add(if get(offset::CELLS) > 0 { 64 * 448 } else { 0 });
        let rings = (0..4).fold(0, |sum: u64, i| sum.saturating_add(times(offset::RINGS + 8 * i, 8)));
        let permits = slots.saturating_add(rings);
        let standing = line(permits.saturating_add(times(offset::PERMITS, 8)));
        let n = line(times(offset::SEATS, 2)).clamp(64, 4_096);
        let places = line(standing.saturating_add(n / 8));
        let key_stats = places.saturating_add(n * 128);
        let mut parts = Parts {
            cells,
            turn_cells,
            slots,
            permits,
            standing,
            places,
            key_stats,
            chunks: key_stats,
            tables: key_stats,
            size: key_stats,
        };
        let bytes = times(offset::KEY_TABLES, 256).saturating_mul(get(offset::KEY_ROWS));
        if get(offset::KEY_TABLES) > 0 {
            let to = |end: u64, align: u64| end.checked_next_multiple_of(align).unwrap_or(u64::MAX);
            parts.chunks = key_stats.saturating_add(KEY_STATS);
            let bits = 8 * bytes.div_ceil(CHUNK).div_ceil(64);
            let align = if bytes < 4 << 20 { 4_096 } else { 2 << 20 };
            parts.tables = to(parts.chunks.saturating_add(bits), align);
            parts.size = to(parts.tables.saturating_add(bytes), 4_096);
        }
        parts
    }
}
