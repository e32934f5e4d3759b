//! Requests for keys: each key has the limits per key for itself.
//!
//! A decision reads the configuration, then charges the key by compare-and-swaps of its slots, which know nothing of epochs. So it
//! checks afterwards that the configuration is still current, and otherwise decides again: a request that is underway while the
//! limiter is changed may be charged twice, and is never admitted by an old configuration.

use super::Limiter;
use super::receipt::{Decision, Receipt};
use crate::clock::{self, Clock, Nanos, QUICK_LAG, Reading};
use crate::commit::{CommitError, Damage};
use crate::denied::Denied;
use crate::error::{Error, ErrorKind, Result};
use crate::keyed::{
    KeyDecision, KeyHash, KeyLimit, KeyRequest, KeyReset, KeyRules, Row, Table, Tables, denied_keys, events,
};
use crate::layout::RETIRED;
use crate::limit::{Cost, Costs, Limit, MAX_LIMITS, MAX_WAIT, Rate};
use crate::sys::process_token::process_token;
use crate::sys::signal::NoHandlers;
use std::time::Duration;

/// The key of a request. A key is a sequence of parts, each of any bytes; most keys have one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOf<'a> {
    /// One key for all limits: its parts.
    All(&'a [&'a [u8]]),
    /// A key for each limit per key, in order. If there are more limits, the last one counts for the rest.
    Each(&'a [&'a [&'a [u8]]]),
}

impl<'a> KeyOf<'a> {
    /// The parts of the key of limit `index`.
    fn parts(self, index: usize) -> &'a [&'a [u8]] {
        match self {
            KeyOf::All(parts) => parts,
            KeyOf::Each(keys) => keys.get(index).or(keys.last()).copied().unwrap_or_default(),
        }
    }
}

/// A request for a key.
#[derive(Clone, Copy, Debug)]
pub struct KeyAsk<'a> {
    /// The key.
    pub key: KeyOf<'a>,
    /// What it costs, of the units that the limits per key count.
    pub cost: &'a Cost,
    /// A rate and burst for this request, instead of those of the first limit per key.
    pub at: Option<(Rate, u64)>,
}

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
    /// When a request for one would be admitted.
    #[cfg_attr(feature = "serde", serde(rename = "next_at_ns"))]
    pub next_at: Nanos,
}

/// How a request is decided.
#[derive(Clone, Copy)]
struct Mode {
    /// A turn may be charged that comes within this time.
    ahead: Duration,
    /// Whether a denial is counted.
    counts_denials: bool,
}

/// A decision, with what was read for it.
#[derive(Clone, Copy)]
struct Decided {
    decision: KeyDecision,
    now: Reading,
    epoch: u64,
    is_shadow: bool,
}

impl Limiter {
    /// Whether the limiter has limits per key.
    pub fn has_keys(&self) -> bool {
        self.segment.key_shape().tables > 0
    }

    /// Whether a request for a key also takes from a limit of all keys, or a permit.
    ///
    /// # Errors
    /// Those of [`try_key`](Self::try_key).
    #[inline]
    pub fn takes_more_than_keys(&self) -> Result<bool> {
        self.key_rules().map(|(_, rules)| rules.takes_more)
    }

    /// Takes this cost from the limits of the key, now or not at all. Takes nothing from the limits of all keys.
    ///
    /// A process that is killed meanwhile has been charged the whole cost or nothing or, with several limits per key, for some of
    /// them. No process waits for another one.
    ///
    /// # Errors
    /// [`ErrorKind::NeverAdmissible`], [`ErrorKind::Retired`], [`ErrorKind::Removed`], [`ErrorKind::Corrupt`];
    /// [`ErrorKind::InvalidInput`] if the limiter has no limits per key, if these count other units, or for a rate that does not
    /// fit; [`ErrorKind::NoSpace`] if the table needs more memory and its file system is full.
    #[inline]
    pub fn try_key(&self, ask: &KeyAsk<'_>) -> Result<Decision> {
        self.decide_key(ask, Mode { ahead: Duration::ZERO, counts_denials: true })
    }

    /// The same, but takes a turn that comes within `ahead`, and does not count a denial.
    ///
    /// # Errors
    /// Those of [`try_key`](Self::try_key).
    pub fn book_key(&self, ask: &KeyAsk<'_>, ahead: Duration) -> Result<Decision> {
        self.decide_key(ask, Mode { ahead, counts_denials: false })
    }

    #[inline]
    fn decide_key(&self, ask: &KeyAsk<'_>, mode: Mode) -> Result<Decision> {
        let mut is_exact = false;
        loop {
            let process = process_token();
            let (epoch, rules) = self.key_rules()?;
            let now = if is_exact {
                Reading::exact(clock::SystemClock.exact())
            } else {
                clock::SystemClock.read()
            };
            let request = self.key_request(ask, &rules, epoch, now.at, mode.ahead)?;
            let limits = limits_for(ask, &rules).map_err(|e| self.named(e))?;
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
            let decided = Decided { decision, now, epoch, is_shadow: rules.is_shadow };
            return self.conclude(ask, &request, &limits, decided, mode);
        }
    }

    /// Decides many requests, in their order, and passes each decision on. Loads what they need all at once, so that with a large
    /// table this takes about half the time of one by one.
    ///
    /// # Errors
    /// Those of [`try_key`](Self::try_key), for the request that has it. Those before it have been decided.
    pub fn try_keys(&self, asks: &[KeyAsk<'_>], mut decided: impl FnMut(usize, Decision)) -> Result<()> {
        // As many as `Tables::admit_many` loads at a time.
        const AT_ONCE: usize = 16;
        let mode = Mode { ahead: Duration::ZERO, counts_denials: true };
        for (chunk, asks) in asks.chunks(AT_ONCE).enumerate() {
            let mut decide = |i: usize, decision| decided(chunk * AT_ONCE + i, decision);
            if asks.iter().any(|ask| ask.at.is_some()) {
                for (i, ask) in asks.iter().enumerate() {
                    decide(i, self.decide_key(ask, mode)?);
                }
                continue;
            }
            let process = process_token();
            let (epoch, rules) = self.key_rules()?;
            let now = Reading::exact(clock::SystemClock.exact());
            let nothing = KeyRequest {
                keys: [KeyHash::default(); MAX_LIMITS],
                now: now.at,
                costs: [0; MAX_LIMITS],
                latest: now.at,
                may_forget: rules.may_forget,
            };
            let (mut requests, mut outcomes) = ([nothing; AT_ONCE], [None; AT_ONCE]);
            let hashes = |request: &mut KeyRequest, ask| {
                *request = self.hashed_request(ask, &rules, now.at, mode.ahead);
            };
            requests.iter_mut().zip(asks).for_each(|(request, ask)| hashes(request, ask));
            let requests = &mut requests[..asks.len()];
            for (request, ask) in requests.iter_mut().zip(asks) {
                self.prepare(request, ask, &rules, epoch)?;
            }
            self.with_tables(&rules.limits, |tables| {
                tables.admit_many(requests, |i, decision| outcomes[i] = Some(decision));
            });
            let is_valid = process == process_token() && self.segment.generations().is_current(epoch);
            for (i, (ask, request)) in asks.iter().zip(requests.iter()).enumerate() {
                match outcomes[i] {
                    Some(decision) if is_valid => {
                        let done = Decided { decision, now, epoch, is_shadow: rules.is_shadow };
                        decide(i, self.conclude(ask, request, &rules.limits, done, mode)?);
                    }
                    _ => decide(i, self.decide_key(ask, mode)?),
                }
            }
        }
        Ok(())
    }

    /// What denies a request now, or `None` if it would be admitted. Takes nothing, and counts nothing.
    ///
    /// # Errors
    /// Those of [`try_key`](Self::try_key).
    pub fn key_denial(&self, ask: &KeyAsk<'_>) -> Result<Option<Denied>> {
        loop {
            let (epoch, rules) = self.key_rules()?;
            let now = clock::SystemClock.exact();
            let request = self.key_request(ask, &rules, epoch, now, Duration::ZERO)?;
            let limits = limits_for(ask, &rules).map_err(|e| self.named(e))?;
            let refused = self.with_tables(&limits, |tables| tables.refused(&request));
            if self.segment.generations().is_current(epoch) {
                return Ok(refused.and_then(|decision| denied_by(decision, now)));
            }
        }
    }

    /// Charges this amount to the key unconditionally: a debt, which later time pays. Units that are not named are not charged.
    ///
    /// # Errors
    /// [`ErrorKind::TooFar`] if the key could not make a request for more than a year, and those of [`try_key`](Self::try_key).
    pub fn charge_key(&self, key: KeyOf<'_>, what: &Cost) -> Result<()> {
        // A child forked by a handler would charge it a second time.
        let _no_handlers = NoHandlers::enter();
        loop {
            let (epoch, rules) = self.key_rules()?;
            let what = what.with_every_unit_of(self.config()?.policy.keys().into_iter().flat_map(|keys| keys.limits()));
            if what.largest() == 0 {
                return Ok(());
            }
            let ask = KeyAsk { key, cost: &what, at: None };
            let now = clock::SystemClock.exact();
            let mut request = self.hashed_request(&ask, &rules, now, Duration::ZERO);
            request.costs = self.key_costs(&what, &rules, epoch)?;
            self.allocate(&request, &rules)?;
            let latest = now.plus(MAX_WAIT);
            let charged = self.with_tables(&rules.limits, |tables| tables.charge(&request, latest));
            if let Err(ready) = charged {
                let cost = what.largest();
                return Err(self.segment.commit_error(CommitError::TooFar { ready, now }, cost));
            }
            // Not charged again after a change: a debt stays.
            return self.maybe_check_file(now);
        }
    }

    /// Resets a key: it is as if it had never been used. Returns whether it was in the table.
    ///
    /// # Errors
    /// [`ErrorKind::Retired`], [`ErrorKind::Removed`], [`ErrorKind::Corrupt`], [`ErrorKind::InvalidInput`] if the limiter has no
    /// limits per key.
    pub fn reset_key(&self, key: KeyOf<'_>) -> Result<bool> {
        let (_, rules) = self.key_rules()?;
        let cost = Cost::one();
        let now = clock::SystemClock.exact();
        let request =
            self.hashed_request(&KeyAsk { key, cost: &cost, at: None }, &rules, now, Duration::ZERO);
        let mut was_known = false;
        for (index, limit) in rules.limits.iter().map_while(Option::as_ref).enumerate() {
            let (rows, key) = (self.segment.table(index), request.keys[index]);
            if self.segment.has_memory(index, key.row(rows.len())) {
                let table = Table { limit: *limit, rows };
                was_known |= table.row(key).reset(limit, key.tag, now) == KeyReset::Done;
            }
        }
        self.maybe_check_file(now)?;
        // Those who wait for it try again.
        self.wake_everybody();
        Ok(was_known)
    }

    /// What is known of a key: for each limit per key, in order. Takes nothing.
    ///
    /// # Errors
    /// As [`reset_key`](Self::reset_key).
    pub fn key_status(&self, key: KeyOf<'_>) -> Result<(Vec<KeyStatus>, Nanos)> {
        self.segment.check_not_removed()?;
        loop {
            let (epoch, rules) = self.key_rules()?;
            let cost = Cost::one();
            let now = clock::SystemClock.exact();
            let request =
                self.hashed_request(&KeyAsk { key, cost: &cost, at: None }, &rules, now, Duration::ZERO);
            let status = |(index, limit): (usize, &KeyLimit)| {
                let (rows, key) = (self.segment.table(index), request.keys[index]);
                let (known, state) = if self.segment.has_memory(index, key.row(rows.len())) {
                    let known = Table { limit: *limit, rows }.row(key).known(limit, key.tag, now);
                    (known.is_in_a_slot, known.state)
                } else {
                    (false, 0)
                };
                let (used, available) = limit.usage(state, now);
                KeyStatus { known, available, used, next_at: limit.next_at(state, now) }
            };
            let all = rules.limits.iter().map_while(Option::as_ref).enumerate().map(status).collect();
            if self.segment.generations().is_current(epoch) {
                return Ok((all, now));
            }
        }
    }

    /// The limits per key, as the current configuration has them.
    #[inline]
    fn key_rules(&self) -> Result<(u64, KeyRules)> {
        let (generations, tables) = (self.segment.generations(), self.segment.key_shape().tables);
        loop {
            let epoch = generations.epoch();
            let rules = generations.key_rules(epoch, tables);
            if epoch >= RETIRED {
                self.recover(CommitError::Retired, 0)?;
            }
            if tables == 0 {
                return Err(self.no_keys_error());
            }
            if generations.is_current(epoch) {
                return Ok((epoch, rules));
            }
        }
    }

    #[cold]
    fn no_keys_error(&self) -> Error {
        let name = self.name().shell_word();
        self.segment.error(
            ErrorKind::InvalidInput,
            format!(
                "it has no limits per key, and the request names a key; replace it by a limiter that has some: shm-limit create \
                 {name} --replace --keyed, with all its settings"
            ),
        )
    }

    fn named(&self, e: Error) -> Error {
        e.at(self.name().as_str(), self.path())
    }

    /// A request, checked, whose rows have memory.
    #[inline]
    fn key_request(
        &self,
        ask: &KeyAsk<'_>,
        rules: &KeyRules,
        epoch: u64,
        now: Nanos,
        ahead: Duration,
    ) -> Result<KeyRequest> {
        let mut request = self.hashed_request(ask, rules, now, ahead);
        self.prepare(&mut request, ask, rules, epoch)?;
        Ok(request)
    }

    /// A request without its costs.
    #[inline]
    fn hashed_request(&self, ask: &KeyAsk<'_>, rules: &KeyRules, now: Nanos, ahead: Duration) -> KeyRequest {
        let hash_key = self.segment.hash_key();
        let keys = match ask.key {
            KeyOf::All(parts) => [hash_key.hash(parts); MAX_LIMITS],
            each @ KeyOf::Each(_) => std::array::from_fn(|i| hash_key.hash(each.parts(i))),
        };
        let latest = if ahead.is_zero() { now } else { now.plus(ahead) };
        KeyRequest { keys, now, costs: [0; MAX_LIMITS], latest, may_forget: rules.may_forget }
    }

    #[inline]
    fn prepare(
        &self,
        request: &mut KeyRequest,
        ask: &KeyAsk<'_>,
        rules: &KeyRules,
        epoch: u64,
    ) -> Result<()> {
        request.costs = match ask.cost.only_calls() {
            Some(calls) if !rules.counts_units && calls > 0 => [calls; MAX_LIMITS],
            _ => self.key_costs(ask.cost, rules, epoch)?,
        };
        for index in 0..rules.len() {
            let burst = match ask.at {
                Some((_, burst)) if index == 0 => burst,
                _ => rules.bursts[index],
            };
            if request.costs[index] > burst {
                return Err(self.never_admissible(index, burst, request.costs[index]));
            }
        }
        self.allocate(request, rules)
    }

    /// Makes sure that the rows of a request have memory.
    #[inline]
    fn allocate(&self, request: &KeyRequest, rules: &KeyRules) -> Result<()> {
        for index in 0..rules.len() {
            let row = request.keys[index].row(self.segment.key_shape().rows);
            self.segment.ensure_memory(index, row)?;
        }
        Ok(())
    }

    #[cold]
    fn key_costs(&self, cost: &Cost, rules: &KeyRules, epoch: u64) -> Result<Costs> {
        let units = self.segment.generations().key_units(epoch);
        cost.costs(&units[..rules.len()]).ok_or_else(|| {
            let config = match self.config() {
                Ok(config) => config,
                Err(e) => return e,
            };
            match config.policy.keys().map(|keys| cost.check_against(keys.limits(), keys)) {
                Some(Err(e)) => self.named(e),
                // The limiter was changed in between.
                _ => self.segment.error(ErrorKind::Busy, "its units were just changed; try again"),
            }
        })
    }

    #[cold]
    fn never_admissible(&self, index: usize, burst: u64, cost: u64) -> Error {
        let limit = self.config().map(|config| config.policy.keys().and_then(|keys| keys.limits().nth(index)));
        match limit {
            Err(e) => e,
            Ok(limit) => {
                let more = match limit.map(Limit::kind) {
                    Some(crate::limit::Kind::Bucket { .. }) => "burst",
                    _ => "rate",
                };
                self.segment.error(
                    ErrorKind::NeverAdmissible,
                    format!(
                        "a request of a key for {cost} can never be admitted; the maximum is {burst}: request less, or set a larger \
                         {more} per key"
                    ),
                )
            }
        }
    }

    #[inline]
    fn with_tables<T>(
        &self,
        limits: &[Option<KeyLimit>; MAX_LIMITS],
        decide: impl FnOnce(&Tables<'_>) -> T,
    ) -> T {
        // One limit, which most have.
        if let [Some(limit), None, ..] = limits {
            return decide(&Tables::one(Table { limit: *limit, rows: self.segment.table(0) }));
        }
        let tables = limits.iter().map_while(Option::as_ref).enumerate();
        let tables: Vec<Table<'_>> =
            tables.map(|(i, limit)| Table { limit: *limit, rows: self.segment.table(i) }).collect();
        decide(&Tables::new(&tables))
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
        let Decided { decision, now, epoch, is_shadow } = decided;
        if let KeyDecision::Admitted { at, has_forgotten } = decision {
            if has_forgotten && let Some(stats) = self.segment.key_stats() {
                events::count(&stats.forgotten, now.at);
            }
            if mode.counts_denials {
                self.process.seat.counter(&self.segment).admitted(ask.cost.call_count());
            }
            self.maybe_check_file(now.at)?;
            let owner = self.owner(process_token());
            return Ok(Decision::Admitted(Receipt { at, epoch, state: 0, owner }));
        }
        self.deny(ask, request, limits, decided, mode.counts_denials)?;
        self.maybe_check_file(now.at)?;
        let denied = denied_by(decision, now.at).unwrap_or(Denied::by_full_table(now.at));
        Ok(Decision::Denied { denied, shadow: is_shadow })
    }

    /// Counts a denial.
    fn deny(
        &self,
        ask: &KeyAsk<'_>,
        request: &KeyRequest,
        limits: &[Option<KeyLimit>; MAX_LIMITS],
        decided: Decided,
        counts: bool,
    ) -> Result<()> {
        let (index, now) = match decided.decision {
            KeyDecision::TooEarly { limit, ready, .. } => {
                let is_damaged =
                    limits[limit % MAX_LIMITS].is_some_and(|own| ready > own.latest_ready(decided.now.at));
                if is_damaged {
                    return self.damaged_key(limit, request.keys[limit % MAX_LIMITS], ready);
                }
                (limit, decided.now.at)
            }
            KeyDecision::Full { limit } => (limit, decided.now.at),
            KeyDecision::Admitted { .. } => return Ok(()),
        };
        let Some(stats) = self.segment.key_stats().filter(|_| counts) else { return Ok(()) };
        self.process.seat.counter(&self.segment).denied();
        match decided.decision {
            KeyDecision::TooEarly { is_inherited: true, .. } => events::count(&stats.inherited, now),
            KeyDecision::Full { .. } => events::count(&stats.refused, now),
            _ => {}
        }
        if !self.segment.generations().hides_names(decided.epoch) {
            denied_keys::count(&stats.denied, request.keys[index % MAX_LIMITS].tag, ask.key.parts(index), now);
        }
        Ok(())
    }

    /// The error for a key that would have to wait longer than anything can make it wait.
    #[cold]
    fn damaged_key(&self, table: usize, key: KeyHash, ready: Nanos) -> Result<()> {
        // The configuration may be what is damaged.
        self.config()?;
        let row = self.segment.row_offset(table, key.row(self.segment.key_shape().rows));
        let damage = Damage::key(row, ready.as_nanos());
        Err(self.segment.commit_error(CommitError::Corrupt(damage), 0))
    }

    /// For a reset: how far the clock of each table has to be so that all of its states are expired. Clears states that nothing
    /// can have led to. By the holder of the control lock.
    pub(super) fn advanced_key_clock(&self, config: &crate::commit::Config) -> Result<crate::keyed::KeyClock> {
        let mut clock = config.key_clock;
        let (_, rules) = self.key_rules()?;
        for (index, limit) in rules.limits.iter().map_while(Option::as_ref).enumerate() {
            let mut greatest = 0;
            let now = clock::SystemClock.exact();
            for (_, row) in self.segment.rows_in_use(index) {
                greatest = greatest.max(Row(&row.0).greatest_plausible(limit, now));
            }
            let advance = &mut clock.advance[index];
            *advance = advance.saturating_add(limit.advance_past(greatest, now));
            if limit.is_near_the_end(*advance) {
                return Err(self.segment.error(
                    ErrorKind::InvalidInput,
                    format!(
                        "it was reset so often that its clock is at its end; replace it: shm-limit create {} --replace, with all \
                         its settings",
                        self.name().shell_word()
                    ),
                ));
            }
        }
        Ok(clock)
    }
}

/// The limits for this request: with the rate that came with it.
#[inline]
fn limits_for(ask: &KeyAsk<'_>, rules: &KeyRules) -> Result<[Option<KeyLimit>; MAX_LIMITS]> {
    let mut limits = rules.limits;
    if let (Some((rate, burst)), Some(first)) = (ask.at, limits[0]) {
        limits[0] = Some(first.at(rate, burst)?);
    }
    Ok(limits)
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

/// Rows of a table that are counted to estimate how full it is.
const SAMPLED_ROWS: usize = 4_096;

impl Limiter {
    /// How full the tables of keys are; `None` without limits per key.
    ///
    /// # Errors
    /// As [`reset_key`](Self::reset_key).
    pub fn table_status(&self) -> Result<Option<TableStatus>> {
        let (shape, Some(stats)) = (self.segment.key_shape(), self.segment.key_stats()) else { return Ok(None) };
        let (_, rules) = self.key_rules()?;
        let now = clock::SystemClock.exact();
        let live = |(index, limit): (usize, &KeyLimit)| {
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
            capacity: crate::segment::capacity_of(shape.rows),
            slots: (shape.rows * crate::layout::SLOTS) as u64,
            live: limits.map(live).max().unwrap_or(0),
            bytes: shape.bytes() as u64,
            allocated: self.segment.allocated_bytes(),
            forgotten: events::counted(&stats.forgotten, now),
            inherited: events::counted(&stats.inherited, now),
            refused: events::counted(&stats.refused, now),
        }))
    }

    /// The keys that were denied most in the last minute, as far as the sample in the file has them; at most `n`.
    pub fn most_denied(&self, n: usize) -> Vec<DeniedKey> {
        let Some(stats) = self.segment.key_stats() else { return Vec::new() };
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

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
