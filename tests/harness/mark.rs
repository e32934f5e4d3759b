//! What a traced worker and its tracer tell each other at a mark ([`raw::mark`](crate::raw::mark)).

/// What the worker reports there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It has this many tokens or permits, and the newest is for the instant `at` (0: none).
    Has {
        /// Tokens, or permits.
        tokens: u64,
        /// When the newest one's turn is.
        at: u64,
    },
    /// The operation found the limiter retired or removed.
    Ended,
    /// The operation was refused as busy.
    Busy,
}

const ELSE: u64 = u64::MAX;

impl Said {
    /// For `raw::mark`.
    pub fn words(self) -> [u64; 2] {
        match self {
            Said::Has { tokens, at } => [tokens, at],
            Said::Ended => [ELSE, 1],
            Said::Busy => [ELSE, 2],
        }
    }

    /// From the tracer's side.
    pub fn from_words(words: [u64; 2]) -> Said {
        match words {
            [ELSE, 1] => Said::Ended,
            [ELSE, _] => Said::Busy,
            [tokens, at] => Said::Has { tokens, at },
        }
    }
}

/// What the tracer tells it to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// End.
    Leave,
    /// Give back all permits.
    GiveBack,
    /// Do the same this many times more.
    Repeat(u64),
}

impl Order {
    /// For the tracer.
    pub fn word(self) -> u64 {
        match self {
            Order::Leave => 0,
            Order::GiveBack => ELSE,
            Order::Repeat(n) => n,
        }
    }

    /// From `raw::mark`.
    pub fn from_word(word: u64) -> Order {
        match word {
            0 => Order::Leave,
            ELSE => Order::GiveBack,
            n => Order::Repeat(n),
        }
    }
}
