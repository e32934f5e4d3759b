//! `shm-limit completions SHELL`.

use crate::args::Args;
use crate::exit::{DONE, Failure};
use crate::output;
use clap::CommandFactory;

/// Prints the completion script.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<u8, Failure> {
    // Into memory first: the generator panics when its output fails.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "shm-limit", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(DONE)
}
