//! What waits for a stopped process: another change, for two seconds at most, and nothing else.

use crate::ending::End;
use crate::fixture::{YEAR, attempt, ensure};
use crate::operation::Operation;
use crate::round::Round;
use crate::victim::{Reached, Result};
use shm_lib::{ErrorKind, RateLimit};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// As the documentation says, and time for the operating system.
const WAITS: std::ops::Range<Duration> = Duration::from_secs(2)..Duration::from_secs(4);
const SURELY: Duration = Duration::from_secs(1);

/// Stops the operation at so many instructions, and changes the limiter meanwhile: how often that was done, and refused
/// as busy.
pub(crate) fn changes_beside(operation: &Operation, points: usize) -> Result<(usize, usize)> {
    let round = Round::new(operation);
    let path = round.record()?;
    let (mut done, mut busy) = (0, 0);
    for point in (0..path.len()).step_by(path.len().div_ceil(points)) {
        let route = path.to(point);
        let (fixture, _checks, mut victim) = round.stage(End::Stopped, route.is_by_single_step())?;
        if victim.run_to(route)? != Reached::There {
            continue;
        }
        match change_while_others_take(&fixture.limit())? {
            true => done += 1,
            false => busy += 1,
        }
        victim.finish_operation()?;
        victim.leave()?;
        change(&fixture.limit()).map_err(|e| format!("after it has gone on: {e}"))?;
    }
    Ok((done, busy))
}

/// Whether the change was done; otherwise it was refused in time. Decisions go on all the while.
fn change_while_others_take(limit: &RateLimit) -> Result<bool> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let taking = scope.spawn(|| -> Result<Duration> {
            let mut slowest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                attempt(limit)?;
                slowest = slowest.max(begun.elapsed());
            }
            Ok(slowest)
        });
        let begun = Instant::now();
        let changed = change(limit);
        let took = begun.elapsed();
        over.store(true, Ordering::Relaxed);
        let slowest = taking.join().map_err(|_| "a thread that takes panicked")??;
        ensure(slowest < SURELY, || format!("a decision took {slowest:?} beside a stopped changer"))?;
        match changed {
            Ok(()) => ensure(took < SURELY, || format!("the change took {took:?}")).map(|()| true),
            Err(e) if e.kind() == ErrorKind::Busy && WAITS.contains(&took) => Ok(false),
            Err(e) => Err(format!("after {took:?}: {e}")),
        }
    })
}

fn change(limit: &RateLimit) -> shm_lib::Result<()> {
    limit.change(1_020, YEAR)
}
