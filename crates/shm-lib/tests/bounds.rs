//! Waiting with bounds: deadlines and the number of requests that wait, of the call and of the policy, in threads and in
//! tasks; and what a denial says of its cause.

use shm_lib::{Builder, Cost, DeniedBy, ErrorKind, Limit, Outcome, Policy, Rate, RateLimit, Unit};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const MINUTE: Duration = Duration::from_secs(60);
/// More than any test waits, unless the machine stands still.
const LONG: Duration = Duration::from_secs(20);

/// A limiter in a directory of its own.
struct Place {
    _dir: TempDir,
    limit: RateLimit,
}

fn place(open: impl FnOnce(Builder) -> shm_lib::Result<RateLimit>) -> Place {
    let dir = tempfile::tempdir().expect("a directory to work in");
    let limit = open(RateLimit::builder("place").directory(dir.path())).expect("a limiter");
    Place { _dir: dir, limit }
}

fn one_a_minute() -> Rate {
    Rate::per_minute(1).unwrap()
}

/// Of which no call is left.
fn empty(choose: impl FnOnce(Builder) -> Builder) -> Place {
    let place = place(|b| choose(b).open_rate(one_a_minute()));
    assert!(place.limit.try_acquire(1).unwrap().is_admitted());
    place
}

fn waiting(limit: &RateLimit) -> u64 {
    limit.inspect().expect("a healthy limiter").callers_waiting()
}

/// `n` threads of this process stand in the line while `then` runs; they end when it has.
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
fn a_request_is_denied_at_once_if_as_many_wait_as_it_allows() {
    let place = empty(|b| b);
    let limit = &place.limit;
    while_threads_wait(limit, 2, || {
        let began = Instant::now();
        for (n, waiting) in [(0, 2), (1, 2), (2, 2)] {
            let denied = limit.acquire(1).max_waiters(n).wait().unwrap();
            assert_eq!(by(&denied), DeniedBy::Line { waiting }, "max_waiters({n})");
            assert_eq!(denied.retry_after(), None);
        }
        assert!(began.elapsed() < LONG);
        // One more may wait, but not for so long.
        let late = limit.acquire(1).max_waiters(3).timeout(Duration::from_millis(10)).wait().unwrap();
        assert!(matches!(by(&late), DeniedBy::Limit { index: 0, .. }), "{late:?}");
    });
    assert_eq!(limit.stats().denied, 4);
}

#[test]
fn with_zero_waiters_a_request_is_admitted_if_that_is_possible_at_once() {
    let place = place(|b| b.burst(2).open_rate(one_a_minute()));
    for _ in 0..2 {
        assert!(place.limit.acquire(1).max_waiters(0).wait().unwrap().is_admitted());
    }
    let denied = place.limit.acquire(1).max_waiters(0).wait().unwrap();
    assert_eq!(by(&denied), DeniedBy::Line { waiting: 0 });
}

#[test]
fn the_smaller_of_both_bounds_counts_also_after_a_change() {
    let place = empty(|b| b.max_waiters(1));
    let limit = &place.limit;
    while_threads_wait(limit, 1, || {
        let with = |n| limit.acquire(1).max_waiters(n).timeout(Duration::from_millis(1)).wait().unwrap();
        assert_eq!(by(&with(5)), DeniedBy::Line { waiting: 1 });
        assert_eq!(by(&with(0)), DeniedBy::Line { waiting: 1 });
        limit.update_policy(|policy| Ok(policy.with_max_waiters(2))).unwrap();
        assert!(matches!(by(&with(5)), DeniedBy::Limit { .. }));
        assert_eq!(by(&with(1)), DeniedBy::Line { waiting: 1 });
        limit.update_policy(|policy| Ok(policy.without_max_waiters())).unwrap();
        assert!(matches!(by(&with(u32::MAX)), DeniedBy::Limit { .. }));
        // The caller that waits keeps its place, although no request may wait any more.
        limit.update_policy(|policy| Ok(policy.with_max_waiters(0))).unwrap();
        assert_eq!(by(&with(5)), DeniedBy::Line { waiting: 1 });
        assert_eq!(waiting(limit), 1);
    });
}

#[test]
fn a_wait_without_a_bound_that_the_policy_refuses_is_an_error_that_says_what_to_do() {
    let place = empty(|b| b.max_waiters(0));
    let refused = place.limit.wait().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LineFull);
    let message = refused.to_string();
    for part in ["place", "0 requests already wait", "the maximum is 0", "set place --max-waiters"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(by(&place.limit.acquire(1).or_denied().wait().unwrap()), DeniedBy::Line { waiting: 0 });
    // Not a failure of the limiter, so it is not for those who fail open.
    assert_eq!(place.limit.stats().denied, 2);
}

#[test]
fn a_line_that_may_be_long_serves_all_who_stand_in_it() {
    let place = place(|b| b.max_waiters(3).open_rate(Rate::per_second(100)?));
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..3).map(|_| scope.spawn(|| place.limit.wait())).collect();
        assert!(all.into_iter().all(|one| one.join().unwrap().is_ok()));
    });
    assert_eq!(place.limit.stats().admitted, 3);
}

#[tokio::test]
async fn tasks_are_counted_and_denied_as_threads_are() {
    let place = empty(|b| b.max_waiters(2));
    let limit = &place.limit;
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
        // Those that stand are not asked again.
        assert!(first.as_mut().poll(&mut context).is_pending());
    }
    // Dropped futures have left the line.
    let mut third = pin!(limit.acquire(1).into_future());
    assert!(matches!(third.as_mut().poll(&mut context), Poll::Pending));
    assert_eq!(waiting(limit), 1);
}

#[test]
fn the_stricter_of_two_deadlines_and_of_two_bounds_counts() {
    let place = empty(|b| b);
    let began = Instant::now();
    let acquire = || place.limit.acquire(1);
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
fn a_condition_and_a_deadline_go_together() {
    let place = empty(|b| b);
    let denied = place.limit.acquire(1).timeout(Duration::from_millis(5)).stop_when(|| false).wait().unwrap();
    assert!(!denied.is_admitted());
    let stopped = place.limit.acquire(1).timeout(10 * MINUTE).stop_when(|| true).wait();
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
    assert_eq!(waiting(&place.limit), 0);
}

#[test]
fn a_denial_names_the_limit_whose_turn_comes_last() {
    let (words, bytes) = (Unit::named("words").unwrap(), Unit::named("bytes").unwrap());
    let hourly = |n| Limit::token_bucket(Rate::per_hour(n).unwrap()).unwrap();
    let policy =
        Policy::new(&[hourly(10), hourly(100).counting(words), hourly(1_000).counting(bytes)]).unwrap();
    let place = place(|b| b.open_policy(policy));
    let cost = |calls: u64, n, m| Cost::from(calls).and(words, n).and(bytes, m);
    assert!(place.limit.try_acquire(cost(5, 90, 990)).unwrap().is_admitted());
    for (cost, index) in [
        (cost(6, 1, 1), 0),
        (cost(1, 11, 1), 1),
        (cost(1, 1, 11), 2),
        (cost(10, 11, 11), 0),
        (cost(1, 100, 11), 1),
    ] {
        let now = place.limit.try_acquire(cost).unwrap();
        let never = place.limit.acquire(cost).timeout(Duration::from_millis(1)).wait().unwrap();
        for denied in [now, never] {
            let DeniedBy::Limit { index: found, retry_after } = by(&denied) else { panic!("{denied:?}") };
            assert_eq!((found, Some(retry_after)), (index, denied.retry_after()), "{cost:?}");
            assert!(retry_after > Duration::ZERO);
        }
    }
}

#[test]
fn a_denial_names_permits_and_a_pause_where_there_is_no_limit() {
    let place = place(|b| b.permits(1).open_permits());
    let limit = &place.limit;
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
fn a_cost_of_units_only_says_nothing_of_calls() {
    let words = Unit::named("words").unwrap();
    let counted = Limit::token_bucket(Rate::per_hour(100).unwrap()).unwrap().counting(words);
    let only_words = place(|b| b.open_policy(counted));
    let mut admission = only_words.limit.acquire(Cost::of(words, 40)).wait().unwrap();
    assert_eq!(only_words.limit.stats().admitted, 1);
    only_words.limit.settle(&mut admission, Cost::of(words, 50)).unwrap();
    assert_eq!(only_words.limit.peek().unwrap().used, 50);

    let both = place(|b| b.burst(10).and(counted).open_rate(Rate::per_hour(10)?));
    for refused in [both.limit.try_acquire(Cost::of(words, 1)).map(drop), both.limit.try_acquire(1).map(drop)]
    {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let refused = both.limit.try_acquire(Cost::of(words, 1)).unwrap_err().to_string();
    assert!(refused.contains("also counts calls"), "{refused}");
    // A settlement leaves as it was what it says nothing of.
    let mut admission = both.limit.acquire(Cost::one().and(words, 40)).wait().unwrap();
    both.limit.settle(&mut admission, Cost::of(words, 10)).unwrap();
    let peek = both.limit.peek().unwrap();
    assert_eq!((peek.limits[0].used, peek.limits[1].used), (1, 10));
    both.limit.charge(Cost::of(words, 5)).unwrap();
    let peek = both.limit.peek().unwrap();
    assert_eq!((peek.limits[0].used, peek.limits[1].used), (1, 15));
}

#[test]
fn several_requests_of_a_cost_are_scheduled_at_once() {
    let place = place(|b| b.burst(4).open_rate(Rate::per_second(10)?));
    let turns = place.limit.schedule(2, 4).unwrap();
    let gaps: Vec<u128> = turns.iter().map(|turn| turn.since(turns[0]).as_millis()).collect();
    assert_eq!(gaps, [0, 0, 200, 400]);
    assert_eq!(place.limit.stats().tokens, 8);
}
