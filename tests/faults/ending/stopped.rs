//! It is left stopped. No other process waits for it, and when it continues all that was admitted is exactly the limit.

use super::Finding;
use crate::checks::Checks;
use crate::fixture::Fixture;
use crate::victim::{Result, Victim};

pub(super) fn apply(fixture: &mut Fixture, checks: &mut dyn Checks, mut victim: Victim) -> Result<Finding> {
    checks.beside(fixture)?;
    victim.finish_operation()?;
    checks.after_all(fixture, victim)?;
    Ok(Finding::default())
}
