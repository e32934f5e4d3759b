//! Whether the limiter is still the one that its name leads to.

use super::Limiter;
use crate::clock::Nanos;
use crate::commit::CommitError;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::Ordering;
use std::time::Duration;

/// How often a busy process looks whether the file was removed underneath.
const FILE_CHECK_INTERVAL: Duration = Duration::from_millis(100);

impl Limiter {
    /// Now and then: whether the file is still there.
    #[inline]
    pub(super) fn maybe_check_file(&self, now: Nanos) -> Result<()> {
        if self.file_check_due(now) { self.check_file_now(now) } else { Ok(()) }
    }

    /// Asked with every decision. Not only with those that read the clock itself: who uses several limiters may read it for
    /// the same one each time.
    #[inline]
    pub(super) fn file_check_due(&self, now: Nanos) -> bool {
        now.as_nanos() >= self.next_file_check_ns.load(Ordering::Relaxed)
    }

    /// In few words: a handle that hears it goes on to the other one.
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
        // Decisions read the numbers of the configuration unchecked.
        self.segment.generations().config().map_err(|why| self.segment.commit_error(why, 0))?;
        // Not before: until one thread knows, the others look, too.
        self.next_file_check_ns.store(now.plus(FILE_CHECK_INTERVAL).as_nanos(), Ordering::Relaxed);
        Ok(())
    }

    /// Whether the limiter goes on: not retired, and its file still has its name.
    ///
    /// # Errors
    /// [`ErrorKind::Removed`], [`ErrorKind::Retired`].
    pub fn check_still_valid(&self) -> Result<()> {
        if self.segment.is_retired() {
            return Err(self.segment.commit_error(CommitError::Retired, 0));
        }
        self.segment.check_not_removed()
    }
}
