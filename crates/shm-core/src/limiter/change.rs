//! What changes a limiter for everybody, and ends it.

use super::Limiter;
use crate::clock;
use crate::commit::{CommitError, Config};
use crate::error::{ErrorKind, Result};
use crate::limit::{Limit, MAX_WAIT, Policy, Rate, format_span};
use crate::seat::Probe;
use crate::segment::Control;
use crate::sys::futex;
use std::time::Duration;

impl Limiter {
    /// Changes the limits, for every process and every sleeper at once. What was used stays used, up to a full
    /// bucket; callers that wait keep their places in the line; a pause goes on.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`], [`ErrorKind::Retired`], [`ErrorKind::Removed`], [`ErrorKind::Corrupt`].
    pub fn change(&self, policy: impl Into<Policy>) -> Result<()> {
        let policy = policy.into();
        self.change_from(|_| Ok(policy))
    }

    /// Changes the limits to what `make` says of those in force. Otherwise as [`change`](Self::change).
    ///
    /// # Errors
    /// As [`change`](Self::change), and what `make` fails with.
    pub fn change_from(&self, make: impl FnOnce(Policy) -> Result<Policy>) -> Result<()> {
        self.publish(|config| {
            let policy = make(config.policy)?;
            self.segment.has_room_for(&policy).map_err(|why| {
                self.segment.error(
                    ErrorKind::InvalidInput,
                    format!(
                        "{policy} needs more room than its file has: {why}; put a new one in its place: shm-limit create {} \
                         --replace, with all settings",
                        self.name().shell_word()
                    ),
                )
            })?;
            Ok(Some(Config { starts_empty: false, ..config.with(policy) }))
        })
    }

    /// Changes the rate of the first limit, usually the only one, and keeps the rest; see [`Limit::at_rate`]. A limiter with
    /// permits only gets an evenly spaced limit. Otherwise as [`change`](Self::change).
    ///
    /// # Errors
    /// As [`change`](Self::change), and [`ErrorKind::InvalidInput`] if the burst can't be kept at this rate.
    pub fn change_rate(&self, rate: Rate) -> Result<()> {
        self.change_from(|there| {
            Ok(there.with_first(match there.first() {
                Some(limit) => limit.at_rate(rate)?,
                None => Limit::patient(rate),
            }))
        })
    }

    /// Resets usage to zero: the limiter is as if new. A pause that is not over goes on. Also clears a damaged state, and
    /// frees the permits of processes that have died.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn reset(&self) -> Result<()> {
        let now = clock::now();
        self.publish(|config| {
            // A pause that is over only keeps a bucket from a burst of what was not used in it: usage, to be forgotten.
            Ok(Some(Config { starts_empty: true, not_before: config.paused_until(now), ..*config }))
        })?;
        self.clear_the_line();
        // Whatever is taken is free then, also if every living process waits.
        if self.segment.has_room_for_permits() && self.permits().reclaim(&mut Probe::of(&self.segment))? > 0 {
            self.wake_everybody();
        }
        Ok(())
    }

    /// Admits nothing for `time`, for every process; then goes on at the pace, not in a burst. Never shortens a
    /// pause: of several, the one that ends last counts.
    ///
    /// # Errors
    /// As [`change`](Self::change), and [`ErrorKind::InvalidInput`] for more than 366 days.
    pub fn pause_for(&self, time: Duration) -> Result<()> {
        if time > MAX_WAIT {
            return Err(self.segment.error(
                ErrorKind::InvalidInput,
                format!("a pause of {} is too long; the longest is 366 days", format_span(time)),
            ));
        }
        let until = clock::now().plus(time);
        self.publish(|config| {
            // A pause for no time at all is none.
            let lasts = !time.is_zero() && config.not_before.is_none_or(|at| at < until);
            Ok(lasts.then_some(Config { not_before: Some(until), starts_empty: false, ..*config }))
        })
    }

    /// Ends a pause. What was used before it is still used. A pause that is over already stays as it is.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn resume(&self) -> Result<()> {
        let now = clock::now();
        self.publish(|config| {
            Ok(config.paused_until(now).map(|_| Config { not_before: None, starts_empty: false, ..*config }))
        })
    }

    pub(super) fn wake_everybody(&self) {
        let fixed = self.segment.fixed();
        futex::wake_all(&fixed.epoch_line.epoch);
        self.wake_the_line();
    }

    /// One change: makes the new configuration from the one in force (or `None` to leave it) and wakes every sleeper. Needs no
    /// seat: records are prepared in cells that belong to the holder of the control lock.
    pub(super) fn publish(&self, make: impl FnOnce(&Config) -> Result<Option<Config>>) -> Result<()> {
        let control = self.segment.control()?;
        let published = self.publish_under(&control, make);
        drop(control);
        // Also after a failure: another changer may have died before its wake.
        self.wake_everybody();
        published.map_err(|e| e.at(self.name().as_str(), self.path()))
    }

    fn publish_under(
        &self,
        control: &Control<'_>,
        make: impl FnOnce(&Config) -> Result<Option<Config>>,
    ) -> Result<()> {
        let segment = &self.segment;
        let commit_error = |why| segment.commit_error(why, 0);
        if segment.is_retired() {
            return Err(commit_error(CommitError::Retired));
        }
        let (epoch, mut config) = segment.generations().config().map_err(commit_error)?;
        let now = clock::now();
        // Past its end a pause still keeps a burst from leaving at once.
        config.not_before = config.not_before.filter(|&at| config.pause_still_binds(at, now));
        let Some(next) = make(&config)? else { return Ok(()) };
        let next = Config { since: now, ..next };
        let pair = Some(control.pair());
        if next.starts_empty && segment.has_records() {
            segment.records(pair).clear_damage(epoch);
        } else if next.starts_empty {
            segment.generations().clear_damage(epoch);
        }
        // Those who wait are charged anew under the next limits. What is charged meanwhile is dropped with the state.
        self.undo_turns(pair, |_| true);
        segment.publish(epoch, &next, pair).map_err(commit_error)?;
        // Whoever comes first would settle it; done now, fewest turns of the old queue count as used.
        let _ = segment.settle(epoch + 1, pair);
        Ok(())
    }

    /// Ends the limiter: every handle's next decision and every sleeper gets [`ErrorKind::Retired`], and the name is
    /// free again.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn retire(&self) -> Result<()> {
        self.segment.check_removable()?;
        let control = self.segment.control()?;
        self.segment.generations().retire();
        self.wake_everybody();
        control.remove_name()
    }
}
