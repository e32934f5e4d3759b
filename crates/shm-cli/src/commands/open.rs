//! Opening the limiter that a command names, and saying where a new one is.

use crate::args::Target;
use crate::commands::{builder, if_missing, on_mismatch};
use crate::location;
use crate::output::report;
use crate::sliding;
use shm_lib::{Directory, RateLimit, Result};

/// What to report, besides errors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reports {
    /// Nothing.
    Quiet,
    /// What may surprise.
    Usual,
    /// Everything.
    Verbose,
}

/// Opens the limiter, or creates it if the flags say how.
pub(crate) fn open(dir: &Directory, target: &Target, reports: Reports) -> Result<RateLimit> {
    let builder = builder(dir, &target.name).when_lost(move |lost| {
        // If the name cannot be opened, the request fails and the command reports that.
        if reports != Reports::Quiet && lost.found().is_ok() {
            report(lost);
        }
    });
    let Some(policy) = target.flags.policy()? else {
        let remedy = "give --rate or --permits to create it, or look for it by `shm-limit list`";
        return builder.attach().map_err(|e| if_missing(dir, &target.name, e, remedy));
    };
    let mut builder = builder.on_mismatch(on_mismatch(target.keep));
    if let Some(mode) = target.mode {
        builder = builder.mode(mode);
    }
    if let Some(seats) = target.seats {
        builder = builder.seats(seats);
    }
    let was_there = dir.file(&target.name).symlink_metadata().is_ok();
    let limiter = builder.open_policy(policy)?;
    if !was_there && reports != Reports::Quiet {
        location::of_new(dir, &limiter, reports == Reports::Verbose).into_iter().for_each(report);
        sliding::notes(&limiter.policy()?, None).into_iter().for_each(report);
    }
    Ok(limiter)
}
