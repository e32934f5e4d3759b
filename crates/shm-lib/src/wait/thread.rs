//! A thread waits.

use super::{LOOK_FOR_A_PLACE, Stands, admitted, denied, latest};
use crate::{Outcome, RateLimit};
use shm_core::clock::{self, Nanos};
use shm_core::limit::Request;
use shm_core::{Error, ErrorKind, Limiter, Receipt, Result, Rouse, Step};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// How often a caller that may stop is asked, at least.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Takes what is requested, and waits in the line until it has it. In shadow it never waits. `stop` is asked before each
/// sleep.
pub(crate) fn wait(
    limit: &RateLimit,
    request: &Request,
    deadline: Option<Instant>,
    mut stop: impl FnMut() -> bool,
) -> Result<Outcome> {
    let limiter = &limit.limiter;
    let latest = latest(deadline);
    if limiter.is_shadow() {
        return limit.try_request(request);
    }
    if let Some(granted) = limiter.admit_now(request, latest)? {
        return Ok(admitted(limiter, request, granted));
    }
    let word = Arc::new(AtomicU64::new(0));
    let rouse = Rouse::Thread(Arc::clone(&word));
    let mut stands = Stands::new(limiter, request, latest);
    loop {
        match limiter.look(&mut stands.waiter, &rouse)? {
            Step::Granted(granted) => return Ok(admitted(limiter, request, granted)),
            Step::Refused(why, now) => return Ok(denied(limiter, why, now)),
            Step::Shadow => return limit.try_request(request),
            Step::Sleep { nap, .. } => {
                if stop() {
                    drop(stands);
                    return Err(interrupted(limiter));
                }
                limiter.nap(&nap.at_most(ASK_EVERY), &word);
            }
            Step::Unordered(now) => {
                if stop() {
                    return Err(interrupted(limiter));
                }
                std::thread::sleep(LOOK_FOR_A_PLACE.min(latest.since(now)));
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
