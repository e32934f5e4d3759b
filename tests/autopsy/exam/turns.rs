//! Turns reserved and given back: no turn is given twice, none is left out.

use super::Exam;
use crate::scene::{Scene, drain, ensure, inspected};
use crate::victim::{Result, Victim};
use shm_lib::{Kind, RateLimit, Reservation};
use std::ops::RangeInclusive;

/// How often a turn is taken and given back beside the victim.
const ROUNDS: usize = 150;

/// The next turns are days away.
pub(crate) struct Turns {
    /// Whether the victim gives its turn back; otherwise it takes one.
    cancels: bool,
    /// The next one, and between what the one after it is.
    first: u64,
    second: RangeInclusive<u64>,
    kept: Option<Reservation>,
}

impl Turns {
    pub(crate) fn new(cancels: bool) -> Turns {
        Turns { cancels, first: 0, second: 0..=0, kept: None }
    }
}

impl Turns {
    /// Whether this turn is the second one; otherwise it is the first.
    fn is_second(&self, at: u64) -> Result<bool> {
        let second = self.second.contains(&at);
        ensure(second || at == self.first, || {
            format!("a turn {} ns after the first", at.wrapping_sub(self.first))
        })?;
        Ok(second)
    }
}

fn turn(limit: &RateLimit) -> Result<Reservation> {
    limit.reserve(1).map_err(|e| e.to_string())
}

impl Exam for Turns {
    fn prepare(&mut self, scene: &mut Scene) -> Result<()> {
        let limit = scene.limit();
        drain(&limit)?;
        let next = turn(&limit)?;
        self.first = next.at().as_nanos();
        let limit = limit.limit().map_err(|e| e.to_string())?;
        self.second = if limit.kind() == Kind::Greedy {
            // As long after it as the second admission was after the first.
            self.first + 1..=self.first + 1_000_000_000
        } else {
            let gap = limit.rate().per().as_nanos() as u64 / limit.rate().max();
            self.first + gap - 1..=self.first + gap + 1
        };
        ensure(next.cancel(), || "a turn can't be given back".into())
    }

    fn after_death(&mut self, scene: &mut Scene) -> Result<Option<bool>> {
        let limit = scene.limit();
        inspected(&limit, 1, 0, &[limit.policy().map_err(|e| e.to_string())?])?;
        let victim_has_one = self.is_second(turn(&limit)?.at().as_nanos())?;
        let kept = turn(&limit)?;
        ensure(self.is_second(kept.at().as_nanos())? == victim_has_one, || "another turn".into())?;
        let next = turn(&limit)?;
        let two_on =
            if victim_has_one { next.at() > kept.at() } else { self.is_second(next.at().as_nanos())? };
        ensure(two_on, || format!("a turn at {:?} after one at {:?}", next.at(), kept.at()))?;
        Ok(Some(victim_has_one != self.cancels))
    }

    fn beside(&mut self, scene: &mut Scene) -> Result<()> {
        let limit = scene.limit();
        for round in 0..ROUNDS {
            let mine = scene.beside(|| turn(&limit))?;
            self.is_second(mine.at().as_nanos())?;
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
            ensure(self.is_second(report.at)? != self.is_second(mine)?, || {
                format!("the victim has the turn {}, this process {mine}", report.at)
            })?;
        }
        let later = turn(&scene.limit())?;
        let first_free = later.at().as_nanos();
        ensure(first_free > mine && (report.tokens == 0 || first_free > report.at), || {
            format!("the turn {first_free} comes after {mine} and {}", report.at)
        })
    }
}
