//! `shm-limit list`.

use crate::args::List;
use crate::commands::attach;
use crate::exit::{DONE, Failure};
use crate::output::{self, Snapshot, json, printable, report, table};
use shm_lib::Directory;

/// Shows all limiters. A limiter that cannot be read is shown with what is wrong, and hides no other one.
pub(crate) fn list(dir: &Directory, args: &List) -> Result<u8, Failure> {
    let seen: Vec<Snapshot> = dir
        .names()?
        .iter()
        .map(|name| Snapshot::new(dir, name, attach(dir, name)))
        .filter(Snapshot::exists)
        .collect();
    if args.json {
        output::print_json(&seen.iter().map(json::Limiter::brief).collect::<Vec<_>>())?;
        return Ok(DONE);
    }
    if seen.is_empty() {
        report(format_args!(
            "there are no limiters in {}; `shm-limit create` creates one",
            printable::path(dir.path())
        ));
        return Ok(DONE);
    }
    output::print(&table::table(&seen))?;
    for error in seen.iter().filter_map(|s| s.inspection.as_ref().err()) {
        report(error);
    }
    Ok(DONE)
}
