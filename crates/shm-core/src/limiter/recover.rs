//! When a decision is not possible: repair what can be repaired, or return the error.

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
            // The limiter was changed in between.
            Ok(()) => self.segment.error(ErrorKind::Busy, "its units were just changed; try again"),
        }
    }

    /// [`recover`](Self::recover), except that `Err(None)` says that the caller needs a permit.
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

    /// Repairs what can be repaired without an operator, or returns the error. After `Ok`, the caller retries.
    #[cold]
    pub(super) fn recover(&self, why: CommitError, cost: u64) -> Result<()> {
        match why {
            CommitError::Forked | CommitError::Changed => return Ok(()),
            CommitError::Frozen => {}
            why => {
                self.check_not_superseded()?;
                // Decisions read the configuration without validating it, so each of these may follow from damage. Report
                // the cause.
                let is_about_limits = matches!(
                    why,
                    CommitError::Corrupt(_)
                        | CommitError::NeverAdmissible { .. }
                        | CommitError::TooFar { .. }
                        | CommitError::Unlimited
                );
                let damage = if is_about_limits { self.segment.generations().config().err() } else { None };
                return Err(self.segment.commit_error(damage.unwrap_or(why), cost));
            }
        }
        // A process that slept through a full ring cycle froze a state that it should have frozen long ago: see
        // invariant 4 of `commit::generation`.
        self.publish(|config| {
            let epoch = self.segment.generations().epoch();
            let still = self.segment.settle(epoch, None) == Err(CommitError::Frozen);
            Ok(still.then_some(Config { starts_empty: false, ..*config }))
        })
    }
}
