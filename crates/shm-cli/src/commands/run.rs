//! `shm-limit run NAME -- COMMAND`.

use crate::args::Run;
use crate::child;
use crate::commands::take::{Taken, take};
use crate::exit::{Failure, NO_COMMAND, NOT_EXECUTABLE, complain};
use crate::output::{denial, printable};
use crate::signals;
use shm_lib::{Directory, Outcome};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Waits for a turn, then becomes the command: signals and exit status pass through because nobody is in between.
/// With a permit it can't: the permit is this process's, so it stays until the command has ended.
pub(crate) fn run(dir: &Directory, args: &Run) -> Result<u8, Failure> {
    let Taken { limiter, outcome, watch } = take(dir, &args.take)?;
    let mut admission = match outcome {
        Outcome::Admitted(admission) => admission,
        Outcome::Denied(denied) => {
            drop(limiter);
            watch.end();
            if !args.take.quiet {
                complain(format_args!("limiter {:?}: {}", args.take.name.as_str(), denial::reason(&denied)));
            }
            return Ok(args.take.denied_status);
        }
    };
    let (program, arguments) = args.command.split_first().expect("clap requires a command");
    let mut command = Command::new(program);
    command.args(arguments);
    let error = match admission.take_permit() {
        Some(permit) => match child::run(&mut command, &watch, args.kill_with_me) {
            Ok(ended) => {
                // Before this process ends: somebody may wait for it.
                drop((permit, admission, limiter));
                let Some(status) = ended else {
                    watch.end();
                    unreachable!("the caught signal ends this process");
                };
                return Ok(child::end_like(status));
            }
            Err(error) => error,
        },
        None => {
            drop((admission, limiter));
            watch.end();
            signals::inherit(&mut command, None);
            command.exec()
        }
    };
    let status = if error.kind() == io::ErrorKind::NotFound { NO_COMMAND } else { NOT_EXECUTABLE };
    Err(Failure::Other(status, format!("can't run {}: {error}", printable::path(program))))
}
