//! A limiter with permits and no rate, in a file created for it and in a file created for several limits.

use shm_lib::{Builder, Cost, DeniedBy, ErrorKind, Limit, Nanos, Policy, Rate, RateLimit, Unit};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SECOND: Duration = Duration::from_secs(1);

struct Fixture {
    _dir: TempDir,
    limit: RateLimit,
}

fn fixture(open: impl FnOnce(Builder) -> shm_lib::Result<RateLimit>) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(RateLimit::builder("fixture").directory(dir.path())).unwrap();
    Fixture { _dir: dir, limit }
}

fn bucket(rate: &str) -> Limit {
    Limit::patient(rate.parse().unwrap())
}

/// The same limiter twice: the state of the first is a single word, that of the second a record.
fn both_layouts(n: u32) -> [Fixture; 2] {
    let several = Policy::new(&[bucket("1/h"), bucket("1/h")]).unwrap();
    let changed = fixture(|b| b.open_policy(several));
    changed.limit.change_policy(Policy::of_permits(n).unwrap()).unwrap();
    [fixture(|b| b.permits(n).open_permits()), changed]
}

#[test]
fn permits_bound_concurrency_but_not_the_rate() {
    for fixture in both_layouts(3) {
        let limit = &fixture.limit;
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
    let fixture = fixture(|b| b.permits(2).open_permits());
    let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let admission = fixture.limit.wait().unwrap();
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_micros(200));
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(admission);
                }
            });
        }
    });
    assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    assert_eq!(fixture.limit.stats().admitted, 120);
}

#[tokio::test]
async fn a_future_waits_for_a_permit() {
    for fixture in both_layouts(1) {
        let first = fixture.limit.acquire(1).await.unwrap();
        let refused = fixture.limit.acquire(1).timeout(Duration::from_millis(20)).await.unwrap();
        assert!(!refused.is_admitted());
        let limit = fixture.limit.clone();
        let task = tokio::spawn(async move { limit.acquire(1).await.map(|admission| admission.waited()) });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!task.is_finished());
        drop(first);
        assert!(task.await.unwrap().unwrap() > Duration::ZERO);
    }
}

#[test]
fn reserve_and_schedule_need_a_limit() {
    for fixture in both_layouts(2) {
        let limit = &fixture.limit;
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
    for fixture in both_layouts(2) {
        let limit = &fixture.limit;
        for actual in [0, 1_000] {
            let mut admission = limit.acquire(10).wait().unwrap();
            let settled = limit.settle(&mut admission, actual).unwrap();
            assert!(settled.is_empty(), "{settled:?}");
            assert!(limit.settle(&mut admission, actual).is_err(), "it is already settled");
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
    for fixture in both_layouts(2) {
        let limit = &fixture.limit;
        assert_eq!(limit.status().unwrap().available, u64::MAX);
        limit.pause_for(Duration::from_millis(80)).unwrap();
        let asked = Instant::now();
        let denied = limit.try_acquire(1).unwrap();
        assert!(denied.retry_after().unwrap() > Duration::ZERO);
        let status = limit.status().unwrap();
        assert_eq!((status.available, status.limits.len()), (0, 0));
        assert!(status.next_in > Duration::ZERO);
        // A debt does not prolong the pause.
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
        assert!(limit.try_acquire(1).unwrap().is_admitted(), "the pause has ended");
    }
}

#[test]
fn a_reset_keeps_held_permits() {
    for fixture in both_layouts(1) {
        let held = fixture.limit.wait().unwrap();
        fixture.limit.reset().unwrap();
        assert!(!fixture.limit.try_acquire(1).unwrap().is_admitted());
        drop(held);
        assert!(fixture.limit.try_acquire(1).unwrap().is_admitted());
    }
}

#[test]
fn in_shadow_mode_no_request_is_denied() {
    let fixture = fixture(|b| b.permits(1).shadow().open_permits());
    let limit = &fixture.limit;
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
fn a_rate_can_be_added_and_removed() {
    let hourly = || Limit::with_burst("2/h".parse().unwrap(), 2).unwrap();
    for fixture in both_layouts(4) {
        let limit = &fixture.limit;
        for _ in 0..3 {
            let limited = Policy::from(hourly()).with_permits(4).unwrap();
            limit.change_policy(limited).unwrap();
            assert_eq!(limit.status().unwrap().limits[0].used, 0, "an added limit starts unused");
            assert!(limit.try_acquire(2).unwrap().is_admitted());
            assert!(!limit.try_acquire(1).unwrap().is_admitted());
            limit.change_policy(limited.without_limits().unwrap()).unwrap();
            assert!(limit.try_acquire(50).unwrap().is_admitted());
        }
        // A pause outlasts both_layouts changes.
        limit.pause_for(60 * SECOND).unwrap();
        limit.change_policy(hourly()).unwrap();
        assert!(limit.try_acquire(1).unwrap().retry_after().unwrap() > SECOND);
        limit.change_policy(Policy::of_permits(2).unwrap()).unwrap();
        assert!(limit.try_acquire(1).unwrap().retry_after().unwrap() > SECOND);
    }
}

#[test]
fn a_waiter_wakes_when_the_rate_is_removed() {
    let fixture = fixture(|b| b.permits(1).open(1, 3_600 * SECOND));
    let limit = &fixture.limit;
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
    let fixture = fixture(|b| b.permits(2).open_permits());
    let greedy = Limit::greedy("5/s".parse().unwrap()).unwrap();
    for refused in [Policy::new(&[bucket("1/s"), bucket("2/s")]).unwrap(), greedy.into()] {
        assert_eq!(fixture.limit.change_policy(refused).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    fixture.limit.change_policy(bucket("1/s")).unwrap();
    assert_eq!(fixture.limit.policy().unwrap().permits(), None);
}

/// Even in files created without permits. Handles that have made decisions without permits notice the change.
#[test]
fn there_is_always_room_for_64_permits() {
    for policy in
        [bucket("1000000/s").into(), Policy::new(&[bucket("1000000/s"), bucket("900000/s")]).unwrap()]
    {
        let fixture = fixture(|b| b.open_policy(policy));
        let limit = &fixture.limit;
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
fn a_retired_limiter_returns_an_error() {
    for fixture in both_layouts(1) {
        fixture.limit.retire().unwrap();
        assert_eq!(fixture.limit.try_acquire(1).unwrap_err().kind(), ErrorKind::Retired);
        assert_eq!(fixture.limit.wait().unwrap_err().kind(), ErrorKind::Retired);
    }
}

#[test]
fn open_permits_refuses_settings_of_a_rate() {
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
    let fixture = fixture(|b| b.max_waiters(7).open_rate(Rate::per_second(5)?));
    let limit = &fixture.limit;
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
    let fixture = fixture(|b| b.max_waiters(3).permits(2).shadow().open_permits());
    let policy = fixture.limit.policy().unwrap();
    assert_eq!((policy.max_waiters(), policy.permits(), policy.is_shadow()), (Some(3), Some(2), true));
}
