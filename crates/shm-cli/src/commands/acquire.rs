//! `shm-limit acquire NAME`.

use crate::args::Acquire;
use crate::commands::take;
use crate::exit::{DENIED, DONE, Failure};
use crate::output::{self, json, span};
use shm_lib::{Directory, Outcome};

/// Takes, and says after how long to try again if denied.
pub(crate) fn acquire(dir: &Directory, args: &Acquire) -> Result<u8, Failure> {
    let (limiter, outcome) = take::take(dir, &args.take)?;
    if args.json {
        output::print_json(&json::Taken::new(&limiter, args.take.tokens, outcome))?;
    } else if let Outcome::Denied(denial) = outcome {
        output::print_line(&span::seconds(denial.retry_after()))?;
    }
    Ok(if outcome.is_admitted() { DONE } else { DENIED })
}
