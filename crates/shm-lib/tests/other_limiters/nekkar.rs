//! nekkar: functions with the same name share its limit, 100 per 60 s by a sliding log. A minute is 600 ms here.

use crate::{Fixture, ROUNDING, assert_never_over, error_of, in_threads, ms, take_all, try_one};
use shm_lib::{ErrorKind, Nanos, RateLimit};
use std::time::Duration;

const MINUTE: Duration = Duration::from_millis(600);

fn named(fixture: &Fixture, name: &str, per_minute: u64) -> RateLimit {
    fixture.limit(name).greedy().open(per_minute, MINUTE).unwrap()
}

#[test]
fn functions_with_the_same_name_share_their_limit() {
    let fixture = Fixture::new();
    let get_a = || named(&fixture, "some_id_a", 100).wait().unwrap().at();
    let update_a = || named(&fixture, "some_id_a", 100).wait().unwrap().at();
    let mut times: Vec<Nanos> = (0..75).flat_map(|_| [get_a(), update_a()]).collect();
    assert_never_over(&mut times, 100, MINUTE);
    assert!(times[149].since(times[0]) < ms(3_000));
}

#[test]
fn another_name_has_its_own_limit() {
    let fixture = Fixture::new();
    let (a, b) = (named(&fixture, "some_id_a", 100), named(&fixture, "another_id_b", 250));
    // Turns reserved far ahead keep the first limiter full, however long the test takes.
    let _ = a.schedule(1, 1_000).unwrap();
    assert!(try_one(&a).is_none());
    assert!(take_all(&b).len() >= 250);
}

#[test]
fn a_hundred_are_admitted_at_once_and_the_next_after_a_minute() {
    let fixture = Fixture::new();
    let limit = named(&fixture, "id", 100);
    let times: Vec<Nanos> = (0..100).map(|_| limit.reserve(1).unwrap().commit().unwrap().at()).collect();
    let next = limit.reserve(1).unwrap();
    assert!(times[99].since(times[0]) < MINUTE);
    assert!(next.at().since(times[0]) >= MINUTE && next.at().since(times[0]) <= MINUTE + ROUNDING);
}

/// nekkar loses its history at about 52,000 hits, when it exceeds the cache's maximum value size.
#[test]
fn the_history_is_never_forgotten() {
    let fixture = Fixture::new();
    let limit = fixture.limit("id").greedy().open(60_000, Duration::from_secs(3_600)).unwrap();
    for _ in 0..60 {
        assert!(limit.try_acquire(1_000).unwrap().is_admitted());
    }
    assert!(try_one(&limit).is_none());
    assert_eq!(limit.status().unwrap().used, 60_000);
}

/// nekkar's lock can be stolen from a stalled holder, so that two executors hold it at once.
#[test]
fn concurrent_executors_never_exceed_the_limit() {
    let fixture = Fixture::new();
    let mut times = in_threads(8, |_| {
        let limit = fixture.limit("id").greedy().open(50, ms(50)).unwrap();
        (0..25).map(|_| limit.wait().unwrap().at()).collect::<Vec<_>>()
    })
    .concat();
    assert_never_over(&mut times, 50, ms(50));
    assert!(times[199].since(times[0]) < ms(3_000));
}

/// Waiting in nekkar uses 0.6 s of CPU time per second.
#[test]
fn waiting_uses_no_cpu_time() {
    let fixture = Fixture::new();
    let limit = fixture.limit("id").open(1, ms(400)).unwrap();
    let _ = limit.wait().unwrap();
    let before = thread_cpu_time();
    assert!(limit.wait().unwrap().waited() > ms(300));
    assert!(thread_cpu_time() - before < ms(40));
}

fn thread_cpu_time() -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec to write to.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut t) };
    assert_eq!(result, 0);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// In nekkar an invalid name fails somewhere in the cache.
#[test]
fn an_invalid_name_is_an_error_at_open() {
    let fixture = Fixture::new();
    for name in ["", ".", "..", "a/b", "a\0b", &"x".repeat(1_000)] {
        let (kind, message) = error_of(fixture.limit(name).open(100, MINUTE));
        assert_eq!(kind, ErrorKind::InvalidName, "{name:?}: {message}");
    }
}

/// nekkar loses everything when its cache restarts; here the limiter outlives every process that uses it.
#[test]
fn a_limiter_outlives_its_processes() {
    let fixture = Fixture::new();
    let hour = Duration::from_secs(3_600);
    let limit = fixture.limit("id").greedy().open(100, hour).unwrap();
    assert_eq!(take_all(&limit).len(), 100);
    drop(limit);
    assert!(try_one(&fixture.limit("id").greedy().open(100, hour).unwrap()).is_none());
}
