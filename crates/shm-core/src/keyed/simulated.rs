//! A table in this process's memory, at instants that the caller chooses: for simulations of how many keys a table holds
//! (`cargo xtask bench keys`).

use super::key_limit::{KeyClock, KeyLimit};
use super::row::{Decision, Request};
use super::table::Table;
use super::{HashKey, SLOTS};
use crate::clock::Nanos;
use crate::layout::RowSlots;
use crate::limit::{KeyPolicy, Limit};
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

    /// A new table of so many rows for this limit per key.
    ///
    /// # Panics
    /// If limits per key cannot be of this kind.
    pub fn new(limit: Limit, rows: usize) -> SimulatedTable {
        let clock = KeyPolicy::new(&[limit]).map(|keys| KeyClock::new(&keys, Nanos::default(), 0));
        let clock = clock.expect("one limit is a policy");
        let params = KeyLimit::params_of(limit, 0, &clock, None);
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

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;
    use crate::limit::Rate;
    use std::time::Duration;

    /// Keys that have room are admitted as soon as their own use allows, and told when, to the nanosecond.
    #[test]
    fn keys_with_room_are_denied_for_their_own_use_only() {
        const RECOVERY: u64 = 20_000_000;
        let rate = Rate::new(1, Duration::from_nanos(RECOVERY)).unwrap();
        let table = SimulatedTable::new(Limit::with_burst(rate, 1).unwrap(), 64);
        for i in 0..1_000 {
            let now = 1_000_000_000 + i * RECOVERY;
            for key in 0..10 {
                let at = |ns| Nanos::from_nanos(ns);
                let due = SimulatedDecision::Denied(at(now + key + RECOVERY));
                assert_eq!(table.request(key, at(now + key)), SimulatedDecision::Admitted, "{key} at {now}");
                assert_eq!(table.request(key, at(now + key + RECOVERY - 1)), due, "{key} after {now}");
            }
        }
    }
}
