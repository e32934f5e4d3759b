//! Giving back and charging afterwards: cancelled turns, settlements, debts.
//!
//! All of it runs while no signal handler does: a child that a handler forks has a copy of what its parent gives back or
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
    /// Gives a turn back, if nobody took one after it; otherwise it is forfeited. Returns which. In a forked child of
    /// the process that took it, it does nothing.
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

    /// Gives back what was not used of an admission, and charges what was used besides; says how much was given back. What was
    /// taken under an earlier configuration stays used. A greedy limit takes back only what no later admission followed.
    /// In a forked child of the process that was admitted, it does nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`], [`ErrorKind::NoSeat`], and as [`charge`](Self::charge).
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

    /// Takes what is named without asking, for turns to come if need be: in one step, whatever the amount. Units that are
    /// not named are not charged.
    ///
    /// # Errors
    /// [`ErrorKind::TooFar`] if the last of it would come in more than a year, and as [`reserve`](Self::reserve).
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
