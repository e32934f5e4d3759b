//! Waiting in a task: the future.

use super::{
    PLACE_RETRY_INTERVAL, TurnPoll, WaitingCaller, admitted, lookup_delay, try_immediate,
    try_immediate_calls, try_in_shadow, waker_thread,
};
use crate::acquire::AcquireOutput;
use crate::{Acquire, Admission, RateLimit};
use shm_core::{CallerWaker, Demand, Result, WaitStep};
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The future of an [`Acquire`]. [Futures](Acquire#futures) explains it, and [who waits](Acquire#who-waits) what happens when
/// it is dropped, or its process is forked or killed.
#[must_use = "a future does nothing until it is awaited"]
pub struct Acquiring<'a, T = Admission> {
    limit: &'a RateLimit,
    state: WaitState,
    gives: PhantomData<fn() -> T>,
}

enum WaitState {
    New(Demand),
    Waiting(WaitingCaller),
    Done,
}

impl<'a, T: AcquireOutput> Acquiring<'a, T> {
    pub(crate) fn new(acquire: Acquire<'a, T>) -> Acquiring<'a, T> {
        Acquiring { limit: acquire.limit, state: WaitState::New(acquire.demand), gives: PhantomData }
    }

    /// The result, once the request is admitted or denied.
    #[inline(never)]
    fn poll_turn(&mut self, context: &Context<'_>) -> Result<Option<T>> {
        let limit = self.limit;
        if let WaitState::New(demand) = &self.state {
            if let Some(admitted) = try_immediate(limit, demand)? {
                return Ok(Some(admitted));
            }
            if let WaitState::New(demand) = std::mem::replace(&mut self.state, WaitState::Done) {
                self.state = WaitState::Waiting(WaitingCaller::new(limit, demand));
            }
        }
        let WaitState::Waiting(caller) = &mut self.state else { panic!("polled after it was ready") };
        let waker = CallerWaker::Task(context.waker().clone());
        loop {
            let next = caller.poll_turn(limit, &waker)?;
            let (limiter, demand) = (&caller.limiter, caller.waiter.demand());
            match next {
                TurnPoll::Step(WaitStep::Granted(granted)) => {
                    return Ok(Some(admitted(limiter, demand, granted)));
                }
                TurnPoll::Step(WaitStep::Denied(denied)) => {
                    limiter.count_denied();
                    return T::denied(limit, denied).map(Some);
                }
                TurnPoll::Step(WaitStep::Shadow) => {
                    if let Some(admitted) = try_in_shadow(limit, demand)? {
                        return Ok(Some(admitted));
                    }
                }
                TurnPoll::Step(WaitStep::Sleep { start_tending, .. }) => {
                    if start_tending && let Err(e) = waker_thread::start(limiter) {
                        limiter.stop_tending();
                        return Err(e);
                    }
                    return Ok(None);
                }
                TurnPoll::Step(WaitStep::NoPlace(_)) => {
                    waker_thread::wake_later(context.waker().clone(), PLACE_RETRY_INTERVAL);
                    return Ok(None);
                }
                TurnPoll::RetryAt(instant, why) => {
                    let time = lookup_delay(instant, demand.latest(), why)?;
                    waker_thread::wake_later(context.waker().clone(), time);
                    return Ok(None);
                }
            }
        }
    }
}

impl<T: AcquireOutput> Future for Acquiring<'_, T> {
    type Output = Result<T>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let this = self.get_mut();
        if let WaitState::New(demand) = &this.state
            && let Some((receipt, charge)) = try_immediate_calls(this.limit, demand)
        {
            this.state = WaitState::Done;
            return Poll::Ready(Ok(T::admitted(Admission::immediate(receipt, None, charge))));
        }
        let Some(got) = this.poll_turn(context).transpose() else { return Poll::Pending };
        this.state = WaitState::Done;
        Poll::Ready(got)
    }
}

impl<T> fmt::Debug for Acquiring<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquiring")
            .field("limit", &self.limit.name())
            .field("waits", &matches!(self.state, WaitState::Waiting(_)))
            .finish_non_exhaustive()
    }
}
