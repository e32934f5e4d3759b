//! The settings of a limiter that may have to be created.

use crate::clock;
use crate::commit::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::limit::PolicySpec;
use crate::segment::{DEFAULT_CAPACITY, DEFAULT_SEATS, MAX_CAPACITY, MAX_SEATS, Plan};

/// What to do when the limiter exists and differs from what the caller specified; see [`PolicySpec`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnMismatch {
    /// Fail with [`ErrorKind::Mismatch`], whose message shows both.
    #[default]
    Error,
    /// Open it as it is. Right for workers that are restarted often, so that they also start after an operator has
    /// changed the limiter.
    Keep,
    /// Change it, for every process, to what was specified. Unspecified settings are kept.
    Change,
}

/// The settings of a limiter that may have to be created.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Its limits and permits, as the caller specified them.
    pub policy: PolicySpec,
    /// Permission bits of a new file: read and write for the owner, and optionally for the group and for others.
    /// `None`: 0600, or 0660 in a directory that a group shares (setgid and group-writable).
    pub mode: Option<u32>,
    /// How many processes can have a seat at the same time.
    pub seats: usize,
    /// How many keys can have a debt at the same time before new keys begin to inherit one, if the policy has limits per key. If
    /// the limiter exists, it may have any.
    pub capacity: u64,
    /// What to do when the limiter exists with another policy.
    pub on_mismatch: OnMismatch,
}

impl Settings {
    /// This limit or policy, with defaults for the rest.
    pub fn new(policy: impl Into<PolicySpec>) -> Settings {
        Settings {
            policy: policy.into(),
            mode: None,
            seats: DEFAULT_SEATS,
            capacity: DEFAULT_CAPACITY,
            on_mismatch: OnMismatch::Error,
        }
    }

    pub(super) fn plan(&self) -> Result<Plan> {
        if let Some(mode) = self.mode {
            let pairs = [mode >> 6 & 7, mode >> 3 & 7, mode & 7];
            if mode > 0o777 || pairs[0] != 6 || pairs.iter().any(|&p| p != 6 && p != 0) {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!(
                        "mode {mode:o} cannot work: every user of a limiter must be able to read and write its file; \
                         use 600, 660 or 666"
                    ),
                ));
            }
        }
        if !(1..=MAX_SEATS).contains(&self.seats) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{} is not a valid number of seats; choose 1 to {MAX_SEATS}", self.seats),
            ));
        }
        if !(1..=MAX_CAPACITY).contains(&self.capacity) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{} is not a valid capacity; choose 1 to {MAX_CAPACITY} keys", self.capacity),
            ));
        }
        let policy = self.policy.policy();
        policy.check_zones()?;
        Ok(Plan {
            config: Config::new(policy, clock::now()),
            mode: self.mode,
            seats: self.seats,
            capacity: self.capacity,
        })
    }
}
