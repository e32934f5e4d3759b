//! Creation: there is a whole limiter or none, and nothing else.

use super::{Budget, Checks};
use crate::ending::{Finding, Pair};
use crate::fixture::{BESIDE, BUDGET, Fixture, drain, ensure, inspected};
use crate::victim::{Result, Victim};
use shm_lib::RateLimit;

/// The victim creates it.
#[derive(Default)]
pub(crate) struct Creation {
    mine: Option<RateLimit>,
    taken_beside: u64,
}

impl Checks for Creation {
    fn prepare(&mut self, fixture: &mut Fixture) -> Result<()> {
        ensure(fixture.files().is_empty(), || format!("{:?} is there", fixture.files()))
    }

    fn after_death(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        let files = fixture.files();
        ensure(files.is_empty() || files == ["arena"], || format!("{files:?} in the directory"))?;
        let limit = fixture.open()?;
        ensure(fixture.files() == ["arena"], || format!("{:?} in the directory", fixture.files()))?;
        inspected(&limit, 0, &[limit.policy().map_err(|e| e.to_string())?])?;
        let left = drain(&limit)?;
        ensure(left == BUDGET, || format!("{left} of {BUDGET}"))?;
        Ok(Some(!files.is_empty()))
    }

    fn beside(&mut self, fixture: &mut Fixture) -> Result<()> {
        let job = fixture.job().clone();
        let mine = fixture.beside(|| job.open()).map_err(|e| e.to_string())?;
        self.taken_beside = fixture.take_beside(&mine, BESIDE)?;
        self.mine = Some(mine);
        ensure(self.taken_beside == BESIDE, || format!("{} of {BESIDE}", self.taken_beside))
    }

    fn after_all(&mut self, fixture: &mut Fixture, victim: Victim) -> Result<()> {
        let taken = victim.leave()?.tokens;
        let mine = self.mine.take().ok_or("nothing was opened")?;
        ensure(fixture.files() == ["arena"], || format!("{:?} in the directory", fixture.files()))?;
        // Both have the same one.
        let all = self.taken_beside + taken + drain(&mine)?;
        ensure(taken == 1 && all == BUDGET, || format!("{all} admitted of {BUDGET}, {taken} to the victim"))
    }

    fn after_fork(&mut self, fixture: &mut Fixture, pair: Pair) -> Result<Finding> {
        let whole = |fixture: &Fixture| {
            ensure(fixture.files() == ["arena"], || format!("{:?} in the directory", fixture.files()))
        };
        whole(fixture)?;
        let limit = fixture.open()?;
        fixture.adopt(limit);
        // The child joins it, or it goes on to create it: both must lead to the same one.
        let finding = Budget::of_victim(0, 0).after_fork(fixture, pair)?;
        whole(fixture)?;
        Ok(finding)
    }
}
