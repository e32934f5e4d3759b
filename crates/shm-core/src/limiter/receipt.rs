//! Decisions, and what a caller keeps of an admission.

use super::Limiter;
use crate::clock::Nanos;
use crate::denied::Denied;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::intervals::MAX_SLEEP;
use crate::limit::Costs;
use crate::limit::rule_set::Record;
use crate::sys::futex;
use crate::sys::process_token::process_token;

/// Proof of an admission at an instant: now, or at a later turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// When it may be used.
    pub at: Nanos,
    pub(super) epoch: u64,
    /// The state word right after the admission. Where the state is one word: 0 unless the admission can be cancelled.
    pub(super) state: u64,
    /// See [`Limiter::owner`].
    pub(super) owner: u64,
}

impl Receipt {
    /// A receipt for a call that was let through uncharged at this instant. Belongs to no process.
    pub const fn of_nothing(at: Nanos) -> Receipt {
        Receipt { at, epoch: 0, state: 0, owner: 0 }
    }
}

/// What a settlement needs of an admission besides the receipt: each bucket's running total of charges, where it is
/// known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChargeTotals(pub(super) Option<Costs>);

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The request was admitted and charged.
    Admitted(Receipt),
    /// Nothing was taken.
    Denied {
        /// Why.
        denied: Denied,
        /// Whether the limiter is in shadow mode, so that the caller may go on.
        shadow: bool,
    },
}

/// Why [`Limiter::try_acquire_fast`] did not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecided {
    /// The limiter may have permits, so the caller may need one.
    MayNeedPermit,
    /// The slow path has to decide.
    ByOneAttempt,
}

/// A reserved turn that can still be cancelled.
#[derive(Debug)]
pub struct ReservedTurn {
    /// The admission.
    pub receipt: Receipt,
    pub(super) calls: u64,
    /// Needed for a settlement.
    pub charged: ChargeTotals,
    /// The record before the admission, where the state is a record.
    pub(super) before: Option<Box<Record>>,
}

impl Limiter {
    /// Whether this process got this admission from this limiter. False for a forked child with a copy, and for the
    /// next limiter of the same name.
    pub fn belongs_to_this_process(&self, receipt: &Receipt) -> bool {
        receipt.owner == self.owner(process_token())
    }

    /// Whether the configuration has changed since: then a reserved turn is stale, and its owner requests a new one.
    pub fn is_stale(&self, receipt: &Receipt) -> bool {
        self.segment.generations().epoch() != receipt.epoch
    }

    /// Sleeps until the turn comes, the epoch changes, a signal arrives, or one second has passed.
    ///
    /// # Errors
    /// [`ErrorKind::Removed`].
    pub fn sleep(&self, receipt: &Receipt, now: Nanos) -> Result<()> {
        let until = receipt.at.min(now.plus(MAX_SLEEP));
        futex::sleep(&self.segment.header().epoch_line.epoch, receipt.epoch, until);
        if until < receipt.at {
            self.segment.check_not_removed()?;
        }
        Ok(())
    }
}
