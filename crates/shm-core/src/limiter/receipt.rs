//! What was decided, and what a caller keeps of it.

use super::Limiter;
use crate::clock::Nanos;
use crate::denied::Denied;
use crate::error::Result;
use crate::limit::Costs;
use crate::limit::rule_set::Record;
use crate::sys::futex;
use crate::sys::process_token::process_token;
use std::time::Duration;

/// The longest sleep without looking around: for a removed file, a suspended machine, a signal just missed.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// That something was taken for an instant: now, or a later turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// When it may be used.
    pub at: Nanos,
    pub(super) epoch: u64,
    /// The state word right after, of what can be cancelled; 0 of what can't, where the state is one word.
    pub(super) state: u64,
    /// See [`Limiter::owner`].
    pub(super) owner: u64,
}

impl Receipt {
    /// For what was let through at this instant without having been taken: nobody's.
    pub const fn of_nothing(at: Nanos) -> Receipt {
        Receipt { at, epoch: 0, state: 0, owner: 0 }
    }
}

/// What a settlement needs to know of an admission, besides the receipt, where it is known: each bucket's charges so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChargeTotals(pub(super) Option<Costs>);

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is taken.
    Admitted(Receipt),
    /// Nothing is taken.
    Denied {
        /// Why.
        denied: Denied,
        /// Whether the limiter is in shadow, so that this is only what would have been.
        shadow: bool,
    },
}

/// Why [`Limiter::try_at_once`] did not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecided {
    /// There may be permits, so that one is to be held.
    MayNeedPermit,
    /// Another attempt, or more than an attempt, is needed.
    ByOneAttempt,
}

/// A turn that was taken and can still be given back.
#[derive(Debug)]
pub struct ReservedTurn {
    /// Which turn.
    pub receipt: Receipt,
    pub(super) calls: u64,
    /// For a settlement.
    pub charged: ChargeTotals,
    /// The record before it, where the state is one.
    pub(super) before: Option<Box<Record>>,
}

impl Limiter {
    /// Whether it was this process that was admitted, by this limiter: not a forked child with a copy, nor the next limiter
    /// of that name.
    pub fn belongs_to_this_process(&self, receipt: &Receipt) -> bool {
        receipt.owner == self.owner(process_token())
    }

    /// Whether the configuration has changed since: then a reserved turn is stale, and its owner asks again.
    pub fn is_stale(&self, receipt: &Receipt) -> bool {
        self.segment.generations().epoch() != receipt.epoch
    }

    /// Sleeps until the turn, news, a signal or one second, whichever comes first.
    ///
    /// # Errors
    /// [`ErrorKind::Removed`].
    pub fn sleep(&self, receipt: &Receipt, now: Nanos) -> Result<()> {
        let until = receipt.at.min(now.plus(MAX_SLEEP));
        futex::sleep(&self.segment.fixed().epoch_line.epoch, receipt.epoch, until);
        if until < receipt.at {
            self.segment.check_not_removed()?;
        }
        Ok(())
    }
}
