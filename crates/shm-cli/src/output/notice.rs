//! The message of `--verbose` about a wait, on standard error.

use crate::commands::Opened;
use crate::output::report;
use shm_lib::Inspection;
use std::time::{Duration, Instant};

/// A shorter wait is not reported.
const AFTER: Duration = Duration::from_secs(1);

/// Reports once that this process waits.
pub(crate) struct Notice {
    /// When the report is due; `None` if it was made, or is not wanted.
    due: Option<Instant>,
}

impl Notice {
    /// For a wait that begins now.
    pub(crate) fn new(is_wanted: bool) -> Notice {
        Notice { due: is_wanted.then(|| Instant::now() + AFTER) }
    }

    /// Reports, if that is due.
    pub(crate) fn when_due(&mut self, opened: &Opened) {
        if self.due.take_if(|due| *due <= Instant::now()).is_some() {
            let limiter = opened.limiter();
            let seen = limiter.inspect().ok();
            let what = match opened.key() {
                // The line is that of the limits of all keys.
                Some(key) => {
                    format!(" for key {key}{}", seen.as_ref().and_then(position).unwrap_or_default())
                }
                None => seen
                    .map_or_else(String::new, |seen| position(&seen).unwrap_or_else(|| OUTSIDE.to_owned())),
            };
            report(format_args!("limiter {:?}: waiting{what}", limiter.name()));
        }
    }
}

/// The position of this process, if it has none.
const OUTSIDE: &str = ", outside of the line, because it has fewer places than processes wait";

/// The position of this process in the line.
fn position(seen: &Inspection) -> Option<String> {
    let me = std::process::id();
    let mine = seen.waiting.iter().position(|process| process.pid == me && !process.foreign_pid);
    mine.map(|index| {
        let before = seen.waiting[..index].iter().fold(0, |sum: u64, one| sum.saturating_add(one.callers));
        format!(", number {} of {} in line", before.saturating_add(1), seen.callers_waiting())
    })
}
