//! A denial, for people, for scripts and for programs.

use crate::output::span;
use shm_lib::{Denied, DeniedBy};
use std::time::Duration;

/// How soon a script may try again where it is not known when a permit or a place in the line is free.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// After how long to try again, for a script that sleeps for it.
pub(crate) fn for_sleep(denied: &Denied) -> String {
    span::seconds(denied.retry_after().unwrap_or(TRY_AGAIN))
}

/// What denied it, in one word.
pub(crate) fn by(denied: &Denied) -> &'static str {
    match denied.by() {
        DeniedBy::Permits => "permits",
        DeniedBy::Line { .. } => "line",
        DeniedBy::Paused { .. } => "pause",
        _ => "limits",
    }
}

/// Why a command was not run.
pub(crate) fn reason(denied: &Denied) -> String {
    match (denied.by(), denied.retry_after()) {
        (DeniedBy::Line { waiting }, _) => {
            format!("{waiting} requests wait already, the command was not run; try again when fewer wait")
        }
        (_, Some(time)) => {
            format!("denied, the command was not run; try again in {} s", span::seconds(time))
        }
        (_, None) => "all permits are held, the command was not run; try again when one is back".into(),
    }
}
