//! The handle.

use crate::outcome::Paid;
use crate::{Admission, Builder, Denial, Outcome, Permit, Reservation, Settled};
use shm_core::clock::Nanos;
use shm_core::limit::{Limit, Outlook, Policy, Rate, Request};
use shm_core::{
    Charged, Counts, Decision, Error, ErrorKind, Inspection, Limiter, Reserved, Result, Undecided,
};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A rate limit that every process on the host can share, by name.
///
/// Cheap to clone; use it from any thread, and go on using it after `fork` in parent and child: both take from the
/// same budget. Dropping it takes nothing from others; the limiter stays until it is [retired](RateLimit::retire) or
/// the machine restarts.
///
/// **A killed process** leaves nothing behind: what it took counts as used, those behind it in line move up, its seat is
/// free at once. **A stopped process** holds up nobody.
///
/// The default is *patient*: at most `max` per `per`, evenly spaced, one per `per / max`. See
/// [`Builder::burst`] for more at once. The algorithm is the generic cell rate algorithm (ITU-T I.371), which is also
/// the token bucket; it counts exactly, without drift.
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
    /// Tokens of the first limit's burst that are used. (In a pause, those that are neither used nor available are held back.)
    pub used: u64,
    /// After how long one token would be admitted, if nobody else asks.
    #[cfg_attr(feature = "serde", serde(rename = "next_in_ns", serialize_with = "nanos"))]
    pub next_in: Duration,
    /// The same as an instant.
    #[cfg_attr(feature = "serde", serde(rename = "next_at_ns"))]
    pub next_at: Nanos,
    /// Calls charged already for an instant to come: turns of callers that wait, reservations, schedules, debts.
    pub queued: u64,
    /// How full each limit is, in their order.
    pub limits: Vec<Outlook>,
}

impl RateLimit {
    /// Joins the limiter `name`, or creates it: at most `max` per `per`, evenly spaced.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] if it exists with another rate or burst; [`ErrorKind::InvalidName`] and
    /// [`ErrorKind::InvalidInput`] for what can't be; and what files can cause: no space, no permission, somebody
    /// else's file, a damaged or foreign file. Nothing is created then, and nothing is damaged.
    pub fn open(name: &str, max: u64, per: Duration) -> Result<RateLimit> {
        RateLimit::builder(name).open(max, per)
    }

    /// Joins the limiter `name` as it is.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, otherwise as [`open`](Self::open).
    pub fn attach(name: &str) -> Result<RateLimit> {
        RateLimit::builder(name).attach()
    }

    /// For a burst, another directory, permissions.
    pub fn builder(name: &str) -> Builder {
        Builder::new(name)
    }

    /// Takes one token now, or nothing. Never waits.
    ///
    /// # Errors
    /// [`ErrorKind::Retired`] or [`ErrorKind::Removed`]: open it again. [`ErrorKind::Corrupt`]: somebody wrote rubbish
    /// into the file. Whether to go on without a limit then, is the caller's choice: see [`Fallback`](crate::Fallback).
    /// [`ErrorKind::InvalidInput`] if it counts units, see [`try_request`](Self::try_request); [`ErrorKind::NoSeat`] if
    /// it has several limits or permits and more processes use it than it has [seats](Builder::seats).
    #[inline]
    pub fn try_acquire(&self) -> Result<Outcome> {
        self.try_acquire_n(1)
    }

    /// Takes `n` tokens now, or nothing.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire); [`ErrorKind::NeverAdmissible`] if `n` is above the burst, and
    /// [`ErrorKind::InvalidInput`] if it is zero.
    #[inline]
    pub fn try_acquire_n(&self, n: u64) -> Result<Outcome> {
        match self.limiter.try_at_once(n) {
            Ok(Decision::Admitted { receipt, .. }) => {
                Ok(Outcome::Admitted(Admission::at_once(receipt, None, Paid::Calls(n))))
            }
            Ok(Decision::Denied { ready, now, .. }) => Ok(Outcome::Denied(Denial { ready, now })),
            Err(Undecided::MayNeedPermit) if self.limiter.has_permits() => self.try_with_permit(n),
            Err(_) => self.try_thoroughly(n),
        }
    }

    /// Whatever the limiter is, and whatever is in the way.
    #[inline]
    fn try_thoroughly(&self, n: u64) -> Result<Outcome> {
        let n = at_least_one(n)?;
        match self.limiter.try_without_permit(n)? {
            Some(decision) => Ok(outcome(decision, None, || Paid::Calls(n))),
            None => self.try_with_permit(n),
        }
    }

    /// Apart, so that limiters without permits move none about.
    #[inline(never)]
    fn try_with_permit(&self, n: u64) -> Result<Outcome> {
        let (decision, permit) = match self.permit_and(&Request::calls(n), || self.limiter.try_acquire(n))? {
            Ok(taken) => taken,
            Err(outcome) => return Ok(outcome),
        };
        Ok(outcome(decision, permit, || Paid::Calls(n)))
    }

    /// A permit, if there are permits, and then what `decide` takes; or the outcome, if that is decided by then.
    fn permit_and<D>(
        &self,
        request: &Request,
        decide: impl Fn() -> Result<D>,
    ) -> Result<std::result::Result<(D, Option<Permit>), Outcome>> {
        loop {
            let permit = match self.permit_now(request)? {
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

    /// Takes what is requested now, of all limits and a permit if there are permits, or nothing.
    ///
    /// # Errors
    /// As [`try_acquire_n`](Self::try_acquire_n).
    pub fn try_request(&self, request: &Request) -> Result<Outcome> {
        let taken = self.permit_and(request, || self.limiter.try_request(request))?;
        let ((decision, charged), permit) = match taken {
            Ok(taken) => taken,
            Err(outcome) => return Ok(outcome),
        };
        Ok(outcome(decision, permit, || Paid::for_request(request, charged)))
    }

    /// A permit, if there are permits; or the outcome, if the limits deny or all permits are held.
    fn permit_now(&self, request: &Request) -> Result<std::result::Result<Option<Permit>, Outcome>> {
        if !self.limiter.has_permits() {
            return Ok(Ok(None));
        }
        // The limits first: a caller that they deny keeps no permit from others, not even for a moment.
        if let Some(Decision::Denied { ready, now, shadow }) = self.limiter.denial(request)? {
            self.limiter.count_denied();
            return Ok(Err(denied(Denial { ready, now }, shadow, None)));
        }
        if let Some(held) = self.limiter.take_permit()? {
            return Ok(Ok(Some(Permit::new(&self.limiter, held))));
        }
        // A mistake in the request is one also when no permit is free.
        self.limiter.check(request)?;
        self.limiter.count_denied();
        let now = shm_core::clock::now();
        Ok(Err(denied(Denial { ready: now, now }, self.limiter.is_shadow(), None)))
    }

    /// Takes one token and waits for its turn. Among all processes, first come, first served.
    ///
    /// Hears of every change of the limiter while it waits. A signal handler that runs in this thread does not end
    /// the wait; see [`wait_unless`](Self::wait_unless) for that.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire); [`ErrorKind::TooFar`] if the queue is over a year long.
    pub fn wait(&self) -> Result<Admission> {
        self.wait_n(1)
    }

    /// Takes `n` tokens and waits for their turn.
    ///
    /// # Errors
    /// As [`wait`](Self::wait) and [`try_acquire_n`](Self::try_acquire_n).
    pub fn wait_n(&self, n: u64) -> Result<Admission> {
        self.wait_request(&Request::calls(at_least_one(n)?))
    }

    /// Takes what is requested and waits for its turn: the one instant that satisfies all limits.
    ///
    /// # Errors
    /// As [`wait`](Self::wait) and [`try_request`](Self::try_request).
    pub fn wait_request(&self, request: &Request) -> Result<Admission> {
        match self.wait_request_unless(request, None, || false)? {
            Outcome::Admitted(admission) => Ok(admission),
            // Only a deadline denies.
            Outcome::Denied(_) => Err(Error::new(ErrorKind::Io, "denied without a deadline")),
        }
    }

    /// Takes one token if its turn comes within `timeout`; otherwise takes nothing and returns at once.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Outcome> {
        self.wait_n_timeout(1, timeout)
    }

    /// Takes `n` tokens if their turn comes within `timeout`; otherwise takes nothing and returns at once.
    ///
    /// # Errors
    /// As [`wait_n`](Self::wait_n).
    pub fn wait_n_timeout(&self, n: u64, timeout: Duration) -> Result<Outcome> {
        // A time that doesn't fit the clock is no deadline.
        self.wait_unless(n, Instant::now().checked_add(timeout), || false)
    }

    /// Takes one token if its turn comes by `deadline`; otherwise takes nothing and returns at once.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_deadline(&self, deadline: Instant) -> Result<Outcome> {
        self.wait_n_deadline(1, deadline)
    }

    /// Takes `n` tokens if their turn comes by `deadline`; otherwise takes nothing and returns at once.
    ///
    /// # Errors
    /// As [`wait_n`](Self::wait_n).
    pub fn wait_n_deadline(&self, n: u64, deadline: Instant) -> Result<Outcome> {
        self.wait_unless(n, Some(deadline), || false)
    }

    /// Like [`wait_n_deadline`](Self::wait_n_deadline), and asks `stop` before each sleep, after each signal handler that
    /// ran in this thread, and at least once a second. When it says true the caller leaves the line, and takes nothing
    /// along.
    ///
    /// # Errors
    /// As [`wait_n`](Self::wait_n); [`ErrorKind::Interrupted`] after `stop` said true.
    pub fn wait_unless(
        &self,
        n: u64,
        deadline: Option<Instant>,
        stop: impl FnMut() -> bool,
    ) -> Result<Outcome> {
        self.wait_request_unless(&Request::calls(at_least_one(n)?), deadline, stop)
    }

    /// The same for a request.
    ///
    /// # Errors
    /// As [`wait_unless`](Self::wait_unless) and [`try_request`](Self::try_request).
    pub fn wait_request_unless(
        &self,
        request: &Request,
        deadline: Option<Instant>,
        stop: impl FnMut() -> bool,
    ) -> Result<Outcome> {
        crate::wait::wait(self, request, deadline, stop)
    }

    /// Takes a turn for `n` tokens ahead of its time. Without a permit: those are held, not scheduled.
    ///
    /// # Errors
    /// As [`wait_n`](Self::wait_n).
    pub fn reserve(&self, n: u64) -> Result<Reservation> {
        self.reserve_request(&Request::calls(at_least_one(n)?))
    }

    /// Takes a turn for what is requested ahead of its time.
    ///
    /// # Errors
    /// As [`wait_request`](Self::wait_request); [`ErrorKind::InvalidInput`] if it has permits and no limit: then there are no
    /// turns.
    pub fn reserve_request(&self, request: &Request) -> Result<Reservation> {
        self.limiter.check_has_turns()?;
        match self.limiter.reserve(request, Nanos::from_nanos(u64::MAX))? {
            Reserved::Turn(core) => Ok(Reservation::new(&self.limiter, core, *request)),
            Reserved::Denied { .. } => Err(Error::new(ErrorKind::Io, "denied without a deadline")),
        }
    }

    /// Takes turns for the next `k` calls, in one step, and says when they are. They are kept whatever is changed later,
    /// and count as used. With a greedy limit it takes a step for each, and other callers may come in between.
    ///
    /// # Errors
    /// As [`wait`](Self::wait); [`ErrorKind::InvalidInput`] for 0 calls and for more than a million, and if it has permits
    /// and no limit: then there are no turns.
    pub fn schedule(&self, k: usize) -> Result<Vec<Nanos>> {
        if !(1..=1_000_000).contains(&k) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("a schedule for {k} calls is not possible; ask for 1 to 1000000"),
            ));
        }
        let turns = self.limiter.schedule(&Request::one(), k)?;
        self.limiter.count_admitted(k as u64, Duration::ZERO);
        Ok(turns)
    }

    /// Says what an admission really took, where its request was an estimate: less is given back, more is charged.
    ///
    /// What is given back is as if it had never been taken, under the terms it was taken; after a change it stays used.
    /// A greedy limit takes only back what nobody came after. What is charged delays those who come later; it denies
    /// nobody now. In a forked child of who was admitted, and with a limiter that was made anew since, nothing happens.
    /// `actual` names the units that differ from the estimate; the others stay as they were.
    ///
    /// Says what was given back. That may be less than was not used: time has refilled a part of it since, or somebody came
    /// after.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it was settled before, and as [`charge`](Self::charge).
    pub fn settle(&self, admission: &mut Admission, actual: &Request) -> Result<Settled> {
        let receipt = admission.receipt;
        let (estimate, charged) = match std::mem::replace(&mut admission.paid, Paid::Settled) {
            Paid::Calls(n) => (Request::calls(n), Charged::default()),
            Paid::Units(request) => *request,
            Paid::Settled => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "this admission was settled before; each is settled once",
                )
                .at(self.name(), self.path()));
            }
            // Never charged.
            unpaid @ (Paid::Nothing | Paid::Shadowed(_)) => {
                admission.paid = unpaid;
                return Ok(Settled::default());
            }
        };
        let (unused, debt) = estimate.differences(actual);
        // Where there is no limit nothing is charged.
        let debt = debt.filter(|_| !self.limiter.is_unlimited());
        let refund = self.limiter.settle(&receipt, &charged, unused.as_ref(), debt.as_ref())?;
        Ok(Settled { refund, debt: debt.filter(|_| self.limiter.is_ours(&receipt)) })
    }

    /// Takes what is named without asking: a penalty, or a debt. It denies nobody now, and delays those who come later,
    /// as if so many single calls had stood in the queue. In one step, whatever the amount. Units that are not named are
    /// not charged.
    ///
    /// # Errors
    /// As [`try_request`](Self::try_request); [`ErrorKind::TooFar`] if the last of it would come in more than a year. Nothing
    /// is charged then.
    pub fn charge(&self, what: &Request) -> Result<()> {
        self.limiter.charge(what)
    }

    /// How full it is. Takes nothing.
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
    /// # Errors
    /// [`ErrorKind::Corrupt`].
    pub fn policy(&self) -> Result<Policy> {
        self.limiter.policy()
    }

    /// The first limit in force; often the only one.
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
    /// # Errors
    /// As [`change`](Self::change); [`ErrorKind::InvalidInput`] for more than 366 days.
    pub fn pause_for(&self, time: Duration) -> Result<()> {
        self.limiter.pause_for(time)
    }

    /// Ends a pause; every sleeper hears of it at once.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn resume(&self) -> Result<()> {
        self.limiter.resume()
    }

    /// Changes the rate, for every process and every sleeper at once; the burst stays. What was used stays used, and
    /// callers that wait keep their places in the line.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`]; [`ErrorKind::Retired`], [`ErrorKind::Removed`], [`ErrorKind::Corrupt`];
    /// [`ErrorKind::Busy`] if another process was stopped in the middle of a change and has not moved for two
    /// seconds. Changes wait for one another; decisions wait for nobody.
    pub fn change(&self, max: u64, per: Duration) -> Result<()> {
        self.limiter.change_rate(Rate::new(max, per)?)
    }

    /// Changes to this limit or policy.
    ///
    /// # Errors
    /// As [`change`](Self::change); [`ErrorKind::InvalidInput`] if its file has no room for it: a limiter that was made
    /// for one bucket can't get a second limit, nor permits beyond those that it has room for.
    pub fn change_policy(&self, policy: impl Into<Policy>) -> Result<()> {
        self.limiter.change(policy)
    }

    /// Forgets what was used. Callers that wait keep their places in the line.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn reset(&self) -> Result<()> {
        self.limiter.reset()
    }

    /// Ends the limiter for every process: next decisions and all who wait get [`ErrorKind::Retired`], and the name
    /// is free for a new one.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn retire(&self) -> Result<()> {
        self.limiter.retire()
    }

    /// What all processes did so far, the dead included.
    pub fn stats(&self) -> Counts {
        self.limiter.counts()
    }

    /// Everything that a person wants to know, who is attached included.
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

/// What a decision means for who asked.
#[inline]
fn outcome(decision: Decision, permit: Option<Permit>, paid: impl FnOnce() -> Paid) -> Outcome {
    match decision {
        Decision::Admitted { receipt, .. } => Outcome::Admitted(Admission::at_once(receipt, permit, paid())),
        Decision::Denied { ready, now, shadow } => denied(Denial { ready, now }, shadow, permit),
    }
}

/// In shadow nobody is denied.
#[inline]
fn denied(denial: Denial, shadow: bool, permit: Option<Permit>) -> Outcome {
    if shadow {
        let paid = Paid::Shadowed(Box::new(denial));
        return Outcome::Admitted(Admission::unasked(denial.now, permit, paid));
    }
    Outcome::Denied(denial)
}

#[inline]
pub(crate) fn at_least_one(n: u64) -> Result<u64> {
    if n == 0 { Err(none_asked()) } else { Ok(n) }
}

#[cold]
fn none_asked() -> Error {
    Error::new(ErrorKind::InvalidInput, "0 tokens were asked for; ask for 1 or more")
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("name", &self.name())
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}
