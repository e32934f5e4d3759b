//! The thread that wakes this process's waiting tasks when their turns come. There is one for each limiter that tasks wait for.
//!
//! It sleeps on its process's place in the line, as a waiting thread does, so under any runtime tasks learn of turns, permits
//! and changes as soon as threads do. It ends when no task has waited for a second. It claims no turn on behalf of a task, so
//! nothing stays charged for a task that is dropped.

use crate::thread;
use shm_core::{Error, ErrorKind, Limiter, Result, TendStep, sleep_on};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long the thread stays while no task waits.
const LINGER: Duration = Duration::from_secs(1);

/// Starts the thread.
pub(super) fn start(limiter: &Arc<Limiter>) -> Result<()> {
    let weak = Arc::downgrade(limiter);
    thread::start(Some(thread::SMALL), move || tend(&weak)).map_err(|e| {
        let why = format!("cannot start the thread that wakes waiting tasks: {e}");
        Error::new(ErrorKind::Io, why).at(limiter.name().as_str(), limiter.path())
    })
}

fn tend(limiter: &Weak<Limiter>) {
    let own = AtomicU64::new(0);
    while let Some(open) = limiter.upgrade() {
        match open.tend() {
            TendStep::Sleep(plan) => open.sleep_by(&plan, &own),
            TendStep::Idle(word, seen) => {
                drop(open);
                sleep_on(&word, seen, LINGER);
                let is_idle = word.load(Ordering::Acquire) == seen;
                if is_idle && limiter.upgrade().is_none_or(|open| open.stop_tending()) {
                    return;
                }
            }
        }
    }
}

/// Wakes a task that has no place in the line yet, after `time`. Without a thread to spare, wakes it now.
pub(super) fn wake_later(waker: std::task::Waker, time: Duration) {
    let fallback = waker.clone();
    let started = thread::start(Some(thread::SMALL), move || {
        std::thread::sleep(time);
        waker.wake();
    });
    if started.is_err() {
        fallback.wake();
    }
}
