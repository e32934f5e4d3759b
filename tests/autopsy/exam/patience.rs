//! A permit that is waited for until a deadline: who leaves the line, in whatever way, keeps no permit from others and nobody
//! from going on.

use super::line::{AFTER_A_DEATH, BESIDE_A_STOPPED, nobody_stands};
use super::waiter::Waiter;
use super::{Exam, PERMITS};
use crate::ending::{Finding, Pair};
use crate::scene::{Scene, attempt, ensure, inspected};
use crate::victim::{Report, Result, Victim};
use shm_lib::{Admission, RateLimit};
use std::thread;
use std::time::Duration;

/// How often the processes of a line ask whether the first of them is dead, and more.
const ASKED_EVERY: Duration = Duration::from_millis(12);

/// All permits are held by others. Turns are plenty.
#[derive(Default)]
pub(crate) struct Patience {
    held: Vec<Admission>,
    /// Whoever stands behind the victim when it is cut off.
    behind: Option<Waiter>,
}

impl Patience {
    /// A permit is given back, and is theirs who wait before it is late by `slack`.
    fn pass_on(&mut self, scene: &mut Scene, slack: Duration) -> Result<()> {
        let waiter = match self.behind.take() {
            Some(waiter) => waiter,
            None => Waiter::stands(&scene.limit())?,
        };
        let given_back = shm_lib::now();
        self.held.pop();
        let got = waiter.served(scene, given_back, slack)?;
        self.held.push(got);
        Ok(())
    }

    /// Whether all permits are held here, and no others are to be had.
    fn are_all_held(&self, limit: &RateLimit) -> Result<()> {
        let seen = limit.inspect().map_err(|e| e.to_string())?.permits_held;
        ensure(seen == PERMITS && self.held.len() as u64 == PERMITS, || format!("{seen} are held"))?;
        ensure(!attempt(limit)?, || "more permits than there are".into())
    }

    /// Whether nobody is left in the line, and all permits can be taken.
    fn is_over(&mut self, limit: &RateLimit) -> Result<()> {
        self.are_all_held(limit)?;
        nobody_stands(limit)?;
        self.held.clear();
        inspected(limit, 0, &[limit.policy().map_err(|e| e.to_string())?])?;
        self.take_all(limit)
    }

    fn take_all(&mut self, limit: &RateLimit) -> Result<()> {
        for n in self.held.len() as u64..PERMITS {
            let got = limit.try_acquire(1).map_err(|e| e.to_string())?.admission();
            self.held.push(got.ok_or_else(|| format!("only {n} permits are to be had"))?);
        }
        Ok(())
    }
}

impl Exam for Patience {
    fn prepare(&mut self, scene: &mut Scene) -> Result<()> {
        self.take_all(&scene.limit())
    }

    fn reached(&mut self, scene: &mut Scene) -> Result<()> {
        if scene.odd {
            self.behind = Some(Waiter::stands(&scene.limit())?);
        }
        Ok(())
    }

    fn after_death(&mut self, scene: &mut Scene) -> Result<Option<bool>> {
        self.pass_on(scene, AFTER_A_DEATH)?;
        // Whoever joins next clears its place, if nobody has asked for the dead just before.
        thread::sleep(ASKED_EVERY);
        self.pass_on(scene, AFTER_A_DEATH)?;
        self.is_over(&scene.limit())?;
        Ok(None)
    }

    fn beside(&mut self, scene: &mut Scene) -> Result<()> {
        for _ in 0..3 {
            self.pass_on(scene, BESIDE_A_STOPPED)?;
        }
        self.are_all_held(&scene.limit())
    }

    fn after_retirement(&mut self, scene: &mut Scene) -> Result<()> {
        self.behind.take().map_or(Ok(()), |waiter| waiter.told(scene, AFTER_A_DEATH))
    }

    fn after_all(&mut self, scene: &mut Scene, mut victim: Victim) -> Result<()> {
        let report = victim.report()?;
        ensure(report.tokens == 0, || "it got a permit that others hold".into())?;
        self.held.pop();
        let later = victim.repeat(1)?;
        ensure(later.tokens == 1, || "it does not get a permit that is free".into())?;
        victim.end()?;
        let limit = scene.limit();
        self.take_all(&limit)?;
        self.is_over(&limit)
    }

    fn after_fork(&mut self, scene: &mut Scene, mut pair: Pair) -> Result<Finding> {
        let limit = scene.limit();
        let denied = |report: Report, who: &str| {
            ensure(report.tokens == 0, || format!("the {who} got a permit that others hold"))
        };
        denied(pair.parent.report()?, "parent")?;
        denied(pair.parent.repeat(1)?, "parent")?;
        self.pass_on(scene, BESIDE_A_STOPPED)?;
        denied(pair.child_goes_on()?, "child")?;
        let mut parent = pair.child_ends()?;
        self.pass_on(scene, BESIDE_A_STOPPED)?;
        self.held.pop();
        let later = parent.repeat(1)?;
        ensure(later.tokens == 1, || "the parent does not get a permit that is free".into())?;
        parent.end()?;
        self.take_all(&limit)?;
        self.is_over(&limit)?;
        Ok(Finding::default())
    }
}
