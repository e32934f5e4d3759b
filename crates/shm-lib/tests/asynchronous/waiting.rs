//! When futures are admitted, and when denied.

use crate::{LONG, MINUTE, Place, SECOND};
use shm_lib::{Builder, Cost, ErrorKind, Limit, Outcome, Rate, Unit};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::time::timeout;

#[tokio::test]
async fn at_once_what_is_free() {
    let place = Place::with(|b| b.burst(3), 3, MINUTE);
    for n in [1, 2] {
        let admission = place.limit.acquire(n).await.unwrap();
        assert_eq!(admission.waited(), Duration::ZERO);
    }
    assert_eq!(place.limit.peek().unwrap().available, 0);
    assert_eq!((place.limit.stats().admitted, place.limit.stats().waited), (2, 0));
}

#[tokio::test]
async fn nothing_is_taken_before_the_first_poll() {
    let place = Place::new(1, MINUTE);
    drop(place.limit.acquire(1));
    assert_eq!(place.limit.peek().unwrap().available, 1);
}

#[tokio::test]
async fn waits_for_its_turn_and_no_shorter() {
    let place = Place::new(20, SECOND);
    let first = place.limit.acquire(1).await.unwrap();
    let begun = Instant::now();
    let second = timeout(LONG, place.limit.acquire(1)).await.unwrap().unwrap();
    assert!(shm_lib::now() >= second.at());
    assert!(second.at().since(first.at()) >= Duration::from_millis(50));
    assert!(second.waited() > Duration::ZERO && second.waited() <= begun.elapsed());
    assert_eq!(place.limit.stats().waited, 1);
}

#[tokio::test]
async fn a_hundred_tasks_leave_evenly() {
    let place = Place::new(1000, SECOND);
    // Time for all of them to come and stand in the line.
    place.limit.pause_for(SECOND).unwrap();
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let limit = place.limit.clone();
            tokio::spawn(async move {
                let admission = limit.acquire(1).await.unwrap();
                assert!(shm_lib::now() >= admission.at(), "used before its turn");
                admission.at()
            })
        })
        .collect();
    let mut turns = BTreeSet::new();
    for task in tasks {
        assert!(turns.insert(timeout(LONG, task).await.unwrap().unwrap()), "two have the same turn");
    }
    let turns: Vec<_> = turns.into_iter().collect();
    // A tick is under a nanosecond. On a machine that lets nobody run for a while a turn may pass unused.
    let gaps: Vec<_> = turns.windows(2).map(|pair| pair[1].since(pair[0]).as_nanos()).collect();
    assert!(gaps.iter().all(|&gap| gap >= 999_999), "{gaps:?}");
    let even = gaps.iter().filter(|&&gap| gap <= 1_000_001).count();
    assert!(even >= 80, "{even} of {}: {gaps:?}", gaps.len());
}

#[tokio::test]
async fn a_timeout_that_cannot_be_met_is_over_at_once_and_takes_nothing() {
    let place = Place::new(1, MINUTE);
    assert!(place.limit.acquire(1).timeout(SECOND).await.unwrap().is_admitted());
    let before = place.limit.peek().unwrap();
    let begun = Instant::now();
    let Outcome::Denied(denial) = place.limit.acquire(1).timeout(30 * SECOND).await.unwrap() else {
        panic!("admitted a minute early");
    };
    assert!(begun.elapsed() < 10 * SECOND);
    assert!(denial.retry_after() > Some(30 * SECOND) && denial.retry_after() <= Some(MINUTE));
    let after = place.limit.peek().unwrap();
    assert_eq!((after.next_at, after.queued), (before.next_at, before.queued));
    assert_eq!(place.limit.stats().denied, 1);
}

#[tokio::test]
async fn a_timeout_that_can_be_met_is() {
    let place = Place::new(20, SECOND);
    place.limit.acquire(1).await.unwrap();
    let outcome = timeout(LONG, place.limit.acquire(1).timeout(LONG)).await.unwrap().unwrap();
    assert!(outcome.is_admitted());
}

#[tokio::test]
async fn requests_of_units_wait_for_all_limits() {
    let tokens = Unit::named("tokens").unwrap();
    let per_second = Rate::new(1000, SECOND).unwrap();
    let limit = Limit::with_burst(per_second, 100).unwrap().counting(tokens);
    let place = Place::with(|b| b.burst(10).and(limit), 10, SECOND);
    let request = Cost::one().and(tokens, 100);
    let first = place.limit.acquire(request).await.unwrap();
    let mut second = timeout(LONG, place.limit.acquire(request)).await.unwrap().unwrap();
    assert!(second.at().since(first.at()) >= Duration::from_millis(100));
    // An estimate, to be settled as any other.
    place.limit.settle(&mut second, Cost::one().and(tokens, 50)).unwrap();
    let outcome = place.limit.acquire(request).timeout(Duration::ZERO).await.unwrap();
    assert!(!outcome.is_admitted());
}

#[tokio::test]
async fn mistakes_are_errors() {
    let place = Place::with(|b| b.burst(5), 5, SECOND);
    let kind = |result: shm_lib::Result<_>| result.map(|_: shm_lib::Admission| ()).unwrap_err().kind();
    assert_eq!(kind(place.limit.acquire(0).await), ErrorKind::InvalidInput);
    assert_eq!(kind(place.limit.acquire(6).await), ErrorKind::NeverAdmissible);
    let unknown = Cost::one().and(Unit::named("tokens").unwrap(), 1);
    assert_eq!(kind(place.limit.acquire(unknown).await), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn in_shadow_nobody_waits() {
    let place = Place::with(Builder::shadow, 1, MINUTE);
    assert!(place.limit.acquire(1).await.unwrap().shadowed().is_none());
    let would_wait = timeout(LONG, place.limit.acquire(1)).await.unwrap().unwrap();
    assert!(would_wait.shadowed().unwrap().retry_after() > Some(SECOND));
}
