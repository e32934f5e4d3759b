//! Bounds on waiting: deadlines and the number of waiting requests, set by the request and by the policy, in threads and in
//! tasks; and the cause that a denial reports.

use shm_lib::{Builder, Cost, DeniedBy, ErrorKind, Limit, Outcome, Policy, Rate, RateLimit, Unit};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const MINUTE: Duration = Duration::from_secs(60);
/// Longer than any test should wait, even on a busy machine.
const LONG: Duration = Duration::from_secs(20);

/// A limiter in a directory of its own.
struct Fixture {
    _dir: TempDir,
    limit: RateLimit,
}

fn fixture(open: impl FnOnce(Builder) -> shm_lib::Result<RateLimit>) -> Fixture {
    let dir = tempfile::tempdir().expect("a directory to work in");
    let limit = open(RateLimit::builder("fixture").directory(dir.path())).expect("a limiter");
    Fixture { _dir: dir, limit }
}

fn one_a_minute() -> Rate {
    Rate::per_minute(1).unwrap()
}

/// A limiter whose only call of the minute is used.
fn empty(choose: impl FnOnce(Builder) -> Builder) -> Fixture {
    let fixture = fixture(|b| choose(b).open_rate(one_a_minute()));
    assert!(fixture.limit.try_acquire(1).unwrap().is_admitted());
    fixture
}

fn waiting(limit: &RateLimit) -> u64 {
    limit.inspect().expect("a healthy limiter").callers_waiting()
}

/// Runs `then` while `n` threads of this process wait in line, then ends them.
fn while_threads_wait(limit: &RateLimit, n: u64, then: impl FnOnce()) {
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..n {
            scope.spawn(|| {
                let stop = || over.load(std::sync::atomic::Ordering::SeqCst);
                let stopped = limit.acquire(1).stop_when(stop).wait();
                assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
            });
        }
        let began = Instant::now();
        while waiting(limit) < n && began.elapsed() < LONG {
            std::thread::sleep(Duration::from_millis(2));
        }
        let all_wait = waiting(limit) == n;
        then();
        over.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(all_wait);
    });
}

fn by(outcome: &Outcome) -> DeniedBy {
    outcome.denied().expect("a denial").by()
}

#[test]
fn a_request_is_denied_when_its_max_waiters_already_wait() {
    let fixture = empty(|b| b);
    let limit = &fixture.limit;
    while_threads_wait(limit, 2, || {
        let began = Instant::now();
        for (n, waiting) in [(0, 2), (1, 2), (2, 2)] {
            let denied = limit.acquire(1).max_waiters(n).wait().unwrap();
            assert_eq!(by(&denied), DeniedBy::Line { waiting }, "max_waiters({n})");
            assert_eq!(denied.retry_after(), None);
        }
        assert!(began.elapsed() < LONG);
        // A third waiter is allowed, but its turn would come after its deadline.
        let late = limit.acquire(1).max_waiters(3).timeout(Duration::from_millis(10)).wait().unwrap();
        assert!(matches!(by(&late), DeniedBy::Limit { index: 0, .. }), "{late:?}");
    });
    assert_eq!(limit.stats().denied, 4);
}

#[test]
fn max_waiters_0_admits_only_without_waiting() {
    let fixture = fixture(|b| b.burst(2).open_rate(one_a_minute()));
    for _ in 0..2 {
        assert!(fixture.limit.acquire(1).max_waiters(0).wait().unwrap().is_admitted());
    }
    let denied = fixture.limit.acquire(1).max_waiters(0).wait().unwrap();
    assert_eq!(by(&denied), DeniedBy::Line { waiting: 0 });
}

#[test]
fn the_smaller_max_waiters_counts_even_after_a_change() {
    let fixture = empty(|b| b.max_waiters(1));
    let limit = &fixture.limit;
    while_threads_wait(limit, 1, || {
        let with = |n| limit.acquire(1).max_waiters(n).timeout(Duration::from_millis(1)).wait().unwrap();
        assert_eq!(by(&with(5)), DeniedBy::Line { waiting: 1 });
        assert_eq!(by(&with(0)), DeniedBy::Line { waiting: 1 });
        limit.update_policy(|policy| Ok(policy.with_max_waiters(2))).unwrap();
        assert!(matches!(by(&with(5)), DeniedBy::Limit { .. }));
        assert_eq!(by(&with(1)), DeniedBy::Line { waiting: 1 });
        limit.update_policy(|policy| Ok(policy.without_max_waiters())).unwrap();
        assert!(matches!(by(&with(u32::MAX)), DeniedBy::Limit { .. }));
        // The waiting caller keeps its place, although no further request may wait.
        limit.update_policy(|policy| Ok(policy.with_max_waiters(0))).unwrap();
        assert_eq!(by(&with(5)), DeniedBy::Line { waiting: 1 });
        assert_eq!(waiting(limit), 1);
    });
}

#[test]
fn an_unbounded_wait_in_a_full_line_fails_with_a_remedy() {
    let fixture = empty(|b| b.max_waiters(0));
    let refused = fixture.limit.wait().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LineFull);
    let message = refused.to_string();
    for part in ["fixture", "0 requests already wait", "the maximum is 0", "set fixture --max-waiters"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(by(&fixture.limit.acquire(1).or_denied().wait().unwrap()), DeniedBy::Line { waiting: 0 });
    assert_eq!(fixture.limit.stats().denied, 2);
}

#[test]
fn all_waiters_within_max_waiters_are_served() {
    let fixture = fixture(|b| b.max_waiters(3).open_rate(Rate::per_second(100)?));
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..3).map(|_| scope.spawn(|| fixture.limit.wait())).collect();
        assert!(all.into_iter().all(|one| one.join().unwrap().is_ok()));
    });
    assert_eq!(fixture.limit.stats().admitted, 3);
}

#[tokio::test]
async fn tasks_are_counted_and_denied_as_threads_are() {
    let fixture = empty(|b| b.max_waiters(2));
    let limit = &fixture.limit;
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut first = pin!(limit.acquire(1).into_future());
        let mut second = pin!(limit.acquire(1).into_future());
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert_eq!(limit.acquire(1).await.unwrap_err().kind(), ErrorKind::LineFull);
        let denied = limit.acquire(1).timeout(10 * MINUTE).await.unwrap();
        assert_eq!(by(&denied), DeniedBy::Line { waiting: 2 });
        assert_eq!(by(&limit.acquire(1).max_waiters(1).await.unwrap()), DeniedBy::Line { waiting: 2 });
        // The bound applies when a request joins the line, not to those that already wait.
        assert!(first.as_mut().poll(&mut context).is_pending());
    }
    // Dropped futures have left the line.
    let mut third = pin!(limit.acquire(1).into_future());
    assert!(matches!(third.as_mut().poll(&mut context), Poll::Pending));
    assert_eq!(waiting(limit), 1);
}

#[test]
fn the_stricter_of_two_bounds_counts() {
    let fixture = empty(|b| b);
    let began = Instant::now();
    let acquire = || fixture.limit.acquire(1);
    let soon = Duration::from_millis(1);
    for outcome in [
        acquire().timeout(10 * MINUTE).timeout(soon).wait(),
        acquire().timeout(soon).timeout(10 * MINUTE).wait(),
        acquire().timeout(soon).timeout(Duration::MAX).wait(),
        acquire().deadline(began).timeout(10 * MINUTE).wait(),
    ] {
        assert!(matches!(by(&outcome.unwrap()), DeniedBy::Limit { .. }));
    }
    let denied = acquire().max_waiters(0).max_waiters(9).wait().unwrap();
    assert_eq!(by(&denied), DeniedBy::Line { waiting: 0 });
    assert!(began.elapsed() < LONG);
}

#[test]
fn a_stop_condition_and_a_deadline_can_be_combined() {
    let fixture = empty(|b| b);
    let denied =
        fixture.limit.acquire(1).timeout(Duration::from_millis(5)).stop_when(|| false).wait().unwrap();
    assert!(!denied.is_admitted());
    let stopped = fixture.limit.acquire(1).timeout(10 * MINUTE).stop_when(|| true).wait();
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
    assert_eq!(waiting(&fixture.limit), 0);
}

#[test]
fn a_denial_names_the_limit_whose_turn_comes_last() {
    let (words, bytes) = (Unit::named("words").unwrap(), Unit::named("bytes").unwrap());
    let hourly = |n| Limit::token_bucket(Rate::per_hour(n).unwrap()).unwrap();
    let policy =
        Policy::new(&[hourly(10), hourly(100).counting(words), hourly(1_000).counting(bytes)]).unwrap();
    let fixture = fixture(|b| b.open_policy(policy));
    let cost = |calls: u64, n, m| Cost::from(calls).and(words, n).and(bytes, m);
    assert!(fixture.limit.try_acquire(cost(5, 90, 990)).unwrap().is_admitted());
    for (cost, index) in [
        (cost(6, 1, 1), 0),
        (cost(1, 11, 1), 1),
        (cost(1, 1, 11), 2),
        (cost(10, 11, 11), 0),
        (cost(1, 100, 11), 1),
    ] {
        let now = fixture.limit.try_acquire(cost).unwrap();
        let never = fixture.limit.acquire(cost).timeout(Duration::from_millis(1)).wait().unwrap();
        for denied in [now, never] {
            let DeniedBy::Limit { index: found, retry_after } = by(&denied) else { panic!("{denied:?}") };
            assert_eq!((found, Some(retry_after)), (index, denied.retry_after()), "{cost:?}");
            assert!(retry_after > Duration::ZERO);
        }
    }
}

#[test]
fn a_denial_names_permits_and_a_pause_where_there_is_no_limit() {
    let fixture = fixture(|b| b.permits(1).open_permits());
    let limit = &fixture.limit;
    let held = limit.wait().unwrap();
    let soon = Duration::from_millis(5);
    for denied in [
        limit.try_acquire(1),
        limit.acquire(1).timeout(soon).wait(),
        limit.acquire(1).timeout(Duration::ZERO).wait(),
    ] {
        assert_eq!(by(&denied.unwrap()), DeniedBy::Permits);
    }
    drop(held);
    limit.pause_for(MINUTE).unwrap();
    for denied in [limit.try_acquire(1), limit.acquire(1).timeout(soon).wait()] {
        let denied = denied.unwrap();
        assert!(matches!(by(&denied), DeniedBy::Paused { .. }), "{denied:?}");
        assert!(denied.retry_after() > Some(MINUTE / 2));
    }
}

#[test]
fn a_cost_of_units_only_states_no_calls() {
    let words = Unit::named("words").unwrap();
    let counted = Limit::token_bucket(Rate::per_hour(100).unwrap()).unwrap().counting(words);
    let only_words = fixture(|b| b.open_policy(counted));
    let mut admission = only_words.limit.acquire(Cost::of(words, 40)).wait().unwrap();
    assert_eq!(only_words.limit.stats().admitted, 1);
    only_words.limit.settle(&mut admission, Cost::of(words, 50)).unwrap();
    assert_eq!(only_words.limit.status().unwrap().used, 50);

    let both = fixture(|b| b.burst(10).and(counted).open_rate(Rate::per_hour(10)?));
    for refused in [both.limit.try_acquire(Cost::of(words, 1)).map(drop), both.limit.try_acquire(1).map(drop)]
    {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let refused = both.limit.try_acquire(Cost::of(words, 1)).unwrap_err().to_string();
    assert!(refused.contains("also counts calls"), "{refused}");
    // A settlement does not change the units that it does not name.
    let mut admission = both.limit.acquire(Cost::one().and(words, 40)).wait().unwrap();
    both.limit.settle(&mut admission, Cost::of(words, 10)).unwrap();
    let status = both.limit.status().unwrap();
    assert_eq!((status.limits[0].used, status.limits[1].used), (1, 10));
    both.limit.charge(Cost::of(words, 5)).unwrap();
    let status = both.limit.status().unwrap();
    assert_eq!((status.limits[0].used, status.limits[1].used), (1, 15));
}

#[test]
fn schedule_takes_the_cost_of_each_request() {
    let fixture = fixture(|b| b.burst(4).open_rate(Rate::per_second(10)?));
    let turns = fixture.limit.schedule(2, 4).unwrap();
    let gaps: Vec<u128> = turns.iter().map(|turn| turn.since(turns[0]).as_millis()).collect();
    assert_eq!(gaps, [0, 0, 200, 400]);
    assert_eq!(fixture.limit.stats().calls, 8);
}
