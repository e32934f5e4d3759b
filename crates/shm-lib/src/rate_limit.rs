//! The handle.

use crate::outcome::Charge;
use crate::{Acquire, Admission, Builder, Outcome, Permit, Reservation, Settled};
use shm_core::clock::Nanos;
use shm_core::limit::{Cost, Limit, Outlook, Policy, Rate};
use shm_core::{
    Charged, Counts, Decision, Denied, DeniedBy, Error, ErrorKind, Inspection, Limiter, Result, Undecided,
};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A rate limit that every process on the host can share, by name.
///
/// Cheap to clone; use it from any thread, and go on using it after `fork` in parent and child: both take from the
/// same budget. Dropping it takes nothing from others; the limiter stays until it is [retired](RateLimit::retire) or
/// the machine restarts.
///
/// **A killed process** leaves nothing behind: what it took counts as used, it leaves the line and those behind it move up,
/// its permits and its seat are free. **A stopped process** holds up no other process.
///
/// The default is *patient*: at most `max` per `per`, evenly spaced, one per `per / max`. See
/// [`Builder::burst`] for more at once. The algorithm is the generic cell rate algorithm (ITU-T I.371), which is also
/// the token bucket; it counts exactly, without drift.
///
/// | | takes | waits | if it is denied |
/// |---|---|---|---|
/// | [`try_acquire`](Self::try_acquire) | now | never | [`Outcome::Denied`] |
/// | [`wait`](Self::wait) | one call | for as long as it takes | an error, if the line is full |
/// | [`acquire`](Self::acquire) | when it is its turn | in a thread or a task; with a bound if one is given | the same; with a bound [`Outcome::Denied`] |
/// | [`reserve`](Self::reserve), [`schedule`](Self::schedule) | a turn ahead of its time | not yet | an error, if it would come in more than a year |
/// | [`charge`](Self::charge) | without asking | never | – |
///
/// A cost is a number of calls, or a [`Cost`] where a limit counts a unit.
#[derive(Clone)]
pub struct RateLimit {
    pub(crate) limiter: Arc<Limiter>,
}

/// How full a limiter is. Looking takes nothing, and the next moment may be different.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Peek {
    /// Calls that would be admitted now by all limits that count calls; `u64::MAX` if no limit does. (Permits are not looked
    /// at.)
    pub available: u64,
    /// How much of the first limit's burst is used. (In a pause, what is neither used nor available is held back.)
    pub used: u64,
    /// After how long one call would be admitted if no other request came.
    #[cfg_attr(feature = "serde", serde(rename = "next_in_ns", serialize_with = "nanos"))]
    pub next_in: Duration,
    /// The same as an instant.
    #[cfg_attr(feature = "serde", serde(rename = "next_at_ns"))]
    pub next_at: Nanos,
    /// How much is charged ahead, for turns that are to come.
    pub queued: u64,
    /// How full each limit is, in their order.
    pub limits: Vec<Outlook>,
}

impl RateLimit {
    /// Joins the limiter `name`, or creates it: at most `max` per `per`, evenly spaced.
    ///
    /// ```no_run
    /// # fn main() -> shm_lib::Result<()> {
    /// use shm_lib::RateLimit;
    /// use std::time::Duration;
    ///
    /// let limit = RateLimit::open("api", 50, Duration::from_secs(1))?; // and the same line in every other program
    /// # let _ = limit;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] if it exists with another rate or burst; [`ErrorKind::InvalidName`] and
    /// [`ErrorKind::InvalidInput`] for what is not a valid name or rate; and what files can cause: no space, no permission,
    /// somebody else's file, a damaged or foreign file. Nothing is created then, and nothing is damaged.
    pub fn open(name: &str, max: u64, per: Duration) -> Result<RateLimit> {
        RateLimit::builder(name).open(max, per)
    }

    /// Joins the limiter `name` as it is.
    ///
    /// ```no_run
    /// # fn main() -> shm_lib::Result<()> {
    /// use shm_lib::RateLimit;
    ///
    /// let limit = RateLimit::attach("api")?;
    /// println!("{} has {}", limit.name(), limit.policy()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it does not exist, otherwise as [`open`](Self::open).
    pub fn attach(name: &str) -> Result<RateLimit> {
        RateLimit::builder(name).attach()
    }

    /// For everything else that can be said of a limiter: a burst, another way of counting, permits, a directory,
    /// permissions. See [`Builder`].
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let search = RateLimit::builder("search").burst(20);
    /// # let search = search.directory(dir.path());
    /// let limit = search.open_rate(Rate::per_minute(60)?)?;
    /// assert_eq!(limit.peek()?.available, 20);
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(name: &str) -> Builder {
        Builder::new(name)
    }

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
    /// [`ErrorKind::Retired`] or [`ErrorKind::Removed`]: open it again. [`ErrorKind::Corrupt`]: the file holds what no process
    /// of this library wrote. Whether to go on without a limit then is the caller's choice: see
    /// [`Fallback`](crate::Fallback).
    /// [`ErrorKind::NoSeat`] if it has several limits or permits and more processes use it than it has
    /// [seats](Builder::seats).
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
        match self.limiter.try_at_once(n) {
            Ok(Decision::Admitted(receipt)) => {
                Ok(Outcome::Admitted(Admission::at_once(receipt, None, Charge::Calls(n))))
            }
            Ok(Decision::Denied { denied, .. }) => Ok(Outcome::Denied(denied)),
            Err(Undecided::MayNeedPermit) if self.limiter.has_permits() => self.try_with_permit(n),
            Err(_) => self.try_thoroughly(n),
        }
    }

    /// Whatever the limiter is, and whatever is in the way.
    #[inline]
    fn try_thoroughly(&self, n: u64) -> Result<Outcome> {
        if n == 0 {
            return self.try_cost(&Cost::from(0));
        }
        match self.limiter.try_without_permit(n)? {
            Some(decision) => Ok(outcome(decision, None, || Charge::Calls(n))),
            None => self.try_with_permit(n),
        }
    }

    /// Apart, so that limiters without permits move none about.
    #[inline(never)]
    fn try_with_permit(&self, n: u64) -> Result<Outcome> {
        let (decision, permit) = match self.permit_and(&Cost::from(n), || self.limiter.try_acquire(n))? {
            Ok(taken) => taken,
            Err(outcome) => return Ok(outcome),
        };
        Ok(outcome(decision, permit, || Charge::Calls(n)))
    }

    /// A permit, if there are permits, and then what `decide` takes; or the outcome, if that is decided by then.
    fn permit_and<D>(
        &self,
        cost: &Cost,
        decide: impl Fn() -> Result<D>,
    ) -> Result<std::result::Result<(D, Option<Permit>), Outcome>> {
        loop {
            let permit = match self.permit_now(cost)? {
                Ok(permit) => permit,
                Err(outcome) => return Ok(Err(outcome)),
            };
            let decision = decide()?;
            // Otherwise a signal handler forked in between, and this is the child: the permit is its parent's.
            if permit.as_ref().is_none_or(Permit::is_ours) {
                return Ok(Ok((decision, permit)));
            }
        }
    }

    /// The same for any cost.
    #[inline(never)]
    pub(crate) fn try_cost(&self, cost: &Cost) -> Result<Outcome> {
        let taken = self.permit_and(cost, || self.limiter.try_cost(cost))?;
        let ((decision, charged), permit) = match taken {
            Ok(taken) => taken,
            Err(outcome) => return Ok(outcome),
        };
        Ok(outcome(decision, permit, || Charge::of(cost, charged)))
    }

    /// A permit, if there are permits; or the outcome, if the limits deny or all permits are held.
    fn permit_now(&self, cost: &Cost) -> Result<std::result::Result<Option<Permit>, Outcome>> {
        if !self.limiter.has_permits() {
            return Ok(Ok(None));
        }
        // The limits first: a caller that they deny keeps no permit from others, not even for a moment.
        let denied = match self.limiter.denial(cost)? {
            Some(denied) => denied,
            None => match self.limiter.take_permit()? {
                Some(held) => return Ok(Ok(Some(Permit::new(&self.limiter, held)))),
                None => {
                    self.limiter.check(cost)?;
                    Denied::new(DeniedBy::Permits, shm_core::clock::now())
                }
            },
        };
        self.limiter.count_denied();
        Ok(Err(denied_or_shadowed(denied, self.limiter.is_shadow(), None)))
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
    /// let limit = RateLimit::builder("api").burst(5).directory(dir.path()).open_rate(Rate::per_second(20)?)?;
    /// limit.acquire(5).wait()?; // in a thread
    /// # runtime.block_on(async {
    /// limit.acquire(1).await?; // in a task, of any runtime
    /// match limit.acquire(5).timeout(Duration::from_millis(10)).await? {
    ///     Outcome::Admitted(_) => unreachable!("a quarter of a second is needed for five"),
    ///     Outcome::Denied(denied) => assert!(denied.retry_after() > Some(Duration::from_millis(100))),
    /// }
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// What happens when a process is forked or killed meanwhile, or the future is dropped, is described
    /// [there](Acquire#who-waits).
    pub fn acquire(&self, cost: impl Into<Cost>) -> Acquire<'_> {
        Acquire::new(self, cost.into())
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
        let core = self.limiter.reserve(&cost)?;
        Ok(Reservation::new(&self.limiter, core, cost))
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
        let turns = self.limiter.schedule(&cost, k)?;
        self.limiter.count_admitted((k as u64).saturating_mul(cost.call_count()), Duration::ZERO);
        Ok(turns)
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
            Charge::Calls(n) => (Cost::from(n), Charged::default()),
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
        // Where there is no limit nothing is charged.
        let debt = debt.filter(|_| !self.limiter.is_unlimited());
        let refund = self.limiter.settle(&receipt, &charged, unused.as_ref(), debt.as_ref())?;
        Ok(Settled { refund, debt: debt.filter(|_| self.limiter.is_ours(&receipt)) })
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
        self.limiter.charge(&cost.into())
    }

    /// How full it is. Takes nothing.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("search").burst(20).directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// let _ = limit.try_acquire(5)?;
    /// let peek = limit.peek()?;
    /// assert_eq!((peek.used, peek.available), (5, 15));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn peek(&self) -> Result<Peek> {
        let (limits, now) = self.limiter.peek()?;
        let policy = self.limiter.policy()?;
        let calls = || {
            policy.limits().zip(&limits).filter(|(limit, _)| limit.unit().is_calls()).map(|(_, seen)| seen)
        };
        // Where there is no limit only a pause denies.
        let paused_until =
            if limits.is_empty() { self.limiter.paused_until(now)?.unwrap_or(now) } else { now };
        let next_at = limits.iter().map(|seen| seen.next_at).max().unwrap_or(paused_until);
        let unlimited = if paused_until > now { 0 } else { u64::MAX };
        Ok(Peek {
            available: calls().map(|seen| seen.available).min().unwrap_or(unlimited),
            used: limits.first().map_or(0, |seen| seen.used),
            next_in: next_at.since(now),
            next_at,
            queued: limits.iter().map(|seen| seen.queued).max().unwrap_or(0),
            limits,
        })
    }

    /// The limits and permits in force.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("api").permits(4).directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// assert_eq!(limit.policy()?.permits(), Some(4));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`].
    pub fn policy(&self) -> Result<Policy> {
        self.limiter.policy()
    }

    /// The first limit in force; often the only one.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// assert_eq!(limit.limit()?.rate(), Rate::per_second(5)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`]; [`ErrorKind::InvalidInput`] if it has permits and no limit (then [`policy`](Self::policy)
    /// says how many).
    pub fn limit(&self) -> Result<Limit> {
        self.limiter.policy()?.first().ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "it has permits and no limit").at(self.name(), self.path())
        })
    }

    /// Admits nothing for `time`, in any process; then a bucket goes on at the pace and not in a burst. (Windows and greedy
    /// limits admit what they have left.) For a server's `429 Retry-After`. Never shortens a pause.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    /// use std::time::Duration;
    ///
    /// let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// limit.pause_for(Duration::from_secs(30))?; // the server answered Retry-After: 30
    /// assert!(limit.try_acquire(1)?.retry_after() > Some(Duration::from_secs(29)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`change`](Self::change); [`ErrorKind::InvalidInput`] for more than 366 days.
    pub fn pause_for(&self, time: Duration) -> Result<()> {
        self.limiter.pause_for(time)
    }

    /// Ends a pause; every caller that waits hears of it at once.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use shm_lib::{Rate, RateLimit};
    /// # use std::time::Duration;
    /// # let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// limit.pause_for(Duration::from_secs(30))?;
    /// limit.resume()?;
    /// assert!(limit.try_acquire(1)?.is_admitted());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn resume(&self) -> Result<()> {
        self.limiter.resume()
    }

    /// Changes the rate, for every process and every caller that waits at once; the burst stays. What was used stays used,
    /// and those who wait keep their places.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    /// use std::time::Duration;
    ///
    /// let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// limit.change(50, Duration::from_secs(1))?;
    /// assert_eq!(limit.limit()?.rate(), Rate::per_second(50)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Killed in the middle of it, the process has changed everything or nothing. Decisions do not wait for a change; changes
    /// wait for one another, up to two seconds.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`]; [`ErrorKind::Retired`], [`ErrorKind::Removed`], [`ErrorKind::Corrupt`];
    /// [`ErrorKind::Busy`] if another process was stopped in the middle of a change and has held its lock for two seconds.
    pub fn change(&self, max: u64, per: Duration) -> Result<()> {
        self.limiter.change_rate(Rate::new(max, per)?)
    }

    /// Changes to this limit or policy. To change a part of the policy in force, use
    /// [`update_policy`](Self::update_policy): it can't undo what another process changes at the same time.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Limit, Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// limit.change_policy(Limit::with_burst(Rate::per_second(10)?, 20)?)?;
    /// assert_eq!(limit.limit()?.burst(), 20);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`change`](Self::change); [`ErrorKind::InvalidInput`] if its file has no room for it: a limiter that was created
    /// for one bucket can't get a second limit, nor permits beyond those that it has room for.
    pub fn change_policy(&self, policy: impl Into<Policy>) -> Result<()> {
        self.limiter.change(policy)
    }

    /// Resets usage to zero. Those who wait keep their places.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use shm_lib::{Rate, RateLimit};
    /// # let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// assert!(limit.try_acquire(1)?.is_admitted());
    /// limit.reset()?;
    /// assert!(limit.try_acquire(1)?.is_admitted());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn reset(&self) -> Result<()> {
        self.limiter.reset()
    }

    /// Ends the limiter for every process: the next decisions and all callers that wait get [`ErrorKind::Retired`], and the
    /// name is free for a new one.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use shm_lib::{ErrorKind, Rate, RateLimit};
    /// # let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// limit.retire()?;
    /// assert_eq!(limit.try_acquire(1).unwrap_err().kind(), ErrorKind::Retired);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn retire(&self) -> Result<()> {
        self.limiter.retire()
    }

    /// What all processes did so far, the dead included.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use shm_lib::{Rate, RateLimit};
    /// # let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// let _ = (limit.try_acquire(1)?, limit.try_acquire(1)?);
    /// assert_eq!((limit.stats().admitted, limit.stats().denied), (1, 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> Counts {
        self.limiter.counts()
    }

    /// Everything that a person wants to know: who is attached and who waits included.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use shm_lib::{Rate, RateLimit};
    /// # let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// limit.wait()?;
    /// assert_eq!(limit.inspect()?.attached[0].pid, std::process::id());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn inspect(&self) -> Result<Inspection> {
        self.limiter.inspect()
    }

    /// The limiter's name.
    pub fn name(&self) -> &str {
        self.limiter.name().as_str()
    }

    /// The limiter's file.
    pub fn path(&self) -> &Path {
        self.limiter.path()
    }
}

/// Spans in snapshots are nanoseconds, as instants are.
#[cfg(feature = "serde")]
fn nanos<S: serde::Serializer>(span: &Duration, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
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

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("name", &self.name())
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}
