//! A table in this process's memory, at instants that the caller chooses: for simulations of how many keys a table holds
//! (`cargo xtask bench keys`).

use super::key_limit::{KeyClock, KeyLimit};
use super::row::{Decision, Request};
use super::table::Table;
use super::{HashKey, SLOTS};
use crate::clock::Nanos;
use crate::layout::RowSlots;
use crate::limit::Limit;
use crate::sync::AtomicPair;

/// A table of keys.
pub struct SimulatedTable {
    limit: KeyLimit,
    rows: Vec<RowSlots>,
}

/// A decision of a simulated table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimulatedDecision {
    /// The key was charged.
    Admitted,
    /// The request would be admitted at this instant.
    Denied(Nanos),
}

impl SimulatedTable {
    /// Bytes of one row.
    pub const ROW: usize = size_of::<RowSlots>();
    /// Slots of one row.
    pub const SLOTS: usize = SLOTS;

    /// A table of so many rows for this limit per key.
    pub fn new(limit: Limit, rows: usize) -> SimulatedTable {
        let params = KeyLimit::params_of(limit, 0, &KeyClock::default(), None);
        let row = || RowSlots(std::array::from_fn(|_| AtomicPair::default()));
        SimulatedTable { limit: KeyLimit::of(&params), rows: (0..rows).map(|_| row()).collect() }
    }

    /// Decides a request of this key for one call.
    pub fn request(&self, key: u64, now: Nanos) -> SimulatedDecision {
        let key = HashKey([1, 2]).hash(&[&key.to_le_bytes()]);
        let table = Table { limit: self.limit, rows: &self.rows };
        let request = Request { key: key.tag, now, cost: 1, latest: now, may_forget: true };
        match table.row(key).admit(&self.limit, &request) {
            Decision::Admitted { .. } => SimulatedDecision::Admitted,
            Decision::TooEarly { ready, .. } => SimulatedDecision::Denied(ready),
            // Only where no key may be forgotten.
            Decision::Full => SimulatedDecision::Denied(Nanos::from_nanos(u64::MAX)),
        }
    }
}
