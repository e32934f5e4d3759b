//! A change or a reset while a caller stands in the line, for which a turn is charged ahead: it is served under the
//! current configuration, whatever happens to the changer.

use super::Checks;
use super::line::{AFTER_A_DEATH, BESIDE_A_STOPPED, HURRY, line_is_empty, turn};
use super::waiter::{SURELY, Waiter};
use crate::ending::{Finding, Pair, of_child};
use crate::fixture::{Fixture, drain, ensure, inspected};
use crate::victim::{Result, Victim};
use harness::eventually;
use harness::file::Patch;
use shm_lib::RateLimit;
use shm_lib::limit::audit::{self, Admission};
use std::time::Duration;

/// The burst, which is used up before.
const BURST: u64 = 10;
/// From turn to turn, then.
const GAP: Duration = Duration::from_millis(20);

/// A caller waits for a turn that is weeks away.
pub(crate) struct ChangedLine {
    resets: bool,
    waiter: Option<Waiter>,
    admitted: Vec<Admission>,
}

impl ChangedLine {
    pub(crate) fn by_change() -> ChangedLine {
        ChangedLine { resets: false, waiter: None, admitted: Vec::new() }
    }

    pub(crate) fn by_reset() -> ChangedLine {
        ChangedLine { resets: true, ..ChangedLine::by_change() }
    }

    /// Whether the victim's change was published.
    fn is_new(limit: &RateLimit) -> Result<bool> {
        let seen = limit.inspect().map_err(|e| format!("inspect: {e}"))?;
        ensure(seen.changes <= 1, || format!("{} changes", seen.changes))?;
        Ok(seen.changes == 1)
    }

    /// The same as the victim does.
    fn change(&self, limit: &RateLimit) -> Result<()> {
        let changed = if self.resets { limit.reset() } else { limit.change(HURRY.0, HURRY.1) };
        changed.map_err(|e| format!("the next change: {e}"))
    }

    /// The caller that has waited since before the change is served now.
    fn is_served(&mut self, fixture: &mut Fixture, slack: Duration) -> Result<()> {
        // The first turn may have been lost.
        let due = shm_lib::now().plus(2 * GAP);
        let at = self.waiter.take().ok_or("nobody waits")?.served(fixture, due, slack)?.at();
        self.admitted.push(Admission { at, calls: 1 });
        Ok(())
    }

    /// A caller stands in the line, and a turn is charged for it.
    fn somebody_stands(&mut self, limit: &RateLimit) -> Result<()> {
        self.waiter = Some(Waiter::stands(limit)?);
        let file = Patch::of(limit.path());
        let is_charged = eventually(SURELY, || (file.line().standing, file.line().ready) == (1, 1));
        ensure(is_charged, || format!("{:?}", file.line()))
    }

    /// What is to be had then, up to the limit and not more.
    fn goes_on(&mut self, fixture: &mut Fixture) -> Result<()> {
        let limit = fixture.limit();
        if self.resets {
            let got = self.admitted.len() as u64 + drain(&limit)?;
            return ensure(got == BURST, || format!("{got} admitted of {BURST} after a reset"));
        }
        for _ in 0..3 {
            let at = turn(&limit)?;
            self.admitted.push(Admission { at, calls: 1 });
        }
        let first = limit.limit().map_err(|e| e.to_string())?;
        audit::check(first, &mut self.admitted).map_err(|over| over.to_string())
    }

    fn is_over(limit: &RateLimit) -> Result<()> {
        line_is_empty(limit)?;
        inspected(limit, 0, &[limit.policy().map_err(|e| e.to_string())?])
    }
}

impl Checks for ChangedLine {
    fn prepare(&mut self, fixture: &mut Fixture) -> Result<()> {
        let limit = fixture.limit();
        let taken = drain(&limit)?;
        ensure(taken == BURST, || format!("{taken} of {BURST}"))?;
        self.somebody_stands(&limit)
    }

    fn after_death(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        let limit = fixture.limit();
        let new = ChangedLine::is_new(&limit)?;
        if !new {
            let waits = self.waiter.as_ref().is_some_and(Waiter::is_waiting);
            ensure(waits, || "whoever waits was served without a change".into())?;
            // If the dead process had undone the turn, it is charged again.
            let file = Patch::of(limit.path());
            ensure(eventually(SURELY, || file.line().ready == 1), || format!("{:?}", file.line()))?;
            let queued = limit.status().map_err(|e| e.to_string())?.queued;
            // And at most one was lost on the way.
            ensure((1..=2).contains(&queued), || format!("{queued} turns are charged for one who waits"))?;
            self.change(&limit)?;
        }
        self.is_served(fixture, AFTER_A_DEATH)?;
        self.goes_on(fixture)?;
        ChangedLine::is_over(&limit)?;
        Ok(Some(new))
    }

    fn beside(&mut self, fixture: &mut Fixture) -> Result<()> {
        let limit = fixture.limit();
        if ChangedLine::is_new(&limit)? {
            return self.is_served(fixture, BESIDE_A_STOPPED);
        }
        for _ in 0..10 {
            let got = fixture.beside(|| limit.try_acquire(1)).map_err(|e| e.to_string())?;
            ensure(!got.is_admitted(), || "admitted without a change".into())?;
        }
        let waits = self.waiter.as_ref().is_some_and(Waiter::is_waiting);
        ensure(waits, || "whoever waits was served without a change".into())
    }

    fn after_all(&mut self, fixture: &mut Fixture, victim: Victim) -> Result<()> {
        let limit = fixture.limit();
        ensure(ChangedLine::is_new(&limit)?, || "the change came to nothing".into())?;
        if self.waiter.is_some() {
            self.is_served(fixture, BESIDE_A_STOPPED)?;
        }
        victim.leave()?;
        self.goes_on(fixture)?;
        ChangedLine::is_over(&limit)
    }

    fn after_fork(&mut self, fixture: &mut Fixture, mut pair: Pair) -> Result<Finding> {
        let limit = fixture.limit();
        pair.parent.report()?;
        ensure(ChangedLine::is_new(&limit)?, || "the change came to nothing".into())?;
        self.is_served(fixture, BESIDE_A_STOPPED)?;
        self.goes_on(fixture)?;
        // A caller stands in the line again when the child does the rest. After a reset nothing may be left to wait for.
        if self.resets {
            self.somebody_stands(&limit)?;
        }
        let childs = of_child(pair.child.finish_operation().and_then(|()| pair.child.says()))?;
        let mut parent = pair.child_ends()?;
        parent.repeat(1)?;
        if self.resets {
            self.admitted.clear();
            self.is_served(fixture, BESIDE_A_STOPPED).map_err(|why| format!("{why} (child {childs:?})"))?;
        } else {
            let at = turn(&limit)?;
            self.admitted.push(Admission { at, calls: 1 });
        }
        parent.end()?;
        ChangedLine::is_over(&limit)?;
        Ok(Finding::default())
    }

    fn after_retirement(&mut self, fixture: &mut Fixture) -> Result<()> {
        self.waiter.take().map_or(Ok(()), |waiter| waiter.told(fixture, AFTER_A_DEATH))
    }

    fn has_effect(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        ChangedLine::is_new(&fixture.limit()).map(Some)
    }
}
