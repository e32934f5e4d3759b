//! What a request costs: calls, and amounts of units.

use super::{Limit, MAX_LIMITS, Policy, Unit};
use crate::error::{Error, ErrorKind, Result};

/// What a request costs: a number of calls, amounts of [units](Unit), or both.
///
/// A number is a cost of that many calls, so `limit.try_acquire(5)` takes five. With limits that count units:
///
/// ```
/// # use shm_core::limit::{Cost, Unit};
/// # fn main() -> shm_core::Result<()> {
/// let (input, output) = (Unit::named("input")?, Unit::named("output")?);
/// let cost = Cost::one().and(input, 1_200).and(output, 300); // one call, and amounts of two units
/// assert_eq!((cost.amount(Unit::CALLS), cost.amount(output)), (Some(1), Some(300)));
///
/// let only_output = Cost::of(output, 350); // does not specify calls
/// assert_eq!(only_output.amount(Unit::CALLS), None);
/// # Ok(())
/// # }
/// ```
///
/// A limiter decides only on a cost that specifies an amount for everything that its limits count. Amounts may be 0,
/// but not all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    calls: u64,
    /// Whether calls were specified.
    names_calls: bool,
    amounts: [(Unit, u64); MAX_LIMITS],
    named: usize,
    /// A unit beyond the maximum number of units that any limiter can count.
    beyond: Option<Unit>,
}

/// This many calls at once.
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

    /// This amount of a unit. Calls are not specified, unless they are the unit: if a limit counts calls as well, begin
    /// with [`one`](Self::one) or a number.
    #[must_use]
    pub fn of(unit: Unit, amount: u64) -> Cost {
        Cost { names_calls: false, ..Cost::calls(0) }.and(unit, amount)
    }

    #[inline]
    pub(crate) const fn calls(n: u64) -> Cost {
        Cost { calls: n, names_calls: true, amounts: [(Unit::CALLS, 0); MAX_LIMITS], named: 0, beyond: None }
    }

    /// The same with this amount of a unit. If a unit is named twice, the later amount applies.
    #[must_use]
    pub fn and(mut self, unit: Unit, amount: u64) -> Cost {
        if unit.is_calls() {
            (self.calls, self.names_calls) = (amount, true);
        } else if let Some(place) = self.amounts[..self.named].iter_mut().find(|(named, _)| *named == unit) {
            place.1 = amount;
        } else if self.named < MAX_LIMITS {
            self.amounts[self.named] = (unit, amount);
            self.named += 1;
        } else {
            self.beyond = Some(unit);
        }
        self
    }

    /// How many calls it adds to the counter of admitted calls: one if calls are not specified.
    #[inline]
    pub fn call_count(&self) -> u64 {
        if self.names_calls { self.calls } else { 1 }
    }

    /// By how much `actual` is less than this cost, and by how much more; `None` for nothing. Units that `actual` does
    /// not specify count as unchanged.
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

    /// The same with 0 of each unit of the policy that is not specified.
    pub(crate) fn with_every_unit(self, policy: &Policy) -> Cost {
        let missing = policy.limits().map(Limit::unit).filter(|&unit| self.amount(unit).is_none());
        missing.collect::<Vec<_>>().into_iter().fold(self, |cost, unit| cost.and(unit, 0))
    }

    /// The number of calls, if nothing else is specified.
    #[inline]
    pub fn only_calls(&self) -> Option<u64> {
        (self.names_calls && self.named == 0 && self.beyond.is_none()).then_some(self.calls)
    }

    /// How many units besides calls are specified.
    fn named(&self) -> usize {
        self.named + usize::from(self.beyond.is_some())
    }

    /// The amount of this unit; `None` if it is not specified.
    pub fn amount(&self, unit: Unit) -> Option<u64> {
        if unit.is_calls() {
            return self.names_calls.then_some(self.calls);
        }
        self.amounts[..self.named].iter().find(|(named, _)| *named == unit).map(|(_, amount)| *amount)
    }

    /// The costs for limits that count these units (`None`: calls). `None` if it takes nothing at all, lacks one of
    /// these units, or specifies a unit that none of the limits counts.
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
            let place = self.amounts[..self.named].iter().position(|(named, _)| named.words() == *unit)?;
            named[place] = true;
            *cost = self.amounts[place].1;
        }
        let said = named.iter().filter(|&&n| n).count();
        (said == self.named() && self.largest() > 0).then_some(costs)
    }

    /// The largest amount, which stands for the cost as a whole in messages.
    pub(crate) fn largest(&self) -> u64 {
        self.amounts[..self.named].iter().map(|&(_, n)| n).fold(self.calls, u64::max)
    }

    /// Checks that a limiter with this policy can decide on it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it takes nothing at all, specifies a unit that no limit counts, or lacks one that
    /// a limit counts.
    pub(crate) fn check(&self, policy: &Policy) -> Result<()> {
        let bad = |why: String| Err(Error::new(ErrorKind::InvalidInput, why));
        if self.largest() == 0 {
            return bad("cannot acquire 0; the cost must be at least 1".into());
        }
        let counts = |unit: Unit| policy.limits().any(|limit| limit.unit() == unit);
        let mut named = self.amounts[..self.named].iter().map(|&(unit, _)| unit).chain(self.beyond);
        if let Some(unit) = named.find(|&unit| !counts(unit)) {
            return bad(format!("no limit counts {unit} here; the limits are: {policy}"));
        }
        match policy.limits().find(|limit| self.amount(limit.unit()).is_none()) {
            Some(limit) => bad(format!(
                "this limiter also counts {}; say how many the request takes (0 is allowed)",
                limit.unit()
            )),
            None => Ok(()),
        }
    }
}

/// A cost in the form that decisions take: plain calls need only their number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'a> {
    Calls(u64),
    Units(&'a Cost),
    /// These amounts for the limits of this epoch.
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

    /// As a [`Cost`].
    pub(crate) fn cost(self) -> Cost {
        match self {
            Asked::Calls(n) => Cost::calls(n),
            Asked::Units(cost) => *cost,
            Asked::Costs(costs, _) => Cost::calls(costs.iter().copied().max().unwrap_or(0)),
        }
    }
}

/// The cost for each limit.
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
    fn unspecified_units_stay_unspecified() {
        let [words, bytes, pages] = ["words", "bytes", "pages"].map(|name| Unit::named(name).unwrap());
        let (counts_calls, counts) = (None, |unit: Unit| Some(unit.words()));
        let only_words = Cost::of(words, 3);
        assert_eq!((only_words.only_calls(), only_words.amount(Unit::CALLS)), (None, None));
        assert_eq!(only_words.call_count(), 1, "it is still one call");
        assert_eq!(only_words.costs(&[counts(words)]).unwrap()[0], 3);
        assert_eq!(only_words.costs(&[counts_calls, counts(words)]), None);
        assert_eq!(only_words.costs(&[counts(words), counts(bytes)]), None);
        let all = only_words.and(Unit::CALLS, 2);
        assert_eq!(all.costs(&[counts_calls, counts(words)]).unwrap()[..2], [2, 3]);
        assert_eq!(all, Cost::from(2).and(words, 3));
        // Nor does a settlement change unspecified units.
        let estimate = Cost::from(2).and(words, 3).and(bytes, 10);
        assert_eq!(estimate.differences(&Cost::of(words, 3)), (None, None));
        let (less, more) = estimate.differences(&Cost::of(words, 5).and(bytes, 4));
        assert_eq!((less.unwrap().amount(bytes), less.unwrap().amount(Unit::CALLS)), (Some(6), Some(0)));
        assert_eq!((more.unwrap().amount(words), more.unwrap().amount(bytes)), (Some(2), Some(0)));
        assert_eq!(estimate.differences(&Cost::of(pages, 1)), (None, None), "a unit without an estimate");
    }

    #[test]
    fn an_all_zero_cost_is_rejected() {
        let words = Unit::named("words").unwrap();
        assert_eq!(Cost::from(0).costs(&[None]), None);
        assert_eq!(Cost::of(words, 0).costs(&[Some(words.words())]), None);
        assert!(Cost::from(0).and(words, 1).costs(&[None, Some(words.words())]).is_some());
    }
}
