//! A wait for a turn: no other process waits longer for it, and no window is over.

use super::Checks;
use crate::ending::{Finding, Pair};
use crate::fixture::{Fixture, ensure};
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
        self.admitted.push(Admission { at, calls: 1 });
    }

    fn audit(&mut self, limit: &RateLimit) -> Result<()> {
        let limit = limit.limit().map_err(|e| e.to_string())?;
        audit::check(limit, &mut self.admitted).map_err(|over| over.to_string())
    }
}

impl Checks for Waiting {
    fn prepare(&mut self, fixture: &mut Fixture) -> Result<()> {
        let first = fixture.limit().wait().map_err(|e| e.to_string())?;
        self.note(first.at());
        Ok(())
    }

    fn after_death(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        self.wait(&fixture.limit(), 3)?;
        self.audit(&fixture.limit())?;
        Ok(None)
    }

    fn beside(&mut self, fixture: &mut Fixture) -> Result<()> {
        for _ in 0..10 {
            let limit = fixture.limit();
            fixture.beside(|| self.wait(&limit, 1))?;
        }
        Ok(())
    }

    fn after_all(&mut self, fixture: &mut Fixture, victim: Victim) -> Result<()> {
        let report = victim.leave()?;
        self.note(Nanos::from_nanos(report.at));
        self.wait(&fixture.limit(), 1)?;
        self.audit(&fixture.limit())
    }

    fn after_fork(&mut self, fixture: &mut Fixture, mut pair: Pair) -> Result<Finding> {
        let limit = fixture.limit();
        let parents = pair.parent.report()?;
        self.note(Nanos::from_nanos(parents.at));
        let more = pair.parent.repeat(1)?;
        self.note(Nanos::from_nanos(more.at));
        fixture.beside(|| self.wait(&limit, 2))?;
        if fixture.odd {
            let more = pair.parent.repeat(1)?;
            self.note(Nanos::from_nanos(more.at));
        }
        let childs = pair.child_goes_on()?;
        let copied = childs.at == parents.at;
        if !copied {
            self.note(Nanos::from_nanos(childs.at));
        }
        let mut parent = pair.child_ends()?;
        for _ in 0..3 {
            self.note(Nanos::from_nanos(parent.repeat(1)?.at));
            self.wait(&limit, 1)?;
        }
        parent.end()?;
        self.audit(&limit)?;
        Ok(Finding { copied, ..Finding::default() })
    }

    fn has_effect(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        Ok(Some(fixture.has_changed()))
    }
}
