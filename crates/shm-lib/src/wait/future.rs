//! A task waits.

use super::{LOOK_FOR_A_PLACE, Stands, admitted, denied, tender};
use crate::{Outcome, RateLimit};
use shm_core::clock::Nanos;
use shm_core::limit::Request;
use shm_core::{Result, Rouse, Step};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A task that is about to be admitted. Nothing is taken before the first poll; admitted at once it does not wait.
/// Otherwise it stands in the line of all processes. Dropped, it leaves the line and takes nothing along.
#[must_use = "a future does nothing until it is awaited"]
pub struct Acquiring<'a> {
    limit: &'a RateLimit,
    request: Request,
    latest: Nanos,
    stands: Option<Stands<'a>>,
}

impl<'a> Acquiring<'a> {
    pub(crate) fn new(limit: &'a RateLimit, request: Request, latest: Nanos) -> Acquiring<'a> {
        Acquiring { limit, request, latest, stands: None }
    }
}

impl Future for Acquiring<'_> {
    type Output = Result<Outcome>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Outcome>> {
        let this = self.get_mut();
        let limiter = &this.limit.limiter;
        if this.stands.is_none() {
            if limiter.is_shadow() {
                return Poll::Ready(this.limit.try_request(&this.request));
            }
            match limiter.admit_now(&this.request, this.latest) {
                Ok(Some(granted)) => return Poll::Ready(Ok(admitted(limiter, &this.request, granted))),
                Ok(None) => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
        let stands = this.stands.get_or_insert_with(|| Stands::new(limiter, &this.request, this.latest));
        let outcome = match limiter.look(&mut stands.waiter, &Rouse::Task(context.waker().clone())) {
            Ok(Step::Granted(granted)) => Ok(admitted(limiter, &this.request, granted)),
            Ok(Step::Refused(why, now)) => Ok(denied(limiter, why, now)),
            Ok(Step::Shadow) => this.limit.try_request(&this.request),
            Ok(Step::Sleep { start_tending, .. }) => match start_tending.then(|| tender::start(limiter)) {
                Some(Err(e)) => {
                    limiter.stop_tending();
                    Err(e)
                }
                _ => return Poll::Pending,
            },
            Ok(Step::Unordered(_)) => {
                tender::wake_later(context.waker().clone(), LOOK_FOR_A_PLACE);
                return Poll::Pending;
            }
            Err(e) => Err(e),
        };
        this.stands = None;
        Poll::Ready(outcome)
    }
}

/// # Waiting in futures
/// Any runtime, no timer of it needed. Nothing is taken before the first poll. Admitted at once, a future neither allocates
/// (where there is one limit, of calls) nor starts anything. Otherwise it stands in the line, among all processes,
/// whether they wait here or in [`wait`](RateLimit::wait). It blocks no thread: one thread of the process, which is
/// started when a task first waits for a limiter, sleeps for all of them and wakes them.
///
/// - **Dropped** while it waits (a timeout, `select!`, an aborted task), it leaves the line. Those behind it move up.
/// - **Forked**: a copy in a child takes and gives back nothing of its parent's. Polled there, it stands anew.
/// - **Killed**: those behind it move up.
/// - **Changed**: of a change, a pause, a reset or the end of the limiter it hears at once. It keeps its place.
impl RateLimit {
    /// Takes one token, and waits for its turn. Among all processes, first come, first served.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn acquire(&self) -> impl Future<Output = Result<crate::Admission>> + Send + '_ {
        self.acquire_request(&Request::calls(1))
    }

    /// Takes `n` tokens and waits for their turn.
    ///
    /// # Errors
    /// As [`wait_n`](Self::wait_n).
    pub fn acquire_n(&self, n: u64) -> impl Future<Output = Result<crate::Admission>> + Send + '_ {
        self.acquire_request(&Request::calls(n))
    }

    /// Takes what is requested and waits for its turn: the one instant that satisfies all limits.
    ///
    /// # Errors
    /// As [`wait_request`](Self::wait_request).
    pub fn acquire_request(
        &self,
        request: &Request,
    ) -> impl Future<Output = Result<crate::Admission>> + Send + use<'_> {
        let acquiring = Acquiring::new(self, *request, super::latest(None));
        async move {
            match acquiring.await? {
                Outcome::Admitted(admission) => Ok(admission),
                // Only a deadline denies.
                Outcome::Denied(_) => Err(super::denied_without_deadline(self)),
            }
        }
    }

    /// Takes `n` tokens if their turn comes within `timeout` of this call. Otherwise it takes nothing and is ready at
    /// once; only for a permit it waits that long, since nobody knows when one is free.
    ///
    /// # Errors
    /// As [`wait_n_timeout`](Self::wait_n_timeout).
    pub fn acquire_timeout(&self, n: u64, timeout: std::time::Duration) -> Acquiring<'_> {
        self.acquire_request_timeout(&Request::calls(n), timeout)
    }

    /// The same for a request.
    ///
    /// # Errors
    /// As [`wait_request_unless`](Self::wait_request_unless).
    pub fn acquire_request_timeout(&self, request: &Request, timeout: std::time::Duration) -> Acquiring<'_> {
        // A time that doesn't fit the clock is no deadline.
        self.acquire_request_deadline(request, std::time::Instant::now().checked_add(timeout))
    }

    /// The same by an instant; without one, however long it takes.
    ///
    /// # Errors
    /// As [`wait_request_unless`](Self::wait_request_unless).
    pub fn acquire_request_deadline(
        &self,
        request: &Request,
        deadline: Option<std::time::Instant>,
    ) -> Acquiring<'_> {
        Acquiring::new(self, *request, super::latest(deadline))
    }
}
