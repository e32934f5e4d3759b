//! Fail-open and fail-closed, when the limiter cannot decide.

use crate::{Fixture, MINUTE, SECOND, field, get, hello, text};
use http::StatusCode;
use shm_lib::ErrorKind;
use shm_tower::{Mode, OnError, RateLimitLayer, Undecided};

const MODES: [Mode; 3] = [Mode::Reject, Mode::Wait, Mode::WaitUpTo(SECOND)];

#[tokio::test]
async fn fail_closed_returns_503() {
    for mode in MODES {
        let fixture = Fixture::with(|b| b, 1, MINUTE);
        let layer = RateLimitLayer::new(fixture.limit.clone(), mode, OnError::FailClosed);
        fixture.limit.retire().unwrap();
        let answer = get(&hello(&layer)).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let Undecided(why) = answer.extensions().get().expect("the reason");
        assert_eq!(why.kind(), ErrorKind::Retired);
    }
}

/// When another process retires the limiter, the service continues with a new one.
#[tokio::test]
async fn a_lost_limiter_is_reopened() {
    for (mode, on_error) in MODES.into_iter().flat_map(|m| [(m, OnError::FailOpen), (m, OnError::FailClosed)])
    {
        let fixture = Fixture::with(|b| b, 1, MINUTE);
        let service = hello(&RateLimitLayer::new(fixture.limit.clone(), mode, on_error));
        assert_eq!(text(get(&service).await), "hello, admitted: true");
        fixture.other().retire().unwrap();
        let answer = get(&service).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.extensions().get::<Undecided>().is_none());
        assert_eq!(text(answer), "hello, admitted: true");
        assert_eq!(fixture.limit.times_lost(), 1);
    }
}

#[tokio::test]
async fn fail_open_admits_without_headers() {
    for mode in MODES {
        let fixture = Fixture::with(|b| b, 1, MINUTE);
        let layer = RateLimitLayer::new(fixture.limit.clone(), mode, OnError::FailOpen);
        fixture.limit.retire().unwrap();
        for _ in 0..3 {
            let answer = get(&hello(&layer)).await;
            assert_eq!(answer.status(), StatusCode::OK);
            assert!(answer.extensions().get::<Undecided>().is_some());
            assert_eq!(field(&answer, "ratelimit"), None);
            assert_eq!(text(answer), "hello, admitted: false");
        }
    }
}

#[tokio::test]
async fn an_impossible_cost_returns_500() {
    for (mode, on_error) in MODES.into_iter().flat_map(|m| [(m, OnError::FailOpen), (m, OnError::FailClosed)])
    {
        let fixture = Fixture::with(|b| b.burst(5), 5, MINUTE);
        let layer = RateLimitLayer::new(fixture.limit.clone(), mode, on_error);
        let answer = get(&hello(&layer.cost(6))).await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let Undecided(why) = answer.extensions().get().expect("the reason");
        assert_eq!(why.kind(), ErrorKind::NeverAdmissible);
    }
}

#[tokio::test]
async fn an_admitted_request_has_an_admitted_extension() {
    let fixture = Fixture::with(|b| b, 1, MINUTE);
    assert_eq!(text(get(&hello(&fixture.layer(Mode::Wait))).await), "hello, admitted: true");
}
