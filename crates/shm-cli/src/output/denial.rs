//! A denial, for humans, for scripts and for programs.

use crate::args::Target;
use crate::output::{count, duration, human, report};
use shm_lib::{Denied, DeniedBy};
use std::time::Duration;

/// After how long a script may try again if it is not known when a permit, a seat or a place in the line will be free.
pub(crate) const TRY_AGAIN: Duration = Duration::from_millis(100);

/// After how long to try again, for a script that sleeps for it.
pub(crate) fn for_sleep(denied: &Denied) -> String {
    duration::seconds(denied.retry_after().unwrap_or(TRY_AGAIN))
}

/// The number of the limit that denied the request, as `inspect` counts them: of those per key, or of those of all requests.
pub(crate) fn limit(denied: &Denied) -> Option<usize> {
    match denied.by() {
        DeniedBy::Limit { index, .. } | DeniedBy::KeyLimit { index, .. } => Some(index + 1),
        _ => None,
    }
}

/// Reports why a request was denied, and what follows from that (`so`).
pub(crate) fn tell(target: &Target, denied: &Denied, so: &str) {
    let name = target.name.as_str();
    match target.key.named() {
        Some(key) => {
            let key = human::key(&key.parts);
            report(format_args!("limiter {name:?}, key {key}: {}", reason(denied, true, so)));
        }
        None => report(format_args!("limiter {name:?}: {}", reason(denied, false, so))),
    }
}

fn reason(denied: &Denied, has_key: bool, so: &str) -> String {
    match (denied.by(), denied.retry_after()) {
        (DeniedBy::Line { waiting }, _) => {
            let verb = if waiting == 1 { "waits" } else { "wait" };
            format!("{} already {verb}, so {so}; try again when fewer wait", count(waiting, "request"))
        }
        (DeniedBy::KeyLimit { inherited: true, .. }, Some(time)) => {
            format!(
                "the table of keys is too full for this new key, which is denied for what another key owes, so {so}; try again in \
                 {} s (`shm-limit inspect` tells which capacity would do)",
                duration::seconds(time)
            )
        }
        (DeniedBy::TableFull, _) => format!(
            "the table of keys is too full for this new key, so {so}; try again later (`shm-limit inspect` tells which capacity \
             would do)"
        ),
        (by, Some(time)) => {
            let by = match by {
                DeniedBy::KeyLimit { index, .. } => format!(" by limit {} per key", index + 1),
                DeniedBy::Limit { index, .. } if has_key => format!(" by limit {} of all keys", index + 1),
                _ => String::new(),
            };
            format!("denied{by}, so {so}; try again in {} s", duration::seconds(time))
        }
        (_, None) => format!("all permits are held, so {so}; try again when one is free"),
    }
}
