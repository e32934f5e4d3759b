//! Taking, waiting, giving back.

use super::RateLimit;
use crate::outcome::Charge;
use crate::{Acquire, Admission, Outcome, Permit, Reservation, Settled};
use shm_core::clock::Nanos;
use shm_core::limit::Cost;
use shm_core::{ChargeTotals, Decision, Denied, Error, ErrorKind, Limiter, PermitToken, Result, Undecided};
use std::sync::Arc;
use std::time::Duration;

impl RateLimit {
    /// Takes this cost now, or nothing. Never waits. While callers wait, their next turns are charged ahead, so this is
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
    /// let denied = limit.try_acquire(4)?; // nothing is taken
    /// assert!(denied.retry_after() > Some(Duration::from_secs(2)));
    /// assert!(limit.try_acquire(1)?.is_admitted());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// - **Forked** by a signal handler in the middle of it: parent and child each get an answer of their own.
    /// - **Killed** in the middle of it, the process has taken the cost or nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NeverAdmissible`] if the cost is more than the burst; [`ErrorKind::InvalidInput`] if it is zero, or does
    /// not name the units that the limits count.
    /// [`ErrorKind::Retired`] or [`ErrorKind::Removed`]: the limiter is lost, and this handle does not look for its name (see
    /// [`OnLost`](crate::OnLost)), or has found it less than 100 ms ago; if it has looked, whatever opening the name failed
    /// with. [`ErrorKind::Corrupt`]: the file holds what no process of this library wrote. Whether to go on without a limit then is the caller's choice: see
    /// [`Fallback`](crate::Fallback).
    /// [`ErrorKind::NoSeat`] if it has several limits or permits and more processes use it than it has
    /// [seats](crate::Builder::seats).
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
        // A limiter that is lost fails, however it is asked; then comes the one that was found after it.
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

    /// Apart, so that limiters without permits move none about.
    #[inline(never)]
    fn try_with_permit(&self, n: u64) -> Result<Outcome> {
        let done = try_with_permit(&self.first, n);
        // Looked at where it is, and not moved.
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

    /// The limiter failed; perhaps it is lost.
    #[cold]
    #[inline(never)]
    fn try_after(&self, error: Error, n: u64) -> Result<Outcome> {
        self.binding.after(&self.first, error, |limiter| try_calls(limiter, n))
    }

    /// Waits until it is admitted for one call, in this thread: the same as `acquire(1).wait()`. Among all processes, first
    /// come, first served.
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

    /// Takes this cost when it is its turn. [`wait`](Acquire::wait) for it in a thread, `.await` it in a task; before that,
    /// [bounds](Acquire) can be set. Among all processes, first come, first served.
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
    /// limit.acquire(1).await?; // in a task, of any runtime
    /// match limit.acquire(20).timeout(Duration::from_millis(10)).await? {
    ///     Outcome::Admitted(_) => unreachable!("two seconds are needed for twenty"),
    ///     Outcome::Denied(denied) => assert!(denied.retry_after() > Some(Duration::from_millis(500))),
    /// }
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// What happens when a process is forked or killed meanwhile, or the future is dropped, is described
    /// [there](Acquire#who-waits).
    pub fn acquire(&self, cost: impl Into<Cost>) -> Acquire<'_> {
        Acquire::new(self, &cost.into())
    }

    /// Takes a turn for this cost ahead of its time: after all turns that are charged already, and before those of callers
    /// that merely wait. Without a permit: those are held, not reserved.
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
    /// assert!(second.cancel()); // no turn was taken after it
    /// first.wait()?; // sleeps until the turn
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// - **Forked**: the turn stays the parent's. In the child `commit` and `wait` are errors, and `cancel` and a drop do
    ///   nothing.
    /// - **Killed**: the turn passes unused.
    /// - **Dropped** unused, it is [cancelled](Reservation::cancel).
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire); [`ErrorKind::TooFar`] if the turn would come in more than a year;
    /// [`ErrorKind::InvalidInput`] if the limiter has permits and no limit: then there are no turns.
    pub fn reserve(&self, cost: impl Into<Cost>) -> Result<Reservation> {
        let cost = cost.into();
        self.with(|limiter| Ok(Reservation::new(limiter, limiter.reserve(&cost)?, cost)))
    }

    /// Takes turns for the next `k` requests of this cost, in one step, and says when they are. They are kept whatever is
    /// changed later, and count as used. With a greedy limit it takes a step for each, and other callers may come in between.
    /// As [`reserve`](Self::reserve), they come before those of callers that merely wait, and hold no permits.
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
    /// A child that is forked later has a copy of the instants; the turns were taken once, so only one of both may use them.
    /// If the process is killed they pass unused.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve); [`ErrorKind::InvalidInput`] for 0 requests and for more than a million.
    pub fn schedule(&self, cost: impl Into<Cost>, k: usize) -> Result<Vec<Nanos>> {
        if !(1..=1_000_000).contains(&k) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("a schedule for {k} requests is not possible; ask for 1 to 1000000"),
            ));
        }
        let cost = cost.into();
        self.with(|limiter| {
            let turns = limiter.schedule(&cost, k)?;
            limiter.count_admitted((k as u64).saturating_mul(cost.call_count()), Duration::ZERO);
            Ok(turns)
        })
    }

    /// Says what an admission really cost, where its cost was an estimate: less is given back, more is charged.
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
    /// let settled = limit.settle(&mut admission, Cost::of(words, 400))?; // what it was
    /// assert!(settled.given_back(words) > 599.0); // of 600, less what time has refilled since
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// What is given back is as if it had never been taken, under the configuration that it was taken under; after a change
    /// it stays used. A greedy limit takes only back what no later request came after. What is charged delays those who come
    /// later; it denies nothing now. In a forked child of the process that was admitted, and with a limiter that was created
    /// again since, nothing happens. A process that is killed before it settles has used its estimate. `actual` names the
    /// units that differ from the estimate; the others stay as they were.
    ///
    /// Says what was given back. That may be less than was not used: time has refilled a part of it since, or a later request
    /// came after it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it was settled before, and as [`charge`](Self::charge).
    pub fn settle(&self, admission: &mut Admission, actual: impl Into<Cost>) -> Result<Settled> {
        let receipt = admission.receipt;
        let (estimate, charged) = match std::mem::replace(&mut admission.charge, Charge::Settled) {
            Charge::Calls(n) => (Cost::from(n), ChargeTotals::default()),
            Charge::Units(units) => *units,
            Charge::Settled => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "this admission was settled before; each is settled once",
                )
                .at(self.name(), self.path()));
            }
            // Never charged.
            uncharged @ (Charge::FailedOpen | Charge::Shadowed(_)) => {
                admission.charge = uncharged;
                return Ok(Settled::default());
            }
        };
        let (unused, debt) = estimate.differences(&actual.into());
        self.with(|limiter| {
            // Where there is no limit nothing is charged.
            let debt = debt.filter(|_| !limiter.is_unlimited());
            let refund = limiter.settle(&receipt, &charged, unused.as_ref(), debt.as_ref())?;
            Ok(Settled { refund, debt: debt.filter(|_| limiter.belongs_to_this_process(&receipt)) })
        })
    }

    /// Charges this cost without asking: a penalty, or a debt. It denies nothing now, and delays those who come later, as if
    /// so many single calls had been reserved. In one step, whatever the amount. Units that are not named are not charged.
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
    /// Killed in the middle of it, the process has charged all of it or nothing.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire); [`ErrorKind::TooFar`] if the last of it would come in more than a year. Nothing
    /// is charged then.
    pub fn charge(&self, cost: impl Into<Cost>) -> Result<()> {
        let cost = cost.into();
        self.with(|limiter| limiter.charge(&cost))
    }
}

/// Takes so many calls, whatever the limiter is, and whatever is in the way.
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

/// The same for any cost.
#[inline(never)]
fn try_cost(limiter: &Arc<Limiter>, cost: &Cost) -> Result<Outcome> {
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

/// What a decision means for the caller.
#[inline]
fn outcome(decision: Decision, permit: Option<Permit>, charge: impl FnOnce() -> Charge) -> Outcome {
    match decision {
        Decision::Admitted(receipt) => Outcome::Admitted(Admission::at_once(receipt, permit, charge())),
        Decision::Denied { denied, shadow } => denied_or_shadowed(denied, shadow, permit),
    }
}

/// In shadow no request is denied.
#[inline]
fn denied_or_shadowed(denied: Denied, shadow: bool, permit: Option<Permit>) -> Outcome {
    if shadow {
        let charge = Charge::Shadowed(Box::new(denied));
        return Outcome::Admitted(Admission::uncharged(denied.at(), permit, charge));
    }
    Outcome::Denied(denied)
}
