//! What `acquire` and `run` have in common: open, then take and wait.

use crate::args::Take;
use crate::exit::Failure;
use crate::signals::Watch;
use shm_lib::{Directory, ErrorKind, Outcome, RateLimit};
use std::time::{Duration, Instant};

/// Takes what was asked for. Does not return if a signal ends the process.
pub(crate) fn take(dir: &Directory, args: &Take) -> Result<(RateLimit, Outcome), Failure> {
    let limiter = open(dir, args)?;
    let watch = Watch::begin().map_err(|e| Failure::new(format!("can't watch for signals: {e}")))?;
    let patience = if args.try_only { Some(Duration::ZERO) } else { args.timeout };
    let outcome = match patience {
        Some(Duration::ZERO) => limiter.try_acquire_n(args.tokens),
        // A time that doesn't fit the clock is no deadline.
        _ => {
            let deadline = patience.and_then(|time| Instant::now().checked_add(time));
            limiter.wait_unless(args.tokens, deadline, || watch.came())
        }
    };
    if outcome.as_ref().is_err_and(|e| e.kind() == ErrorKind::Interrupted) {
        // The seat goes back at once, not when the kernel notices.
        drop(limiter);
        watch.end();
        return Err(outcome.unwrap_err().into());
    }
    watch.end();
    Ok((limiter, outcome?))
}

fn open(dir: &Directory, args: &Take) -> Result<RateLimit, Failure> {
    let mut builder = RateLimit::builder(args.name.as_str()).in_directory(dir.clone());
    let Some(rate) = args.rate else { return Ok(builder.attach()?) };
    if let Some(burst) = args.burst {
        builder = builder.burst(burst);
    }
    if let Some(mode) = args.mode {
        builder = builder.mode(mode);
    }
    Ok(builder.open(rate.max(), rate.per())?)
}
