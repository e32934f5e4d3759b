//! Checks that the limiter is still the one that its name refers to.

use super::Limiter;
use crate::clock::Nanos;
use crate::commit::CommitError;
use crate::error::{Error, ErrorKind, Result};
use crate::intervals::FILE_CHECK_INTERVAL;
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
        self.segment.generations().config().map_err(|why| self.segment.commit_error(why, 0))?;
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
