//! A denial, for people, for scripts and for programs.

use crate::output::span;
use shm_lib::Denial;
use std::time::Duration;

/// How often a script may look whether a permit is back: as often as the library itself does.
const LOOK_FOR_PERMITS: Duration = Duration::from_millis(100);

/// After how long to try again; `None` where all permits are held, and nobody knows.
pub(crate) fn retry_after(denial: &Denial) -> Option<Duration> {
    Some(denial.retry_after()).filter(|time| !time.is_zero())
}

/// The same for a script that sleeps for it.
pub(crate) fn for_sleep(denial: &Denial) -> String {
    span::seconds(retry_after(denial).unwrap_or(LOOK_FOR_PERMITS))
}

/// Why a command was not run.
pub(crate) fn reason(denial: &Denial) -> String {
    match retry_after(denial) {
        Some(time) => {
            format!("denied, the command was not run; try again in {} s", span::seconds(time))
        }
        None => "all permits are held, the command was not run; try again when one is back".into(),
    }
}
