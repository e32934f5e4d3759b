//! What `acquire` and `run` have in common: open, then take and wait.

use crate::args::Take;
use crate::commands::{builder, on_mismatch};
use crate::exit::{Failure, USAGE, complain};
use crate::output::notice::Notice;
use crate::signals::Watch;
use shm_lib::{Cost, Directory, Outcome, RateLimit, Result};
use std::time::Duration;

/// What was got. Signals are still caught: whoever goes on ends that.
pub(crate) struct Taken {
    pub(crate) limiter: RateLimit,
    pub(crate) outcome: Outcome,
    pub(crate) watch: Watch,
}

/// Takes what was asked for. Does not return if a signal ends the process.
pub(crate) fn take(dir: &Directory, args: &Take) -> std::result::Result<Taken, Failure> {
    let cost = cost(args).map_err(|why| Failure::Other(USAGE, why))?;
    let limiter = open(dir, args)?;
    let watch = Watch::begin().map_err(|e| Failure::new(format!("can't watch for signals: {e}")))?;
    let patience = if args.try_only { Some(Duration::ZERO) } else { args.timeout };
    let outcome = match patience {
        Some(Duration::ZERO) => limiter.try_acquire(cost),
        _ => {
            let acquire = limiter.acquire(cost).or_denied();
            let acquire = if let Some(time) = patience { acquire.timeout(time) } else { acquire };
            let mut notice = Notice::new(args.verbose);
            let stop = || {
                notice.when_due(&limiter);
                watch.came()
            };
            acquire.stop_when(stop).wait()
        }
    };
    match outcome {
        Ok(outcome) => Ok(Taken { limiter, outcome, watch }),
        Err(e) => {
            // The seat goes back at once, not when the kernel notices.
            drop(limiter);
            watch.end();
            Err(e.into())
        }
    }
}

fn cost(args: &Take) -> std::result::Result<Cost, String> {
    let mut cost = Cost::from(args.calls);
    for &(unit, amount) in &args.amounts {
        if cost.amount(unit).is_some() {
            return Err(format!("--take {unit} is there twice; name each unit once"));
        }
        cost = cost.and(unit, amount);
    }
    if args.calls == 0 && args.amounts.iter().all(|&(_, amount)| amount == 0) {
        return Err("that would take nothing; ask for at least 1".into());
    }
    Ok(cost)
}

fn open(dir: &Directory, args: &Take) -> Result<RateLimit> {
    let quiet = args.quiet;
    let builder = builder(dir, &args.name).when_lost(move |lost| {
        // What can't be opened is this command's error.
        if !quiet && lost.found().is_ok() {
            complain(lost);
        }
    });
    let Some(policy) = args.flags.policy()? else { return builder.attach() };
    let mut builder = builder.on_mismatch(on_mismatch(args.keep));
    if let Some(mode) = args.mode {
        builder = builder.mode(mode);
    }
    if let Some(seats) = args.seats {
        builder = builder.seats(seats);
    }
    builder.open_policy(policy)
}
