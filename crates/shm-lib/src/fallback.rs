//! What to do when the limiter itself fails: the caller's explicit choice.

use crate::outcome::Paid;
use crate::{Admission, Denial, ErrorKind, Outcome, Result};
use shm_core::clock;
use std::time::Duration;

/// How a caller goes on when the limiter can't decide: its file was removed, damaged, or can't be reached.
///
/// Nothing here chooses for you: without one of these the error is yours to handle. What is no failure of the limiter
/// stays an error: a mistake in the request (`InvalidInput`, `NeverAdmissible`), a queue of over a year (`TooFar`), the
/// caller's own `Interrupted`. More processes than seats (`NoSeat`) is a failure.
///
/// ```
/// # use shm_lib::{RateLimit, Fallback};
/// # use std::time::Duration;
/// # let dir = tempfile::tempdir().unwrap();
/// # let limit = RateLimit::builder("x").directory(dir.path()).open(5, Duration::from_secs(1)).unwrap();
/// std::fs::remove_file(limit.path()).unwrap();
/// std::thread::sleep(Duration::from_millis(150));
/// assert!(limit.try_acquire().fail_open().unwrap().is_admitted());
/// assert!(!limit.try_acquire().fail_closed(Duration::from_secs(1)).unwrap().is_admitted());
/// ```
pub trait Fallback {
    /// Admits what can't be decided.
    ///
    /// # Errors
    /// What is no failure of the limiter.
    fn fail_open(self) -> Result<Outcome>;

    /// Denies what can't be decided, to be tried again after `retry_after`.
    ///
    /// # Errors
    /// What is no failure of the limiter.
    fn fail_closed(self, retry_after: Duration) -> Result<Outcome>;
}

impl Fallback for Result<Outcome> {
    fn fail_open(self) -> Result<Outcome> {
        undecided(self, || Outcome::Admitted(Admission::unasked(clock::now(), None, Paid::Nothing)))
    }

    fn fail_closed(self, retry_after: Duration) -> Result<Outcome> {
        undecided(self, || {
            let now = clock::now();
            Outcome::Denied(Denial { ready: now.plus(retry_after), now })
        })
    }
}

fn undecided(result: Result<Outcome>, otherwise: impl FnOnce() -> Outcome) -> Result<Outcome> {
    use ErrorKind::{Interrupted, InvalidInput, NeverAdmissible, TooFar};
    match result {
        Err(e) if !matches!(e.kind(), InvalidInput | NeverAdmissible | TooFar | Interrupted) => {
            Ok(otherwise())
        }
        decided => decided,
    }
}
