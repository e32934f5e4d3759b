//! Counts and logs of keys, whose bounds come with the request: what storages of other rate limiters need. See `shm_limit/limits/`.

use crate::errors::{exception, wrong_value};
use crate::keyed::{NativeKeyedRateLimit, bytes_of};
use pyo3::prelude::*;
use pyo3::types::PyString;
use shm_lib::limit::{KeySpec, LimitKind, LimitSpec};
use shm_lib::{CountRule, KeyCount, KeyedRateLimit, LogNotes, LogStatus, Rate, Start};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Notes are kept for so many entries in each of two generations: of 8 bytes each, about 12 MB with the map around them.
const MAX_NOTES: usize = 1 << 20;
/// With more entries than this, other threads of the interpreter run meanwhile.
const MANY: usize = 4_096;
/// A count that is greater than any limit, and fits into 64 bits with a sign.
const OVER: u64 = i64::MAX as u64;

/// Counts in the windows of keys. A key may end with its limit and one of these endings, as in `client/10/1/minute`.
#[pyclass(frozen, module = "shm_limit._native")]
pub(crate) struct KeyCounts {
    limit: Arc<KeyedRateLimit>,
    most: u64,
    endings: Vec<String>,
}

#[pymethods]
impl KeyCounts {
    /// `most`: the largest count of a key.
    #[new]
    fn new(limit: &NativeKeyedRateLimit, most: u64, endings: Vec<String>) -> KeyCounts {
        KeyCounts { limit: limit.limit(), most, endings }
    }

    /// The largest `max` of a limit per key with windows of so many seconds; 0 if there is no such limit.
    #[staticmethod]
    fn largest(window: &str, per: u64) -> u64 {
        let (kind, start) = match window {
            "fixed" => (LimitKind::FixedWindow, Some(Start::Epoch)),
            _ => (LimitKind::SlidingCounter, None),
        };
        let is_valid = |max: u64| {
            Rate::new(max, Duration::from_secs(per)).is_ok_and(|rate| {
                let limit = LimitSpec { kind, start, ..LimitSpec::of(rate) };
                KeySpec::new(&[limit]).is_ok()
            })
        };
        (1..63).rev().map(|bits| (1 << bits) - 1).find(|&max| is_valid(max)).unwrap_or(0)
    }

    /// Counts in any case, and returns the count; if that would be compared with the wrong bound, because it is at its end or the
    /// limiter is paused, a greater one than any. The limit is the one that the key ends with. None, and nothing is counted, if it
    /// ends with none that can be counted.
    fn add(&self, py: Python<'_>, key: &Bound<'_, PyString>, amount: u64) -> PyResult<Option<u64>> {
        let key = bytes_of(key)?;
        match self.limit_in(&key) {
            Some(limit) if limit < self.most => self.added(py, &key, amount, limit).map(Some),
            _ => Ok(None),
        }
    }

    /// The same for a key that ends with no limit.
    fn add_without_limit(&self, py: Python<'_>, key: &Bound<'_, PyString>, amount: u64) -> PyResult<u64> {
        self.added(py, &bytes_of(key)?, amount, u64::MAX)
    }

    /// Counts if the count, with what the window before weighs (rounded down), is at most `most` then.
    fn add_within(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyString>,
        amount: u64,
        most: u64,
    ) -> PyResult<bool> {
        Ok(self.count(py, &bytes_of(key)?, amount, CountRule::IfAtMost(most))?.admitted)
    }

    /// The count of the present window, that of the one before (of a sliding counter), and in how many seconds the present one ends.
    fn look(&self, py: Python<'_>, key: &Bound<'_, PyString>) -> PyResult<(u64, u64, f64)> {
        let count = self.count(py, &bytes_of(key)?, 0, CountRule::Always(u64::MAX))?;
        Ok((count.used.min(OVER), count.before, count.ends_in.as_secs_f64()))
    }

    /// Resets a key. Returns whether it was in the table.
    fn reset(&self, py: Python<'_>, key: &Bound<'_, PyString>) -> PyResult<bool> {
        self.limit.key(&bytes_of(key)?).reset().map_err(|e| exception(py, &e))
    }
}

impl KeyCounts {
    fn added(&self, py: Python<'_>, key: &[u8], amount: u64, limit: u64) -> PyResult<u64> {
        let count = self.count(py, key, amount, CountRule::Always(limit))?;
        Ok(match count.admitted {
            // In shadow mode no caller is denied.
            true => count.used.min(limit).min(OVER),
            // Paused.
            false if count.used <= limit => OVER,
            false => count.used.min(OVER),
        })
    }

    fn count(&self, py: Python<'_>, key: &[u8], amount: u64, rule: CountRule) -> PyResult<KeyCount> {
        self.limit.key(key).count(amount, rule).map_err(|e| exception(py, &e))
    }

    /// The limit that a key ends with, before one of the endings.
    fn limit_in(&self, key: &[u8]) -> Option<u64> {
        let before = self.endings.iter().find_map(|ending| key.strip_suffix(ending.as_bytes()))?;
        let slash = before.iter().rposition(|&byte| byte == b'/')?;
        let digits = std::str::from_utf8(&before[slash + 1..]).ok()?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    }
}

/// Logs of keys, each of as many entries as its request says.
#[pyclass(frozen, module = "shm_limit._native")]
pub(crate) struct KeyLogs {
    limit: Arc<KeyedRateLimit>,
    notes: Mutex<Notes>,
}

/// What this process knows of logs: of those used lately, and of those used before.
#[derive(Default)]
struct Notes {
    lately: HashMap<Vec<u8>, LogNotes>,
    before: HashMap<Vec<u8>, LogNotes>,
    /// Entries and keys of `lately`.
    size: usize,
}

impl Notes {
    fn take(&mut self, key: &[u8]) -> (Vec<u8>, LogNotes) {
        if let Some((key, notes)) = self.lately.remove_entry(key) {
            self.size -= size_of(&key, &notes);
            return (key, notes);
        }
        self.before.remove_entry(key).unwrap_or_else(|| (key.to_owned(), LogNotes::default()))
    }

    fn put(&mut self, key: Vec<u8>, notes: LogNotes) {
        let size = size_of(&key, &notes);
        if size > MAX_NOTES {
            return;
        }
        // Another thread may have put its own meanwhile.
        if let Some(old) = self.lately.remove(&key) {
            self.size -= size_of(&key, &old);
        }
        if self.size + size > MAX_NOTES {
            self.before = std::mem::take(&mut self.lately);
            self.size = 0;
        }
        self.size += size;
        self.lately.insert(key, notes);
    }
}

/// What notes take, with their key and their place in a map: in entries of 8 bytes.
fn size_of(key: &[u8], notes: &LogNotes) -> usize {
    notes.len() + key.len() / 8 + 32
}

#[pymethods]
impl KeyLogs {
    #[new]
    fn new(limit: &NativeKeyedRateLimit) -> KeyLogs {
        KeyLogs { limit: limit.limit(), notes: Mutex::default() }
    }

    /// Takes `amount` of the `entries` of a key's log, or none. Returns whether it did.
    fn take(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyString>,
        entries: usize,
        amount: usize,
    ) -> PyResult<bool> {
        self.with_notes(py, key, entries, |key, notes| {
            self.limit.key(key).take_entries(entries, amount, notes)
        })
        .map(|status| status.admitted)
    }

    /// How many entries are taken, and in how many seconds the first of them is free.
    fn look(&self, py: Python<'_>, key: &Bound<'_, PyString>, entries: usize) -> PyResult<(usize, f64)> {
        self.with_notes(py, key, entries, |key, notes| self.limit.key(key).log_status(entries, notes))
            .map(|status: LogStatus| (status.taken, status.next_in.as_secs_f64()))
    }

    /// Resets a log. Returns whether anything of it was in the table.
    fn reset(&self, py: Python<'_>, key: &Bound<'_, PyString>, entries: usize) -> PyResult<bool> {
        self.with_notes(py, key, entries, |key, notes| self.limit.key(key).reset_log(entries, notes))
    }
}

impl KeyLogs {
    fn with_notes<T: Send>(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyString>,
        entries: usize,
        act: impl FnOnce(&[u8], &mut LogNotes) -> shm_lib::Result<T> + Send,
    ) -> PyResult<T> {
        if entries == 0 {
            return Err(wrong_value("a log has at least one entry".to_owned()));
        }
        let key = bytes_of(key)?;
        // Never waited for: after a fork it may be a thread of the parent's that holds it. Without notes it only takes longer.
        let (key, mut notes) = match self.notes.try_lock() {
            Ok(mut all) => all.take(&key),
            Err(_) => (key.into_owned(), LogNotes::default()),
        };
        let done = if entries > MANY { py.detach(|| act(&key, &mut notes)) } else { act(&key, &mut notes) };
        if let Ok(mut all) = self.notes.try_lock() {
            all.put(key, notes);
        }
        done.map_err(|e| exception(py, &e))
    }
}
