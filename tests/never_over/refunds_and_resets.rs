//! What a limiter refunds, charges and forgets, by values.

use harness::{Arena, shared_dir};
use nix::time::{ClockId, clock_gettime};
use shm_core::{CallerWaker, Demand, Directory, Limiter, Name, WaitStep, Waiter};
use shm_lib::{Cost, ErrorKind, Nanos, OnLost, Policy, RateLimit, Start, Unit};
use std::sync::Arc;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// A bucket and a record of the same.
fn both(max: u64, per: Duration, burst: u64) -> [(tempfile::TempDir, RateLimit); 2] {
    let limit = shm_lib::Limit::with_burst(shm_lib::Rate::new(max, per).unwrap(), burst).unwrap();
    [Policy::from(limit), Policy::new(&[limit, limit]).unwrap()].map(|policy| {
        let dir = shared_dir();
        let limit = RateLimit::builder("x").directory(dir.path()).open_policy(policy).unwrap();
        (dir, limit)
    })
}

#[test]
fn unused_calls_are_refunded_to_the_tick() {
    for (_dir, limit) in both(5, MINUTE, 5) {
        for round in 0..20 {
            let mut admission =
                limit.try_acquire(1).unwrap().admission().unwrap_or_else(|| panic!("round {round}"));
            let settled = limit.settle(&mut admission, 0).unwrap();
            let given = settled.given_back(Unit::CALLS);
            assert!(given > 0.9 && given <= 1.0, "{given} of a call");
            assert!(!settled.is_empty());
        }
        assert_eq!(limit.status().unwrap().available, 5);
    }
}

#[test]
fn a_settlement_reports_its_refund_and_its_charge() {
    for (_dir, limit) in both(10, YEAR, 10) {
        let mut admission = limit.try_acquire(4).unwrap().admission().unwrap();
        let settled = limit.settle(&mut admission, 4).unwrap();
        assert!(settled.is_empty());
        let mut admission = limit.try_acquire(3).unwrap().admission().unwrap();
        let settled = limit.settle(&mut admission, 5).unwrap();
        assert_eq!((settled.given_back(Unit::CALLS), settled.charged(Unit::CALLS)), (0.0, 2));
        assert_eq!(limit.status().unwrap().used, 9);
        let mut admission = limit.try_acquire(1).unwrap().admission().unwrap();
        limit.reset().unwrap();
        let settled = limit.settle(&mut admission, 0).unwrap();
        assert!(settled.is_empty(), "it was taken before the reset: {settled:?}");
    }
}

#[test]
fn a_debt_of_any_size_is_charged_in_one_step() {
    let record = "bucket:1000/s+fixed:1000/s+greedy:1000/s+sliding:1000/s";
    for (policy, limits) in [("bucket:1000/s", 1u32), (record, 4)] {
        let arena = Arena::with_policy(policy, 0);
        let limit = arena.open();
        let used = || -> Duration { clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into() };
        let before = used();
        limit.charge(10_000_000).unwrap();
        let took = used() - before;
        assert!(took < Duration::from_millis(100), "{policy}: {took:?} of a processor");
        // A sliding counter with anything in the window before admits one less in each.
        let wait = limit.try_acquire(1).unwrap().retry_after().unwrap().as_secs();
        assert!((9_998..=10_020).contains(&wait), "{limits} limits: a debt of 10,000 s delays by {wait} s");
        // More than a year of it is refused, and nothing is charged.
        let queued = limit.status().unwrap().next_at;
        for amount in [u64::MAX, u64::MAX / 2, 40_000_000_000] {
            let error = limit.charge(amount).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooFar, "{error}");
        }
        assert_eq!(limit.status().unwrap().next_at, queued);
    }
}

#[test]
fn a_reset_after_an_ended_pause_frees_everything() {
    for (_dir, limit) in both(100, YEAR, 100) {
        limit.pause_for(Duration::from_millis(30)).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        limit.reset().unwrap();
        assert_eq!(limit.status().unwrap().available, 100);
        assert!(limit.try_acquire(100).unwrap().is_admitted());
    }
}

#[test]
fn a_pause_of_zero_changes_nothing() {
    for (_dir, limit) in both(100, YEAR, 100) {
        limit.pause_for(Duration::ZERO).unwrap();
        assert_eq!(limit.inspect().unwrap().changes, 0);
        assert_eq!(limit.status().unwrap().available, 100);
    }
}

/// As `reset` ends a pause's aftermath and a pause that lasts goes on.
#[test]
fn a_reset_within_a_pause_keeps_the_pause() {
    for (_dir, limit) in both(100, YEAR, 100) {
        assert!(limit.try_acquire(40).unwrap().is_admitted());
        limit.pause_for(MINUTE).unwrap();
        limit.reset().unwrap();
        assert!(limit.inspect().unwrap().paused_until.is_some());
        assert!(!limit.try_acquire(1).unwrap().is_admitted());
        limit.resume().unwrap();
        assert_eq!(limit.status().unwrap().available, 100);
    }
}

#[test]
fn raising_a_used_up_limit_frees_the_difference_beside_a_waiter() {
    let rate = shm_lib::Rate::new(25, MINUTE).unwrap();
    for kind in [
        shm_lib::Limit::fixed_window(rate, Start::FirstUse).unwrap(),
        shm_lib::Limit::sliding_counter(rate).unwrap(),
        shm_lib::Limit::greedy(rate).unwrap(),
        shm_lib::Limit::with_burst(rate, 25).unwrap(),
    ] {
        let dir = shared_dir();
        let limit = RateLimit::builder("x").directory(dir.path()).open_policy(kind).unwrap();
        assert!(limit.try_acquire(25).unwrap().is_admitted());
        let turn = limit.reserve(1).unwrap();
        assert_eq!(limit.status().unwrap().queued, 1, "{kind}");
        let more = shm_lib::Rate::new(100, MINUTE).unwrap();
        let bucket = shm_lib::Limit::with_burst(more, 100).unwrap();
        let larger = if matches!(kind.kind(), shm_lib::Kind::Bucket { .. }) {
            bucket
        } else {
            kind.at_rate(more).unwrap()
        };
        limit.change_policy(larger).unwrap();
        let seen = limit.status().unwrap();
        assert!((74..=75).contains(&seen.available), "{kind}: {seen:?}");
        assert!((25..=26).contains(&seen.used), "{kind}: {seen:?}");
        drop(turn);
    }
}

/// While the whole queue lies ahead it is known exactly, for several limits, too.
#[test]
fn raising_one_of_several_limits_counts_no_queued_turn_as_used() {
    let hour = Duration::from_secs(3_600);
    let slow = shm_lib::Limit::patient(shm_lib::Rate::new(1, MINUTE).unwrap());
    let window =
        |max| shm_lib::Limit::fixed_window(shm_lib::Rate::new(max, hour).unwrap(), Start::FirstUse).unwrap();
    let dir = shared_dir();
    let policy = Policy::new(&[slow, window(50)]).unwrap();
    let limit = RateLimit::builder("x").directory(dir.path()).open_policy(policy).unwrap();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    let _turns: Vec<_> = (0..5).map(|_| limit.reserve(1).unwrap()).collect();
    limit.change_policy(Policy::new(&[slow, window(100)]).unwrap()).unwrap();
    let seen = limit.status().unwrap();
    assert_eq!((seen.limits[1].used, seen.limits[1].queued), (1, 0), "{seen:?}");
}

#[test]
fn the_queue_length_is_exact_for_every_kind() {
    let rate = shm_lib::Rate::new(5, MINUTE).unwrap();
    let kinds = [
        shm_lib::Limit::with_burst(rate, 5).unwrap(),
        shm_lib::Limit::greedy(rate).unwrap(),
        shm_lib::Limit::fixed_window(rate, Start::FirstUse).unwrap(),
        shm_lib::Limit::sliding_counter(rate).unwrap(),
    ];
    let slow = shm_lib::Limit::patient(shm_lib::Rate::new(1, MINUTE).unwrap());
    let mixed = kinds.map(|kind| Policy::new(&[kind, slow]).unwrap());
    for policy in kinds.map(Policy::from).into_iter().chain(mixed) {
        let dir = shared_dir();
        let limit = RateLimit::builder("x").directory(dir.path()).open_policy(policy).unwrap();
        while limit.try_acquire(1).unwrap().is_admitted() {}
        let mut turns: Vec<_> = (0..5).map(|_| limit.reserve(1).unwrap()).collect();
        assert_eq!(limit.status().unwrap().queued, 5, "{policy}");
        assert!(turns.pop().unwrap().cancel(), "{policy}");
        assert_eq!(limit.status().unwrap().queued, 4, "{policy}: after one was cancelled");
        limit.reset().unwrap();
        assert_eq!(limit.status().unwrap().queued, 0, "{policy}");
    }
}

/// A process may be stopped between its call and its decision.
#[test]
fn nothing_is_admitted_after_its_deadline() {
    for policy in ["bucket:10/s:10", "fixed:10/s+bucket:10/s:10"] {
        let arena = Arena::with_policy(policy, 0);
        drop(arena.open());
        let limiter = Limiter::attach(&Directory::at(arena.dir()), &Name::new("arena").unwrap()).unwrap();
        let passed = Nanos::from_nanos(shm_lib::now().as_nanos() - 1);
        let mut waiter = Waiter::new(Demand::new(&Cost::one()).until(passed));
        assert!(limiter.admit_now(waiter.demand()).unwrap().is_none(), "{policy}: after {passed:?}");
        match limiter.poll_turn(&mut waiter, &CallerWaker::Thread(Arc::default())).unwrap() {
            WaitStep::Denied(denied) => {
                assert!(denied.retry_at() > Some(denied.at()) && denied.at() > passed);
            }
            step => panic!("{policy}: {step:?} after {passed:?}"),
        }
        // A deadline that was over when it was named wants what is there at once.
        let limit = arena.open();
        assert!(limit.acquire(1).timeout(Duration::ZERO).wait().unwrap().is_admitted());
        assert!(limit.acquire(1).deadline(std::time::Instant::now()).wait().unwrap().is_admitted());
    }
}

/// Only `reset` forgets; and a change that takes a limit away forgets what was used of that limit.
#[test]
fn a_limit_removed_and_added_again_starts_unused() {
    let arena = Arena::with_policy("bucket:100/366d:100+bucket:5/366d:5", 0);
    let limit = arena.open();
    let two = limit.policy().unwrap();
    assert!(limit.try_acquire(5).unwrap().is_admitted());
    assert!(!limit.try_acquire(1).unwrap().is_admitted());
    limit.change_policy(two.first().expect("a limit")).unwrap();
    limit.change_policy(two).unwrap();
    let seen = limit.status().unwrap();
    assert_eq!((seen.limits[0].used, seen.limits[1].used), (5, 0));
}

/// An admission from before a retirement is settled with a handle of the next limiter of that name.
#[test]
fn an_admission_of_a_retired_limiter_refunds_nothing_to_its_successor() {
    for records in [false, true] {
        let dir = shared_dir();
        let open = || {
            let b = RateLimit::builder("r").directory(dir.path()).on_lost(OnLost::Error).burst(10);
            let b = if records {
                b.and(shm_lib::Limit::with_burst("20/h".parse().unwrap(), 20).unwrap())
            } else {
                b
            };
            b.open(10, Duration::from_secs(3_600)).unwrap()
        };
        let limit = open();
        let mut old = limit.try_acquire(8).unwrap().admission().unwrap();
        limit.retire().unwrap();
        let limit = open();
        let _eight = limit.try_acquire(8).unwrap().admission().unwrap();
        limit.settle(&mut old, 0).unwrap();
        assert_eq!(limit.status().unwrap().available, 2, "records: {records}");
    }
}
