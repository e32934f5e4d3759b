//! A clock that a test advances itself, for the thread that sets it. All other threads use the machine's.

use super::{Nanos, QUICK_LAG};
use std::cell::Cell;
use std::time::Duration;

/// Each reading is later than the previous one, as with a real clock.
const TICK: u64 = 10;

thread_local! {
    static STANDS_STILL: Cell<bool> = const { Cell::new(false) };
    static NOW: Cell<Option<u64>> = const { Cell::new(None) };
    static WALL: Cell<Option<u64>> = const { Cell::new(None) };
}

/// While this lives, time passes for this thread only when told to, plus a little with each reading.
pub(crate) struct SetClock(());

impl SetClock {
    pub(crate) fn at(now: Nanos) -> SetClock {
        assert!(NOW.get().is_none(), "one clock for each thread");
        NOW.set(Some(now.as_nanos()));
        SetClock(())
    }

    /// A clock that stands still between the instants to which the test advances it.
    #[cfg(all(feature = "serde", feature = "zones"))]
    pub(crate) fn still_at(now: Nanos) -> SetClock {
        let clock = SetClock::at(now);
        STANDS_STILL.set(true);
        clock
    }

    /// Advances the time to this instant. It never goes back.
    pub(crate) fn pass_until(&self, at: u64) {
        NOW.set(NOW.get().map(|now| now.max(at)));
    }
}

/// While this lives, the wall clock of this thread is what the test sets.
pub(crate) struct SetWall(());

impl SetWall {
    /// The wall clock is ahead of instants by `ns`.
    pub(crate) fn ahead_by(ns: u64) -> SetWall {
        WALL.set(Some(ns));
        SetWall(())
    }

    /// Sets the wall clock forward, or back.
    pub(crate) fn step(&self, ns: i64) {
        WALL.set(WALL.get().map(|wall| wall.saturating_add_signed(ns)));
    }
}

impl Drop for SetWall {
    fn drop(&mut self) {
        WALL.set(None);
    }
}

impl Drop for SetClock {
    fn drop(&mut self) {
        NOW.set(None);
        STANDS_STILL.set(false);
    }
}

/// The offset of this thread's wall clock, if it has set one.
pub(super) fn wall_offset() -> Option<u64> {
    WALL.get()
}

/// The time for this thread, if it has set one.
pub(super) fn now() -> Option<Nanos> {
    let now = NOW.get()?;
    if !STANDS_STILL.get() {
        NOW.set(Some(now + TICK));
    }
    Some(Nanos::from_nanos(now))
}

/// The quick clock, with almost its maximum lag. Where the clock stands still, it lags by nothing.
pub(super) fn quick() -> Option<Nanos> {
    if STANDS_STILL.get() {
        return now();
    }
    now().map(|now| now - (QUICK_LAG - Duration::from_nanos(1)))
}
