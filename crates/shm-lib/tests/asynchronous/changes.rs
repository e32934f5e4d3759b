//! Changes as futures: they reach every caller, and never block the runtime.

use crate::{Fixture, LONG, MINUTE, SECOND, poll_once};
use shm_lib::{ErrorKind, Limit, Rate, RateLimit};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// The offset of the byte that a changer locks in the limiter's file: see docs/format.md.
const CONTROL: i64 = (1 << 40) - 1;

/// Holds the change lock, as a process does that is stopped during a change.
fn hold_change_lock(limit: &RateLimit) -> File {
    let file = File::options().read(true).write(true).open(limit.path()).unwrap();
    // SAFETY: a struct of numbers, for which zeros are valid.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    (lock.l_type, lock.l_start, lock.l_len) = (libc::F_WRLCK as i16, CONTROL, 1);
    // SAFETY: an open descriptor, and a lock that outlives the call.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    file
}

#[tokio::test]
async fn each_does_what_its_blocking_method_does() {
    let fixture = Fixture::new(1, MINUTE);
    let limit = &fixture.limit;
    limit.acquire(1).await.unwrap();
    limit.reset_async().await.unwrap();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    limit.change_async(1_000, SECOND).await.unwrap();
    limit.pause_for_async(MINUTE).await.unwrap();
    assert!(!limit.try_acquire(1).unwrap().is_admitted());
    limit.resume_async().await.unwrap();
    limit.acquire(1).await.unwrap();
    limit.change_policy_async(Limit::with_burst(Rate::per_second(5).unwrap(), 7).unwrap()).await.unwrap();
    limit.update_policy_async(|policy| policy.with_permits(3)).await.unwrap();
    let policy = limit.policy().unwrap();
    assert_eq!((policy.first().unwrap().burst(), policy.permits()), (7, Some(3)));
    let error = limit.change_async(0, SECOND).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    limit.retire_async().await.unwrap();
    assert_eq!(limit.reset_async().await.unwrap_err().kind(), ErrorKind::Retired);
}

#[tokio::test]
async fn a_change_that_waits_for_the_lock_blocks_no_other_task() {
    let fixture = Fixture::new(1, MINUTE);
    let held = hold_change_lock(&fixture.limit);
    let limit = fixture.limit.clone();
    let change = tokio::spawn(async move { limit.change_async(1_000, SECOND).await });
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    // This runtime has a single thread.
    while begun.elapsed() < Duration::from_millis(300) {
        let before = Instant::now();
        sleep(Duration::from_millis(5)).await;
        slowest = slowest.max(before.elapsed());
    }
    assert!(!change.is_finished(), "the change did not wait for the lock");
    assert!(slowest < SECOND, "the runtime was blocked for {slowest:?}");
    drop(held);
    timeout(LONG, change).await.unwrap().unwrap().unwrap();
    assert_eq!(fixture.limit.limit().unwrap().rate(), Rate::per_second(1_000).unwrap());
}

#[tokio::test]
async fn a_change_dropped_after_its_first_poll_is_completed() {
    let fixture = Fixture::new(1, MINUTE);
    drop(fixture.limit.change_async(1_000, SECOND));
    sleep(Duration::from_millis(50)).await;
    assert_eq!(fixture.limit.limit().unwrap().rate(), Rate::per_minute(1).unwrap());
    {
        let change = pin!(fixture.limit.change_async(1_000, SECOND));
        assert!(poll_once(change).is_none());
    }
    let end = Instant::now() + LONG;
    while fixture.limit.limit().unwrap().rate() != Rate::per_second(1_000).unwrap() {
        assert!(Instant::now() < end, "the change was dropped with its future");
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
#[should_panic(expected = "of the closure")]
async fn a_panic_in_the_closure_reaches_the_task() {
    let fixture = Fixture::new(1, MINUTE);
    let _ = fixture.limit.update_policy_async(|_| panic!("of the closure")).await;
}
