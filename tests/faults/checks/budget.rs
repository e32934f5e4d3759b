//! What takes calls now or gives them back: all that is admitted is exactly the budget.

use super::Checks;
use crate::ending::{Finding, Pair, of_child};
use crate::fixture::{BESIDE, BUDGET, Fixture, YEAR, attempt, drain, ensure, inspected, only_attached, take};
use crate::victim::{Result, Victim};
use harness::file::{Patch, offset};

/// Used before, where it matters that something is.
const USED: u64 = 300;
/// How often parent and others take in turns when the forked child has ended, and how many each time.
const ROUNDS: u64 = 30;
const EACH: u64 = 4;
/// What a state word says.
const FROZEN: u64 = 1 << 63;
const UNSET: u64 = 3 << 62;

/// A budget that does not grow.
pub(crate) struct Budget {
    /// Calls that are used up before.
    used: u64,
    /// Calls that count as used by the victim before its operation and after it.
    tokens: [u64; 2],
    /// Whether it takes them one by one.
    one_by_one: bool,
    /// Whether a changer died before, right after it had published.
    unsettled: bool,
    taken_beside: u64,
}

impl Budget {
    pub(crate) fn of_victim(before: u64, after: u64) -> Budget {
        Budget { used: 0, tokens: [before, after], one_by_one: false, unsettled: false, taken_beside: 0 }
    }

    /// What is settled is counted as it was taken.
    fn settles(&self) -> bool {
        self.tokens.contains(&3) && self.tokens[0] > 0
    }

    /// Nothing is left for it.
    pub(crate) fn used_up() -> Budget {
        Budget { used: BUDGET, ..Budget::of_victim(0, 0) }
    }

    /// So many, one after the other.
    pub(crate) fn one_by_one(n: u64) -> Budget {
        Budget { one_by_one: true, ..Budget::of_victim(0, n) }
    }

    /// The victim does first what a dead changer left undone.
    pub(crate) fn unsettled() -> Budget {
        Budget { used: USED, unsettled: true, ..Budget::of_victim(0, 1) }
    }
}

/// Makes the first change one whose changer died when it had published, and before anybody froze the state before.
fn unsettle(file: &Patch) {
    let state = |epoch| offset::GENERATIONS + offset::GENERATION_SIZE * epoch + offset::GENERATION_STATE;
    assert_eq!(file.get(offset::EPOCH), 2);
    file.set(state(1), file.get(state(1)) & !FROZEN).set(state(2), UNSET | 2);
}

impl Checks for Budget {
    fn prepare(&mut self, fixture: &mut Fixture) -> Result<()> {
        let limit = fixture.limit();
        take(&limit, self.used)?;
        if self.unsettled {
            limit.change(BUDGET, YEAR).map_err(|e| e.to_string())?;
            unsettle(&Patch::of(limit.path()));
        }
        Ok(())
    }

    fn after_death(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        let limit = fixture.limit();
        let policy = [limit.policy().map_err(|e| e.to_string())?];
        inspected(&limit, 0, &policy)?;
        // The seat of the dead is free for the next process.
        let newcomer = fixture.open()?;
        inspected(&limit, 0, &policy)?;
        let mut got = u64::from(attempt(&newcomer)?);
        got += drain(&limit)?;
        let taken = (BUDGET - self.used)
            .checked_sub(got)
            .ok_or_else(|| format!("{got} admitted of {}", BUDGET - self.used))?;
        let partly = self.one_by_one && taken < self.tokens[1];
        ensure(partly || self.tokens.contains(&taken), || format!("{taken} tokens are missing"))?;
        // Counted right after it is taken: the last one of the victim perhaps is not.
        let (counted, least) = (limit.stats().calls, self.used + got + self.tokens[0].min(self.tokens[1]));
        ensure(counted <= BUDGET + 2 && counted >= least, || {
            format!("{counted} are counted, {least} were certainly taken")
        })?;
        Ok((self.tokens[0] != self.tokens[1]).then_some(taken == self.tokens[1]))
    }

    fn beside(&mut self, fixture: &mut Fixture) -> Result<()> {
        let limit = fixture.limit();
        self.taken_beside = fixture.take_beside(&limit, BESIDE)?;
        let expected = BESIDE.min(BUDGET - self.used);
        ensure(self.taken_beside == expected, || format!("{} of {expected} tries", self.taken_beside))
    }

    fn after_all(&mut self, fixture: &mut Fixture, victim: Victim) -> Result<()> {
        let taken = victim.leave()?.tokens;
        let rest = drain(&fixture.limit())?;
        let all = self.used + self.taken_beside + taken + rest;
        // Nothing but an admission that was too large is ever forfeited.
        let forfeited = self.tokens[0].saturating_sub(self.tokens[1]);
        ensure((BUDGET - forfeited..=BUDGET).contains(&all), || format!("{all} admitted of {BUDGET}"))?;
        inspected(&fixture.limit(), 0, &[fixture.limit().policy().map_err(|e| e.to_string())?])
    }

    fn after_fork(&mut self, fixture: &mut Fixture, mut pair: Pair) -> Result<Finding> {
        let limit = fixture.limit();
        let parents = pair.parent.report()?;
        let mut taken = parents.tokens + pair.parent.repeat(3)?.tokens;
        taken += fixture.take_beside(&limit, 100)?;
        // The parent is the last one to write, to its one cell or to its other one.
        taken += pair.parent.repeat(1 + u64::from(fixture.odd))?.tokens;
        let childs = pair.child_goes_on()?;
        // What both have from before the operation is there once, too.
        let copied = childs.at == parents.at && (childs.at > 0 || childs.tokens == 0);
        taken += if copied { 0 } else { childs.tokens.saturating_sub(self.tokens[0]) };
        taken += of_child(pair.child.repeat(2))?.tokens;
        let mut parent = pair.child_ends()?;
        for _ in 0..ROUNDS {
            taken += parent.repeat(EACH)?.tokens + fixture.take_beside(&limit, EACH)?;
        }
        only_attached(&limit, parent.pid())?;
        parent.end()?;
        let all = self.used + taken + drain(&limit)?;
        // The child may have repeated what its parent had done: that is used up, and held by no process.
        let wasted = self.tokens[0].abs_diff(self.tokens[1]);
        ensure((BUDGET - wasted..=BUDGET).contains(&all), || {
            format!("{all} admitted of {BUDGET} (parent {parents:?}, child {childs:?})")
        })?;
        let (counted, least) = (limit.stats().calls, all - wasted);
        ensure(self.settles() || counted >= least, || format!("{counted} are counted, {all} were taken"))?;
        inspected(&limit, 0, &[limit.policy().map_err(|e| e.to_string())?])?;
        Ok(Finding { copied: copied && childs.at > 0, ..Finding::default() })
    }

    fn has_effect(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        if self.tokens[0] >= self.tokens[1] {
            return Ok(None);
        }
        let used = fixture.limit().status().map_err(|e| e.to_string())?.used;
        Ok(Some(used >= self.used + self.tokens[1]))
    }
}
