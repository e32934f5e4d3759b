//! `shm-limit help [COMMAND]`.

use crate::args::Args;
use crate::exit::{DONE, Failure, USAGE};
use crate::{advice, help, output};
use clap::CommandFactory;

/// Prints the help of this program, or of one of its commands: the same as `--help`; or of a topic.
pub(crate) fn help(of: Option<&str>) -> Result<u8, Failure> {
    if of == Some(help::KEYS_TOPIC) {
        output::print_line(help::KEYS)?;
        return Ok(DONE);
    }
    if let Some(name) = of.filter(|name| Args::command().find_subcommand(name).is_none()) {
        return Err(unknown(name));
    }
    let words = ["shm-limit"].into_iter().chain(of).chain(["--help"]);
    // Help is an "error", which clap writes to standard output.
    match Args::command().try_get_matches_from(words) {
        Ok(_) => unreachable!("--help is not a command line that can be carried out"),
        Err(mut help) => output::clap_message(&mut help).map(|()| DONE),
    }
}

fn unknown(name: &str) -> Failure {
    let tip = match advice::command_for(name) {
        Some(other) => format!("there is `shm-limit {other}`"),
        None => "`shm-limit help` lists the commands".to_owned(),
    };
    Failure::Other(USAGE, format!("{name:?} is not a command; {tip}"))
}
