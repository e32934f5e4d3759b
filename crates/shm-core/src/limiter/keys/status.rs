//! What is known of a key, how full the tables are, and which keys are denied most.

use super::super::Limiter;
use super::KeyOf;
use super::decide::limits_for;
use crate::clock::{self, Clock, Nanos};
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::keyed::{KeyLimit, Row, Table, denied_keys, events};
use crate::layout::{RowSlots, SLOTS};
use crate::limit::Rate;
use crate::segment::{capacity_of, rows_for};

/// Rows of a table that are counted to estimate how full it is.
const SAMPLED_ROWS: usize = 4_096;

/// Of a table of at most so many rows, those in use are counted exactly if they are no more than [`SAMPLED_ROWS`]: which rows are
/// in use has to be looked up for each.
const SMALL_TABLE: usize = 1 << 20;

/// What is known of a key and one of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct KeyStatus {
    /// Whether the key is in the table. If it is not, the other fields say what it would find.
    pub known: bool,
    /// How much could be taken now.
    pub available: u64,
    /// How much of the burst is used.
    pub used: u64,
    /// How much is charged beyond the burst, by [`charge_key`](Limiter::charge_key) or for turns that have not come yet. (Not known of
    /// a sliding counter.)
    pub charged_ahead: u64,
    /// When a request for one would be admitted.
    #[cfg_attr(feature = "serde", serde(rename = "next_at_ns"))]
    pub next_at: Nanos,
}

/// How full the tables are.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TableStatus {
    /// How many keys the limiter was made for.
    pub capacity: u64,
    /// The slots of each table.
    pub slots: u64,
    /// How many keys have a debt now, estimated from a sample of rows: in the table that has most.
    pub live: u64,
    /// The bytes of the tables, and how many of them have got memory.
    pub bytes: u64,
    /// How many of these have got memory.
    pub allocated: u64,
    /// Keys that were forgotten before their debt had expired.
    pub forgotten: events::EventCount,
    /// Denials of new keys that inherited a debt.
    pub inherited: events::EventCount,
    /// Denials of new keys whose row was full.
    pub refused: events::EventCount,
}

impl TableStatus {
    /// Whether a new limiter of this capacity would have tables of this size.
    pub fn is_made_for(&self, capacity: u64) -> bool {
        rows_for(capacity).saturating_mul(SLOTS as u64) == self.slots
    }
}

/// A key of the sample of those that are denied most.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DeniedKey {
    /// The parts of its name, of which the first 48 bytes are kept. Bytes that are not UTF-8 are replaced.
    pub key: Vec<String>,
    /// How often it was denied in the last minute, estimated.
    pub last_minute: u64,
}

impl Limiter {
    /// What is known of a key: for each limit per key, in order. `at`: as in [`KeyAsk`](super::KeyAsk). Takes nothing.
    ///
    /// # Errors
    /// As [`reset_key`](Self::reset_key); [`ErrorKind::Corrupt`] also if nothing can have led
    /// to the key's state.
    pub fn key_status(&self, key: KeyOf<'_>, at: Option<(Rate, u64)>) -> Result<(Vec<KeyStatus>, Nanos)> {
        self.segment.check_not_removed()?;
        loop {
            let (epoch, rules) = self.key_rules()?;
            let now = clock::SystemClock.exact();
            let keys = self.key_hashes(key)?;
            let limits = limits_for(at, &rules).map_err(|e| self.named(e))?;
            let status = |(index, limit): (usize, &KeyLimit)| {
                let (rows, key) = (self.segment.table(index), keys[index]);
                let (known, state) = if self.segment.has_memory(index, key.row(rows.len())) {
                    let known = Table { limit: *limit, rows }.row(key).known(limit, key.tag, now);
                    (known.is_in_a_slot, known.state)
                } else {
                    (false, 0)
                };
                let next_at = limit.next_at(state, now);
                if !limit.can_be_ready_at(next_at, now, self.created_ns) {
                    self.damaged_key(index, key, next_at)?;
                }
                let (used, available) = limit.usage(state, now);
                Ok(KeyStatus {
                    known,
                    available,
                    used,
                    charged_ahead: limit.beyond_burst(state, now),
                    next_at,
                })
            };
            let all = limits.iter().map_while(Option::as_ref).enumerate().map(status);
            let all: Result<Vec<KeyStatus>> = all.collect();
            if self.segment.generations().is_current(epoch) {
                return Ok((all?, now));
            }
        }
    }

    /// For each limit per key, in order, a number that stands for the key where strangers see it: the same in every process, and
    /// no information about the key, because it is a hash under the random key of the file.
    ///
    /// # Errors
    /// As [`reset_key`](Self::reset_key).
    pub fn key_fingerprints(&self, key: KeyOf<'_>) -> Result<Vec<u64>> {
        let (_, rules) = self.key_rules()?;
        self.key_hashes(key)?;
        let hash_key = self.segment.hash_key();
        Ok((0..rules.len()).map(|index| hash_key.fingerprint(key.parts(index))).collect())
    }

    /// How full the tables of keys are; `None` without limits per key.
    ///
    /// # Errors
    /// As [`reset_key`](Self::reset_key).
    pub fn table_status(&self) -> Result<Option<TableStatus>> {
        let (shape, Some(stats)) = (self.segment.key_shape(), self.segment.key_stats()) else {
            return Ok(None);
        };
        let (_, rules) = self.key_rules()?;
        let now = clock::SystemClock.exact();
        let few_rows = SAMPLED_ROWS * size_of::<RowSlots>();
        let counts_all = shape.rows <= SMALL_TABLE && self.segment.allocated_bytes() <= few_rows as u64;
        let live = |(index, limit): (usize, &KeyLimit)| {
            if counts_all {
                return self
                    .segment
                    .rows_in_use(index)
                    .map(|(_, row)| Row(&row.0).live_slots(limit, now))
                    .sum();
            }
            let step = shape.rows.div_ceil(SAMPLED_ROWS).max(1);
            // An odd step, so that the sample does not follow the chunks.
            let sampled = (0..shape.rows).step_by(step | 1);
            let (rows, live) = sampled.fold((0u64, 0u64), |(rows, live), row| {
                let used = if self.segment.has_memory(index, row) {
                    Row(&self.segment.table(index)[row].0).live_slots(limit, now)
                } else {
                    0
                };
                (rows + 1, live + used)
            });
            (u128::from(live) * shape.rows as u128 / u128::from(rows.max(1))) as u64
        };
        let limits = rules.limits.iter().map_while(Option::as_ref).enumerate();
        Ok(Some(TableStatus {
            capacity: capacity_of(shape.rows),
            slots: (shape.rows * SLOTS) as u64,
            live: limits.map(live).max().unwrap_or(0),
            bytes: shape.bytes() as u64,
            allocated: self.segment.allocated_bytes(),
            forgotten: events::counted(&stats.forgotten, now),
            inherited: events::counted(&stats.inherited, now),
            refused: events::counted(&stats.refused, now),
        }))
    }

    /// The keys that were denied most in the last minute, as far as the sample in the file has them; at most `n`. None if names are
    /// hidden.
    pub fn most_denied(&self, n: usize) -> Vec<DeniedKey> {
        let Some(stats) = self.segment.key_stats() else { return Vec::new() };
        // Also of those whose names were kept before they were hidden.
        let generations = self.segment.generations();
        if generations.hides_names(generations.epoch()) {
            return Vec::new();
        }
        let keys = denied_keys::most_denied(&stats.denied, clock::SystemClock.exact());
        let parts = |name: &[u8]| {
            let parts = name.split(|&byte| byte == denied_keys::SEPARATOR);
            parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect()
        };
        keys.into_iter()
            .take(n)
            .map(|key| DeniedKey { key: parts(&key.name), last_minute: key.last_minute })
            .collect()
    }
}
