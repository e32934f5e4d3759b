//! Counts of keys with windows, for those who compare them with a bound of their own: the bound comes with the request, and one
//! table serves all bounds. For programs that replace another rate limiter, and have to keep its rules.

use super::super::Limiter;
use super::{KeyHash, KeyOf, KeyRules};
use crate::clock::{self, Clock, Nanos};
use crate::error::{ErrorKind, Result};
use crate::keyed::{KeyDecision, KeyLimit, KeyWindows, Table};
use crate::sys::process_token::process_token;
use std::time::Duration;

/// What a count is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountRule {
    /// It is counted in any case, and denied above this bound.
    Always(u64),
    /// It is counted only if it is admitted: if the count, and what the window before still weighs (rounded down), are at most this
    /// bound.
    IfAtMost(u64),
}

/// The count of a key, after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyCount {
    /// Whether the request is admitted. Nothing is during a pause.
    pub admitted: bool,
    /// The count of the present window. `u64::MAX` if it has reached the limit's own `max`, where counts end.
    pub used: u64,
    /// The count of the window before, of a sliding counter.
    pub before: u64,
    /// When the present window ends.
    pub ends_in: Duration,
}

impl KeyCount {
    fn of(windows: &KeyWindows, admitted: bool, now: Nanos) -> KeyCount {
        let KeyWindows { used, before, ends_at, .. } = *windows;
        KeyCount { admitted, used, before, ends_in: ends_at.since(now) }
    }
}

/// What a count in a row led to.
#[derive(Clone, Copy)]
struct Counted {
    windows: KeyWindows,
    admitted: bool,
    /// Whether the key is a new one that begins with the count of another one.
    is_inherited: bool,
    /// Whether it took that key's place.
    has_forgotten: bool,
    /// Whether there is no place for a new key, and none may be forgotten.
    is_full: bool,
}

impl Counted {
    fn of(windows: KeyWindows, admitted: bool) -> Counted {
        Counted { windows, admitted, is_inherited: false, has_forgotten: false, is_full: false }
    }
}

impl Limiter {
    /// Counts `amount` for a key in its present window, in one step; 0 counts nothing, and only looks. The limiter has one limit per
    /// key, a fixed window or a sliding counter, and no other limits.
    ///
    /// A process that is killed meanwhile has counted the whole amount or nothing. A request that is underway while the limiter is
    /// changed may count twice.
    ///
    /// # Errors
    /// Those of [`try_key`](Self::try_key); [`ErrorKind::InvalidInput`] if the limiter has other limits.
    pub fn count_key(&self, key: KeyOf<'_>, amount: u64, rule: CountRule) -> Result<KeyCount> {
        let hash = self.key_hashes(key)?[0];
        loop {
            let process = process_token();
            let (epoch, rules) = self.key_rules()?;
            let limit = self.only_limit(&rules)?;
            let now = clock::SystemClock.exact();
            if !self.segment.generations().is_current(epoch) {
                continue;
            }
            let found = self.count_in(&limit, hash, amount, rule, rules.may_forget, now)?;
            // A signal handler may have forked, and this may be the child: the count may have been its parent's.
            if process != process_token() || !self.segment.generations().is_current(epoch) {
                continue;
            }
            let Some(Counted { windows, admitted, is_inherited, has_forgotten, is_full }) = found else {
                return Err(self.no_windows_error());
            };
            if !limit.can_be_ready_at(windows.ends_at, now, self.created_ns) {
                self.damaged_key(0, hash, windows.ends_at)?;
            }
            if has_forgotten {
                self.count_forgotten(now);
            }
            if amount > 0 && admitted {
                self.process.seat.counter(&self.segment).admitted(amount);
            } else if amount > 0 {
                let ready = windows.ends_at;
                let decision = match is_full {
                    true => KeyDecision::Full { limit: 0 },
                    false => KeyDecision::TooEarly { limit: 0, ready, is_inherited },
                };
                self.count_denied_key(hash.tag, key.parts(0), decision, now, epoch);
            }
            self.maybe_check_file(now)?;
            // Once more, for a child that was forked at the very end.
            if process == process_token() {
                return Ok(KeyCount::of(&windows, admitted || rules.is_shadow, now));
            }
        }
    }

    /// Counts in the key's row. `None` for a bucket, which has no windows.
    fn count_in(
        &self,
        limit: &KeyLimit,
        key: KeyHash,
        amount: u64,
        rule: CountRule,
        may_forget: bool,
        now: Nanos,
    ) -> Result<Option<Counted>> {
        let rows = self.segment.table(0);
        let row = Table { limit: *limit, rows }.row(key);
        let fits = |windows: &KeyWindows| match rule {
            CountRule::Always(most) => !windows.is_paused && windows.used <= most,
            CountRule::IfAtMost(most) => windows.has_room_for(amount, most, now),
        };
        if amount == 0 {
            let has_memory = self.segment.has_memory(0, key.row(rows.len()));
            let state = if has_memory { row.known(limit, key.tag, now).state } else { 0 };
            return Ok(limit.windows(state, now).map(|windows| Counted::of(windows, fits(&windows))));
        }
        self.segment.ensure_memory(0, key.row(rows.len()))?;
        let added = row.add(limit, key.tag, now, |base, is_inherited| {
            let refused = |windows: KeyWindows, is_full| Counted {
                is_inherited,
                is_full,
                ..Counted::of(windows, false)
            };
            let Some(windows) = limit.windows(base, now) else { return Err(None) };
            if is_inherited && !may_forget {
                return Err(Some(refused(windows, true)));
            }
            let state = limit.counted(base, now, amount);
            match rule {
                CountRule::Always(_) => Ok(state),
                // A state that does not grow has counted nothing.
                CountRule::IfAtMost(_) if fits(&windows) && state > base => Ok(state),
                CountRule::IfAtMost(_) => Err(Some(refused(windows, false))),
            }
        });
        Ok(match added {
            Ok(added) => limit.windows(added.state, now).map(|windows| {
                let admitted = matches!(rule, CountRule::IfAtMost(_)) || fits(&windows);
                let is_inherited = added.has_forgotten;
                Counted { is_inherited, has_forgotten: is_inherited, ..Counted::of(windows, admitted) }
            }),
            Err(refused) => refused,
        })
    }

    /// The limit per key of a limiter that has only one limit.
    pub(super) fn only_limit(&self, rules: &KeyRules) -> Result<KeyLimit> {
        match rules.limits {
            [Some(limit), None, ..] if !rules.takes_more => Ok(limit),
            _ => Err(self.segment.error(
                ErrorKind::InvalidInput,
                "a program counts by it with bounds of its own, and then it has one limit per key, and no limits of all keys and no \
                 permits; remove the others, or let the program use another name",
            )),
        }
    }

    #[cold]
    fn no_windows_error(&self) -> crate::error::Error {
        self.segment.error(
            ErrorKind::InvalidInput,
            "a program counts in its windows, and its limit per key is a bucket, which has none; let the program use another name",
        )
    }
}
