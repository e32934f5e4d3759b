//! The message of `--verbose` about a wait, on standard error.

use crate::output::report;
use shm_lib::{Inspection, RateLimit};
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
    pub(crate) fn when_due(&mut self, limiter: &RateLimit) {
        if self.due.take_if(|due| *due <= Instant::now()).is_some() {
            let place = limiter.inspect().map_or_else(|_| String::new(), |seen| position(&seen));
            report(format_args!("limiter {:?}: waiting{place}", limiter.name()));
        }
    }
}

/// The position of this process in the line.
fn position(seen: &Inspection) -> String {
    let me = std::process::id();
    let mine = seen.waiting.iter().position(|process| process.pid == me && !process.foreign_pid);
    match mine {
        Some(index) => {
            let before =
                seen.waiting[..index].iter().fold(0, |sum: u64, one| sum.saturating_add(one.callers));
            format!(", number {} of {} in line", before.saturating_add(1), seen.callers_waiting())
        }
        None => ", outside of the line, because it has fewer places than processes wait".to_owned(),
    }
}
