//! Changes: the configuration is the old or the new one, what was used still counts, and the next change works.

use super::Checks;
use crate::ending::{Finding, Pair, of_child};
use crate::fixture::{BESIDE, BUDGET, Fixture, YEAR, drain, ensure, inspected, only_attached, take};
use crate::victim::{Result, Victim};
use shm_lib::{Inspection, Kind, RateLimit};
use std::time::{Duration, Instant};

/// Used before.
const USED: u64 = 300;
/// Max, before and after the victim's change, and after the next one.
const MAX: [u64; 3] = [BUDGET, 1_010, 1_020];
/// No change that works takes so long; one that waits for another process takes twice as long.
const SOON: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// What the victim does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Change,
    Reset,
    Pause,
    Resume,
}

/// A budget that does not grow, under a changing configuration.
pub(crate) struct Control {
    what: What,
    taken_beside: u64,
}

impl Control {
    pub(crate) fn change() -> Control {
        Control { what: What::Change, taken_beside: 0 }
    }

    pub(crate) fn reset() -> Control {
        Control { what: What::Reset, ..Control::change() }
    }

    pub(crate) fn pause() -> Control {
        Control { what: What::Pause, ..Control::change() }
    }

    pub(crate) fn resume() -> Control {
        Control { what: What::Resume, ..Control::change() }
    }

    /// Whether the configuration is the new one. All of it must be new, or all of it old.
    fn are_new(&self, limit: &RateLimit, seen: &Inspection) -> Result<bool> {
        let changes_before = u64::from(self.what == What::Resume);
        let new = match seen.changes.checked_sub(changes_before) {
            Some(0) => false,
            Some(1) => true,
            _ => return Err(format!("{} changes", seen.changes)),
        };
        let max = if new && self.what == What::Change { MAX[1] } else { MAX[0] };
        ensure(seen.policy.first().expect("a limit").rate().max() == max, || {
            format!("{} after {new}", seen.policy)
        })?;
        let paused = match self.what {
            What::Pause => new,
            What::Resume => !new,
            What::Change | What::Reset => false,
        };
        let left = seen.paused_until.map(|at| at.since(shm_lib::now()));
        ensure(left.is_some() == paused, || format!("paused for {left:?}"))?;
        ensure(left.is_none_or(|left| left <= HOUR && left > HOUR / 2), || format!("paused for {left:?}"))?;
        let denied = limit.status().map_err(|e| e.to_string())?.available == 0;
        ensure(denied == paused, || format!("paused for {left:?}, and {denied}"))?;
        Ok(new)
    }

    /// The next change works, and then there is what was left, plus `more` of the budget.
    fn goes_on(limit: &RateLimit, used: &[u64]) -> Result<()> {
        limit.resume().map_err(|e| format!("the next resume: {e}"))?;
        limit.change(MAX[2], YEAR).map_err(|e| format!("the next change: {e}"))?;
        let policy = limit.policy().map_err(|e| e.to_string())?;
        ensure(policy.first().expect("a limit").rate().max() == MAX[2], || {
            format!("the next change made it {policy}")
        })?;
        // Only a log grows with its rate.
        let all = if policy.first().expect("a limit").kind() == Kind::Greedy { MAX[2] } else { BUDGET };
        let left = drain(limit)?;
        ensure(used.iter().any(|used| left + used == all), || format!("{left} are left of {all}"))
    }
}

impl Checks for Control {
    fn prepare(&mut self, fixture: &mut Fixture) -> Result<()> {
        let limit = fixture.limit();
        take(&limit, USED)?;
        match self.what {
            What::Resume => limit.pause_for(HOUR).map_err(|e| e.to_string()),
            _ => Ok(()),
        }
    }

    fn after_death(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        let limit = fixture.limit();
        let seen = limit.inspect().map_err(|e| e.to_string())?;
        inspected(&limit, 0, &[seen.policy])?;
        let new = self.are_new(&limit, &seen)?;
        let used = if new && self.what == What::Reset { 0 } else { USED };
        Control::goes_on(&limit, &[used])?;
        Ok(Some(new))
    }

    fn beside(&mut self, fixture: &mut Fixture) -> Result<()> {
        let limit = fixture.limit();
        self.taken_beside = fixture.take_beside(&limit, BESIDE)?;
        ensure([0, BESIDE].contains(&self.taken_beside), || format!("{} of {BESIDE}", self.taken_beside))?;
        let seen = fixture.beside(|| limit.inspect()).map_err(|e| e.to_string())?;
        let paused = seen.paused_until.is_some();
        ensure(paused == (self.taken_beside == 0), || format!("paused: {paused}"))
    }

    fn after_all(&mut self, fixture: &mut Fixture, victim: Victim) -> Result<()> {
        let limit = fixture.limit();
        let seen = limit.inspect().map_err(|e| e.to_string())?;
        ensure(self.are_new(&limit, &seen)?, || "the change came to nothing".into())?;
        victim.leave()?;
        let used = USED + self.taken_beside;
        match self.what {
            // What was taken beside it came before, or after.
            What::Reset => Control::goes_on(&limit, &[0, self.taken_beside]),
            _ => Control::goes_on(&limit, &[used]),
        }
    }

    fn after_fork(&mut self, fixture: &mut Fixture, mut pair: Pair) -> Result<Finding> {
        let limit = fixture.limit();
        pair.parent.report()?;
        let seen = limit.inspect().map_err(|e| e.to_string())?;
        ensure(self.are_new(&limit, &seen)?, || "the change came to nothing".into())?;
        let mut used = if self.what == What::Reset { 0 } else { USED };
        used += fixture.take_beside(&limit, BESIDE)?;
        // The child has a copy of its parent's lock, perhaps. The next change does not wait for it.
        if fixture.odd {
            let begun = Instant::now();
            limit.change(MAX[2], YEAR).map_err(|e| format!("the next change: {e}"))?;
            ensure(begun.elapsed() < SOON, || format!("the next change took {:?}", begun.elapsed()))?;
        } else {
            pair.parent.repeat(1)?;
            used = if self.what == What::Reset { 0 } else { used };
        }
        let childs = of_child(pair.child.finish_operation().and_then(|()| pair.child.says()))?;
        let seen = limit.inspect().map_err(|e| format!("inspect after the child's {childs:?}: {e}"))?;
        let max = seen.policy.first().expect("a limit").rate().max();
        ensure(MAX.contains(&max), || format!("{} after the child's {childs:?}", seen.policy))?;
        let mut parent = pair.child_ends()?;
        // Changes go on, in the parent and here.
        parent.repeat(1)?;
        let used = if self.what == What::Reset { 0 } else { used };
        limit.resume().map_err(|e| format!("the next resume: {e}"))?;
        limit.change(MAX[1], YEAR).map_err(|e| format!("the next change: {e}"))?;
        take(&limit, 10)?;
        only_attached(&limit, parent.pid())?;
        parent.end()?;
        Control::goes_on(&limit, &[used + 10])?;
        Ok(Finding::default())
    }

    fn has_effect(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        let limit = fixture.limit();
        let seen = limit.inspect().map_err(|e| e.to_string())?;
        self.are_new(&limit, &seen).map(Some)
    }
}
