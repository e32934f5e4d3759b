//! Retirement: the limiter is retired or not, and its name leads to one that works.

use super::Checks;
use crate::ending::{Finding, Pair, of_child};
use crate::fixture::{BESIDE, BUDGET, Fixture, drain, ensure, take};
use crate::victim::{Result, Victim};
use shm_lib::{ErrorKind, RateLimit};

const USED: u64 = 300;

/// The victim retires it.
pub(crate) struct Retirement;

/// Whether a handle was told that its limiter is retired; otherwise it took one more.
fn is_told(limit: &RateLimit) -> Result<bool> {
    match limit.try_acquire(1) {
        Ok(outcome) if outcome.is_admitted() => Ok(false),
        Err(e) if e.kind() == ErrorKind::Retired => Ok(true),
        other => Err(format!("a handle got {other:?}")),
    }
}

impl Checks for Retirement {
    fn prepare(&mut self, fixture: &mut Fixture) -> Result<()> {
        take(&fixture.limit(), USED)
    }

    fn after_death(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        let retired = is_told(&fixture.limit())?;
        ensure(retired || fixture.files() == ["arena"], || {
            format!("not retired, and {:?}", fixture.files())
        })?;
        let next = fixture.open()?;
        ensure(fixture.files() == ["arena"], || format!("{:?} in the directory", fixture.files()))?;
        let (left, expected) = (drain(&next)?, if retired { BUDGET } else { BUDGET - USED - 1 });
        ensure(left == expected, || format!("{left} left of {expected}"))?;
        // And the next process can retire it.
        next.retire().map_err(|e| e.to_string())?;
        ensure(fixture.files().is_empty(), || format!("{:?} is left", fixture.files()))?;
        Ok(Some(retired))
    }

    fn beside(&mut self, fixture: &mut Fixture) -> Result<()> {
        let limit = fixture.limit();
        let told = fixture.beside(|| is_told(&limit))?;
        for _ in 1..BESIDE {
            let again = fixture.beside(|| is_told(&limit))?;
            ensure(told == again, || "it was retired for a while".into())?;
        }
        Ok(())
    }

    fn after_all(&mut self, fixture: &mut Fixture, victim: Victim) -> Result<()> {
        victim.leave()?;
        ensure(is_told(&fixture.limit())?, || "a handle was not told".into())?;
        ensure(fixture.files().is_empty(), || format!("{:?} is left", fixture.files()))?;
        let left = drain(&fixture.open()?)?;
        ensure(left == BUDGET, || format!("{left} in the new one"))
    }

    fn after_fork(&mut self, fixture: &mut Fixture, mut pair: Pair) -> Result<Finding> {
        let retired = |limit: &RateLimit| ensure(is_told(limit)?, || "a handle was not told".into());
        let old = fixture.limit();
        pair.parent.report()?;
        retired(&old)?;
        ensure(fixture.files().is_empty(), || format!("{:?} is left", fixture.files()))?;
        // The next one of that name is nothing to the child.
        let new = fixture.open()?;
        let mut taken = pair.parent.repeat(3)?.tokens;
        taken += fixture.take_beside(&new, BESIDE)?;
        of_child(pair.child.finish_operation().and_then(|()| pair.child.says()))?;
        ensure(fixture.files() == ["arena"], || format!("{:?} in the directory", fixture.files()))?;
        let mut parent = pair.child_ends()?;
        taken += parent.repeat(1)?.tokens;
        parent.end()?;
        retired(&old)?;
        let all = taken + drain(&fixture.open()?)?;
        ensure(all == BUDGET, || format!("{all} admitted of {BUDGET} by the new one"))?;
        Ok(Finding::default())
    }
}
