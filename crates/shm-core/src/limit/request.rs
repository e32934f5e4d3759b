//! What one request takes: calls, and amounts of units.

use super::{Limit, MAX_LIMITS, Policy, Unit};
use crate::error::{Error, ErrorKind, Result};

/// What a request takes of each unit. Made with [`calls`](Request::calls) or [`one`](Request::one), then
/// [`and`](Request::and).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    calls: u64,
    amounts: [(Unit, u64); MAX_LIMITS],
    named: usize,
    /// One more unit than any limiter counts.
    beyond: Option<Unit>,
}

impl Request {
    /// One call.
    pub const fn one() -> Request {
        Request::calls(1)
    }

    /// This many calls at once. 0 makes sense together with amounts of units.
    pub const fn calls(n: u64) -> Request {
        Request { calls: n, amounts: [(Unit::CALLS, 0); MAX_LIMITS], named: 0, beyond: None }
    }

    /// And so much of a unit. The last word counts if a unit is named twice.
    #[must_use]
    pub fn and(mut self, unit: Unit, amount: u64) -> Request {
        if unit.is_calls() {
            self.calls = amount;
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

    /// How many calls.
    pub fn call_count(&self) -> u64 {
        self.calls
    }

    /// By how much `actual` is less than this and by how much more; `None` for nothing. Units that `actual` does not name
    /// are as they were here.
    pub fn differences(&self, actual: &Request) -> (Option<Request>, Option<Request>) {
        let (mut less, mut more) = (Request::calls(0), Request::calls(0));
        less.calls = self.calls.saturating_sub(actual.calls);
        more.calls = actual.calls.saturating_sub(self.calls);
        for &(unit, estimate) in &self.amounts[..self.named] {
            let actual = actual.amount(unit).unwrap_or(estimate);
            less = less.and(unit, estimate.saturating_sub(actual));
            more = more.and(unit, actual.saturating_sub(estimate));
        }
        let some = |request: Request| (request.largest() > 0).then_some(request);
        (some(less), some(more))
    }

    /// The same, and nothing of the units that it does not name.
    pub(crate) fn with_every_unit(self, policy: &Policy) -> Request {
        let missing = policy.limits().map(Limit::unit).filter(|&unit| self.amount(unit).is_none());
        missing.collect::<Vec<_>>().into_iter().fold(self, |request, unit| request.and(unit, 0))
    }

    /// How many calls, if that is all.
    #[inline]
    pub fn only_calls(&self) -> Option<u64> {
        (self.named == 0 && self.beyond.is_none()).then_some(self.calls)
    }

    /// How many units are named in it.
    pub(crate) fn named(&self) -> usize {
        self.named + usize::from(self.beyond.is_some())
    }

    /// How much of this unit; `None` if nothing was said of it.
    pub fn amount(&self, unit: Unit) -> Option<u64> {
        if unit.is_calls() {
            return Some(self.calls);
        }
        self.amounts[..self.named].iter().find(|(named, _)| *named == unit).map(|(_, amount)| *amount)
    }

    /// What it costs limits that count these units (`None`: calls). `None` if it takes nothing at all, says nothing of one
    /// of them, or something of another.
    #[inline]
    pub(crate) fn costs(&self, units: &[Option<[u64; 3]>]) -> Option<Costs> {
        if self.named() == 0 {
            let only_calls = self.calls > 0 && units.iter().all(Option::is_none);
            return only_calls.then_some([self.calls; MAX_LIMITS]);
        }
        let mut costs = [self.calls; MAX_LIMITS];
        let mut named = [false; MAX_LIMITS];
        for (cost, unit) in costs.iter_mut().zip(units) {
            if let Some(unit) = unit {
                let place =
                    self.amounts[..self.named].iter().position(|(named, _)| named.words() == *unit)?;
                named[place] = true;
                *cost = self.amounts[place].1;
            }
        }
        let said = named.iter().filter(|&&n| n).count();
        (said == self.named() && self.largest() > 0).then_some(costs)
    }

    /// The largest part, for what is told about a request as a whole.
    pub(crate) fn largest(&self) -> u64 {
        self.amounts[..self.named].iter().map(|&(_, n)| n).fold(self.calls, u64::max)
    }

    /// Whether a limiter with this policy can decide about it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it takes nothing at all, names a unit that no limit counts, or says nothing of a
    /// unit that one counts.
    pub(crate) fn check(&self, policy: &Policy) -> Result<()> {
        let bad = |why: String| Err(Error::new(ErrorKind::InvalidInput, why));
        if self.largest() == 0 {
            return bad("a request for nothing; ask for at least 1".into());
        }
        let counts = |unit: Unit| policy.limits().any(|limit| limit.unit() == unit);
        let mut named = self.amounts[..self.named].iter().map(|&(unit, _)| unit).chain(self.beyond);
        if let Some(unit) = named.find(|&unit| !counts(unit)) {
            return bad(format!("nobody counts {unit} here; the limits are: {policy}"));
        }
        match policy.limits().find(|limit| self.amount(limit.unit()).is_none()) {
            Some(limit) => bad(format!(
                "this limiter also counts {}; say how many this request takes (0 is an answer)",
                limit.unit()
            )),
            None => Ok(()),
        }
    }
}

/// A request as a decision takes it: one for nothing but calls needs no more than their number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'a> {
    Calls(u64),
    Units(&'a Request),
    /// So much of each limit of this epoch.
    Costs(&'a Costs, u64),
}

impl<'a> Asked<'a> {
    #[inline]
    pub(crate) fn of(request: &'a Request) -> Asked<'a> {
        request.only_calls().map_or(Asked::Units(request), Asked::Calls)
    }

    #[inline]
    pub(crate) fn call_count(self) -> u64 {
        match self {
            Asked::Calls(n) => n,
            Asked::Units(request) => request.calls,
            Asked::Costs(costs, _) => costs[0],
        }
    }

    /// As a request.
    pub(crate) fn request(self) -> Request {
        match self {
            Asked::Calls(n) => Request::calls(n),
            Asked::Units(request) => *request,
            Asked::Costs(costs, _) => Request::calls(costs.iter().copied().max().unwrap_or(0)),
        }
    }
}

/// What a request costs each limit.
pub(crate) type Costs = [u64; MAX_LIMITS];
