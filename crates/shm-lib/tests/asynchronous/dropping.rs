//! A future that is dropped while it waits leaves nothing behind.

use crate::{Fixture, LONG, MINUTE, SECOND, poll_once};
use shm_lib::Kind;
use shm_lib::limit::audit;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};
use tokio::time::timeout;

#[test]
fn a_dropped_future_gives_the_last_turn_back() {
    for fixture in [Fixture::new(1, MINUTE), Fixture::with(shm_lib::Builder::greedy, 1, MINUTE)] {
        assert!(fixture.limit.try_acquire(1).unwrap().is_admitted());
        let before = fixture.limit.status().unwrap().next_at;
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            let mut waiting = Box::pin(fixture.limit.acquire(1).into_future());
            assert!(poll_once(waiting.as_mut()).is_none());
            assert!(fixture.limit.status().unwrap().next_at > before);
            drop(waiting);
        });
        let again = fixture.limit.reserve(1).unwrap();
        assert_eq!(again.at(), before, "the dropped turn was not given back");
    }
}

#[tokio::test]
async fn a_dropped_turn_before_a_reservation_goes_to_the_next_waiter() {
    let fixture = Fixture::new(1, 2 * SECOND);
    let used = fixture.limit.acquire(1).await.unwrap();
    let mut first = Box::pin(fixture.limit.acquire(1).into_future());
    assert!(poll_once(first.as_mut()).is_none());
    let reserved = fixture.limit.reserve(1).unwrap().commit().unwrap();
    drop(first);
    assert_eq!(reserved.at().since(used.at()), 4 * SECOND, "it comes after the waiter's turn");
    let next = timeout(LONG, fixture.limit.acquire(1)).await.unwrap().unwrap();
    assert_eq!(next.at().since(used.at()), 2 * SECOND);
}

#[tokio::test]
async fn a_tokio_timeout_gives_the_turn_back() {
    let fixture = Fixture::new(1, MINUTE);
    fixture.limit.acquire(1).await.unwrap();
    let before = fixture.limit.status().unwrap();
    timeout(Duration::from_millis(20), fixture.limit.acquire(1)).await.expect_err("a minute early");
    let after = fixture.limit.status().unwrap();
    assert_eq!((after.next_at, after.queued), (before.next_at, before.queued));
}

#[tokio::test]
async fn a_waiter_for_a_turn_holds_no_permit() {
    let fixture = Fixture::with(|b| b.permits(1), 1, MINUTE);
    let held = || fixture.limit.inspect().unwrap().permits_held;
    drop(fixture.limit.acquire(1).await.unwrap());
    let mut waiting = Box::pin(fixture.limit.acquire(1).into_future());
    assert!(poll_once(waiting.as_mut()).is_none());
    assert_eq!(held(), 0);
    drop(waiting);
    assert!(!fixture.limit.acquire(1).timeout(SECOND).await.unwrap().is_admitted());
    assert_eq!(held(), 0, "a denied request holds no permit");
}

/// Tasks are dropped at random moments. The admitted ones must obey the limit, and nothing may stay charged or held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_drops_keep_the_limit_and_leave_nothing_behind() {
    let per = Duration::from_millis(200);
    for fixture in [
        Fixture::with(|b| b.burst(5).permits(4), 100, per),
        Fixture::with(|b| b.greedy().permits(4), 100, per),
        Fixture::with(|b| b.burst(5), 100, per),
    ] {
        let tasks: Vec<_> = (0..300u64)
            .map(|i| {
                let limit = fixture.limit.clone();
                let patience = Duration::from_micros(RandomState::new().hash_one(i) % 100_000);
                tokio::spawn(async move {
                    let admission = timeout(patience, limit.acquire(1)).await.ok()?.unwrap();
                    tokio::time::sleep(patience / 100).await;
                    Some(audit::Admission { at: admission.at(), calls: 1 })
                })
            })
            .collect();
        let mut used = Vec::new();
        for task in tasks {
            used.extend(timeout(LONG, task).await.unwrap().unwrap());
        }
        let limit = fixture.limit.limit().unwrap();
        audit::check(limit, &mut used).unwrap();
        if limit.kind() == Kind::Greedy {
            assert!(used.windows(101).all(|window| window[100].at.since(window[0].at) >= per));
        }
        let seen = fixture.limit.inspect().unwrap();
        assert_eq!(seen.permits_held, 0);
        assert_eq!(seen.counts.admitted, used.len() as u64);

        // Forfeited turns expire at the limit's rate; after that the limiter is as new.
        let begun = Instant::now();
        while fixture.limit.status().unwrap().available < limit.burst() && begun.elapsed() < LONG {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let status = fixture.limit.status().unwrap();
        assert_eq!((status.available, status.used, status.queued), (limit.burst(), 0, 0));
    }
}
