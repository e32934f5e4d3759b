//! The response fields of draft-ietf-httpapi-ratelimit-headers-11, and Retry-After.

use crate::{Fixture, MINUTE, SECOND, field, get, hello};
use http::StatusCode;
use shm_lib::{Builder, Limit, Rate, Start};
use shm_tower::{Mode, RateLimitLayer};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// `RateLimit-Policy` and `RateLimit` of the last of `n` responses.
async fn fields_after(layer: &RateLimitLayer, n: u64) -> (String, String) {
    let service = hello(layer);
    let mut last = get(&service).await;
    for _ in 1..n {
        last = get(&service).await;
    }
    let both = ["ratelimit-policy", "ratelimit"].map(|name| field(&last, name).unwrap_or("-").to_owned());
    both.into()
}

#[tokio::test]
async fn the_fields_match_the_drafts_example() {
    let fixture = Fixture::with(|b| b.fixed_window(Start::FirstUse), 100, MINUTE);
    assert!(fixture.limit.try_acquire(49).unwrap().is_admitted());
    let (policy, limit) = fields_after(&fixture.layer(Mode::Reject), 1).await;
    assert_eq!(policy, r#""default";q=100;w=60"#);
    assert_eq!(limit, r#""default";r=50;t=30"#);
}

#[tokio::test]
async fn every_kind_of_limit_has_the_same_fields() {
    let seen = |choose: fn(Builder) -> Builder| async move {
        fields_after(&Fixture::with(choose, 100, HOUR).layer(Mode::Reject), 10).await
    };
    let policy = r#""default";q=100;w=3600"#.to_owned();
    let rest = r#""default";r=90;t=3240"#.to_owned();
    assert_eq!(seen(|b| b.burst(100)).await, (policy.clone(), rest.clone()));
    assert_eq!(seen(Builder::greedy).await, (policy.clone(), rest.clone()));
    assert_eq!(seen(|b| b.fixed_window(Start::FirstUse)).await, (policy.clone(), rest.clone()));
    assert_eq!(seen(Builder::sliding_counter).await, (policy, rest));
}

#[tokio::test]
async fn the_policy_never_states_a_faster_rate_than_the_limit() {
    for (max, per_ms, policy) in [
        (10, 500, r#""default";q=20;w=1"#),
        (2, 1500, r#""default";q=2;w=2"#),
        (1, 1500, r#""default";q=1;w=2"#),
        (7, 1000, r#""default";q=7;w=1"#),
    ] {
        let fixture = Fixture::with(|b| b, max, Duration::from_millis(per_ms));
        assert_eq!(fields_after(&fixture.layer(Mode::Reject), 1).await.0, policy);
    }
}

#[tokio::test]
async fn a_denial_names_the_exhausted_limit_and_its_window() {
    let daily = Limit::with_burst(Rate::new(1000, 24 * HOUR).unwrap(), 1000).unwrap();
    let fixture = Fixture::with(|b| b.burst(2).and(daily), 2, MINUTE);
    let layer = fixture.layer(Mode::Reject).policy_name("api");
    let (policy, limit) = fields_after(&layer, 2).await;
    assert_eq!(policy, r#""api";q=2;w=60, "api-2";q=1000;w=86400"#);
    assert!(limit.starts_with(r#""api";r=0;t="#) && limit.contains(r#", "api-2";r=998;t=86228"#), "{limit}");

    let refused = get(&hello(&layer)).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let limit = field(&refused, "ratelimit").unwrap();
    let window: u64 = limit.strip_prefix(r#""api";r=0;t="#).unwrap().parse().unwrap();
    let retry_after: u64 = field(&refused, "retry-after").unwrap().parse().unwrap();
    assert!((20..=30).contains(&retry_after));
    assert!(retry_after >= window, "Retry-After ends before the window");
    assert_eq!(field(&refused, "ratelimit-policy"), Some(policy.as_str()));
}

#[tokio::test]
async fn retry_after_is_at_least_one_second() {
    let fixture = Fixture::with(|b| b, 10, SECOND);
    let service = hello(&fixture.layer(Mode::Reject));
    let mut refused = get(&service).await;
    while refused.status() == StatusCode::OK {
        refused = get(&service).await;
    }
    assert_eq!(field(&refused, "retry-after"), Some("1"));
    assert_eq!(field(&refused, "ratelimit"), Some(r#""default";r=0;t=1"#));
}

#[tokio::test]
async fn permits_are_reported_as_concurrency() {
    let fixture = Fixture::with(|b| b.burst(60).permits(1), 60, MINUTE);
    let service = hello(&fixture.layer(Mode::Reject));
    let first = get(&service).await;
    let policy = r#""default";q=60;w=60, "default-concurrency";q=1;qu="concurrent-requests""#;
    assert_eq!(field(&first, "ratelimit-policy"), Some(policy));
    let refused = get(&service).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(field(&refused, "ratelimit"), Some(r#""default-concurrency";r=0"#));
    assert_eq!(field(&refused, "retry-after"), Some("1"));
}

#[tokio::test]
async fn policy_names_are_quoted() {
    let fixture = Fixture::with(|b| b, 1, SECOND);
    let layer = fixture.layer(Mode::Reject).policy_name("a\"b\\c\nü");
    assert_eq!(fields_after(&layer, 1).await.0, r#""a\"b\\c__";q=1;w=1"#);
}
