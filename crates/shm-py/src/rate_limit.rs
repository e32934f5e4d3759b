//! The handle of a limiter.

use crate::blocks::Blocks;
use crate::convert::{Bounds, cost_or_one, count, rate, time};
use crate::errors::{exception, wrong_value};
use crate::last_admission::LastAdmission;
use crate::outcome::{Admission, Denied, Fields, Source, object};
use crate::reservation::Reservation;
use crate::{opening, policy, wait};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use shm_lib::{Directory, Outcome, RateLimit};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

/// The directory of limiters for which none is given.
#[pyfunction]
pub(crate) fn default_directory() -> PathBuf {
    Directory::from_env().path().to_owned()
}

/// A handle of a limiter: the native part of `shm_limit.RateLimit`, which adds what Python alone can do.
#[pyclass(frozen, subclass, module = "shm_limit._native")]
pub(crate) struct NativeRateLimit {
    limit: Arc<RateLimit>,
    last: LastAdmission,
    blocks: Blocks,
}

impl NativeRateLimit {
    pub(crate) fn limit(&self) -> &Arc<RateLimit> {
        &self.limit
    }

    pub(crate) fn of(limit: Arc<RateLimit>) -> NativeRateLimit {
        NativeRateLimit { limit, last: LastAdmission::default(), blocks: Blocks::default() }
    }

    fn source(&self) -> Source {
        Source::Whole(Arc::clone(&self.limit))
    }

    /// The outcome as an object of Python.
    #[inline(always)]
    fn object(&self, py: Python<'_>, outcome: shm_lib::Result<Outcome>) -> PyResult<Py<PyAny>> {
        // One match on the whole result: each further step would copy the admission once more.
        match outcome {
            Ok(Outcome::Admitted(admission)) => Ok(self.last.object(py, &self.limit, admission)?.into_any()),
            Ok(denied) => object(py, self.source(), denied),
            Err(e) => Err(exception(py, &e)),
        }
    }

    fn done<T>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&RateLimit) -> shm_lib::Result<T> + Send,
    ) -> PyResult<T>
    where
        T: Send,
    {
        py.detach(|| act(&self.limit)).map_err(|e| exception(py, &e))
    }
}

#[pymethods]
impl NativeRateLimit {
    /// Opens the limiter `name`, and creates it if it does not exist. Without limits and permits it must exist.
    #[new]
    #[pyo3(signature = (name, limits, *, permits=None, max_waiters=None, shadow=false, directory=None, mode=None, seats=None, on_mismatch="error", on_lost="reopen"))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        py: Python<'_>,
        name: &str,
        limits: Option<Vec<Bound<'_, PyAny>>>,
        permits: Option<&Bound<'_, PyAny>>,
        max_waiters: Option<&Bound<'_, PyAny>>,
        shadow: bool,
        directory: Option<PathBuf>,
        mode: Option<u32>,
        seats: Option<&Bound<'_, PyAny>>,
        on_mismatch: &str,
        on_lost: &str,
    ) -> PyResult<NativeRateLimit> {
        let policy = limits
            .map(|limits| policy::policy(py, &limits, None, permits, max_waiters, shadow))
            .transpose()?;
        let creates = policy.is_some();
        let builder = opening::builder(name, creates, directory, mode, seats, on_mismatch, on_lost)?;
        let opened = py.detach(|| match policy {
            Some(policy) => builder.open_policy(policy),
            None => builder.attach(),
        });
        opened.map(|limit| NativeRateLimit::of(Arc::new(limit))).map_err(|e| exception(py, &e))
    }

    /// The limiter's name.
    #[getter]
    fn name(&self) -> &str {
        self.limit.name()
    }

    /// The limiter's file.
    #[getter]
    fn path(&self) -> &OsStr {
        self.limit.path().as_os_str()
    }

    /// Takes `n` calls (or amounts by unit, such as `{"tokens": 500}`) now, or none. Never waits. Returns an `Admission`, which is
    /// true, or a `Denied`, which is false.
    #[pyo3(signature = (n=None))]
    fn try_acquire(&self, py: Python<'_>, n: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        self.object(py, self.limit.try_acquire(cost_or_one(n)?))
    }

    /// Waits for its turn, in line with all callers of all processes, and takes `n` calls. Returns an `Admission`; or a `Denied` if
    /// the turn would come after `timeout` seconds, or if `max_waiters` callers wait already.
    ///
    /// Other threads run meanwhile. A signal handler that raises, as Ctrl-C does, ends the wait: nothing was taken then.
    #[pyo3(signature = (n=None, timeout=None, max_waiters=None))]
    fn acquire(
        &self,
        py: Python<'_>,
        n: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
        max_waiters: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let cost = cost_or_one(n)?;
        let bounds = Bounds::of(timeout, max_waiters)?;
        self.object(py, Ok(wait::wait(py, wait::bounded(&self.limit, cost, bounds))?))
    }

    /// Waits until one call is admitted, and returns for how many seconds it waited. If the limiter has permits, use `with limit:`
    /// or `acquire`, which hold one.
    fn wait(&self, py: Python<'_>) -> PyResult<f64> {
        Ok(wait::wait(py, self.limit.acquire(1))?.waited().as_secs_f64())
    }

    /// Takes `n` calls if they need not wait. None: they have to wait, and nothing was taken or counted.
    #[pyo3(signature = (n=None, timeout=None, max_waiters=None))]
    fn acquire_now(
        &self,
        py: Python<'_>,
        n: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
        max_waiters: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let bounds = Bounds::of(timeout, max_waiters)?;
        match wait::bounded(&self.limit, cost_or_one(n)?, bounds).try_now() {
            Ok(None) => Ok(None),
            Ok(Some(outcome)) => self.object(py, Ok(outcome)).map(Some),
            Err(e) => Err(exception(py, &e)),
        }
    }

    /// Waits for one call; holds a permit until the end of the block, if the limiter has permits.
    fn __enter__(&self, py: Python<'_>) -> PyResult<Py<Admission>> {
        let admission = self.last.object(py, &self.limit, wait::wait(py, self.limit.acquire(1))?)?;
        self.blocks.enter(admission.clone_ref(py));
        Ok(admission)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(admission) = self.blocks.exit() else {
            return Err(wrong_value(format!("limiter {:?}: no block was entered", self.limit.name())));
        };
        admission.get().release();
        self.last.released(admission);
        Ok(())
    }

    /// Charges `n` calls that nothing denies: later requests are delayed for them.
    #[pyo3(signature = (n=None))]
    fn charge(&self, py: Python<'_>, n: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let cost = cost_or_one(n)?;
        self.done(py, |limit| limit.charge(cost))
    }

    /// Takes a turn, now or later, for `n` calls, and returns it: the caller acts at its time, or gives it back.
    #[pyo3(signature = (n=None))]
    fn reserve(&self, py: Python<'_>, n: Option<&Bound<'_, PyAny>>) -> PyResult<Reservation> {
        let cost = cost_or_one(n)?;
        let reservation = self.done(py, |limit| limit.reserve(cost))?;
        Ok(Reservation::new(self.source(), reservation))
    }

    /// Takes the next turns for `k` calls, and returns in how many seconds each of them comes. They cannot be given back.
    fn schedule<'py>(&self, py: Python<'py>, k: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let k = count("the number of calls", k)? as usize;
        let turns = self.done(py, |limit| limit.schedule(1, k))?;
        let now = shm_lib::now();
        PyList::new(py, turns.iter().map(|at| at.since(now).as_secs_f64()))
    }

    /// Admits no request for this long, in no process. For an answer 429 of a server, say.
    fn pause_for(&self, py: Python<'_>, seconds: &Bound<'_, PyAny>) -> PyResult<()> {
        let time = time("seconds", seconds)?;
        self.done(py, |limit| limit.pause_for(time))
    }

    /// Ends a pause.
    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        self.done(py, RateLimit::resume)
    }

    /// Changes the rate of the only limit, for all processes. What was used stays used.
    #[pyo3(signature = (max_count, per=None))]
    fn change(
        &self,
        py: Python<'_>,
        max_count: &Bound<'_, PyAny>,
        per: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let rate = rate(max_count, per)?;
        self.done(py, |limit| limit.change(rate.max(), rate.per()))
    }

    /// Replaces all limits and settings, for all processes, in one step. What was used of limits that stay is still used. The file has
    /// room for the limits and permits that it was created with; for more, retire the limiter and create another one.
    #[pyo3(signature = (limits, *, permits=None, max_waiters=None, shadow=false))]
    fn change_policy(
        &self,
        py: Python<'_>,
        limits: Vec<Bound<'_, PyAny>>,
        permits: Option<&Bound<'_, PyAny>>,
        max_waiters: Option<&Bound<'_, PyAny>>,
        shadow: bool,
    ) -> PyResult<()> {
        let policy = policy::policy(py, &limits, None, permits, max_waiters, shadow)?.policy();
        self.done(py, |limit| limit.change_policy(policy))
    }

    /// Whether it is in shadow mode: it decides and counts, and denies and delays no request.
    fn is_shadow(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.done(py, RateLimit::policy)?.is_shadow())
    }

    /// Resets the usage to zero, for all processes.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.done(py, RateLimit::reset)
    }

    /// Removes the limiter's name, and lets all processes know. The next process that opens the name creates a new limiter.
    fn retire(&self, py: Python<'_>) -> PyResult<()> {
        self.done(py, RateLimit::retire)
    }

    /// Why a request for `n` calls would be denied now: a `Denied`, or None if it would be admitted. Takes nothing, and does not look
    /// at permits.
    #[pyo3(signature = (n=None))]
    fn denial(&self, py: Python<'_>, n: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Denied>> {
        let cost = cost_or_one(n)?;
        let denial = self.done(py, |limit| limit.denial(cost))?;
        Ok(denial.map(|denied| Denied::new(self.source(), denied)))
    }

    /// What is used and available now: `{"available": …, "used": …, "queued": …, "next_in": …, "limits": […]}`. Takes nothing.
    /// "limits" has the same of each limit, in the order in which they were given.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let status = self.done(py, RateLimit::status)?;
        let found = PyDict::new(py);
        found.set_item("available", status.available)?;
        found.set_item("used", status.used)?;
        found.set_item("queued", status.queued)?;
        found.set_item("next_in", status.next_in.as_secs_f64())?;
        let now = shm_lib::now();
        let limits = status.limits.iter().map(|limit| {
            let found = PyDict::new(py);
            found.set_item("available", limit.available)?;
            found.set_item("used", limit.used)?;
            found.set_item("queued", limit.queued)?;
            found.set_item("next_in", limit.next_at.since(now).as_secs_f64())?;
            Ok(found)
        });
        found.set_item("limits", limits.collect::<PyResult<Vec<_>>>()?)?;
        Ok(found)
    }

    /// How many permits living processes hold, and how many there are. Asks the kernel which processes live. None if the limiter has
    /// no permits.
    fn permits(&self, py: Python<'_>) -> PyResult<Option<(u64, u32)>> {
        self.done(py, |limit| {
            let found = limit.inspect()?;
            Ok(found.policy.permits().map(|all| (found.permits_held, all)))
        })
    }

    /// How many requests all processes have made: `{"admitted": …, "calls": …, "denied": …, "waited": …, "waited_time": …}`.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.limit.stats();
        let found = PyDict::new(py);
        found.set_item("admitted", stats.admitted)?;
        found.set_item("calls", stats.calls)?;
        found.set_item("denied", stats.denied)?;
        found.set_item("waited", stats.waited)?;
        found.set_item("waited_time", stats.waited_time.as_secs_f64())?;
        Ok(found)
    }

    /// The limits and permits, as a text.
    fn policy(&self, py: Python<'_>) -> PyResult<String> {
        self.done(py, |limit| limit.policy().map(|policy| policy.to_string()))
    }

    /// What a server tells its clients: the values of the fields `RateLimit-Policy` and `RateLimit` (None: no such field), and the
    /// `Retry-After` of a denied request in seconds. They are those of the Rust crate `shm-tower`.
    #[pyo3(signature = (policy_name="default", denied=None))]
    fn response_fields(&self, policy_name: &str, denied: Option<&Denied>) -> Fields {
        self.source().response_fields(policy_name, denied)
    }

    /// How many processes have used the limiter and still have it open, not counting this one.
    fn others(&self, py: Python<'_>) -> PyResult<usize> {
        let own = std::process::id();
        self.done(py, |limit| {
            Ok(limit.inspect()?.attached.iter().filter(|process| process.pid != own).count())
        })
    }
}
