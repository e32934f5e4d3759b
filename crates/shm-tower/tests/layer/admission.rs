//! Which requests are admitted, wait, or are denied, and what dropped requests give back.

use crate::{Fixture, LONG, MINUTE, SECOND, field, get, hello};
use http::{Request, StatusCode};
use http_body::Body;
use shm_lib::{Limit, Rate, Unit};
use shm_tower::Mode;
use std::time::{Duration, Instant};
use tower::ServiceExt;

#[tokio::test]
async fn over_limit_returns_429() {
    let fixture = Fixture::with(|b| b.burst(2), 2, MINUTE);
    let service = hello(&fixture.layer(Mode::Reject));
    for _ in 0..2 {
        assert_eq!(get(&service).await.status(), StatusCode::OK);
    }
    let refused = get(&service).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let retry_after: u64 = field(&refused, "retry-after").unwrap().parse().unwrap();
    assert!((20..=30).contains(&retry_after), "{retry_after}");
    assert!(refused.body().is_end_stream());
    assert_eq!(refused.body().size_hint().exact(), Some(0));
    assert_eq!((fixture.limit.stats().admitted, fixture.limit.stats().denied), (2, 1));
}

#[tokio::test]
async fn poll_ready_charges_nothing() {
    let fixture = Fixture::with(|b| b, 1, MINUTE);
    for mode in [Mode::Reject, Mode::Wait] {
        let mut service = hello(&fixture.layer(mode));
        for _ in 0..3 {
            service.ready().await.unwrap();
        }
        drop(service);
        assert_eq!(fixture.limit.status().unwrap().available, 1);
    }
}

#[tokio::test]
async fn waiting_requests_are_served_at_the_rate() {
    let fixture = Fixture::with(|b| b, 20, SECOND);
    let service = hello(&fixture.layer(Mode::Wait));
    let begun = Instant::now();
    for _ in 0..4 {
        assert_eq!(get(&service).await.status(), StatusCode::OK);
    }
    assert!(begun.elapsed() >= Duration::from_millis(140), "four, 50 ms apart, in {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_wait_beyond_the_maximum_returns_429_immediately() {
    let fixture = Fixture::with(|b| b, 1, MINUTE);
    let service = hello(&fixture.layer(Mode::WaitUpTo(30 * SECOND)));
    assert_eq!(get(&service).await.status(), StatusCode::OK);
    let before = fixture.limit.status().unwrap().next_at;
    let refused = get(&service).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(fixture.limit.status().unwrap().next_at, before, "the denied request was charged");

    let fixture = Fixture::with(|b| b, 20, SECOND);
    let service = hello(&fixture.layer(Mode::WaitUpTo(LONG)));
    for _ in 0..2 {
        assert_eq!(get(&service).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_dropped_request_gives_its_turn_back() {
    let fixture = Fixture::with(|b| b, 1, MINUTE);
    let service = hello(&fixture.layer(Mode::Wait));
    assert_eq!(get(&service).await.status(), StatusCode::OK);
    let before = fixture.limit.status().unwrap();
    let waiting = tokio::spawn(service.clone().oneshot(Request::new(())));
    while fixture.limit.status().unwrap().queued == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    waiting.abort();
    let _ = tokio::time::timeout(LONG, waiting).await.expect("it ends");
    let after = fixture.limit.status().unwrap();
    assert_eq!((after.next_at, after.queued), (before.next_at, 0));
}

#[tokio::test]
async fn a_request_can_cost_several_units() {
    let tokens = Unit::named("tokens").unwrap();
    let counted = Limit::with_burst(Rate::new(100, MINUTE).unwrap(), 100).unwrap().counting(tokens);
    let fixture = Fixture::with(|b| b.burst(100).and(counted), 100, MINUTE);
    let layer = fixture.layer(Mode::Reject).cost(shm_lib::Cost::one().and(tokens, 60));
    let service = hello(&layer);
    assert_eq!(get(&service).await.status(), StatusCode::OK);
    assert_eq!(get(&service).await.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn in_shadow_mode_all_requests_pass_without_fields() {
    let fixture = Fixture::with(shm_lib::Builder::shadow, 1, MINUTE);
    let service = hello(&fixture.layer(Mode::Reject));
    for _ in 0..3 {
        let answer = get(&service).await;
        assert_eq!((answer.status(), field(&answer, "ratelimit")), (StatusCode::OK, None));
    }
}
