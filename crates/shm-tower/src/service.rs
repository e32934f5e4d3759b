//! The service: it decides about each request when it is called.

use crate::body::LimitedBody;
use crate::config::{LayerConfig, Mode};
use crate::future::ResponseFuture;
use http::{Request, Response};
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_service::Service;

/// A rate-limited service, made by [`RateLimitLayer`](crate::RateLimitLayer).
#[derive(Clone, Debug)]
pub struct Limited<S> {
    pub(crate) inner: S,
    pub(crate) config: Arc<LayerConfig>,
}

impl<S, B, R> Service<Request<B>> for Limited<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Response = Response<LimitedBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    /// Whether the inner service is ready. Charges nothing, since a caller that polls need not call.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (request, budget) = self.config.limiter.budget_of(request);
        let budget = match budget {
            Ok(budget) if self.config.mode != Mode::Reject => budget,
            now => {
                let verdict = now.and_then(|budget| self.config.decide_now(budget));
                return ResponseFuture::decided(&self.config, verdict, &mut self.inner, request);
            }
        };
        // The instance that was polled ready must serve the request; its clone must be polled ready again.
        let clone = self.inner.clone();
        ResponseFuture::waiting(&self.config, budget, std::mem::replace(&mut self.inner, clone), request)
    }
}
