//! Waiting in a thread: other threads of the interpreter run meanwhile, and Ctrl-C ends the wait.

use crate::convert::Bounds;
use crate::errors::exception;
use pyo3::prelude::*;
use shm_lib::{Acquire, AcquireOutput, Cost, ErrorKind, Key, KeyAcquire, KeyedRateLimit, Outcome, RateLimit};

/// A request that waits within these bounds.
pub(crate) fn bounded(limit: &RateLimit, cost: Cost, bounds: Bounds) -> Acquire<'_, Outcome> {
    let mut acquire = limit.acquire(cost).or_denied();
    if let Some(timeout) = bounds.timeout {
        acquire = acquire.timeout(timeout);
    }
    match bounds.max_waiters {
        Some(most) => acquire.max_waiters(most),
        None => acquire,
    }
}

/// The same of a key.
pub(crate) fn bounded_key<'l, 'k>(
    limit: &'l KeyedRateLimit,
    key: Key<'k>,
    cost: Cost,
    bounds: Bounds,
) -> KeyAcquire<'l, 'k, Outcome> {
    let mut acquire = limit.key(key).acquire(cost).or_denied();
    if let Some(timeout) = bounds.timeout {
        acquire = acquire.timeout(timeout);
    }
    match bounds.max_waiters {
        Some(most) => acquire.max_waiters(most),
        None => acquire,
    }
}

/// Waits for the request's turn. A signal handler that raises, as Ctrl-C does, ends the wait with its exception; nothing was taken
/// then. A denial of a request without a bound is an error.
pub(crate) fn wait<T: AcquireOutput + Send>(py: Python<'_>, request: Acquire<'_, T>) -> PyResult<T> {
    // The interpreter is not released for a request that does not wait.
    if let Some(now) = request.try_now().map_err(|e| exception(py, &e))? {
        return Ok(now);
    }
    let mut raised = None;
    let ended = py.detach(|| request.stop_when(|| is_interrupted(&mut raised)).wait());
    concluded(py, ended, raised)
}

/// Waits for the turn of a request of a key.
pub(crate) fn wait_for_key(
    py: Python<'_>,
    limit: &KeyedRateLimit,
    key: Key<'_>,
    cost: Cost,
    bounds: Bounds,
) -> PyResult<Outcome> {
    let request = bounded_key(limit, key, cost, bounds);
    if let Some(outcome) = request.try_now().map_err(|e| exception(py, &e))? {
        return Ok(outcome);
    }
    let mut raised = None;
    let ended = py.detach(|| request.stop_when(|| is_interrupted(&mut raised)).wait());
    concluded(py, ended, raised)
}

/// Runs the signal handlers that are due, which only the main thread does.
fn is_interrupted(raised: &mut Option<PyErr>) -> bool {
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method is not one for all lifetimes")]
    let checked = Python::attach(|py| py.check_signals());
    *raised = checked.err();
    raised.is_some()
}

fn concluded<T>(py: Python<'_>, ended: shm_lib::Result<T>, raised: Option<PyErr>) -> PyResult<T> {
    ended.map_err(|e| match raised {
        Some(raised) if e.kind() == ErrorKind::Interrupted => raised,
        _ => exception(py, &e),
    })
}
