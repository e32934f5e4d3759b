//! `shm-limit inspect NAME`.

use crate::args::Inspect;
use crate::commands::attach;
use crate::exit::{DONE, FAILED, Failure};
use crate::output::{self, Snapshot, human, json};
use shm_lib::Directory;

/// Shows everything about one limiter.
pub(crate) fn inspect(dir: &Directory, args: &Inspect) -> Result<u8, Failure> {
    let seen = Snapshot::new(dir, &args.name, attach(dir, &args.name));
    if args.json {
        output::print_json(&json::Limiter::in_full(&seen))?;
        return Ok(if seen.inspection.is_ok() { DONE } else { FAILED });
    }
    let inspection = seen.inspection?;
    output::print(&human::describe(&seen.name, &seen.path, &inspection))?;
    Ok(DONE)
}
