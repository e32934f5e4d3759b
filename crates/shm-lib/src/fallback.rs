//! Fail-open and fail-closed: what to do when the limiter itself fails.

use crate::outcome::Charge;
use crate::{Admission, Denied, DeniedBy, ErrorKind, Outcome, Result};
use shm_core::clock;
use std::time::Duration;

/// Fail-open and fail-closed: how a caller proceeds when the limiter cannot decide because its file was removed, is damaged
/// or is not accessible, or because more processes use it than it has seats (`NoSeat`).
///
/// The library has no default: without one of these methods the caller handles the error. Errors that are not failures of the
/// limiter stay errors: a mistake in the request (`InvalidInput`, `NeverAdmissible`), a wait of over a year (`TooFar`), a
/// full line (`LineFull`), and a wait that its caller stopped (`Interrupted`).
///
/// ```
/// # use shm_lib::{Rate, RateLimit, Fallback};
/// # use std::time::Duration;
/// # let dir = tempfile::tempdir().unwrap();
/// # let x = || RateLimit::builder("x").directory(dir.path());
/// # let limit = x().open_rate(Rate::per_second(5).unwrap()).unwrap();
/// // The limiter is removed, and another file takes its place.
/// x().remove_by_force().unwrap();
/// std::fs::write(limit.path(), "not a limiter").unwrap();
/// assert!(limit.try_acquire(1).fail_open().unwrap().is_admitted());
/// let denied = limit.try_acquire(1).fail_closed(Duration::from_secs(1)).unwrap();
/// assert_eq!(denied.retry_after(), Some(Duration::from_secs(1)));
/// ```
pub trait Fallback {
    /// Fail-open: admits the request when the limiter cannot decide.
    ///
    /// # Errors
    /// Those that are not failures of the limiter.
    fn fail_open(self) -> Result<Outcome>;

    /// Fail-closed: denies the request when the limiter cannot decide. The denial is [`DeniedBy::Unavailable`] with this
    /// `retry_after`.
    ///
    /// # Errors
    /// Those that are not failures of the limiter.
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
