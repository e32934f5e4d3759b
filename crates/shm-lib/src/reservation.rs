//! A turn taken ahead of its time.

use crate::outcome::Charge;
use crate::{Admission, Error, ErrorKind, Result, wait};
use shm_core::clock::Nanos;
use shm_core::limit::Cost;
use shm_core::{ChargeTotals, Limiter, Receipt, ReservedTurn as Core};
use std::sync::Arc;
use std::time::Duration;

/// A turn. It is used by [`commit`](Reservation::commit) or [`wait`](Reservation::wait); dropped unused, it is
/// [cancelled](Reservation::cancel).
///
/// It keeps its time whatever is changed later: who wants to obey a change asks [`is_void`](Reservation::is_void), or
/// waits by [`RateLimit::wait`](crate::RateLimit::wait). When its process is killed the turn passes unused.
#[derive(Debug)]
#[must_use = "a turn that is dropped is given back"]
pub struct Reservation {
    limiter: Arc<Limiter>,
    core: Option<Core>,
    receipt: Receipt,
    charged: ChargeTotals,
    cost: Cost,
}

impl Reservation {
    pub(crate) fn new(limiter: &Arc<Limiter>, core: Core, cost: Cost) -> Reservation {
        Reservation {
            limiter: Arc::clone(limiter),
            receipt: core.receipt,
            charged: core.charged,
            core: Some(core),
            cost,
        }
    }

    /// When the turn is.
    pub fn at(&self) -> Nanos {
        self.receipt.at
    }

    /// In how long that is.
    pub fn wait_time(&self) -> Duration {
        self.receipt.at.since(shm_core::clock::now())
    }

    /// Whether the limiter was changed since. The turn itself stays as it is.
    pub fn is_void(&self) -> bool {
        self.limiter.is_stale(&self.receipt)
    }

    /// Uses the turn. Whoever commits before its time is responsible for acting at it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind) in a forked child: the turn is its parent's.
    pub fn commit(mut self) -> Result<Admission> {
        self.check_ours()?;
        self.core = None;
        self.limiter.count_admitted(self.cost.call_count(), Duration::ZERO);
        Ok(self.admission(Duration::ZERO))
    }

    /// Sleeps until the turn, then uses it.
    ///
    /// # Errors
    /// [`ErrorKind::Retired`](crate::ErrorKind), [`ErrorKind::Removed`](crate::ErrorKind), and as
    /// [`commit`](Self::commit).
    pub fn wait(mut self) -> Result<Admission> {
        self.check_ours()?;
        let began = shm_core::clock::now();
        let now = wait::until(&self.limiter, &self.receipt)?;
        self.core = None;
        let waited = now.since(began);
        self.limiter.count_admitted(self.cost.call_count(), waited);
        Ok(self.admission(waited))
    }

    fn check_ours(&self) -> Result<()> {
        if self.limiter.belongs_to_this_process(&self.receipt) {
            return Ok(());
        }
        let why = "this turn was taken by the parent process, and is the parent's; take one of your own";
        Err(Error::new(ErrorKind::InvalidInput, why).at(self.limiter.name().as_str(), self.limiter.path()))
    }

    fn admission(&self, waited: Duration) -> Admission {
        let charge = Charge::of(&self.cost, self.charged);
        Admission { receipt: self.receipt, waited_ns: waited.as_nanos() as u64, permit: None, charge }
    }

    /// Gives the turn back, if nobody took one after it; otherwise it is forfeited. Returns which.
    pub fn cancel(mut self) -> bool {
        self.core.take().is_some_and(|core| self.limiter.cancel(core))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(core) = self.core.take() {
            self.limiter.cancel(core);
        }
    }
}
