//! A limiter with permits and no rate: in a file that was made for it, and in one that was made for several limits.

use shm_lib::{Builder, Cost, DeniedBy, ErrorKind, Limit, Nanos, Policy, Rate, RateLimit, Unit};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SECOND: Duration = Duration::from_secs(1);

struct Place {
    _dir: TempDir,
    limit: RateLimit,
}

fn place(open: impl FnOnce(Builder) -> shm_lib::Result<RateLimit>) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(RateLimit::builder("place").directory(dir.path())).unwrap();
    Place { _dir: dir, limit }
}

fn bucket(rate: &str) -> Limit {
    Limit::patient(rate.parse().unwrap())
}

/// The state of the one is a word, that of the other a record.
fn both(n: u32) -> [Place; 2] {
    let several = Policy::new(&[bucket("1/h"), bucket("1/h")]).unwrap();
    let changed = place(|b| b.open_policy(several));
    changed.limit.change_policy(Policy::of_permits(n).unwrap()).unwrap();
    [place(|b| b.permits(n).open_permits()), changed]
}

#[test]
fn at_most_so_many_at_a_time_and_any_number_in_a_row() {
    for place in both(3) {
        let limit = &place.limit;
        assert_eq!(limit.policy().unwrap(), Policy::of_permits(3).unwrap());
        for _ in 0..100 {
            assert!(limit.try_acquire(1_000_000).unwrap().is_admitted());
        }
        let held: Vec<_> = (0..3).map(|_| limit.wait().unwrap()).collect();
        let denied = limit.try_acquire(1).unwrap();
        assert_eq!(denied.denied().unwrap().by(), DeniedBy::Permits);
        assert!(!limit.acquire(1).timeout(Duration::from_millis(20)).wait().unwrap().is_admitted());
        drop(held);
        assert!(limit.try_acquire(5).unwrap().is_admitted());
        let counts = limit.stats();
        assert_eq!((counts.admitted, counts.denied), (104, 2));
    }
}

#[test]
fn a_waiter_gets_the_next_permit() {
    let place = place(|b| b.permits(2).open_permits());
    let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let admission = place.limit.wait().unwrap();
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_micros(200));
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(admission);
                }
            });
        }
    });
    assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    assert_eq!(place.limit.stats().admitted, 120);
}

#[tokio::test]
async fn a_future_waits_for_a_permit() {
    for place in both(1) {
        let first = place.limit.acquire(1).await.unwrap();
        let refused = place.limit.acquire(1).timeout(Duration::from_millis(20)).await.unwrap();
        assert!(!refused.is_admitted());
        let limit = place.limit.clone();
        let task = tokio::spawn(async move { limit.acquire(1).await.map(|admission| admission.waited()) });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!task.is_finished());
        drop(first);
        assert!(task.await.unwrap().unwrap() > Duration::ZERO);
    }
}

#[test]
fn there_are_no_turns_to_reserve() {
    for place in both(2) {
        let limit = &place.limit;
        for error in [limit.reserve(1).map(drop), limit.schedule(1, 3).map(drop)] {
            let error = error.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("no turns to reserve"), "{error}");
        }
        assert_eq!(limit.limit().unwrap_err().kind(), ErrorKind::InvalidInput);
        limit.change(1_000, SECOND).unwrap();
        assert!(limit.reserve(1).unwrap().cancel());
        assert_eq!(limit.limit().unwrap(), bucket("1000/s"));
    }
}

#[test]
fn settling_and_charging_change_nothing() {
    for place in both(2) {
        let limit = &place.limit;
        for actual in [0, 1_000] {
            let mut admission = limit.acquire(10).wait().unwrap();
            let settled = limit.settle(&mut admission, actual).unwrap();
            assert!(settled.is_nothing(), "{settled:?}");
            assert!(limit.settle(&mut admission, actual).is_err(), "it was settled before");
        }
        limit.charge(u64::MAX).unwrap();
        assert!(limit.try_acquire(1).unwrap().is_admitted());
        let tokens = Cost::one().and(Unit::named("tokens").unwrap(), 5);
        for error in [limit.try_acquire(tokens).map(drop), limit.charge(tokens)] {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput, "no limit counts tokens");
        }
    }
}

#[test]
fn a_pause_admits_nothing_until_it_is_over() {
    for place in both(2) {
        let limit = &place.limit;
        assert_eq!(limit.peek().unwrap().available, u64::MAX);
        limit.pause_for(Duration::from_millis(80)).unwrap();
        let asked = Instant::now();
        let denied = limit.try_acquire(1).unwrap();
        assert!(denied.retry_after().unwrap() > Duration::ZERO);
        let peek = limit.peek().unwrap();
        assert_eq!((peek.available, peek.limits.len()), (0, 0));
        assert!(peek.next_in > Duration::ZERO);
        // Also a debt does not prolong it.
        limit.charge(9).unwrap();
        assert!(!limit.acquire(1).timeout(Duration::from_millis(1)).wait().unwrap().is_admitted());
        let admission = limit.wait().unwrap();
        assert!(admission.waited() >= Duration::from_millis(10) && asked.elapsed() < 10 * SECOND);
        assert!(Nanos::now() >= admission.at());

        limit.pause_for(60 * SECOND).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| limit.wait().unwrap().waited());
            std::thread::sleep(Duration::from_millis(30));
            limit.resume().unwrap();
            assert!(waiter.join().unwrap() < 30 * SECOND);
        });
        assert!(limit.try_acquire(1).unwrap().is_admitted(), "nothing of the pause is left");
    }
}

#[test]
fn a_reset_keeps_what_is_held() {
    for place in both(1) {
        let held = place.limit.wait().unwrap();
        place.limit.reset().unwrap();
        assert!(!place.limit.try_acquire(1).unwrap().is_admitted());
        drop(held);
        assert!(place.limit.try_acquire(1).unwrap().is_admitted());
    }
}

#[test]
fn in_shadow_no_request_is_denied() {
    let place = place(|b| b.permits(1).shadow().open_permits());
    let limit = &place.limit;
    assert!(limit.policy().unwrap().is_shadow());
    let held = limit.try_acquire(1).unwrap();
    let shadowed = limit.try_acquire(1).unwrap().admission().unwrap();
    assert_eq!(shadowed.shadowed().unwrap().by(), DeniedBy::Permits);
    drop((held, shadowed));
    limit.pause_for(60 * SECOND).unwrap();
    let shadowed = limit.wait().unwrap().shadowed().unwrap();
    assert!(matches!(shadowed.by(), DeniedBy::Paused { .. }) && shadowed.retry_after() > Some(SECOND));
    limit.update_policy(|policy| Ok(policy.in_shadow(false))).unwrap();
    assert!(!limit.try_acquire(1).unwrap().is_admitted());
}

#[test]
fn a_rate_comes_and_goes() {
    let hourly = || Limit::with_burst("2/h".parse().unwrap(), 2).unwrap();
    for place in both(4) {
        let limit = &place.limit;
        for _ in 0..3 {
            let limited = Policy::from(hourly()).with_permits(4).unwrap();
            limit.change_policy(limited).unwrap();
            assert_eq!(limit.peek().unwrap().limits[0].used, 0, "a limit that comes starts unused");
            assert!(limit.try_acquire(2).unwrap().is_admitted());
            assert!(!limit.try_acquire(1).unwrap().is_admitted());
            limit.change_policy(limited.without_limits().unwrap()).unwrap();
            assert!(limit.try_acquire(50).unwrap().is_admitted());
        }
        // A pause outlasts both changes.
        limit.pause_for(60 * SECOND).unwrap();
        limit.change_policy(hourly()).unwrap();
        assert!(limit.try_acquire(1).unwrap().retry_after().unwrap() > SECOND);
        limit.change_policy(Policy::of_permits(2).unwrap()).unwrap();
        assert!(limit.try_acquire(1).unwrap().retry_after().unwrap() > SECOND);
    }
}

#[test]
fn a_waiter_hears_of_a_rate_and_of_its_end() {
    let place = place(|b| b.permits(1).open(1, 3_600 * SECOND));
    let limit = &place.limit;
    drop(limit.wait().unwrap());
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| limit.wait().unwrap().waited());
        std::thread::sleep(Duration::from_millis(30));
        limit.change_policy(Policy::of_permits(1).unwrap()).unwrap();
        assert!(waiter.join().unwrap() < 60 * SECOND);
    });
}

#[test]
fn a_file_for_permits_has_room_for_one_bucket() {
    let place = place(|b| b.permits(2).open_permits());
    let greedy = Limit::greedy("5/s".parse().unwrap()).unwrap();
    for refused in [Policy::new(&[bucket("1/s"), bucket("2/s")]).unwrap(), greedy.into()] {
        assert_eq!(place.limit.change_policy(refused).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    place.limit.change_policy(bucket("1/s")).unwrap();
    assert_eq!(place.limit.policy().unwrap().permits(), None);
}

/// Also in files that were made without permits, and handles that have decided without them hear of it.
#[test]
fn there_is_always_room_for_64_permits() {
    for policy in
        [bucket("1000000/s").into(), Policy::new(&[bucket("1000000/s"), bucket("900000/s")]).unwrap()]
    {
        let place = place(|b| b.open_policy(policy));
        let limit = &place.limit;
        limit.wait().unwrap();
        assert!(limit.change_policy(policy.with_permits(65).unwrap()).is_err());
        limit.change_policy(policy.with_permits(64).unwrap()).unwrap();
        limit.change_policy(policy.with_permits(2).unwrap()).unwrap();
        let held = [limit.wait().unwrap(), limit.wait().unwrap()];
        std::thread::sleep(Duration::from_millis(1));
        assert!(!limit.try_acquire(1).unwrap().is_admitted());
        limit.change_policy(policy).unwrap();
        std::thread::sleep(Duration::from_millis(1));
        assert!(limit.try_acquire(1).unwrap().is_admitted());
        drop(held);
    }
}

#[test]
fn the_end_is_an_error() {
    for place in both(1) {
        place.limit.retire().unwrap();
        assert_eq!(place.limit.try_acquire(1).unwrap_err().kind(), ErrorKind::Retired);
        assert_eq!(place.limit.wait().unwrap_err().kind(), ErrorKind::Retired);
    }
}

#[test]
fn a_builder_for_permits_refuses_what_belongs_to_a_rate() {
    let dir = tempfile::tempdir().unwrap();
    let builder = || RateLimit::builder("x").directory(dir.path());
    for refused in [
        builder(),
        builder().permits(0),
        builder().permits(2).burst(3),
        builder().permits(2).greedy(),
        builder().permits(2).and(bucket("5/s")),
    ] {
        assert_eq!(refused.open_permits().unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    builder().permits(2).open_permits().unwrap();
    assert_eq!(builder().permits(3).open_permits().unwrap_err().kind(), ErrorKind::Mismatch);
    assert_eq!(builder().open(5, SECOND).unwrap_err().kind(), ErrorKind::Mismatch);
}

#[test]
fn max_waiters_is_kept_in_the_file() {
    let place = place(|b| b.max_waiters(7).open_rate(Rate::per_second(5)?));
    let limit = &place.limit;
    assert_eq!(limit.policy().unwrap().max_waiters(), Some(7));
    limit.change(9, SECOND).unwrap();
    limit.reset().unwrap();
    assert_eq!(limit.inspect().unwrap().policy.to_string(), "9/s evenly spaced, at most 7 waiting");
    for n in [0, u32::MAX] {
        limit.update_policy(|policy| Ok(policy.with_max_waiters(n))).unwrap();
        assert_eq!(limit.policy().unwrap().max_waiters(), Some(n));
    }
    limit.update_policy(|policy| Ok(policy.without_max_waiters())).unwrap();
    assert_eq!(limit.policy().unwrap().max_waiters(), None);
}

#[test]
fn a_builder_carries_its_settings_to_every_kind_of_open() {
    let place = place(|b| b.max_waiters(3).permits(2).shadow().open_permits());
    let policy = place.limit.policy().unwrap();
    assert_eq!((policy.max_waiters(), policy.permits(), policy.is_shadow()), (Some(3), Some(2), true));
}
