//! What is said of a limiter that cannot decide, and what to do about it.

use super::Segment;
use crate::commit::CommitError;
use crate::error::{Error, ErrorKind};
use crate::limit::format_span;

impl Segment {
    pub(super) fn removed(&self, what: &str) -> Error {
        if self.is_retired() {
            return self.commit_error(CommitError::Retired, 0);
        }
        self.error(
            ErrorKind::Removed,
            format!("{what}, though it was not retired; open it again to share the new budget (and remove limiters with `shm-limit remove`, not rm)"),
        )
    }

    /// An error about this limiter.
    pub(crate) fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::new(kind, message).at(self.name.as_str(), &self.path)
    }

    /// A halt, in words.
    pub(crate) fn commit_error(&self, why: CommitError, cost: u64) -> Error {
        match why {
            CommitError::Retired => self.error(ErrorKind::Retired, "it was retired; open it again to make or join a new one"),
            CommitError::Frozen | CommitError::Forked | CommitError::Changed => self.error(ErrorKind::Busy, "it is being repaired; try again"),
            CommitError::Corrupt(what) if what.starts_with("the configuration") => self.error(
                ErrorKind::Corrupt,
                format!("damaged: {what}; nothing can mend that: shm-limit remove --force it and create it anew"),
            ),
            CommitError::Corrupt(what) => self.error(
                ErrorKind::Corrupt,
                format!("damaged: {what}; see it with `shm-limit inspect`, clear it with `shm-limit reset`, or remove and create it anew"),
            ),
            CommitError::NeverAdmissible { most, .. } => self.error(
                ErrorKind::NeverAdmissible,
                format!("{cost} at once can never be admitted, the most is {most}; ask for less, or set a larger burst"),
            ),
            CommitError::PermitsInForce => self.error(ErrorKind::Busy, "it was just given permits; try again"),
            CommitError::Unlimited => self.error(
                ErrorKind::InvalidInput,
                format!(
                    "it has permits and no limit, so there are no turns to reserve; wait for a permit, or give it a rate: shm-limit set {} --rate 5/s",
                    self.name.shell_word()
                ),
            ),
            CommitError::WrongUnits => self.error(ErrorKind::InvalidInput, "its limits count other units"),
            CommitError::NoSeat => self.error(
                ErrorKind::NoSeat,
                format!(
                    "all of its {} seats are taken, and several limits or permits need one; put one with more seats in its place: \
                     shm-limit create {} --replace --seats N, with its other settings",
                    self.seats().len(),
                    self.name().shell_word(),
                ),
            ),
            CommitError::TooFar { ready, now } => self.error(
                ErrorKind::TooFar,
                format!("the turn would come in {}, over a year; nothing was reserved", format_span(ready.since(now))),
            ),
        }
    }
}
