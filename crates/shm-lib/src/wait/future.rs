//! A task waits.

use super::{
    LOOK_FOR_A_PLACE, Next, Stands, admitted, at_once, calls_at_once, tender, time_to_look_again,
    try_in_shadow,
};
use crate::acquire::Gives;
use crate::{Acquire, Admission, RateLimit};
use shm_core::{Demand, Result, Rouse, Step};
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The future of an [`Acquire`]: see [there](Acquire#futures) what happens when it is dropped, forked or killed.
#[must_use = "a future does nothing until it is awaited"]
pub struct Acquiring<'a, T = Admission> {
    limit: &'a RateLimit,
    state: State,
    gives: PhantomData<fn() -> T>,
}

/// How far it has got.
enum State {
    New(Demand),
    Stands(Stands),
    Over,
}

impl<'a, T: Gives> Acquiring<'a, T> {
    pub(crate) fn new(acquire: Acquire<'a, T>) -> Acquiring<'a, T> {
        Acquiring { limit: acquire.limit, state: State::New(acquire.demand), gives: PhantomData }
    }

    /// What it got, if it need not wait (any longer).
    #[inline(never)]
    fn look(&mut self, context: &Context<'_>) -> Result<Option<T>> {
        let limit = self.limit;
        if let State::New(demand) = &self.state {
            if let Some(admitted) = at_once(limit, demand)? {
                return Ok(Some(admitted));
            }
            if let State::New(demand) = std::mem::replace(&mut self.state, State::Over) {
                self.state = State::Stands(Stands::new(limit, demand));
            }
        }
        let State::Stands(stands) = &mut self.state else { panic!("polled after it was ready") };
        let rouse = Rouse::Task(context.waker().clone());
        loop {
            let next = stands.look(limit, &rouse)?;
            let (limiter, demand) = (&stands.limiter, stands.waiter.demand());
            match next {
                Next::Step(Step::Granted(granted)) => return Ok(Some(admitted(limiter, demand, granted))),
                Next::Step(Step::Denied(denied)) => {
                    limiter.count_denied();
                    return T::denied(limit, denied).map(Some);
                }
                Next::Step(Step::Shadow) => {
                    if let Some(admitted) = try_in_shadow(limit, demand)? {
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
                    let time = time_to_look_again(instant, demand.latest(), why)?;
                    tender::wake_later(context.waker().clone(), time);
                    return Ok(None);
                }
            }
        }
    }
}

impl<T: Gives> Future for Acquiring<'_, T> {
    type Output = Result<T>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let this = self.get_mut();
        if let State::New(demand) = &this.state
            && let Some((receipt, charge)) = calls_at_once(this.limit, demand)
        {
            this.state = State::Over;
            return Poll::Ready(Ok(T::admitted(Admission::at_once(receipt, None, charge))));
        }
        let Some(got) = this.look(context).transpose() else { return Poll::Pending };
        this.state = State::Over;
        Poll::Ready(got)
    }
}

impl<T> fmt::Debug for Acquiring<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquiring")
            .field("limit", &self.limit.name())
            .field("waits", &matches!(self.state, State::Stands(_)))
            .finish_non_exhaustive()
    }
}
