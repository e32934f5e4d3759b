//! A turn that was reserved ahead of time.

use crate::outcome::Charge;
use crate::{Admission, Error, ErrorKind, Result, wait};
use shm_core::clock::Nanos;
use shm_core::limit::Cost;
use shm_core::{ChargeTotals, Limiter, Receipt, ReservedTurn};
use std::sync::Arc;
use std::time::Duration;

/// A turn that was reserved ahead of time by [`RateLimit::reserve`](crate::RateLimit::reserve). Use it with
/// [`wait`](Reservation::wait) or [`commit`](Reservation::commit). Dropped unused, it is [cancelled](Reservation::cancel).
///
/// A later change, pause or reset of the limiter does not move the turn. A caller that wants to follow changes checks
/// [`is_stale`](Reservation::is_stale), or uses [`RateLimit::wait`](crate::RateLimit::wait) instead. If its process is killed,
/// the turn passes unused. In a forked child it cannot be used: it stays with the parent.
///
/// ```
/// # fn main() -> shm_lib::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use shm_lib::{Rate, RateLimit};
/// use std::time::Duration;
///
/// let limit = RateLimit::builder("jobs").directory(dir.path()).open_rate(Rate::per_hour(1)?)?;
/// limit.wait()?;
/// let turn = limit.reserve(1)?;
/// assert!(turn.wait_time() > Duration::from_secs(3_500));
/// let same = turn.at();
/// limit.reset()?;
/// assert!(turn.is_stale()); // made under the old state, and still at the same instant
/// assert_eq!(turn.commit()?.at(), same);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a reservation is cancelled when it is dropped"]
pub struct Reservation {
    limiter: Arc<Limiter>,
    turn: Option<ReservedTurn>,
    receipt: Receipt,
    charged: ChargeTotals,
    cost: Cost,
}

impl Reservation {
    pub(crate) fn new(limiter: &Arc<Limiter>, turn: ReservedTurn, cost: Cost) -> Reservation {
        Reservation {
            limiter: Arc::clone(limiter),
            receipt: turn.receipt,
            charged: turn.charged,
            turn: Some(turn),
            cost,
        }
    }

    /// The instant of the turn. It never changes.
    pub fn at(&self) -> Nanos {
        self.receipt.at
    }

    /// The time until the turn; zero if it has come.
    pub fn wait_time(&self) -> Duration {
        self.receipt.at.since(shm_core::clock::now())
    }

    /// Whether the limiter was changed, paused or reset since the turn was reserved. The turn itself remains valid.
    pub fn is_stale(&self) -> bool {
        self.limiter.is_stale(&self.receipt)
    }

    /// Uses the turn without waiting. A caller that commits before [`at`](Self::at) must itself wait until then.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use shm_lib::{Rate, RateLimit};
    /// let limit = RateLimit::builder("jobs").directory(dir.path()).open_rate(Rate::per_second(20)?)?;
    /// let turn = limit.reserve(1)?;
    /// std::thread::sleep(turn.wait_time());
    /// let admission = turn.commit()?; // the request is admitted for `admission.at()`
    /// # let _ = admission;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind) in a forked child: the turn belongs to the parent.
    pub fn commit(mut self) -> Result<Admission> {
        self.check_process()?;
        self.turn = None;
        self.limiter.count_admitted(self.cost.call_count(), Duration::ZERO);
        Ok(self.admission(Duration::ZERO))
    }

    /// Sleeps in this thread until the turn, then uses it.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use shm_lib::{Rate, RateLimit};
    /// let limit = RateLimit::builder("jobs").directory(dir.path()).open_rate(Rate::per_second(20)?)?;
    /// let turn = limit.reserve(1)?;
    /// let admission = turn.wait()?;
    /// assert!(shm_lib::now() >= admission.at());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Retired`](crate::ErrorKind), [`ErrorKind::Removed`](crate::ErrorKind), and as
    /// [`commit`](Self::commit).
    pub fn wait(mut self) -> Result<Admission> {
        self.check_process()?;
        let began = shm_core::clock::now();
        let now = wait::sleep_until_turn(&self.limiter, &self.receipt)?;
        self.turn = None;
        let waited = now.since(began);
        self.limiter.count_admitted(self.cost.call_count(), waited);
        Ok(self.admission(waited))
    }

    fn check_process(&self) -> Result<()> {
        if self.limiter.belongs_to_this_process(&self.receipt) {
            return Ok(());
        }
        let why = "this turn was reserved by the parent process and belongs to it; reserve another one in this process";
        Err(Error::new(ErrorKind::InvalidInput, why).at(self.limiter.name().as_str(), self.limiter.path()))
    }

    fn admission(&self, waited: Duration) -> Admission {
        let charge = Charge::of(&self.cost, self.charged);
        Admission { receipt: self.receipt, waited_ns: waited.as_nanos() as u64, permit: None, charge }
    }

    /// Gives the turn back. Returns false if that is not possible because a later turn was already taken, or because this is
    /// a forked child; the turn then passes unused.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use shm_lib::{Rate, RateLimit};
    /// let limit = RateLimit::builder("jobs").directory(dir.path()).open_rate(Rate::per_second(20)?)?;
    /// let (first, second) = (limit.reserve(1)?, limit.reserve(1)?);
    /// assert!(!first.cancel()); // a later turn was taken
    /// assert!(second.cancel());
    /// # Ok(())
    /// # }
    /// ```
    pub fn cancel(mut self) -> bool {
        self.turn.take().is_some_and(|turn| self.limiter.cancel(turn))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(turn) = self.turn.take() {
            self.limiter.cancel(turn);
        }
    }
}
