//! Permits: all are held by the living or free, never more than there are.

use super::Checks;
use crate::ending::{Finding, Pair, of_child};
use crate::fixture::{BESIDE, Fixture, ensure, inspected};
use crate::victim::{Result, Victim};
use harness::mark::Order;
use shm_lib::{Admission, Inspection, RateLimit};

/// As many as the victim's limiter has.
pub(crate) const PERMITS: u64 = 4;

/// One is taken or given back by the victim.
pub(crate) struct Permits {
    /// Whether all were held by a process that died before.
    reclaimed: bool,
    /// How many may be held by the victim: before it, and after it.
    victim: [u64; 2],
    held: Vec<Admission>,
}

impl Permits {
    pub(crate) fn of_victim(before: u64, after: u64) -> Permits {
        Permits { reclaimed: false, victim: [before, after], held: Vec::new() }
    }

    /// All were held by a process that is dead.
    pub(crate) fn reclaimed() -> Permits {
        Permits { reclaimed: true, ..Permits::of_victim(0, 1) }
    }

    fn take(&mut self, limit: &RateLimit) -> Result<bool> {
        let admission = limit.try_acquire(1).map_err(|e| e.to_string())?.admission();
        let got = admission.is_some();
        self.held.extend(admission);
        Ok(got)
    }

    fn take_all(&mut self, limit: &RateLimit) -> Result<u64> {
        while self.take(limit)? {
            ensure(self.held.len() as u64 <= PERMITS, || "more permits than there are".into())?;
        }
        Ok(self.held.len() as u64)
    }
}

impl Checks for Permits {
    fn prepare(&mut self, fixture: &mut Fixture) -> Result<()> {
        if self.reclaimed {
            Victim::start(&fixture.job().clone().set("do", "hold-all"))?.kill();
        }
        Ok(())
    }

    fn after_death(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        let limit = fixture.limit();
        let policy = [limit.policy().map_err(|e| e.to_string())?];
        inspected(&limit, 0, &policy)?;
        // At once, and again.
        for _ in 0..2 {
            let all = self.take_all(&limit)?;
            ensure(all == PERMITS, || format!("{all} permits are to be had"))?;
            inspected(&limit, PERMITS, &policy)?;
            self.held.clear();
        }
        inspected(&limit, 0, &policy)?;
        Ok(None)
    }

    fn beside(&mut self, fixture: &mut Fixture) -> Result<()> {
        let limit = fixture.limit();
        let all = fixture.beside(|| self.take_all(&limit))?;
        let victims = PERMITS.checked_sub(all).ok_or("more permits than there are")?;
        ensure(self.victim.contains(&victims), || format!("the victim seems to hold {victims}"))?;
        for _ in 0..BESIDE {
            let released = self.held.pop();
            fixture.beside(|| drop(released));
            let again = fixture.beside(|| self.take(&limit))?;
            ensure(again, || "a permit that was given back can't be taken again".into())?;
        }
        Ok(())
    }

    fn after_all(&mut self, fixture: &mut Fixture, victim: Victim) -> Result<()> {
        let limit = fixture.limit();
        let seen = limit.inspect().map_err(|e| e.to_string())?.permits_held;
        let mine = self.held.len() as u64;
        ensure((mine..=PERMITS).contains(&seen), || format!("{seen} held, {mine} of them here"))?;
        let report = victim.leave()?;
        ensure(report.tokens == seen - mine, || format!("the victim had {}, of {seen}", report.tokens))?;
        self.held.clear();
        let all = self.take_all(&limit)?;
        ensure(all == PERMITS, || format!("{all} permits are to be had in the end"))
    }

    fn after_fork(&mut self, fixture: &mut Fixture, mut pair: Pair) -> Result<Finding> {
        let limit = fixture.limit();
        let parents = pair.parent.report()?;
        let held = pair.parent.repeat(2)?.tokens;
        ensure(held == 1, || format!("the parent holds {held}"))?;
        // The child holds nothing of its own while it is stopped.
        let all = fixture.beside(|| self.take_all(&limit))?;
        ensure(all == PERMITS - 1, || format!("{all} permits are to be had beside a parent with one"))?;
        self.held.truncate(2);
        pair.parent.repeat(1 + u64::from(fixture.odd))?;

        let childs = pair.child_goes_on()?;
        let copied = childs.tokens > 0 && childs.at == parents.at;
        let own = if copied { 0 } else { childs.tokens };
        let expect = |n: u64, when: &str| -> Result<Inspection> {
            let seen = limit.inspect().map_err(|e| format!("inspect: {e}"))?;
            let held = seen.permits_held;
            ensure(held == n, || format!("{held} permits are held, not {n}, {when} (child {childs:?})"))?;
            Ok(seen)
        };
        expect(2 + 1 + own, "when both have come to the end")?;
        let parent = pair.parent.pid();
        pair.parent.obey(Order::GiveBack)?;
        let seen = expect(2 + own, "when the parent has given back all")?;
        let of_parent = |seat| seen.attached.iter().any(|a| a.seat == seat && a.pid == parent);
        let misnamed = seen.permit_holders.iter().any(|&(seat, _)| of_parent(seat));
        of_child(pair.child.obey(Order::GiveBack))?;
        // What it holds in its parent's name it perhaps can't give back.
        let stuck = u64::from(misnamed && limit.inspect().is_ok_and(|seen| seen.permits_held == 3));
        expect(2 + stuck, "when the child has given back all")?;
        let mut parent = pair.child_ends()?;
        expect(2 + stuck, "when the child has ended")?;
        parent.repeat(3)?;
        let all = self.take_all(&limit)?;
        ensure(all == PERMITS - 1 - stuck, || format!("{all} permits are to be had in the end"))?;
        self.held.clear();
        parent.end()?;
        let all = self.take_all(&limit)?;
        ensure(all == PERMITS, || format!("{all} permits are to be had when both have ended"))?;
        Ok(Finding { misnamed, copied, ..Finding::default() })
    }

    fn has_effect(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        // What is given back admits nothing.
        Ok((self.victim[1] > 0).then(|| fixture.has_changed()))
    }
}
