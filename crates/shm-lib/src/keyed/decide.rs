//! A request of a key: decided now, from the limits of the key and those of all keys, or none.
//!
//! With limits of all keys (or permits), the order is: look at the key; take from the limits of all keys; charge the key. A
//! request that its key denies takes nothing, so one busy key costs the others nothing. If another request of the key comes in
//! between and takes its last call, what was taken from all keys is given back. The key is charged for the instant at which the
//! limits of all keys admitted the request, so that the admission has one instant, at which all limits are kept.

use super::Key;
use crate::outcome::{Charge, KeyCharge};
use crate::rate_limit::{denied_or_shadowed, try_cost};
use crate::{Admission, Outcome};
use shm_core::clock;
use shm_core::limit::{Cost, Rate};
use shm_core::{Decision, Denied, KeyAsk, KeyOf, Limiter, Receipt, Result};
use std::sync::Arc;

/// Decides a request now.
#[inline]
pub(super) fn now(
    limiter: &Arc<Limiter>,
    key: &Key<'_>,
    cost: &Cost,
    at: Option<(Rate, u64)>,
) -> Result<Outcome> {
    key.with(|key| {
        loop {
            if limiter.takes_more_than_keys()? {
                return from_all(limiter, key, cost, at);
            }
            // None: limits of all keys have been added since.
            if let Some(decision) = limiter.try_key(&KeyAsk { key, cost, at })? {
                return Ok(outcome(decision, cost));
            }
        }
    })
}

/// The outcome of a request that takes only from the limits of its key.
#[inline]
pub(super) fn outcome(decision: Decision, cost: &Cost) -> Outcome {
    outcome_with(decision, || match cost.only_calls() {
        Some(n) => Charge::KeyCalls(n),
        None => Charge::Key(Box::new(KeyCharge { cost: *cost, all: None })),
    })
}

#[inline]
pub(super) fn outcome_with(decision: Decision, charge: impl FnOnce() -> Charge) -> Outcome {
    match decision {
        Decision::Admitted(receipt) => Outcome::Admitted(Admission::immediate(receipt, None, charge())),
        Decision::Denied { denied, shadow } => denied_or_shadowed(denied, shadow, None),
    }
}

#[inline(never)]
fn from_all(limiter: &Arc<Limiter>, key: KeyOf<'_>, cost: &Cost, at: Option<(Rate, u64)>) -> Result<Outcome> {
    let (for_all, for_key) = limiter.split_cost(cost)?;
    let ask = KeyAsk { key, cost: &for_key, at };
    loop {
        if let Some(denied) = limiter.key_denial(&ask, true)? {
            return Ok(denied_or_shadowed(denied, limiter.is_shadow(), None));
        }
        let of_all = match try_cost(limiter, &for_all)? {
            Outcome::Admitted(admission) => admission,
            denied @ Outcome::Denied(_) => return Ok(denied),
        };
        match charge_key(limiter, &ask, &for_all, of_all)? {
            KeyCharged::Whole(admission) => return Ok(Outcome::Admitted(admission)),
            KeyCharged::Denied { denied, shadow } => {
                limiter.count_denied();
                return Ok(denied_or_shadowed(denied, shadow, None));
            }
            KeyCharged::Again => {}
        }
    }
}

/// The end of a request that the limits of all keys have admitted.
pub(super) enum KeyCharged {
    Whole(Admission),
    /// The key denies it, and what was taken from all keys was given back. `shadow`: whether shadow mode suppresses the denial.
    Denied {
        denied: Denied,
        shadow: bool,
    },
    /// The request begins anew: the limits of all keys admitted it at an instant at which the key did not have its turn yet, and has
    /// it now; or what was taken from them was not taken by this process, which a signal handler has forked since, or not from this
    /// limiter.
    Again,
}

/// Charges the key, after the limits of all keys have admitted the request, for the instant of that.
pub(super) fn charge_key(
    limiter: &Arc<Limiter>,
    ask: &KeyAsk<'_>,
    for_all: &Cost,
    of_all: Admission,
) -> Result<KeyCharged> {
    let decision = match of_all.charge {
        // Nothing was taken.
        Charge::FailedOpen | Charge::Shadowed(_) => limiter.try_key_beside_nothing(ask),
        _ => limiter.try_key_beside(ask, &of_all.receipt),
    };
    Ok(match decision {
        Ok(Some(Decision::Admitted(receipt))) => KeyCharged::Whole(whole(receipt, ask.cost, of_all)),
        Ok(Some(Decision::Denied { denied, shadow })) => {
            give_back(limiter, for_all, of_all);
            match denied.retry_at() {
                Some(at) if at <= clock::now() => KeyCharged::Again,
                _ => KeyCharged::Denied { denied, shadow },
            }
        }
        Ok(None) => KeyCharged::Again,
        Err(e) => {
            give_back(limiter, for_all, of_all);
            return Err(e);
        }
    })
}

/// The admission by the key and by the limits of all keys.
fn whole(receipt: Receipt, cost: &Cost, mut of_all: Admission) -> Admission {
    let permit = of_all.take_permit();
    let waited_ns = of_all.waited_ns;
    let charge = Charge::Key(Box::new(KeyCharge { cost: *cost, all: Some(of_all) }));
    Admission { waited_ns, ..Admission::immediate(receipt, permit, charge) }
}

/// Gives back what was taken from the limits of all keys. Its permit is released, too.
fn give_back(limiter: &Limiter, for_all: &Cost, of_all: Admission) {
    let charged = match &of_all.charge {
        Charge::Units(units) => units.1,
        Charge::Calls(_) => shm_core::ChargeTotals::default(),
        // Nothing was charged.
        _ => return,
    };
    // If it cannot be given back, it counts as used.
    let _ = limiter.settle(&of_all.receipt, &charged, Some(for_all), None);
}
