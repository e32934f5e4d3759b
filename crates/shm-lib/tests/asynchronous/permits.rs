//! Waiting for a permit.

use crate::{Fixture, LONG, SECOND};
use shm_lib::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// A limiter whose rate is no constraint.
fn with_permits(n: u32) -> Fixture {
    Fixture::with(|b| b.burst(1_000_000).permits(n), 1_000_000, SECOND)
}

#[tokio::test]
async fn an_admission_holds_its_permit_until_it_is_dropped() {
    let fixture = with_permits(1);
    let first = fixture.limit.acquire(1).await.unwrap();
    let limit = fixture.limit.clone();
    let task = tokio::spawn(async move { limit.acquire(1).await.map(|admission| admission.waited()) });
    sleep(Duration::from_millis(30)).await;
    assert!(!task.is_finished());
    drop(first);
    assert!(timeout(LONG, task).await.unwrap().unwrap().unwrap() > Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrency_never_exceeds_the_permits() {
    let fixture = with_permits(3);
    let (inside, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let tasks: Vec<_> = (0..60)
        .map(|_| {
            let (limit, inside, most) = (fixture.limit.clone(), Arc::clone(&inside), Arc::clone(&most));
            tokio::spawn(async move {
                let admission = limit.acquire(1).await.unwrap();
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(Duration::from_millis(2)).await;
                inside.fetch_sub(1, Ordering::SeqCst);
                drop(admission);
            })
        })
        .collect();
    for task in tasks {
        timeout(LONG, task).await.unwrap().unwrap();
    }
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
    assert_eq!(fixture.limit.inspect().unwrap().permits_held, 0);
}

#[tokio::test]
async fn a_timeout_ends_the_wait_for_a_permit() {
    let fixture = with_permits(1);
    let _held = fixture.limit.acquire(1).await.unwrap();
    let before = fixture.limit.status().unwrap();
    let begun = Instant::now();
    let outcome = fixture.limit.acquire(1).timeout(Duration::from_millis(80)).await.unwrap();
    assert!(!outcome.is_admitted());
    assert!(begun.elapsed() >= Duration::from_millis(80));
    // The bucket refills meanwhile, so usage may have fallen, but it must not have risen.
    assert!(fixture.limit.status().unwrap().used <= before.used);
}

#[tokio::test]
async fn a_waiter_for_a_permit_gets_an_error_when_the_limiter_is_retired() {
    let fixture = with_permits(1);
    let _held = fixture.limit.acquire(1).await.unwrap();
    let limit = fixture.limit.clone();
    let task = tokio::spawn(async move { limit.acquire(1).await.map(drop) });
    sleep(Duration::from_millis(20)).await;
    fixture.limit.retire().unwrap();
    let kind = timeout(LONG, task).await.unwrap().unwrap().unwrap_err().kind();
    assert!(matches!(kind, ErrorKind::Retired | ErrorKind::Removed), "{kind:?}");
}
