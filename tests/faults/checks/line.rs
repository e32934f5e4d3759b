//! A wait in the line: a process that dies there takes at most one turn with it, a process that is stopped there blocks no
//! other, and no turn is claimed twice.

use super::Checks;
use super::waiter::{SURELY, Waiter};
use crate::ending::{Finding, Pair, of_child};
use crate::fixture::{Fixture, drain, ensure, inspected};
use crate::victim::{Report, Result, Victim};
use harness::file::Patch;
use shm_lib::limit::audit::{self, Admission};
use shm_lib::{Nanos, RateLimit};
use std::time::Duration;

/// So much later than it could be is a turn after a death, and beside a stopped process. The first in line looks every 20 ms,
/// a dead one is passed over when its plan has been over for 2 ms, and the rest is for a busy machine.
pub(crate) const AFTER_A_DEATH: Duration = Duration::from_millis(200);
pub(crate) const BESIDE_A_STOPPED: Duration = Duration::from_millis(300);
/// What is made of the rate where no turn comes. As of the victim's change.
pub(crate) const HURRY: (u64, Duration) = (50, Duration::from_secs(1));
/// More than what is rounded when an instant is computed.
const ROUNDED: Duration = Duration::from_micros(1);

/// Turns come every few tens of milliseconds, and one has just been used up.
pub(crate) struct Line {
    victim: Kind,
    /// When the victim begins, and when the next turn comes then.
    begun: Nanos,
    next: Nanos,
    /// Whether turns come soon.
    hurried: bool,
    /// A caller that stands in the line before the victim begins, or when the fault hits it.
    other: Option<Waiter>,
    admitted: Vec<Admission>,
}

/// What the victim does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A thread of it waits until it gets its turn.
    Waits,
    /// The same behind another process.
    WaitsBehind,
    /// The same, and another process joins the line while it sleeps there: the turn that the victim is about to claim may
    /// become the other one's.
    WaitsBefore,
    /// A task looks twice; its turn has come by then, or it is dropped.
    Looks,
    /// A task is dropped, since no turn comes before the limit is changed.
    GivesUp,
}

impl Line {
    pub(crate) fn of_thread() -> Line {
        let (begun, next) = (Nanos::default(), Nanos::default());
        Line { victim: Kind::Waits, hurried: false, begun, next, other: None, admitted: Vec::new() }
    }

    pub(crate) fn of_first() -> Line {
        Line { victim: Kind::WaitsBefore, ..Line::of_thread() }
    }

    pub(crate) fn of_second() -> Line {
        Line { victim: Kind::WaitsBehind, ..Line::of_thread() }
    }

    pub(crate) fn of_task() -> Line {
        Line { victim: Kind::Looks, ..Line::of_thread() }
    }

    pub(crate) fn of_dropped() -> Line {
        Line { victim: Kind::GivesUp, ..Line::of_thread() }
    }

    fn note(&mut self, at: Nanos) {
        self.admitted.push(Admission { at, calls: 1 });
    }

    /// A turn of the victim's, if it has got one.
    fn note_report(&mut self, report: Report) -> Result<()> {
        if report.tokens == 0 {
            return Ok(());
        }
        let (at, now) = (Nanos::from_nanos(report.at), shm_lib::now());
        ensure((self.begun..=now).contains(&at), || {
            format!("the victim's turn was at {at:?}; it began at {:?}, and now it is {now:?}", self.begun)
        })?;
        self.note(at);
        Ok(())
    }

    /// Waits for so many turns, one after the other; none may come later than it can by more than `slack`.
    fn wait(&mut self, fixture: &mut Fixture, n: usize, slack: Duration) -> Result<()> {
        let limit = fixture.limit();
        if self.victim == Kind::GivesUp && !std::mem::replace(&mut self.hurried, true) {
            limit.change(HURRY.0, HURRY.1).map_err(|e| format!("change: {e}"))?;
        }
        let gap = gap(&limit)?;
        for _ in 0..n {
            let asked = shm_lib::now();
            let due = next_at(&limit)?.max(asked);
            let at = turn(&limit)?;
            let now = shm_lib::now();
            ensure((asked..=now).contains(&at), || {
                format!("a turn at {at:?} for who waited from {asked:?} to {now:?}")
            })?;
            let late = now.since(due.plus(gap));
            if late > slack {
                fixture.late = Some(format!("a turn was {late:?} late"));
            }
            self.note(at);
        }
        Ok(())
    }

    /// The other caller in line gets the next turn, or the one after it; whether there was one.
    fn other_is_served(&mut self, fixture: &mut Fixture, slack: Duration) -> Result<bool> {
        let Some(other) = self.other.take() else { return Ok(false) };
        let due = self.next.max(shm_lib::now()).plus(gap(&fixture.limit())?);
        let at = other.served(fixture, due, slack)?.at();
        self.note(at);
        Ok(true)
    }

    /// Whether all that was admitted fits the limits.
    fn audit(&mut self, limit: &RateLimit) -> Result<()> {
        let policy = limit.policy().map_err(|e| e.to_string())?;
        policy
            .limits()
            .try_for_each(|limit| audit::check(limit, &mut self.admitted).map_err(|over| over.to_string()))
    }

    /// Whether the line is empty, and nothing was lost there.
    fn is_over(&mut self, limit: &RateLimit) -> Result<()> {
        self.audit(limit)?;
        line_is_empty(limit)?;
        inspected(limit, 0, &[limit.policy().map_err(|e| e.to_string())?])
    }
}

/// Waits for a turn, but not for ever.
pub(crate) fn turn(limit: &RateLimit) -> Result<Nanos> {
    let got = limit.acquire(1).timeout(SURELY).wait().map_err(|e| e.to_string())?;
    got.admission().map(|admission| admission.at()).ok_or_else(|| format!("no turn within {SURELY:?}"))
}

/// Whether no process stands in the line, dead or alive, and no turn is charged ahead or being charged.
pub(crate) fn line_is_empty(limit: &RateLimit) -> Result<()> {
    let seen = limit.inspect().map_err(|e| format!("inspect: {e}"))?;
    ensure(seen.waiting.is_empty(), || format!("{:?} wait", seen.waiting))?;
    let line = Patch::of(limit.path()).line();
    ensure(line.standing == 0 && line.filling == 0, || format!("{line:?} is left"))
}

/// From one turn to the next.
fn gap(limit: &RateLimit) -> Result<Duration> {
    let rate = limit.limit().map_err(|e| e.to_string())?.rate();
    Ok(rate.per() / rate.max() as u32)
}

/// When a turn comes that nothing is charged for yet.
fn next_at(limit: &RateLimit) -> Result<Nanos> {
    limit.status().map(|seen| seen.next_at).map_err(|e| e.to_string())
}

impl Checks for Line {
    fn prepare(&mut self, fixture: &mut Fixture) -> Result<()> {
        if self.victim == Kind::GivesUp {
            drain(&fixture.limit())?;
        }
        Ok(())
    }

    fn begin(&mut self, fixture: &mut Fixture) -> Result<()> {
        self.begun = shm_lib::now();
        self.next = next_at(&fixture.limit())?;
        let limit = fixture.limit();
        self.other = match self.victim {
            Kind::WaitsBehind => Some(Waiter::stands(&limit)?),
            // More than half of the time until the turn comes: then the victim stands, also if it is led step by step.
            Kind::WaitsBefore => Some(Waiter::after(&limit, self.next.since(self.begun) * 3 / 5)),
            Kind::Waits | Kind::Looks | Kind::GivesUp => None,
        };
        Ok(())
    }

    fn reached(&mut self, fixture: &mut Fixture) -> Result<()> {
        if fixture.odd && matches!(self.victim, Kind::Waits | Kind::Looks) {
            self.other = Some(Waiter::stands(&fixture.limit())?);
        }
        Ok(())
    }

    fn after_death(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        let limit = fixture.limit();
        if !self.other_is_served(fixture, AFTER_A_DEATH)? {
            // One turn is used up by the dead, or lost, or lies ready: no more are charged.
            let latest = self.next.max(shm_lib::now()).plus(gap(&limit)? + ROUNDED);
            let next = next_at(&limit)?;
            ensure(next <= latest, || format!("{:?} of turns are lost", next.since(latest)))?;
        }
        self.wait(fixture, 3, AFTER_A_DEATH)?;
        self.is_over(&limit)?;
        Ok(None)
    }

    fn beside(&mut self, fixture: &mut Fixture) -> Result<()> {
        self.other_is_served(fixture, BESIDE_A_STOPPED)?;
        self.wait(fixture, 4, BESIDE_A_STOPPED)
    }

    fn after_all(&mut self, fixture: &mut Fixture, mut victim: Victim) -> Result<()> {
        let report = victim.report()?;
        self.note_report(report)?;
        let more = victim.repeat(1)?;
        self.note_report(more)?;
        victim.end()?;
        self.wait(fixture, 1, BESIDE_A_STOPPED)?;
        self.is_over(&fixture.limit())
    }

    fn after_fork(&mut self, fixture: &mut Fixture, mut pair: Pair) -> Result<Finding> {
        let parents = pair.parent.report()?;
        self.note_report(parents)?;
        let more = pair.parent.repeat(1)?;
        self.note_report(more)?;
        self.other_is_served(fixture, BESIDE_A_STOPPED)?;
        self.wait(fixture, 2, BESIDE_A_STOPPED)?;
        if fixture.odd {
            let more = pair.parent.repeat(1)?;
            self.note_report(more)?;
        }
        // It stands in the line again, unless it was admitted before the fork.
        let childs = pair.child_goes_on()?;
        ensure(childs.tokens == 1, || "the child got no turn".into())?;
        let copied = childs.at == parents.at;
        if !copied {
            self.note_report(childs)?;
        }
        let more = of_child(pair.child.repeat(1))?;
        self.note_report(more)?;
        let mut parent = pair.child_ends()?;
        for _ in 0..2 {
            let more = parent.repeat(1)?;
            self.note_report(more)?;
            self.wait(fixture, 1, BESIDE_A_STOPPED)?;
        }
        parent.end()?;
        self.is_over(&fixture.limit())?;
        Ok(Finding { copied, ..Finding::default() })
    }

    fn after_retirement(&mut self, fixture: &mut Fixture) -> Result<()> {
        self.other.take().map_or(Ok(()), |other| other.told(fixture, AFTER_A_DEATH))
    }

    /// A turn that is charged ahead belongs to no caller yet.
    fn has_effect(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        let line = Patch::of(fixture.limit().path()).line();
        let is_alone = self.victim == Kind::Waits && self.other.is_none();
        Ok(is_alone.then(|| fixture.has_changed() && line.filling + line.ready == 0))
    }
}
