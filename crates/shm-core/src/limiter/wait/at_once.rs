//! What is to be had at once, where nobody waits.

use super::{Granted, Waiter};
use crate::commit::Wanted;
use crate::error::{ErrorKind, Result};
use crate::limit::Cost;
use crate::limiter::decide::Charged;
use crate::limiter::{Decision, Limiter};
use crate::line::Ask;
use std::time::Duration;

impl Limiter {
    /// Takes what this caller asks for at once, if nobody waits and it is to be had by the caller's last instant. A denial is
    /// not counted: the caller may wait.
    ///
    /// # Errors
    /// As [`try_cost`](Limiter::try_cost).
    #[inline]
    pub fn admit_now(&self, waiter: &Waiter) -> Result<Option<Granted>> {
        if self.is_waited_for() {
            return Ok(None);
        }
        let latest = waiter.latest;
        let wanted = if latest.as_nanos() == 0 { Wanted::NOW } else { Wanted::now_by(latest) };
        if let Ask::Calls(calls) = waiter.ask {
            match self.at_once(calls, wanted, false) {
                Ok(Decision::Admitted(receipt)) => {
                    let (charged, waited) = (Charged::default(), Duration::ZERO);
                    return Ok(Some(Granted { receipt, charged, permit: None, waited }));
                }
                Ok(Decision::Denied { .. }) => return Ok(None),
                Err(_) => {}
            }
        }
        match self.admit_now_slowly(&waiter.cost(), wanted) {
            // It waits for a seat as it waits for its turn.
            Err(e) if e.kind() == ErrorKind::NoSeat => Ok(None),
            admitted => admitted,
        }
    }

    fn admit_now_slowly(&self, cost: &Cost, wanted: Wanted) -> Result<Option<Granted>> {
        let taken = self.permit_and(cost, || self.decide_now(cost, wanted))?;
        let Ok(((decision, charged), permit)) = taken else { return Ok(None) };
        Ok(match decision {
            Decision::Admitted(receipt) => {
                self.count_admitted(cost.call_count(), Duration::ZERO);
                Some(Granted { receipt, charged, permit, waited: Duration::ZERO })
            }
            Decision::Denied { .. } => {
                permit.into_iter().for_each(|permit| self.give_back(permit));
                None
            }
        })
    }
}
