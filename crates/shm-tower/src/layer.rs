//! What the user chooses.

use crate::Limited;
use crate::fields::Names;
use shm_lib::{Cost, RateLimit};
use std::sync::Arc;
use std::time::Duration;
use tower_layer::Layer;

/// What becomes of a request whose turn is not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is refused.
    Reject,
    /// It waits for its turn, however long; the client may give up first. It is refused at once only if as many requests
    /// wait already as the limiter's policy lets wait ([`max_waiters`](shm_lib::Builder::max_waiters)).
    Wait,
    /// It waits if its turn comes within this time, and is refused at once otherwise. For a permit it waits that long.
    WaitUpTo(Duration),
}

/// What becomes of a request when the limiter can't decide: it was retired, its file was removed or damaged, there are
/// more processes than seats. There is no default: it is either your service or your limit that gives way.
///
/// A mistake in what is asked (more than the limiter can ever admit, units that it doesn't count) is neither: then
/// all requests get `500 Internal Server Error` until it is mended. The error is in the [`Undecided`](crate::Undecided)
/// of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// It is admitted, without a limit.
    FailOpen,
    /// It gets `503 Service Unavailable`.
    FailClosed,
}

/// Puts a service under a limit that all processes on the host can share.
///
/// | the request | the answer |
/// |---|---|
/// | is admitted | the inner service's, with `RateLimit` and `RateLimit-Policy`; the request has [`Admitted`](crate::Admitted) in its extensions |
/// | is refused | 429, with `Retry-After` in whole seconds, rounded up and at least 1, and both fields; an empty body. Where it is not known when the request would be admitted, `Retry-After` is 1 if all permits are held; if the line is full, it is the time after which the limits have room again |
/// | can't be decided | by [`OnError`]; 503 and 500 have an empty body |
#[derive(Clone, Debug)]
pub struct RateLimitLayer {
    pub(crate) terms: Arc<Terms>,
}

/// What all services of a layer share.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) limit: RateLimit,
    pub(crate) mode: Mode,
    pub(crate) on_error: OnError,
    pub(crate) cost: Cost,
    pub(crate) names: Names,
}

impl RateLimitLayer {
    /// Requests take one call each of `limit`.
    pub fn new(limit: RateLimit, mode: Mode, on_error: OnError) -> RateLimitLayer {
        let (cost, names) = (Cost::one(), Names::of("default"));
        RateLimitLayer { terms: Arc::new(Terms { limit, mode, on_error, cost, names }) }
    }

    /// What each request costs. Default: one call.
    #[must_use]
    pub fn cost(mut self, cost: impl Into<Cost>) -> RateLimitLayer {
        Arc::make_mut(&mut self.terms).cost = cost.into();
        self
    }

    /// What clients read as the policy's name. Default: `default`. With several limits the further ones are `name-2`, …
    /// What is not printable ASCII becomes `_`.
    #[must_use]
    pub fn policy_name(mut self, name: &str) -> RateLimitLayer {
        Arc::make_mut(&mut self.terms).names = Names::of(name);
        self
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, terms: Arc::clone(&self.terms) }
    }
}
