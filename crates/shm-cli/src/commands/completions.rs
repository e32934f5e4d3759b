//! `shm-limit completions SHELL`.

use crate::exit::{DONE, Failure};
use crate::{complete, output};

/// Prints the completion script.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<u8, Failure> {
    let script = complete::script(shell)
        .map_err(|e| Failure::new(format!("cannot write a completion script for {shell}: {e}")))?;
    output::print(&script)?;
    Ok(DONE)
}
