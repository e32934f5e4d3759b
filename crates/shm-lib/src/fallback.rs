//! What to do when the limiter itself fails: the caller's explicit choice.

use crate::outcome::Charge;
use crate::{Admission, Denied, DeniedBy, ErrorKind, Outcome, Result};
use shm_core::clock;
use std::time::Duration;

/// How a caller goes on when the limiter can't decide: its file was removed, damaged, or can't be reached.
///
/// Nothing here chooses for you: without one of these the error is yours to handle. What is no failure of the limiter
/// stays an error: a mistake in the request (`InvalidInput`, `NeverAdmissible`), a wait of over a year (`TooFar`), a line
/// that is full (`LineFull`), the caller's own `Interrupted`. More processes than seats (`NoSeat`) is a failure.
///
/// ```
/// # use shm_lib::{Rate, RateLimit, Fallback};
/// # use std::time::Duration;
/// # let dir = tempfile::tempdir().unwrap();
/// # let x = || RateLimit::builder("x").directory(dir.path());
/// # let limit = x().open_rate(Rate::per_second(5).unwrap()).unwrap();
/// // Somebody removes the limiter, and puts something else in its place.
/// x().remove_by_force().unwrap();
/// std::fs::write(limit.path(), "not a limiter").unwrap();
/// assert!(limit.try_acquire(1).fail_open().unwrap().is_admitted());
/// let denied = limit.try_acquire(1).fail_closed(Duration::from_secs(1)).unwrap();
/// assert_eq!(denied.retry_after(), Some(Duration::from_secs(1)));
/// ```
pub trait Fallback {
    /// Admits what can't be decided.
    ///
    /// # Errors
    /// What is no failure of the limiter.
    fn fail_open(self) -> Result<Outcome>;

    /// Denies what can't be decided, to be tried again after `retry_after`: by [`DeniedBy::Unavailable`].
    ///
    /// # Errors
    /// What is no failure of the limiter.
    fn fail_closed(self, retry_after: Duration) -> Result<Outcome>;
}

impl Fallback for Result<Outcome> {
    fn fail_open(self) -> Result<Outcome> {
        undecided(self, || Outcome::Admitted(Admission::uncharged(clock::now(), None, Charge::FailedOpen)))
    }

    fn fail_closed(self, retry_after: Duration) -> Result<Outcome> {
        undecided(self, || Outcome::Denied(Denied::new(DeniedBy::Unavailable { retry_after }, clock::now())))
    }
}

fn undecided(result: Result<Outcome>, otherwise: impl FnOnce() -> Outcome) -> Result<Outcome> {
    use ErrorKind::{Interrupted, InvalidInput, LineFull, NeverAdmissible, TooFar};
    match result {
        Err(e) if !matches!(e.kind(), InvalidInput | NeverAdmissible | TooFar | LineFull | Interrupted) => {
            Ok(otherwise())
        }
        decided => decided,
    }
}
