//! The thread that wakes the tasks of a process whose turn has come: one for each limiter for which tasks wait.
//!
//! It sleeps as a waiting thread would, on the place that its process has in the line, so tasks hear of turns, permits and
//! changes as soon as threads do, under any runtime. When no task has waited for a second it ends. It claims nothing: a
//! task that is dropped takes nothing along.

use crate::thread;
use shm_core::{Error, ErrorKind, Limiter, Result, Tended, sleep_on};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// For how long it stays when no task waits.
const LINGER: Duration = Duration::from_secs(1);

/// Starts it.
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
            Tended::Nap(nap) => open.nap(&nap, &own),
            Tended::Idle(word, seen) => {
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

/// Wakes a task after a while, which has no place in the line yet.
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
