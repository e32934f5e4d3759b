//! Waiting: a caller stands in the line until it is admitted, asleep on a thread or as a future.
//!
//! | file | what |
//! |---|---|
//! | `mod` | what both have in common: what a caller got, in the library's words |
//! | `thread` | a thread waits |
//! | `future` | a task waits |
//! | `tender` | the thread that wakes tasks |

mod future;
mod tender;
mod thread;

pub use future::Acquiring;
pub(crate) use thread::{until, wait};

use crate::acquire::sealed::Gives;
use crate::binding::Sought;
use crate::outcome::Charge;
use crate::{Admission, Error, Permit, RateLimit, Result};
use shm_core::clock::{self, Nanos};
use shm_core::{Demand, Granted, Limiter, Receipt, Rouse, Step, Waiter};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The latest turn that is wanted after this time, by the clock that all processes share. Without any time left only what is
/// to be had at once is wanted.
pub(crate) fn after(time: Duration) -> Nanos {
    match time {
        Duration::ZERO => Nanos::from_nanos(0),
        left => clock::now().plus(left),
    }
}

/// A caller's place in the line. It is left when this is dropped, in whatever way, and takes nothing along.
struct Stands {
    limiter: Arc<Limiter>,
    waiter: Waiter,
}

/// What a caller does after it has looked.
enum Next {
    Step(Step),
    /// Its limiter was lost twice in a short time: it looks again at this instant, or gives up with this error.
    Later(Instant, Error),
}

impl Stands {
    fn new(limit: &RateLimit, demand: Demand) -> Stands {
        Stands { limiter: Arc::clone(&limit.limiter()), waiter: Waiter::new(demand) }
    }

    /// Looks. If the limiter is lost, the caller goes over to the line of the one that has the name now: as one that arrived
    /// when it did, before those that came later.
    fn look(&mut self, limit: &RateLimit, rouse: &Rouse) -> Result<Next> {
        loop {
            match self.limiter.look(&mut self.waiter, rouse) {
                Err(why) if why.kind().is_lost() => match limit.binding.find_again(&self.limiter, why)? {
                    Sought::Found(limiter) => self.limiter = limiter,
                    Sought::NotBefore(instant, why) => return Ok(Next::Later(instant, why)),
                },
                step => return step.map(Next::Step),
            }
        }
    }
}

impl Drop for Stands {
    fn drop(&mut self) {
        self.limiter.step_out(&mut self.waiter);
    }
}

/// What a caller takes that asks for calls and need not wait, if one attempt does it. `None`: [`at_once`] says more.
#[inline]
fn calls_at_once(limit: &RateLimit, demand: &Demand) -> Option<(Receipt, Charge)> {
    let n = demand.calls()?;
    // As `try_acquire`: a limiter that is lost fails, and one in shadow that would deny does.
    let receipt = limit.first().admit_calls_now(n, demand.latest())?;
    Some((receipt, Charge::Calls(n)))
}

/// What a caller gets that need not wait. `None`: it waits.
fn at_once<T: Gives>(limit: &RateLimit, demand: &Demand) -> Result<Option<T>> {
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
        // Lost again a moment after it was found: a caller that may wait looks for it once more.
        Err(e) if e.kind().is_lost() => Ok(None),
        now => now,
    }
}

fn admitted<T: Gives>(limiter: &Arc<Limiter>, demand: &Demand, granted: Granted) -> T {
    let Granted { receipt, charged, permit, waited } = granted;
    T::admitted(Admission {
        receipt,
        waited_ns: waited.as_nanos() as u64,
        permit: permit.map(|held| Permit::new(limiter, held)),
        charge: demand.calls().map_or_else(|| Charge::of(&demand.cost(), charged), Charge::Calls),
    })
}

/// In shadow nobody waits, and nobody is denied. `None` if it was taken out of the shadow meanwhile: then the caller waits.
fn try_in_shadow<T: Gives>(limit: &RateLimit, demand: &Demand) -> Result<Option<T>> {
    Ok(limit.try_cost(&demand.cost())?.admission().map(T::admitted))
}

/// How soon a caller for which there is no place in the line looks for one again.
const LOOK_FOR_A_PLACE: Duration = Duration::from_millis(10);

/// How long a caller sleeps whose limiter is looked for again at this instant; an error if that is too late for it.
fn time_to_look_again(instant: Instant, latest: Nanos, why: Error) -> Result<Duration> {
    let time = instant.saturating_duration_since(Instant::now());
    if clock::now().plus(time) > latest { Err(why) } else { Ok(time) }
}
