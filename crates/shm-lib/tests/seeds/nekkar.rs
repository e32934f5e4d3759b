//! nekkar: functions that share a name share its limit; 100 per 60 s by a sliding log. A minute is 600 ms here.

use crate::{Place, ROUNDING, assert_never_over, error_of, in_threads, ms, take_all, try_one};
use shm_lib::{ErrorKind, Nanos, RateLimit};
use std::time::Duration;

const MINUTE: Duration = Duration::from_millis(600);

fn named(place: &Place, name: &str, per_minute: u64) -> RateLimit {
    place.limit(name).greedy().open(per_minute, MINUTE).unwrap()
}

#[test]
fn functions_with_the_same_name_share_their_limit() {
    let place = Place::new();
    let get_a = || named(&place, "some_id_a", 100).wait().unwrap().at();
    let update_a = || named(&place, "some_id_a", 100).wait().unwrap().at();
    let mut times: Vec<Nanos> = (0..75).flat_map(|_| [get_a(), update_a()]).collect();
    assert_never_over(&mut times, 100, MINUTE);
    assert!(times[149].since(times[0]) < ms(3_000));
}

#[test]
fn another_name_has_its_own_limit() {
    let place = Place::new();
    let (a, b) = (named(&place, "some_id_a", 100), named(&place, "another_id_b", 250));
    // Turns ahead fill the first, whatever time the test takes.
    let _ = a.schedule(1, 1_000).unwrap();
    assert!(try_one(&a).is_none());
    assert!(take_all(&b).len() >= 250);
}

#[test]
fn a_hundred_pass_at_once_and_the_next_a_minute_after_the_first() {
    let place = Place::new();
    let limit = named(&place, "id", 100);
    let times: Vec<Nanos> = (0..100).map(|_| limit.reserve(1).unwrap().commit().unwrap().at()).collect();
    let next = limit.reserve(1).unwrap();
    assert!(times[99].since(times[0]) < MINUTE);
    assert!(next.at().since(times[0]) >= MINUTE && next.at().since(times[0]) <= MINUTE + ROUNDING);
}

/// Its history is lost at some 52,000 hits, when it outgrows what the cache takes.
#[test]
fn the_history_is_never_forgotten() {
    let place = Place::new();
    let limit = place.limit("id").greedy().open(60_000, Duration::from_secs(3_600)).unwrap();
    for _ in 0..60 {
        assert!(limit.try_acquire(1_000).unwrap().is_admitted());
    }
    assert!(try_one(&limit).is_none());
    assert_eq!(limit.peek().unwrap().used, 60_000);
}

/// Its lock can be stolen from a stalled holder, and then two are inside at once.
#[test]
fn executors_at_the_same_time_never_go_over() {
    let place = Place::new();
    let mut times = in_threads(8, |_| {
        let limit = place.limit("id").greedy().open(50, ms(50)).unwrap();
        (0..25).map(|_| limit.wait().unwrap().at()).collect::<Vec<_>>()
    })
    .concat();
    assert_never_over(&mut times, 50, ms(50));
    assert!(times[199].since(times[0]) < ms(3_000));
}

/// Its waits take 0.6 s of the processor for each second.
#[test]
fn waiting_takes_no_processor_time() {
    let place = Place::new();
    let limit = place.limit("id").open(1, ms(400)).unwrap();
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

/// There, a bad name fails somewhere in the cache.
#[test]
fn a_name_that_can_not_be_is_refused_at_once() {
    let place = Place::new();
    for name in ["", ".", "..", "a/b", "a\0b", &"x".repeat(1_000)] {
        let (kind, message) = error_of(place.limit(name).open(100, MINUTE));
        assert_eq!(kind, ErrorKind::InvalidName, "{name:?}: {message}");
    }
}

/// A restart of the cache forgets everything there: here the limiter outlives every process that uses it.
#[test]
fn it_outlives_those_who_use_it() {
    let place = Place::new();
    let hour = Duration::from_secs(3_600);
    let limit = place.limit("id").greedy().open(100, hour).unwrap();
    assert_eq!(take_all(&limit).len(), 100);
    drop(limit);
    assert!(try_one(&place.limit("id").greedy().open(100, hour).unwrap()).is_none());
}
