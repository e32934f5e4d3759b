//! What one request takes: calls, and amounts of units.

use super::{MAX_LIMITS, Policy, Unit};
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

    /// How much of this unit; `None` if nothing was said of it.
    pub fn amount(&self, unit: Unit) -> Option<u64> {
        if unit.is_calls() {
            return Some(self.calls);
        }
        self.amounts[..self.named].iter().find(|(named, _)| *named == unit).map(|(_, amount)| *amount)
    }

    /// The largest part, for what is told about a request as a whole.
    pub(crate) fn largest(&self) -> u64 {
        self.amounts[..self.named].iter().map(|&(_, n)| n).fold(self.calls, u64::max)
    }

    /// What it costs each limit of `policy`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it takes nothing at all, names a unit that no limit counts, or says nothing of a
    /// unit that one counts.
    pub fn costs(&self, policy: &Policy) -> Result<Costs> {
        let bad = |why: String| Err(Error::new(ErrorKind::InvalidInput, why));
        let counted = || policy.limits().filter(|limit| !limit.unit().is_calls());
        if self.largest() == 0 {
            return bad("a request for nothing; ask for at least 1".into());
        }
        let named = self.amounts[..self.named].iter().map(|&(unit, _)| unit).chain(self.beyond);
        for unit in named {
            if !counted().any(|limit| limit.unit() == unit) {
                return bad(format!("nobody counts {unit} here; the limits are: {policy}"));
            }
        }
        let mut costs = Costs::default();
        for (cost, limit) in costs.0.iter_mut().zip(policy.limits()) {
            let Some(amount) = self.amount(limit.unit()) else {
                return bad(format!(
                    "this limiter also counts {}; say how many this call takes (0 is an answer)",
                    limit.unit()
                ));
            };
            *cost = amount;
        }
        Ok(costs)
    }
}

/// What a request costs each limit of one policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs(pub(crate) [u64; MAX_LIMITS]);
