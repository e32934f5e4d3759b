//! An exact log per key: never more than so many admissions in any window, however it lies.
//!
//! A key of a table has one word, which has no room for a log. So a log of `n` entries is `n` keys, its *entries*, of a table whose
//! limit is one per period: an admission takes an entry that is free. Each entry is taken at most once in any window of the period, so
//! all of them together are taken at most `n` times. Nothing has to be removed, and a killed process leaves nothing but what it took.
//!
//! To find a free entry without a look at all of them, a process notes until when those that it has seen are taken
//! ([`LogNotes`]). States only grow, so that is a lower bound for each, until the log is reset or the rate changes. So before the notes
//! deny a request, one entry is looked at: the one that is free first. A reset or a change shows in that one.

use super::super::Limiter;
use super::{KeyHash, KeyOf};
use crate::clock::{self, Clock, Nanos};
use crate::error::{ErrorKind, Result};
use crate::keyed::{HashKey, KeyDecision, KeyLimit, KeyReset, KeyRules, RowDecision, RowRequest, Table};
use crate::sys::prefetch::prefetch;
use crate::sys::process_token::process_token;
use std::cell::Cell;
use std::time::Duration;

/// So many entries are loaded at a time.
const AT_ONCE: usize = 16;

/// What a process knows of a log. A lost or copied note costs time, and nothing else.
#[derive(Clone, Debug, Default)]
pub struct LogNotes {
    /// For each entry that was looked at, an instant before which it is not free (or a nanosecond ahead: see [`Log::take`]).
    free_from: Vec<Nanos>,
    /// The entry to look at first: one of these, or the next one.
    next: usize,
    /// The entry that is free first, and when, as far as is known; not before that.
    first: Option<(usize, Nanos)>,
    entries: usize,
    epoch: u64,
}

/// What a request for entries of a log led to, or what is known of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogStatus {
    /// Whether the request is admitted.
    pub admitted: bool,
    /// How many entries are taken. Not counted for a request.
    pub taken: usize,
    /// In how long the next one is free; zero if one is.
    pub next_in: Duration,
}

/// A log, as a decision sees it.
struct Log<'a> {
    limiter: &'a Limiter,
    limit: KeyLimit,
    hash_key: HashKey,
    key: [u8; 16],
    now: Nanos,
    may_forget: bool,
    /// How many entries took the place of another key.
    forgotten: Cell<usize>,
}

impl LogNotes {
    /// How many entries are noted.
    pub fn len(&self) -> usize {
        self.free_from.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.free_from.is_empty()
    }

    /// Forgets what was noted.
    fn clear(&mut self) {
        self.free_from.clear();
        self.next = 0;
        self.first = None;
    }

    fn fit(&mut self, entries: usize, epoch: u64) {
        if self.entries != entries || self.epoch != epoch {
            self.clear();
            (self.entries, self.epoch) = (entries, epoch);
        }
    }

    /// The entry that is free first, by what is noted, of those that are not free now. All have been looked at.
    fn find_first(&mut self, now: Nanos) -> Option<(usize, Nanos)> {
        let taken = self.free_from.iter().copied().enumerate().filter(|&(_, from)| from > now);
        self.first = taken.min_by_key(|&(_, from)| from);
        self.first
    }
}

impl Log<'_> {
    fn hash(&self, entry: usize) -> KeyHash {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.key);
        bytes[16..].copy_from_slice(&(entry as u64).to_le_bytes());
        self.hash_key.hash_part(&bytes)
    }

    /// When an entry is free.
    fn look(&self, hash: KeyHash) -> Result<Nanos> {
        let segment = &self.limiter.segment;
        let rows = segment.table(0);
        if !segment.has_memory(0, hash.row(rows.len())) {
            return Ok(self.limit.next_at(0, self.now));
        }
        let known = Table { limit: self.limit, rows }.row(hash).known(&self.limit, hash.tag, self.now);
        let ready = self.limit.next_at(known.state, self.now);
        if !self.limit.can_be_ready_at(ready, self.now, self.limiter.created_ns) {
            self.limiter.damaged_key(0, hash, ready)?;
        }
        Ok(ready)
    }

    /// Looks at the entries that may be free, by the notes, from the next one on, until `enough` are. `found` gets them.
    fn find_free(&self, notes: &mut LogNotes, enough: usize, found: &mut Vec<usize>) -> Result<()> {
        let n = notes.entries;
        let rows = self.limiter.segment.table(0);
        let mut passed = 0;
        // The first one is most often free.
        let mut at_once = 1;
        while passed < n && found.len() < enough {
            let mut loaded = [(0, KeyHash::default()); AT_ONCE];
            let mut len = 0;
            while passed < n && len < at_once {
                let entry = (notes.next + passed) % n;
                if entry == notes.free_from.len() {
                    notes.free_from.push(Nanos::default());
                }
                if notes.free_from[entry] <= self.now {
                    let hash = self.hash(entry);
                    prefetch(&rows[hash.row(rows.len())]);
                    loaded[len] = (entry, hash);
                    len += 1;
                }
                passed += 1;
            }
            for &(entry, hash) in &loaded[..len] {
                let ready = self.look(hash)?;
                if ready > self.now {
                    notes.free_from[entry] = ready;
                } else if found.len() < enough {
                    found.push(entry);
                }
            }
            at_once = AT_ONCE;
        }
        Ok(())
    }

    /// Whether the notes are right about the entry that is free first. They are not after a reset of the log.
    fn agrees(&self, first: Option<(usize, Nanos)>) -> Result<bool> {
        first.map_or(Ok(true), |(entry, from)| Ok(self.look(self.hash(entry))? == from))
    }

    /// Takes an entry that was free. If another process has taken it, that is noted.
    fn take(&self, notes: &mut LogNotes, entry: usize) -> Result<bool> {
        let hash = self.hash(entry);
        let segment = &self.limiter.segment;
        let rows = segment.table(0);
        segment.ensure_memory(0, hash.row(rows.len()))?;
        let (now, may_forget) = (self.now, self.may_forget);
        let request = RowRequest { key: hash.tag, now, cost: 1, latest: now, may_forget };
        let decision = Table { limit: self.limit, rows }.row(hash).admit(&self.limit, &request);
        if let RowDecision::Admitted { has_forgotten: true, .. } = decision {
            self.forgotten.set(self.forgotten.get() + 1);
        }
        // If it looks free all the same (its row is full, say), it is not looked at again by this request.
        notes.free_from[entry] = self.look(hash)?.max(now + Duration::from_nanos(1));
        Ok(matches!(decision, RowDecision::Admitted { .. }))
    }

    /// Takes `amount` entries or, as far as no other process takes one meanwhile, none.
    fn take_all(&self, notes: &mut LogNotes, amount: usize) -> Result<bool> {
        let (mut taken, mut found) = (0, Vec::new());
        let mut is_sure = false;
        loop {
            // Nothing is free before the first one is.
            let nothing = notes.first.filter(|&(_, from)| from > self.now);
            if nothing.is_none() {
                self.find_free(notes, amount - taken, &mut found)?;
            }
            if found.len() < amount - taken {
                let first = if nothing.is_some() { nothing } else { notes.find_first(self.now) };
                if is_sure || self.agrees(first)? {
                    // What is free now is no reason to wait for the first of the others.
                    if !found.is_empty() {
                        notes.first = None;
                    }
                    return Ok(false);
                }
                // The log was reset. What is noted from now on is right.
                notes.clear();
                is_sure = true;
                found.clear();
                continue;
            }
            for entry in found.drain(..) {
                notes.next = (entry + 1) % notes.entries;
                taken += usize::from(self.take(notes, entry)?);
            }
            if taken >= amount {
                return Ok(true);
            }
        }
    }
}

impl Limiter {
    /// Takes `amount` of the `entries` of a key's log, now or not at all. The limiter has one limit per key, a bucket with a burst
    /// of 1, and no other limits: in any window of its period, at most `entries` are admitted.
    ///
    /// Where several processes race for the last entries, one that takes more than one may have taken some when it is denied. The same
    /// holds for a process that is killed meanwhile.
    ///
    /// # Errors
    /// Those of [`try_key`](Self::try_key); [`ErrorKind::InvalidInput`] if the limiter has other limits.
    pub fn take_entries(
        &self,
        key: KeyOf<'_>,
        entries: usize,
        amount: usize,
        notes: &mut LogNotes,
    ) -> Result<LogStatus> {
        let act = |log: &Log<'_>, notes: &mut LogNotes| {
            let admitted = amount <= entries && log.take_all(notes, amount)?;
            let next = notes.first.map_or(log.now, |(_, from)| from);
            Ok(LogStatus { admitted, taken: 0, next_in: next.since(log.now) })
        };
        // Only a decision that stands is counted.
        self.with_log(key, entries, notes, act, |log, rules, epoch, status| {
            for _ in 0..log.forgotten.get() {
                self.count_forgotten(log.now);
            }
            if status.admitted {
                self.process.seat.counter(&self.segment).admitted(amount as u64);
            } else {
                let ready = log.now + status.next_in;
                let decision = KeyDecision::TooEarly { limit: 0, ready, is_inherited: false };
                self.count_denied_key(self.key_hashes(key)?[0].tag, key.parts(0), decision, log.now, epoch);
            }
            status.admitted |= rules.is_shadow;
            Ok(())
        })
    }

    /// What is known of a key's log. Takes nothing.
    ///
    /// # Errors
    /// As [`take_entries`](Self::take_entries).
    pub fn log_status(&self, key: KeyOf<'_>, entries: usize, notes: &mut LogNotes) -> Result<LogStatus> {
        let act = |log: &Log<'_>, notes: &mut LogNotes| {
            let mut found = Vec::new();
            log.find_free(notes, entries, &mut found)?;
            let first = notes.find_first(log.now);
            if !log.agrees(first)? {
                notes.clear();
                found.clear();
                log.find_free(notes, entries, &mut found)?;
            }
            let first = notes.find_first(log.now).map_or(log.now, |(_, from)| from);
            if !found.is_empty() {
                notes.first = None;
            }
            let taken = entries - found.len();
            Ok(LogStatus { admitted: !found.is_empty(), taken, next_in: first.since(log.now) })
        };
        self.with_log(key, entries, notes, act, |_, _, _, _| Ok(()))
    }

    /// Resets a key's log: all its entries are free. Returns whether any was in the table.
    ///
    /// # Errors
    /// As [`take_entries`](Self::take_entries).
    pub fn reset_log(&self, key: KeyOf<'_>, entries: usize, notes: &mut LogNotes) -> Result<bool> {
        let act = |log: &Log<'_>, notes: &mut LogNotes| {
            let rows = self.segment.table(0);
            let mut was_known = false;
            for entry in 0..entries {
                let hash = log.hash(entry);
                if self.segment.has_memory(0, hash.row(rows.len())) {
                    let row = Table { limit: log.limit, rows }.row(hash);
                    was_known |= row.reset(&log.limit, hash.tag, log.now) == KeyReset::Done;
                }
            }
            notes.clear();
            Ok(LogStatus { admitted: was_known, taken: 0, next_in: Duration::ZERO })
        };
        self.with_log(key, entries, notes, act, |_, _, _, _| Ok(())).map(|status| status.admitted)
    }

    fn with_log(
        &self,
        key: KeyOf<'_>,
        entries: usize,
        notes: &mut LogNotes,
        act: impl Fn(&Log<'_>, &mut LogNotes) -> Result<LogStatus>,
        conclude: impl Fn(&Log<'_>, &KeyRules, u64, &mut LogStatus) -> Result<()>,
    ) -> Result<LogStatus> {
        let hash_key = self.segment.hash_key();
        let key = hash_key.hash(key.parts(0)).bytes();
        loop {
            let process = process_token();
            let (epoch, rules) = self.key_rules()?;
            let limit = self.only_limit(&rules)?;
            if !limit.is_bucket_of_one() || entries == 0 {
                return Err(self.segment.error(
                    ErrorKind::InvalidInput,
                    "a program keeps logs in it, whose entries are keys with one call per period; its limit per key has a burst or \
                     windows, or the log has no entries; let the program use another name",
                ));
            }
            let now = clock::SystemClock.exact();
            if !self.segment.generations().is_current(epoch) {
                continue;
            }
            // Another limiter that has the name by now, or another clock of this one.
            notes.fit(entries, epoch);
            let log = Log {
                limiter: self,
                limit,
                hash_key,
                key,
                now,
                may_forget: rules.may_forget,
                forgotten: Cell::new(0),
            };
            let mut found = act(&log, notes)?;
            // A signal handler may have forked, and this may be the child: what was taken may have been its parent's.
            if process == process_token() && self.segment.generations().is_current(epoch) {
                conclude(&log, &rules, epoch, &mut found)?;
                self.maybe_check_file(now)?;
                return Ok(found);
            }
        }
    }
}
