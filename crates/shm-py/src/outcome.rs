//! What a decision returns: an `Admission`, which is true, or a `Denied`, which is false.

use crate::convert::cost;
use crate::errors::{denial, exception, limit_of};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use shm_lib::{Cost, Key, KeyedRateLimit, Outcome, OwnedKey, RateLimit, Settled};
use shm_tower::ResponseFields;
use std::sync::{Arc, Mutex, PoisonError};

/// What admitted or denied a request.
#[derive(Clone)]
pub(crate) enum Source {
    Whole(Arc<RateLimit>),
    /// One key of a limiter with limits per key.
    Key(Arc<KeyedRateLimit>, Arc<OwnedKey>),
}

impl Source {
    fn name(&self) -> &str {
        match self {
            Source::Whole(limit) => limit.name(),
            Source::Key(limit, _) => limit.name(),
        }
    }

    fn settle(&self, admission: &mut shm_lib::Admission, actual: Cost) -> shm_lib::Result<Settled> {
        match self {
            Source::Whole(limit) => limit.settle(admission, actual),
            Source::Key(limit, key) => limit.key(Key::from(&**key)).settle(admission, actual),
        }
    }
}

/// An admitted request. It is true, so `if limit.try_acquire():` works.
///
/// If the limiter has permits, it holds one until it is released: by `release()`, at the end of a `with` block, when it is garbage
/// collected, or when its process ends in any way. In a forked child a copy of it does nothing.
#[pyclass(frozen, module = "shm_limit")]
pub(crate) struct Admission {
    inner: Mutex<shm_lib::Admission>,
    by: Source,
}

impl Admission {
    pub(crate) fn new(by: Source, inner: shm_lib::Admission) -> Admission {
        Admission { by, inner: Mutex::new(inner) }
    }

    pub(crate) fn with<T>(&self, use_it: impl FnOnce(&mut shm_lib::Admission) -> T) -> T {
        use_it(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[pymethods]
impl Admission {
    /// How long the request waited for its turn, in seconds; 0.0 if it did not wait.
    #[getter]
    fn waited(&self) -> f64 {
        self.with(|inner| inner.waited()).as_secs_f64()
    }

    /// The instant that the request was admitted for, in nanoseconds of `time.CLOCK_BOOTTIME`.
    #[getter]
    fn at_ns(&self) -> u64 {
        self.with(|inner| inner.at()).as_nanos()
    }

    /// Whether the request was admitted only because the limiter is in shadow mode.
    #[getter]
    fn shadowed(&self) -> bool {
        self.with(|inner| inner.shadowed()).is_some()
    }

    /// Whether it holds a permit, which has to be released.
    #[getter]
    fn holds_permit(&self) -> bool {
        self.with(|inner| inner.holds_permit())
    }

    /// Releases the permit, if it holds one. To release twice does nothing.
    pub(crate) fn release(&self) {
        // Outside of the lock, since it may wake another caller.
        drop(self.with(shm_lib::Admission::take_permit));
    }

    /// Corrects the cost, if it was an estimate: `actual` is a number of calls, or amounts by unit. Gives back what was too much,
    /// or charges what was too little. Returns what was given back and charged, by unit. Only once, and only by the process that
    /// was admitted.
    fn settle<'py>(&self, py: Python<'py>, actual: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let units = units(actual)?;
        let actual = cost(actual)?;
        let settled = self.with(|inner| self.by.settle(inner, actual)).map_err(|e| exception(py, &e))?;
        let found = PyDict::new(py);
        for name in units {
            let unit = crate::convert::unit(py, &name)?;
            found.set_item(name, (settled.given_back(unit), settled.charged(unit)))?;
        }
        Ok(found)
    }

    /// Gives back what was taken, as far as that is possible: for a task that was cancelled in the moment of its admission.
    fn give_back(&self) {
        self.release();
        // If it cannot be given back, it counts as used.
        let _ = self.with(|inner| self.by.settle(inner, Cost::from(0)));
    }

    fn __bool__(&self) -> bool {
        true
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyAny>) {
        self.release();
    }

    fn __repr__(&self) -> String {
        format!("<Admission of {:?}, waited {} s>", self.by.name(), self.waited())
    }
}

fn units(actual: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    match actual.cast::<pyo3::types::PyMapping>() {
        Ok(amounts) => amounts.keys()?.extract(),
        Err(_) => Ok(vec!["calls".to_owned()]),
    }
}

/// The values of the response fields `RateLimit-Policy` and `RateLimit`, and the `Retry-After` of a denied request.
pub(crate) type Fields = (Option<String>, Option<String>, u64);

impl Source {
    pub(crate) fn response_fields(&self, policy_name: &str, denied: Option<&Denied>) -> Fields {
        let denied = denied.map(|denied| &denied.denied);
        fields(match self {
            Source::Whole(limit) => ResponseFields::of(limit, policy_name, denied),
            Source::Key(limit, key) => ResponseFields::of_key(limit, Some(key), policy_name, denied),
        })
    }
}

/// The fields of a request without a key, which takes only from the limits of all keys.
pub(crate) fn fields_of_all_keys(
    limit: &KeyedRateLimit,
    policy_name: &str,
    denied: Option<&Denied>,
) -> Fields {
    fields(ResponseFields::of_key(limit, None, policy_name, denied.map(|denied| &denied.denied)))
}

fn fields(fields: ResponseFields) -> Fields {
    (fields.policy, fields.limit, fields.retry_after)
}

/// A denied request: nothing was taken. It is false, so `if not limit.try_acquire():` works.
#[pyclass(frozen, module = "shm_limit")]
pub(crate) struct Denied {
    denied: shm_lib::Denied,
    by: Source,
}

#[pymethods]
impl Denied {
    /// After how many seconds the same request would be admitted if no other request came; None if that is not known, as for
    /// permits.
    #[getter]
    fn retry_after(&self) -> Option<f64> {
        self.denied.retry_after().map(|time| time.as_secs_f64())
    }

    /// What denied it: "limits", "key", "table", "pause", "permits", "line" or "unavailable".
    #[getter]
    fn denied_by(&self) -> &'static str {
        self.denied.by().word()
    }

    /// Which limit denied it, counted from 1 in the order of the policy; None if it was not a limit. With denied_by "key", it is
    /// one of the limits per key.
    #[getter]
    fn denied_limit(&self) -> Option<usize> {
        limit_of(&self.denied)
    }

    /// The instant of the decision, in nanoseconds of `time.CLOCK_BOOTTIME`.
    #[getter]
    fn at_ns(&self) -> u64 {
        self.denied.at().as_nanos()
    }

    /// The instant at which the same request would be admitted if no other request came, in nanoseconds of `time.CLOCK_BOOTTIME`;
    /// None if that is not known.
    #[getter]
    fn retry_at_ns(&self) -> Option<u64> {
        self.denied.retry_at().map(shm_lib::Nanos::as_nanos)
    }

    /// The denial as an exception, to be raised: a `RateLimited`.
    #[pyo3(name = "exception")]
    fn as_exception(&self, py: Python<'_>) -> Py<PyAny> {
        self.exception(py).into_value(py).into_any()
    }

    fn __bool__(&self) -> bool {
        false
    }

    fn __repr__(&self) -> String {
        format!("<Denied: {}>", message(&self.by, &self.denied))
    }
}

impl Denied {
    pub(crate) fn new(by: Source, denied: shm_lib::Denied) -> Denied {
        Denied { denied, by }
    }

    pub(crate) fn exception(&self, py: Python<'_>) -> PyErr {
        denial(py, &self.denied, &message(&self.by, &self.denied))
    }
}

fn message(source: &Source, denied: &shm_lib::Denied) -> String {
    let (name, by) = (source.name(), denied.by().word());
    let of = match source {
        Source::Whole(_) => String::new(),
        Source::Key(_, key) => format!(", key {}", Key::from(&**key)),
    };
    match denied.retry_after() {
        Some(time) => {
            format!("limiter {name:?}{of}: denied by {by}; try again in {:.3} s", time.as_secs_f64())
        }
        None => format!("limiter {name:?}{of}: denied by {by}"),
    }
}

/// The outcome as an object of Python.
pub(crate) fn object(py: Python<'_>, by: Source, outcome: Outcome) -> PyResult<Py<PyAny>> {
    match outcome {
        Outcome::Admitted(admission) => Ok(Py::new(py, Admission::new(by, admission))?.into_any()),
        Outcome::Denied(denied) => Ok(Py::new(py, Denied::new(by, denied))?.into_any()),
    }
}
