//! A change that depends on what the limiter is.

use crate::RateLimit;
use shm_core::Result;
use shm_core::limit::Policy;

impl RateLimit {
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
    pub fn update_policy(&self, update: impl FnOnce(Policy) -> Result<Policy>) -> Result<()> {
        self.limiter.change_from(update)
    }
}
