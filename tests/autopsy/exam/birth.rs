//! The making of a limiter: there is a whole one or none, and nothing else.

use super::{Budget, Exam};
use crate::ending::{Finding, Pair};
use crate::scene::{BESIDE, BUDGET, Scene, drain, ensure, inspected};
use crate::victim::{Result, Victim};
use shm_lib::RateLimit;

/// The victim creates it.
#[derive(Default)]
pub(crate) struct Birth {
    mine: Option<RateLimit>,
    taken_beside: u64,
}

impl Exam for Birth {
    fn prepare(&mut self, scene: &mut Scene) -> Result<()> {
        ensure(scene.files().is_empty(), || format!("{:?} is there", scene.files()))
    }

    fn after_death(&mut self, scene: &mut Scene) -> Result<Option<bool>> {
        let files = scene.files();
        ensure(files.is_empty() || files == ["arena"], || format!("{files:?} in the directory"))?;
        let limit = scene.open()?;
        ensure(scene.files() == ["arena"], || format!("{:?} in the directory", scene.files()))?;
        inspected(&limit, 0, &[limit.policy().map_err(|e| e.to_string())?])?;
        let left = drain(&limit)?;
        ensure(left == BUDGET, || format!("{left} of {BUDGET}"))?;
        Ok(Some(!files.is_empty()))
    }

    fn beside(&mut self, scene: &mut Scene) -> Result<()> {
        let job = scene.job().clone();
        let mine = scene.beside(|| job.open()).map_err(|e| e.to_string())?;
        self.taken_beside = scene.take_beside(&mine, BESIDE)?;
        self.mine = Some(mine);
        ensure(self.taken_beside == BESIDE, || format!("{} of {BESIDE}", self.taken_beside))
    }

    fn after_all(&mut self, scene: &mut Scene, victim: Victim) -> Result<()> {
        let taken = victim.leave()?.tokens;
        let mine = self.mine.take().ok_or("nothing was opened")?;
        ensure(scene.files() == ["arena"], || format!("{:?} in the directory", scene.files()))?;
        // Both have the same one.
        let all = self.taken_beside + taken + drain(&mine)?;
        ensure(taken == 1 && all == BUDGET, || format!("{all} admitted of {BUDGET}, {taken} to the victim"))
    }

    fn after_fork(&mut self, scene: &mut Scene, pair: Pair) -> Result<Finding> {
        let whole = |scene: &Scene| {
            ensure(scene.files() == ["arena"], || format!("{:?} in the directory", scene.files()))
        };
        whole(scene)?;
        let limit = scene.open()?;
        scene.adopt(limit);
        // The child joins it, or it goes on to create it: both must lead to the same one.
        let finding = Budget::of_victim(0, 0).after_fork(scene, pair)?;
        whole(scene)?;
        Ok(finding)
    }
}
