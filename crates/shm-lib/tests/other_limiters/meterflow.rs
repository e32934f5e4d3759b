//! MeterFlow: `POST /schedule {"num_calls": 5}` returns how long to wait before each call.

use crate::{Fixture, assert_never_over, assert_times, error_of, in_threads, ms, take_all};
use shm_lib::{ErrorKind, Nanos, OnMismatch, RateLimit};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// 2 requests per second.
fn resource(fixture: &Fixture) -> RateLimit {
    fixture.limit("rate_limited_resource").greedy().open(2, SECOND).unwrap()
}

fn seconds<const N: usize>(times: [u64; N]) -> [Duration; N] {
    times.map(Duration::from_secs)
}

#[test]
fn schedules_at_two_a_second_are_0_0_1_1_2_then_2_3_3_4_4() {
    let fixture = Fixture::new();
    let limit = resource(&fixture);
    let mut turns = limit.schedule(1, 5).unwrap();
    assert_times(&turns, &seconds([0, 0, 1, 1, 2]));
    turns.extend(limit.schedule(1, 5).unwrap());
    assert_times(&turns, &seconds([0, 0, 1, 1, 2, 2, 3, 3, 4, 4]));
}

/// MeterFlow's whole seconds admit 4 calls within 0.11 s.
#[test]
fn schedules_of_single_calls_obey_every_window() {
    let fixture = Fixture::new();
    let limit = fixture.limit("r").greedy().open(2, ms(20)).unwrap();
    let mut turns = Vec::new();
    for _ in 0..30 {
        turns.extend(limit.schedule(1, 1).unwrap());
        std::thread::sleep(ms(3));
    }
    assert_never_over(&mut turns, 2, ms(20));
}

#[test]
fn an_updated_rate_applies_immediately() {
    let fixture = Fixture::new();
    let limit = resource(&fixture);
    assert_eq!(take_all(&limit).len(), 2);
    limit.change(3, SECOND).unwrap();
    // Two of the three calls of this second are used, so one is left.
    let turns = limit.schedule(1, 4).unwrap();
    let times: Vec<Duration> = turns.iter().map(|at| at.since(turns[0])).collect();
    assert!(times[1] > ms(0) && times[1] <= SECOND, "{times:?}");
    let mut all = turns.clone();
    assert_never_over(&mut all, 3, SECOND);
}

/// In MeterFlow, lowering a rate that is fully used has no effect on its schedule.
#[test]
fn lowering_a_saturated_rate_slows_it_down() {
    let fixture = Fixture::new();
    let limit = fixture.limit("r").greedy().open(20, ms(400)).unwrap();
    assert_eq!(take_all(&limit).len(), 20);
    limit.change(2, ms(400)).unwrap();
    let mut turns = limit.schedule(1, 6).unwrap();
    assert!(turns[0] > shm_lib::now());
    assert_never_over(&mut turns, 2, ms(400));
    assert_eq!(turns[4].since(turns[2]).as_millis(), 400);
}

#[test]
fn a_retired_name_can_be_created_again_with_a_full_budget() {
    let fixture = Fixture::new();
    let old = resource(&fixture);
    let _ = old.schedule(1, 5).unwrap();
    old.retire().unwrap();
    assert_eq!(error_of(old.schedule(1, 1)).0, ErrorKind::Retired);
    assert_eq!(error_of(fixture.limit("rate_limited_resource").attach()).0, ErrorKind::NotFound);
    assert_times(&resource(&fixture).schedule(1, 5).unwrap(), &seconds([0, 0, 1, 1, 2]));
}

/// Requests that MeterFlow answers with 400, 404 and 409.
#[test]
fn invalid_requests_are_errors_and_charge_nothing() {
    let fixture = Fixture::new();
    assert_eq!(error_of(fixture.limit("unknown").attach()).0, ErrorKind::NotFound);
    let limit = resource(&fixture);
    assert_eq!(error_of(limit.schedule(1, 0)).0, ErrorKind::InvalidInput);
    assert_eq!(error_of(limit.schedule(1, usize::MAX)).0, ErrorKind::InvalidInput);
    let other = || fixture.limit("rate_limited_resource").greedy();
    let (kind, message) = error_of(other().open(3, SECOND));
    assert_eq!(kind, ErrorKind::Mismatch);
    assert!(message.contains("2/s") && message.contains("3/s"), "{message}");
    assert_eq!(take_all(&limit).len(), 2);
}

/// MeterFlow's PUT: opening the limiter and changing its rate is a single step here.
#[test]
fn on_mismatch_change_updates_the_rate() {
    let fixture = Fixture::new();
    let limit = resource(&fixture);
    let other = fixture.limit("rate_limited_resource").greedy().on_mismatch(OnMismatch::Change);
    assert!(other.open(3, SECOND).is_ok());
    assert_eq!(take_all(&limit).len(), 3);
}

/// In MeterFlow, two resources under load bring the server down.
#[test]
fn two_resources_under_load_keep_their_own_limits() {
    let fixture = Fixture::new();
    let resources = ["a", "b"].map(|name| fixture.limit(name).greedy().open(5, ms(10)).unwrap());
    let all = in_threads(8, |i| {
        (0..50).flat_map(|_| resources[i % 2].schedule(1, 3).unwrap()).collect::<Vec<Nanos>>()
    });
    for i in 0..2 {
        let mut turns = all.iter().skip(i).step_by(2).flatten().copied().collect::<Vec<Nanos>>();
        assert_eq!(turns.len(), 600);
        assert_never_over(&mut turns, 5, ms(10));
        assert!(turns[599].since(turns[0]) < ms(119 * 10 + 3_000));
    }
}
