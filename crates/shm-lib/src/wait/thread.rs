//! A thread waits.

use super::{LOOK_FOR_A_PLACE, Next, Stands, admitted, at_once, time_to_look_again, try_in_shadow};
use crate::Acquire;
use crate::acquire::Gives;
use shm_core::clock::{self, Nanos};
use shm_core::{Error, ErrorKind, Limiter, Receipt, Result, Rouse, Step};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// How often a caller that may stop is asked, at least.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Waits in the line until the request is admitted or denied. In shadow it never waits. `stop` is asked before each sleep.
pub(crate) fn wait<T: Gives>(acquire: &Acquire<'_, T>, mut stop: impl FnMut() -> bool) -> Result<T> {
    let (limit, cost, latest) = (acquire.limit, &acquire.cost, acquire.latest);
    if let Some(admitted) = at_once(acquire)? {
        return Ok(admitted);
    }
    let word = Arc::new(AtomicU64::new(0));
    let rouse = Rouse::Thread(Arc::clone(&word));
    let mut stands = Stands::new(acquire);
    loop {
        let next = stands.look(limit, &rouse)?;
        let limiter = &stands.limiter;
        match next {
            Next::Step(Step::Granted(granted)) => return Ok(admitted(limiter, cost, granted)),
            Next::Step(Step::Denied(denied)) => {
                limiter.count_denied();
                return T::denied(limit, denied);
            }
            Next::Step(Step::Shadow) => {
                if let Some(admitted) = try_in_shadow(limit, cost)? {
                    return Ok(admitted);
                }
            }
            Next::Step(Step::Sleep { nap, .. }) => {
                if stop() {
                    return Err(interrupted(limiter));
                }
                limiter.nap(&nap.at_most(ASK_EVERY), &word);
            }
            Next::Step(Step::Unordered(now)) => {
                if stop() {
                    return Err(interrupted(limiter));
                }
                std::thread::sleep(LOOK_FOR_A_PLACE.min(latest.since(now)));
            }
            Next::Later(instant, why) => {
                if stop() {
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
        if limiter.is_void(receipt) {
            // Its epoch is over, so there is nothing to hear on it any more.
            limiter.check_still_there()?;
            std::thread::sleep(receipt.at.since(now).min(Duration::from_secs(1)));
        } else {
            limiter.sleep(receipt, now)?;
        }
    }
}
