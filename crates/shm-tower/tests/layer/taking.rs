//! What passes, what waits, what is refused; and what is given back.

use crate::{LONG, MINUTE, Place, SECOND, field, get, hello};
use http::{Request, StatusCode};
use http_body::Body;
use shm_lib::{Limit, Rate, Unit};
use shm_tower::Mode;
use std::time::{Duration, Instant};
use tower::ServiceExt;

#[tokio::test]
async fn what_is_over_is_refused() {
    let place = Place::with(|b| b.burst(2), 2, MINUTE);
    let service = hello(&place.layer(Mode::Reject));
    for _ in 0..2 {
        assert_eq!(get(&service).await.status(), StatusCode::OK);
    }
    let refused = get(&service).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let retry_after: u64 = field(&refused, "retry-after").unwrap().parse().unwrap();
    assert!((20..=30).contains(&retry_after), "{retry_after}");
    assert!(refused.body().is_end_stream());
    assert_eq!(refused.body().size_hint().exact(), Some(0));
    assert_eq!((place.limit.stats().admitted, place.limit.stats().denied), (2, 1));
}

#[tokio::test]
async fn being_ready_takes_nothing() {
    let place = Place::with(|b| b, 1, MINUTE);
    for mode in [Mode::Reject, Mode::Wait] {
        let mut service = hello(&place.layer(mode));
        for _ in 0..3 {
            service.ready().await.unwrap();
        }
        drop(service);
        assert_eq!(place.limit.peek().unwrap().available, 1);
    }
}

#[tokio::test]
async fn who_waits_passes_in_turn() {
    let place = Place::with(|b| b, 20, SECOND);
    let service = hello(&place.layer(Mode::Wait));
    let begun = Instant::now();
    for _ in 0..4 {
        assert_eq!(get(&service).await.status(), StatusCode::OK);
    }
    assert!(begun.elapsed() >= Duration::from_millis(140), "four, 50 ms apart, in {:?}", begun.elapsed());
}

#[tokio::test]
async fn who_would_wait_too_long_is_refused_at_once() {
    let place = Place::with(|b| b, 1, MINUTE);
    let service = hello(&place.layer(Mode::WaitUpTo(30 * SECOND)));
    assert_eq!(get(&service).await.status(), StatusCode::OK);
    let before = place.limit.peek().unwrap().next_at;
    let refused = get(&service).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(place.limit.peek().unwrap().next_at, before, "it took nothing");

    let place = Place::with(|b| b, 20, SECOND);
    let service = hello(&place.layer(Mode::WaitUpTo(LONG)));
    for _ in 0..2 {
        assert_eq!(get(&service).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_turn_back() {
    let place = Place::with(|b| b, 1, MINUTE);
    let service = hello(&place.layer(Mode::Wait));
    assert_eq!(get(&service).await.status(), StatusCode::OK);
    let before = place.limit.peek().unwrap();
    let waiting = tokio::spawn(service.clone().oneshot(Request::new(())));
    while place.limit.peek().unwrap().queued == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    waiting.abort();
    let _ = tokio::time::timeout(LONG, waiting).await.expect("it ends");
    let after = place.limit.peek().unwrap();
    assert_eq!((after.next_at, after.queued), (before.next_at, 0));
}

#[tokio::test]
async fn requests_can_take_more_than_one_call() {
    let tokens = Unit::named("tokens").unwrap();
    let counted = Limit::with_burst(Rate::new(100, MINUTE).unwrap(), 100).unwrap().counting(tokens);
    let place = Place::with(|b| b.burst(100).and(counted), 100, MINUTE);
    let layer = place.layer(Mode::Reject).cost(shm_lib::Cost::one().and(tokens, 60));
    let service = hello(&layer);
    assert_eq!(get(&service).await.status(), StatusCode::OK);
    assert_eq!(get(&service).await.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn in_shadow_all_pass_and_are_told_nothing() {
    let place = Place::with(shm_lib::Builder::shadow, 1, MINUTE);
    let service = hello(&place.layer(Mode::Reject));
    for _ in 0..3 {
        let answer = get(&service).await;
        assert_eq!((answer.status(), field(&answer, "ratelimit")), (StatusCode::OK, None));
    }
}
