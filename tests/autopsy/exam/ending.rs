//! The end of a limiter: it is retired or not, and its name leads to one that works.

use super::Exam;
use crate::ending::{Finding, Pair, of_child};
use crate::scene::{BESIDE, BUDGET, Scene, drain, ensure, take};
use crate::victim::{Result, Victim};
use shm_lib::{ErrorKind, RateLimit};

const USED: u64 = 300;

/// The victim retires it.
pub(crate) struct Ending;

/// Whether a handle was told that its limiter is retired; otherwise it took one more.
fn is_told(limit: &RateLimit) -> Result<bool> {
    match limit.try_acquire(1) {
        Ok(outcome) if outcome.is_admitted() => Ok(false),
        Err(e) if e.kind() == ErrorKind::Retired => Ok(true),
        other => Err(format!("a handle got {other:?}")),
    }
}

impl Exam for Ending {
    fn prepare(&mut self, scene: &mut Scene) -> Result<()> {
        take(&scene.limit(), USED)
    }

    fn after_death(&mut self, scene: &mut Scene) -> Result<Option<bool>> {
        let retired = is_told(&scene.limit())?;
        ensure(retired || scene.files() == ["arena"], || format!("not retired, and {:?}", scene.files()))?;
        let next = scene.open()?;
        ensure(scene.files() == ["arena"], || format!("{:?} in the directory", scene.files()))?;
        let (left, expected) = (drain(&next)?, if retired { BUDGET } else { BUDGET - USED - 1 });
        ensure(left == expected, || format!("{left} left of {expected}"))?;
        // And whoever comes next can end it.
        next.retire().map_err(|e| e.to_string())?;
        ensure(scene.files().is_empty(), || format!("{:?} is left", scene.files()))?;
        Ok(Some(retired))
    }

    fn beside(&mut self, scene: &mut Scene) -> Result<()> {
        let limit = scene.limit();
        let told = scene.beside(|| is_told(&limit))?;
        for _ in 1..BESIDE {
            let again = scene.beside(|| is_told(&limit))?;
            ensure(told == again, || "it was retired for a while".into())?;
        }
        Ok(())
    }

    fn after_all(&mut self, scene: &mut Scene, victim: Victim) -> Result<()> {
        victim.leave()?;
        ensure(is_told(&scene.limit())?, || "a handle was not told".into())?;
        ensure(scene.files().is_empty(), || format!("{:?} is left", scene.files()))?;
        let left = drain(&scene.open()?)?;
        ensure(left == BUDGET, || format!("{left} in the new one"))
    }

    fn after_fork(&mut self, scene: &mut Scene, mut pair: Pair) -> Result<Finding> {
        let retired = |limit: &RateLimit| ensure(is_told(limit)?, || "a handle was not told".into());
        let old = scene.limit();
        pair.parent.report()?;
        retired(&old)?;
        ensure(scene.files().is_empty(), || format!("{:?} is left", scene.files()))?;
        // The next one of that name is nothing to the child.
        let new = scene.open()?;
        let mut taken = pair.parent.repeat(3)?.tokens;
        taken += scene.take_beside(&new, BESIDE)?;
        of_child(pair.child.go_on().and_then(|()| pair.child.says()))?;
        ensure(scene.files() == ["arena"], || format!("{:?} in the directory", scene.files()))?;
        let mut parent = pair.child_ends()?;
        taken += parent.repeat(1)?.tokens;
        parent.end()?;
        retired(&old)?;
        let all = taken + drain(&scene.open()?)?;
        ensure(all == BUDGET, || format!("{all} admitted of {BUDGET} by the new one"))?;
        Ok(Finding::default())
    }
}
