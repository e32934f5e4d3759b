//! What those who wait hear of changes.

use crate::{LONG, MINUTE, Place, SECOND};
use shm_lib::{ErrorKind, OnLost, RateLimit, Result};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// One who waits for a turn that is a minute away.
async fn one_who_waits(limit: &RateLimit) -> JoinHandle<Result<Duration>> {
    limit.acquire(1).await.unwrap();
    let waiting = limit.clone();
    let task = tokio::spawn(async move { waiting.acquire(1).await.map(|admission| admission.waited()) });
    while limit.peek().unwrap().queued == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    task
}

#[tokio::test]
async fn a_change_wakes() {
    let place = Place::new(1, MINUTE);
    let task = one_who_waits(&place.limit).await;
    let begun = Instant::now();
    place.limit.change(100, SECOND).unwrap();
    let waited = timeout(LONG, task).await.unwrap().unwrap().unwrap();
    assert!(begun.elapsed() < 10 * SECOND, "a turn a minute away, heard of after {:?}", begun.elapsed());
    assert!(waited > Duration::ZERO);
}

#[tokio::test]
async fn a_reset_wakes() {
    let place = Place::new(1, MINUTE);
    let task = one_who_waits(&place.limit).await;
    place.limit.reset().unwrap();
    timeout(LONG, task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_pause_holds_up_and_its_end_wakes() {
    let place = Place::new(100, SECOND);
    place.limit.pause_for(MINUTE).unwrap();
    let limit = place.limit.clone();
    let task = tokio::spawn(async move { limit.acquire(1).await.map(drop) });
    sleep(Duration::from_millis(150)).await;
    assert!(!task.is_finished());
    place.limit.resume().unwrap();
    timeout(LONG, task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn the_end_of_the_limiter_is_an_error() {
    let place = Place::new(1, MINUTE);
    let task = one_who_waits(&place.limit).await;
    place.limit.retire().unwrap();
    let error = timeout(LONG, task).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retired);
}

#[tokio::test]
async fn a_removed_file_is_an_error_for_who_wants_that() {
    let place = Place::with(|builder| builder.on_lost(OnLost::Error), 1, MINUTE);
    let task = one_who_waits(&place.limit).await;
    std::fs::remove_file(place.limit.path()).unwrap();
    let error = timeout(LONG, task).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Removed);
}

#[tokio::test]
async fn a_waiting_task_goes_over_to_the_limiter_that_has_the_name_next() {
    for by_rm in [false, true] {
        let place = Place::new(1, MINUTE);
        let task = one_who_waits(&place.limit).await;
        if by_rm {
            std::fs::remove_file(place.limit.path()).unwrap();
        } else {
            RateLimit::builder("place").directory(place.dir.path()).attach().unwrap().retire().unwrap();
        }
        timeout(LONG, task).await.unwrap().unwrap().unwrap();
        assert_eq!(place.limit.times_lost(), 1);
        assert!(!place.limit.try_acquire(1).unwrap().is_admitted(), "the task took what the new one had");
    }
}

#[tokio::test]
async fn a_change_to_shadow_lets_go() {
    let place = Place::new(1, MINUTE);
    let task = one_who_waits(&place.limit).await;
    let shadow = place.limit.policy().unwrap().in_shadow(true);
    place.limit.change_policy(shadow).unwrap();
    timeout(LONG, task).await.unwrap().unwrap().unwrap();
}
