//! Where a process prepares its records.

use super::generation::CommitError;
use crate::layout::LIMITS;
use crate::limit::rule::Rule;
use crate::limit::rule_set::{Record, Rules};
use crate::limit::window::{FixedWindow, Windows};
use crate::limit::{Cost, Costs, MAX_LIMITS};

/// The working memory of a process: the configuration that it read last, and the record that it is about to change.
/// Kept between decisions and modified in place, because it is large.
pub(crate) struct Scratch {
    /// The epoch of the configuration; 0: none read yet.
    pub(super) epoch: u64,
    pub(super) rules: Rules,
    pub(super) units: [Option<[u64; 3]>; LIMITS],
    /// The largest admissible number of calls; 0 if other units are counted.
    pub(super) max_calls: u64,
    /// The current record; after an admission, the resulting one.
    pub(super) record: Record,
    /// The record before it and the state word that pointed to that, if the caller wanted them.
    pub(super) before: Record,
    pub(super) from: u64,
}

impl Default for Scratch {
    fn default() -> Scratch {
        let nothing = |_| Rule::Fixed(FixedWindow { max: 0, windows: Windows::FirstUse { per: 0 } });
        Scratch {
            epoch: 0,
            rules: Rules::new(1, nothing, [false; MAX_LIMITS], 0),
            units: [None; LIMITS],
            max_calls: 0,
            record: Record::EMPTY,
            before: Record::EMPTY,
            from: 0,
        }
    }
}

/// These costs, if they can ever be admitted.
pub(super) fn possible(rules: &Rules, costs: &Costs) -> Result<Costs, CommitError> {
    match rules.never(costs) {
        None => Ok(*costs),
        Some((limit, max)) => Err(CommitError::NeverAdmissible { limit, max }),
    }
}

impl Scratch {
    /// What each limit counts; `None` for calls.
    pub(super) fn units(&self) -> &[Option<[u64; 3]>] {
        &self.units[..self.rules.len().min(LIMITS)]
    }

    /// The costs of a request, if it can ever be admitted.
    pub(super) fn costs(&self, cost: &Cost) -> Result<Costs, CommitError> {
        let costs = cost.costs(self.units()).ok_or(CommitError::WrongUnits)?;
        possible(&self.rules, &costs)
    }

    /// These costs, if they can ever be admitted. They may come from shared memory.
    pub(super) fn possible(&self, costs: &Costs) -> Result<Costs, CommitError> {
        if costs.iter().all(|&cost| cost == 0) {
            return Err(CommitError::WrongUnits);
        }
        possible(&self.rules, costs)
    }

    /// Each bucket's running total of charges, after an admission.
    #[inline]
    pub(crate) fn charged(&self) -> Costs {
        self.rules.charged(&self.record)
    }

    /// The state word before a remembered admission.
    pub(crate) fn word_before(&self) -> u64 {
        self.from
    }

    /// The record before a remembered admission, in place.
    pub(crate) fn before_it(&self) -> &Record {
        &self.before
    }

    /// The record before a remembered admission.
    pub(crate) fn before(&self) -> Box<Record> {
        Box::new(self.before)
    }
}
