//! When a future is admitted, and when it is denied.

use crate::{Fixture, LONG, MINUTE, SECOND};
use shm_lib::{Builder, Cost, ErrorKind, Limit, Outcome, Rate, Unit};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::time::timeout;

#[tokio::test]
async fn available_calls_are_admitted_immediately() {
    let fixture = Fixture::with(|b| b.burst(3), 3, MINUTE);
    for n in [1, 2] {
        let admission = fixture.limit.acquire(n).await.unwrap();
        assert_eq!(admission.waited(), Duration::ZERO);
    }
    assert_eq!(fixture.limit.status().unwrap().available, 0);
    assert_eq!((fixture.limit.stats().admitted, fixture.limit.stats().waited), (2, 0));
}

#[tokio::test]
async fn nothing_is_charged_before_the_first_poll() {
    let fixture = Fixture::new(1, MINUTE);
    drop(fixture.limit.acquire(1));
    assert_eq!(fixture.limit.status().unwrap().available, 1);
}

#[tokio::test]
async fn a_future_is_not_ready_before_its_turn() {
    let fixture = Fixture::new(20, SECOND);
    let first = fixture.limit.acquire(1).await.unwrap();
    let begun = Instant::now();
    let second = timeout(LONG, fixture.limit.acquire(1)).await.unwrap().unwrap();
    assert!(shm_lib::now() >= second.at());
    assert!(second.at().since(first.at()) >= Duration::from_millis(50));
    assert!(second.waited() > Duration::ZERO && second.waited() <= begun.elapsed());
    assert_eq!(fixture.limit.stats().waited, 1);
}

#[tokio::test]
async fn a_hundred_tasks_are_admitted_evenly() {
    let fixture = Fixture::new(1000, SECOND);
    // The pause gives all tasks time to join the line.
    fixture.limit.pause_for(SECOND).unwrap();
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let limit = fixture.limit.clone();
            tokio::spawn(async move {
                let admission = limit.acquire(1).await.unwrap();
                assert!(shm_lib::now() >= admission.at(), "admitted before its turn");
                admission.at()
            })
        })
        .collect();
    let mut turns = BTreeSet::new();
    for task in tasks {
        assert!(turns.insert(timeout(LONG, task).await.unwrap().unwrap()), "two have the same turn");
    }
    let turns: Vec<_> = turns.into_iter().collect();
    // A tick is shorter than a nanosecond. On a busy machine a turn may pass unused, which leaves a larger gap.
    let gaps: Vec<_> = turns.windows(2).map(|pair| pair[1].since(pair[0]).as_nanos()).collect();
    assert!(gaps.iter().all(|&gap| gap >= 999_999), "{gaps:?}");
    let even = gaps.iter().filter(|&&gap| gap <= 1_000_001).count();
    assert!(even >= 80, "{even} of {}: {gaps:?}", gaps.len());
}

#[tokio::test]
async fn an_unreachable_timeout_is_denied_immediately_and_charges_nothing() {
    let fixture = Fixture::new(1, MINUTE);
    assert!(fixture.limit.acquire(1).timeout(SECOND).await.unwrap().is_admitted());
    let before = fixture.limit.status().unwrap();
    let begun = Instant::now();
    let Outcome::Denied(denial) = fixture.limit.acquire(1).timeout(30 * SECOND).await.unwrap() else {
        panic!("admitted a minute early");
    };
    assert!(begun.elapsed() < 10 * SECOND);
    assert!(denial.retry_after() > Some(30 * SECOND) && denial.retry_after() <= Some(MINUTE));
    let after = fixture.limit.status().unwrap();
    assert_eq!((after.next_at, after.queued), (before.next_at, before.queued));
    assert_eq!(fixture.limit.stats().denied, 1);
}

#[tokio::test]
async fn a_reachable_timeout_is_met() {
    let fixture = Fixture::new(20, SECOND);
    fixture.limit.acquire(1).await.unwrap();
    let outcome = timeout(LONG, fixture.limit.acquire(1).timeout(LONG)).await.unwrap().unwrap();
    assert!(outcome.is_admitted());
}

#[tokio::test]
async fn a_request_of_several_units_waits_for_all_limits() {
    let tokens = Unit::named("tokens").unwrap();
    let per_second = Rate::new(1000, SECOND).unwrap();
    let limit = Limit::with_burst(per_second, 100).unwrap().counting(tokens);
    let fixture = Fixture::with(|b| b.burst(10).and(limit), 10, SECOND);
    let request = Cost::one().and(tokens, 100);
    let first = fixture.limit.acquire(request).await.unwrap();
    let mut second = timeout(LONG, fixture.limit.acquire(request)).await.unwrap().unwrap();
    assert!(second.at().since(first.at()) >= Duration::from_millis(100));
    // Half of the estimate is given back.
    fixture.limit.settle(&mut second, Cost::one().and(tokens, 50)).unwrap();
    let outcome = fixture.limit.acquire(request).timeout(Duration::ZERO).await.unwrap();
    assert!(!outcome.is_admitted());
}

#[tokio::test]
async fn invalid_requests_are_errors() {
    let fixture = Fixture::with(|b| b.burst(5), 5, SECOND);
    let kind = |result: shm_lib::Result<_>| result.map(|_: shm_lib::Admission| ()).unwrap_err().kind();
    assert_eq!(kind(fixture.limit.acquire(0).await), ErrorKind::InvalidInput);
    assert_eq!(kind(fixture.limit.acquire(6).await), ErrorKind::NeverAdmissible);
    let unknown = Cost::one().and(Unit::named("tokens").unwrap(), 1);
    assert_eq!(kind(fixture.limit.acquire(unknown).await), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn in_shadow_mode_no_request_waits() {
    let fixture = Fixture::with(Builder::shadow, 1, MINUTE);
    assert!(fixture.limit.acquire(1).await.unwrap().shadowed().is_none());
    let would_wait = timeout(LONG, fixture.limit.acquire(1)).await.unwrap().unwrap();
    assert!(would_wait.shadowed().unwrap().retry_after() > Some(SECOND));
}
