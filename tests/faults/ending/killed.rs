//! It is killed. The state is as before the operation or as after it.

use super::Finding;
use crate::checks::Checks;
use crate::fixture::Fixture;
use crate::victim::{Result, Victim};

pub(super) fn apply(fixture: &mut Fixture, checks: &mut dyn Checks, victim: Victim) -> Result<Finding> {
    victim.kill();
    Ok(Finding { effect: checks.after_death(fixture)?, ..Finding::default() })
}
