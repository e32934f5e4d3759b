//! Changes, pauses, resets and the loss of the limiter wake waiting tasks.

use crate::{Fixture, LONG, MINUTE, SECOND};
use shm_lib::{ErrorKind, OnLost, RateLimit, Result};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Starts a task that waits for a turn one period away.
async fn start_waiter(limit: &RateLimit) -> JoinHandle<Result<Duration>> {
    limit.acquire(1).await.unwrap();
    let waiting = limit.clone();
    let task = tokio::spawn(async move { waiting.acquire(1).await.map(|admission| admission.waited()) });
    while limit.status().unwrap().queued == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    task
}

#[tokio::test]
async fn a_change_wakes_waiters() {
    let fixture = Fixture::new(1, MINUTE);
    let task = start_waiter(&fixture.limit).await;
    let begun = Instant::now();
    fixture.limit.change(100, SECOND).unwrap();
    let waited = timeout(LONG, task).await.unwrap().unwrap().unwrap();
    assert!(begun.elapsed() < 10 * SECOND, "the waiter woke after {:?}", begun.elapsed());
    assert!(waited > Duration::ZERO);
}

#[tokio::test]
async fn a_reset_wakes_waiters() {
    let fixture = Fixture::new(1, MINUTE);
    let task = start_waiter(&fixture.limit).await;
    fixture.limit.reset().unwrap();
    timeout(LONG, task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_pause_holds_waiters_and_resume_wakes_them() {
    let fixture = Fixture::new(100, SECOND);
    fixture.limit.pause_for(MINUTE).unwrap();
    let limit = fixture.limit.clone();
    let task = tokio::spawn(async move { limit.acquire(1).await.map(drop) });
    sleep(Duration::from_millis(150)).await;
    assert!(!task.is_finished());
    fixture.limit.resume().unwrap();
    timeout(LONG, task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_waiter_of_a_retired_limiter_gets_an_error() {
    let fixture = Fixture::new(1, MINUTE);
    let task = start_waiter(&fixture.limit).await;
    fixture.limit.retire().unwrap();
    let error = timeout(LONG, task).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retired);
}

#[tokio::test]
async fn with_on_lost_error_a_removed_file_is_an_error() {
    let fixture = Fixture::with(|builder| builder.on_lost(OnLost::Error), 1, MINUTE);
    let task = start_waiter(&fixture.limit).await;
    std::fs::remove_file(fixture.limit.path()).unwrap();
    let error = timeout(LONG, task).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Removed);
}

#[tokio::test]
async fn a_waiting_task_moves_to_the_new_limiter() {
    for by_rm in [false, true] {
        let fixture = Fixture::new(1, MINUTE);
        let task = start_waiter(&fixture.limit).await;
        if by_rm {
            std::fs::remove_file(fixture.limit.path()).unwrap();
        } else {
            RateLimit::builder("fixture").directory(fixture.dir.path()).attach().unwrap().retire().unwrap();
        }
        timeout(LONG, task).await.unwrap().unwrap().unwrap();
        assert_eq!(fixture.limit.times_lost(), 1);
        assert!(
            !fixture.limit.try_acquire(1).unwrap().is_admitted(),
            "the task took the new limiter's only call"
        );
    }
}

#[tokio::test]
async fn shadow_mode_releases_waiters() {
    let fixture = Fixture::new(1, MINUTE);
    let task = start_waiter(&fixture.limit).await;
    let shadow = fixture.limit.policy().unwrap().in_shadow(true);
    fixture.limit.change_policy(shadow).unwrap();
    timeout(LONG, task).await.unwrap().unwrap().unwrap();
}
