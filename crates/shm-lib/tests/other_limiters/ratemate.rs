//! ratemate: `RateLimit(max_count=2, per=5)`, patient or greedy. Its 5 s are 50 ms here unless stated otherwise.

use crate::{Fixture, ROUNDING, assert_never_over, assert_times, in_threads, ms, rate};
use shm_lib::{Limit, Nanos, RateLimit};
use std::time::Duration;

#[test]
fn patient_spaces_calls_evenly() {
    let fixture = Fixture::new();
    let limit = fixture.limit("api").open(2, ms(50)).unwrap();
    let times: Vec<Nanos> = (0..6).map(|_| limit.wait().unwrap().at()).collect();
    for pair in times.windows(2) {
        assert!(pair[1].since(pair[0]) >= ms(25), "{times:?}");
    }
    assert!(times[5].since(times[0]) < ms(2_000));

    // Reserved turns are exactly that far apart.
    let turns = limit.schedule(1, 6).unwrap();
    assert_times(&turns, &[0, 25, 50, 75, 100, 125].map(ms));
}

#[test]
fn ten_per_minute_is_one_every_six_seconds() {
    let fixture = Fixture::new();
    let limit = fixture.limit("api").open(10, Duration::from_secs(60)).unwrap();
    assert_times(&limit.schedule(1, 4).unwrap(), &[0, 6, 12, 18].map(Duration::from_secs));
    assert_eq!(limit.limit().unwrap().rate().emission_interval(), Duration::from_secs(6));
}

#[test]
fn wait_returns_how_long_it_waited() {
    let fixture = Fixture::new();
    let limit = fixture.limit("api").open(2, ms(200)).unwrap();
    let first = limit.wait().unwrap();
    assert_eq!(first.waited(), Duration::ZERO);
    let asked = shm_lib::now();
    let second = limit.wait().unwrap();
    assert!(second.waited() + ROUNDING >= second.at().since(asked));
    assert!(second.waited() < ms(2_000));
}

#[test]
fn greedy_admits_a_batch_then_obeys_every_window() {
    let fixture = Fixture::new();
    let limit = fixture.limit("api").greedy().open(20, ms(60)).unwrap();
    let mut times: Vec<Nanos> = (0..70).map(|_| limit.wait().unwrap().at()).collect();
    assert_never_over(&mut times, 20, ms(60));
    assert!(times[69].since(times[0]) < ms(2_000));
    // As fast as possible: batches of 20.
    let turns = fixture.limit("other").greedy().open(20, ms(60)).unwrap().schedule(1, 61).unwrap();
    assert_times(&turns, &[&[ms(0); 20][..], &[ms(60); 20], &[ms(120); 20], &[ms(180)]].concat());
}

/// ratemate makes the third call wait for a period after the second one.
#[test]
fn greedy_counts_from_each_call_not_from_the_last_of_a_batch() {
    let fixture = Fixture::new();
    let limit = fixture.limit("api").greedy().open(2, ms(600)).unwrap();
    let first = limit.wait().unwrap().at();
    std::thread::sleep(ms(100));
    let second = limit.wait().unwrap().at();
    let third = limit.reserve(1).unwrap();
    assert!(third.at().since(first.plus(ms(600))) <= ROUNDING && third.at() >= first.plus(ms(600)));
    assert!(third.at().since(second) <= ms(501));
}

/// In ratemate, `RateLimit(1, p, greedy=True)` raises a TypeError.
#[test]
fn greedy_works_with_one_per_period() {
    let fixture = Fixture::new();
    let limit = fixture.limit("api").greedy().open(1, ms(20)).unwrap();
    let mut times: Vec<Nanos> = (0..5).map(|_| limit.wait().unwrap().at()).collect();
    assert_never_over(&mut times, 1, ms(20));
    assert!(times[4].since(times[0]) < ms(1_000));
}

#[test]
fn threads_share_one_limit() {
    let fixture = Fixture::new();
    let limit = fixture.limit("api").open(2, ms(20)).unwrap();
    let mut times = in_threads(20, |_| limit.wait().unwrap().at());
    assert_never_over(&mut times, 2, ms(20));
    assert!(times[19].since(times[0]) >= ms(190));
    assert!(times[19].since(times[0]) < ms(3_000));
    assert_eq!(limit.stats().admitted, 20);
}

/// ratemate's README wishes for "coordination between truly independent processes". Here every handle of a name shares its
/// budget. (The workspace's `tests/` check this with real processes.)
#[test]
fn handles_of_one_name_share_its_budget() {
    let fixture = Fixture::new();
    let mut times = in_threads(8, |_| {
        let mine: RateLimit = fixture.limit("api").greedy().open(4, ms(40)).unwrap();
        [mine.wait().unwrap().at(), mine.wait().unwrap().at()]
    })
    .concat();
    assert_never_over(&mut times, 4, ms(40));
    assert!(times[15].since(times[0]) < ms(3_000));
}

#[test]
fn a_greedy_and_a_patient_limit_apply_together() {
    let fixture = Fixture::new();
    let spaced = Limit::patient(rate(1, ms(5)));
    let limit = fixture.limit("api").greedy().and(spaced).open(3, ms(100)).unwrap();
    let turns = limit.schedule(1, 7).unwrap();
    assert_times(&turns, &[0, 5, 10, 100, 105, 110, 200].map(ms));
}
