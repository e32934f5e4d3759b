//! What is to be had at once, where nobody waits.

use super::{Demand, Granted};
use crate::clock::Nanos;
use crate::commit::Wanted;
use crate::error::{ErrorKind, Result};
use crate::limiter::receipt::Receipt;
use crate::limiter::{Decision, Limiter};
use std::time::Duration;

impl Limiter {
    /// Takes so many calls at once, if nobody waits and one attempt does it, for a caller that waits until `latest`. Otherwise
    /// nothing is taken, and [`admit_now`](Self::admit_now) says more.
    #[inline]
    pub fn admit_calls_now(&self, calls: u64, latest: Nanos) -> Option<Receipt> {
        if self.is_waited_for() {
            return None;
        }
        match self.at_once(calls, wanted_now(latest), false) {
            Ok(Decision::Admitted(receipt)) => Some(receipt),
            _ => None,
        }
    }

    /// Takes what this caller asks for at once, if nobody waits and it is to be had by the caller's last instant. A denial is
    /// not counted: the caller may wait.
    ///
    /// # Errors
    /// As [`try_cost`](Limiter::try_cost).
    pub fn admit_now(&self, demand: &Demand) -> Result<Option<Granted>> {
        if self.is_waited_for() {
            return Ok(None);
        }
        let (cost, wanted) = (demand.cost(), wanted_now(demand.latest));
        let taken = match self.permit_and(&cost, || self.decide_now(&cost, wanted)) {
            // It waits for a seat as it waits for its turn.
            Err(e) if e.kind() == ErrorKind::NoSeat => return Ok(None),
            taken => taken?,
        };
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

/// What a caller that waits until `latest` wants if it does not wait.
fn wanted_now(latest: Nanos) -> Wanted {
    if latest.as_nanos() == 0 { Wanted::NOW } else { Wanted::now_by(latest) }
}
