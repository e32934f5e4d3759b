//! One place in the line: what a waiting future holds, and what it does next. Dropped, it gives all of it back.

use crate::outcome::Paid;
use crate::rate_limit::at_least_one;
use crate::wait::{self, Turn};
use crate::{Admission, Denial, Outcome, Permit, RateLimit, Request, Result};
use shm_core::clock::{self, Nanos};
use shm_core::{Charged, ProcessToken, Receipt, Reservation, Reserved};
use std::time::Duration;

/// The longest sleep before a turn: so late news may be heard. There is no one to wake a future.
const SLICE: Duration = Duration::from_millis(100);
/// The first and the longest sleep before looking for a permit again.
const PERMIT_PACE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));
/// How often it is looked whether the file is still there, before a turn and before a permit.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(100));

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    Calls(u64),
    Units(&'a Request),
}

impl<'a> What<'a> {
    /// Calls are asked for and paid for without an allocation.
    pub(super) fn of(request: &'a Request) -> What<'a> {
        let calls = request.call_count();
        if *request == Request::calls(calls) { What::Calls(calls) } else { What::Units(request) }
    }
}

/// What to do next.
pub(super) enum Step {
    Done(Outcome),
    /// And then step again.
    Sleep(Duration),
}

pub(super) struct Line<'a> {
    limit: &'a RateLimit,
    what: What<'a>,
    latest: Nanos,
    permit: Option<Permit>,
    /// Not due when it was taken.
    turn: Option<Reservation>,
    asleep: Option<Asleep>,
}

/// Set before the first sleep.
struct Asleep {
    since: Nanos,
    looked: Nanos,
    pace: Duration,
    /// A forked child has a copy of the line, and no right to what is in it.
    process: ProcessToken,
}

impl<'a> Line<'a> {
    pub(super) fn new(limit: &'a RateLimit, what: What<'a>, latest: Nanos) -> Line<'a> {
        Line { limit, what, latest, permit: None, turn: None, asleep: None }
    }

    #[inline]
    pub(super) fn step(&mut self) -> Result<Step> {
        if self.asleep.is_some()
            && let Some(step) = self.wake()?
        {
            return Ok(step);
        }
        self.ask()
    }

    /// After a sleep: whether the turn has come. `None` if there is none, or none any more.
    #[cold]
    fn wake(&mut self) -> Result<Option<Step>> {
        if self.is_a_copy() {
            self.turn = None;
            self.permit = None;
            self.asleep = None;
        }
        let Some(turn) = &self.turn else { return Ok(None) };
        let (receipt, charged) = (turn.receipt, turn.charged);
        Ok(match wait::look(&self.limit.limiter, turn) {
            Some(Turn::Come(now)) => {
                self.turn = None;
                Some(self.admitted(receipt, charged, now))
            }
            // The terms have changed, and the queue is dropped: ask again.
            Some(Turn::Void | Turn::Unwanted) => {
                self.turn = None;
                None
            }
            None => Some(self.sleep_until(receipt.at)?),
        })
    }

    /// Takes a permit, if there are any, and then a turn.
    #[inline]
    fn ask(&mut self) -> Result<Step> {
        let calls;
        let request = match self.what {
            What::Calls(n) => {
                calls = Request::calls(at_least_one(n)?);
                &calls
            }
            What::Units(request) => request,
        };
        let limiter = &self.limit.limiter;
        if limiter.is_shadow() {
            self.permit = None;
            return Ok(Step::Done(self.limit.try_request(request)?));
        }
        self.permit = self.permit.take().filter(Permit::is_ours);
        if self.permit.is_none() && limiter.has_permits() {
            match limiter.take_permit()? {
                Some(held) => self.permit = Some(Permit::new(limiter, held)),
                None => {
                    // A mistake in the request is one also when no permit is free.
                    if self.asleep.is_none() {
                        limiter.check(request)?;
                    }
                    return self.look_for_a_permit_later();
                }
            }
        }
        match limiter.reserve(request, self.latest)? {
            // A signal handler forked in between, and this is the child: the permit is its parent's.
            Reserved::Turn(_) if self.permit.as_ref().is_some_and(|permit| !permit.is_ours()) => self.ask(),
            Reserved::Turn(turn) if turn.receipt.at == turn.now => {
                Ok(self.admitted(turn.receipt, turn.charged, turn.now))
            }
            Reserved::Turn(turn) => {
                let at = turn.receipt.at;
                self.turn = Some(turn);
                self.sleep_until(at)
            }
            Reserved::Denied { ready, now } => Ok(self.denied(Denial { ready, now })),
        }
    }

    #[inline]
    fn admitted(&mut self, receipt: Receipt, charged: Charged, now: Nanos) -> Step {
        let waited = self.asleep.as_ref().map_or(Duration::ZERO, |asleep| now.since(asleep.since));
        let (calls, paid) = match self.what {
            What::Calls(n) => (n, Paid::Calls(n)),
            What::Units(request) => (request.call_count(), Paid::for_request(request, charged)),
        };
        self.limit.limiter.count_admitted(calls, waited);
        let permit = self.permit.take();
        Step::Done(Outcome::Admitted(Admission {
            receipt,
            waited_ns: waited.as_nanos() as u64,
            permit,
            paid,
        }))
    }

    #[cold]
    fn denied(&mut self, denial: Denial) -> Step {
        self.limit.limiter.count_denied();
        Step::Done(Outcome::Denied(denial))
    }

    #[cold]
    fn sleep_until(&mut self, at: Nanos) -> Result<Step> {
        let now = clock::now();
        self.look_around(now, LOOK_EVERY.0)?;
        Ok(Step::Sleep(at.since(now).min(SLICE)))
    }

    #[cold]
    fn look_for_a_permit_later(&mut self) -> Result<Step> {
        let now = clock::now();
        if now >= self.latest {
            return Ok(self.denied(Denial { ready: now, now }));
        }
        let asleep = self.look_around(now, LOOK_EVERY.1)?;
        let pace = asleep.pace;
        asleep.pace = PERMIT_PACE.1.min(pace * 2);
        Ok(Step::Sleep(pace.min(self.latest.since(now))))
    }

    /// Before each sleep.
    fn look_around(&mut self, now: Nanos, every: Duration) -> Result<&mut Asleep> {
        let asleep = self.asleep.get_or_insert_with(|| Asleep {
            since: now,
            looked: now,
            pace: PERMIT_PACE.0,
            process: ProcessToken::current(),
        });
        if now.since(asleep.looked) >= every {
            self.limit.limiter.check_still_there()?;
            asleep.looked = now;
        }
        Ok(asleep)
    }

    fn is_a_copy(&self) -> bool {
        self.asleep.as_ref().is_some_and(|asleep| asleep.process != ProcessToken::current())
    }
}

impl Drop for Line<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(turn) = self.turn.take()
            && !self.is_a_copy()
        {
            self.limit.limiter.cancel(turn);
        }
    }
}
