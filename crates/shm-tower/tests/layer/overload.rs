//! Responses when the maximum number of requests already waits.

use crate::{Fixture, MINUTE, field, get, hello};
use http::{Request, StatusCode};
use shm_tower::{Mode, OnError, RateLimitLayer};
use std::pin::pin;
use std::task::{Context, Waker};
use tower::{Service, ServiceExt};

#[tokio::test]
async fn a_full_line_returns_429_with_retry_after() {
    for mode in [Mode::Wait, Mode::WaitUpTo(10 * MINUTE)] {
        for on_error in [OnError::FailOpen, OnError::FailClosed] {
            let fixture = Fixture::with(|b| b.max_waiters(1), 1, MINUTE);
            let mut service = hello(&RateLimitLayer::new(fixture.limit.clone(), mode, on_error));
            assert_eq!(get(&service).await.status(), StatusCode::OK);
            let mut waits = pin!(service.ready().await.unwrap().call(Request::new(())));
            let mut context = Context::from_waker(Waker::noop());
            assert!(waits.as_mut().poll(&mut context).is_pending());
            let refused = get(&service).await;
            assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
            // When a place in line becomes free is not known; when the exhausted limit has a call available is.
            let retry_after: u64 = field(&refused, "retry-after").unwrap().parse().unwrap();
            let told = field(&refused, "ratelimit").unwrap();
            assert_eq!(told, format!("\"default\";r=0;t={retry_after}"), "{mode:?}");
        }
    }
}

#[tokio::test]
async fn a_full_line_for_permits_returns_retry_after_1() {
    let fixture = Fixture::opened(|b| b.permits(1).max_waiters(0).open_permits());
    let service = hello(&fixture.layer(Mode::Wait));
    let first = get(&service).await;
    let refused = get(&service).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(field(&refused, "retry-after"), Some("1"));
    drop(first);
    assert_eq!(get(&service).await.status(), StatusCode::OK);
}
