//! Whose budget a request takes from, and how: the limiter's, or that of one of its keys.

use crate::config::{LayerConfig, Mode};
use crate::keys::{KeyExtractor, RequestKey};
use crate::verdict::{Refused, Undecided};
use http::{Request, StatusCode};
use shm_lib::limit::Policy;
use shm_lib::{Cost, Error, ErrorKind, KeyedRateLimit, Outcome, OwnedKey, RateLimit};
use std::fmt;
use std::sync::Arc;

/// What a layer limits by.
#[derive(Clone)]
pub(crate) enum Limiter {
    OfAll(RateLimit),
    PerKey(KeyedRateLimit, Arc<dyn KeyExtractor>),
}

/// The budget that a request takes from.
#[derive(Debug)]
pub(crate) enum Budget {
    /// The limits of all requests.
    All,
    /// Those of this key, and those of all keys.
    Key(OwnedKey),
    /// None: the request has no key, and the limiter has no limits of all keys.
    Unlimited,
}

impl Limiter {
    /// The limiter as a whole.
    pub(crate) fn all(&self) -> &RateLimit {
        match self {
            Limiter::OfAll(limit) => limit,
            Limiter::PerKey(limit, _) => limit.all_keys(),
        }
    }

    /// The limiter with limits per key.
    pub(crate) fn keyed(&self) -> Option<&KeyedRateLimit> {
        match self {
            Limiter::OfAll(_) => None,
            Limiter::PerKey(limit, _) => Some(limit),
        }
    }

    /// The budget that this request takes from. Returns the request, too, since it has to be taken apart.
    pub(crate) fn budget_of<B>(&self, request: Request<B>) -> (Request<B>, Result<Budget, Refused>) {
        let Limiter::PerKey(limit, extractor) = self else { return (request, Ok(Budget::All)) };
        let (parts, body) = request.into_parts();
        let budget = match extractor.extract(&parts) {
            RequestKey::Limited(key) => Ok(Budget::Key(key)),
            RequestKey::Exempt => Ok(match limit.all_keys().policy() {
                Ok(policy) if policy.limits_only_keys() => Budget::Unlimited,
                // What is wrong with the policy, the decision reports.
                Ok(_) | Err(_) => Budget::All,
            }),
            RequestKey::Refused(status) => Err(Refused::NoKey(status)),
            RequestKey::Misconfigured(why) => {
                let error = Error::new(ErrorKind::InvalidInput, why).at(limit.name(), limit.path());
                Err(Refused::Failed(StatusCode::INTERNAL_SERVER_ERROR, Undecided(Arc::new(error))))
            }
        };
        (Request::from_parts(parts, body), budget)
    }
}

impl LayerConfig {
    /// Takes from the budget now. `None`: there is nothing to take from.
    pub(crate) fn try_acquire(&self, budget: &Budget) -> Option<shm_lib::Result<Outcome>> {
        Some(match (&self.limiter, budget) {
            (_, Budget::Unlimited) => return None,
            (Limiter::PerKey(limit, _), Budget::Key(key)) => limit.key(key).try_acquire(self.cost),
            (limiter, _) => limiter.all().try_acquire(self.cost_of_all()),
        })
    }

    /// Takes from the budget, waiting as the mode allows. `None`: there is nothing to take from.
    pub(crate) async fn acquire(&self, budget: &Budget) -> Option<shm_lib::Result<Outcome>> {
        let outcome = match (&self.limiter, budget) {
            (_, Budget::Unlimited) => return None,
            (Limiter::PerKey(limit, _), Budget::Key(key)) => {
                let acquire = limit.key(key).acquire(self.cost);
                match self.mode {
                    Mode::WaitUpTo(time) => acquire.timeout(time).await,
                    Mode::Wait | Mode::Reject => acquire.or_denied().await,
                }
            }
            (limiter, _) => {
                let acquire = limiter.all().acquire(self.cost_of_all());
                match self.mode {
                    Mode::WaitUpTo(time) => acquire.timeout(time).await,
                    Mode::Wait | Mode::Reject => acquire.or_denied().await,
                }
            }
        };
        Some(outcome)
    }

    /// The cost of a request that takes only from the limits of all requests. If there are limits per key, too, the cost may name
    /// units that only those count.
    fn cost_of_all(&self) -> Cost {
        match &self.limiter {
            Limiter::PerKey(limit, _) if self.cost.only_calls().is_none() => {
                limit.all_keys().policy().map_or(self.cost, |policy| part_for(&self.cost, &policy))
            }
            _ => self.cost,
        }
    }
}

/// What of this cost the limits of all keys count. Without such limits (there are permits), it is one call.
fn part_for(cost: &Cost, policy: &Policy) -> Cost {
    let amounts = policy.limits().filter_map(|limit| Some((limit.unit(), cost.amount(limit.unit())?)));
    let part = amounts.fold(None, |part: Option<Cost>, (unit, amount)| {
        Some(part.map_or_else(|| Cost::of(unit, amount), |part| part.and(unit, amount)))
    });
    part.unwrap_or(Cost::one())
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limiter::OfAll(limit) => limit.fmt(f),
            Limiter::PerKey(limit, _) => limit.fmt(f),
        }
    }
}
