//! `shm-limit run NAME -- COMMAND`.

use crate::args::Run;
use crate::commands::take;
use crate::exit::{DENIED, Failure, NO_COMMAND, NOT_EXECUTABLE, complain};
use crate::output::span;
use shm_lib::{Directory, Outcome};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Waits for a turn, then becomes the command: signals and exit status pass through because nobody is in between.
pub(crate) fn run(dir: &Directory, args: &Run) -> Result<u8, Failure> {
    let (limiter, outcome) = take::take(dir, &args.take)?;
    if let Outcome::Denied(denial) = outcome {
        complain(format_args!(
            "limiter {:?}: denied, the command was not run; try again in {} s",
            limiter.name(),
            span::seconds(denial.retry_after()),
        ));
        return Ok(DENIED);
    }
    drop(limiter);
    let (program, arguments) = args.command.split_first().expect("clap requires a command");
    let error = Command::new(program).args(arguments).exec();
    let status = if error.kind() == io::ErrorKind::NotFound { NO_COMMAND } else { NOT_EXECUTABLE };
    Err(Failure::Other(status, format!("can't run {}: {error}", program.display())))
}
