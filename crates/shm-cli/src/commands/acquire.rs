//! `shm-limit acquire NAME`.

use crate::args::Acquire;
use crate::commands::take::{Taken, take};
use crate::exit::{DONE, Failure};
use crate::output::{self, denial, json};
use shm_lib::{Directory, Outcome};

/// Acquires, and prints after how long to try again if denied.
pub(crate) fn acquire(dir: &Directory, args: &Acquire) -> Result<u8, Failure> {
    let result = json::Taken::new(dir, &args.take);
    let Taken { outcome, problem, signals, .. } = match take(dir, &args.take) {
        Ok(taken) => taken,
        Err(failure) if args.json => {
            output::print_json(&result.failed(&failure))?;
            return Err(failure);
        }
        Err(failure) => return Err(failure),
    };
    signals.end();
    if args.json {
        output::print_json(&result.decided(&outcome, problem.as_ref()))?;
    } else if let Outcome::Denied(denied) = &outcome
        && !args.take.quiet
    {
        output::print_line(&denial::for_sleep(denied))?;
    }
    Ok(if outcome.is_admitted() { DONE } else { args.take.denied_status })
}
