//! The state word of a generation: whether the generation can be charged, and its value.

use crate::limit::gcra::TAT_END;

/// A decoded state word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateWord {
    /// `00…`: can be charged. The value is the theoretical arrival time in ticks, or a record pointer.
    Live(u64),
    /// `10…`: the same value, final: the generation is over.
    Frozen(u64),
    /// `11…`: the state of this epoch has not been computed yet.
    Unset(u64),
    /// `01…`: never written by this library.
    Invalid,
}

impl StateWord {
    pub(crate) const FREEZE: u64 = 1 << 63;
    const UNSET: u64 = 3 << 62;

    pub(crate) fn decode(word: u64) -> StateWord {
        let value = word & (TAT_END - 1);
        match word >> 62 {
            0b00 => StateWord::Live(value),
            0b10 => StateWord::Frozen(value),
            0b11 => StateWord::Unset(value),
            _ => StateWord::Invalid,
        }
    }

    pub(crate) fn encode(self) -> u64 {
        match self {
            StateWord::Live(tat) => tat,
            StateWord::Frozen(tat) => Self::FREEZE | tat,
            StateWord::Unset(epoch) => Self::UNSET | epoch,
            StateWord::Invalid => 1 << 62,
        }
    }

    /// A live word. A time that does not fit is clamped to the last one that does (and later reported as corrupt).
    pub(crate) fn live(tat: u64) -> u64 {
        tat.min(TAT_END - 1)
    }
}
