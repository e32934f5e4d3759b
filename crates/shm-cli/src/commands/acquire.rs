//! `shm-limit acquire NAME`.

use crate::args::Acquire;
use crate::commands::take::{Taken, take};
use crate::exit::{DONE, Failure};
use crate::output::{self, denial, json};
use shm_lib::{Directory, Outcome};

/// Takes, and says after how long to try again if denied.
pub(crate) fn acquire(dir: &Directory, args: &Acquire) -> Result<u8, Failure> {
    let Taken { limiter, outcome, watch } = take(dir, &args.take)?;
    watch.end();
    if args.json {
        output::print_json(&json::Taken::new(&limiter, &args.take, &outcome))?;
    } else if let Outcome::Denied(denied) = &outcome
        && !args.take.quiet
    {
        output::print_line(&denial::for_sleep(denied))?;
    }
    Ok(if outcome.is_admitted() { DONE } else { args.take.denied_status })
}
