//! A turn that was taken in advance.

use crate::errors::{exception, wrong_value};
use crate::outcome::{Admission, Source};
use pyo3::prelude::*;
use std::sync::{Mutex, PoisonError};

/// A turn that was taken in advance. The caller waits for it, or gives it back; when the reservation is garbage collected before that,
/// the turn is given back as far as it can be.
#[pyclass(frozen, module = "shm_limit")]
pub(crate) struct Reservation {
    by: Source,
    at_ns: u64,
    /// None: it was used or given back.
    inner: Mutex<Option<shm_lib::Reservation>>,
}

impl Reservation {
    pub(crate) fn new(by: Source, inner: shm_lib::Reservation) -> Reservation {
        Reservation { by, at_ns: inner.at().as_nanos(), inner: Mutex::new(Some(inner)) }
    }

    fn take(&self) -> Option<shm_lib::Reservation> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[pymethods]
impl Reservation {
    /// The instant of the turn, in nanoseconds of `time.CLOCK_BOOTTIME`.
    #[getter]
    fn at_ns(&self) -> u64 {
        self.at_ns
    }

    /// In how many seconds the turn comes; 0.0 if it has come.
    fn wait_time(&self) -> f64 {
        shm_lib::Nanos::from_nanos(self.at_ns).since(shm_lib::now()).as_secs_f64()
    }

    /// Sleeps until the turn, and returns the admission. A signal handler that raises ends the sleep; the turn is still reserved then.
    fn wait(&self, py: Python<'_>) -> PyResult<Admission> {
        let sleep = py.import("time")?.getattr("sleep")?;
        loop {
            let time = self.wait_time();
            if time <= 0.0 {
                return self.commit(py);
            }
            sleep.call1((time.min(1.0),))?;
        }
    }

    /// `wait` for a task of asyncio or trio.
    fn wait_async<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("shm_limit._aio")?.getattr("wait_for_turn")?.call1((slf,))
    }

    /// The admission, if the turn has come; otherwise an error.
    fn commit(&self, py: Python<'_>) -> PyResult<Admission> {
        if self.wait_time() > 0.0 {
            return Err(wrong_value(format!("the turn comes in {} s; call wait()", self.wait_time())));
        }
        let Some(reservation) = self.take() else {
            return Err(wrong_value("this turn was used or given back".to_owned()));
        };
        let admission = py.detach(|| reservation.commit()).map_err(|e| exception(py, &e))?;
        Ok(Admission::new(self.by.clone(), admission))
    }

    /// Gives the turn back. Returns whether that was possible: if later turns were taken meanwhile, it counts as used.
    fn cancel(&self, py: Python<'_>) -> bool {
        self.take().is_some_and(|reservation| py.detach(|| reservation.cancel()))
    }
}
