//! Flowguard: `RateLimiter(sec, min, hour, day, …, max_burst, blocking)`: several windows at once, and permits.
//!
//! Its windows are fixed ones, its `max_burst` is permits.

use crate::{Place, assert_never_over, error_of, in_threads, is_denied, ms, rate, take_all, try_one};
use shm_lib::{Error, ErrorKind, Limit, Nanos, Policy, Rate, RateLimit, Result, Start};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn windows(limits: &[(u64, Duration)]) -> Policy {
    let limits: Vec<Limit> =
        limits.iter().map(|&(max, per)| Limit::fixed_window(rate(max, per), Start::Epoch).unwrap()).collect();
    Policy::new(&limits).unwrap()
}

/// One that nobody's scheduler can leave while the test runs.
const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);
const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// sec=3, sec_window=2, min=15, max_burst=2 for 30 threads that work for a second: here a second is 20 ms.
#[test]
fn thirty_threads_keep_both_windows_and_two_at_a_time() {
    let place = Place::new();
    let policy =
        Policy::new(&[Limit::greedy(rate(3, ms(40))).unwrap(), Limit::greedy(rate(15, ms(1_200))).unwrap()]);
    let limit = place.policy("api", policy.unwrap().with_permits(2).unwrap());
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
fn all_windows_must_pass_and_the_tightest_decides() {
    let place = Place::new();
    let policy = windows(&[(100, HOUR), (50, HOUR), (3, DAY), (1_000, YEAR)]);
    let limit = place.policy("api", policy);
    assert_eq!(take_all(&limit).len(), 3);
    let retry_after = limit.try_acquire(1).unwrap().retry_after().unwrap();
    assert!(retry_after > Duration::ZERO && retry_after <= DAY);
    // What was refused took nothing of the others.
    let left: Vec<u64> = limit.peek().unwrap().limits.iter().map(|seen| seen.available).collect();
    assert_eq!(left, [97, 47, 0, 997]);
}

/// `min_window=2` means 120 s.
#[test]
fn a_window_can_be_any_number_of_minutes() {
    let place = Place::new();
    let limit = place.policy("api", windows(&[(1, 2 * HOUR)]));
    let turns = limit.schedule(1, 4).unwrap();
    for pair in turns[1..].windows(2) {
        assert_eq!(pair[1].since(pair[0]), 2 * HOUR);
    }
    assert!(turns[1].since(turns[0]) <= 2 * HOUR);
}

/// Where this limiter's next window begins.
fn next_window(limit: &RateLimit, max: usize) -> Nanos {
    let turns = limit.schedule(1, max + 1).unwrap();
    limit.reset().unwrap();
    turns[max]
}

/// Five calls just before a window ends, at an edge that the test gets to in time, and turns for the next five.
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
    panic!("never got to run in the last 20 ms of a window");
}

/// That is the definition of a fixed window: sec=5 lets 10 pass in a moment, if a window ends in it.
#[test]
fn fixed_windows_let_twice_as_many_pass_across_an_edge_and_no_more() {
    let place = Place::new();
    let limit = place.policy("fixed", windows(&[(5, ms(150))]));
    let (edge, mut times) = around_an_edge(&limit, &limit);
    assert!(times[5..].iter().all(|&at| at == edge), "all five are due when the window begins");
    assert!(times[9].since(times[0]) <= ms(20), "{times:?}");
    // The next ones are due when the next window begins.
    times.extend(limit.schedule(1, 1).unwrap());
    assert_eq!(times[10], edge.plus(ms(150)));
    assert_never_over(&mut times, 10, ms(150));
}

/// The same calls under a greedy limit: never more than 5 in any 150 ms.
#[test]
fn greedy_knows_no_edge() {
    let place = Place::new();
    let scout = place.policy("fixed", windows(&[(5, ms(150))]));
    let limit = place.limit("greedy").greedy().open(5, ms(150)).unwrap();
    assert!(try_one(&limit).is_some());
    let (_, mut times) = around_an_edge(&scout, &limit);
    assert!(times[5].since(times[0].plus(ms(150))) <= crate::ROUNDING);
    assert_never_over(&mut times, 5, ms(150));
}

fn two_at_a_time(place: &Place) -> RateLimit {
    place.limit("api").burst(1_000).permits(2).open(1_000, HOUR).unwrap()
}

#[test]
fn non_blocking_denies_the_third_while_two_are_held() {
    let place = Place::new();
    let limit = two_at_a_time(&place);
    let first = limit.try_acquire(1).unwrap().admission().unwrap();
    let _second = limit.try_acquire(1).unwrap().admission().unwrap();
    assert!(is_denied(&limit.try_acquire(1).unwrap()));
    drop(first);
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    // A refusal for want of a permit takes no token.
    assert_eq!(limit.peek().unwrap().used, 3);
}

#[test]
fn blocking_waits_until_one_is_given_back() {
    let place = Place::new();
    let limit = two_at_a_time(&place);
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

/// `with limiter:` gives back at the end of the block, however that ends.
#[test]
fn a_guard_gives_back_at_the_end_of_its_scope_and_in_a_panic() {
    let place = Place::new();
    let limit = two_at_a_time(&place);
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

/// `acquire` and `release`. Releasing twice can't be written, so there is nothing to underflow.
#[test]
fn a_permit_taken_out_is_held_until_it_is_released() {
    let place = Place::new();
    let limit = two_at_a_time(&place);
    let permit = limit.wait().unwrap().take_permit();
    assert_eq!(limit.inspect().unwrap().permits_held, 1);
    drop(permit);
    assert_eq!(limit.inspect().unwrap().permits_held, 0);
}

/// As a decorator does: `limited(task)` waits, runs the task and gives back.
fn limited<T>(limit: &RateLimit, task: impl Fn(usize) -> Result<T>) -> impl Fn(usize) -> Result<T> {
    move |i| {
        let _admission = limit.wait()?;
        task(i)
    }
}

#[test]
fn a_wrapped_function_returns_what_it_returns_and_leaks_no_permit() {
    let place = Place::new();
    let limit = two_at_a_time(&place);
    let work = limited(&limit, |i| match i % 3 {
        0 => Err(Error::new(ErrorKind::Io, "the work failed")),
        _ => Ok(i),
    });
    let done = in_threads(12, |i| work(i).ok());
    assert_eq!(done.into_iter().flatten().collect::<Vec<_>>(), [1, 2, 4, 5, 7, 8, 10, 11]);
    assert_eq!(limit.inspect().unwrap().permits_held, 0);
}

#[test]
fn remaining_and_wait_time_can_be_asked_for() {
    let place = Place::new();
    let limit = place.policy("api", windows(&[(5, DAY), (7, YEAR)]));
    assert!(try_one(&limit).is_some());
    let seen = limit.peek().unwrap();
    assert_eq!((seen.limits[0].available, seen.limits[1].available), (4, 6));
    assert_eq!((seen.available, seen.next_in), (4, Duration::ZERO));
    take_all(&limit);
    let seen = limit.peek().unwrap();
    assert_eq!(seen.available, 0);
    assert!(seen.next_in > Duration::ZERO && seen.next_in <= DAY);
}

/// The ValueErrors.
#[test]
fn bad_arguments_are_errors_that_say_what_to_do() {
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
    bad(Rate::new(1, Duration::ZERO).map(|_| one.into()), "can't be zero");
    bad(Limit::with_burst(rate(1, DAY), 0).map(Into::into), "a burst of 0");
    // And nothing was created.
    let place = Place::new();
    assert!(place.limit("api").open(0, DAY).is_err());
    assert!(place.limit("api").permits(0).open(1, DAY).is_err());
    assert_eq!(error_of(place.limit("api").attach()).0, ErrorKind::NotFound);
}

#[test]
fn a_request_for_nothing_is_an_error() {
    let place = Place::new();
    let limit = two_at_a_time(&place);
    assert_eq!(error_of(limit.try_acquire(0)).0, ErrorKind::InvalidInput);
    assert_eq!(error_of(limit.try_acquire(0)).0, ErrorKind::InvalidInput);
    assert_eq!(limit.inspect().unwrap().permits_held, 0);
}
