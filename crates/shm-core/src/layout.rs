//! The file format, once. `docs/format.md` says the same in prose for other languages.
//!
//! Everything is a 64-bit word in the machine's byte order, accessed atomically. Lines are 64 bytes; what is read
//! with every decision lies apart from what is written with every admission, and both lie apart from the seats.

use crate::sync::AtomicU64;

/// First word of every limiter: "SHMLIMIT" read as a little-endian number.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"SHMLIMIT");
/// Grows when the meaning of a word changes.
pub(crate) const VERSION: u64 = 1;
/// Generations in the ring. A generation's place is used again after this many changes.
/// (A model goes round a smaller ring.)
pub(crate) const GENERATIONS: usize = if cfg!(loom) { 4 } else { 8 };
/// Limits that one limiter can hold.
pub(crate) const LIMITS: usize = if cfg!(loom) { 1 } else { 4 };
/// Words for the name.
pub(crate) const NAME_WORDS: usize = 32;

/// The whole fixed part; the seats follow it at [`SEATS_OFFSET`].
#[repr(C, align(4096))]
pub(crate) struct Fixed {
    pub(crate) identity: Identity,
    pub(crate) regions: Regions,
    pub(crate) name: [AtomicU64; NAME_WORDS],
    pub(crate) news: News,
    pub(crate) seatless: Lane,
    pub(crate) _room: [AtomicU64; 448],
    pub(crate) generations: [Generation; GENERATIONS],
}

/// What the file is. Written before the file has a name, never again.
#[repr(C, align(64))]
pub(crate) struct Identity {
    pub(crate) magic: AtomicU64,
    pub(crate) version: AtomicU64,
    /// A hash of every size and offset below: builds that disagree about the layout refuse each other.
    pub(crate) layout: AtomicU64,
    pub(crate) file_size: AtomicU64,
    /// The running machine's boot id (two words) and time namespace; 0 where unknown.
    pub(crate) boot_id: [AtomicU64; 2],
    pub(crate) time_namespace: AtomicU64,
    /// A hash of the identity, the regions and the name.
    pub(crate) checksum: AtomicU64,
}

/// Where the variable parts are. Written before the file has a name, never again.
#[repr(C, align(64))]
pub(crate) struct Regions {
    /// Number of seats; they lie at [`SEATS_OFFSET`].
    pub(crate) seats: AtomicU64,
    /// Name length in bytes.
    pub(crate) name_len: AtomicU64,
    /// When it was made: nanoseconds of CLOCK_BOOTTIME, and seconds since 1970 for people.
    pub(crate) created_ns: AtomicU64,
    pub(crate) created_unix: AtomicU64,
    /// Kept for the scratch cells of records, the rings of logs and the table of permits: offset and size of a
    /// region each could have. 0 in segments that hold a single-word limit.
    pub(crate) reserved: [AtomicU64; 4],
}

/// The word that everybody reads with every decision and sleeps on.
#[repr(C, align(64))]
pub(crate) struct News {
    /// Number of the current generation; the top bit set means retired, for good. Its low half is the futex.
    pub(crate) epoch: AtomicU64,
    pub(crate) _room: [AtomicU64; 7],
}

/// One whole configuration with its own state.
#[repr(C, align(64))]
pub(crate) struct Generation {
    pub(crate) about: About,
    pub(crate) limits: [LimitWords; LIMITS],
    pub(crate) state: State,
    pub(crate) _room: [AtomicU64; 16],
}

#[repr(C, align(64))]
pub(crate) struct About {
    /// The epoch whose generation this is.
    pub(crate) number: AtomicU64,
    /// What the state takes over from the generation before: 0 what was used, 1 nothing.
    pub(crate) forget: AtomicU64,
    /// When it was published, and until when nothing is admitted (0: no pause). Nanoseconds of CLOCK_BOOTTIME.
    pub(crate) since_ns: AtomicU64,
    pub(crate) not_before_ns: AtomicU64,
    /// How many of the limits count: 1 in this version.
    pub(crate) limits: AtomicU64,
    /// A hash of this line and the limits.
    pub(crate) checksum: AtomicU64,
    pub(crate) _room: [AtomicU64; 2],
}

/// One limit: what it is (for people and comparisons), and the same as numbers ready for a decision.
#[repr(C, align(64))]
pub(crate) struct LimitWords {
    pub(crate) max: AtomicU64,
    pub(crate) per_ns: AtomicU64,
    pub(crate) burst: AtomicU64,
    /// Low byte: the shift (one token is 2^shift ticks). Next byte: kind, 0 for GCRA. Next: unit, 0 for calls.
    pub(crate) shift: AtomicU64,
    pub(crate) ticks_per_ns: AtomicU64,
    pub(crate) ns_per_tick: AtomicU64,
    pub(crate) floor: AtomicU64,
    pub(crate) _room: AtomicU64,
}

/// Written with every admission.
#[repr(C, align(64))]
pub(crate) struct State {
    /// See `commit::word` for the states of this word.
    pub(crate) word: AtomicU64,
    pub(crate) _room: [AtomicU64; 7],
}

/// A process that uses the limiter. Held by a lock on byte `SEAT_LOCKS + index` of the file.
#[repr(C, align(64))]
pub(crate) struct Seat {
    pub(crate) holder: Holder,
    /// `own` and `shared` added up as they were when the present holder sat down.
    pub(crate) before: Lane,
    /// Written by one thread of the holder only, so without read-modify-write.
    pub(crate) own: Lane,
    /// Written by all its other threads.
    pub(crate) shared: Lane,
}

#[repr(C, align(64))]
pub(crate) struct Holder {
    /// Grows whenever the seat is taken (to odd) and left (to even). Odd with its lock free: the holder died.
    pub(crate) tenure: AtomicU64,
    /// For people only: a PID means something in its own namespace alone.
    pub(crate) pid: AtomicU64,
    pub(crate) pid_namespace: AtomicU64,
    pub(crate) since_ns: AtomicU64,
    /// The command's name, 16 bytes.
    pub(crate) command: [AtomicU64; 2],
    pub(crate) _room: [AtomicU64; 2],
}

/// Counters. They only grow.
#[repr(C, align(64))]
pub(crate) struct Lane {
    /// Requests admitted.
    pub(crate) admitted: AtomicU64,
    /// Tokens they took beyond one each.
    pub(crate) extra_tokens: AtomicU64,
    /// Requests denied or timed out.
    pub(crate) denied: AtomicU64,
    /// Admitted requests that had to wait, and for how long altogether.
    pub(crate) waited: AtomicU64,
    pub(crate) waited_ns: AtomicU64,
    pub(crate) _room: [AtomicU64; 3],
}

/// Where the seats begin.
pub(crate) const SEATS_OFFSET: usize = size_of::<Fixed>();
/// The byte of the file whose lock a changer holds. Past any byte that exists; locks don't need them to.
pub(crate) const CONTROL_LOCK: i64 = (1 << 40) - 1;
/// The byte whose lock holds seat 0.
pub(crate) const SEAT_LOCKS: i64 = 1 << 40;
/// Set in `epoch` for good when the limiter is retired.
pub(crate) const RETIRED: u64 = 1 << 63;

/// The size of a file with this many seats.
pub(crate) const fn file_size(seats: usize) -> usize {
    SEATS_OFFSET + seats * size_of::<Seat>()
}

/// A hash of the layout, computed from the types themselves.
pub(crate) const FINGERPRINT: u64 = {
    use std::mem::offset_of;
    let facts = [
        size_of::<Fixed>(),
        offset_of!(Fixed, regions),
        offset_of!(Fixed, name),
        offset_of!(Fixed, news),
        offset_of!(Fixed, seatless),
        offset_of!(Fixed, generations),
        size_of::<Generation>(),
        offset_of!(Generation, limits),
        offset_of!(Generation, state),
        offset_of!(About, checksum),
        size_of::<LimitWords>(),
        offset_of!(LimitWords, floor),
        size_of::<Seat>(),
        offset_of!(Seat, before),
        offset_of!(Seat, own),
        offset_of!(Seat, shared),
        offset_of!(Lane, waited_ns),
        GENERATIONS,
        LIMITS,
    ];
    let mut hash = Hash::new();
    let mut i = 0;
    while i < facts.len() {
        hash = hash.word(facts[i] as u64);
        i += 1;
    }
    // Byte order: a word whose bytes tell.
    hash.word(u64::from_ne_bytes([1, 2, 3, 4, 5, 6, 7, 8])).0
};

/// FNV-1a over 64-bit words: finds damage, keeps nobody out.
#[derive(Clone, Copy)]
pub(crate) struct Hash(pub(crate) u64);

impl Hash {
    pub(crate) const fn new() -> Self {
        Hash(0xcbf2_9ce4_8422_2325)
    }

    #[must_use]
    pub(crate) const fn word(self, word: u64) -> Self {
        let mixed = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        // FNV alone never moves high bits down.
        Hash(mixed ^ (mixed >> 29))
    }
}

#[cfg(not(loom))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Identity>() == 64);
    assert!(size_of::<Regions>() == 64);
    assert!(offset_of!(Fixed, name) == 128);
    assert!(offset_of!(Fixed, news) == 384);
    assert!(offset_of!(Fixed, seatless) == 448);
    assert!(offset_of!(Fixed, generations) == 4096);
    assert!(size_of::<About>() == 64);
    assert!(size_of::<LimitWords>() == 64);
    assert!(size_of::<State>() == 64);
    assert!(size_of::<Generation>() == 512);
    assert!(size_of::<Holder>() == 64);
    assert!(size_of::<Lane>() == 64);
    assert!(size_of::<Seat>() == 256);
    assert!(SEATS_OFFSET == 8192);
};

/// Parts of the layout without a file around them, for models.
#[cfg(all(loom, test))]
mod model {
    use super::*;
    use std::array::from_fn;

    fn words<const N: usize>() -> [AtomicU64; N] {
        from_fn(|_| AtomicU64::new(0))
    }

    impl Generation {
        pub(crate) fn model() -> Generation {
            Generation {
                about: About {
                    number: AtomicU64::new(0),
                    forget: AtomicU64::new(0),
                    since_ns: AtomicU64::new(0),
                    not_before_ns: AtomicU64::new(0),
                    limits: AtomicU64::new(0),
                    checksum: AtomicU64::new(0),
                    _room: words(),
                },
                limits: from_fn(|_| LimitWords {
                    max: AtomicU64::new(0),
                    per_ns: AtomicU64::new(0),
                    burst: AtomicU64::new(0),
                    shift: AtomicU64::new(0),
                    ticks_per_ns: AtomicU64::new(0),
                    ns_per_tick: AtomicU64::new(0),
                    floor: AtomicU64::new(0),
                    _room: AtomicU64::new(0),
                }),
                state: State { word: AtomicU64::new(0), _room: words() },
                _room: words(),
            }
        }
    }
}
