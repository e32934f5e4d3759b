//! Giving back and charging afterwards: cancelled turns, settlements, debts.
//!
//! All of it runs while no signal handler does: a child that a handler forks has a copy of what its parent gives back or
//! charges, and would do it a second time.

use super::Limiter;
use super::decide::{Charged, Receipt, Reservation};
use crate::clock;
use crate::commit::Halt;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::limit::{Asked, Cost, Refund};
use crate::sys::signal::NoHandlers;

impl Limiter {
    /// Gives a turn back, if nobody took one after it; otherwise it is forfeited. Returns which. In a forked child of
    /// the process that took it, it does nothing.
    #[allow(clippy::needless_pass_by_value)] // given back once
    pub fn cancel(&self, reservation: Reservation) -> bool {
        let _no_handlers = NoHandlers::enter();
        if !self.is_ours(&reservation.receipt) {
            return false;
        }
        let Receipt { epoch, state, .. } = reservation.receipt;
        match &reservation.before {
            None => self.segment.words().cancel(epoch, state, reservation.calls),
            Some(before) => self.cells().is_ok_and(|cells| {
                self.segment
                    .records(Some(cells.pair()))
                    .cancel(epoch, state, before)
                    .is_ok_and(|undone| undone.is_some())
            }),
        }
    }

    /// Gives back what was not used of an admission, and charges what was used besides; says how much was given back. Under
    /// the terms it was taken: under others by now it stays used. A greedy limit takes only back what nobody came after.
    /// In a forked child of the process that was admitted, it does nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`], [`ErrorKind::NoSeat`], and as [`charge`](Self::charge).
    pub fn settle(
        &self,
        receipt: &Receipt,
        charged: &Charged,
        unused: Option<&Cost>,
        debt: Option<&Cost>,
    ) -> Result<Refund> {
        let _no_handlers = NoHandlers::enter();
        if !self.is_ours(receipt) {
            return Ok(Refund::default());
        }
        let refund = unused.map_or(Ok(Refund::default()), |unused| self.refund(receipt, charged, unused))?;
        debt.map_or(Ok(()), |debt| self.charge(debt))?;
        Ok(refund)
    }

    fn refund(&self, receipt: &Receipt, charged: &Charged, unused: &Cost) -> Result<Refund> {
        if !self.segment.has_records() {
            let words = self.segment.words();
            let reserved = (receipt.state != 0).then_some(receipt.state);
            let calls = unused.call_count();
            return Ok(Refund::of_calls(words.refund(
                receipt.epoch,
                receipt.at,
                reserved,
                calls,
                &clock::Host,
            )));
        }
        let cells = self.cells()?;
        self.segment
            .records(Some(cells.pair()))
            .refund(receipt.epoch, receipt.state, charged.0.as_ref(), Asked::of(unused), receipt.at)
            .map_err(|halt| self.segment.halted(halt, 0))
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
                let mut cells = self.cells()?;
                self.segment.records(Some(cells.pair())).debt(&what, &clock::Host, &mut cells.desk)
            } else {
                let _ = self.seat.counting(&self.segment);
                self.segment.words().debt(self.only_calls(&what)?, &clock::Host)
            };
            match charged {
                Ok(()) => return Ok(()),
                Err(Halt::Miscounted) => return Err(self.miscounted(&what)),
                Err(halt) => self.recover(halt, what.largest())?,
            }
        }
    }
}
