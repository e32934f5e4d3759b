//! The layer.

use crate::config::{LayerConfig, Mode, OnError};
use crate::fields::Names;
use crate::service::Limited;
use shm_lib::{Cost, RateLimit};
use std::sync::Arc;
use tower_layer::Layer;

/// Puts a service under a limit that all processes on the host can share.
///
/// | the request | the answer |
/// |---|---|
/// | is admitted | the inner service's, with `RateLimit` and `RateLimit-Policy`; the request has [`Admitted`](crate::Admitted) in its extensions |
/// | is refused | 429, with `Retry-After` in whole seconds, rounded up and at least 1, and both fields; an empty body. Where it is not known when the request would be admitted, `Retry-After` is 1 if all permits are held; if the line is full, it is the time after which the limits have room again |
/// | can't be decided | by [`OnError`]; 503 and 500 have an empty body |
#[derive(Clone, Debug)]
pub struct RateLimitLayer {
    config: Arc<LayerConfig>,
}

impl RateLimitLayer {
    /// Requests take one call each of `limit`.
    pub fn new(limit: RateLimit, mode: Mode, on_error: OnError) -> RateLimitLayer {
        let (cost, names) = (Cost::one(), Names::of("default"));
        RateLimitLayer { config: Arc::new(LayerConfig { limit, mode, on_error, cost, names }) }
    }

    /// What each request costs. Default: one call.
    #[must_use]
    pub fn cost(mut self, cost: impl Into<Cost>) -> RateLimitLayer {
        Arc::make_mut(&mut self.config).cost = cost.into();
        self
    }

    /// What clients read as the policy's name. Default: `default`. With several limits the further ones are `name-2`, …
    /// What is not printable ASCII becomes `_`.
    #[must_use]
    pub fn policy_name(mut self, name: &str) -> RateLimitLayer {
        Arc::make_mut(&mut self.config).names = Names::of(name);
        self
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, config: Arc::clone(&self.config) }
    }
}
