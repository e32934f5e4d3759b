//! A future that is dropped while it waits leaves nothing behind.

use crate::{LONG, MINUTE, Place, SECOND, poll_once};
use shm_lib::Kind;
use shm_lib::limit::audit;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};
use tokio::time::timeout;

#[test]
fn the_last_turn_is_given_back() {
    for place in [Place::new(1, MINUTE), Place::with(|b| b.greedy(), 1, MINUTE)] {
        assert!(place.limit.try_acquire(1).unwrap().is_admitted());
        let before = place.limit.peek().unwrap().next_at;
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            let mut waiting = Box::pin(place.limit.acquire(1).into_future());
            assert!(poll_once(waiting.as_mut()).is_none());
            assert!(place.limit.peek().unwrap().next_at > before);
            drop(waiting);
        });
        let again = place.limit.reserve(1).unwrap();
        assert_eq!(again.at(), before, "the same instant again");
    }
}

#[tokio::test]
async fn a_turn_with_a_reservation_behind_it_is_for_the_next_one_who_waits() {
    let place = Place::new(1, 2 * SECOND);
    let used = place.limit.acquire(1).await.unwrap();
    let mut first = Box::pin(place.limit.acquire(1).into_future());
    assert!(poll_once(first.as_mut()).is_none());
    let reserved = place.limit.reserve(1).unwrap().commit().unwrap();
    drop(first);
    assert_eq!(reserved.at().since(used.at()), 4 * SECOND, "it comes behind the turn of the line");
    let next = timeout(LONG, place.limit.acquire(1)).await.unwrap().unwrap();
    assert_eq!(next.at().since(used.at()), 2 * SECOND);
}

#[tokio::test]
async fn a_tokio_timeout_gives_back() {
    let place = Place::new(1, MINUTE);
    place.limit.acquire(1).await.unwrap();
    let before = place.limit.peek().unwrap();
    timeout(Duration::from_millis(20), place.limit.acquire(1)).await.expect_err("a minute early");
    let after = place.limit.peek().unwrap();
    assert_eq!((after.next_at, after.queued), (before.next_at, before.queued));
}

#[tokio::test]
async fn no_permit_is_held_by_one_who_waits_for_its_turn() {
    let place = Place::with(|b| b.permits(1), 1, MINUTE);
    let held = || place.limit.inspect().unwrap().permits_held;
    drop(place.limit.acquire(1).await.unwrap());
    let mut waiting = Box::pin(place.limit.acquire(1).into_future());
    assert!(poll_once(waiting.as_mut()).is_none());
    assert_eq!(held(), 0);
    drop(waiting);
    assert!(!place.limit.acquire(1).timeout(SECOND).await.unwrap().is_admitted());
    assert_eq!(held(), 0, "a refusal holds nothing");
}

/// Tasks that are dropped at random moments; those that are not must keep the limit, and nothing may stay taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_drops() {
    let per = Duration::from_millis(200);
    for place in [
        Place::with(|b| b.burst(5).permits(4), 100, per),
        Place::with(|b| b.greedy().permits(4), 100, per),
        Place::with(|b| b.burst(5), 100, per),
    ] {
        let tasks: Vec<_> = (0..300u64)
            .map(|i| {
                let limit = place.limit.clone();
                let patience = Duration::from_micros(RandomState::new().hash_one(i) % 100_000);
                tokio::spawn(async move {
                    let admission = timeout(patience, limit.acquire(1)).await.ok()?.unwrap();
                    tokio::time::sleep(patience / 100).await;
                    Some(audit::Admission { at: admission.at(), tokens: 1 })
                })
            })
            .collect();
        let mut used = Vec::new();
        for task in tasks {
            used.extend(timeout(LONG, task).await.unwrap().unwrap());
        }
        let limit = place.limit.limit().unwrap();
        audit::check(limit, &mut used).unwrap();
        if limit.kind() == Kind::Greedy {
            assert!(used.windows(101).all(|window| window[100].at.since(window[0].at) >= per));
        }
        let seen = place.limit.inspect().unwrap();
        assert_eq!(seen.permits_held, 0);
        assert_eq!(seen.counts.admitted, used.len() as u64);

        // What was forfeited passes by the pace, and then it is as if nothing had happened.
        let begun = Instant::now();
        while place.limit.peek().unwrap().available < limit.burst() && begun.elapsed() < LONG {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let peek = place.limit.peek().unwrap();
        assert_eq!((peek.available, peek.used, peek.queued), (limit.burst(), 0, 0));
    }
}
