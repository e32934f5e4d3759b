//! The layer.

use crate::config::{LayerConfig, Mode, OnError};
use crate::fields::Names;
use crate::service::Limited;
use shm_lib::{Cost, RateLimit};
use std::sync::Arc;
use tower_layer::Layer;

/// A tower layer that applies a rate limit, which all processes on the host can share, to a service.
///
/// | the request is | the response |
/// |---|---|
/// | admitted | the inner service's, with the fields `RateLimit` and `RateLimit-Policy`; the request has [`Admitted`](crate::Admitted) in its extensions |
/// | denied | 429 with both fields, `Retry-After` in whole seconds (rounded up, at least 1), and an empty body. If all permits are held, `Retry-After` is 1, since the time is not known. If the line is full, it is the time until the limits would admit a request |
/// | not decided | by [`OnError`]; 503 and 500 have an empty body |
///
/// ```
/// # fn main() -> shm_lib::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use shm_lib::{Rate, RateLimit};
/// use shm_tower::{Mode, OnError, RateLimitLayer};
///
/// let limit = RateLimit::builder("search").directory(dir.path()).open_rate(Rate::per_second(100)?)?;
/// let layer = RateLimitLayer::new(limit, Mode::Reject, OnError::FailOpen).policy_name("search");
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RateLimitLayer {
    config: Arc<LayerConfig>,
}

impl RateLimitLayer {
    /// A layer under which each request costs one call of `limit`.
    pub fn new(limit: RateLimit, mode: Mode, on_error: OnError) -> RateLimitLayer {
        let (cost, names) = (Cost::one(), Names::of("default"));
        RateLimitLayer { config: Arc::new(LayerConfig { limit, mode, on_error, cost, names }) }
    }

    /// Sets the cost of each request. Default: one call.
    #[must_use]
    pub fn cost(mut self, cost: impl Into<Cost>) -> RateLimitLayer {
        Arc::make_mut(&mut self.config).cost = cost.into();
        self
    }

    /// Sets the policy name in the response fields. Default: `default`. Further limits are named `name-2`, `name-3` and so on.
    /// Characters that are not printable ASCII become `_`.
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
