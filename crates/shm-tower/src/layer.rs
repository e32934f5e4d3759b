//! The layer.

use crate::budget::Limiter;
use crate::config::{LayerConfig, Mode, OnError};
use crate::fields::Names;
use crate::keys::KeyExtractor;
use crate::service::Limited;
use shm_lib::{Cost, KeyedRateLimit, RateLimit};
use std::sync::Arc;
use tower_layer::Layer;

/// A tower layer that applies a rate limit, which all processes on the host can share, to a service.
///
/// | the request is | the response |
/// |---|---|
/// | admitted | the inner service's, with the fields `RateLimit` and `RateLimit-Policy`; the request has [`Admitted`](crate::Admitted) in its extensions |
/// | denied | 429 with both fields, `Retry-After` in whole seconds (rounded up, at least 1), and an empty body. If all permits are held, `Retry-After` is 1, since the time is not known. If the line is full, it is the time until the limits would admit a request |
/// | not decided | by [`OnError`]; 503 and 500 have an empty body |
/// | refused by the [`KeyExtractor`] | its status, with an empty body |
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
        RateLimitLayer::of(Limiter::OfAll(limit), mode, on_error)
    }

    /// A layer under which each request costs one call of its key, which `keys` finds, and of the limits of all keys, if the limiter
    /// has some.
    ///
    /// In the response fields, each limit per key has the partition key `pk`: a value that stands for the key, is the same in every
    /// worker, and does not reveal the key. The limits of all keys are named `default-all`, `default-all-2` and so on.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{KeyedRateLimit, Limit, Rate};
    /// use shm_tower::{ClientIp, Mode, OnError, ProxyHeader, RateLimitLayer};
    ///
    /// // Each client has 5 requests per second in bursts of 20; all clients together have 1,000 per second.
    /// let in_all = Limit::with_burst(Rate::per_second(1_000)?, 100)?;
    /// let limit = KeyedRateLimit::builder("clients").burst(20).in_all(in_all).directory(dir.path());
    /// let limit = limit.open_rate(Rate::per_second(5)?)?;
    /// let client = ClientIp::new().trusted_proxies(ProxyHeader::XForwardedFor, ["127.0.0.1"])?;
    /// let layer = RateLimitLayer::per_key(limit, client, Mode::Reject, OnError::FailOpen);
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn per_key(
        limit: KeyedRateLimit,
        keys: impl KeyExtractor,
        mode: Mode,
        on_error: OnError,
    ) -> RateLimitLayer {
        RateLimitLayer::of(Limiter::PerKey(limit, Arc::new(keys)), mode, on_error)
    }

    fn of(limiter: Limiter, mode: Mode, on_error: OnError) -> RateLimitLayer {
        let (cost, names) = (Cost::one(), Names::of("default"));
        RateLimitLayer { config: Arc::new(LayerConfig { limiter, mode, on_error, cost, names }) }
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
