//! Limits per key: a table of fixed size in which any process admits, denies and forgets keys without a lock.
//!
//! | file | content |
//! |---|---|
//! | `key` | which row and tag a key has: a hash that is the same in every process and language |
//! | `slot` | one key's two words: its state, and the tag that tells it from other keys of its row |
//! | `table_clock` | pure: the clock of a table of buckets, whose speed is the rate |
//! | `key_limit` | pure: the kinds of limits per key, as functions of a state that only grows |
//! | `rules` | the limits of each key, as a decision reads them |
//! | `row` | the protocol: find a key in its row of slots, admit it by one compare-and-swap, reset it |
//! | `events` | how often keys were forgotten, and at whose cost |
//! | `denied_keys` | a sample of the keys that are denied most, with names |
//! | `table` | one table for each limit: all limits of a key or none |
//! | `simulated` | a table in the process's memory, at made-up instants, for simulations |
//!
//! # Why it is never over
//! The keys of a table are distributed over rows of [`SLOTS`] slots. All that happens to a key happens in its row, by
//! compare-and-swaps of one slot each, both words at once:
//!
//! 1. **A slot's state only grows.** So a slot never has the same content twice (no ABA), and the least state of a row only
//!    grows.
//! 2. **A key that is in no slot takes the place of the slot with the least state, and starts from that state**, if it has not
//!    expired. So a key that was forgotten with state `s` returns with at least `s`: `s` was the least of its row then.
//! 3. **No key has two slots.** Suppose that P inserts a key at slot i, and then Q the same key at slot j. Q did not see the
//!    key at i, so it read i before P's swap: a state of at most what P replaced. P read j before Q's swap: a state of at
//!    most what Q replaced. Both replaced what was the least for them, by state and then by index. So all four states are
//!    equal, and i < j < i.
//! 4. **An expired key is as good as an absent one.** Both start from the state of an unused key, so nothing has to be cleared.
//!    A process that is killed anywhere leaves either nothing or a completed charge.
//!
//! The price of a full table is paid in time: a new key inherits the least debt of its row, and may be denied until that has
//! expired. `docs/decisions/15-limits-per-key.md` has the variants that fail.

#[cfg(not(model))]
pub(crate) mod denied_keys;
#[cfg(not(model))]
pub(crate) mod events;
mod key;
mod key_limit;
#[cfg(all(model, not(shuttle), test))]
mod loom_tests;
#[cfg(all(test, not(model)))]
mod model_tests;
mod row;
mod rules;
#[cfg(all(feature = "simulation", not(model)))]
pub(crate) mod simulated;
mod slot;
#[cfg(not(model))]
mod table;
mod table_clock;

pub(crate) use crate::layout::SLOTS;
#[cfg(not(model))]
pub use events::EventCount;
#[cfg(not(model))]
pub(crate) use key::{HashKey, KeyHash};
#[cfg(all(test, not(model)))]
pub(crate) use key_limit::Charge;
#[cfg(not(model))]
pub(crate) use key_limit::KeyWindows;
pub(crate) use key_limit::{BUCKET as BUCKET_OF_A_KEY, KeyClock, KeyLimit, KeyParams};
#[cfg(not(model))]
pub(crate) use row::{Decision as RowDecision, KeyReset, Request as RowRequest, Row};
pub(crate) use rules::KeyRules;
#[cfg(not(model))]
pub(crate) use slot::Tag;
#[cfg(not(model))]
pub(crate) use table::{KeyDecision, KeyRequest, Table, Tables};
#[cfg(all(test, not(model)))]
pub(crate) use table_clock::TableClock;
pub(crate) use table_clock::{Anchor, Ratio};
