//! When the limiter can't decide: the explicit choice.

use crate::{MINUTE, Place, SECOND, field, get, hello, text};
use http::StatusCode;
use shm_lib::ErrorKind;
use shm_tower::{Mode, OnError, RateLimitLayer, Undecided};

const MODES: [Mode; 3] = [Mode::Reject, Mode::Wait, Mode::WaitUpTo(SECOND)];

#[tokio::test]
async fn closed() {
    for mode in MODES {
        let place = Place::with(|b| b, 1, MINUTE);
        let layer = RateLimitLayer::new(place.limit.clone(), mode, OnError::FailClosed);
        place.limit.retire().unwrap();
        let answer = get(&hello(&layer)).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let Undecided(why) = answer.extensions().get().expect("the reason");
        assert_eq!(why.kind(), ErrorKind::Retired);
    }
}

/// Somebody removed the limiter, or put another one in its place: the service goes on.
#[tokio::test]
async fn a_lost_limiter_is_found_again() {
    for (mode, on_error) in MODES.into_iter().flat_map(|m| [(m, OnError::FailOpen), (m, OnError::FailClosed)])
    {
        let place = Place::with(|b| b, 1, MINUTE);
        let service = hello(&RateLimitLayer::new(place.limit.clone(), mode, on_error));
        assert_eq!(text(get(&service).await), "hello, admitted: true");
        place.other().retire().unwrap();
        let answer = get(&service).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.extensions().get::<Undecided>().is_none());
        assert_eq!(text(answer), "hello, admitted: true");
        assert_eq!(place.limit.times_lost(), 1);
    }
}

#[tokio::test]
async fn open() {
    for mode in MODES {
        let place = Place::with(|b| b, 1, MINUTE);
        let layer = RateLimitLayer::new(place.limit.clone(), mode, OnError::FailOpen);
        place.limit.retire().unwrap();
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
async fn a_mistake_is_neither() {
    for (mode, on_error) in MODES.into_iter().flat_map(|m| [(m, OnError::FailOpen), (m, OnError::FailClosed)])
    {
        let place = Place::with(|b| b.burst(5), 5, MINUTE);
        let layer = RateLimitLayer::new(place.limit.clone(), mode, on_error);
        let answer = get(&hello(&layer.cost(6))).await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let Undecided(why) = answer.extensions().get().expect("the reason");
        assert_eq!(why.kind(), ErrorKind::NeverAdmissible);
    }
}

#[tokio::test]
async fn admitted_requests_know_when() {
    let place = Place::with(|b| b, 1, MINUTE);
    assert_eq!(text(get(&hello(&place.layer(Mode::Wait))).await), "hello, admitted: true");
}
