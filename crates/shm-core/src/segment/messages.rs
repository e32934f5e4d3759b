//! Error messages for limiters that cannot decide, each with a remedy.

use super::Segment;
use crate::commit::{CommitError, Remedy};
use crate::directory::Directory;
use crate::error::{Error, ErrorKind};
use crate::limit::{Kind, format_span};

impl Segment {
    /// The error when the name no longer refers to the mapped file.
    pub(super) fn removed(&self, what: &str) -> Error {
        if self.is_retired() {
            return self.commit_error(CommitError::Retired, 0);
        }
        self.error(
            ErrorKind::Removed,
            format!(
                "{what}, although it was not retired; open it again to share the new budget (and remove limiters with \
                 `shm-limit remove`, not rm)"
            ),
        )
    }

    /// An error about this limiter.
    pub(crate) fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::new(kind, message).at(self.name.as_str(), &self.path)
    }

    /// The message for a [`CommitError`]; `cost` is the size of the request.
    pub(crate) fn commit_error(&self, why: CommitError, cost: u64) -> Error {
        // Not before it is needed: it reads the environment.
        let in_shell = || Directory::in_shell(&self.name, self.path.parent().unwrap_or(&self.path));
        match why {
            CommitError::Retired => {
                self.error(ErrorKind::Retired, "it was retired; open it again to create or join a new one")
            }
            CommitError::Frozen | CommitError::Forked | CommitError::Changed | CommitError::CheckDue(_) => {
                self.error(ErrorKind::Busy, "it is being repaired; try again")
            }
            CommitError::Corrupt(damage) => {
                let (name, in_dir) = in_shell();
                let remedy = match damage.remedy() {
                    Remedy::Reset => {
                        format!("run `shm-limit reset {name}{in_dir}`, which resets usage to zero")
                    }
                    Remedy::ResetRestores => format!(
                        "run `shm-limit reset {name}{in_dir}`, which restores the configuration and resets usage to zero"
                    ),
                    Remedy::Recreate => format!(
                        "this cannot be repaired: run `shm-limit remove --force {name}{in_dir}`, then create it again"
                    ),
                };
                self.error(ErrorKind::Corrupt, format!("damaged: {damage}; {remedy}"))
            }
            CommitError::NeverAdmissible { .. } if self.limits_only_keys() => self.error(
                ErrorKind::InvalidInput,
                "it has only limits per key, and the request names no key; name one (--key KEY; a program: KeyedRateLimit)",
            ),
            CommitError::NeverAdmissible { limit, max } => self.error(
                ErrorKind::NeverAdmissible,
                format!(
                    "a request for {cost} can never be admitted{}; the maximum is {max}: request less, or {}",
                    if self.key_shape().tables > 0 { " by the limits of all keys" } else { "" },
                    self.how_to_admit_more(limit)
                ),
            ),
            CommitError::PermitsInForce => {
                self.error(ErrorKind::Busy, "permits were just added to it; try again")
            }
            CommitError::Unlimited => {
                let (name, in_dir) = in_shell();
                self.error(
                    ErrorKind::InvalidInput,
                    format!(
                        "it has only permits and no limit, so there are no turns to reserve; wait for a permit, or add a rate: \
                         shm-limit set {name} --rate 5/s{in_dir}"
                    ),
                )
            }
            CommitError::WrongUnits => {
                self.error(ErrorKind::InvalidInput, "the request's units do not match the limits")
            }
            CommitError::NoSeat => {
                let (name, in_dir) = in_shell();
                self.error(
                    ErrorKind::NoSeat,
                    format!(
                        "all its seats are taken ({}), and several limits or permits need one; replace it with a limiter that \
                         has more seats: shm-limit create {name} --replace --seats N{in_dir}, and its other settings",
                        self.seats().len(),
                    ),
                )
            }
            CommitError::TooFar { ready, now } => self.error(
                ErrorKind::TooFar,
                format!(
                    "the wait would be {}, longer than a year; nothing was taken",
                    format_span(ready.since(now))
                ),
            ),
        }
    }

    fn limits_only_keys(&self) -> bool {
        self.key_shape().tables > 0
            && self.generations().config().is_ok_and(|(_, config)| config.policy.limits_only_keys())
    }

    fn how_to_admit_more(&self, limit: usize) -> &'static str {
        let config = self.generations().config();
        let kind = config.ok().and_then(|(_, config)| Some(config.policy.limits().nth(limit)?.kind()));
        match (kind, self.key_shape().tables) {
            (Some(Kind::Bucket { .. }), 0) => "set a larger burst",
            (Some(Kind::Bucket { .. }), _) => "set a larger burst of all keys (--all-burst)",
            (_, 0) => "set a larger rate",
            _ => "set a larger rate of all keys (--all-rate)",
        }
    }
}
