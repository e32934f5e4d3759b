//! Numbers, periods and costs, as Python gives them. A `bool` is no number here: `try_acquire(True)` is a mistake.

use crate::errors::{exception, wrong_type, wrong_value};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDelta, PyDeltaAccess, PyFloat, PyInt, PyMapping, PyString};
use shm_lib::{Cost, Rate, Unit};
use std::time::Duration;

/// The longest time that a Python number of seconds can mean: a century.
const LONGEST: f64 = 100.0 * 366.0 * 86_400.0;

/// A number of calls, or of whatever `what` names: at least 1.
pub(crate) fn count(what: &str, value: &Bound<'_, PyAny>) -> PyResult<u64> {
    let number = whole(what, value)?;
    if number == 0 {
        return Err(wrong_value(format!("{what} must be at least 1, not 0")));
    }
    Ok(number)
}

/// A whole number that is not negative.
pub(crate) fn whole(what: &str, value: &Bound<'_, PyAny>) -> PyResult<u64> {
    if value.is_instance_of::<PyBool>() || !value.is_instance_of::<PyInt>() {
        return Err(wrong_type(what, "an int", value));
    }
    value.extract::<u64>().map_err(|_| match value.lt(0) {
        Ok(true) => wrong_value(format!("{what} must not be negative, and is {value}")),
        _ => wrong_value(format!("{what} is too large: {value}")),
    })
}

/// A time: a number of seconds, or a `timedelta`.
pub(crate) fn time(what: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    if let Ok(delta) = value.cast::<PyDelta>() {
        let (days, seconds) = (i64::from(delta.get_days()), i64::from(delta.get_seconds()));
        let whole = days * 86_400 + seconds;
        let Ok(whole) = u64::try_from(whole) else {
            return Err(wrong_value(format!("{what} must not be negative, and is {value}")));
        };
        return Ok(Duration::from_secs(whole) + Duration::from_micros(delta.get_microseconds() as u64));
    }
    if value.is_instance_of::<PyBool>()
        || !(value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>())
    {
        return Err(wrong_type(what, "a number of seconds or a timedelta", value));
    }
    if value.is_instance_of::<PyInt>() && value.gt(0)? {
        // Exact, and not by way of a float.
        let seconds = value.extract::<u64>().ok().filter(|&seconds| seconds as f64 <= LONGEST);
        return seconds
            .map(Duration::from_secs)
            .ok_or_else(|| wrong_value(format!("{what} is too large: {value} s")));
    }
    let seconds = value.extract::<f64>()?;
    if seconds.is_nan() || seconds < 0.0 {
        return Err(wrong_value(format!("{what} must not be negative, and is {value}")));
    }
    if seconds > LONGEST {
        return Err(wrong_value(format!("{what} is too large: {value} s")));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// How long a caller waits at most. `None` and infinity: as long as it takes.
fn timeout(value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Duration>> {
    match value {
        None => Ok(None),
        Some(value) if value.is_instance_of::<PyFloat>() && value.extract::<f64>()? == f64::INFINITY => {
            Ok(None)
        }
        Some(value) => time("timeout", value).map(Some),
    }
}

/// The bounds of a wait.
#[derive(Clone, Copy, Default)]
pub(crate) struct Bounds {
    pub(crate) timeout: Option<Duration>,
    pub(crate) max_waiters: Option<u32>,
}

impl Bounds {
    pub(crate) fn of(
        timeout: Option<&Bound<'_, PyAny>>,
        max_waiters: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bounds> {
        let timeout = self::timeout(timeout)?;
        Ok(Bounds { timeout, max_waiters: max_waiters.map(|most| small("max_waiters", most)).transpose()? })
    }
}

/// A whole number that is not negative and fits in 32 bits.
pub(crate) fn small(what: &str, value: &Bound<'_, PyAny>) -> PyResult<u32> {
    u32::try_from(whole(what, value)?).map_err(|_| wrong_value(format!("{what} is too large: {value}")))
}

/// A rate: `max_count` per `per`, or a text such as `"100/10s"`.
pub(crate) fn rate(max_count: &Bound<'_, PyAny>, per: Option<&Bound<'_, PyAny>>) -> PyResult<Rate> {
    let py = max_count.py();
    if let Ok(text) = max_count.cast::<PyString>() {
        if per.is_some() {
            return Err(wrong_value(format!("the rate {text} has its period already; leave per out")));
        }
        return text.extract::<String>()?.parse().map_err(|e| exception(py, &e));
    }
    let max = count("max_count", max_count)?;
    let per = per.map_or(Ok(Duration::from_secs(1)), |per| time("per", per))?;
    Rate::new(max, per).map_err(|e| exception(py, &e))
}

/// A cost: a number of calls, or amounts by unit, such as `{"tokens": 500}`.
pub(crate) fn cost(value: &Bound<'_, PyAny>) -> PyResult<Cost> {
    if let Ok(calls) = value.extract::<u64>()
        && calls > 0
        && !value.is_instance_of::<PyBool>()
    {
        return Ok(Cost::from(calls));
    }
    let Ok(amounts) = value.cast::<PyMapping>() else {
        return count("the number of calls", value).map(Cost::from);
    };
    let mut cost = None;
    for item in amounts.items()? {
        let (name, amount) = item.extract::<(String, Bound<'_, PyAny>)>()?;
        let amount = whole(&format!("the amount of {name}"), &amount)?;
        let unit = unit(value.py(), &name)?;
        cost = Some(cost.map_or_else(|| Cost::of(unit, amount), |cost: Cost| cost.and(unit, amount)));
    }
    cost.ok_or_else(|| wrong_value("a cost names at least one unit, as in {\"tokens\": 500}".to_owned()))
}

/// The same; one call if it is not given.
pub(crate) fn cost_or_one(value: Option<&Bound<'_, PyAny>>) -> PyResult<Cost> {
    value.map_or_else(|| Ok(Cost::from(1)), cost)
}

/// The unit of this name; `calls` are calls.
pub(crate) fn unit(py: Python<'_>, name: &str) -> PyResult<Unit> {
    if name == "calls" { Ok(Unit::CALLS) } else { Unit::named(name).map_err(|e| exception(py, &e)) }
}
