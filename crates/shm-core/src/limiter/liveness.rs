//! Checks that the limiter is still the one that its name refers to, and that its windows follow the wall clock.

use super::Limiter;
use crate::clock::{self, Clock, Nanos, WallOffset};
use crate::commit::{CommitError, Config};
use crate::error::{Error, ErrorKind, Result};
use crate::intervals::{CLOCK_STEP, CLOCK_STEP_INTERVAL, FILE_CHECK_INTERVAL, MAX_CLOCK_UNCERTAINTY};
use crate::sync::Ordering;

impl Limiter {
    /// Periodically checks that the file still exists.
    #[inline]
    pub(super) fn maybe_check_file(&self, now: Nanos) -> Result<()> {
        if self.file_check_due(now) { self.check_file_now(now) } else { Ok(()) }
    }

    /// Whether it is time to check the file. Every decision asks, not only one that reads the clock: a process that
    /// alternates between limiters may always read the clock for the other one.
    #[inline]
    pub(super) fn file_check_due(&self, now: Nanos) -> bool {
        now.as_nanos() >= self.next_file_check_ns.load(Ordering::Relaxed)
    }

    /// Before an operation other than a decision ([`CommitError::CheckDue`]): a limiter with windows by the wall clock must
    /// not act by a clock that was set long ago. For all other limiters, the check afterwards is enough.
    #[inline]
    pub(super) fn check_wall_clock(&self) -> Result<()> {
        if self.follows_wall_clock.load(Ordering::Relaxed) {
            return self.maybe_check_file(clock::SystemClock.read().at);
        }
        Ok(())
    }

    /// If the wall clock was set, publishes the same configuration with the new offset: windows that follow the wall clock
    /// move with it. A process that fails to do so decides by the old windows; another one will publish, or it will later.
    #[cold]
    pub(super) fn follow_wall_clock(&self, config: &Config, now: Nanos) {
        let was_set_here = || was_set(config, clock::wall_offset()) && self.segment.has_this_clock();
        if !config.policy.follows_wall_clock() || !was_set_here() {
            return;
        }
        let (due, next) = (&self.process.next_clock_step_ns, now.plus(CLOCK_STEP_INTERVAL).as_nanos());
        let is_due = |at: u64| (at <= now.as_nanos()).then_some(next);
        if due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due).is_err() {
            return;
        }
        let Ok(Some(control)) = self.segment.try_control() else { return };
        let step = |config: &Config| {
            let was_set = was_set(config, clock::wall_offset());
            Ok(was_set.then_some(Config { starts_empty: false, clock_was_set: true, ..*config }))
        };
        let published = self.publish_under(&control, step);
        drop(control);
        if published.is_ok() {
            self.wake_everybody();
        }
    }

    /// Fails if the handle has already moved on to another limiter. The message is short because no user sees it: the
    /// handle reacts by switching to its new limiter.
    pub(super) fn check_not_superseded(&self) -> Result<()> {
        if self.is_superseded.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Removed, "there is another one"));
        }
        Ok(())
    }

    #[cold]
    fn check_file_now(&self, now: Nanos) -> Result<()> {
        self.check_not_superseded()?;
        self.segment.check_not_removed()?;
        // Decisions read the configuration's numbers without validating them; this check does.
        let config = self.config()?;
        self.follows_wall_clock.store(config.policy.follows_wall_clock(), Ordering::Relaxed);
        self.follow_wall_clock(&config, now);
        // Stored only after success: until one thread has found an error, the other threads keep checking.
        self.next_file_check_ns.store(now.plus(FILE_CHECK_INTERVAL).as_nanos(), Ordering::Relaxed);
        Ok(())
    }

    /// Checks that the limiter is usable: not retired, and its file still linked under its name.
    ///
    /// # Errors
    /// [`ErrorKind::Removed`], [`ErrorKind::Retired`].
    pub fn check_still_valid(&self) -> Result<()> {
        self.check_not_retired()?;
        self.segment.check_not_removed()
    }

    /// Checks that the limiter is not retired, without checking the file.
    pub(super) fn check_not_retired(&self) -> Result<()> {
        if self.segment.is_retired() {
            return Err(self.segment.commit_error(CommitError::Retired, 0));
        }
        Ok(())
    }
}

/// Whether the wall clock was set since this configuration was published.
fn was_set(config: &Config, wall: WallOffset) -> bool {
    let longer = |ns: u64, than: std::time::Duration| u128::from(ns) > than.as_nanos();
    !longer(wall.uncertainty_ns, MAX_CLOCK_UNCERTAINTY)
        && longer(wall.ns.abs_diff(config.wall.local.wall_ns), CLOCK_STEP)
}
