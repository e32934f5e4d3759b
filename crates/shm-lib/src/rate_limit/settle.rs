//! Correcting the charge of an admission, and charging unconditionally.

use super::RateLimit;
use crate::outcome::Charge;
use crate::{Admission, Settled};
use shm_core::limit::Cost;
use shm_core::{ChargeTotals, Error, ErrorKind, Result};

impl RateLimit {
    /// Corrects the cost of an admission that was charged an estimate: gives the unused part back, or charges the excess.
    /// Returns what was given back and charged. Units that `actual` does not name keep their estimate.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Cost, Limit, Rate, RateLimit, Unit};
    ///
    /// let words = Unit::named("words")?;
    /// let limit = Limit::token_bucket(Rate::per_hour(10_000)?)?.counting(words);
    /// let limit = RateLimit::builder("model").directory(dir.path()).open_policy(limit)?;
    /// let mut admission = limit.acquire(Cost::of(words, 1_000)).wait()?; // an estimate
    /// let settled = limit.settle(&mut admission, Cost::of(words, 400))?; // the actual cost
    /// assert!(settled.given_back(words) > 599.0); // 600, less the refill since the admission
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The unused part is given back as if it had never been charged, with two exceptions. What the bucket has refilled since
    /// the admission is not given back a second time. And nothing is given back if the limiter was changed since, or if, in a
    /// greedy limit, a later request was admitted after this one. An excess delays later requests; it denies nothing now.
    ///
    /// Nothing happens in a forked child of the admitted process, and if the limiter was recreated since. A process that is
    /// killed before it settles has used its estimate.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the admission was already settled; otherwise as [`charge`](Self::charge).
    pub fn settle(&self, admission: &mut Admission, actual: impl Into<Cost>) -> Result<Settled> {
        let receipt = admission.receipt;
        let (estimate, charged) = match std::mem::replace(&mut admission.charge, Charge::Settled) {
            Charge::Calls(n) => (Cost::from(n), ChargeTotals::default()),
            Charge::Units(units) => *units,
            Charge::Settled => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "this admission is already settled; an admission can be settled once",
                )
                .at(self.name(), self.path()));
            }
            of_a_key @ (Charge::KeyCalls(_) | Charge::Key(_)) => {
                admission.charge = of_a_key;
                let why = "this admission is one of a key; settle it with `limit.key(key).settle(…)`";
                return Err(Error::new(ErrorKind::InvalidInput, why).at(self.name(), self.path()));
            }
            // Never charged.
            uncharged @ (Charge::FailedOpen | Charge::Shadowed(_)) => {
                admission.charge = uncharged;
                return Ok(Settled::default());
            }
        };
        let (unused, debt) = estimate.differences(&actual.into());
        self.with(|limiter| {
            // Without a limit nothing is charged.
            let debt = debt.filter(|_| !limiter.is_unlimited());
            let refund = limiter.settle(&receipt, &charged, unused.as_ref(), debt.as_ref())?;
            Ok(Settled { refund, debt: debt.filter(|_| limiter.belongs_to_this_process(&receipt)) })
        })
    }

    /// Charges this cost unconditionally, as a penalty or a debt, in one atomic step. It delays later requests, as if that many
    /// single calls had been reserved; it denies nothing now. The amount may be larger than the burst. Units that the cost does
    /// not name are not charged.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    /// use std::time::Duration;
    ///
    /// let limit = RateLimit::builder("login").directory(dir.path()).open_rate(Rate::per_minute(6)?)?;
    /// limit.charge(3)?; // a wrong password
    /// assert!(limit.try_acquire(1)?.retry_after() > Some(Duration::from_secs(20)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A process that is killed during the call has charged the whole cost or nothing.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire), but no cost is too large for the burst; [`ErrorKind::TooFar`] if the debt would
    /// take more than a year to pay off. Nothing is charged then.
    pub fn charge(&self, cost: impl Into<Cost>) -> Result<()> {
        let cost = cost.into();
        self.with(|limiter| limiter.charge(&cost))
    }
}
