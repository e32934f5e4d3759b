//! A thread of this process that stands in the line while a fault hits the victim.

use crate::fixture::{Fixture, ensure};
use crate::victim::Result;
use harness::{PATIENCE, eventually};
use shm_lib::{Admission, ErrorKind, Nanos, RateLimit};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How soon something surely has happened, on any machine.
pub(crate) const SURELY: Duration = Duration::from_secs(10);

/// A thread that waits.
pub(crate) struct Waiter {
    limit: RateLimit,
    /// When it joins the line.
    joins: Nanos,
    thread: Option<JoinHandle<Waited>>,
}

/// What it got, and when it knew.
type Waited = (shm_lib::Result<Admission>, Nanos);

impl Waiter {
    /// It stands when this returns, or has been served already.
    pub(crate) fn stands(limit: &RateLimit) -> Result<Waiter> {
        let waiter = Waiter::after(limit, Duration::ZERO);
        let me = std::process::id();
        let is_seen =
            || limit.inspect().is_ok_and(|seen| seen.waiting.iter().any(|waiting| waiting.pid == me));
        let stands = eventually(PATIENCE, || is_seen() || !waiter.is_waiting());
        ensure(stands, || "a waiter does not stand in the line".into())?;
        Ok(waiter)
    }

    /// It joins the line after this time.
    pub(crate) fn after(limit: &RateLimit, time: Duration) -> Waiter {
        let same = limit.clone();
        let wait = move || {
            thread::sleep(time);
            (same.wait(), shm_lib::now())
        };
        let joins = shm_lib::now().plus(time);
        Waiter { limit: limit.clone(), joins, thread: Some(thread::spawn(wait)) }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// What it gets. It should have it at this instant, or not later than by `slack`.
    pub(crate) fn served(self, fixture: &mut Fixture, due: Nanos, slack: Duration) -> Result<Admission> {
        let (got, when) = self.ends().ok_or("whoever waits is not served")?;
        let late = when.since(due);
        if late > slack {
            fixture.late = Some(format!("whoever waits was served {late:?} late"));
        }
        got.map_err(|e| format!("whoever waits got {e}"))
    }

    /// It hears that the limiter was retired, unless it was served before.
    pub(crate) fn told(self, fixture: &mut Fixture, slack: Duration) -> Result<()> {
        let retired = shm_lib::now().max(self.joins);
        let (got, when) = self.ends().ok_or("whoever waits is not told that the limiter is retired")?;
        if let Some(e) = got.err().filter(|e| e.kind() != ErrorKind::Retired) {
            return Err(format!("whoever waits got {e}"));
        }
        let late = when.since(retired);
        if late > slack {
            fixture.late = Some(format!("whoever waits was told {late:?} late"));
        }
        Ok(())
    }

    fn ends(mut self) -> Option<Waited> {
        eventually(SURELY, || !self.is_waiting());
        let thread = self.thread.take_if(|thread| thread.is_finished())?;
        Some(thread.join().expect("no panic"))
    }
}

impl Drop for Waiter {
    /// No thread may wait for this limiter any more: the next one is created in its place.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.limit.retire();
            let _ = thread.join();
        }
    }
}
