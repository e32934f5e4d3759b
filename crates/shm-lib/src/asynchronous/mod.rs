//! Waiting without a thread: the same operations as futures, with any runtime's timer.
//!
//! | file | what |
//! |---|---|
//! | `line` | one place in the line: what a waiting future holds, and its next step. Knows no futures |
//! | `mod` | the future: step, sleep, step |
//! | `tokio` | with tokio's timer (feature `tokio`) |

mod line;
#[cfg(feature = "tokio")]
mod tokio;

#[cfg(feature = "tokio")]
pub use tokio::TokioTimer;

use crate::wait::latest;
use crate::{Admission, Error, ErrorKind, Outcome, RateLimit, Request, Result};
use line::{Line, Step, What};
use shm_core::clock::Nanos;
use std::time::{Duration, Instant};

/// What a runtime must be able to do for futures to wait here: sleep.
///
/// A sleep may end late, and then the caller goes on late; if it ends early it is begun again. For tokio there is one
/// ready: `TokioTimer`, by the feature `tokio`.
///
/// ```
/// use shm_lib::Timer;
/// use std::time::Duration;
///
/// struct MyRuntime;
///
/// impl Timer for MyRuntime {
///     async fn sleep(&self, time: Duration) {
///         # let _ = time;
///         // my_runtime::sleep(time).await
///     }
/// }
/// ```
pub trait Timer: Sync {
    /// A future that is ready after `time`.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

/// # Waiting in futures
/// Nothing is taken before the first poll. Admitted at once, a future neither allocates (where there is one limit, of
/// calls) nor touches its timer. Otherwise it takes its turn first and then sleeps: first come, first served, among
/// all processes, whether they wait here or in [`wait`](RateLimit::wait). It blocks no thread.
///
/// - **Dropped** while it waits (a timeout, `select!`, an aborted task), its turn is given back if nobody took one after
///   it, otherwise forfeited, and its permit is given back. Nothing is left behind.
/// - **Forked**: a copy in a child takes and gives back nothing of its parent's. Polled there, it starts over.
/// - **Killed**: the turn passes unused, the permit is free again.
/// - **News**: of a change, a pause, a reset or the end of the limiter it hears within 0.1 s, of its file's removal
///   within 1 s. It then asks again under the new rules.
/// - **Permits** have no order. A future looks for one after 1 ms, then less often, at least every 50 ms.
impl RateLimit {
    /// Takes what is requested and waits for its turn, asleep by `timer`. As [`wait_request`](Self::wait_request).
    ///
    /// # Errors
    /// As [`wait_request`](Self::wait_request).
    pub fn acquire_with<T: Timer>(
        &self,
        timer: &T,
        request: &Request,
    ) -> impl Future<Output = Result<Admission>> + Send {
        self.admission(timer, What::of(request))
    }

    /// Takes what is requested if its turn comes by `deadline`, asleep by `timer` until then. Otherwise it takes nothing
    /// and is ready at once; only for a permit it waits until `deadline`, since nobody knows when one is free.
    ///
    /// # Errors
    /// As [`wait_request`](Self::wait_request).
    pub fn acquire_with_deadline<T: Timer>(
        &self,
        timer: &T,
        request: &Request,
        deadline: Instant,
    ) -> impl Future<Output = Result<Outcome>> + Send {
        self.outcome(timer, What::of(request), latest(Some(deadline)))
    }

    async fn admission<T: Timer>(&self, timer: &T, what: What<'_>) -> Result<Admission> {
        match self.outcome(timer, what, latest(None)).await? {
            Outcome::Admitted(admission) => Ok(admission),
            // Only a deadline denies.
            Outcome::Denied(_) => Err(Error::new(ErrorKind::Io, "denied without a deadline")),
        }
    }

    async fn outcome<T: Timer>(&self, timer: &T, what: What<'_>, latest: Nanos) -> Result<Outcome> {
        let mut line = Line::new(self, what, latest);
        loop {
            match line.step()? {
                Step::Done(outcome) => return Ok(outcome),
                // The only place where it can be dropped: `line` gives back what it holds.
                Step::Sleep(time) => timer.sleep(time).await,
            }
        }
    }
}
