//! Waiting by tokio's timer.

use super::line::What;
use super::{Timer, latest};
use crate::{Admission, Outcome, RateLimit, Request, Result};
use std::time::{Duration, Instant};

/// Sleeps by `tokio::time`, which counts in milliseconds and rounds up: a turn that is waited for is used up to about a
/// millisecond late.
///
/// A paused tokio clock makes sleeps end early and turns come no sooner: turns are by the clock that all processes share.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioTimer;

impl Timer for TokioTimer {
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(time)
    }
}

/// # Waiting in tokio
/// With the feature `tokio`. What happens on drop, fork and kill: see [above](#waiting-in-futures).
///
/// ```
/// # use shm_lib::RateLimit;
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> shm_lib::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let limit = RateLimit::builder("api").directory(dir.path()).open(100, Duration::from_secs(1))?;
/// limit.acquire().await?; // in turn, among all tasks of all processes
/// let outcome = limit.acquire_timeout(1, Duration::from_secs(2)).await?;
/// # assert!(outcome.is_admitted());
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// These futures panic when they have to wait outside a tokio runtime, or in one built without its timer
/// (`enable_time`).
impl RateLimit {
    /// Takes one token and waits for its turn. Among all processes, first come, first served.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn acquire(&self) -> impl Future<Output = Result<Admission>> + Send {
        self.admission(&TokioTimer, What::Calls(1))
    }

    /// Takes `n` tokens and waits for their turn.
    ///
    /// # Errors
    /// As [`wait_n`](Self::wait_n).
    pub fn acquire_n(&self, n: u64) -> impl Future<Output = Result<Admission>> + Send {
        self.admission(&TokioTimer, What::Calls(n))
    }

    /// Takes what is requested and waits for its turn: the one instant that satisfies all limits.
    ///
    /// # Errors
    /// As [`wait_request`](Self::wait_request).
    pub fn acquire_request(&self, request: &Request) -> impl Future<Output = Result<Admission>> + Send {
        self.admission(&TokioTimer, What::of(request))
    }

    /// Takes `n` tokens if their turn comes within `timeout` of this call. Otherwise it takes nothing and is ready at
    /// once; only for a permit it waits that long, since nobody knows when one is free.
    ///
    /// # Errors
    /// As [`wait_n_timeout`](Self::wait_n_timeout).
    pub fn acquire_timeout(&self, n: u64, timeout: Duration) -> impl Future<Output = Result<Outcome>> + Send {
        // A time that doesn't fit the clock is no deadline.
        let latest = latest(Instant::now().checked_add(timeout));
        self.outcome(&TokioTimer, What::Calls(n), latest)
    }

    /// The same for a request.
    ///
    /// # Errors
    /// As [`wait_request_unless`](Self::wait_request_unless).
    pub fn acquire_request_timeout(
        &self,
        request: &Request,
        timeout: Duration,
    ) -> impl Future<Output = Result<Outcome>> + Send {
        let latest = latest(Instant::now().checked_add(timeout));
        self.outcome(&TokioTimer, What::of(request), latest)
    }
}
