//! Changing the limiter for every process, and ending it.

use super::RateLimit;
#[cfg(doc)]
use crate::ErrorKind;
use shm_core::Result;
use shm_core::limit::{Policy, Rate};
use std::time::Duration;

impl RateLimit {
    /// Admits nothing for `time`, in any process; then a bucket goes on at the pace and not in a burst. (Windows and greedy
    /// limits admit what they have left.) For a server's `429 Retry-After`. Never shortens a pause.
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

    /// Ends a pause; every caller that waits hears of it at once.
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

    /// Changes the rate, for every process and every caller that waits at once; the burst stays. What was used stays used,
    /// and those who wait keep their places.
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
    /// Killed in the middle of it, the process has changed everything or nothing. Decisions do not wait for a change; changes
    /// wait for one another, up to two seconds.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`]; [`ErrorKind::Retired`], [`ErrorKind::Removed`], [`ErrorKind::Corrupt`];
    /// [`ErrorKind::Busy`] if another process was stopped in the middle of a change and has held its lock for two seconds.
    pub fn change(&self, max: u64, per: Duration) -> Result<()> {
        let rate = Rate::new(max, per)?;
        self.with(|limiter| limiter.change_rate(rate))
    }

    /// Changes to this limit or policy. To change a part of the policy in force, use
    /// [`update_policy`](Self::update_policy): it can't undo what another process changes at the same time.
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
    /// As [`change`](Self::change); [`ErrorKind::InvalidInput`] if its file has no room for it: a limiter that was created
    /// for one bucket can't get a second limit, nor permits beyond those that it has room for.
    pub fn change_policy(&self, policy: impl Into<Policy>) -> Result<()> {
        let policy = policy.into();
        self.with(|limiter| limiter.change(policy))
    }

    /// Resets usage to zero. Those who wait keep their places.
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

    /// Ends the limiter for every process, and the name is free for a new one. This handle and its clones say
    /// [`ErrorKind::Retired`] from then on. Other handles find the name again: those that were opened with a rate or a policy
    /// create a new limiter when they are used next (see [`OnLost`](crate::OnLost)), and callers that wait stand in its line.
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
            self.binding.end();
        }
        retired
    }

    /// Changes the policy to what `update` makes of the one in force, as one step: no other change comes in between.
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
    /// As [`change_policy`](Self::change_policy), and what `update` fails with.
    pub fn update_policy(&self, mut update: impl FnMut(Policy) -> Result<Policy>) -> Result<()> {
        self.with(|limiter| limiter.change_from(&mut update))
    }
}
