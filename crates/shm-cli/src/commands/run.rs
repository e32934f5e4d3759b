//! `shm-limit run NAME -- COMMAND`.

use crate::args::Run;
use crate::child;
use crate::commands::Opened;
use crate::commands::take::{Taken, take};
use crate::exit::{Failure, NO_COMMAND, NOT_EXECUTABLE};
use crate::output::{amount, denial, printable, report};
use crate::settlement::Settlement;
use crate::signals;
use shm_lib::{Admission, Directory, Outcome, Unit};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Waits for a turn, then becomes the command (exec): exit status and signals are the command's own, because no process is
/// in between. With a permit this process stays until the command has ended, because the permit belongs to this process; to
/// settle afterwards, because only this process has the receipt.
pub(crate) fn run(dir: &Directory, args: &Run) -> Result<u8, Failure> {
    let Taken { limiter, outcome, signals, .. } = take(dir, &args.take)?;
    let mut admission = match outcome {
        Outcome::Admitted(admission) => admission,
        Outcome::Denied(denied) => {
            drop(limiter);
            signals.end();
            if !args.take.quiet {
                denial::tell(&args.take.target, &denied, "the command was not run");
            }
            return Ok(args.take.denied_status);
        }
    };
    let (program, arguments) = args.command.split_first().expect("clap requires a command");
    let mut command = Command::new(program);
    command.args(arguments);
    let permit = admission.take_permit();
    let error = if permit.is_some() || args.settle {
        let settlement = args.settle.then(|| Settlement::begin(&mut command)).transpose();
        let settlement = settlement
            .map_err(|e| Failure::new(format!("cannot create the file for the actual amounts: {e}")))?;
        match child::run(&mut command, &signals, args.kill_with_me) {
            Ok(ended) => {
                // At once: another caller may be waiting for it.
                drop(permit);
                let Some(status) = ended else {
                    drop((admission, limiter));
                    signals.end();
                    unreachable!("the caught signal ends this process");
                };
                if let (Some(settlement), Some(limiter)) = (settlement, &limiter) {
                    settle(limiter, settlement, &mut admission, args);
                }
                drop((admission, limiter));
                return Ok(child::exit_like(status));
            }
            Err(error) => error,
        }
    } else {
        drop((admission, limiter));
        signals.end();
        signals::inherit(&mut command, None);
        command.exec()
    };
    let status = if error.kind() == io::ErrorKind::NotFound { NO_COMMAND } else { NOT_EXECUTABLE };
    Err(Failure::Other(status, format!("cannot run {}: {error}", printable::path(program))))
}

/// Settles with what the command wrote. The exit status is the command's own even if that fails.
fn settle(opened: &Opened, settlement: Settlement, admission: &mut Admission, args: &Run) {
    let name = opened.limiter().name();
    let actual = args.take.cost.of_request().and_then(|estimate| settlement.read(&estimate));
    let settled = match actual {
        Ok(None) => return,
        Ok(Some(actual)) => {
            let settled = opened.settle(admission, actual).map_err(|e| e.to_string());
            settled.map(|settled| (settled, actual))
        }
        Err(why) => Err(format!("limiter {name:?}: {why}")),
    };
    match settled {
        Ok((settled, actual)) if args.take.verbose => {
            let units = args.take.cost.amounts.iter().map(|&(unit, _)| unit);
            for unit in std::iter::once(Unit::CALLS).chain(units) {
                let (back, more) = (settled.given_back(unit), settled.charged(unit));
                if back > 0.0 {
                    report(format_args!("limiter {name:?}: gave back {back:.1} {unit}"));
                }
                if more > 0 {
                    report(format_args!("limiter {name:?}: charged {} more", amount(unit.name(), more)));
                }
                let estimate = args.take.cost.of_request().ok().and_then(|estimate| estimate.amount(unit));
                if let (Some(key), Some(estimate), Some(actual)) =
                    (opened.key(), estimate, actual.amount(unit))
                    && actual < estimate
                {
                    let less = amount(unit.name(), estimate - actual);
                    report(format_args!(
                        "limiter {name:?}: {less} too many stay charged to key {key}: a key gives nothing back"
                    ));
                }
            }
        }
        Ok(_) => {}
        Err(why) => report(format_args!("{why}; not settled, so the estimate stays charged")),
    }
}
