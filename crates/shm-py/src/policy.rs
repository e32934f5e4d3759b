//! Limits and settings, as Python gives them.

use crate::convert::{count, rate, small, time, unit};
use crate::errors::{exception, wrong_type, wrong_value};
use pyo3::prelude::*;
use pyo3::types::PyString;
use shm_lib::limit::{KeySpec, LimitKind, LimitSpec};
use shm_lib::{PolicySpec, Start, Unit, Zone};

/// One limit of a limiter: a rate, how it counts, and what. See `RateLimit` for the parameters.
#[pyclass(frozen, from_py_object, module = "shm_limit")]
#[derive(Clone)]
pub(crate) struct Limit(pub(crate) LimitSpec);

#[pymethods]
impl Limit {
    #[new]
    #[pyo3(signature = (max_count, per=None, *, burst=None, greedy=false, window=None, zone=None, unit=None, guard=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        max_count: &Bound<'_, PyAny>,
        per: Option<&Bound<'_, PyAny>>,
        burst: Option<&Bound<'_, PyAny>>,
        greedy: bool,
        window: Option<&str>,
        zone: Option<&str>,
        unit: Option<&str>,
        guard: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Limit> {
        let py = max_count.py();
        let mut limit = LimitSpec::of(rate(max_count, per)?);
        limit.burst = burst.map(|burst| count("burst", burst)).transpose()?;
        if greedy && window.is_some() {
            return Err(wrong_value("a limit is greedy or has windows; leave one of the two out".to_owned()));
        }
        if greedy {
            limit.kind = LimitKind::Greedy;
        }
        if let Some(window) = window {
            (limit.kind, limit.start) = kind(window)?;
        }
        limit.zone = zone.map(|zone| self::zone(py, zone)).transpose()?;
        limit.unit = unit.map_or(Ok(Unit::CALLS), |name| self::unit(py, name))?;
        limit.guard = guard.map(|guard| time("guard", guard)).transpose()?;
        // What does not fit together is an error here, where it is written.
        shm_lib::Limit::try_from(limit).map_err(|e| exception(py, &e))?;
        Ok(Limit(limit))
    }

    fn __repr__(&self) -> String {
        shm_lib::Limit::try_from(self.0).map_or_else(|e| e.to_string(), |limit| format!("<Limit {limit}>"))
    }

    fn __eq__(&self, other: &Limit) -> bool {
        self.0 == other.0
    }
}

fn kind(window: &str) -> PyResult<(LimitKind, Option<Start>)> {
    Ok(match window {
        "fixed" => (LimitKind::FixedWindow, Some(Start::Epoch)),
        "first-use" => (LimitKind::FixedWindow, Some(Start::FirstUse)),
        "calendar" => (LimitKind::CalendarWindow, None),
        "sliding" => (LimitKind::SlidingCounter, None),
        other => {
            return Err(wrong_value(format!(
                "{other:?} is not a kind of window; use \"fixed\", \"first-use\", \"calendar\" or \"sliding\""
            )));
        }
    })
}

fn zone(py: Python<'_>, name: &str) -> PyResult<Zone> {
    let zone = if name == "local" { Zone::local() } else { Zone::named(name) };
    zone.map_err(|e| exception(py, &e))
}

/// A limit of `limits=[…]`: a `Limit`, or a rate as a text.
fn one_of(limit: &Bound<'_, PyAny>) -> PyResult<LimitSpec> {
    if let Ok(limit) = limit.cast::<Limit>() {
        return Ok(limit.get().0);
    }
    if limit.is_instance_of::<PyString>() {
        return rate(limit, None).map(LimitSpec::of);
    }
    Err(wrong_type("each of limits", "a Limit or a rate such as \"100/10s\"", limit))
}

/// The limits of each key.
pub(crate) fn of_keys(
    py: Python<'_>,
    limits: &[Bound<'_, PyAny>],
    refuse_new_keys: bool,
    hide_names: bool,
) -> PyResult<KeySpec> {
    let limits = limits.iter().map(one_of).collect::<PyResult<Vec<_>>>()?;
    let mut keys = KeySpec::new(&limits).map_err(|e| exception(py, &e))?;
    if refuse_new_keys {
        keys = keys.refusing_new_keys(true);
    }
    Ok(if hide_names { keys.hiding_names(true) } else { keys })
}

/// The policy of these limits and permits.
pub(crate) fn policy(
    py: Python<'_>,
    limits: &[Bound<'_, PyAny>],
    keys: Option<KeySpec>,
    permits: Option<&Bound<'_, PyAny>>,
    max_waiters: Option<&Bound<'_, PyAny>>,
    shadow: bool,
) -> PyResult<PolicySpec> {
    let failed = |e: shm_lib::Error| exception(py, &e);
    let limits = limits.iter().map(one_of).collect::<PyResult<Vec<_>>>()?;
    let permits = permits.map(|permits| small("permits", permits)).transpose()?;
    let max_waiters = max_waiters.map(|most| small("max_waiters", most)).transpose()?;
    let mut policy = match (keys, limits.is_empty(), permits) {
        (Some(keys), true, _) => PolicySpec::of_keys(keys),
        (Some(keys), false, _) => PolicySpec::new(&limits).map_err(failed)?.with_keys(keys),
        (None, false, _) => PolicySpec::new(&limits).map_err(failed)?,
        (None, true, Some(permits)) => PolicySpec::of_permits(permits).map_err(failed)?,
        (None, true, None) => {
            return Err(wrong_value("a limiter needs a limit or permits; limits is empty".to_owned()));
        }
    };
    if let Some(permits) = permits {
        policy = policy.with_permits(permits).map_err(failed)?;
    }
    if let Some(most) = max_waiters {
        policy = policy.with_max_waiters(most);
    }
    Ok(if shadow { policy.in_shadow(true) } else { policy })
}
