//! Idle time is not credited twice, and fractions between polls are not thrown away. (Another shared limiter failed in both.)

use harness::arena::assert_never_over;
use harness::{Arena, alone};
use shm_lib::{Outcome, RateLimit};
use std::time::{Duration, Instant};

/// Takes what there is; the times.
fn take_all(limit: &RateLimit) -> Vec<u64> {
    std::iter::from_fn(|| match limit.try_acquire(1).unwrap() {
        Outcome::Admitted(admission) => Some(admission.at().as_nanos()),
        Outcome::Denied(_) => None,
    })
    .collect()
}

/// 100/s with a burst of 100, idle for 1.2 s: the other one admitted 200 in 40 µs.
#[test]
fn idle_time_refills_the_burst_only_once() {
    let _alone = alone();
    let arena = Arena::new("100/s", 100);
    let limit = arena.open();
    let mut times = take_all(&limit);
    assert!(times.len() >= 100);
    std::thread::sleep(Duration::from_millis(1_200));
    let began = Instant::now();
    let after = take_all(&limit);
    let refilled = began.elapsed().as_millis() / 10 + 1;
    assert!(after.len() >= 100 && after.len() as u128 <= 100 + refilled, "{} at once", after.len());
    times.extend(after);
    assert_never_over(arena.limit(), &times);
}

/// 1000/s, asked every 1.9 ms: the other one delivered 1578 of 3000. The burst bridges late polls; what a poll finds
/// it takes, so no fraction is lost in between.
#[test]
fn fractions_of_a_call_between_polls_are_kept() {
    let _alone = alone();
    let arena = Arena::new("1000/s", 100);
    let limit = arena.open();
    let mut times = take_all(&limit);
    // From an empty bucket on.
    let start = *times.last().unwrap();
    let mut polled = 0;
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        std::thread::sleep(Duration::from_micros(1_900));
        let got = take_all(&limit);
        polled += got.len();
        times.extend(got);
    }
    let span = Duration::from_nanos(times.last().unwrap() - start);
    let nominal = span.as_secs_f64() * 1_000.0;
    assert!(polled as f64 >= 0.999 * nominal - 1.0, "{polled} of {nominal:.1}");
    assert_never_over(arena.limit(), &times);
}
