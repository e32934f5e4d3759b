//! Waiting for one of so many permits.

use crate::{LONG, Place, SECOND};
use shm_lib::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// As good as no limit on the rate.
fn with_permits(n: u32) -> Place {
    Place::with(|b| b.burst(1_000_000).permits(n), 1_000_000, SECOND)
}

#[tokio::test]
async fn one_is_held_until_the_admission_is_dropped() {
    let place = with_permits(1);
    let first = place.limit.acquire(1).await.unwrap();
    let limit = place.limit.clone();
    let task = tokio::spawn(async move { limit.acquire(1).await.map(|admission| admission.waited()) });
    sleep(Duration::from_millis(30)).await;
    assert!(!task.is_finished());
    drop(first);
    assert!(timeout(LONG, task).await.unwrap().unwrap().unwrap() > Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_more_at_a_time() {
    let place = with_permits(3);
    let (inside, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let tasks: Vec<_> = (0..60)
        .map(|_| {
            let (limit, inside, most) = (place.limit.clone(), Arc::clone(&inside), Arc::clone(&most));
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
    assert_eq!(place.limit.inspect().unwrap().permits_held, 0);
}

#[tokio::test]
async fn a_timeout_ends_the_wait_for_one() {
    let place = with_permits(1);
    let _held = place.limit.acquire(1).await.unwrap();
    let before = place.limit.peek().unwrap();
    let begun = Instant::now();
    let outcome = place.limit.acquire(1).timeout(Duration::from_millis(80)).await.unwrap();
    assert!(!outcome.is_admitted());
    assert!(begun.elapsed() >= Duration::from_millis(80));
    // The budget fills up all the time, so no token may be missing, and there may be more.
    assert!(place.limit.peek().unwrap().used <= before.used);
}

#[tokio::test]
async fn the_end_of_the_limiter_is_heard() {
    let place = with_permits(1);
    let _held = place.limit.acquire(1).await.unwrap();
    let limit = place.limit.clone();
    let task = tokio::spawn(async move { limit.acquire(1).await.map(drop) });
    sleep(Duration::from_millis(20)).await;
    place.limit.retire().unwrap();
    let kind = timeout(LONG, task).await.unwrap().unwrap().unwrap_err().kind();
    assert!(matches!(kind, ErrorKind::Retired | ErrorKind::Removed), "{kind:?}");
}
