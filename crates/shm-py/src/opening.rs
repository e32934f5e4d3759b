//! How a limiter is opened: the settings of its file, and what happens when it is not as it was.

use crate::convert::count;
use crate::errors::wrong_value;
use pyo3::prelude::*;
use shm_lib::{Builder, OnLost, OnMismatch, RateLimit};
use std::path::PathBuf;

/// A builder with these settings. `on_mismatch` counts only for one that can create the limiter.
pub(crate) fn builder(
    name: &str,
    creates: bool,
    directory: Option<PathBuf>,
    mode: Option<u32>,
    seats: Option<&Bound<'_, PyAny>>,
    on_mismatch: &str,
    on_lost: &str,
) -> PyResult<Builder> {
    let on_mismatch = self::on_mismatch(on_mismatch)?;
    let mut builder = RateLimit::builder(name).on_lost(self::on_lost(on_lost)?);
    if creates {
        builder = builder.on_mismatch(on_mismatch);
    }
    if let Some(directory) = directory {
        builder = builder.directory(directory);
    }
    if let Some(mode) = mode {
        builder = builder.mode(mode);
    }
    if let Some(seats) = seats {
        builder = builder.seats(count("seats", seats)? as usize);
    }
    Ok(builder)
}

fn on_mismatch(word: &str) -> PyResult<OnMismatch> {
    match word {
        "error" => Ok(OnMismatch::Error),
        "keep" => Ok(OnMismatch::Keep),
        "change" => Ok(OnMismatch::Change),
        other => {
            Err(wrong_value(format!("on_mismatch must be \"error\", \"keep\" or \"change\", not {other:?}")))
        }
    }
}

fn on_lost(word: &str) -> PyResult<OnLost> {
    match word {
        "reopen" => Ok(OnLost::Reopen),
        "error" => Ok(OnLost::Error),
        other => Err(wrong_value(format!("on_lost must be \"reopen\" or \"error\", not {other:?}"))),
    }
}
