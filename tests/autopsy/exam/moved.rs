//! A change or a reset while somebody stands in the line, for whom a turn is charged ahead: they are served under the terms
//! that are in force then, whatever becomes of the changer.

use super::Exam;
use super::line::{AFTER_A_DEATH, BESIDE_A_STOPPED, HURRY, nobody_stands, turn};
use crate::ending::{Finding, Pair, of_child};
use crate::scene::{Scene, drain, ensure, inspected};
use crate::victim::{Result, Victim};
use harness::file::Patch;
use harness::{PATIENCE, eventually};
use shm_lib::limit::audit::{self, Admission};
use shm_lib::{ErrorKind, Nanos, RateLimit};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The burst, which is used up before.
const BURST: u64 = 10;
/// From turn to turn, then.
const GAP: Duration = Duration::from_millis(20);
/// How soon something surely has happened.
const SURELY: Duration = Duration::from_secs(5);

/// Somebody waits for a turn that is weeks away.
pub(crate) struct Moved {
    resets: bool,
    waiter: Option<Waiter>,
    admitted: Vec<Admission>,
}

impl Moved {
    pub(crate) fn by_change() -> Moved {
        Moved { resets: false, waiter: None, admitted: Vec::new() }
    }

    pub(crate) fn by_reset() -> Moved {
        Moved { resets: true, ..Moved::by_change() }
    }

    /// Whether the victim's change is in force.
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

    /// Whoever has waited since before the change is served now.
    fn is_served(&mut self, scene: &mut Scene, slack: Duration) -> Result<()> {
        let changed = Instant::now();
        let waiter = self.waiter.take().ok_or("nobody waits")?;
        let (got, when) = waiter.ends().ok_or("whoever waits is not served after a change")?;
        let at = got.map_err(|e| format!("whoever waits got {e}"))?;
        let late = when.saturating_duration_since(changed + 2 * GAP);
        if late > slack {
            scene.late = Some(format!("whoever waits was served {late:?} late"));
        }
        self.admitted.push(Admission { at, tokens: 1 });
        Ok(())
    }

    /// What is to be had then, up to the limit and not more.
    fn goes_on(&mut self, scene: &mut Scene) -> Result<()> {
        let limit = scene.limit();
        if self.resets {
            let got = self.admitted.len() as u64 + drain(&limit)?;
            return ensure(got == BURST, || format!("{got} admitted of {BURST} after a reset"));
        }
        for _ in 0..3 {
            let at = turn(&limit)?;
            self.admitted.push(Admission { at, tokens: 1 });
        }
        let first = limit.limit().map_err(|e| e.to_string())?;
        audit::check(first, &mut self.admitted).map_err(|over| over.to_string())
    }

    fn is_over(limit: &RateLimit) -> Result<()> {
        nobody_stands(limit)?;
        inspected(limit, 0, &[limit.policy().map_err(|e| e.to_string())?])
    }
}

/// A thread that waits in the line.
struct Waiter {
    limit: RateLimit,
    thread: Option<JoinHandle<Waited>>,
}

type Waited = (shm_lib::Result<Nanos>, Instant);

impl Waiter {
    /// Stands, and a turn is charged for it.
    fn stands(limit: RateLimit) -> Result<Waiter> {
        let same = limit.clone();
        let wait = move || (same.wait().map(|admission| admission.at()), Instant::now());
        let waiter = Waiter { limit: limit.clone(), thread: Some(thread::spawn(wait)) };
        let file = Patch::of(limit.path());
        let stands = eventually(PATIENCE, || (file.line().standing, file.line().ready) == (1, 1));
        ensure(stands, || format!("{:?}", file.line()))?;
        Ok(waiter)
    }

    fn is_waiting(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// What it has got, and when, if that is soon.
    fn ends(mut self) -> Option<Waited> {
        eventually(SURELY, || !self.is_waiting());
        let thread = self.thread.take_if(|thread| thread.is_finished())?;
        Some(thread.join().expect("no panic"))
    }
}

impl Drop for Waiter {
    /// Nobody may wait for this limiter any more: the next one is made in its place.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.limit.retire();
            let _ = thread.join();
        }
    }
}

impl Exam for Moved {
    fn prepare(&mut self, scene: &mut Scene) -> Result<()> {
        let limit = scene.limit();
        let taken = drain(&limit)?;
        ensure(taken == BURST, || format!("{taken} of {BURST}"))?;
        self.waiter = Some(Waiter::stands(limit)?);
        Ok(())
    }

    fn after_death(&mut self, scene: &mut Scene) -> Result<Option<bool>> {
        let limit = scene.limit();
        let new = Moved::is_new(&limit)?;
        if !new {
            let waits = self.waiter.as_ref().is_some_and(Waiter::is_waiting);
            ensure(waits, || "whoever waits was served without a change".into())?;
            // If the dead one has undone its turn, it is charged anew.
            let file = Patch::of(limit.path());
            ensure(eventually(SURELY, || file.line().ready == 1), || format!("{:?}", file.line()))?;
            let queued = limit.peek().map_err(|e| e.to_string())?.queued;
            // And at most one was lost on the way.
            ensure((1..=2).contains(&queued), || format!("{queued} turns are charged for one who waits"))?;
            self.change(&limit)?;
        }
        self.is_served(scene, AFTER_A_DEATH)?;
        self.goes_on(scene)?;
        Moved::is_over(&limit)?;
        Ok(Some(new))
    }

    fn beside(&mut self, scene: &mut Scene) -> Result<()> {
        let limit = scene.limit();
        if Moved::is_new(&limit)? {
            return self.is_served(scene, BESIDE_A_STOPPED);
        }
        for _ in 0..10 {
            let got = scene.beside(|| limit.try_acquire(1)).map_err(|e| e.to_string())?;
            ensure(!got.is_admitted(), || "admitted without a change".into())?;
        }
        let waits = self.waiter.as_ref().is_some_and(Waiter::is_waiting);
        ensure(waits, || "whoever waits was served without a change".into())
    }

    fn after_all(&mut self, scene: &mut Scene, victim: Victim) -> Result<()> {
        let limit = scene.limit();
        ensure(Moved::is_new(&limit)?, || "the change came to nothing".into())?;
        if self.waiter.is_some() {
            self.is_served(scene, BESIDE_A_STOPPED)?;
        }
        victim.leave()?;
        self.goes_on(scene)?;
        Moved::is_over(&limit)
    }

    fn after_fork(&mut self, scene: &mut Scene, mut pair: Pair) -> Result<Finding> {
        let limit = scene.limit();
        pair.parent.report()?;
        ensure(Moved::is_new(&limit)?, || "the change came to nothing".into())?;
        self.is_served(scene, BESIDE_A_STOPPED)?;
        self.goes_on(scene)?;
        // Somebody stands again when the child does the rest. After a reset nothing may be left to wait for.
        if self.resets {
            self.waiter = Some(Waiter::stands(limit.clone())?);
        }
        let childs = of_child(pair.child.go_on().and_then(|()| pair.child.says()))?;
        let mut parent = pair.child_ends()?;
        parent.repeat(1)?;
        if self.resets {
            self.admitted.clear();
            self.is_served(scene, BESIDE_A_STOPPED).map_err(|why| format!("{why} (child {childs:?})"))?;
        } else {
            let at = turn(&limit)?;
            self.admitted.push(Admission { at, tokens: 1 });
        }
        parent.end()?;
        Moved::is_over(&limit)?;
        Ok(Finding::default())
    }

    fn after_retirement(&mut self, scene: &mut Scene) -> Result<()> {
        let Some(waiter) = self.waiter.take() else { return Ok(()) };
        let retired = Instant::now();
        let (got, when) = waiter.ends().ok_or("whoever waits is not told that the limiter is retired")?;
        match got {
            Err(e) if e.kind() == ErrorKind::Retired => {}
            // The change was in force before.
            Ok(_) => {}
            Err(e) => return Err(format!("whoever waits got {e}")),
        }
        let late = when.saturating_duration_since(retired);
        if late > AFTER_A_DEATH {
            scene.late = Some(format!("whoever waits was told {late:?} late"));
        }
        Ok(())
    }

    fn has_effect(&mut self, scene: &mut Scene) -> Result<Option<bool>> {
        Moved::is_new(&scene.limit()).map(Some)
    }
}
