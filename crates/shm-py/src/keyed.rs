//! The handle of a limiter with limits per key, and one key of it.

use crate::convert::{Bounds, cost_or_one, count, rate, time};
use crate::errors::{exception, wrong_type, wrong_value};
use crate::outcome::{Denied, Fields, Source, fields_of_all_keys, object};
use crate::rate_limit::NativeRateLimit;
use crate::{key_pause, opening, policy, wait};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyInt, PyList, PyString, PyTuple};
use shm_lib::{Key, KeyedBuilder, KeyedRateLimit, Outcome, OwnedKey};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// A handle of a limiter with limits per key: the native part of `shm_limit.KeyedRateLimit`.
#[pyclass(frozen, subclass, module = "shm_limit._native")]
pub(crate) struct NativeKeyedRateLimit(Arc<KeyedRateLimit>);

impl NativeKeyedRateLimit {
    pub(crate) fn limit(&self) -> Arc<KeyedRateLimit> {
        Arc::clone(&self.0)
    }
}

#[pymethods]
impl NativeKeyedRateLimit {
    /// Opens the limiter `name`, and creates it if it does not exist. Without limits it must exist.
    #[new]
    #[pyo3(signature = (name, limits, *, in_all=Vec::new(), permits=None, max_waiters=None, shadow=false, capacity=None, refuse_new_keys=false, hide_names=false, directory=None, mode=None, seats=None, on_mismatch="error", on_lost="reopen"))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        py: Python<'_>,
        name: &str,
        limits: Option<Vec<Bound<'_, PyAny>>>,
        in_all: Vec<Bound<'_, PyAny>>,
        permits: Option<&Bound<'_, PyAny>>,
        max_waiters: Option<&Bound<'_, PyAny>>,
        shadow: bool,
        capacity: Option<&Bound<'_, PyAny>>,
        refuse_new_keys: bool,
        hide_names: bool,
        directory: Option<PathBuf>,
        mode: Option<u32>,
        seats: Option<&Bound<'_, PyAny>>,
        on_mismatch: &str,
        on_lost: &str,
    ) -> PyResult<NativeKeyedRateLimit> {
        let keys =
            limits.map(|limits| policy::of_keys(py, &limits, refuse_new_keys, hide_names)).transpose()?;
        let policy = keys
            .map(|keys| policy::policy(py, &in_all, Some(keys), permits, max_waiters, shadow))
            .transpose()?;
        let creates = policy.is_some();
        let builder = opening::builder(name, creates, directory, mode, seats, on_mismatch, on_lost)?;
        let mut builder = KeyedBuilder::from(builder);
        if let Some(capacity) = capacity {
            builder = builder.capacity(count("capacity", capacity)?);
        }
        let opened = py.detach(|| match policy {
            Some(policy) => builder.open_policy(policy),
            None => builder.attach(),
        });
        opened.map(|limit| NativeKeyedRateLimit(Arc::new(limit))).map_err(|e| exception(py, &e))
    }

    /// The limiter's name.
    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

    /// The limiter's file.
    #[getter]
    fn path(&self) -> &OsStr {
        self.0.path().as_os_str()
    }

    /// The budget of one key: text, bytes, an int, an IP address of the module `ipaddress`, or a tuple of such parts. A number and an
    /// address count as their text: 42 and "42" are one key.
    fn key(&self, key: &Bound<'_, PyAny>) -> PyResult<LimitOfKey> {
        Ok(LimitOfKey { limit: Arc::clone(&self.0), key: Arc::new(owned(key)?) })
    }

    /// Changes the rate of the first limit per key, for all keys and processes. What keys have used stays used.
    #[pyo3(signature = (max_count, per=None))]
    fn change(
        &self,
        py: Python<'_>,
        max_count: &Bound<'_, PyAny>,
        per: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let rate = rate(max_count, per)?;
        py.detach(|| self.0.change(rate.max(), rate.per())).map_err(|e| exception(py, &e))
    }

    /// The limiter as a whole: its pause, reset, retirement and statistics, and requests that take only from the limits of all keys.
    fn all_keys(&self) -> NativeRateLimit {
        NativeRateLimit::of(Arc::new(self.0.all_keys().clone()))
    }

    /// Whether it has only limits per key: neither limits nor permits of all keys.
    fn limits_only_keys(&self, py: Python<'_>) -> PyResult<bool> {
        let policy = py.detach(|| self.0.all_keys().policy()).map_err(|e| exception(py, &e))?;
        Ok(policy.limits_only_keys())
    }

    /// The keys that were denied most in the last minute, at most `n`: pairs of a key's parts and how often, estimated.
    fn most_denied(&self, n: usize) -> Vec<(Vec<String>, u64)> {
        self.0.most_denied(n).into_iter().map(|denied| (denied.key, denied.last_minute)).collect()
    }

    /// How full the table is: `{"capacity": …, "live": …, "bytes": …, "allocated": …}`; `live` is estimated.
    fn table_status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let table = py.detach(|| self.0.table_status()).map_err(|e| exception(py, &e))?;
        let found = PyDict::new(py);
        found.set_item("capacity", table.capacity)?;
        found.set_item("live", table.live)?;
        found.set_item("bytes", table.bytes)?;
        found.set_item("allocated", table.allocated)?;
        Ok(found)
    }

    /// `response_fields` of `RateLimit`, for a request without a key, which takes only from the limits of all keys.
    #[pyo3(signature = (policy_name="default", denied=None))]
    fn response_fields(&self, policy_name: &str, denied: Option<&Denied>) -> Fields {
        fields_of_all_keys(&self.0, policy_name, denied)
    }

    /// The limits per key, as a text.
    fn policy(&self, py: Python<'_>) -> PyResult<String> {
        py.detach(|| self.0.policy()).map(|policy| policy.to_string()).map_err(|e| exception(py, &e))
    }
}

/// The budget of one key.
#[pyclass(frozen, module = "shm_limit")]
pub(crate) struct LimitOfKey {
    limit: Arc<KeyedRateLimit>,
    key: Arc<OwnedKey>,
}

impl LimitOfKey {
    pub(crate) fn source(&self) -> Source {
        Source::Key(Arc::clone(&self.limit), Arc::clone(&self.key))
    }

    fn key(&self) -> Key<'_> {
        Key::from(&*self.key)
    }
}

#[pymethods]
impl LimitOfKey {
    /// Takes `n` calls now, or none. Never waits. Returns an `Admission`, which is true, or a `Denied`, which is false.
    #[pyo3(signature = (n=None))]
    fn try_acquire(&self, py: Python<'_>, n: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        let outcome = self.limit.key(self.key()).try_acquire(cost_or_one(n)?);
        object(py, self.source(), outcome.map_err(|e| exception(py, &e))?)
    }

    /// Waits for the key's turn, behind this process's other callers for the key. Returns an `Admission`; or a `Denied` if the turn
    /// would come after `timeout` seconds, or if `max_waiters` callers of this process wait for the key already.
    #[pyo3(signature = (n=None, timeout=None, max_waiters=None))]
    fn acquire(
        &self,
        py: Python<'_>,
        n: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
        max_waiters: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let bounds = Bounds::of(timeout, max_waiters)?;
        object(py, self.source(), wait::wait_for_key(py, &self.limit, self.key(), cost_or_one(n)?, bounds)?)
    }

    /// `acquire`, if that takes no place in a line. None: it does, and nothing was taken.
    #[pyo3(signature = (n=None, timeout=None, max_waiters=None))]
    fn acquire_now(
        &self,
        py: Python<'_>,
        n: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
        max_waiters: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let (cost, bounds) = (cost_or_one(n)?, Bounds::of(timeout, max_waiters)?);
        let now = wait::bounded_key(&self.limit, self.key(), cost, bounds).try_now();
        let now = now.map_err(|e| exception(py, &e))?;
        now.map(|outcome| object(py, self.source(), outcome)).transpose()
    }

    /// Waits until one call of the key is admitted, and returns for how many seconds it waited.
    fn wait(&self, py: Python<'_>) -> PyResult<f64> {
        match wait::wait_for_key(py, &self.limit, self.key(), 1.into(), Bounds::default())? {
            Outcome::Admitted(admission) => Ok(admission.waited().as_secs_f64()),
            // By the limiter's own max_waiters.
            Outcome::Denied(denied) => Err(Denied::new(self.source(), denied).exception(py)),
        }
    }

    /// `acquire` for a task of asyncio or trio: waits without a thread. If the task is cancelled, nothing was taken.
    #[pyo3(signature = (n=None, timeout=None, max_waiters=None))]
    fn acquire_async<'py>(
        slf: &Bound<'py, Self>,
        n: Option<Bound<'py, PyAny>>,
        timeout: Option<Bound<'py, PyAny>>,
        max_waiters: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let acquire = slf.py().import("shm_limit._aio")?.getattr("acquire")?;
        acquire.call1((slf, n.map_or_else(|| 1.into_bound_py_any(slf.py()), Ok)?, timeout, max_waiters))
    }

    /// Charges `n` calls that nothing denies: later requests of the key are delayed for them.
    #[pyo3(signature = (n=None))]
    fn charge(&self, py: Python<'_>, n: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let cost = cost_or_one(n)?;
        py.detach(|| self.limit.key(self.key()).charge(cost)).map_err(|e| exception(py, &e))
    }

    /// Admits no request of the key for this long: charges it with the calls that it could make in that time. A longer pause stays. To
    /// end it, reset the key. If several callers pause a key at the same instant, each may charge it.
    fn pause_for(&self, py: Python<'_>, seconds: &Bound<'_, PyAny>) -> PyResult<()> {
        let time = time("seconds", seconds)?;
        py.detach(|| key_pause::pause(&self.limit, &self.key, time)).map_err(|e| exception(py, &e))
    }

    /// Resets the usage of the key to zero. Returns whether it was in the table.
    fn reset(&self, py: Python<'_>) -> PyResult<bool> {
        py.detach(|| self.limit.key(self.key()).reset()).map_err(|e| exception(py, &e))
    }

    /// What the key has used and can take, for each limit per key: a list of `{"known", "available", "used", "next_in"}`.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let status = self.limit.key(self.key()).status().map_err(|e| exception(py, &e))?;
        let now = shm_lib::now();
        let found = PyList::empty(py);
        for limit in status {
            let one = PyDict::new(py);
            one.set_item("known", limit.known)?;
            one.set_item("available", limit.available)?;
            one.set_item("used", limit.used)?;
            one.set_item("next_in", limit.next_at.since(now).as_secs_f64())?;
            found.append(one)?;
        }
        Ok(found)
    }

    /// `response_fields` of `RateLimit`, for a request of this key. The parameter `pk` stands for the key and does not reveal it.
    #[pyo3(signature = (policy_name="default", denied=None))]
    fn response_fields(&self, policy_name: &str, denied: Option<&Denied>) -> Fields {
        self.source().response_fields(policy_name, denied)
    }

    fn __repr__(&self) -> String {
        format!("<key {} of {:?}>", self.key(), self.limit.name())
    }
}

/// A key, as Python gives it.
fn owned(value: &Bound<'_, PyAny>) -> PyResult<OwnedKey> {
    if let Ok(parts) = value.cast::<PyTuple>() {
        if parts.is_empty() {
            return Err(wrong_value("a key has at least one part; the tuple is empty".to_owned()));
        }
        let parts = parts.iter().map(|part| owned(&part)).collect::<PyResult<Vec<_>>>()?;
        return Ok(Key::of_parts(parts.iter().map(Key::from)).into_owned());
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(Key::from(bytes.as_bytes()).into_owned());
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Key::from(&*bytes_of(text)?).into_owned());
    }
    if value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>() {
        // Of any size.
        return Ok(Key::from(&value.str()?.extract::<String>()?).into_owned());
    }
    if let Ok(address) = value.extract::<IpAddr>() {
        return Ok(Key::from(address).into_owned());
    }
    Err(wrong_type("a key", "text, bytes, an int, an IP address or a tuple of these", value))
}

/// The bytes of a key that is text: its UTF-8. What a client sends may have halves of surrogate pairs, which are kept apart from each
/// other.
pub(crate) fn bytes_of<'k>(key: &'k Bound<'_, PyString>) -> PyResult<Cow<'k, [u8]>> {
    Ok(match key.to_cow() {
        Ok(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
        Ok(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        Err(_) => Cow::Owned(key.call_method1("encode", ("utf-8", "surrogatepass"))?.extract()?),
    })
}
