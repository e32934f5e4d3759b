//! Counts and logs of a key, whose bounds come with the request: for programs that replace another rate limiter and have to keep its
//! rules, such as the Python package's storage for `limits`. Not part of the documented interface.

use super::LimitOfKey;
use shm_core::{CountRule, KeyCount, LogNotes, LogStatus, Result};

#[doc(hidden)]
impl LimitOfKey<'_, '_> {
    /// Counts `amount` in the key's present window.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire); [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the limiter has other
    /// limits than one fixed window or sliding counter per key.
    pub fn count(&self, amount: u64, rule: CountRule) -> Result<KeyCount> {
        self.limit.all.with(|limiter| self.key.with(|key| limiter.count_key(key, amount, rule)))
    }

    /// Takes `amount` of the `entries` of the key's log.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire); [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the limiter has other
    /// limits than one bucket per key with a burst of 1.
    pub fn take_entries(&self, entries: usize, amount: usize, notes: &mut LogNotes) -> Result<LogStatus> {
        self.limit.all.with(|limiter| self.key.with(|key| limiter.take_entries(key, entries, amount, notes)))
    }

    /// What is known of the key's log.
    ///
    /// # Errors
    /// As [`take_entries`](Self::take_entries).
    pub fn log_status(&self, entries: usize, notes: &mut LogNotes) -> Result<LogStatus> {
        self.limit.all.with(|limiter| self.key.with(|key| limiter.log_status(key, entries, notes)))
    }

    /// Resets the key's log. Returns whether anything was in the table.
    ///
    /// # Errors
    /// As [`take_entries`](Self::take_entries).
    pub fn reset_log(&self, entries: usize, notes: &mut LogNotes) -> Result<bool> {
        self.limit.all.with(|limiter| self.key.with(|key| limiter.reset_log(key, entries, notes)))
    }
}
