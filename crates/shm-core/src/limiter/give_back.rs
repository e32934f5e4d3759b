//! Returning what was taken (cancel, settle) and charging after the fact (debts).
//!
//! All of it runs with signal handlers blocked: a child forked by a handler has a copy of what its parent returns or
//! charges, and would do it a second time.

use super::Limiter;
use super::receipt::{ChargeTotals, Receipt, ReservedTurn};
use crate::clock;
use crate::commit::CommitError;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::limit::{Asked, Cost, Refund};
use crate::sys::signal::NoHandlers;

impl Limiter {
    /// Returns a turn if no later turn was taken; otherwise the turn is forfeited. Tells whether it was returned. Does
    /// nothing in a forked child of the process that reserved it.
    #[allow(clippy::needless_pass_by_value)] // given back once
    pub fn cancel(&self, reservation: ReservedTurn) -> bool {
        let _no_handlers = NoHandlers::enter();
        if !self.belongs_to_this_process(&reservation.receipt) {
            return false;
        }
        let Receipt { epoch, state, .. } = reservation.receipt;
        match &reservation.before {
            None => self.segment.words().cancel(epoch, state, reservation.calls),
            Some(before) => self.cell_access().is_ok_and(|cells| {
                self.segment
                    .records(Some(cells.pair()))
                    .cancel(epoch, state, before)
                    .is_ok_and(|undone| undone.is_some())
            }),
        }
    }

    /// Returns the unused part of an admission and charges what was used in addition; reports how much was returned.
    /// Nothing is returned for an admission under an earlier configuration. A greedy limit accepts a return only if no
    /// later admission followed. Does nothing in a forked child of the process that was admitted.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`], [`ErrorKind::NoSeat`], and those of [`charge`](Self::charge).
    pub fn settle(
        &self,
        receipt: &Receipt,
        charged: &ChargeTotals,
        unused: Option<&Cost>,
        debt: Option<&Cost>,
    ) -> Result<Refund> {
        let _no_handlers = NoHandlers::enter();
        if !self.belongs_to_this_process(receipt) {
            return Ok(Refund::default());
        }
        let refund = unused.map_or(Ok(Refund::default()), |unused| self.refund(receipt, charged, unused))?;
        debt.map_or(Ok(()), |debt| self.charge(debt))?;
        Ok(refund)
    }

    fn refund(&self, receipt: &Receipt, charged: &ChargeTotals, unused: &Cost) -> Result<Refund> {
        if !self.segment.has_records() {
            let words = self.segment.words();
            let reserved = (receipt.state != 0).then_some(receipt.state);
            let calls = unused.call_count();
            return Ok(Refund::of_calls(words.refund(
                receipt.epoch,
                receipt.at,
                reserved,
                calls,
                &clock::SystemClock,
            )));
        }
        let cells = self.cell_access()?;
        self.segment
            .records(Some(cells.pair()))
            .refund(receipt.epoch, receipt.state, charged.0.as_ref(), Asked::of(unused), receipt.at)
            .map_err(|why| self.segment.commit_error(why, 0))
    }

    /// Charges this amount unconditionally, in one step, borrowing from future turns if necessary. Units that are not
    /// named are not charged.
    ///
    /// # Errors
    /// [`ErrorKind::TooFar`] if the last of these turns would lie more than a year ahead, and those of
    /// [`reserve`](Self::reserve).
    pub fn charge(&self, what: &Cost) -> Result<()> {
        let _no_handlers = NoHandlers::enter();
        loop {
            let what = what.with_every_unit(&self.policy()?);
            if what.largest() == 0 {
                return Ok(());
            }
            let charged = if self.segment.has_records() {
                let mut cells = self.cell_access()?;
                self.segment.records(Some(cells.pair())).debt(&what, &clock::SystemClock, &mut cells.scratch)
            } else {
                let _ = self.process.seat.counter(&self.segment);
                self.segment.words().debt(self.only_calls(&what)?, &clock::SystemClock)
            };
            match charged {
                Ok(()) => return Ok(()),
                Err(CommitError::WrongUnits) => return Err(self.wrong_units_error(&what)),
                Err(why) => self.recover(why, what.largest())?,
            }
        }
    }
}
