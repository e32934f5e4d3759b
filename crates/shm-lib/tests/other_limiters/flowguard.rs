//! Flowguard: `RateLimiter(sec, min, hour, day, …, max_burst, blocking)`: several windows at once, and permits.
//!
//! Its windows are fixed windows; its `max_burst` is a number of permits.

use crate::{Fixture, assert_never_over, error_of, in_threads, is_denied, ms, rate, take_all, try_one};
use shm_lib::{Error, ErrorKind, Limit, Nanos, Policy, Rate, RateLimit, Result, Start};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn windows(limits: &[(u64, Duration)]) -> Policy {
    let limits: Vec<Limit> =
        limits.iter().map(|&(max, per)| Limit::fixed_window(rate(max, per), Start::Epoch).unwrap()).collect();
    Policy::new(&limits).unwrap()
}

/// A window so long that it does not end while the test runs.
const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);
const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// Flowguard's example: sec=3, sec_window=2, min=15, max_burst=2, and 30 threads that each work for a second. A second is 20 ms
/// here.
#[test]
fn thirty_threads_obey_both_windows_and_two_permits() {
    let fixture = Fixture::new();
    let policy =
        Policy::new(&[Limit::greedy(rate(3, ms(40))).unwrap(), Limit::greedy(rate(15, ms(1_200))).unwrap()]);
    let limit = fixture.policy("api", policy.unwrap().with_permits(2).unwrap());
    let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut times = in_threads(30, |_| {
        let admission = limit.wait().unwrap();
        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(ms(20));
        inside.fetch_sub(1, Ordering::SeqCst);
        admission.at()
    });
    assert_never_over(&mut times, 3, ms(40));
    assert_never_over(&mut times, 15, ms(1_200));
    assert!(most.load(Ordering::SeqCst) <= 2);
    assert!(times[29].since(times[0]) < ms(4_500));
    assert_eq!(limit.inspect().unwrap().counts.admitted, 30);
}

#[test]
fn the_tightest_window_decides() {
    let fixture = Fixture::new();
    let policy = windows(&[(100, HOUR), (50, HOUR), (3, DAY), (1_000, YEAR)]);
    let limit = fixture.policy("api", policy);
    assert_eq!(take_all(&limit).len(), 3);
    let retry_after = limit.try_acquire(1).unwrap().retry_after().unwrap();
    assert!(retry_after > Duration::ZERO && retry_after <= DAY);
    // The denied request charged nothing to the other limits.
    let left: Vec<u64> = limit.status().unwrap().limits.iter().map(|seen| seen.available).collect();
    assert_eq!(left, [97, 47, 0, 997]);
}

/// In Flowguard, `min_window=2` means 120 s.
#[test]
fn a_window_can_be_any_number_of_minutes() {
    let fixture = Fixture::new();
    let limit = fixture.policy("api", windows(&[(1, 2 * HOUR)]));
    let turns = limit.schedule(1, 4).unwrap();
    for pair in turns[1..].windows(2) {
        assert_eq!(pair[1].since(pair[0]), 2 * HOUR);
    }
    assert!(turns[1].since(turns[0]) <= 2 * HOUR);
}

/// When this limiter's next window begins.
fn next_window(limit: &RateLimit, max: usize) -> Nanos {
    let turns = limit.schedule(1, max + 1).unwrap();
    limit.reset().unwrap();
    turns[max]
}

/// Admits five calls just before a window ends, and reserves turns for the next five. Retries until the test reaches the end of
/// a window in time.
fn around_an_edge(scout: &RateLimit, limit: &RateLimit) -> (Nanos, Vec<Nanos>) {
    for _ in 0..8 {
        let edge = next_window(scout, 5);
        crate::sleep_until(Nanos::from_nanos(edge.as_nanos() - 20_000_000));
        limit.reset().unwrap();
        let mut times = take_all(limit);
        times.extend((0..5).map(|_| limit.reserve(1).unwrap().commit().unwrap().at()));
        if times.len() == 10 && times[4] < edge && shm_lib::now() < edge {
            return (edge, times);
        }
    }
    panic!("the test never ran in the last 20 ms of a window");
}

/// By the definition of a fixed window, sec=5 admits 10 calls at once across the end of a window.
#[test]
fn fixed_windows_admit_at_most_twice_max_across_an_edge() {
    let fixture = Fixture::new();
    let limit = fixture.policy("fixed", windows(&[(5, ms(150))]));
    let (edge, mut times) = around_an_edge(&limit, &limit);
    assert!(times[5..].iter().all(|&at| at == edge), "all five are due when the window begins");
    assert!(times[9].since(times[0]) <= ms(20), "{times:?}");
    // The following call is due when the next window begins.
    times.extend(limit.schedule(1, 1).unwrap());
    assert_eq!(times[10], edge.plus(ms(150)));
    assert_never_over(&mut times, 10, ms(150));
}

/// The same calls under a greedy limit: never more than 5 in any 150 ms.
#[test]
fn a_greedy_limit_has_no_edge() {
    let fixture = Fixture::new();
    let scout = fixture.policy("fixed", windows(&[(5, ms(150))]));
    let limit = fixture.limit("greedy").greedy().open(5, ms(150)).unwrap();
    assert!(try_one(&limit).is_some());
    let (_, mut times) = around_an_edge(&scout, &limit);
    assert!(times[5].since(times[0].plus(ms(150))) <= crate::ROUNDING);
    assert_never_over(&mut times, 5, ms(150));
}

fn two_at_a_time(fixture: &Fixture) -> RateLimit {
    fixture.limit("api").burst(1_000).permits(2).open(1_000, HOUR).unwrap()
}

#[test]
fn non_blocking_denies_the_third_while_two_are_held() {
    let fixture = Fixture::new();
    let limit = two_at_a_time(&fixture);
    let first = limit.try_acquire(1).unwrap().admission().unwrap();
    let _second = limit.try_acquire(1).unwrap().admission().unwrap();
    assert!(is_denied(&limit.try_acquire(1).unwrap()));
    drop(first);
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    // A request denied for lack of a permit is not charged.
    assert_eq!(limit.status().unwrap().used, 3);
}

#[test]
fn blocking_waits_until_a_permit_is_released() {
    let fixture = Fixture::new();
    let limit = two_at_a_time(&fixture);
    let held = [limit.wait().unwrap(), limit.wait().unwrap()];
    assert!(is_denied(&limit.acquire(1).timeout(ms(30)).wait().unwrap()));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| limit.wait().unwrap());
        std::thread::sleep(ms(50));
        assert!(!waiter.is_finished());
        drop(held);
        assert!(waiter.join().unwrap().waited() > Duration::ZERO);
    });
}

/// Flowguard's `with limiter:` releases the permit at the end of the block, even after an exception.
#[test]
fn a_permit_is_released_at_scope_end_and_on_panic() {
    let fixture = Fixture::new();
    let limit = two_at_a_time(&fixture);
    for _ in 0..5 {
        let (_one, _two) = (limit.wait().unwrap(), limit.wait().unwrap());
        assert_eq!(limit.inspect().unwrap().permits_held, 2);
    }
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _held = limit.wait().unwrap();
        std::panic::resume_unwind(Box::new("the work failed"));
    }));
    assert!(panicked.is_err());
    assert_eq!(limit.inspect().unwrap().permits_held, 0);
}

/// Flowguard's `acquire` and `release`. Here a permit cannot be released twice, so no count can underflow.
#[test]
fn a_permit_taken_out_is_held_until_it_is_dropped() {
    let fixture = Fixture::new();
    let limit = two_at_a_time(&fixture);
    let permit = limit.wait().unwrap().take_permit();
    assert_eq!(limit.inspect().unwrap().permits_held, 1);
    drop(permit);
    assert_eq!(limit.inspect().unwrap().permits_held, 0);
}

/// Wraps a task as Flowguard's decorator does: waits, runs the task, and releases the permit.
fn limited<T>(limit: &RateLimit, task: impl Fn(usize) -> Result<T>) -> impl Fn(usize) -> Result<T> {
    move |i| {
        let _admission = limit.wait()?;
        task(i)
    }
}

#[test]
fn a_wrapped_function_returns_what_it_returns_and_leaks_no_permit() {
    let fixture = Fixture::new();
    let limit = two_at_a_time(&fixture);
    let work = limited(&limit, |i| match i % 3 {
        0 => Err(Error::new(ErrorKind::Io, "the work failed")),
        _ => Ok(i),
    });
    let done = in_threads(12, |i| work(i).ok());
    assert_eq!(done.into_iter().flatten().collect::<Vec<_>>(), [1, 2, 4, 5, 7, 8, 10, 11]);
    assert_eq!(limit.inspect().unwrap().permits_held, 0);
}

#[test]
fn peek_returns_remaining_calls_and_wait_time() {
    let fixture = Fixture::new();
    let limit = fixture.policy("api", windows(&[(5, DAY), (7, YEAR)]));
    assert!(try_one(&limit).is_some());
    let seen = limit.status().unwrap();
    assert_eq!((seen.limits[0].available, seen.limits[1].available), (4, 6));
    assert_eq!((seen.available, seen.next_in), (4, Duration::ZERO));
    take_all(&limit);
    let seen = limit.status().unwrap();
    assert_eq!(seen.available, 0);
    assert!(seen.next_in > Duration::ZERO && seen.next_in <= DAY);
}

/// Flowguard raises a ValueError for these.
#[test]
fn invalid_arguments_are_errors_with_a_remedy() {
    let bad = |result: Result<Policy>, says: &str| {
        let (kind, message) = error_of(result);
        assert_eq!(kind, ErrorKind::InvalidInput, "{message}");
        assert!(message.contains(says), "{message}");
    };
    let one = Limit::patient(rate(1, DAY));
    bad(Policy::new(&[]), "needs a limit");
    bad(Policy::new(&[one; 5]), "at most 4");
    bad(Policy::from(one).with_permits(0), "choose 1 to");
    bad(Rate::new(0, DAY).map(|_| one.into()), "a rate of 0 would admit nothing");
    bad(Rate::new(1, Duration::ZERO).map(|_| one.into()), "cannot be zero");
    bad(Limit::with_burst(rate(1, DAY), 0).map(Into::into), "a burst of 0");
    // A failed open creates no limiter.
    let fixture = Fixture::new();
    assert!(fixture.limit("api").open(0, DAY).is_err());
    assert!(fixture.limit("api").permits(0).open(1, DAY).is_err());
    assert_eq!(error_of(fixture.limit("api").attach()).0, ErrorKind::NotFound);
}

#[test]
fn a_request_for_nothing_is_an_error() {
    let fixture = Fixture::new();
    let limit = two_at_a_time(&fixture);
    assert_eq!(error_of(limit.try_acquire(0)).0, ErrorKind::InvalidInput);
    assert_eq!(error_of(limit.try_acquire(0)).0, ErrorKind::InvalidInput);
    assert_eq!(limit.inspect().unwrap().permits_held, 0);
}
