//! The service: decides when called.

use crate::body::LimitedBody;
use crate::config::{LayerConfig, Mode};
use crate::future::ResponseFuture;
use http::{Request, Response};
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_service::Service;

/// A service under a limit. Made by [`RateLimitLayer`](crate::RateLimitLayer).
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

    /// Whether the inner service is ready. Takes nothing: whoever asks need not call.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if self.config.mode == Mode::Reject {
            let verdict = self.config.judge_now();
            return ResponseFuture::judged(&self.config, verdict, &mut self.inner, request);
        }
        // The one that said it was ready goes with the request; the copy gets ready anew.
        let copy = self.inner.clone();
        ResponseFuture::waiting(&self.config, std::mem::replace(&mut self.inner, copy), request)
    }
}
