//! The future of a response: waits for admission, calls the inner service, and adds the response fields.

use crate::body::LimitedBody;
use crate::budget::Budget;
use crate::config::LayerConfig;
use crate::fields;
use crate::verdict::{Passed, Refused, Undecided};
use http::header::RETRY_AFTER;
use http::{HeaderValue, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use shm_lib::{Outcome, Permit};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower_service::Service;

pin_project! {
    /// The response of a [`Limited`](crate::Limited) service. Dropping it makes a waiting request leave the line, and releases
    /// the request's permit.
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        config: Arc<LayerConfig>,
        #[pin]
        state: State<S, B, S::Future>,
    }
}

type Waiting = Pin<Box<dyn Future<Output = (Option<shm_lib::Result<Outcome>>, Budget)> + Send>>;

/// What the response will say, once the inner service has made it.
enum Report {
    /// The fields of the limits that admitted the request.
    Fields(Budget),
    /// Why the limiter could not decide.
    Undecided(Undecided),
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B, F> {
        Waiting { waiting: Waiting, pending: Option<(S, Request<B>)> },
        Calling { #[pin] future: F, permit: Option<Permit>, report: Option<Report> },
        Refused { refused: Option<Refused> },
    }
}

impl<S: Service<Request<B>>, B> ResponseFuture<S, B> {
    pub(crate) fn waiting(config: &Arc<LayerConfig>, budget: Budget, inner: S, request: Request<B>) -> Self {
        let shared = Arc::clone(config);
        let waiting = Box::pin(async move { (shared.acquire(&budget).await, budget) });
        let state = State::Waiting { waiting, pending: Some((inner, request)) };
        ResponseFuture { config: Arc::clone(config), state }
    }

    pub(crate) fn decided(
        config: &Arc<LayerConfig>,
        verdict: Result<Passed, Refused>,
        inner: &mut S,
        request: Request<B>,
    ) -> Self {
        ResponseFuture { config: Arc::clone(config), state: State::after(verdict, inner, request) }
    }
}

impl<S: Service<Request<B>>, B> State<S, B, S::Future> {
    fn after(verdict: Result<Passed, Refused>, inner: &mut S, mut request: Request<B>) -> Self {
        match verdict {
            Ok(Passed::Admitted(admitted, permit, budget)) => {
                request.extensions_mut().insert(admitted);
                let report = Some(Report::Fields(budget));
                State::Calling { future: inner.call(request), permit, report }
            }
            Ok(Passed::FailedOpen(undecided)) => {
                request.extensions_mut().insert(undecided.clone());
                let report = Some(Report::Undecided(undecided));
                State::Calling { future: inner.call(request), permit: None, report }
            }
            Err(refused) => State::Refused { refused: Some(refused) },
        }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Output = Result<Response<LimitedBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProjection::Waiting { waiting, pending } => {
                    let (outcome, budget) = ready!(waiting.as_mut().poll(context));
                    let verdict = this.config.decide(outcome, budget);
                    let (mut inner, request) = pending.take().expect("polled after it was ready");
                    State::after(verdict, &mut inner, request)
                }
                StateProjection::Calling { future, permit, report } => {
                    let (mut head, body) = ready!(future.poll(context))?.into_parts();
                    match report.take().expect("polled after it was ready") {
                        Report::Undecided(undecided) => {
                            head.extensions.insert(undecided);
                        }
                        Report::Fields(budget) => {
                            fields::add(this.config, &budget, None, &mut head.headers);
                        }
                    }
                    return Poll::Ready(Ok(Response::from_parts(
                        head,
                        LimitedBody::new(body, permit.take()),
                    )));
                }
                StateProjection::Refused { refused } => {
                    let refused = refused.take().expect("polled after it was ready");
                    return Poll::Ready(Ok(error_response(this.config, refused)));
                }
            };
            this.state.set(next);
        }
    }
}

fn error_response<R>(config: &LayerConfig, refused: Refused) -> Response<LimitedBody<R>> {
    let mut response = Response::new(LimitedBody::empty());
    match refused {
        Refused::Failed(status, undecided) => {
            *response.status_mut() = status;
            response.extensions_mut().insert(undecided);
        }
        Refused::NoKey(status) => *response.status_mut() = status,
        Refused::Denied(denied, budget) => {
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            let seconds = fields::add(config, &budget, Some(&denied), response.headers_mut());
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
    }
    response
}

impl<S: Service<Request<B>>, B> fmt::Debug for ResponseFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
