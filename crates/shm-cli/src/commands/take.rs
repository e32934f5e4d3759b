//! What `acquire`, `run` and `hold` have in common: open the limiter, take, and wait.

use crate::args::Take;
use crate::commands::open::{Opened, Reports, open};
use crate::exit::{Failure, USAGE};
use crate::output::notice::Notice;
use crate::output::{denial, report};
use crate::signals::SignalCatcher;
use shm_lib::{Directory, Error, ErrorKind, Fallback, Outcome, Result};
use std::time::Duration;

/// The decision on a request. Signals are still caught until [`SignalCatcher::end`].
pub(crate) struct Taken {
    /// `None` if the limiter could not be opened and the request was decided by `--fail-open` or `--fail-closed`.
    pub(crate) limiter: Option<Opened>,
    pub(crate) outcome: Outcome,
    /// Why the limiter could not decide.
    pub(crate) problem: Option<Error>,
    pub(crate) signals: SignalCatcher,
}

/// Takes what the flags say. Does not return if a signal ends the process.
pub(crate) fn take(dir: &Directory, args: &Take) -> std::result::Result<Taken, Failure> {
    let cost = args.cost.of_request().map_err(|why| Failure::Other(USAGE, why))?;
    let signals = SignalCatcher::begin().map_err(|e| Failure::new(format!("cannot catch signals: {e}")))?;
    let patience = if args.try_only { Some(Duration::ZERO) } else { args.timeout };
    let decide = |limiter: Opened| -> Result<(Opened, Outcome)> {
        let outcome = match patience {
            Some(Duration::ZERO) => limiter.try_acquire(cost),
            _ => {
                let mut notice = Notice::new(args.verbose);
                let stop = || {
                    notice.when_due(&limiter);
                    signals.caught()
                };
                limiter.acquire(cost, patience, stop)
            }
        }?;
        // After an error the limiter is dropped here: its seat is free at once, not when the kernel notices.
        Ok((limiter, outcome))
    };
    match open(dir, &args.target, args.reports()).and_then(decide) {
        Ok((limiter, outcome)) => Ok(Taken { limiter: Some(limiter), outcome, problem: None, signals }),
        Err(e) => {
            // If a signal ended the wait, the process ends here by that signal.
            signals.end();
            let outcome = fall_back(args, patience, &e)?;
            Ok(Taken { limiter: None, outcome, problem: Some(e), signals })
        }
    }
}

/// The decision by `--fail-open` or `--fail-closed` if the limiter failed. The error is reported in any case.
///
/// A request that waited until its deadline for a seat is denied like one that waited for its turn: a seat becomes free
/// when another process ends.
fn fall_back(args: &Take, patience: Option<Duration>, error: &Error) -> Result<Outcome> {
    let waited_for_a_seat = error.kind() == ErrorKind::NoSeat && patience.is_some_and(|time| !time.is_zero());
    let (outcome, what) = if args.fail_open {
        (Err(error.clone()).fail_open()?, "going on without a limit (--fail-open)")
    } else if let Some(retry_after) = args.fail_closed {
        (Err(error.clone()).fail_closed(retry_after)?, "the request is denied (--fail-closed)")
    } else if waited_for_a_seat {
        let denied = Err(error.clone()).fail_closed(denial::TRY_AGAIN)?;
        if args.quiet {
            return Ok(denied);
        }
        (denied, "none became free in time, so the request is denied")
    } else {
        return Err(error.clone());
    };
    report(format_args!("{error}; {what}"));
    Ok(outcome)
}

impl Take {
    /// What `--quiet` and `--verbose` mean.
    fn reports(&self) -> Reports {
        match (self.quiet, self.verbose) {
            (true, _) => Reports::Quiet,
            (_, true) => Reports::Verbose,
            _ => Reports::Usual,
        }
    }
}
