//! Operations that change a limiter for all processes: new limits, reset, pause, resume, retire.

use super::Limiter;
use crate::clock::{self, WallOffset};
use crate::commit::{CommitError, Config};
use crate::directory::Directory;
use crate::error::{ErrorKind, Result};
use crate::keyed::denied_keys;
use crate::limit::{KeyPolicy, Limit, MAX_WAIT, Policy, Rate, format_span};
use crate::seat::Probe;
use crate::segment::Control;
use crate::sys::futex;
use std::time::Duration;

impl Limiter {
    /// Changes the limits for every process and wakes every sleeper. Usage is kept, clamped to the new burst; waiting
    /// callers keep their places in the line; a pause stays in force.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`], [`ErrorKind::Retired`], [`ErrorKind::Removed`], [`ErrorKind::Corrupt`].
    pub fn change(&self, policy: impl Into<Policy>) -> Result<()> {
        let policy = policy.into();
        self.change_from(|_| Ok(policy))
    }

    /// Changes the limits to what `make` returns for the current ones. Otherwise like [`change`](Self::change).
    ///
    /// # Errors
    /// Those of [`change`](Self::change), and those of `make`.
    pub fn change_from(&self, make: impl FnOnce(Policy) -> Result<Policy>) -> Result<()> {
        self.publish(|config| {
            let policy = make(config.policy)?;
            self.can_become(config, &policy).map_err(|why| {
                let (name, in_dir) = Directory::in_shell(self.name(), self.directory());
                let keyed = if policy.keys().is_some() { " --keyed" } else { "" };
                self.segment.error(
                    ErrorKind::InvalidInput,
                    format!(
                        "its file cannot be used for {policy}: {why}; replace the limiter: shm-limit create {name} \
                         --replace{keyed}{in_dir}, with all its settings"
                    ),
                )
            })?;
            Ok(Some(Config { starts_empty: false, ..config.with(policy) }))
        })
    }

    /// Changes the rate of the first limit, usually the only one, and keeps the rest; see [`Limit::at_rate`]. A limiter
    /// that has only permits gets an evenly spaced limit. Otherwise like [`change`](Self::change).
    ///
    /// # Errors
    /// Those of [`change`](Self::change), and [`ErrorKind::InvalidInput`] if the burst cannot be represented at this
    /// rate.
    pub fn change_rate(&self, rate: Rate) -> Result<()> {
        self.change_from(|current| {
            Ok(current.with_first(match current.first() {
                Some(limit) => limit.at_rate(rate)?,
                None => Limit::patient(rate),
            }))
        })
    }

    /// Resets usage to zero. A pause that has not ended stays in force. This also clears corrupt state, restores a
    /// damaged configuration if its checksum tells what it was, and frees the permits of dead processes.
    ///
    /// # Errors
    /// Those of [`change`](Self::change).
    pub fn reset(&self) -> Result<()> {
        let now = clock::now();
        self.publish_with(true, |config| {
            // An ended pause is dropped: its only remaining effect is that budget unused during the pause does not become a
            // burst, and a reset discards usage anyway.
            let key_clock = if self.has_keys() { self.advanced_key_clock(config)? } else { config.key_clock };
            Ok(Some(Config {
                starts_empty: true,
                not_before: config.paused_until(now),
                key_clock,
                ..*config
            }))
        })?;
        self.reap_line();
        // Also frees the permits of dead holders: when all living processes wait, none of them would reclaim those.
        if self.segment.has_room_for_permits() && self.permits().reclaim(&mut Probe::of(&self.segment))? > 0 {
            self.wake_everybody();
        }
        Ok(())
    }

    /// Denies all requests, in every process, for `time`. Afterwards buckets resume at their sustained rate: a pause
    /// does not build up a burst. Never shortens a pause; when pauses overlap, the one that ends last applies.
    ///
    /// # Errors
    /// Those of [`change`](Self::change), and [`ErrorKind::InvalidInput`] for more than 366 days.
    pub fn pause_for(&self, time: Duration) -> Result<()> {
        if time > MAX_WAIT {
            return Err(self.segment.error(
                ErrorKind::InvalidInput,
                format!("a pause of {} is too long; the longest is 366 days", format_span(time)),
            ));
        }
        let until = clock::now().plus(time);
        self.publish(|config| {
            // Pausing for zero time changes nothing.
            let lasts = !time.is_zero() && config.not_before.is_none_or(|at| at < until);
            Ok(lasts.then_some(Config { not_before: Some(until), starts_empty: false, ..*config }))
        })
    }

    /// Ends a pause. Usage from before the pause is kept. A pause that has already ended is left alone.
    ///
    /// # Errors
    /// Those of [`change`](Self::change).
    pub fn resume(&self) -> Result<()> {
        let now = clock::now();
        self.publish(|config| {
            Ok(config.paused_until(now).map(|_| Config { not_before: None, starts_empty: false, ..*config }))
        })
    }

    pub(super) fn wake_everybody(&self) {
        let header = self.segment.header();
        futex::wake_all(&header.epoch_line.epoch);
        self.wake_the_line();
    }

    /// Publishes one change: `make` builds the new configuration from the current one (`None` leaves it), and every
    /// sleeper is woken. Needs no seat: records are prepared in cells that belong to the holder of the control lock.
    pub(super) fn publish(&self, make: impl FnOnce(&Config) -> Result<Option<Config>>) -> Result<()> {
        self.publish_with(false, make)
    }

    /// The same; `restores`: a damaged configuration is restored first, if possible. Only for a change that drops usage:
    /// processes may have decided by the damaged one.
    fn publish_with(
        &self,
        restores: bool,
        make: impl FnOnce(&Config) -> Result<Option<Config>>,
    ) -> Result<()> {
        let control = self.segment.control()?;
        if restores {
            self.segment.generations().restore_config();
        }
        let published = self.publish_under(&control, make);
        drop(control);
        // Also after a failure: an earlier changer may have died between its publication and its wake-up.
        self.wake_everybody();
        published.map_err(|e| e.at(self.name().as_str(), self.path()))
    }

    pub(super) fn publish_under(
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
        config.clock_was_set = false;
        // An ended pause is kept while it still prevents a burst of budget that was unused during it.
        config.not_before = config.not_before.filter(|&at| config.pause_still_binds(at, now));
        let Some(next) = make(&config)? else { return Ok(()) };
        // Under another clock, or perhaps another one, the difference to the wall clock has another meaning.
        let kept = WallOffset { ns: config.wall.local.wall_ns, uncertainty_ns: 0 };
        let offset = if segment.has_this_clock() { clock::wall_offset() } else { kept };
        let next = Config { since: now, ..next }.by_wall_clock(offset, Some(&config))?;
        let pair = Some(control.pair());
        if next.starts_empty && segment.has_records() {
            segment.records(pair).clear_damage(epoch);
        } else if next.starts_empty {
            segment.generations().clear_damage(epoch);
        }
        // Waiting callers are charged again under the new limits. Charges that race with this are dropped with the old
        // state.
        self.undo_turns(pair, |_| true);
        segment.publish(epoch, &next, pair).map_err(commit_error)?;
        if let (Some(stats), Some(true)) =
            (segment.key_stats(), next.policy.keys().map(KeyPolicy::hides_names))
        {
            denied_keys::clear(&stats.denied);
        }
        // Otherwise the first process to meet the new generation would settle it. The earlier it is settled, the fewer turns
        // of the old queue have come and count as used.
        let _ = segment.settle(epoch + 1, pair);
        Ok(())
    }

    /// Ends the limiter: every handle's next decision and every sleeper gets [`ErrorKind::Retired`], and the name
    /// becomes free.
    ///
    /// # Errors
    /// Those of [`change`](Self::change).
    pub fn retire(&self) -> Result<()> {
        self.segment.check_removable()?;
        let control = self.segment.control()?;
        self.segment.generations().retire();
        self.wake_everybody();
        control.remove_name()
    }
}
