//! `shm-limit help [COMMAND]`.

use crate::args::Args;
use crate::exit::{DONE, Failure, USAGE};
use crate::{advice, output};
use clap::CommandFactory;

/// Prints the help of this program, or of one of its commands.
pub(crate) fn help(of: Option<&str>) -> Result<u8, Failure> {
    let mut program = Args::command();
    program.build();
    let command = match of {
        None => &mut program,
        Some(name) => program.find_subcommand_mut(name).ok_or_else(|| unknown(name))?,
    };
    output::print_styled(&command.render_long_help())?;
    Ok(DONE)
}

fn unknown(name: &str) -> Failure {
    let tip = match advice::command_for(name) {
        Some(other) => format!("there is `shm-limit {other}`"),
        None => "`shm-limit help` lists the commands".to_owned(),
    };
    Failure::Other(USAGE, format!("{name:?} is not a command; {tip}"))
}
