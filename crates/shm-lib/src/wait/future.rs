//! A task waits.

use super::{LOOK_FOR_A_PLACE, Next, Stands, admitted, at_once, tender, time_to_look_again, try_in_shadow};
use crate::acquire::Gives;
use crate::{Acquire, Admission};
use shm_core::{Result, Rouse, Step};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The future of an [`Acquire`]: see [there](Acquire#futures) what happens when it is dropped, forked or killed.
#[must_use = "a future does nothing until it is awaited"]
pub struct Acquiring<'a, T = Admission> {
    acquire: Acquire<'a, T>,
    stands: Option<Stands>,
}

impl<'a, T: Gives> Acquiring<'a, T> {
    pub(crate) fn new(acquire: Acquire<'a, T>) -> Acquiring<'a, T> {
        Acquiring { acquire, stands: None }
    }

    /// What it got, if it need not wait (any longer).
    fn look(&mut self, context: &Context<'_>) -> Result<Option<T>> {
        let (limit, cost, latest) = (self.acquire.limit, &self.acquire.cost, self.acquire.latest);
        if self.stands.is_none()
            && let Some(admitted) = at_once(&self.acquire)?
        {
            return Ok(Some(admitted));
        }
        let stands = self.stands.get_or_insert_with(|| Stands::new(&self.acquire));
        let rouse = Rouse::Task(context.waker().clone());
        loop {
            let next = stands.look(limit, &rouse)?;
            let limiter = &stands.limiter;
            match next {
                Next::Step(Step::Granted(granted)) => return Ok(Some(admitted(limiter, cost, granted))),
                Next::Step(Step::Denied(denied)) => {
                    limiter.count_denied();
                    return T::denied(limit, denied).map(Some);
                }
                Next::Step(Step::Shadow) => {
                    if let Some(admitted) = try_in_shadow(limit, cost)? {
                        return Ok(Some(admitted));
                    }
                }
                Next::Step(Step::Sleep { start_tending, .. }) => {
                    if start_tending && let Err(e) = tender::start(limiter) {
                        limiter.stop_tending();
                        return Err(e);
                    }
                    return Ok(None);
                }
                Next::Step(Step::Unordered(_)) => {
                    tender::wake_later(context.waker().clone(), LOOK_FOR_A_PLACE);
                    return Ok(None);
                }
                Next::Later(instant, why) => {
                    tender::wake_later(context.waker().clone(), time_to_look_again(instant, latest, why)?);
                    return Ok(None);
                }
            }
        }
    }
}

impl<T: Gives> Future for Acquiring<'_, T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let this = self.get_mut();
        let Some(got) = this.look(context).transpose() else { return Poll::Pending };
        this.stands = None;
        Poll::Ready(got)
    }
}

impl<T> fmt::Debug for Acquiring<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquiring")
            .field("acquire", &self.acquire)
            .field("waits", &self.stands.is_some())
            .finish_non_exhaustive()
    }
}
