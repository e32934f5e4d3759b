//! Decisions about keys: one request, many, or only a look.

use super::super::Limiter;
use super::super::receipt::{Decision, Receipt};
use super::KeyAsk;
use crate::clock::{self, Clock, Nanos, QUICK_LAG, Reading};
use crate::commit::{CommitError, Damage};
use crate::denied::Denied;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::keyed::{KeyDecision, KeyHash, KeyLimit, KeyRequest, KeyRules, denied_keys, events};
use crate::limit::MAX_LIMITS;
use crate::sys::process_token::process_token;
use std::time::Duration;

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

    /// The same, after the limits of all keys have admitted the request with this receipt, and for the instant of that: so the
    /// admission has one instant, at which all of its limits are kept. `None` if the receipt is not this process's: a signal handler
    /// has forked, and this is the child, which begins anew. Does not count a denial.
    ///
    /// # Errors
    /// Those of [`try_key`](Self::try_key).
    pub fn try_key_beside(&self, ask: &KeyAsk<'_>, of_all: &Receipt) -> Result<Option<Decision>> {
        let is_ours = || self.belongs_to_this_process(of_all);
        let mode = Mode { ahead: Duration::ZERO, counts_denials: false };
        let decision = self.decide_key_while(ask, mode, Some(of_all.at), is_ours)?;
        // Once more, for a child that was forked at the very end of the decision.
        Ok(decision.filter(|_| is_ours()))
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
        loop {
            if let Some(decision) = self.decide_key_while(ask, mode, None, || true)? {
                return Ok(decision);
            }
        }
    }

    /// For the instant `at`, which has come, or for now. `None` if `holds` does not hold before the decision, or before it is made
    /// again.
    #[inline]
    fn decide_key_while(
        &self,
        ask: &KeyAsk<'_>,
        mode: Mode,
        at: Option<Nanos>,
        holds: impl Fn() -> bool,
    ) -> Result<Option<Decision>> {
        let mut is_exact = false;
        loop {
            let process = process_token();
            if !holds() {
                return Ok(None);
            }
            let (epoch, rules) = self.key_rules()?;
            let now = match at {
                Some(at) => Reading::exact(at),
                None if is_exact => Reading::exact(clock::SystemClock.exact()),
                None => clock::SystemClock.read(),
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
            return self.conclude(ask, &request, &limits, decided, mode).map(Some);
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

    /// What denies a request now, or `None` if it would be admitted. Takes nothing. `counts`: whether a denial is counted.
    ///
    /// # Errors
    /// Those of [`try_key`](Self::try_key).
    pub fn key_denial(&self, ask: &KeyAsk<'_>, counts: bool) -> Result<Option<Denied>> {
        loop {
            let (epoch, rules) = self.key_rules()?;
            let now = clock::SystemClock.exact();
            let request = self.key_request(ask, &rules, epoch, now, Duration::ZERO)?;
            let limits = limits_for(ask, &rules).map_err(|e| self.named(e))?;
            let refused = self.with_tables(&limits, |tables| tables.refused(&request));
            if self.segment.generations().is_current(epoch) {
                let Some(decision) = refused else { return Ok(None) };
                let now = Reading::exact(now);
                let decided = Decided { decision, now, epoch, is_shadow: rules.is_shadow };
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
            denied_keys::count(
                &stats.denied,
                request.keys[index % MAX_LIMITS].tag,
                ask.key.parts(index),
                now,
            );
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
fn limits_for(ask: &KeyAsk<'_>, rules: &KeyRules) -> Result<[Option<KeyLimit>; MAX_LIMITS]> {
    let mut limits = rules.limits;
    if let (Some((rate, burst)), Some(first)) = (ask.at, limits[0]) {
        limits[0] = Some(first.at(rate, burst)?);
    }
    Ok(limits)
}
