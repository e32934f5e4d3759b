//! Behaviour that other limiters document in their READMEs, and bugs of theirs that this library must not have.
//!
//! The tests compare the instants of the admissions ([`Admission::at`](shm_lib::Admission::at)), not when the test ran. Periods
//! are scaled down.

mod algorithms;
mod flowguard;
mod meterflow;
mod nekkar;
mod ratemate;
mod reported_bugs;

use shm_lib::{Builder, ErrorKind, Nanos, Outcome, Policy, Rate, RateLimit};
use std::fmt::Debug;
use std::time::Duration;
use tempfile::TempDir;

/// The rounding error that is allowed between two instants that should be equal.
const ROUNDING: Duration = Duration::from_micros(1);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn rate(max: u64, per: Duration) -> Rate {
    Rate::new(max, per).unwrap()
}

/// A directory of the test's own.
struct Fixture(TempDir);

impl Fixture {
    fn new() -> Fixture {
        Fixture(tempfile::tempdir().unwrap())
    }

    fn limit(&self, name: &str) -> Builder {
        RateLimit::builder(name).directory(self.0.path())
    }

    fn policy(&self, name: &str, policy: impl Into<Policy>) -> RateLimit {
        self.limit(name).open_policy(policy.into()).unwrap()
    }
}

/// Takes one, if that is possible now, and says when.
fn try_one(limit: &RateLimit) -> Option<Nanos> {
    limit.try_acquire(1).unwrap().admission().map(|admission| admission.at())
}

/// Acquires single calls until one is denied.
fn take_all(limit: &RateLimit) -> Vec<Nanos> {
    std::iter::from_fn(|| try_one(limit)).collect()
}

fn error_of<T: Debug>(result: shm_lib::Result<T>) -> (ErrorKind, String) {
    let error = result.unwrap_err();
    (error.kind(), error.to_string())
}

fn is_denied(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Denied(_))
}

/// No half-open window of `per` holds more than `max`.
#[track_caller]
fn assert_never_over(times: &mut [Nanos], max: usize, per: Duration) {
    times.sort_unstable();
    for window in times.windows(max + 1) {
        let span = window[max].since(window[0]);
        assert!(span >= per, "{} within {span:?}, but {max} per {per:?} are allowed", max + 1);
    }
}

/// Each instant is the expected time after the first one.
#[track_caller]
fn assert_times(times: &[Nanos], expected: &[Duration]) {
    assert_eq!(times.len(), expected.len());
    for (i, (&at, &expected)) in times.iter().zip(expected).enumerate() {
        let after = at.since(times[0]);
        assert!(
            after.abs_diff(expected) <= ROUNDING,
            "number {i} is {after:?} after the first, not {expected:?}"
        );
    }
}

/// Runs `task(i)` in `n` threads at the same time, and returns the results in order.
fn in_threads<T: Send>(n: usize, task: impl Fn(usize) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let task = &task;
        let threads: Vec<_> = (0..n).map(|i| scope.spawn(move || task(i))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Sleeps until an instant of the clock that limiters use.
fn sleep_until(at: Nanos) {
    std::thread::sleep(at.since(shm_lib::now()));
}
