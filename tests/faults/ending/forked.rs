//! A signal handler forks. The child stands still in the handler while the parent comes to its end and does the same
//! operation a few times more, so that it uses its own cells again, and while others work. Then the child goes on with what
//! it has: a copy of a half-done operation of its parent.
//!
//! It must not write what is its parent's: neither cells nor counters, neither seat nor permits. What its parent had taken
//! before the fork it has as a copy, as after any fork; it is told by its instant, and counts once.

use super::Finding;
use crate::checks::Checks;
use crate::fixture::Fixture;
use crate::victim::{Report, Result, Victim};

/// Both, the child still in the fork and the parent after its operation. The child is dropped first: its parent's death
/// would make it another process's child.
pub(crate) struct Pair {
    pub(crate) child: Victim,
    pub(crate) parent: Victim,
}

impl Pair {
    /// Lets the child come to the end of the operation.
    pub(crate) fn child_goes_on(&mut self) -> Result<Report> {
        of_child(self.child.finish_operation().and_then(|()| self.child.report()))
    }

    /// Lets the child end, and then the parent be alone.
    pub(crate) fn child_ends(self) -> Result<Victim> {
        of_child(self.child.end())?;
        Ok(self.parent)
    }
}

/// Says whose error it is.
pub(crate) fn of_child<T>(result: Result<T>) -> Result<T> {
    result.map_err(|why| format!("the child: {why}"))
}

pub(super) fn apply(fixture: &mut Fixture, checks: &mut dyn Checks, mut victim: Victim) -> Result<Finding> {
    let child = victim.fork()?;
    let mut pair = Pair { child, parent: victim };
    pair.parent.finish_operation().map_err(|why| format!("the parent: {why}"))?;
    checks.after_fork(fixture, pair)
}
