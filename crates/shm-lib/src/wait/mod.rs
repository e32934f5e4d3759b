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

use crate::outcome::Paid;
use crate::{Admission, Denial, Outcome, Permit, RateLimit};
use shm_core::clock::{self, Nanos};
use shm_core::limit::Request;
use shm_core::{Error, ErrorKind, Granted, Limiter, Refused, Waiter};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The latest turn that is wanted, by the clock that all processes share. A deadline that is over already wants only what
/// is to be had at once.
pub(crate) fn latest(deadline: Option<Instant>) -> Nanos {
    let Some(deadline) = deadline else { return Nanos::from_nanos(u64::MAX) };
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
    fn new(limiter: &'a Limiter, request: &Request, latest: Nanos) -> Stands<'a> {
        Stands { limiter, waiter: Waiter::new(request, latest, u64::MAX) }
    }
}

impl Drop for Stands<'_> {
    fn drop(&mut self) {
        self.limiter.step_out(&mut self.waiter);
    }
}

fn admitted(limiter: &Arc<Limiter>, request: &Request, granted: Granted) -> Outcome {
    let Granted { receipt, charged, permit, waited } = granted;
    Outcome::Admitted(Admission {
        receipt,
        waited_ns: waited.as_nanos() as u64,
        permit: permit.map(|held| Permit::new(limiter, held)),
        paid: Paid::for_request(request, charged),
    })
}

fn denied(limiter: &Limiter, why: Refused, now: Nanos) -> Outcome {
    limiter.count_denied();
    let ready = match why {
        Refused::TooLate { ready, .. } => ready,
        Refused::Permits | Refused::Line(_) => now,
    };
    Outcome::Denied(Denial { ready, now })
}

/// How soon a caller for which there is no place in the line looks for one again.
const LOOK_FOR_A_PLACE: Duration = Duration::from_millis(10);

fn denied_without_deadline(limit: &RateLimit) -> Error {
    Error::new(ErrorKind::Io, "denied without a deadline").at(limit.name(), limit.path())
}
