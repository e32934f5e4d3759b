//! A thread waits.

use super::{
    LOOK_FOR_A_PLACE, Next, Stands, admitted, at_once, calls_at_once, time_to_look_again, try_in_shadow,
};
use crate::acquire::Gives;
use crate::{Acquire, Admission};
use shm_core::clock::{self, Nanos};
use shm_core::{Error, ErrorKind, Limiter, Receipt, Result, Rouse, Step};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// How often a caller that may stop is asked, at least.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Waits in the line until the request is admitted or denied. In shadow it never waits. `stop` is asked before each sleep.
#[inline]
pub(crate) fn wait<T: Gives>(acquire: Acquire<'_, T>, stop: Option<impl FnMut() -> bool>) -> Result<T> {
    match calls_at_once(acquire.limit, &acquire.demand) {
        Some((receipt, charge)) => Ok(T::admitted(Admission::at_once(receipt, None, charge))),
        None => wait_in_line(acquire, stop),
    }
}

#[inline(never)]
fn wait_in_line<T: Gives>(acquire: Acquire<'_, T>, mut stop: Option<impl FnMut() -> bool>) -> Result<T> {
    let (limit, latest) = (acquire.limit, acquire.demand.latest());
    if let Some(admitted) = at_once(limit, &acquire.demand)? {
        return Ok(admitted);
    }
    let longest = if stop.is_some() { ASK_EVERY } else { Duration::MAX };
    let mut is_stopped = || stop.as_mut().is_some_and(|stop| stop());
    let word = Arc::new(AtomicU64::new(0));
    let rouse = Rouse::Thread(Arc::clone(&word));
    let mut stands = Stands::new(limit, acquire.demand);
    loop {
        let next = stands.look(limit, &rouse)?;
        let limiter = &stands.limiter;
        match next {
            Next::Step(Step::Granted(granted)) => {
                return Ok(admitted(limiter, stands.waiter.demand(), granted));
            }
            Next::Step(Step::Denied(denied)) => {
                limiter.count_denied();
                return T::denied(limit, denied);
            }
            Next::Step(Step::Shadow) => {
                if let Some(admitted) = try_in_shadow(limit, stands.waiter.demand())? {
                    return Ok(admitted);
                }
            }
            Next::Step(Step::Sleep { nap, .. }) => {
                if is_stopped() {
                    return Err(interrupted(limiter));
                }
                limiter.nap(&nap.at_most(longest), &word);
            }
            Next::Step(Step::Unordered(now)) => {
                if is_stopped() {
                    return Err(interrupted(limiter));
                }
                std::thread::sleep(LOOK_FOR_A_PLACE.min(latest.since(now)));
            }
            Next::Later(instant, why) => {
                if is_stopped() {
                    return Err(interrupted(limiter));
                }
                std::thread::sleep(time_to_look_again(instant, latest, why)?);
            }
        }
    }
}

fn interrupted(limiter: &Limiter) -> Error {
    Error::new(ErrorKind::Interrupted, "the wait was interrupted; nothing was taken")
        .at(limiter.name().as_str(), limiter.path())
}

/// Sleeps until a turn that is kept whatever is changed.
pub(crate) fn until(limiter: &Limiter, receipt: &Receipt) -> Result<Nanos> {
    loop {
        let now = clock::now();
        if now >= receipt.at {
            return Ok(now);
        }
        if limiter.is_stale(receipt) {
            // Its epoch is over, so there is nothing to hear on it any more.
            limiter.check_still_valid()?;
            std::thread::sleep(receipt.at.since(now).min(Duration::from_secs(1)));
        } else {
            limiter.sleep(receipt, now)?;
        }
    }
}
