//! The admission of a waiting caller: it claims a turn, and a permit where the limiter has permits.

use super::view::View;
use super::{Granted, WaitStep, Waiter};
use crate::clock::{self, Nanos};
use crate::commit::CommitError;
use crate::limit::{Costs, MAX_LIMITS};
use crate::limiter::Limiter;
use crate::limiter::process::CellAccess;
use crate::limiter::receipt::{ChargeTotals, Receipt};
use crate::line::{Callers, Charge, Key, ReadyTurn, difference};
use crate::sys::process_token::process_token;

impl Limiter {
    /// What this caller does next.
    pub(super) fn step_for(
        &self,
        callers: &mut Callers,
        waiter: &mut Waiter,
        key: Key,
        view: &View,
    ) -> std::result::Result<Next, CommitError> {
        let now = Nanos::from_nanos(view.now);
        if now > waiter.demand.latest && view.seatless {
            return Err(CommitError::NoSeat);
        }
        if now > waiter.demand.latest {
            return Ok(Next::Done(WaitStep::Denied(self.denial_of(callers, key, view)?)));
        }
        let costs = callers.costs(key);
        let due = view.due();
        if !due.is_empty() {
            let exact = due.iter().filter(|(_, charge)| charge.costs == costs);
            let larger =
                due.iter().filter(|(_, charge)| charge.costs != costs && charge.is_enough_for(&costs));
            let mut some = false;
            for (turn, charge) in exact.chain(larger) {
                some = true;
                if let Some(granted) = self.claim(waiter, &costs, turn, charge)? {
                    return Ok(Next::Done(WaitStep::Granted(granted)));
                }
            }
            if some {
                return Ok(Next::Again);
            }
            if view.summary.before == 0 {
                // All of them are too small for the first in line: undo them, so that they are charged for it.
                self.undo_turns(None, |_| true);
                return Ok(Next::Again);
            }
        } else if self.is_charged_for_another(view, &costs) {
            self.undo_turns(None, |_| true);
            return Ok(Next::Again);
        }
        let is_first = callers.first() == Some(key);
        Ok(Next::Sleep { until: self.sleep_until(view, &costs)?, is_first })
    }

    /// Claims this turn and, if the limiter has permits, a permit: both or neither. `None` if another caller won the
    /// race.
    pub(super) fn claim(
        &self,
        waiter: &Waiter,
        costs: &Costs,
        turn: &ReadyTurn,
        charge: &Charge,
    ) -> std::result::Result<Option<Granted>, CommitError> {
        let permit = if self.has_permits() {
            match self.take_permit_in_line() {
                Ok(Some(permit)) => Some(permit),
                Ok(None) => return Ok(None),
                // Reported at once, so that the search for a seat is not repeated for each turn.
                Err(_) => return Err(CommitError::NoSeat),
            }
        } else {
            None
        };
        let now = clock::now();
        // A turn of a past generation is void, whichever caller has it: its charge is part of the next generation's
        // state.
        if !self.turns().take(turn) || !self.segment.generations().is_current_after_write(charge.epoch) {
            permit.into_iter().for_each(|permit| self.give_back(permit));
            return Ok(None);
        }
        let at = Nanos::from_nanos(turn.at);
        let owner = self.owner(process_token());
        let receipt = Receipt { at, epoch: charge.epoch, state: charge.after, owner };
        let charged = ChargeTotals(self.segment.has_records().then_some(charge.charged));
        let excess = difference(&charge.costs, costs);
        if excess != [0; MAX_LIMITS] {
            let needs_cells = self.segment.has_records();
            let cells = needs_cells.then(|| self.process.cells(&self.segment).ok().flatten()).flatten();
            let pair = cells.as_ref().map(CellAccess::pair);
            // A bucket accepts no refund while later turns are charged.
            self.undo_future_turns(pair);
            self.refund_of(turn, charge, &excess, pair);
        }
        let waited = now.since(waiter.since.unwrap_or(now));
        self.count_admitted(waiter.demand.ask.asked().call_count(), waited);
        Ok(Some(Granted { receipt, charged, permit, waited }))
    }
}

/// What a caller does after it has seen its view.
pub(super) enum Next {
    Done(WaitStep),
    /// It looks once more.
    Again,
    /// It can sleep until this instant; `is_first`: as the first caller of its process.
    Sleep {
        until: u64,
        is_first: bool,
    },
}
