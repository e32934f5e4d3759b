//! What a process does when no decision is possible: it repairs what can be repaired, or says what is wrong.

use super::Limiter;
use crate::commit::{CommitError, Config};
use crate::error::{Error, ErrorKind, Result};
use crate::limit::Cost;

impl Limiter {
    #[cold]
    pub(super) fn wrong_units_error(&self, cost: &Cost) -> Error {
        let policy = match self.policy() {
            Ok(policy) => policy,
            Err(e) => return e,
        };
        match cost.check(&policy) {
            Err(e) => e.at(self.name().as_str(), self.path()),
            // It was changed in between.
            Ok(()) => self.segment.error(ErrorKind::Busy, "its units were just changed; try again"),
        }
    }

    /// [`recover`](Self::recover), unless what is missing is a permit.
    #[cold]
    pub(super) fn recover_or_ask_for_permit(
        &self,
        why: CommitError,
        cost: u64,
    ) -> std::result::Result<(), Option<Error>> {
        match why {
            CommitError::PermitsInForce => Err(None),
            why => self.recover(why, cost).map_err(Some),
        }
    }

    /// Mends what can be mended without a person, or says what is wrong.
    #[cold]
    pub(super) fn recover(&self, why: CommitError, cost: u64) -> Result<()> {
        match why {
            CommitError::Forked | CommitError::Changed => return Ok(()),
            CommitError::Frozen => {}
            why => {
                self.check_not_superseded()?;
                // What is wrong with a state may be what is wrong with the configuration that it was read by.
                let damage = self.segment.generations().config().err();
                let why = if matches!(why, CommitError::Corrupt(_)) { damage.unwrap_or(why) } else { why };
                return Err(self.segment.commit_error(why, cost));
            }
        }
        // A process that slept through many changes froze the state it once had to freeze. See `generation`.
        self.publish(|config| {
            let epoch = self.segment.generations().epoch();
            let still = self.segment.settle(epoch, None) == Err(CommitError::Frozen);
            Ok(still.then_some(Config { starts_empty: false, ..*config }))
        })
    }
}
