//! Requests that are decided now, or wait for their turn.

use super::RateLimit;
#[cfg(doc)]
use crate::ErrorKind;
use crate::outcome::Charge;
use crate::{Acquire, Admission, Outcome, Permit};
use shm_core::limit::Cost;
use shm_core::{Decision, Denied, Error, Limiter, PermitToken, Result, Undecided};
use std::sync::Arc;

impl RateLimit {
    /// Charges the whole cost now, or denies the request and charges nothing. Never waits.
    ///
    /// It cannot overtake waiting callers: while some wait, the next turns are already charged for them, so the request is
    /// denied.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    /// use std::time::Duration;
    ///
    /// let limit = RateLimit::builder("search").burst(5).directory(dir.path()).open_rate(Rate::per_second(1)?)?;
    /// assert!(limit.try_acquire(4)?.is_admitted());
    /// let denied = limit.try_acquire(4)?; // nothing is charged
    /// assert!(denied.retry_after() > Some(Duration::from_secs(2)));
    /// assert!(limit.try_acquire(1)?.is_admitted());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// - **Fork**: if a signal handler forks during the call, parent and child are decided separately.
    /// - **Killed** during the call, a process has been charged the whole cost or nothing.
    ///
    /// # Errors
    /// - [`ErrorKind::NeverAdmissible`] if the cost is more than the burst.
    /// - [`ErrorKind::InvalidInput`] if the cost is zero, or its units do not match the limits.
    /// - [`ErrorKind::Retired`] or [`ErrorKind::Removed`] if the limiter is lost and this handle does not reopen its name (see
    ///   [`OnLost`](crate::OnLost)), or has reopened it less than 100 ms ago. If reopening fails, its error.
    /// - [`ErrorKind::Corrupt`] if the file holds data that this library did not write.
    /// - [`ErrorKind::NoSeat`] if more processes use the limiter than it has [seats](crate::Builder::seats). (A single bucket of
    ///   calls without permits needs none.)
    ///
    /// [`Fallback`](crate::Fallback) turns failures of the limiter into an admission or a denial.
    #[inline]
    pub fn try_acquire(&self, cost: impl Into<Cost>) -> Result<Outcome> {
        let cost = cost.into();
        match cost.only_calls() {
            Some(n) => self.try_calls(n),
            None => self.try_cost(&cost),
        }
    }

    #[inline]
    fn try_calls(&self, n: u64) -> Result<Outcome> {
        // Always tries the first limiter: if it is lost, every decision on it fails, and `try_after` goes on with its successor.
        let limiter = &self.first;
        let decision = match limiter.try_acquire_fast(n) {
            Ok(decision) => decision,
            Err(Undecided::MayNeedPermit) if limiter.has_permits() => return self.try_with_permit(n),
            Err(_) if n == 0 => return self.try_cost(&Cost::from(0)),
            Err(_) => match limiter.try_without_permit(n) {
                Ok(Some(decision)) => decision,
                Ok(None) => return self.try_with_permit(n),
                Err(e) => return self.try_after(e, n),
            },
        };
        Ok(outcome(decision, None, || Charge::Calls(n)))
    }

    /// Out of line, so that limiters without permits do not pay for moving one.
    #[inline(never)]
    fn try_with_permit(&self, n: u64) -> Result<Outcome> {
        let done = try_with_permit(&self.first, n);
        // Inspected by reference, which avoids a move on the success path.
        if done.is_err()
            && let Err(e) = done
        {
            return self.try_after(e, n);
        }
        done
    }

    #[inline(never)]
    pub(crate) fn try_cost(&self, cost: &Cost) -> Result<Outcome> {
        match try_cost(&self.first, cost) {
            Err(e) => self.binding.after(&self.first, e, |limiter| try_cost(limiter, cost)),
            outcome => outcome,
        }
    }

    /// Handles a failure: if the limiter is lost, decides on its successor.
    #[cold]
    #[inline(never)]
    fn try_after(&self, error: Error, n: u64) -> Result<Outcome> {
        self.binding.after(&self.first, error, |limiter| try_calls(limiter, n))
    }

    /// Blocks this thread until one call is admitted: short for `acquire(1).wait()`. Callers of all processes are served first
    /// come, first served. [`Acquire`] explains what happens on a fork, a kill, or a change.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    /// use std::time::Duration;
    ///
    /// let limit = RateLimit::builder("mail").directory(dir.path()).open_rate(Rate::per_second(100)?)?;
    /// let (first, second) = (limit.wait()?, limit.wait()?);
    /// assert!(second.at().since(first.at()) >= Duration::from_millis(10));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Acquire::wait`].
    pub fn wait(&self) -> Result<Admission> {
        self.acquire(1).wait()
    }

    /// Prepares a request that waits for its turn: [`wait`](Acquire::wait) for it in a thread, or `.await` it in a task. Bounds
    /// can be set before that: a [`timeout`](Acquire::timeout), a [`deadline`](Acquire::deadline), or
    /// [`max_waiters`](Acquire::max_waiters). Callers of all processes are served first come, first served.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// use shm_lib::{Outcome, Rate, RateLimit};
    /// use std::time::Duration;
    ///
    /// let limit = RateLimit::builder("api").burst(20).directory(dir.path()).open_rate(Rate::per_second(10)?)?;
    /// limit.acquire(20).wait()?; // in a thread
    /// # runtime.block_on(async {
    /// limit.acquire(1).await?; // in a task of any runtime
    /// match limit.acquire(20).timeout(Duration::from_millis(10)).await? {
    ///     Outcome::Admitted(_) => unreachable!("twenty calls take two seconds"),
    ///     Outcome::Denied(denied) => assert!(denied.retry_after() > Some(Duration::from_millis(500))),
    /// }
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// [`Acquire`](Acquire#who-waits) explains what happens on a fork or a kill, and when the future is dropped.
    pub fn acquire(&self, cost: impl Into<Cost>) -> Acquire<'_> {
        Acquire::new(self, &cost.into())
    }
}

/// Decides a request for `n` calls on any limiter, by the fast path if possible.
fn try_calls(limiter: &Arc<Limiter>, n: u64) -> Result<Outcome> {
    if n == 0 {
        return try_cost(limiter, &Cost::from(0));
    }
    let decision = match limiter.try_acquire_fast(n) {
        Ok(decision) => Some(decision),
        Err(_) => limiter.try_without_permit(n)?,
    };
    match decision {
        Some(decision) => Ok(outcome(decision, None, || Charge::Calls(n))),
        None => try_with_permit(limiter, n),
    }
}

fn try_with_permit(limiter: &Arc<Limiter>, n: u64) -> Result<Outcome> {
    Ok(match limiter.permit_and(&Cost::from(n), || limiter.try_acquire(n))? {
        Ok((decision, held)) => outcome(decision, permit(limiter, held), || Charge::Calls(n)),
        Err(denied) => denied_a_permit(limiter, denied),
    })
}

/// Decides a request of any cost.
#[inline(never)]
pub(crate) fn try_cost(limiter: &Arc<Limiter>, cost: &Cost) -> Result<Outcome> {
    Ok(match limiter.permit_and(cost, || limiter.try_cost(cost))? {
        Ok(((decision, charged), held)) => {
            outcome(decision, permit(limiter, held), || Charge::of(cost, charged))
        }
        Err(denied) => denied_a_permit(limiter, denied),
    })
}

fn permit(limiter: &Arc<Limiter>, held: Option<PermitToken>) -> Option<Permit> {
    held.map(|held| Permit::new(limiter, held))
}

fn denied_a_permit(limiter: &Limiter, denied: Denied) -> Outcome {
    limiter.count_denied();
    denied_or_shadowed(denied, limiter.is_shadow(), None)
}

/// Turns a decision into the caller's outcome.
#[inline]
fn outcome(decision: Decision, permit: Option<Permit>, charge: impl FnOnce() -> Charge) -> Outcome {
    match decision {
        Decision::Admitted(receipt) => Outcome::Admitted(Admission::immediate(receipt, permit, charge())),
        Decision::Denied { denied, shadow } => denied_or_shadowed(denied, shadow, permit),
    }
}

/// Turns a denial into the caller's outcome: shadow mode admits the request instead.
#[inline]
pub(crate) fn denied_or_shadowed(denied: Denied, shadow: bool, permit: Option<Permit>) -> Outcome {
    if shadow {
        let charge = Charge::Shadowed(Box::new(denied));
        return Outcome::Admitted(Admission::uncharged(denied.at(), permit, charge));
    }
    Outcome::Denied(denied)
}
