//! Waiting in a thread.

use super::{
    PLACE_RETRY_INTERVAL, TurnPoll, WaitingCaller, admitted, lookup_delay, try_immediate,
    try_immediate_calls, try_in_shadow,
};
use crate::acquire::AcquireOutput;
use crate::{Acquire, Admission};
use shm_core::clock::{self, Nanos};
use shm_core::{CallerWaker, Error, ErrorKind, Limiter, Receipt, Result, WaitStep};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// A caller with a stop condition checks it at least once in this time.
const STOP_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Waits in line until the request is admitted or denied; never waits in shadow mode. Checks `stop` before each sleep.
#[inline]
pub(crate) fn wait<T: AcquireOutput>(
    acquire: Acquire<'_, T>,
    stop: Option<impl FnMut() -> bool>,
) -> Result<T> {
    match try_immediate_calls(acquire.limit, &acquire.demand) {
        Some((receipt, charge)) => Ok(T::admitted(Admission::immediate(receipt, None, charge))),
        None => wait_in_line(acquire, stop),
    }
}

#[inline(never)]
fn wait_in_line<T: AcquireOutput>(
    acquire: Acquire<'_, T>,
    mut stop: Option<impl FnMut() -> bool>,
) -> Result<T> {
    let (limit, latest) = (acquire.limit, acquire.demand.latest());
    if let Some(admitted) = try_immediate(limit, &acquire.demand)? {
        return Ok(admitted);
    }
    let max_sleep = if stop.is_some() { STOP_CHECK_INTERVAL } else { Duration::MAX };
    let mut should_stop = || stop.as_mut().is_some_and(|stop| stop());
    let word = Arc::new(AtomicU64::new(0));
    let waker = CallerWaker::Thread(Arc::clone(&word));
    let mut caller = WaitingCaller::new(limit, acquire.demand);
    loop {
        let next = caller.poll_turn(limit, &waker)?;
        let limiter = &caller.limiter;
        match next {
            TurnPoll::Step(WaitStep::Granted(granted)) => {
                return Ok(admitted(limiter, caller.waiter.demand(), granted));
            }
            TurnPoll::Step(WaitStep::Denied(denied)) => {
                limiter.count_denied();
                return T::denied(limit, denied);
            }
            TurnPoll::Step(WaitStep::Shadow) => {
                if let Some(admitted) = try_in_shadow(limit, caller.waiter.demand())? {
                    return Ok(admitted);
                }
            }
            TurnPoll::Step(WaitStep::Sleep { plan, .. }) => {
                if should_stop() {
                    return Err(interrupted(limiter));
                }
                limiter.sleep_by(&plan.at_most(max_sleep), &word);
            }
            TurnPoll::Step(WaitStep::NoPlace(now)) => {
                if should_stop() {
                    return Err(interrupted(limiter));
                }
                std::thread::sleep(PLACE_RETRY_INTERVAL.min(latest.since(now)));
            }
            TurnPoll::RetryAt(instant, why) => {
                if should_stop() {
                    return Err(interrupted(limiter));
                }
                std::thread::sleep(lookup_delay(instant, latest, why)?);
            }
        }
    }
}

fn interrupted(limiter: &Limiter) -> Error {
    Error::new(ErrorKind::Interrupted, "the wait was interrupted; nothing was taken")
        .at(limiter.name().as_str(), limiter.path())
}

/// Sleeps until a reserved turn. A change of the limiter does not move the turn.
pub(crate) fn sleep_until_turn(limiter: &Limiter, receipt: &Receipt) -> Result<Nanos> {
    loop {
        let now = clock::now();
        if now >= receipt.at {
            return Ok(now);
        }
        if limiter.is_stale(receipt) {
            // The turn belongs to an old epoch, which gets no more wakeups.
            limiter.check_still_valid()?;
            std::thread::sleep(receipt.at.since(now).min(Duration::from_secs(1)));
        } else {
            limiter.sleep(receipt, now)?;
        }
    }
}
