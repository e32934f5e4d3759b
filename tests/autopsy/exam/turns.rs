//! Turns reserved and given back: no turn is given twice, none is left out.

use super::Exam;
use crate::scene::{Scene, drain, ensure, inspected};
use crate::victim::{Result, Victim};
use shm_lib::{RateLimit, Reservation};

/// How often a turn is taken and given back beside the victim.
const ROUNDS: usize = 150;

/// The next turns are days away.
pub(crate) struct Turns {
    /// Whether the victim gives its turn back; otherwise it takes one.
    cancels: bool,
    /// The next two.
    next: [u64; 2],
    kept: Option<Reservation>,
}

impl Turns {
    pub(crate) fn new(cancels: bool) -> Turns {
        Turns { cancels, next: [0; 2], kept: None }
    }
}

fn turn(limit: &RateLimit) -> Result<Reservation> {
    limit.reserve(1).map_err(|e| e.to_string())
}

impl Exam for Turns {
    fn prepare(&mut self, scene: &mut Scene) -> Result<()> {
        let limit = scene.limit();
        drain(&limit)?;
        let (first, second) = (turn(&limit)?, turn(&limit)?);
        self.next = [first.at().as_nanos(), second.at().as_nanos()];
        ensure(second.cancel() && first.cancel(), || "turns can't be given back".into())
    }

    fn after_death(&mut self, scene: &mut Scene) -> Result<Option<bool>> {
        let limit = scene.limit();
        inspected(&limit, 1, 0, &[limit.policy().map_err(|e| e.to_string())?])?;
        let first = turn(&limit)?;
        let at = first.at().as_nanos();
        ensure(self.next.contains(&at), || format!("the next turn is at {at}, not one of {:?}", self.next))?;
        let victim_has_it = at == self.next[1];
        let second = turn(&limit)?;
        let gap = second.at().as_nanos() - at;
        ensure(victim_has_it || second.at().as_nanos() == self.next[1], || format!("{gap} ns to the next turn"))?;
        ensure(second.cancel() && first.cancel(), || "turns can't be given back any more".into())?;
        Ok(Some(victim_has_it != self.cancels))
    }

    fn beside(&mut self, scene: &mut Scene) -> Result<()> {
        let limit = scene.limit();
        for round in 0..ROUNDS {
            let mine = scene.beside(|| turn(&limit))?;
            let at = mine.at().as_nanos();
            ensure(self.next.contains(&at), || format!("a turn at {at}, not one of {:?}", self.next))?;
            if round + 1 == ROUNDS {
                self.kept = Some(mine);
            } else {
                let given_back = scene.beside(|| mine.cancel());
                ensure(given_back, || "a turn can't be given back".into())?;
            }
        }
        Ok(())
    }

    fn after_all(&mut self, scene: &mut Scene, victim: Victim) -> Result<()> {
        let report = victim.leave()?;
        let kept = self.kept.take().ok_or("no turn was kept")?;
        let mine = kept.at().as_nanos();
        if report.tokens == 1 {
            ensure(report.at != mine && self.next.contains(&report.at), || {
                format!("the victim has the turn {}, this process {mine} of {:?}", report.at, self.next)
            })?;
        }
        let later = turn(&scene.limit())?;
        let first_free = later.at().as_nanos();
        ensure(first_free > mine && (report.tokens == 0 || first_free > report.at), || {
            format!("the turn {first_free} comes after {mine} and {}", report.at)
        })
    }
}
