//! What a limiter should be, for one that may have to be created.

use crate::clock;
use crate::commit::Terms;
use crate::error::{Error, ErrorKind, Result};
use crate::limit::Policy;
use crate::segment::{DEFAULT_MODE, DEFAULT_SEATS, MAX_SEATS, Plan};

/// What to do when the limiter exists with another rate or burst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMismatch {
    /// Fail with [`ErrorKind::Mismatch`], which says both.
    #[default]
    Error,
    /// Join it as it is.
    Keep,
    /// Change it, for everybody, to what was asked for.
    Change,
}

/// What a limiter should be, for one that may have to be created.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Its limits and permits.
    pub policy: Policy,
    /// Permissions of the file: read and write for the owner, and for the group and others or not.
    pub mode: u32,
    /// How many processes can be counted and named each for itself.
    pub seats: usize,
    /// What to do when it exists with another limit.
    pub on_mismatch: OnMismatch,
}

impl Settings {
    /// This limit or policy, and the defaults for the rest.
    pub fn new(policy: impl Into<Policy>) -> Settings {
        Settings {
            policy: policy.into(),
            mode: DEFAULT_MODE,
            seats: DEFAULT_SEATS,
            on_mismatch: OnMismatch::Error,
        }
    }

    pub(super) fn plan(&self) -> Result<Plan> {
        let pairs = [self.mode >> 6 & 7, self.mode >> 3 & 7, self.mode & 7];
        if self.mode > 0o777 || pairs[0] != 6 || pairs.iter().any(|&p| p != 6 && p != 0) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "mode {:o} can't work: whoever takes from a limiter must read and write its file; use 600, 660 or 666",
                    self.mode
                ),
            ));
        }
        if !(1..=MAX_SEATS).contains(&self.seats) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{} seats are not possible; choose 1 to {MAX_SEATS}", self.seats),
            ));
        }
        let terms = Terms::new(self.policy, clock::now());
        Ok(Plan { terms, mode: self.mode, seats: self.seats })
    }
}
