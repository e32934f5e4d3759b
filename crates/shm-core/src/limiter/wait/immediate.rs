//! Admission without waiting, while the line is empty.

use super::{Demand, Granted};
use crate::clock::Nanos;
use crate::commit::Wanted;
use crate::error::{ErrorKind, Result};
use crate::limiter::receipt::Receipt;
use crate::limiter::{Decision, Limiter};
use std::time::Duration;

impl Limiter {
    /// Fast path: takes these calls now if the line is empty and one attempt suffices, for a caller that would wait
    /// until `latest`. Otherwise nothing is taken, and [`admit_now`](Self::admit_now) decides.
    #[inline]
    pub fn admit_calls_now(&self, calls: u64, latest: Nanos) -> Option<Receipt> {
        if self.has_awake_waiters() {
            return None;
        }
        match self.try_immediate(calls, wanted_now(latest), false) {
            Ok(Decision::Admitted(receipt)) => Some(receipt),
            _ => None,
        }
    }

    /// Takes the request now, if the line is empty and its turn comes by the caller's deadline. A denial is not
    /// counted, since the caller may still wait.
    ///
    /// # Errors
    /// Those of [`try_cost`](Limiter::try_cost).
    pub fn admit_now(&self, demand: &Demand) -> Result<Option<Granted>> {
        if self.has_awake_waiters() {
            return Ok(None);
        }
        let (cost, wanted) = (demand.cost(), wanted_now(demand.latest));
        let taken = match self.permit_and(&cost, || self.decide_now(&cost, wanted)) {
            // The caller waits for a seat as it waits for a turn.
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

/// What a caller that may wait until `latest` accepts without waiting.
fn wanted_now(latest: Nanos) -> Wanted {
    if latest.as_nanos() == 0 { Wanted::NOW } else { Wanted::now_by(latest) }
}
