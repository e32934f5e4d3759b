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
use crate::outcome::Charge;
use crate::{Acquire, Admission, Permit, RateLimit, Result};
use shm_core::clock::{self, Nanos};
use shm_core::limit::Cost;
use shm_core::{Granted, Limiter, Waiter};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The latest turn that is wanted, by the clock that all processes share. A deadline that is over already wants only what
/// is to be had at once.
pub(crate) fn latest(deadline: Instant) -> Nanos {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Nanos::from_nanos(0),
        left => clock::now().plus(left),
    }
}

/// A caller's place in the line. It is left when this is dropped, in whatever way, and takes nothing along.
struct Stands<'a> {
    limiter: &'a Limiter,
    waiter: Waiter,
}

impl<'a> Stands<'a> {
    fn new<T>(acquire: &Acquire<'a, T>) -> Stands<'a> {
        let waiter = Waiter::new(&acquire.cost, acquire.latest, acquire.most_waiting);
        Stands { limiter: &acquire.limit.limiter, waiter }
    }
}

impl Drop for Stands<'_> {
    fn drop(&mut self) {
        self.limiter.step_out(&mut self.waiter);
    }
}

fn admitted<T: Gives>(limiter: &Arc<Limiter>, cost: &Cost, granted: Granted) -> T {
    let Granted { receipt, charged, permit, waited } = granted;
    T::admitted(Admission {
        receipt,
        waited_ns: waited.as_nanos() as u64,
        permit: permit.map(|held| Permit::new(limiter, held)),
        charge: Charge::of(cost, charged),
    })
}

/// In shadow nobody waits, and nobody is denied. `None` if it was taken out of the shadow meanwhile: then the caller waits.
fn try_in_shadow<T: Gives>(limit: &RateLimit, cost: &Cost) -> Result<Option<T>> {
    Ok(limit.try_cost(cost)?.admission().map(T::admitted))
}

/// How soon a caller for which there is no place in the line looks for one again.
const LOOK_FOR_A_PLACE: Duration = Duration::from_millis(10);
