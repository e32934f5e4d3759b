//! Requests for keys: each key has the limits per key for itself.
//!
//! A decision reads the configuration, then charges the key by compare-and-swaps of its slots, which know nothing of epochs. So it
//! checks afterwards that the configuration is still current, and otherwise decides again: a request that is underway while the
//! limiter is changed may be charged twice, and is never admitted by an old configuration.
//!
//! | file | content |
//! |---|---|
//! | `mod` | what a request is, and what it needs of the configuration and the file |
//! | `decide` | decisions: a request, or only a look |
//! | `control` | debts and resets of keys, and of all keys |
//! | `count` | counts of keys with windows, and bounds that come with the request |
//! | `log` | an exact log per key, whose entries are keys |
//! | `status` | what is known of a key, how full the tables are, which keys are denied most |

mod control;
mod count;
#[cfg(test)]
mod count_tests;
mod decide;
mod log;
mod status;
#[cfg(test)]
mod tests;

pub use count::{CountRule, KeyCount};
pub use decide::PrefetchedKey;
pub use log::{LogNotes, LogStatus};
pub use status::{DeniedKey, KeyStatus, TableStatus};

use super::Limiter;
use crate::clock::Nanos;
use crate::commit::CommitError;
use crate::directory::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::keyed::{KeyHash, KeyLimit, KeyRequest, KeyRules, Table, Tables};
use crate::layout::RETIRED;
use crate::limit::key_policy::limits_text;
use crate::limit::{Cost, Costs, KeyPolicy, Limit, MAX_LIMITS, Rate};
use std::time::Duration;

/// The key of a request. A key is a sequence of parts, each of any bytes; most keys have one part.
///
/// A request that names a key for each limit names at least one, and no more than there are limits.
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
        let generations = self.segment.generations();
        loop {
            let epoch = generations.epoch();
            let takes_more = generations.keys_take_more(epoch);
            // Whatever else is wrong is found by the decision.
            if epoch >= RETIRED || generations.is_current(epoch) {
                return Ok(takes_more);
            }
        }
    }

    /// The parts of a cost that the limits of all keys count, and those per key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if a unit of the cost is counted by neither.
    pub fn split_cost(&self, cost: &Cost) -> Result<(Cost, Cost)> {
        if cost.only_calls().is_some() {
            return Ok((*cost, *cost));
        }
        let policy = self.config()?.policy;
        let of_keys = policy.keys().into_iter().flat_map(KeyPolicy::limits);
        let known = cost.part_for(policy.limits().chain(of_keys.clone()));
        if known != *cost {
            cost.check_against(policy.limits().chain(of_keys.clone()), policy).map_err(|e| self.named(e))?;
        }
        Ok((cost.part_for(policy.limits()), cost.part_for(of_keys)))
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

    /// The error for a request that names a key, where there are no limits per key.
    #[cold]
    pub fn no_keys_error(&self) -> Error {
        let (name, in_dir) = Directory::in_shell(self.name(), self.directory());
        self.segment.error(
            ErrorKind::InvalidInput,
            format!(
                "it has no limits per key, and the request names a key; leave the key out (a program: RateLimit), or replace it by \
                 a limiter that has some: shm-limit create {name} --replace --keyed{in_dir}, with all its settings"
            ),
        )
    }

    fn named(&self, e: Error) -> Error {
        e.at(self.name().as_str(), self.path())
    }

    /// A request for the key with these hashes, checked, whose rows have memory.
    #[inline]
    fn key_request(
        &self,
        ask: &KeyAsk<'_>,
        keys: [KeyHash; MAX_LIMITS],
        rules: &KeyRules,
        epoch: u64,
        now: Nanos,
        ahead: Duration,
    ) -> Result<KeyRequest> {
        let latest = if ahead.is_zero() { now } else { now.plus(ahead) };
        let costs = self.admissible_costs(ask, rules, epoch)?;
        let request = KeyRequest { keys, now, costs, latest, may_forget: rules.may_forget };
        self.allocate(&request, rules)?;
        Ok(request)
    }

    /// For each limit, the hash of the key that it counts.
    #[inline]
    fn key_hashes(&self, key: KeyOf<'_>) -> Result<[KeyHash; MAX_LIMITS]> {
        match key {
            KeyOf::All(parts) => Ok([self.segment.hash_key().hash(parts); MAX_LIMITS]),
            KeyOf::Each(keys) => {
                self.check_count(keys.len())?;
                Ok(std::array::from_fn(|index| self.segment.hash_key().hash(key.parts(index))))
            }
        }
    }

    /// Checks how many keys a request names, each for one limit.
    fn check_count(&self, keys: usize) -> Result<()> {
        let limits = self.segment.key_shape().tables;
        if limits == 0 {
            return Err(self.no_keys_error());
        }
        if keys == 0 || keys > limits {
            return Err(self.segment.error(
                ErrorKind::InvalidInput,
                format!(
                    "it has {} per key, and the request names {keys} keys, each for one limit; name at least 1 and at most {limits}",
                    limits_text(limits)
                ),
            ));
        }
        Ok(())
    }

    /// What a request takes from each limit: at most its burst.
    #[inline]
    fn admissible_costs(&self, ask: &KeyAsk<'_>, rules: &KeyRules, epoch: u64) -> Result<Costs> {
        let costs = match ask.cost.only_calls() {
            Some(calls) if !rules.counts_units && calls > 0 => [calls; MAX_LIMITS],
            _ => self.key_costs(ask.cost, rules, epoch)?,
        };
        for (index, &cost) in costs[..rules.len()].iter().enumerate() {
            let burst = match ask.at {
                Some((_, burst)) if index == 0 => burst,
                _ => rules.bursts[index],
            };
            if cost > burst {
                return Err(self.never_admissible(index, burst, cost));
            }
        }
        Ok(costs)
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
        let limit =
            self.config().map(|config| config.policy.keys().and_then(|keys| keys.limits().nth(index)));
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
                        "a request for {cost} for one key can never be admitted; the maximum is {burst}: request less, or set a larger \
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
        decide(&Tables::new(tables.map(|(i, limit)| Table { limit: *limit, rows: self.segment.table(i) })))
    }
}
