//! How full the table of keys is, and what to do about it.

use crate::create_flags;
use shm_lib::{Directory, Inspection, KeyInspection, KeyStatus, Name, TableStatus};
use std::path::Path;

/// From this fill on, in percent of the capacity, a warning is due.
const NEARLY_FULL: u64 = 85;
/// The number of seats that `create` gives if it is not told another one.
const DEFAULT_SEATS: usize = 128;

/// What deserves attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Warning {
    /// The table is nearly full.
    NearCapacity,
    /// In the last minute, keys were forgotten early, or new keys were denied for what others owe.
    TableFull,
}

impl Warning {
    /// In a word that stays the same.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Warning::NearCapacity => "near_capacity",
            Warning::TableFull => "table_full",
        }
    }
}

/// How many percent of the capacity are in use, estimated. Of a table that is too small, more than 100.
pub(crate) fn percent(table: &TableStatus) -> u64 {
    (u128::from(table.live) * 100 / u128::from(table.capacity.max(1))) as u64
}

/// How many new keys were denied because the table was too full: in the last minute, and in all.
pub(crate) fn new_keys_denied(table: &TableStatus) -> (u64, u64) {
    let of = [table.inherited, table.refused];
    (of.iter().map(|count| count.last_minute).sum(), of.iter().map(|count| count.total).sum())
}

/// Whether a key that is not in the table would be denied for what another key owes, since its row is full: `status` is of each
/// limit per key.
pub(crate) fn inherits(status: &[KeyStatus]) -> bool {
    status.iter().all(|status| !status.known) && status.iter().any(|status| status.used > 0)
}

/// The warning that is due.
pub(crate) fn warning(table: &TableStatus) -> Option<Warning> {
    if table.forgotten.last_minute > 0 || new_keys_denied(table).0 > 0 {
        return Some(Warning::TableFull);
    }
    (percent(table) >= NEARLY_FULL).then_some(Warning::NearCapacity)
}

/// The warning of a limiter, if it has limits per key.
pub(crate) fn warning_of(seen: &Inspection) -> Option<Warning> {
    warning(&seen.keys.as_ref()?.table)
}

/// A capacity that leaves room: twice what is in use. If keys are forgotten, more of them would be in use than there are, so at
/// least twice the capacity. Rounded up to 1, 2 or 5 with zeros.
pub(crate) fn advised_capacity(table: &TableStatus) -> u64 {
    let least = match warning(table) {
        Some(Warning::TableFull) => table.live.max(table.capacity),
        _ => table.live,
    };
    let least = least.saturating_mul(2).max(table.capacity.saturating_add(1));
    let mut power: u64 = 1;
    loop {
        for digit in [1, 2, 5] {
            if let Some(capacity) = power.checked_mul(digit).filter(|&capacity| capacity >= least) {
                return capacity;
            }
        }
        match power.checked_mul(10) {
            Some(next) => power = next,
            None => return u64::MAX,
        }
    }
}

/// The command that puts a limiter of this capacity in the place of this one.
pub(crate) fn command_for(capacity: u64, name: &Name, path: &Path, seen: &Inspection) -> String {
    let (name, in_dir) = Directory::in_shell(name, path.parent().unwrap_or(path));
    let policy = create_flags::of(&seen.policy).unwrap_or_else(|| " --from FILE".to_owned());
    let seats = if seen.seats == DEFAULT_SEATS { String::new() } else { format!(" --seats {}", seen.seats) };
    let mode = if seen.mode == 0o600 { String::new() } else { format!(" --mode {:03o}", seen.mode) };
    format!("shm-limit create {name} --replace{policy} --capacity {capacity}{seats}{mode}{in_dir}")
}

/// The names of the keys that are denied most, at most `n` of them.
pub(crate) fn top(keys: &KeyInspection, n: usize) -> &[shm_lib::DeniedKey] {
    &keys.most_denied[..n.min(keys.most_denied.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_lib::{KeyedRateLimit, Rate};

    /// The status of an empty table, to be changed.
    fn table() -> TableStatus {
        let dir = tempfile::tempdir().unwrap();
        let limit = KeyedRateLimit::builder("x").directory(dir.path()).capacity(1_000_000);
        limit.open_rate(Rate::per_second(5).unwrap()).unwrap().table_status().unwrap()
    }

    #[test]
    fn a_warning_is_due_from_85_percent_and_when_keys_are_forgotten() {
        let mut table = table();
        for (live, percent_used, due) in [
            (0, 0, None),
            (849_999, 84, None),
            (850_000, 85, Some(Warning::NearCapacity)),
            (2_000_000, 200, Some(Warning::NearCapacity)),
        ] {
            table.live = live;
            assert_eq!((percent(&table), warning(&table)), (percent_used, due), "{live}");
        }
        table.live = 3;
        for (forgotten, inherited, refused) in [(1, 0, 0), (0, 1, 0), (0, 0, 1)] {
            table.forgotten.last_minute = forgotten;
            table.inherited.last_minute = inherited;
            table.refused.last_minute = refused;
            assert_eq!(warning(&table), Some(Warning::TableFull));
        }
        assert_eq!(new_keys_denied(&table).0, 1);
    }

    #[test]
    fn the_advised_capacity_is_larger_and_leaves_room() {
        let mut table = table();
        for (live, advised) in [(850_000, 2_000_000), (1_100_000, 5_000_000), (0, 2_000_000)] {
            table.live = live;
            assert_eq!(advised_capacity(&table), advised, "{live}");
        }
        table.forgotten.last_minute = 1;
        assert_eq!(advised_capacity(&table), 2_000_000);
        table.live = u64::MAX;
        assert_eq!(advised_capacity(&table), u64::MAX);
    }
}
