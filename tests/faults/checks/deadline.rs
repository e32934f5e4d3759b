//! A wait for a permit until a deadline: a process that leaves the line, in whatever way, keeps no permit from others and blocks
//! none of them.

use super::line::{AFTER_A_DEATH, BESIDE_A_STOPPED, line_is_empty};
use super::waiter::Waiter;
use super::{Checks, PERMITS};
use crate::ending::{Finding, Pair};
use crate::fixture::{Fixture, attempt, ensure, inspected};
use crate::victim::{Report, Result, Victim};
use shm_lib::{Admission, RateLimit};
use std::thread;
use std::time::Duration;

/// How often the processes of a line ask whether the first of them is dead, and more.
const ASKED_EVERY: Duration = Duration::from_millis(12);

/// All permits are held by others. Reservations are plenty.
#[derive(Default)]
pub(crate) struct Deadline {
    held: Vec<Admission>,
    /// A caller that stands behind the victim when the fault hits it.
    behind: Option<Waiter>,
}

impl Deadline {
    /// A permit is released, and the caller that waits gets it within `slack`.
    fn pass_on(&mut self, fixture: &mut Fixture, slack: Duration) -> Result<()> {
        let waiter = match self.behind.take() {
            Some(waiter) => waiter,
            None => Waiter::stands(&fixture.limit())?,
        };
        let given_back = shm_lib::now();
        self.held.pop();
        let got = waiter.served(fixture, given_back, slack)?;
        self.held.push(got);
        Ok(())
    }

    /// Whether all permits are held here, and no others are to be had.
    fn are_all_held(&self, limit: &RateLimit) -> Result<()> {
        let seen = limit.inspect().map_err(|e| e.to_string())?.permits_held;
        ensure(seen == PERMITS && self.held.len() as u64 == PERMITS, || format!("{seen} are held"))?;
        ensure(!attempt(limit)?, || "more permits than there are".into())
    }

    /// Whether the line is empty, and all permits can be taken.
    fn is_over(&mut self, limit: &RateLimit) -> Result<()> {
        self.are_all_held(limit)?;
        line_is_empty(limit)?;
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

impl Checks for Deadline {
    fn prepare(&mut self, fixture: &mut Fixture) -> Result<()> {
        self.take_all(&fixture.limit())
    }

    fn reached(&mut self, fixture: &mut Fixture) -> Result<()> {
        if fixture.odd {
            self.behind = Some(Waiter::stands(&fixture.limit())?);
        }
        Ok(())
    }

    fn after_death(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        self.pass_on(fixture, AFTER_A_DEATH)?;
        // The next process that joins clears its place, unless the kernel was asked about dead processes just before.
        thread::sleep(ASKED_EVERY);
        self.pass_on(fixture, AFTER_A_DEATH)?;
        self.is_over(&fixture.limit())?;
        Ok(None)
    }

    fn beside(&mut self, fixture: &mut Fixture) -> Result<()> {
        for _ in 0..3 {
            self.pass_on(fixture, BESIDE_A_STOPPED)?;
        }
        self.are_all_held(&fixture.limit())
    }

    fn after_retirement(&mut self, fixture: &mut Fixture) -> Result<()> {
        self.behind.take().map_or(Ok(()), |waiter| waiter.told(fixture, AFTER_A_DEATH))
    }

    fn after_all(&mut self, fixture: &mut Fixture, mut victim: Victim) -> Result<()> {
        let report = victim.report()?;
        ensure(report.tokens == 0, || "it got a permit that others hold".into())?;
        self.held.pop();
        let later = victim.repeat(1)?;
        ensure(later.tokens == 1, || "it does not get a permit that is free".into())?;
        victim.end()?;
        let limit = fixture.limit();
        self.take_all(&limit)?;
        self.is_over(&limit)
    }

    fn after_fork(&mut self, fixture: &mut Fixture, mut pair: Pair) -> Result<Finding> {
        let limit = fixture.limit();
        let denied = |report: Report, who: &str| {
            ensure(report.tokens == 0, || format!("the {who} got a permit that others hold"))
        };
        denied(pair.parent.report()?, "parent")?;
        denied(pair.parent.repeat(1)?, "parent")?;
        self.pass_on(fixture, BESIDE_A_STOPPED)?;
        denied(pair.child_goes_on()?, "child")?;
        let mut parent = pair.child_ends()?;
        self.pass_on(fixture, BESIDE_A_STOPPED)?;
        self.held.pop();
        let later = parent.repeat(1)?;
        ensure(later.tokens == 1, || "the parent does not get a permit that is free".into())?;
        parent.end()?;
        self.take_all(&limit)?;
        self.is_over(&limit)?;
        Ok(Finding::default())
    }
}
