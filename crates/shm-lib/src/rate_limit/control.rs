//! Changing the limiter for every process, and retiring it.

use super::RateLimit;
#[cfg(doc)]
use crate::ErrorKind;
use shm_core::Result;
use shm_core::limit::{Policy, Rate};
use std::time::Duration;

impl RateLimit {
    /// Denies all requests of all processes for `time`, for example after a server's `429` with `Retry-After`. Waiting callers
    /// keep waiting. A pause is never shortened by another one: the later end counts.
    ///
    /// After the pause a bucket resumes at its sustained rate, without a burst; windows and greedy limits admit what they have
    /// left.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    /// use std::time::Duration;
    ///
    /// let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// limit.pause_for(Duration::from_secs(30))?; // the server answered Retry-After: 30
    /// assert!(limit.try_acquire(1)?.retry_after() > Some(Duration::from_secs(29)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`change`](Self::change); [`ErrorKind::InvalidInput`] for more than 366 days.
    pub fn pause_for(&self, time: Duration) -> Result<()> {
        self.with(|limiter| limiter.pause_for(time))
    }

    /// Ends a pause now, for every process, and wakes every waiting caller. Does nothing if there is no pause.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use shm_lib::{Rate, RateLimit};
    /// # use std::time::Duration;
    /// # let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// limit.pause_for(Duration::from_secs(30))?;
    /// limit.resume()?;
    /// assert!(limit.try_acquire(1)?.is_admitted());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn resume(&self) -> Result<()> {
        self.with(|limiter| limiter.resume())
    }

    /// Changes the rate, for every process and every waiting caller at once. The burst stays, usage stays, and waiting callers
    /// keep their places. Reserved turns keep their instants.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    /// use std::time::Duration;
    ///
    /// let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// limit.change(50, Duration::from_secs(1))?;
    /// assert_eq!(limit.limit()?.rate(), Rate::per_second(50)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A change is crash-atomic: a process that is killed during it has made the whole change or none of it. Changes exclude
    /// one another by a lock, and wait for it up to two seconds; decisions never wait for a change.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for an invalid rate; [`ErrorKind::Retired`], [`ErrorKind::Removed`] or
    /// [`ErrorKind::Corrupt`] if the limiter is not usable; [`ErrorKind::Busy`] if another process was stopped during a change
    /// and has held the lock for two seconds.
    pub fn change(&self, max: u64, per: Duration) -> Result<()> {
        let rate = Rate::new(max, per)?;
        self.with(|limiter| limiter.change_rate(rate))
    }

    /// Replaces the whole policy, as [`change`](Self::change) replaces the rate. To change a part of the current policy, use
    /// [`update_policy`](Self::update_policy), which cannot undo a concurrent change by another process.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Limit, Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// limit.change_policy(Limit::with_burst(Rate::per_second(10)?, 20)?)?;
    /// assert_eq!(limit.limit()?.burst(), 20);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`change`](Self::change); [`ErrorKind::InvalidInput`] if the policy needs more room than the file has: a limiter that
    /// was created for one bucket cannot get a second limit, and the number of permits is bounded by the file, too.
    /// [`Builder::replace`](crate::Builder::replace) creates a larger one.
    pub fn change_policy(&self, policy: impl Into<Policy>) -> Result<()> {
        let policy = policy.into();
        self.with(|limiter| limiter.change(policy))
    }

    /// Resets usage to zero. Waiting callers keep their places, held permits stay held, a pause stays in force, and the
    /// [`stats`](Self::stats) keep counting. Also ends damage of the state, and of the settings where an error of
    /// [`ErrorKind::Corrupt`] says so.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use shm_lib::{Rate, RateLimit};
    /// # let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// assert!(limit.try_acquire(1)?.is_admitted());
    /// limit.reset()?;
    /// assert!(limit.try_acquire(1)?.is_admitted());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn reset(&self) -> Result<()> {
        self.with(|limiter| limiter.reset())
    }

    /// Ends the limiter for every process and frees its name. This handle and its clones fail with [`ErrorKind::Retired`] from
    /// then on. Other handles reopen the name: those that were opened with a rate or a policy create a new limiter on their
    /// next use (see [`OnLost`](crate::OnLost)), and their waiting callers move to its line.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use shm_lib::{ErrorKind, Rate, RateLimit};
    /// # let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// limit.retire()?;
    /// assert_eq!(limit.try_acquire(1).unwrap_err().kind(), ErrorKind::Retired);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn retire(&self) -> Result<()> {
        let retired = self.limiter().retire();
        if retired.is_ok() {
            self.binding.stop_reopening();
        }
        retired
    }

    /// Replaces the policy by `update(current policy)` in one atomic step: no concurrent change is lost. `update` runs
    /// while this process holds the lock that excludes other changes, possibly more than once if the limiter is lost meanwhile.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::RateLimit;
    /// use std::time::Duration;
    ///
    /// let limit = RateLimit::builder("trial").directory(dir.path()).shadow().open(1, Duration::from_secs(60))?;
    /// limit.update_policy(|policy| Ok(policy.in_shadow(false)))?;
    /// assert!(!limit.policy()?.is_shadow());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`change_policy`](Self::change_policy), and the error that `update` returns.
    pub fn update_policy(&self, mut update: impl FnMut(Policy) -> Result<Policy>) -> Result<()> {
        self.with(|limiter| limiter.change_from(&mut update))
    }
}
