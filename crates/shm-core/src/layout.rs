//! The file format. `docs/format.md` describes it for other languages, with test vectors (`vectors`).
//!
//! Everything is a 64-bit word in native byte order, accessed atomically. Cache lines are 64 bytes. What every decision
//! reads, what every admission writes, and the seats are on separate lines.

use crate::sync::{AtomicPair, AtomicU64};

/// First word of every limiter: "SHMLIMIT" read as a little-endian number.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"SHMLIMIT");
/// Incremented when the meaning of a word changes.
pub(crate) const VERSION: u64 = 1;
/// Generations in the ring. A slot is reused after this many changes. (Models use a smaller ring.)
pub(crate) const GENERATIONS: usize = if cfg!(all(model, not(shuttle))) { 4 } else { 8 };
/// Maximum number of limits of one limiter.
pub(crate) const LIMITS: usize = if cfg!(all(model, not(shuttle))) { 2 } else { 4 };
/// Maximum number of rings in a file.
pub(crate) const RINGS: usize = 4;
/// Words for the name.
pub(crate) const NAME_WORDS: usize = 32;
/// Maximum number of turns charged ahead for the line.
pub(crate) const TURNS: usize = if cfg!(shuttle) {
    4
} else if cfg!(model) {
    2
} else {
    64
};
/// The number of places in the line: twice the number of seats, within these bounds. (Where the state is one word, a
/// waiting process needs a place but no seat.)
pub(crate) const PLACES: std::ops::RangeInclusive<usize> = 64..=4_096;

/// Slots of a row of a table of keys.
pub(crate) const SLOTS: usize = 16;
/// The maximum number of rows of a table of keys.
pub(crate) const MAX_ROWS: u64 = 1 << 32;
/// Tables get their memory in chunks of this many bytes, when they are first needed: a page of most machines, because keys are
/// scattered, and a larger chunk would be mostly empty at first.
pub(crate) const CHUNK: usize = 4_096;
/// The alignment of large tables: that of huge pages, for a file system that gives them (a tmpfs mounted with `huge=`).
const TABLE_ALIGN: usize = 1 << 21;
const PAGE: usize = 4_096;
/// Seconds for which events are counted. More than a minute, so that a minute is complete.
pub(crate) const EVENT_SECONDS: usize = 64;
/// Denied keys that are kept, and bytes of a key's name.
pub(crate) const DENIED_KEYS: usize = 64;
pub(crate) const DENIED_NAME: usize = 48;

/// Words of a cell: room for the largest record.
pub(crate) const CELL_WORDS: usize = 56;
/// Cells per owner (a seat, or the control lock). At most one of them is the current record, so the owner can always
/// write to the other.
pub(crate) const CELL_PAIR: usize = 2;

/// The fixed part of the file. The seats follow at [`SEATS_OFFSET`], then the parts that [`Shape`] describes.
#[repr(C, align(4096))]
pub(crate) struct Header {
    pub(crate) identity: Identity,
    pub(crate) geometry: Geometry,
    pub(crate) name: [AtomicU64; NAME_WORDS],
    pub(crate) epoch_line: EpochLine,
    pub(crate) line: LineHeader,
    pub(crate) seatless: Counters,
    /// Incremented while proving that all mappings of the file are the same memory (`sys::file_system_proof`). Only grows.
    pub(crate) coherence_probe: AtomicU64,
    pub(crate) _reserved: [AtomicU64; 239],
    pub(crate) generations: [Generation; GENERATIONS],
    pub(crate) turns: TurnTable,
}

/// State of the line as a whole.
#[repr(C, align(64))]
pub(crate) struct LineHeader {
    /// When a process last probed whether the first processes in line are alive.
    pub(crate) probed_ns: AtomicU64,
    /// Waiting callers that found no free place since the file was created. They waited outside the line.
    pub(crate) unordered: AtomicU64,
    /// When a process last probed all processes in line, before denying a caller because of them.
    pub(crate) probed_all_ns: AtomicU64,
    /// When a dead process was last found in line.
    pub(crate) dead_found_ns: AtomicU64,
    pub(crate) _reserved: [AtomicU64; 4],
}

/// Turns that are already charged and belong to the line: to the caller that is first when they come. Turn `i` is
/// `states[i]`, `instants[i]` and `turns[i]`, laid out so that scans touch few cache lines.
#[repr(C, align(64))]
pub(crate) struct TurnTable {
    /// See `line::turns` for the values of these words.
    pub(crate) states: [AtomicU64; TURNS],
    /// The instant for which each turn was charged.
    pub(crate) instants: [AtomicU64; TURNS],
    pub(crate) turns: [TurnSlot; TURNS],
}

/// The charge of a turn. Written only by the process that fills it, while its state word names that process.
#[repr(C)]
pub(crate) struct TurnSlot {
    /// How many times the slot was filled: no two of its turns have the same number.
    pub(crate) number: AtomicU64,
    /// The generation that was charged, and its state word right before and right after.
    pub(crate) epoch: AtomicU64,
    pub(crate) before: AtomicU64,
    pub(crate) after: AtomicU64,
    /// The charge to each limit.
    pub(crate) costs: [AtomicU64; MAX_COSTS],
    /// Each bucket's running total of charges, right after: needed for a settlement.
    pub(crate) charged: [AtomicU64; MAX_COSTS],
}

/// Amounts of a request: one for each possible limit.
pub(crate) const MAX_COSTS: usize = 4;

/// The identity of the file. Written before the file has a name, never again.
#[repr(C, align(64))]
pub(crate) struct Identity {
    pub(crate) magic: AtomicU64,
    pub(crate) version: AtomicU64,
    /// A hash of all sizes and offsets below: builds with different layouts refuse each other's files.
    pub(crate) layout: AtomicU64,
    pub(crate) file_size: AtomicU64,
    /// The boot id (two words) and the time namespace of the creator; 0 if unknown.
    pub(crate) boot_id: [AtomicU64; 2],
    pub(crate) time_namespace: AtomicU64,
    /// A hash of the identity, the geometry and the name.
    pub(crate) checksum: AtomicU64,
}

/// Number and size of the variable parts. Written before the file has a name, never again.
#[repr(C, align(64))]
pub(crate) struct Geometry {
    /// Number of seats; they start at [`SEATS_OFFSET`].
    pub(crate) seats: AtomicU64,
    /// Length of the name in bytes.
    pub(crate) name_len: AtomicU64,
    /// When the file was created: nanoseconds of CLOCK_BOOTTIME, and Unix seconds for display.
    pub(crate) created_ns: AtomicU64,
    pub(crate) created_unix: AtomicU64,
    /// Cells for records: 0, or a [`CELL_PAIR`] for each seat and one for the changer.
    pub(crate) cells: AtomicU64,
    /// Room for permits.
    pub(crate) permits: AtomicU64,
    /// Slots of each limit's ring; 0 or a power of two.
    pub(crate) rings: [AtomicU64; RINGS],
    /// The offset from CLOCK_BOOTTIME to nanoseconds since the Unix epoch at creation: aligns windows.
    pub(crate) wall_ns: AtomicU64,
    /// Limits per key: the number of tables, the rows of each, and the random key of the hash. 0 without keys.
    pub(crate) key_tables: AtomicU64,
    pub(crate) key_rows: AtomicU64,
    pub(crate) hash_key: [AtomicU64; 2],
    pub(crate) _reserved: [AtomicU64; 1],
}

/// The word that every process reads with every decision, and on which a thread sleeps until its reserved turn.
#[repr(C, align(64))]
pub(crate) struct EpochLine {
    /// The number of the current generation; the top bit set means permanently retired. Its low half is the futex.
    pub(crate) epoch: AtomicU64,
    pub(crate) _reserved: [AtomicU64; 7],
}

/// A complete configuration with its own state.
#[repr(C, align(64))]
pub(crate) struct Generation {
    pub(crate) header: GenerationHeader,
    pub(crate) limits: [LimitWords; LIMITS],
    pub(crate) key_limits: [KeyLimitWords; LIMITS],
    pub(crate) calendar: CalendarWords,
    pub(crate) state: State,
}

#[repr(C, align(64))]
pub(crate) struct GenerationHeader {
    /// The epoch of this generation.
    pub(crate) number: AtomicU64,
    /// Bit 0: the state inherits nothing from the previous generation, not its usage. Bit 1: published because the wall
    /// clock was set.
    pub(crate) origin: AtomicU64,
    /// When it was published, and until when nothing is admitted (0: no pause). Nanoseconds of CLOCK_BOOTTIME.
    pub(crate) since_ns: AtomicU64,
    pub(crate) not_before_ns: AtomicU64,
    /// Low byte: number of limits, 0 to 4. Next byte: number of limits per key. Bit 16: a new key is denied rather than that
    /// one is forgotten. Bit 17: the names of denied keys are not kept. High half: permits, and the most that there ever were.
    pub(crate) shape: AtomicU64,
    /// 0: any number of requests may wait. Otherwise bit 32 is set, and the low half is the maximum.
    pub(crate) max_waiters: AtomicU64,
    /// A hash of this line, the limits and, if windows follow the wall clock, [`CalendarWords`].
    pub(crate) checksum: AtomicU64,
    /// The offset from CLOCK_BOOTTIME to nanoseconds since the Unix epoch: aligns windows.
    pub(crate) wall_ns: AtomicU64,
}

/// For windows that follow the wall clock. Without one, these words have no meaning.
#[repr(C, align(64))]
pub(crate) struct CalendarWords {
    /// The name of the zone of calendar windows, padded with zeros; all zeros: UTC.
    pub(crate) zone: [AtomicU64; crate::limit::Zone::WORDS],
    /// See `limit::calendar::Offsets`.
    pub(crate) offsets: [AtomicU64; crate::limit::calendar::Offsets::WORDS],
    /// See `limit::window::WallClock`.
    pub(crate) earliest_ns: AtomicU64,
    pub(crate) continuous_ns: AtomicU64,
}

/// One limit: the parameters that a decision needs, then the rest.
#[repr(C, align(64))]
pub(crate) struct LimitWords {
    pub(crate) params: LimitParams,
    pub(crate) details: LimitDetails,
}

/// Read with every decision. For buckets all are derived from [`LimitDetails`]; windows use two of the words
/// differently.
#[repr(C, align(64))]
pub(crate) struct LimitParams {
    /// Low byte: the shift (one token is 2^shift ticks). Next byte: kind. 0 bucket, 1 greedy, 2 fixed windows aligned
    /// to the Unix epoch, 3 fixed windows from first use, 4 sliding counter, 5 calendar windows. Bit 16: counts a unit
    /// other than calls. Bit 17: shadow mode.
    pub(crate) kind: AtomicU64,
    /// The largest request: the burst, or `max`.
    pub(crate) burst: AtomicU64,
    /// Bucket: ticks per nanosecond. Windows: their length in nanoseconds, guard included. Calendar windows: the code of
    /// their period.
    pub(crate) ticks_per_ns: AtomicU64,
    /// Bucket: nanoseconds per tick.
    pub(crate) ns_per_tick: AtomicU64,
    /// Bucket: the minimum effective TAT.
    pub(crate) floor: AtomicU64,
    /// The largest request on the fast path: the burst of a limiter that is one bucket of calls without permits.
    /// Otherwise 0, so that every request takes the slow path.
    pub(crate) fast_burst: AtomicU64,
    pub(crate) _reserved: [AtomicU64; 2],
}

/// For display, comparisons, and requests that name units.
#[repr(C, align(64))]
pub(crate) struct LimitDetails {
    pub(crate) max: AtomicU64,
    pub(crate) per_ns: AtomicU64,
    pub(crate) guard_ns: AtomicU64,
    /// The unit's name, padded with zeros; all zeros: calls.
    pub(crate) unit: [AtomicU64; 3],
    pub(crate) _reserved: [AtomicU64; 2],
}

/// One limit of each key: the parameters that a decision needs, then the rest.
#[repr(C, align(64))]
pub(crate) struct KeyLimitWords {
    pub(crate) params: KeyLimitParams,
    pub(crate) details: KeyLimitDetails,
}

/// Read with every decision about a key. See `keyed::key_limit` for the meaning of these words.
#[repr(C, align(64))]
pub(crate) struct KeyLimitParams {
    /// Low byte: bits of the ticks of one call, or of a window's count. Next byte: kind, as in [`LimitParams`]: 0, 2 or 4. Bit
    /// 16: counts a unit other than calls. Bit 17: shadow mode. Bit 18: a request takes more than from the limits of its key:
    /// from a limit of all keys, or a permit. Bit 19: a new key is denied rather than that one is forgotten. Bits 32 and 40: a
    /// byte each, the shifts of `speed` and `inverse`.
    pub(crate) kind: AtomicU64,
    /// The largest request: the burst, or `max`.
    pub(crate) burst: AtomicU64,
    /// Bucket: ticks of a nanosecond. Windows: their length in nanoseconds.
    pub(crate) speed: AtomicU64,
    /// Bucket: nanoseconds of a tick. Windows: how far the wall clock was ahead of CLOCK_BOOTTIME at creation.
    pub(crate) inverse: AtomicU64,
    /// Bucket: the minimum effective TAT, in ticks. Windows: when a pause ends, in nanoseconds.
    pub(crate) floor: AtomicU64,
    /// Bucket: an instant at which the tick of the table's clock is known.
    pub(crate) anchor_ns: AtomicU64,
    /// Bucket: that tick. Windows: by how many the table's clock is ahead. Only grows.
    pub(crate) anchor_ticks: AtomicU64,
    pub(crate) _reserved: [AtomicU64; 1],
}

/// For display, comparisons, and requests that name units.
#[repr(C, align(64))]
pub(crate) struct KeyLimitDetails {
    pub(crate) max: AtomicU64,
    pub(crate) per_ns: AtomicU64,
    /// The unit's name, padded with zeros; all zeros: calls.
    pub(crate) unit: [AtomicU64; 3],
    pub(crate) _reserved: [AtomicU64; 3],
}

/// What is counted about the keys of a limiter. Follows the other parts of a file with limits per key; then the bits of the
/// chunks, then the tables.
#[repr(C, align(64))]
pub(crate) struct KeyStatsWords {
    /// Keys that were forgotten while their debt had not expired.
    pub(crate) forgotten: EventWords,
    /// Denials of new keys because of the debt that they inherited.
    pub(crate) inherited: EventWords,
    /// Denials of new keys because their row was full.
    pub(crate) refused: EventWords,
    pub(crate) denied: [DeniedKeyWords; DENIED_KEYS],
}

/// How often something happened: in all, and in each of the last seconds.
#[repr(C, align(64))]
pub(crate) struct EventWords {
    pub(crate) total: AtomicU64,
    pub(crate) _reserved: [AtomicU64; 7],
    /// High half: which second (since the boot) this is. Low half: how often.
    pub(crate) seconds: [AtomicU64; EVENT_SECONDS],
}

/// A key that was denied: see `keyed::denied_keys`.
#[repr(C, align(64))]
pub(crate) struct DeniedKeyWords {
    /// The key's tag in its first table; 0: free; 1: being written.
    pub(crate) tag: AtomicU64,
    /// High half: which minute (since the boot). Low half: denials in it.
    pub(crate) recent: AtomicU64,
    /// The same for the minute before.
    pub(crate) before: AtomicU64,
    /// The length of the key's name, cut.
    pub(crate) name_len: AtomicU64,
    /// A hash of tag and name.
    pub(crate) check: AtomicU64,
    pub(crate) name: [AtomicU64; DENIED_NAME / 8],
    pub(crate) _reserved: [AtomicU64; 5],
}

/// A row of slots, of which each holds one key: see `keyed::row`. Four cache lines.
#[repr(C, align(256))]
#[cfg_attr(all(test, not(model)), derive(Default))]
pub(crate) struct RowSlots(pub(crate) [AtomicPair; SLOTS]);

/// Written with every admission.
#[repr(C, align(64))]
pub(crate) struct State {
    /// See `commit::state_word` for the values of this word.
    pub(crate) word: AtomicU64,
    /// If the state is one word: the greatest TAT right after any reservation. Only grows within its generation.
    pub(crate) reserved: AtomicU64,
    pub(crate) _reserved: [AtomicU64; 6],
}

/// A process that uses the limiter. Held by a lock on a byte of the file: see [`seat_lock`].
#[repr(C, align(64))]
pub(crate) struct Seat {
    pub(crate) holder: Holder,
    pub(crate) _reserved: [AtomicU64; 2],
    /// The sum of `own` and `shared` when the current holder took the seat.
    pub(crate) before: Counters,
    /// Written by one thread of the holder only, so without read-modify-write.
    pub(crate) own: Counters,
    /// Written by all other threads of the holder.
    pub(crate) shared: Counters,
}

/// The holder of a seat or a place.
#[repr(C)]
pub(crate) struct Holder {
    /// Incremented when taken (to odd) and released (to even). Odd with its lock free: the holder died.
    pub(crate) tenure: AtomicU64,
    /// For display only: a PID is meaningful in its own namespace only.
    pub(crate) pid: AtomicU64,
    pub(crate) pid_namespace: AtomicU64,
    pub(crate) since_ns: AtomicU64,
    /// The command's name, 16 bytes.
    pub(crate) command: [AtomicU64; 2],
}

/// A process in line, with the first of its waiting callers. Held by a lock on a byte of the file: see [`place_lock`].
#[repr(C, align(64))]
pub(crate) struct Place {
    /// When its first caller arrived. The smallest ticket is served first.
    pub(crate) ticket: AtomicU64,
    /// When the process will be awake next, at the latest. A late process is passed.
    pub(crate) plan: AtomicU64,
    /// The futex word on which the process sleeps (the low half).
    pub(crate) bell: AtomicU64,
    /// How many callers of the process are behind the first one, and when the newest of them arrived.
    pub(crate) behind: AtomicU64,
    pub(crate) newest: AtomicU64,
    /// The first caller's cost for each limit, and the epoch of those limits. (With one or two limits, all that other
    /// processes read is on one cache line.)
    pub(crate) epoch: AtomicU64,
    pub(crate) costs: [AtomicU64; MAX_COSTS],
    pub(crate) holder: Holder,
}

/// Counters. They only grow.
#[repr(C, align(64))]
pub(crate) struct Counters {
    /// Requests admitted.
    pub(crate) admitted: AtomicU64,
    /// Calls beyond one per request.
    pub(crate) extra_calls: AtomicU64,
    /// Requests denied or timed out.
    pub(crate) denied: AtomicU64,
    /// Admitted requests that had to wait, and the sum of their waiting times.
    pub(crate) waited: AtomicU64,
    pub(crate) waited_ns: AtomicU64,
    pub(crate) _reserved: [AtomicU64; 3],
}

/// Holds a record while it is prepared, and while it is the current one.
#[repr(C, align(64))]
pub(crate) struct Cell {
    pub(crate) words: [AtomicU64; CELL_WORDS],
}

/// Where the seats begin.
pub(crate) const SEATS_OFFSET: usize = size_of::<Header>();
/// The byte of the file whose lock a changer holds. Beyond the end of the file, which locks allow.
pub(crate) const CONTROL_LOCK: i64 = (1 << 40) - 1;
/// Bytes that are locked briefly to prove that locks work (`sys::file_system_proof`): a random one each time, so that concurrent
/// proofs do not collide.
pub(crate) const PROBE_LOCKS: std::ops::Range<i64> = 1 << 39..(1 << 39) + (1 << 32);
/// The byte whose lock the holder of a seat has, in this tenure. A million successive tenures use different bytes.
pub(crate) fn seat_lock(seat: usize, tenure: u64) -> i64 {
    let tenure = tenure % (1 << 20);
    (1 << 40) + tenure as i64 * MAX_SEATS as i64 + seat as i64
}
/// The same for the holder of a place.
pub(crate) fn place_lock(place: usize, tenure: u64) -> i64 {
    const _: () = assert!(*PLACES.end() <= MAX_SEATS);
    (1 << 41) + seat_lock(place, tenure)
}

/// Set in `epoch`, permanently, when the limiter is retired.
pub(crate) const RETIRED: u64 = 1 << 63;

/// The maximum number of seats of a limiter.
pub const MAX_SEATS: usize = 4_096;

/// The variable parts of a file. They follow the fixed part in this order: seats, cells, cells of turns, rings,
/// permits, the bits of the line (one per place), the places; then, with limits per key, [`KeyStatsWords`], the bits of the
/// chunks, and the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) seats: usize,
    pub(crate) cells: usize,
    pub(crate) rings: [usize; RINGS],
    pub(crate) permits: usize,
    pub(crate) keys: KeyShape,
}

/// The tables of keys: how many, and the rows of each. Both 0 without limits per key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyShape {
    pub(crate) tables: usize,
    pub(crate) rows: usize,
}

impl KeyShape {
    /// The bytes of all tables.
    pub(crate) fn bytes(&self) -> usize {
        self.tables * self.rows * size_of::<RowSlots>()
    }

    /// The number of chunks in which they get their memory.
    pub(crate) fn chunks(&self) -> usize {
        self.bytes().div_ceil(CHUNK)
    }
}

/// The words of a header from which the shape follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShapeWords {
    pub(crate) seats: u64,
    pub(crate) cells: u64,
    pub(crate) permits: u64,
    pub(crate) rings: [u64; RINGS],
    pub(crate) key_tables: u64,
    pub(crate) key_rows: u64,
}

impl ShapeWords {
    pub(crate) fn of(geometry: &Geometry) -> ShapeWords {
        let get = |word: &AtomicU64| word.load(crate::sync::Ordering::Relaxed);
        ShapeWords {
            seats: get(&geometry.seats),
            cells: get(&geometry.cells),
            permits: get(&geometry.permits),
            rings: geometry.rings.each_ref().map(get),
            key_tables: get(&geometry.key_tables),
            key_rows: get(&geometry.key_rows),
        }
    }
}

impl Shape {
    /// The shape according to a header, if it is valid.
    pub(crate) fn checked(words: &ShapeWords) -> Option<Shape> {
        let &ShapeWords { seats, cells, permits, rings, key_tables, key_rows } = words;
        let at_most = |n: u64, max: u64| usize::try_from(n).ok().filter(|_| n <= max);
        let shape = Shape {
            seats: at_most(seats, MAX_SEATS as u64).filter(|&n| n > 0)?,
            cells: at_most(cells, Shape::cells_for(MAX_SEATS) as u64)?,
            permits: at_most(permits, u64::from(crate::limit::MAX_PERMITS).next_power_of_two())?,
            rings: rings.map(|n| at_most(n, crate::limit::MAX_GREEDY).unwrap_or(usize::MAX)),
            keys: KeyShape {
                tables: at_most(key_tables, LIMITS as u64)?,
                rows: at_most(key_rows, MAX_ROWS)?,
            },
        };
        let is_ring = |&n: &usize| n == 0 || (n.is_power_of_two() && n <= crate::limit::MAX_GREEDY as usize);
        let sound = (shape.cells == 0 || shape.cells == Shape::cells_for(shape.seats))
            && (shape.keys.tables == 0) == (shape.keys.rows == 0)
            && shape.rings.iter().all(is_ring);
        sound.then_some(shape)
    }

    /// The number of cells of a file with records.
    pub(crate) const fn cells_for(seats: usize) -> usize {
        (seats + 1) * CELL_PAIR
    }

    /// The pair of cells that only the holder of the control lock writes.
    pub(crate) fn control_pair(&self) -> usize {
        self.seats
    }

    /// Cells for the records from before the charges of the line's turns: one per turn, if there are records.
    pub(crate) fn turn_cells(&self) -> usize {
        if self.cells > 0 { TURNS } else { 0 }
    }

    /// The number of places in the line, a multiple of 64.
    pub(crate) fn places(&self) -> usize {
        (2 * self.seats).next_multiple_of(64).clamp(*PLACES.start(), *PLACES.end())
    }

    pub(crate) fn cells_at(&self) -> usize {
        SEATS_OFFSET + self.seats * size_of::<Seat>()
    }

    pub(crate) fn turn_cells_at(&self) -> usize {
        self.cells_at() + self.cells * size_of::<Cell>()
    }

    /// Where the slots of the rings begin, one ring after the other.
    pub(crate) fn slots_at(&self) -> usize {
        self.turn_cells_at() + self.turn_cells() * size_of::<Cell>()
    }

    pub(crate) fn slots(&self) -> usize {
        self.rings.iter().sum()
    }

    pub(crate) fn permits_at(&self) -> usize {
        self.slots_at() + self.slots() * 8
    }

    /// Where the bits begin that tell which places are in line.
    pub(crate) fn occupied_at(&self) -> usize {
        (self.permits_at() + self.permits * 8).next_multiple_of(64)
    }

    pub(crate) fn places_at(&self) -> usize {
        (self.occupied_at() + self.places() / 8).next_multiple_of(64)
    }

    fn places_end(&self) -> usize {
        self.places_at() + self.places() * size_of::<Place>()
    }

    /// Where the counts about keys begin, if there are limits per key. (Places are whole cache lines.)
    pub(crate) fn key_stats_at(&self) -> usize {
        self.places_end()
    }

    /// Where the bits begin that tell which chunks of the tables have memory.
    pub(crate) fn chunks_at(&self) -> usize {
        self.key_stats_at() + size_of::<KeyStatsWords>()
    }

    /// Words for the bits of the chunks.
    pub(crate) fn chunk_words(&self) -> usize {
        self.keys.chunks().div_ceil(64)
    }

    /// Where the tables begin, one after the other.
    pub(crate) fn tables_at(&self) -> usize {
        let align = if self.keys.bytes() < 2 * TABLE_ALIGN { PAGE } else { TABLE_ALIGN };
        (self.chunks_at() + 8 * self.chunk_words()).next_multiple_of(align)
    }

    /// The size of the part of the file that always has memory: all but the tables of keys.
    pub(crate) fn fixed_size(&self) -> usize {
        if self.keys.tables == 0 { self.places_end() } else { self.chunks_at() + 8 * self.chunk_words() }
    }

    /// The size of the file: in whole cache lines or, with limits per key, in whole pages.
    pub(crate) fn file_size(&self) -> usize {
        if self.keys.tables == 0 {
            return self.places_end();
        }
        (self.tables_at() + self.keys.bytes()).next_multiple_of(PAGE)
    }
}

/// A hash of the layout, computed from the types themselves.
pub(crate) const FINGERPRINT: u64 = {
    use std::mem::offset_of;
    let facts = [
        size_of::<Header>(),
        offset_of!(Header, geometry),
        offset_of!(Header, name),
        offset_of!(Header, epoch_line),
        offset_of!(Header, seatless),
        offset_of!(Header, coherence_probe),
        offset_of!(Header, generations),
        size_of::<Generation>(),
        offset_of!(Generation, limits),
        offset_of!(Generation, key_limits),
        offset_of!(Generation, calendar),
        offset_of!(Generation, state),
        offset_of!(GenerationHeader, max_waiters),
        offset_of!(GenerationHeader, checksum),
        offset_of!(GenerationHeader, wall_ns),
        size_of::<CalendarWords>(),
        offset_of!(CalendarWords, earliest_ns),
        size_of::<KeyLimitWords>(),
        offset_of!(KeyLimitParams, anchor_ticks),
        offset_of!(KeyLimitDetails, unit),
        size_of::<KeyStatsWords>(),
        size_of::<EventWords>(),
        size_of::<DeniedKeyWords>(),
        offset_of!(DeniedKeyWords, name),
        offset_of!(Geometry, hash_key),
        SLOTS,
        CHUNK,
        TABLE_ALIGN,
        size_of::<LimitWords>(),
        offset_of!(LimitWords, details),
        offset_of!(LimitParams, floor),
        offset_of!(LimitParams, fast_burst),
        offset_of!(LimitDetails, unit),
        size_of::<Seat>(),
        offset_of!(Seat, before),
        offset_of!(Seat, own),
        offset_of!(Seat, shared),
        offset_of!(Counters, waited_ns),
        size_of::<Cell>(),
        offset_of!(State, reserved),
        offset_of!(Header, line),
        offset_of!(Header, turns),
        size_of::<TurnSlot>(),
        offset_of!(TurnSlot, charged),
        size_of::<Place>(),
        offset_of!(Place, costs),
        offset_of!(Place, holder),
        CELL_PAIR,
        GENERATIONS,
        LIMITS,
        TURNS,
        *PLACES.start(),
        *PLACES.end(),
    ];
    let mut hash = Hash::new();
    let mut i = 0;
    while i < facts.len() {
        hash = hash.word(facts[i] as u64);
        i += 1;
    }
    // A word whose value depends on the byte order.
    hash.word(u64::from_ne_bytes([1, 2, 3, 4, 5, 6, 7, 8])).0
};

/// FNV-1a over 64-bit words: detects damage, not tampering.
#[derive(Clone, Copy)]
pub(crate) struct Hash(pub(crate) u64);

impl Hash {
    pub(crate) const fn new() -> Self {
        Hash(0xcbf2_9ce4_8422_2325)
    }

    #[must_use]
    pub(crate) const fn word(self, word: u64) -> Self {
        let mixed = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        // FNV alone never propagates high bits downwards.
        Hash(mixed ^ (mixed >> 29))
    }

    /// The hash before `word` was added.
    #[must_use]
    pub(crate) const fn without_last(self, word: u64) -> Self {
        let mixed = self.0 ^ (self.0 >> 29) ^ (self.0 >> 58);
        Hash(mixed.wrapping_mul(0xce96_5057_aff6_957b) ^ word)
    }

    /// The value that word `index` must have for all words to have the hash `sum`.
    pub(crate) fn expected_word(words: &[u64], index: usize, sum: u64) -> u64 {
        let before = words[..index].iter().fold(Hash::new(), |hash, &word| hash.word(word));
        let after = words[index + 1..].iter().rev().fold(Hash(sum), |hash, &word| hash.without_last(word));
        after.without_last(before.0).0
    }
}

#[cfg(not(model))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Identity>() == 64);
    assert!(size_of::<Geometry>() == 128);
    assert!(offset_of!(Header, name) == 192);
    assert!(offset_of!(Header, epoch_line) == 448);
    assert!(offset_of!(Header, line) == 512);
    assert!(offset_of!(Header, seatless) == 576);
    assert!(offset_of!(Header, coherence_probe) == 640);
    assert!(offset_of!(Header, generations) == 2_560);
    assert!(offset_of!(Header, turns) == 13_312);
    assert!(size_of::<TurnSlot>() == 96);
    assert!(size_of::<Place>() == 128);
    assert!(offset_of!(Place, holder) == 80);
    assert!(size_of::<GenerationHeader>() == 64);
    assert!(size_of::<LimitWords>() == 128);
    assert!(size_of::<CalendarWords>() == 192);
    assert!(size_of::<State>() == 64);
    assert!(size_of::<KeyLimitWords>() == 128);
    assert!(size_of::<EventWords>() == 576);
    assert!(size_of::<DeniedKeyWords>() == 128);
    assert!(size_of::<KeyStatsWords>() == 9_920);
    assert!(size_of::<RowSlots>() == 256);
    assert!(size_of::<Generation>() == 1_344);
    assert!(size_of::<Cell>() == 448);
    assert!(CELL_WORDS >= crate::limit::rule_set::RECORD_WORDS);
    assert!(size_of::<Holder>() == 48);
    assert!(size_of::<Counters>() == 64);
    assert!(size_of::<Seat>() == 256);
    assert!(SEATS_OFFSET == 20_480);
};

/// Parts of the layout without a file, for models and for the test vectors.
#[cfg(test)]
#[cfg_attr(not(model), allow(dead_code))]
mod model {
    use super::*;
    use std::array::from_fn;

    fn word() -> AtomicU64 {
        AtomicU64::new(0)
    }

    fn words<const N: usize>() -> [AtomicU64; N] {
        from_fn(|_| word())
    }

    impl Generation {
        pub(crate) fn model() -> Generation {
            let header = GenerationHeader {
                number: word(),
                origin: word(),
                since_ns: word(),
                not_before_ns: word(),
                shape: word(),
                max_waiters: word(),
                checksum: word(),
                wall_ns: word(),
            };
            let limit = || LimitWords {
                params: LimitParams {
                    kind: word(),
                    burst: word(),
                    ticks_per_ns: word(),
                    ns_per_tick: word(),
                    floor: word(),
                    fast_burst: word(),
                    _reserved: words(),
                },
                details: LimitDetails {
                    max: word(),
                    per_ns: word(),
                    guard_ns: word(),
                    unit: words(),
                    _reserved: words(),
                },
            };
            let key_limit = || KeyLimitWords {
                params: KeyLimitParams {
                    kind: word(),
                    burst: word(),
                    speed: word(),
                    inverse: word(),
                    floor: word(),
                    anchor_ns: word(),
                    anchor_ticks: word(),
                    _reserved: words(),
                },
                details: KeyLimitDetails { max: word(), per_ns: word(), unit: words(), _reserved: words() },
            };
            Generation {
                header,
                limits: from_fn(|_| limit()),
                key_limits: from_fn(|_| key_limit()),
                calendar: CalendarWords {
                    zone: words(),
                    offsets: words(),
                    earliest_ns: word(),
                    continuous_ns: word(),
                },
                state: State { word: word(), reserved: word(), _reserved: words() },
            }
        }
    }

    impl Seat {
        pub(crate) fn model() -> Seat {
            let counters = || Counters {
                admitted: word(),
                extra_calls: word(),
                denied: word(),
                waited: word(),
                waited_ns: word(),
                _reserved: words(),
            };
            let holder = Holder {
                tenure: word(),
                pid: word(),
                pid_namespace: word(),
                since_ns: word(),
                command: words(),
            };
            Seat { holder, _reserved: words(), before: counters(), own: counters(), shared: counters() }
        }
    }

    impl TurnTable {
        pub(crate) fn model() -> TurnTable {
            let turn = |_| TurnSlot {
                number: word(),
                epoch: word(),
                before: word(),
                after: word(),
                costs: words(),
                charged: words(),
            };
            TurnTable { states: words(), instants: words(), turns: from_fn(turn) }
        }
    }

    impl Place {
        pub(crate) fn model() -> Place {
            let holder = Seat::model().holder;
            Place {
                ticket: word(),
                plan: word(),
                bell: word(),
                behind: word(),
                newest: word(),
                epoch: word(),
                costs: words(),
                holder,
            }
        }
    }

    impl Cell {
        pub(crate) fn model() -> Cell {
            Cell { words: words() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_tells_any_single_word() {
        let words = [0, 1, u64::MAX, 1 << 63, 0x0123_4567_89ab_cdef, 7];
        let sum = words.iter().fold(Hash::new(), |hash, &word| hash.word(word)).0;
        for index in 0..words.len() {
            for damage in [0, 5, u64::MAX] {
                let mut damaged = words;
                damaged[index] = damage;
                assert_eq!(Hash::expected_word(&damaged, index, sum), words[index]);
            }
        }
    }
}
