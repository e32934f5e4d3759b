//! Every call that the load makes on a limiter.

use shm_lib::{Admission, ErrorKind, Outcome, RateLimit, Result};
use std::time::{Duration, Instant};

/// An admission. Its permit, if there is one, is given back when this is dropped.
pub struct Admitted(Admission);

impl Admitted {
    /// The instant that counts for the limit.
    pub fn at(&self) -> u64 {
        self.0.at().as_nanos()
    }
}

/// Waits without a deadline.
pub fn wait(limit: &RateLimit, cost: u64) -> Result<Admitted> {
    limit.acquire(cost).wait().map(Admitted)
}

/// Waits until `deadline`, or leaves earlier when it is certain that the turn comes later.
pub fn wait_until(limit: &RateLimit, deadline: Instant) -> Result<Option<Admitted>> {
    limit.acquire(1).deadline(deadline).wait().map(admitted)
}

/// Waits until `stop` returns true. A signal that is handled in this thread makes the wait call it.
pub fn wait_unless(limit: &RateLimit, stop: impl FnMut() -> bool) -> Result<Option<Admitted>> {
    match limit.acquire(1).stop_when(stop).wait() {
        Ok(admission) => Ok(Some(Admitted(admission))),
        Err(e) if e.kind() == ErrorKind::Interrupted => Ok(None),
        Err(e) => Err(e),
    }
}

/// The future that waits.
pub async fn acquire(limit: &RateLimit, cost: u64) -> Result<Admitted> {
    limit.acquire(cost).await.map(Admitted)
}

/// Asks without waiting.
pub fn try_acquire(limit: &RateLimit, cost: u64) -> Result<Option<Admitted>> {
    limit.try_acquire(cost).map(admitted)
}

/// What `shm-limit list` shows as QUEUE.
pub fn queued(limit: &RateLimit) -> u64 {
    limit.inspect().expect("a healthy limiter").callers_waiting()
}

/// How many requests all processes together have been admitted.
pub fn admitted_so_far(limit: &RateLimit) -> u64 {
    limit.stats().admitted
}

/// How long a call waited.
#[derive(Clone, Copy, Debug)]
pub enum NextCall {
    /// It was admitted after this time.
    Admitted(Duration),
    /// It was not admitted within its patience. The limiter says that this is how long it takes.
    Denied(Duration),
}

/// One call by the only client that is left.
pub fn next_call(limit: &RateLimit, patience: Duration) -> NextCall {
    let began = Instant::now();
    match limit.acquire(1).timeout(patience).wait().expect("an answer") {
        Outcome::Admitted(_) => NextCall::Admitted(began.elapsed()),
        Outcome::Denied(denied) => {
            let retry_after = denied.retry_after().expect("the limit denies, and says when it admits");
            NextCall::Denied(began.elapsed() + retry_after)
        }
    }
}

fn admitted(outcome: Outcome) -> Option<Admitted> {
    outcome.admission().map(Admitted)
}
