//! The cost of a request: calls, and amounts of other units.

use super::{Limit, MAX_LIMITS, Policy, Unit};
use crate::error::{Error, ErrorKind, Result};
use std::fmt;

/// The cost of a request: a number of calls, amounts of other [units](Unit), or both.
///
/// A number converts to a cost of that many calls: `limit.try_acquire(5)` acquires five. For limits of other units:
///
/// ```
/// # use shm_core::limit::{Cost, Unit};
/// # fn main() -> shm_core::Result<()> {
/// let (input, output) = (Unit::named("input")?, Unit::named("output")?);
/// let cost = Cost::one().and(input, 1_200).and(output, 300); // one call, and amounts of two units
/// assert_eq!((cost.amount(Unit::CALLS), cost.amount(output)), (Some(1), Some(300)));
///
/// let only_output = Cost::of(output, 350); // states no calls
/// assert_eq!(only_output.amount(Unit::CALLS), None);
/// # Ok(())
/// # }
/// ```
///
/// A cost must state an amount of every unit that the limiter's limits count, and of no other. Amounts may be 0, but not all of
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    calls: u64,
    /// Whether the cost states a number of calls.
    names_calls: bool,
    amounts: [(Unit, u64); MAX_LIMITS],
    named: usize,
    /// A unit beyond the maximum that a limiter counts, kept for the error message.
    beyond: Option<Unit>,
}

/// A cost of this many calls.
impl From<u64> for Cost {
    #[inline]
    fn from(calls: u64) -> Cost {
        Cost::calls(calls)
    }
}

impl Cost {
    /// One call.
    pub const fn one() -> Cost {
        Cost::calls(1)
    }

    /// An amount of one unit. The cost states no calls unless `unit` is calls: if a limit counts calls too, start with
    /// [`one`](Self::one) or a number instead.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Cost, Unit};
    /// let bytes = Unit::named("bytes")?;
    /// let cost = Cost::of(bytes, 1_500);
    /// assert_eq!((cost.amount(bytes), cost.amount(Unit::CALLS)), (Some(1_500), None));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn of(unit: Unit, amount: u64) -> Cost {
        Cost { names_calls: false, ..Cost::calls(0) }.and(unit, amount)
    }

    #[inline]
    pub(crate) const fn calls(n: u64) -> Cost {
        Cost { calls: n, names_calls: true, amounts: [(Unit::CALLS, 0); MAX_LIMITS], named: 0, beyond: None }
    }

    /// This cost with an amount of a further unit. If a unit is stated twice, the later amount counts.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Cost, Unit};
    /// let bytes = Unit::named("bytes")?;
    /// let cost = Cost::one().and(bytes, 1_500);
    /// assert_eq!((cost.amount(bytes), cost.amount(Unit::CALLS)), (Some(1_500), Some(1)));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn and(mut self, unit: Unit, amount: u64) -> Cost {
        if unit.is_calls() {
            (self.calls, self.names_calls) = (amount, true);
        } else if let Some(entry) = self.amounts[..self.named].iter_mut().find(|(named, _)| *named == unit) {
            entry.1 = amount;
        } else if self.named < MAX_LIMITS {
            self.amounts[self.named] = (unit, amount);
            self.named += 1;
        } else {
            self.beyond = Some(unit);
        }
        self
    }

    /// How many admitted calls the statistics count for this cost: 1 if it states no calls.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Cost, Unit};
    /// let bytes = Unit::named("bytes")?;
    /// assert_eq!((Cost::from(5).call_count(), Cost::of(bytes, 1_500).call_count()), (5, 1));
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn call_count(&self) -> u64 {
        if self.names_calls { self.calls } else { 1 }
    }

    /// The difference to the `actual` cost: what this cost has too much, and what it has too little. `None` if that is nothing.
    /// Units that `actual` does not state do not differ.
    ///
    /// ```
    /// # use shm_core::limit::{Cost, Unit};
    /// # fn main() -> shm_core::Result<()> {
    /// let words = Unit::named("words")?;
    /// let (unused, excess) = Cost::from(2).and(words, 100).differences(&Cost::of(words, 60));
    /// assert_eq!((unused.unwrap().amount(words), excess), (Some(40), None));
    /// # Ok(())
    /// # }
    /// ```
    pub fn differences(&self, actual: &Cost) -> (Option<Cost>, Option<Cost>) {
        let (mut less, mut more) = (Cost::calls(0), Cost::calls(0));
        let calls = if actual.names_calls { actual.calls } else { self.calls };
        less.calls = self.calls.saturating_sub(calls);
        more.calls = calls.saturating_sub(self.calls);
        for &(unit, estimate) in &self.amounts[..self.named] {
            let actual = actual.amount(unit).unwrap_or(estimate);
            less = less.and(unit, estimate.saturating_sub(actual));
            more = more.and(unit, actual.saturating_sub(estimate));
        }
        let some = |cost: Cost| (cost.largest() > 0).then_some(cost);
        (some(less), some(more))
    }

    /// This cost with an amount of 0 for every unit of the policy that it does not state.
    pub(crate) fn with_every_unit(self, policy: &Policy) -> Cost {
        self.with_every_unit_of(policy.limits())
    }

    /// The same for these limits.
    pub(crate) fn with_every_unit_of(self, limits: impl Iterator<Item = Limit>) -> Cost {
        let missing = limits.map(Limit::unit).filter(|&unit| self.amount(unit).is_none());
        missing.collect::<Vec<_>>().into_iter().fold(self, |cost, unit| cost.and(unit, 0))
    }

    /// What of this cost these limits count: its calls, and the units that they count.
    pub(crate) fn part_for(&self, limits: impl Iterator<Item = Limit> + Clone) -> Cost {
        let calls = Cost { calls: self.calls, names_calls: self.names_calls, ..Cost::calls(0) };
        let amounts = self.amounts[..self.named].iter();
        let counted = amounts.filter(|(unit, _)| limits.clone().any(|limit| limit.unit() == *unit));
        counted.fold(calls, |cost, &(unit, amount)| cost.and(unit, amount))
    }

    /// The number of calls if the cost states nothing else; otherwise `None`.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Cost, Unit};
    /// let bytes = Unit::named("bytes")?;
    /// assert_eq!((Cost::from(5).only_calls(), Cost::from(5).and(bytes, 1).only_calls()), (Some(5), None));
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn only_calls(&self) -> Option<u64> {
        (self.names_calls && self.named == 0 && self.beyond.is_none()).then_some(self.calls)
    }

    /// How many units other than calls the cost states.
    fn named(&self) -> usize {
        self.named + usize::from(self.beyond.is_some())
    }

    /// The amount of this unit; `None` if the cost does not state it.
    pub fn amount(&self, unit: Unit) -> Option<u64> {
        if unit.is_calls() {
            return self.names_calls.then_some(self.calls);
        }
        self.amounts[..self.named].iter().find(|(named, _)| *named == unit).map(|(_, amount)| *amount)
    }

    /// The cost for each of the limits that count these units (`None` stands for calls). `None` if the total is zero, if a limit's
    /// unit is not stated, or if a stated unit is counted by no limit.
    #[inline]
    pub(crate) fn costs(&self, units: &[Option<[u64; 3]>]) -> Option<Costs> {
        if self.named() == 0 {
            let only_calls = self.calls > 0 && units.iter().all(Option::is_none);
            return only_calls.then_some([self.calls; MAX_LIMITS]);
        }
        let mut costs = [self.calls; MAX_LIMITS];
        let mut named = [false; MAX_LIMITS];
        for (cost, unit) in costs.iter_mut().zip(units) {
            let Some(unit) = unit else {
                if !self.names_calls {
                    return None;
                }
                continue;
            };
            let index = self.amounts[..self.named].iter().position(|(named, _)| named.words() == *unit)?;
            named[index] = true;
            *cost = self.amounts[index].1;
        }
        let counted = named.iter().filter(|&&n| n).count();
        (counted == self.named() && self.largest() > 0).then_some(costs)
    }

    /// The largest amount, which stands for the cost as a whole in messages.
    pub(crate) fn largest(&self) -> u64 {
        self.amounts[..self.named].iter().map(|&(_, n)| n).fold(self.calls, u64::max)
    }

    /// Checks that the cost's units match the policy's limits.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the cost is zero, states a unit that no limit counts, or does not state a unit that a limit
    /// counts.
    pub(crate) fn check(&self, policy: &Policy) -> Result<()> {
        self.check_against(policy.limits(), policy)
    }

    /// The same for these limits, which are called `all` in a message.
    pub(crate) fn check_against(
        &self,
        limits: impl Iterator<Item = Limit> + Clone,
        all: impl fmt::Display,
    ) -> Result<()> {
        let bad = |why: String| Err(Error::new(ErrorKind::InvalidInput, why));
        if self.largest() == 0 {
            return bad("cannot acquire 0; the cost must be at least 1".into());
        }
        let counts = |unit: Unit| limits.clone().any(|limit| limit.unit() == unit);
        let mut named = self.amounts[..self.named].iter().map(|&(unit, _)| unit).chain(self.beyond);
        if let Some(unit) = named.find(|&unit| !counts(unit)) {
            return bad(format!("no limit counts {unit}; the limits are: {all}"));
        }
        match limits.clone().find(|limit| self.amount(limit.unit()).is_none()) {
            Some(limit) => bad(self.missing_amount(limit.unit(), limits)),
            None => Ok(()),
        }
    }

    /// The message for a unit that the policy counts and this cost does not state.
    fn missing_amount(&self, unit: Unit, mut limits: impl Iterator<Item = Limit>) -> String {
        let states_another = limits.any(|limit| self.amount(limit.unit()).is_some());
        let (also, range) = if states_another { ("also ", ", which may be 0") } else { ("", "") };
        let how = if unit.is_calls() {
            "begin with Cost::one() or a number".to_owned()
        } else {
            format!("--take {unit}=N (a program: Cost::and)")
        };
        format!("this limiter {also}counts {unit}; state the amount{range}: {how}")
    }
}

/// A cost in the form that a decision uses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'a> {
    Calls(u64),
    Units(&'a Cost),
    /// The amount for each limit of this epoch.
    Costs(&'a Costs, u64),
}

impl<'a> Asked<'a> {
    #[inline]
    pub(crate) fn of(cost: &'a Cost) -> Asked<'a> {
        cost.only_calls().map_or(Asked::Units(cost), Asked::Calls)
    }

    #[inline]
    pub(crate) fn call_count(self) -> u64 {
        match self {
            Asked::Calls(n) => n,
            Asked::Units(cost) => cost.call_count(),
            Asked::Costs(costs, _) => costs[0],
        }
    }

    /// As a whole cost.
    pub(crate) fn cost(self) -> Cost {
        match self {
            Asked::Calls(n) => Cost::calls(n),
            Asked::Units(cost) => *cost,
            Asked::Costs(costs, _) => Cost::calls(costs.iter().copied().max().unwrap_or(0)),
        }
    }
}

/// The amount of a cost for each limit.
pub(crate) type Costs = [u64; MAX_LIMITS];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_cost_of_calls() {
        let five = Cost::from(5);
        assert_eq!((five.only_calls(), five.amount(Unit::CALLS), five.call_count()), (Some(5), Some(5), 5));
        assert_eq!((Cost::of(Unit::CALLS, 5), Cost::from(1)), (five, Cost::one()));
    }

    #[test]
    fn a_cost_states_only_the_units_it_names() {
        let [words, bytes, pages] = ["words", "bytes", "pages"].map(|name| Unit::named(name).unwrap());
        let (counts_calls, counts) = (None, |unit: Unit| Some(unit.words()));
        let only_words = Cost::of(words, 3);
        assert_eq!((only_words.only_calls(), only_words.amount(Unit::CALLS)), (None, None));
        assert_eq!(only_words.call_count(), 1, "it is still one request");
        assert_eq!(only_words.costs(&[counts(words)]).unwrap()[0], 3);
        assert_eq!(only_words.costs(&[counts_calls, counts(words)]), None);
        assert_eq!(only_words.costs(&[counts(words), counts(bytes)]), None);
        let all = only_words.and(Unit::CALLS, 2);
        assert_eq!(all.costs(&[counts_calls, counts(words)]).unwrap()[..2], [2, 3]);
        assert_eq!(all, Cost::from(2).and(words, 3));
        // A settlement does not change the units that it does not state.
        let estimate = Cost::from(2).and(words, 3).and(bytes, 10);
        assert_eq!(estimate.differences(&Cost::of(words, 3)), (None, None));
        let (less, more) = estimate.differences(&Cost::of(words, 5).and(bytes, 4));
        assert_eq!((less.unwrap().amount(bytes), less.unwrap().amount(Unit::CALLS)), (Some(6), Some(0)));
        assert_eq!((more.unwrap().amount(words), more.unwrap().amount(bytes)), (Some(2), Some(0)));
        assert_eq!(estimate.differences(&Cost::of(pages, 1)), (None, None), "a unit without an estimate");
    }

    #[test]
    fn a_missing_unit_is_named_with_the_way_to_state_it() {
        let [words, bytes] = ["words", "bytes"].map(|name| Unit::named(name).unwrap());
        let calls = Limit::patient("5/s".parse().unwrap());
        let only_words = Policy::from(calls.counting(words));
        let all = Policy::new(&[calls, calls.counting(words), calls.counting(bytes)]).unwrap();
        for (cost, policy, expected) in [
            (Cost::one(), &only_words, "this limiter counts words; state the amount: --take words=N"),
            (
                Cost::one(),
                &all,
                "this limiter also counts words; state the amount, which may be 0: --take words=N",
            ),
            (
                Cost::from(1).and(words, 0),
                &all,
                "this limiter also counts bytes; state the amount, which may be 0",
            ),
            (
                Cost::of(words, 1),
                &all,
                "this limiter also counts calls; state the amount, which may be 0: begin with",
            ),
        ] {
            let e = cost.check(policy).unwrap_err();
            assert!(e.to_string().starts_with(expected), "{e}");
        }
    }

    #[test]
    fn a_cost_of_zero_is_none() {
        let words = Unit::named("words").unwrap();
        assert_eq!(Cost::from(0).costs(&[None]), None);
        assert_eq!(Cost::of(words, 0).costs(&[Some(words.words())]), None);
        assert!(Cost::from(0).and(words, 1).costs(&[None, Some(words.words())]).is_some());
    }
}
