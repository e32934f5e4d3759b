//! How long a request holds a permit, and the response fields for permits.

use crate::{Fixture, MINUTE, SECOND, field, get, hello};
use http::{Request, Response, StatusCode};
use http_body::Body;
use shm_tower::Mode;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use tower::{Layer, Service, ServiceExt, service_fn};

fn held(fixture: &Fixture) -> u64 {
    fixture.limit.inspect().unwrap().permits_held
}

fn with_permits(n: u32) -> Fixture {
    Fixture::with(|b| b.burst(1000).permits(n), 1000, SECOND)
}

#[tokio::test]
async fn a_permit_is_held_until_the_body_is_dropped() {
    for mode in [Mode::Reject, Mode::Wait, Mode::WaitUpTo(SECOND)] {
        let fixture = with_permits(2);
        let service = hello(&fixture.layer(mode));
        let answers = (get(&service).await, get(&service).await);
        assert_eq!(held(&fixture), 2);
        drop(answers);
        assert_eq!(held(&fixture), 0);
    }
}

#[tokio::test]
async fn a_permit_is_held_until_the_body_has_ended() {
    let fixture = with_permits(1);
    let mut answer = get(&hello(&fixture.layer(Mode::Reject))).await;
    assert_eq!(held(&fixture), 1);
    let mut context = Context::from_waker(Waker::noop());
    let frame = Pin::new(answer.body_mut()).poll_frame(&mut context);
    assert!(matches!(frame, Poll::Ready(Some(Ok(frame))) if frame.is_data()));
    assert_eq!(held(&fixture), 0, "a body that knows its end needs no further poll");
    assert!(matches!(Pin::new(answer.body_mut()).poll_frame(&mut context), Poll::Ready(None)));
}

#[tokio::test]
async fn a_permit_is_held_until_the_call_is_dropped_or_fails() {
    for fails in [false, true] {
        let fixture = with_permits(1);
        let service = fixture.layer(Mode::Reject).layer(service_fn(move |_: Request<()>| async move {
            if fails {
                return Err("failed");
            }
            std::future::pending::<()>().await;
            Ok(Response::new(String::new()))
        }));
        let mut call = Box::pin(service.oneshot(Request::new(())));
        let mut context = Context::from_waker(Waker::noop());
        let polled = call.as_mut().poll(&mut context);
        assert_eq!(matches!(polled, Poll::Ready(Err("failed"))), fails);
        assert!(fails || held(&fixture) == 1);
        drop(call);
        assert_eq!(held(&fixture), 0);
    }
}

#[tokio::test]
async fn a_denied_request_holds_no_permit() {
    let fixture = Fixture::with(|b| b.burst(1).permits(5), 1, MINUTE);
    let service = hello(&fixture.layer(Mode::Reject));
    let first = get(&service).await;
    let refused = get(&service).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(held(&fixture), 1);
    drop(first);
    assert_eq!(held(&fixture), 0);
}

#[tokio::test]
async fn a_waiter_gets_the_next_permit() {
    let fixture = with_permits(1);
    let mut service = hello(&fixture.layer(Mode::Wait));
    let first = get(&service).await;
    let mut second = pin!(service.ready().await.unwrap().call(Request::new(())));
    let mut context = Context::from_waker(Waker::noop());
    assert!(second.as_mut().poll(&mut context).is_pending());
    drop(first);
    assert_eq!(second.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn without_a_rate_only_permits_are_reported() {
    let fixture = Fixture::opened(|b| b.permits(1).open_permits());
    let service = hello(&fixture.layer(Mode::Reject));
    let first = get(&service).await;
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(
        field(&first, "ratelimit-policy"),
        Some("\"default-concurrency\";q=1;qu=\"concurrent-requests\"")
    );
    assert_eq!(field(&first, "ratelimit"), None);
    let refused = get(&service).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(field(&refused, "ratelimit"), Some("\"default-concurrency\";r=0"));
    assert_eq!(field(&refused, "retry-after"), Some("1"));
    drop(first);
    assert_eq!(get(&service).await.status(), StatusCode::OK);

    fixture.limit.pause_for(MINUTE).unwrap();
    let paused = get(&service).await;
    assert_eq!(paused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(field(&paused, "retry-after"), Some("60"));
    assert_eq!(field(&paused, "ratelimit"), Some("\"default-concurrency\";r=0;t=60"));
}

#[tokio::test]
async fn without_a_rate_requests_wait_for_a_permit() {
    let fixture = Fixture::opened(|b| b.permits(2).open_permits());
    let service = hello(&fixture.layer(Mode::Wait));
    let answers = (get(&service).await, get(&service).await);
    assert_eq!(held(&fixture), 2);
    let mut third = pin!(get(&service));
    let mut context = Context::from_waker(Waker::noop());
    assert!(third.as_mut().poll(&mut context).is_pending());
    drop(answers);
    assert_eq!(third.await.status(), StatusCode::OK);
}
