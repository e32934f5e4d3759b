//! A rate-limited service: admission, denial, response fields, and what is given back.

mod admission;
mod failures;
mod fields;
mod keys;
mod overload;
mod permits;

use http::{Request, Response};
use http_body::Body;
use shm_lib::{Builder, RateLimit};
use shm_tower::{Admitted, LimitedBody, Mode, OnError, RateLimitLayer};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tempfile::TempDir;
use tower::{Layer, Service, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Longer than any test should wait, even on a busy machine.
const LONG: Duration = Duration::from_secs(20);

type Answer = Response<LimitedBody<String>>;

/// A limiter in a directory of its own.
struct Fixture {
    dir: TempDir,
    limit: RateLimit,
}

impl Fixture {
    fn with(choose: impl FnOnce(Builder) -> Builder, max: u64, per: Duration) -> Fixture {
        Fixture::opened(|builder| choose(builder).open(max, per))
    }

    fn opened(open: impl FnOnce(Builder) -> shm_lib::Result<RateLimit>) -> Fixture {
        let dir = tempfile::tempdir().expect("a directory to work in");
        let builder = RateLimit::builder("fixture").directory(dir.path());
        let limit = open(builder).expect("a limiter");
        Fixture { dir, limit }
    }

    /// Another handle, as another process would have.
    fn other(&self) -> RateLimit {
        RateLimit::builder("fixture").directory(self.dir.path()).attach().expect("the limiter")
    }

    fn layer(&self, mode: Mode) -> RateLimitLayer {
        RateLimitLayer::new(self.limit.clone(), mode, OnError::FailClosed)
    }
}

/// A rate-limited service that answers whether the request had the `Admitted` extension.
fn hello(
    layer: &RateLimitLayer,
) -> impl Service<Request<()>, Response = Answer, Error = Infallible, Future: Send> + Clone + Send + use<> {
    layer.layer(service_fn(|request: Request<()>| async move {
        let admitted = request.extensions().get::<Admitted>().is_some();
        Ok(Response::new(format!("hello, admitted: {admitted}")))
    }))
}

async fn get(service: &(impl Service<Request<()>, Response = Answer, Error = Infallible> + Clone)) -> Answer {
    tokio::time::timeout(LONG, service.clone().oneshot(Request::new(()))).await.expect("an answer").unwrap()
}

fn field<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

/// The body's text; bodies in these tests are a single frame.
fn text(mut answer: Answer) -> String {
    let mut context = Context::from_waker(Waker::noop());
    match Pin::new(answer.body_mut()).poll_frame(&mut context) {
        Poll::Ready(Some(Ok(frame))) => {
            String::from_utf8_lossy(&frame.into_data().expect("text")).into_owned()
        }
        _ => String::new(),
    }
}
