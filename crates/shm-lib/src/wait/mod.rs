//! Waiting in line until the request is admitted, in a thread or as a future.
//!
//! | file | what |
//! |---|---|
//! | `mod` | what both kinds of caller share: immediate admission, and the caller's place in the line |
//! | `thread` | a thread waits |
//! | `future` | a task waits |
//! | `waker_thread` | the thread that wakes tasks |

mod future;
mod thread;
mod waker_thread;

pub use future::Acquiring;
pub(crate) use thread::{sleep_until_turn, wait};

use crate::acquire::sealed::AcquireOutput;
use crate::binding::Lookup;
use crate::outcome::Charge;
use crate::{Admission, Error, Permit, RateLimit, Result};
use shm_core::clock::{self, Nanos};
use shm_core::{CallerWaker, Demand, Granted, Limiter, Receipt, WaitStep, Waiter};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The instant that is `time` from now, by the clock that all processes share. Zero for no time at all: the request is then
/// admitted immediately or denied.
pub(crate) fn deadline_after(time: Duration) -> Nanos {
    match time {
        Duration::ZERO => Nanos::from_nanos(0),
        left => clock::now().plus(left),
    }
}

/// A caller's place in the line. Dropping this leaves the line, and nothing stays charged.
struct WaitingCaller {
    limiter: Arc<Limiter>,
    waiter: Waiter,
}

/// What a waiting caller does next.
enum TurnPoll {
    Step(WaitStep),
    /// Its limiter was lost twice within a short time: it reopens the name at this instant, or gives up with this error.
    RetryAt(Instant, Error),
}

impl WaitingCaller {
    fn new(limit: &RateLimit, demand: Demand) -> WaitingCaller {
        WaitingCaller { limiter: Arc::clone(&limit.limiter()), waiter: Waiter::new(demand) }
    }

    /// Checks whether it is the caller's turn. If the limiter is lost, the caller moves to the line of the limiter that now
    /// has the name, and keeps its original arrival time, so that it stays ahead of later arrivals.
    fn poll_turn(&mut self, limit: &RateLimit, waker: &CallerWaker) -> Result<TurnPoll> {
        loop {
            match self.limiter.poll_turn(&mut self.waiter, waker) {
                Err(why) if why.kind().is_lost() => match limit.binding.reopen(&self.limiter, why)? {
                    Lookup::Found(limiter) => self.limiter = limiter,
                    Lookup::RetryAt(instant, why) => return Ok(TurnPoll::RetryAt(instant, why)),
                },
                step => return step.map(TurnPoll::Step),
            }
        }
    }
}

impl Drop for WaitingCaller {
    fn drop(&mut self) {
        self.limiter.cancel_wait(&mut self.waiter);
    }
}

/// Fast path: admits a request for calls if a single attempt succeeds. `None`: the caller goes on with [`try_immediate`].
#[inline]
pub(crate) fn try_immediate_calls(limit: &RateLimit, demand: &Demand) -> Option<(Receipt, Charge)> {
    let n = demand.calls()?;
    // Uses the first limiter, as `try_acquire` does: this attempt fails if that is lost, or in shadow mode and over its limit.
    let receipt = limit.first().admit_calls_now(n, demand.latest())?;
    Some((receipt, Charge::Calls(n)))
}

/// Admits the request if it need not wait. `None`: it must wait.
fn try_immediate<T: AcquireOutput>(limit: &RateLimit, demand: &Demand) -> Result<Option<T>> {
    if limit.limiter().is_shadow()
        && let Some(admitted) = try_in_shadow(limit, demand)?
    {
        return Ok(Some(admitted));
    }
    let now = limit.with(|limiter| {
        let granted = limiter.admit_now(demand)?;
        Ok(granted.map(|granted| admitted(limiter, demand, granted)))
    });
    match now {
        // Lost again right after it was reopened: a caller that may wait retries.
        Err(e) if e.kind().is_lost() => Ok(None),
        now => now,
    }
}

/// The same on the limiter that the handle has now, which is not opened again if it is lost. `None` also in shadow mode.
pub(crate) fn try_immediate_here<T: AcquireOutput>(limit: &RateLimit, demand: &Demand) -> Result<Option<T>> {
    let limiter = limit.limiter();
    if limiter.is_shadow() {
        return Ok(None);
    }
    match limiter.admit_now(demand) {
        Ok(granted) => Ok(granted.map(|granted| admitted(&limiter, demand, granted))),
        Err(e) if e.kind().is_lost() => Ok(None),
        Err(e) => Err(e),
    }
}

fn admitted<T: AcquireOutput>(limiter: &Arc<Limiter>, demand: &Demand, granted: Granted) -> T {
    let Granted { receipt, charged, permit, waited } = granted;
    T::admitted(Admission {
        receipt,
        waited_ns: waited.as_nanos() as u64,
        permit: permit.map(|held| Permit::new(limiter, held)),
        charge: demand.calls().map_or_else(|| Charge::of(&demand.cost(), charged), Charge::Calls),
    })
}

/// In shadow mode no request waits or is denied. `None` if shadow mode was switched off meanwhile: then the caller waits.
fn try_in_shadow<T: AcquireOutput>(limit: &RateLimit, demand: &Demand) -> Result<Option<T>> {
    Ok(limit.try_cost(&demand.cost())?.admission().map(T::admitted))
}

/// How often a caller retries that found no free place in the line.
const PLACE_RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// How long a caller sleeps until the name may be looked up again, or `why` if that is after its deadline.
fn lookup_delay(instant: Instant, latest: Nanos, why: Error) -> Result<Duration> {
    let time = instant.saturating_duration_since(Instant::now());
    if clock::now().plus(time) > latest { Err(why) } else { Ok(time) }
}
