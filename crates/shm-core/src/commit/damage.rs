//! Damage: a word of the file with a value that no process wrote. The error names the word as `layout` and
//! docs/format.md do, with its offset, the value that was found, and what was expected.

use crate::layout::{
    Cell, EpochLine, GENERATIONS, Generation, GenerationHeader, Geometry, Header, KeyLimitDetails,
    KeyLimitParams, KeyLimitWords, LimitDetails, LimitParams, LimitWords, SEATS_OFFSET, Seat, State,
};
use crate::limit::Zone;
use crate::limit::calendar::Offsets;
use crate::limit::rule_set::ImplausibleWord;
use std::fmt;
use std::mem::offset_of;

/// A damaged word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(super) word: DamagedWord,
    pub(super) found: u64,
    pub(super) expected: Expected,
    pub(super) remedy: Remedy,
}

/// Which word is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DamagedWord {
    Epoch,
    /// A word of the configuration of this epoch, in the order of the checksum; then the checksum itself.
    Config {
        epoch: u64,
        index: usize,
    },
    State {
        epoch: u64,
    },
    /// A word of the record in one of the file's `cells` cells.
    Record {
        cell: usize,
        cells: usize,
        at: ImplausibleWord,
    },
    /// The number of cells.
    Cells,
    /// The instant of a turn of the line.
    Turn,
    /// The state of a key, in the row at this offset of the file.
    Key {
        row: usize,
    },
}

/// What a damaged word should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Value(u64),
    /// The checksum of the words as they are, of which several are damaged.
    ChecksumOfWords(u64),
    /// One of many values.
    Any(&'static str),
}

/// What ends the damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// A reset starts with a new state.
    Reset,
    /// A reset writes the expected value, and starts with a new state.
    ResetRestores,
    /// The file cannot be repaired.
    Recreate,
}

/// The words of the configuration's header, in the order of the checksum.
const HEADER_NAMES: [&str; HEADER_WORDS] =
    ["number", "origin", "since_ns", "not_before_ns", "shape", "max_waiters", "wall_ns"];
pub(super) const HEADER_WORDS: usize = 7;
/// The words of one limit, in the order of the checksum.
const LIMIT_NAMES: [&str; 12] = [
    "kind",
    "burst",
    "ticks_per_ns",
    "ns_per_tick",
    "floor",
    "fast_burst",
    "max",
    "per_ns",
    "guard_ns",
    "unit[0]",
    "unit[1]",
    "unit[2]",
];
/// Which of them is the fast burst.
const FAST_BURST: usize = 5;
/// Where a limit's parameters end and its details begin.
const PARAMS: usize = 6;
/// The words of one limit per key, in the order of the checksum.
const KEY_LIMIT_NAMES: [&str; KEY_LIMIT_WORDS] = [
    "kind",
    "burst",
    "speed",
    "inverse",
    "floor",
    "anchor_ns",
    "anchor_ticks",
    "max",
    "per_ns",
    "unit[0]",
    "unit[1]",
    "unit[2]",
];
pub(super) const KEY_LIMIT_WORDS: usize = 12;
/// Which of them is the tick of the anchor, or the advance.
pub(super) const ANCHOR_TICKS: usize = 6;
/// Where their details begin.
const KEY_PARAMS: usize = 7;
/// The words of the header and of each limit.
pub(super) const BEFORE_KEYS: usize = HEADER_NAMES.len() + LIMIT_NAMES.len() * crate::layout::LIMITS;
/// The same, and those of each limit per key.
pub(super) const BEFORE_CALENDAR: usize = BEFORE_KEYS + KEY_LIMIT_WORDS * crate::layout::LIMITS;
/// The words of the calendar: the zone's name, its offsets, and two times.
pub(super) const CALENDAR_WORDS: usize = Zone::WORDS + Offsets::WORDS + 2;
/// The words that the checksum covers: those of the header, of each limit, of each limit per key, of the calendar.
pub(super) const CONFIG_WORDS: usize = BEFORE_CALENDAR + CALENDAR_WORDS;

impl Damage {
    /// An impossible state word.
    pub(super) fn state(epoch: u64, found: u64, expected: &'static str) -> Damage {
        let word = DamagedWord::State { epoch };
        Damage { word, found, expected: Expected::Any(expected), remedy: Remedy::Reset }
    }

    /// A fast burst that is not the burst although the state is one word.
    pub(super) fn fast_burst(epoch: u64, found: u64) -> Damage {
        let word = DamagedWord::Config { epoch, index: HEADER_NAMES.len() + FAST_BURST };
        let expected = Expected::Any("the burst, as the state of this file is one bucket");
        Damage { word, found, expected, remedy: Remedy::Recreate }
    }

    /// An epoch that is not the number of the newest generation.
    pub(super) fn epoch(found: u64, expected: Expected) -> Damage {
        Damage { word: DamagedWord::Epoch, found, expected, remedy: Remedy::Recreate }
    }

    /// An impossible word of the record in one of the file's cells.
    pub(super) fn record(cell: usize, cells: usize, at: ImplausibleWord, found: u64) -> Damage {
        let word = DamagedWord::Record { cell, cells, at };
        Damage { word, found, expected: Expected::Any(at.expected), remedy: Remedy::Reset }
    }

    /// Fewer cells than the seats need.
    pub(super) fn cells(found: usize) -> Damage {
        let expected = Expected::Any("two for each seat and two for changes");
        Damage { word: DamagedWord::Cells, found: found as u64, expected, remedy: Remedy::Recreate }
    }

    /// A charge for a turn of the line at an instant that was over long before.
    pub(crate) fn turn(found: u64) -> Damage {
        let expected = Expected::Any("an instant that is not over");
        Damage { word: DamagedWord::Turn, found, expected, remedy: Remedy::Reset }
    }

    /// A key that would have to wait for longer than any request or debt can make it wait, until `found`.
    pub(crate) fn key(row: usize, found: u64) -> Damage {
        let expected = Expected::Any("a time that a key's requests and debts can lead to");
        Damage { word: DamagedWord::Key { row }, found, expected, remedy: Remedy::Reset }
    }

    /// What ends the damage.
    pub(crate) fn remedy(&self) -> Remedy {
        self.remedy
    }
}

fn generation_offset(epoch: u64) -> usize {
    let slot = (epoch % GENERATIONS as u64) as usize;
    offset_of!(Header, generations) + slot * size_of::<Generation>()
}

/// The limit that a word of a configuration belongs to, from 1.
#[derive(Clone, Copy)]
enum Of {
    Header,
    Limit(usize),
    KeyLimit(usize),
}

/// The name of a word of a configuration, its limit, and its offset in the generation.
fn config_word(index: usize) -> (&'static str, Of, usize) {
    if let Some(name) = HEADER_NAMES.get(index) {
        // The checksum is before the last of them.
        let place = if index + 1 < HEADER_NAMES.len() { index } else { index + 1 };
        return (name, Of::Header, offset_of!(GenerationHeader, number) + 8 * place);
    }
    if (BEFORE_CALENDAR..CONFIG_WORDS).contains(&index) {
        let word = index - BEFORE_CALENDAR;
        let name = match word.checked_sub(Zone::WORDS) {
            None => "zone",
            Some(offset) if offset < Offsets::WORDS => "offsets",
            Some(offset) if offset == Offsets::WORDS => "earliest_ns",
            Some(_) => "continuous_ns",
        };
        return (name, Of::Header, offset_of!(Generation, calendar) + 8 * word);
    }
    if (BEFORE_KEYS..BEFORE_CALENDAR).contains(&index) {
        let (limit, word) =
            ((index - BEFORE_KEYS) / KEY_LIMIT_WORDS, (index - BEFORE_KEYS) % KEY_LIMIT_WORDS);
        let in_limit = if word < KEY_PARAMS {
            offset_of!(KeyLimitWords, params) + offset_of!(KeyLimitParams, kind) + 8 * word
        } else {
            offset_of!(KeyLimitWords, details) + offset_of!(KeyLimitDetails, max) + 8 * (word - KEY_PARAMS)
        };
        let offset = offset_of!(Generation, key_limits) + limit * size_of::<KeyLimitWords>() + in_limit;
        return (KEY_LIMIT_NAMES[word], Of::KeyLimit(limit + 1), offset);
    }
    let of_limits = index - HEADER_NAMES.len();
    let (limit, word) = (of_limits / LIMIT_NAMES.len(), of_limits % LIMIT_NAMES.len());
    if index >= CONFIG_WORDS {
        return ("checksum", Of::Header, offset_of!(GenerationHeader, checksum));
    }
    let in_limit = if word < PARAMS {
        offset_of!(LimitWords, params) + offset_of!(LimitParams, kind) + 8 * word
    } else {
        offset_of!(LimitWords, details) + offset_of!(LimitDetails, max) + 8 * (word - PARAMS)
    };
    (
        LIMIT_NAMES[word],
        Of::Limit(limit + 1),
        offset_of!(Generation, limits) + limit * size_of::<LimitWords>() + in_limit,
    )
}

impl fmt::Display for DamagedWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            DamagedWord::Epoch => {
                let offset = offset_of!(Header, epoch_line) + offset_of!(EpochLine, epoch);
                write!(f, "`epoch` (offset {offset})")
            }
            DamagedWord::Config { epoch, index } => {
                let (name, limit, offset) = config_word(index);
                write!(f, "`{name}` of ")?;
                match limit {
                    Of::Header => {}
                    Of::Limit(n) => write!(f, "limit {n} in ")?,
                    Of::KeyLimit(n) => write!(f, "limit {n} per key in ")?,
                }
                write!(f, "generation {epoch} (offset {})", generation_offset(epoch) + offset)
            }
            DamagedWord::State { epoch } => {
                let offset =
                    generation_offset(epoch) + offset_of!(Generation, state) + offset_of!(State, word);
                write!(f, "the state word of generation {epoch} (offset {offset})")
            }
            DamagedWord::Record { cell, cells, at } => {
                // Two cells for each seat, and two for the changer.
                let seats = (cells / 2).saturating_sub(1);
                let offset =
                    SEATS_OFFSET + seats * size_of::<Seat>() + cell * size_of::<Cell>() + 8 * at.index;
                write!(f, "`{}` of ", at.name)?;
                if let Some(limit) = at.limit {
                    write!(f, "limit {} in ", limit + 1)?;
                }
                write!(f, "the record in cell {cell} (offset {offset})")
            }
            DamagedWord::Cells => {
                let offset = offset_of!(Header, geometry) + offset_of!(Geometry, cells);
                write!(f, "`cells` (offset {offset})")
            }
            DamagedWord::Turn => write!(f, "the instant of a turn of the line"),
            DamagedWord::Key { row } => {
                write!(f, "when a key of the row at offset {row} will have recovered")
            }
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {:#x}, expected ", self.word, self.found)?;
        match self.expected {
            Expected::Value(value) => write!(f, "{value:#x}"),
            Expected::ChecksumOfWords(sum) => {
                write!(f, "{sum:#x} by the other words of the configuration, of which several are damaged")
            }
            Expected::Any(what) => f.write_str(what),
        }
    }
}
