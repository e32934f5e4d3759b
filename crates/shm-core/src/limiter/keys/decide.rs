//! Decisions about keys: a request, or only a look.

use super::super::Limiter;
use super::super::receipt::{Decision, Receipt};
use super::{KeyAsk, KeyOf};
use crate::clock::{self, Clock, Nanos, QUICK_LAG, Reading};
use crate::commit::{CommitError, Damage};
use crate::denied::Denied;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::keyed::{
    KeyDecision, KeyHash, KeyLimit, KeyRequest, KeyRules, Row, RowDecision, RowRequest, Tag, denied_keys,
    events,
};
use crate::layout::RETIRED;
use crate::limit::{MAX_LIMITS, Rate};
use crate::sys::prefetch::prefetch;
use crate::sys::process_token::process_token;
use std::time::Duration;

/// A key of one part, which is being loaded.
#[derive(Clone, Copy, Debug)]
pub struct PrefetchedKey(KeyHash);

/// How a request is decided.
#[derive(Clone, Copy)]
struct Mode {
    /// A turn may be charged that comes within this time.
    ahead: Duration,
    /// Whether the decision is counted.
    counts: bool,
    /// Whether the request takes from nothing else. There is no decision if the configuration has limits of all keys, or permits:
    /// it is the configuration by which the key is charged that counts, and not one that was read before.
    is_alone: bool,
}

/// A decision, with what was read for it.
#[derive(Clone, Copy)]
struct Decided {
    decision: KeyDecision,
    now: Reading,
    epoch: u64,
    /// The process that decided.
    process: u64,
    is_shadow: bool,
}

impl Mode {
    /// Beside limits of all keys, which have admitted the request.
    const BESIDE: Mode = Mode { ahead: Duration::ZERO, counts: false, is_alone: false };
}

impl Limiter {
    /// Starts to load what decisions about this key need. A caller that has several keys at hand does this for all of them, and then
    /// decides: with a large table that takes about half the time.
    pub fn prefetch_key(&self, key: KeyOf<'_>) {
        // A wrong key is an error of the decision.
        let _ = self.prefetched_hashes(key);
    }

    /// The same for a key of one part.
    #[inline(always)]
    pub fn prefetch_part(&self, part: &[u8]) -> PrefetchedKey {
        let hash = self.segment.hash_key().hash_part(part);
        let tables = self.segment.key_shape().tables;
        if tables > 0 {
            self.prefetch_row(0, hash);
        }
        if tables > 1 {
            self.prefetch_rest(hash);
        }
        PrefetchedKey(hash)
    }

    #[inline(never)]
    fn prefetch_rest(&self, hash: KeyHash) {
        (1..self.segment.key_shape().tables).for_each(|table| self.prefetch_row(table, hash));
    }

    #[inline(always)]
    fn prefetch_row(&self, table: usize, hash: KeyHash) {
        let rows = self.segment.table(table);
        prefetch(&rows[hash.row(rows.len())]);
    }

    /// The hashes of a key, whose rows are being loaded.
    #[inline]
    fn prefetched_hashes(&self, key: KeyOf<'_>) -> Result<[KeyHash; MAX_LIMITS]> {
        let hashes = self.key_hashes(key)?;
        (0..self.segment.key_shape().tables).for_each(|table| self.prefetch_row(table, hashes[table]));
        Ok(hashes)
    }

    /// Fast path of [`try_key`](Self::try_key) for a key of one part and this many calls. Covers an undisturbed limiter with one bucket
    /// per key and nothing else; in every other case it returns `None`, and `try_key` decides. The key is prefetched before
    /// anything else is read: the row of a large table takes longer to load than all the rest.
    #[inline(always)]
    pub fn try_key_fast(&self, key: PrefetchedKey, part: &[u8], calls: u64) -> Option<Decision> {
        self.decide_fast(key, part, calls, |epoch| self.segment.generations().plain_key_bucket(epoch))
    }

    /// The same for a limit per key of any kind.
    #[inline]
    pub fn try_key_fast_by_any_limit(&self, key: PrefetchedKey, part: &[u8], calls: u64) -> Option<Decision> {
        self.decide_fast(key, part, calls, |epoch| self.segment.generations().plain_key_limit(epoch))
    }

    #[inline(always)]
    fn decide_fast(
        &self,
        key: PrefetchedKey,
        part: &[u8],
        calls: u64,
        limit: impl FnOnce(u64) -> Option<(KeyLimit, u64)>,
    ) -> Option<Decision> {
        if self.segment.key_shape().tables != 1 {
            return None;
        }
        let (rows, PrefetchedKey(hash)) = (self.segment.table(0), key);
        let index = hash.row(rows.len());
        let (process, generations) = (process_token(), self.segment.generations());
        let epoch = generations.epoch();
        let (limit, burst) = limit(epoch)?;
        // A due file check is left to the slow path.
        let now = clock::SystemClock.quick().filter(|now| !self.file_check_due(now.at))?;
        if epoch >= RETIRED || calls == 0 || calls > burst || !self.segment.has_memory(0, index) {
            return None;
        }
        // Before the charge, too: half of two configurations, or the clock of an old rate, could charge the key for years.
        if !generations.is_current(epoch) {
            return None;
        }
        let request =
            RowRequest { key: hash.tag, now: now.at, cost: calls, latest: now.at, may_forget: true };
        let decision = Row(&rows[index].0).admit(&limit, &request);
        if process != process_token() || !generations.is_current(epoch) {
            return None;
        }
        match decision {
            RowDecision::Admitted { at, has_forgotten } => {
                if has_forgotten {
                    self.count_forgotten(now.at);
                }
                self.process.seat.counter(&self.segment).admitted(calls);
                Some(Decision::Admitted(Receipt { at, epoch, state: 0, owner: self.owner(process) }))
            }
            RowDecision::TooEarly { ready, is_inherited }
                if ready.since(now.at) >= QUICK_LAG
                    && limit.can_be_ready_at(ready, now.at, self.created_ns) =>
            {
                let decision = KeyDecision::TooEarly { limit: 0, ready, is_inherited };
                self.count_denied_key(hash.tag, &[part], decision, now.at, epoch);
                let denied = Denied::by_key_limit(0, ready, now.at, is_inherited);
                Some(Decision::Denied { denied, shadow: false })
            }
            _ => None,
        }
    }

    /// Takes this cost from the limits of the key, now or not at all. Takes nothing from the limits of all keys.
    ///
    /// A process that is killed meanwhile has been charged the whole cost or nothing or, with several limits per key, for some of
    /// them. No process waits for another one.
    ///
    /// `None`: the limiter has limits of all keys, or permits, by now, and nothing was taken.
    ///
    /// # Errors
    /// [`ErrorKind::NeverAdmissible`], [`ErrorKind::Retired`], [`ErrorKind::Removed`], [`ErrorKind::Corrupt`];
    /// [`ErrorKind::InvalidInput`] if the limiter has no limits per key, if these count other units, or for a rate that does not
    /// fit; [`ErrorKind::NoSpace`] if the table needs more memory and its file system is full.
    #[inline]
    pub fn try_key(&self, ask: &KeyAsk<'_>) -> Result<Option<Decision>> {
        let mode = Mode { ahead: Duration::ZERO, counts: true, is_alone: true };
        self.decide_key(ask, mode, None, || true)
    }

    /// As [`try_key`](Self::try_key), after the limits of all keys have admitted the request with this receipt, and for the instant of
    /// that: so the admission has one instant, at which all of its limits are kept. `None` if the receipt is not this process's: a
    /// signal handler has forked, and this is the child, which begins anew. Does not count a denial.
    ///
    /// # Errors
    /// Those of [`try_key`](Self::try_key).
    pub fn try_key_beside(&self, ask: &KeyAsk<'_>, of_all: &Receipt) -> Result<Option<Decision>> {
        let is_ours = || self.belongs_to_this_process(of_all);
        let decision = self.decide_key(ask, Mode::BESIDE, Some(of_all.at), is_ours)?;
        // Once more, for a child that was forked at the very end of the decision.
        Ok(decision.filter(|_| is_ours()))
    }

    /// As [`try_key_beside`](Self::try_key_beside), after the limits of all keys have let the request through uncharged.
    ///
    /// # Errors
    /// Those of [`try_key`](Self::try_key).
    pub fn try_key_beside_nothing(&self, ask: &KeyAsk<'_>) -> Result<Option<Decision>> {
        self.decide_key(ask, Mode::BESIDE, None, || true)
    }

    /// As [`try_key`](Self::try_key), but takes a turn that comes within `ahead`, and does not count a denial.
    ///
    /// # Errors
    /// Those of [`try_key`](Self::try_key).
    pub fn book_key(&self, ask: &KeyAsk<'_>, ahead: Duration) -> Result<Option<Decision>> {
        self.decide_key(ask, Mode { ahead, counts: false, is_alone: true }, None, || true)
    }

    /// For the instant `at`, which has come, or for now. `None` if `holds` does not hold before the decision, or before it is made
    /// again, or if the mode asks for another configuration.
    #[inline]
    fn decide_key(
        &self,
        ask: &KeyAsk<'_>,
        mode: Mode,
        at: Option<Nanos>,
        holds: impl Fn() -> bool,
    ) -> Result<Option<Decision>> {
        let mut is_exact = false;
        let keys = self.prefetched_hashes(ask.key)?;
        loop {
            let process = process_token();
            if !holds() {
                return Ok(None);
            }
            let (epoch, rules) = self.key_rules()?;
            if mode.is_alone && rules.takes_more {
                return Ok(None);
            }
            let now = match at {
                Some(at) => Reading::exact(at),
                None if is_exact => Reading::exact(clock::SystemClock.exact()),
                None => clock::SystemClock.read(),
            };
            // Before the charge, too: after a change, the clock of the old rate could charge the key for years.
            if !self.segment.generations().is_current(epoch) {
                continue;
            }
            let request = self.key_request(ask, keys, &rules, epoch, now.at, mode.ahead)?;
            let limits = limits_for(ask.at, &rules).map_err(|e| self.named(e))?;
            let decision = self.with_tables(&limits, |tables| tables.admit(&request));
            // A signal handler may have forked, and this may be the child: the admission may have been its parent's.
            if process != process_token() || !self.segment.generations().is_current(epoch) {
                continue;
            }
            if let KeyDecision::TooEarly { ready, .. } = decision
                && !now.is_exact
                && ready.since(now.at) < QUICK_LAG
            {
                is_exact = true;
                continue;
            }
            let decided = Decided { decision, now, epoch, process, is_shadow: rules.is_shadow };
            let done = self.conclude(ask, &request, &limits, decided, mode)?;
            // Once more, for a child that was forked at the very end.
            if process == process_token() {
                return Ok(Some(done));
            }
        }
    }

    /// What denies a request now, or `None` if it would be admitted. Takes nothing. `counts`: whether a denial is counted.
    ///
    /// # Errors
    /// Those of [`try_key`](Self::try_key).
    pub fn key_denial(&self, ask: &KeyAsk<'_>, counts: bool) -> Result<Option<Denied>> {
        let keys = self.prefetched_hashes(ask.key)?;
        loop {
            let (epoch, rules) = self.key_rules()?;
            let now = clock::SystemClock.exact();
            let request = self.key_request(ask, keys, &rules, epoch, now, Duration::ZERO)?;
            let limits = limits_for(ask.at, &rules).map_err(|e| self.named(e))?;
            let refused = self.with_tables(&limits, |tables| tables.refused(&request));
            if self.segment.generations().is_current(epoch) {
                let Some(decision) = refused else { return Ok(None) };
                let now = Reading::exact(now);
                let process = process_token();
                let decided = Decided { decision, now, epoch, process, is_shadow: rules.is_shadow };
                self.deny(ask, &request, &limits, decided, counts)?;
                // A caller that is always denied has to notice, too, that the file is gone.
                self.maybe_check_file(now.at)?;
                return Ok(denied_by(decision, now.at));
            }
        }
    }

    /// Counts a decision, and turns it into that of a caller.
    #[inline]
    fn conclude(
        &self,
        ask: &KeyAsk<'_>,
        request: &KeyRequest,
        limits: &[Option<KeyLimit>; MAX_LIMITS],
        decided: Decided,
        mode: Mode,
    ) -> Result<Decision> {
        let Decided { decision, now, epoch, process, is_shadow } = decided;
        if let KeyDecision::Admitted { at, has_forgotten } = decision {
            if has_forgotten {
                self.count_forgotten(now.at);
            }
            if mode.counts {
                self.process.seat.counter(&self.segment).admitted(ask.cost.call_count());
            }
            self.maybe_check_file(now.at)?;
            let owner = self.owner(process);
            return Ok(Decision::Admitted(Receipt { at, epoch, state: 0, owner }));
        }
        self.deny(ask, request, limits, decided, mode.counts)?;
        self.maybe_check_file(now.at)?;
        let denied = denied_by(decision, now.at).unwrap_or(Denied::by_full_table(now.at));
        Ok(Decision::Denied { denied, shadow: is_shadow })
    }

    /// Checks a denial for damage, and counts it.
    fn deny(
        &self,
        ask: &KeyAsk<'_>,
        request: &KeyRequest,
        limits: &[Option<KeyLimit>; MAX_LIMITS],
        decided: Decided,
        counts: bool,
    ) -> Result<()> {
        let Decided { decision, now, epoch, .. } = decided;
        let (KeyDecision::TooEarly { limit: index, .. } | KeyDecision::Full { limit: index }) = decision
        else {
            return Ok(());
        };
        let key = request.keys[index % MAX_LIMITS];
        if let KeyDecision::TooEarly { ready, .. } = decision
            && limits[index % MAX_LIMITS]
                .is_some_and(|own| !own.can_be_ready_at(ready, now.at, self.created_ns))
        {
            return self.damaged_key(index, key, ready);
        }
        if counts {
            self.count_denied_key(key.tag, ask.key.parts(index), decision, now.at, epoch);
        }
        Ok(())
    }

    #[cold]
    pub(super) fn count_forgotten(&self, now: Nanos) {
        if let Some(stats) = self.segment.key_stats() {
            events::count(&stats.forgotten, now);
        }
    }

    /// Counts a denial of the key with this tag and these parts.
    #[inline(never)]
    pub(super) fn count_denied_key(
        &self,
        key: Tag,
        parts: &[&[u8]],
        decision: KeyDecision,
        now: Nanos,
        epoch: u64,
    ) {
        let Some(stats) = self.segment.key_stats() else { return };
        self.process.seat.counter(&self.segment).denied();
        match decision {
            KeyDecision::TooEarly { is_inherited: true, .. } => events::count(&stats.inherited, now),
            KeyDecision::Full { .. } => events::count(&stats.refused, now),
            _ => {}
        }
        let times = self.denial_pace.weight(now);
        let generations = self.segment.generations();
        if times > 0 && !generations.hides_names(epoch) {
            denied_keys::count(&stats.denied, key, parts, times, now);
            // A change may have hidden all names meanwhile, and have erased those that it found.
            if !generations.is_current(epoch) && generations.hides_names(generations.epoch()) {
                denied_keys::clear(&stats.denied);
            }
        }
    }

    /// The error for a key that would have to wait longer than anything can make it wait.
    #[cold]
    pub(super) fn damaged_key(&self, table: usize, key: KeyHash, ready: Nanos) -> Result<()> {
        // The configuration may be what is damaged.
        self.config()?;
        let row = self.segment.row_offset(table, key.row(self.segment.key_shape().rows));
        let damage = Damage::key(row, ready.as_nanos());
        Err(self.segment.commit_error(CommitError::Corrupt(damage), 0))
    }
}

#[inline]
fn denied_by(decision: KeyDecision, now: Nanos) -> Option<Denied> {
    match decision {
        KeyDecision::Admitted { .. } => None,
        KeyDecision::TooEarly { limit, ready, is_inherited } => {
            Some(Denied::by_key_limit(limit, ready, now, is_inherited))
        }
        KeyDecision::Full { .. } => Some(Denied::by_full_table(now)),
    }
}

/// The limits for this request: with the rate that came with it.
#[inline]
pub(super) fn limits_for(
    at: Option<(Rate, u64)>,
    rules: &KeyRules,
) -> Result<[Option<KeyLimit>; MAX_LIMITS]> {
    let mut limits = rules.limits;
    if let (Some((rate, burst)), Some(first)) = (at, limits[0]) {
        limits[0] = Some(first.at(rate, burst)?);
    }
    Ok(limits)
}
