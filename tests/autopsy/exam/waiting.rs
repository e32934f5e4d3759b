//! A turn that is waited for: nobody's wait is longer for it, and no window is over.

use super::Exam;
use crate::scene::{Scene, ensure};
use crate::victim::{Result, Victim};
use shm_lib::limit::audit::{self, Admission};
use shm_lib::{Nanos, RateLimit};

/// Turns come every few milliseconds.
#[derive(Default)]
pub(crate) struct Waiting {
    admitted: Vec<Admission>,
}

impl Waiting {
    /// Waits for so many turns, each of which must come within the time of three.
    fn wait(&mut self, limit: &RateLimit, n: usize) -> Result<()> {
        let slack = 3 * limit.limit().map_err(|e| e.to_string())?.rate().per();
        for _ in 0..n {
            let turn = limit.reserve(1).and_then(shm_lib::Reservation::commit).map_err(|e| e.to_string())?;
            let now = shm_lib::now();
            let soon = slack * u32::try_from(self.admitted.len() + 1).unwrap_or(1);
            ensure(turn.at().since(now) <= soon, || format!("a turn in {:?}", turn.at().since(now)))?;
            self.note(turn.at());
        }
        Ok(())
    }

    fn note(&mut self, at: Nanos) {
        self.admitted.push(Admission { at, tokens: 1 });
    }

    fn audit(&mut self, limit: &RateLimit) -> Result<()> {
        let limit = limit.limit().map_err(|e| e.to_string())?;
        audit::check(limit, &mut self.admitted).map_err(|over| over.to_string())
    }
}

impl Exam for Waiting {
    fn prepare(&mut self, scene: &mut Scene) -> Result<()> {
        let first = scene.limit().wait().map_err(|e| e.to_string())?;
        self.note(first.at());
        Ok(())
    }

    fn after_death(&mut self, scene: &mut Scene) -> Result<Option<bool>> {
        self.wait(&scene.limit(), 3)?;
        self.audit(&scene.limit())?;
        Ok(None)
    }

    fn beside(&mut self, scene: &mut Scene) -> Result<()> {
        for _ in 0..10 {
            let limit = scene.limit();
            scene.beside(|| self.wait(&limit, 1))?;
        }
        Ok(())
    }

    fn after_all(&mut self, scene: &mut Scene, victim: Victim) -> Result<()> {
        let report = victim.leave()?;
        self.note(Nanos::from_nanos(report.at));
        self.wait(&scene.limit(), 1)?;
        self.audit(&scene.limit())
    }
}
