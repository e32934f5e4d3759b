//! Turns taken ahead of time.

use super::RateLimit;
use crate::Reservation;
use shm_core::clock::Nanos;
use shm_core::limit::Cost;
use shm_core::{Error, ErrorKind, Result};
use std::time::Duration;

impl RateLimit {
    /// Reserves a turn for this cost now, without waiting for it. The turn comes after all turns that are already charged, and
    /// before those of waiting callers that are not charged yet. It includes no permit: permits cannot be reserved.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    /// use std::time::Duration;
    ///
    /// let limit = RateLimit::builder("jobs").directory(dir.path()).open_rate(Rate::per_second(20)?)?;
    /// let (first, second) = (limit.reserve(1)?, limit.reserve(1)?);
    /// assert_eq!(second.at().since(first.at()), Duration::from_millis(50));
    /// assert!(second.cancel()); // possible, as no later turn was taken
    /// first.wait()?; // sleeps until the turn
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// - **Fork**: the turn stays with the parent. In the child `commit` and `wait` fail, and `cancel` and drop do nothing.
    /// - **Killed**: the turn passes unused.
    /// - **Dropped** unused, the reservation is [cancelled](Reservation::cancel).
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire); [`ErrorKind::TooFar`] if the turn would come in more than a year;
    /// [`ErrorKind::InvalidInput`] if the limiter has permits and no limit, and therefore no turns.
    pub fn reserve(&self, cost: impl Into<Cost>) -> Result<Reservation> {
        let cost = cost.into();
        self.with(|limiter| Ok(Reservation::new(limiter, limiter.reserve(&cost)?, cost)))
    }

    /// Reserves turns for `k` requests of this cost each, and returns their instants. The turns count as used, cannot be
    /// cancelled, and are not moved by later changes. As with [`reserve`](Self::reserve), they come before those of waiting
    /// callers that are not charged yet, and include no permits.
    ///
    /// All turns are reserved in one atomic step. Only a greedy limit takes one step per turn, so turns of other callers may
    /// lie in between.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    /// use std::time::Duration;
    ///
    /// let limit = RateLimit::builder("plan").directory(dir.path()).open_rate(Rate::per_second(10)?)?;
    /// let turns = limit.schedule(1, 3)?; // three requests of one call each
    /// assert_eq!(turns[2].since(turns[0]), Duration::from_millis(200));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The instants are plain values: after a fork, either the parent or the child may use them, but not both. If the process
    /// is killed, the turns pass unused.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve); [`ErrorKind::InvalidInput`] if `k` is 0 or more than 1,000,000.
    pub fn schedule(&self, cost: impl Into<Cost>, k: usize) -> Result<Vec<Nanos>> {
        if !(1..=1_000_000).contains(&k) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("cannot schedule {k} requests; choose 1 to 1000000"),
            ));
        }
        let cost = cost.into();
        self.with(|limiter| {
            let turns = limiter.schedule(&cost, k)?;
            limiter.count_admitted((k as u64).saturating_mul(cost.call_count()), Duration::ZERO);
            Ok(turns)
        })
    }
}
