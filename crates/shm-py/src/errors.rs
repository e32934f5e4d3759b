//! Exceptions. The classes are Python's, in `shm_limit/_errors.py`, which knows which one an error is.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use shm_lib::{Denied, DeniedBy, Error};

/// An error of the library as an exception.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    static OF_KIND: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let made = of_module(py, &OF_KIND, "of_kind")
        .and_then(|of_kind| of_kind.call1(py, (error.kind().word(), error.to_string(), error.path())));
    raised(py, made)
}

/// The exception for a denial that the caller wants as one.
pub(crate) fn denial(py: Python<'_>, denied: &Denied, message: &str) -> PyErr {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let retry_after = denied.retry_after().map(|time| time.as_secs_f64());
    let made = CLASS
        .import(py, "shm_limit._errors", "RateLimited")
        .and_then(|class| class.call1((message, retry_after, denied.by().word(), limit_of(denied))))
        .map(Bound::unbind);
    raised(py, made)
}

/// Which limit denied a request, counted from 1.
pub(crate) fn limit_of(denied: &Denied) -> Option<usize> {
    match denied.by() {
        DeniedBy::Limit { index, .. } | DeniedBy::KeyLimit { index, .. } => Some(index + 1),
        _ => None,
    }
}

fn raised(py: Python<'_>, made: PyResult<Py<PyAny>>) -> PyErr {
    made.map_or_else(|e| e, |exception| PyErr::from_value(exception.into_bound(py)))
}

fn of_module<'py>(py: Python<'py>, cell: &'py PyOnceLock<Py<PyAny>>, name: &str) -> PyResult<&'py Py<PyAny>> {
    cell.get_or_try_init(py, || Ok(py.import("shm_limit._errors")?.getattr(name)?.unbind()))
}

pub(crate) fn wrong_type(what: &str, expected: &str, got: &Bound<'_, PyAny>) -> PyErr {
    let class = got.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("{what} must be {expected}, not {class}"))
}

pub(crate) fn wrong_value(message: String) -> PyErr {
    PyValueError::new_err(message)
}
