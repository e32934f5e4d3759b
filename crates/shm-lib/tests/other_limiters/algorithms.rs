//! The package "Rate Limiting Algorithms": its leaky bucket, token bucket and GCRA "should all produce identical results with
//! identical parameters". Its capacity is the burst here.

use crate::{Fixture, ROUNDING, assert_times, error_of, is_denied, ms, rate, take_all};
use shm_lib::{Cost, ErrorKind, Limit, Nanos, RateLimit, Unit};
use std::time::Duration;

/// The same limit under its three names.
fn by_every_name(capacity: u64, per: Duration) -> [(&'static str, Limit); 3] {
    let rate = rate(capacity, per);
    [
        ("token", Limit::token_bucket(rate).unwrap()),
        ("leaky", Limit::leaky_bucket(rate).unwrap()),
        ("gcra", Limit::with_burst(rate, capacity).unwrap()),
    ]
}

/// When each of these amounts is due after the first, by the GCRA's definition: `TAT = max(now, TAT) + n·T`,
/// `τ = T·(capacity − n)`.
fn by_definition(amounts: &[u64], capacity: u64, per: Duration) -> Vec<Duration> {
    let interval = per / capacity as u32;
    let mut taken = 0;
    amounts
        .iter()
        .map(|&n| {
            taken += n;
            interval * taken.saturating_sub(capacity) as u32
        })
        .collect()
}

/// Reserves turns for these amounts, one after the other, and checks their instants relative to the first.
#[track_caller]
fn assert_turns(name: &str, limit: &RateLimit, amounts: &[u64], expected: &[Duration]) {
    let turns: Vec<Nanos> =
        amounts.iter().map(|&n| limit.reserve(n).unwrap().commit().unwrap().at()).collect();
    for (i, (at, &due)) in turns.iter().zip(expected).enumerate() {
        let after = at.since(turns[0]);
        // An amount that is due at 0 is admitted whenever the test requests it.
        let allowed = if due.is_zero() { ms(200) } else { ROUNDING };
        assert!(after.abs_diff(due) <= allowed, "{name}: number {i} after {after:?}, not {due:?}");
    }
}

#[test]
fn gcra_of_3_per_1500_ms_admits_at_0_0_0_500_1000_1500() {
    let fixture = Fixture::new();
    for (name, limit) in by_every_name(3, ms(1_500)) {
        let limit = fixture.policy(name, limit);
        assert_times(&limit.schedule(1, 7).unwrap(), &[0, 0, 0, 500, 1_000, 1_500, 2_000].map(ms));
    }
}

#[test]
fn all_three_names_of_the_bucket_give_the_same_turns() {
    let fixture = Fixture::new();
    let amounts = [1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2];
    let expected = by_definition(&amounts, 10, ms(5_000));
    assert_eq!(expected[6..9], [ms(0), ms(1_000), ms(1_500)]);
    for (name, limit) in by_every_name(10, ms(5_000)) {
        assert_turns(name, &fixture.policy(name, limit), &amounts, &expected);
    }
}

#[test]
fn a_leaky_bucket_of_4_per_2_s_admits_4_then_one_every_half_second() {
    let fixture = Fixture::new();
    for (name, limit) in by_every_name(4, ms(2_000)) {
        let amounts = [1; 10];
        assert_turns(name, &fixture.policy(name, limit), &amounts, &by_definition(&amounts, 4, ms(2_000)));
    }
}

/// After half of the time the level is half: in the original 4 − 2 after a second, here after 100 ms.
#[test]
fn the_level_leaks_evenly() {
    let fixture = Fixture::new();
    let limit = fixture.policy("leaky", Limit::leaky_bucket(rate(4, ms(200))).unwrap());
    let first = limit.try_acquire(4).unwrap().admission().unwrap().at();
    for _ in 0..5 {
        let earliest = shm_lib::now();
        let level = limit.status().unwrap().used;
        let latest = shm_lib::now();
        let level_at =
            |now: Nanos| (ms(200).saturating_sub(now.since(first))).as_nanos().div_ceil(50_000_000);
        assert!((level_at(latest)..=level_at(earliest)).contains(&u128::from(level)), "{level}");
        std::thread::sleep(ms(50));
    }
    assert_eq!(limit.status().unwrap().used, 0);
    assert_eq!(limit.status().unwrap().available, 4);
}

/// At 4 per 200 ms, a caller works 30 ms after each of 7 admissions; the bucket leaks meanwhile.
#[test]
fn a_slow_caller_waits_less_and_stays_within_the_limit() {
    let fixture = Fixture::new();
    for (name, limit) in by_every_name(4, ms(200)) {
        let limit = fixture.policy(name, limit);
        let mut times = Vec::new();
        for _ in 0..7 {
            times.push(limit.wait().unwrap().at());
            std::thread::sleep(ms(30));
        }
        // Call k cannot be admitted before the bucket has refilled for it.
        for (k, at) in times.iter().enumerate().skip(4) {
            assert!(at.since(times[0]) + ROUNDING >= ms(50) * (k as u32 - 3), "{name} {times:?}");
        }
        assert!(times[6].since(times[0]) < ms(1_500));
    }
}

/// In the original, `acquire(n)` only checks for room for one.
#[test]
fn a_request_for_n_needs_n() {
    let fixture = Fixture::new();
    for (name, limit) in by_every_name(4, Duration::from_secs(4_000)) {
        let limit = fixture.policy(name, limit);
        assert!(limit.try_acquire(2).unwrap().is_admitted());
        assert!(is_denied(&limit.try_acquire(3).unwrap()));
        assert!(limit.try_acquire(2).unwrap().is_admitted());
        assert!(is_denied(&limit.try_acquire(1).unwrap()));
    }
}

/// Negative amounts, which the original rejects, cannot be written here: amounts are unsigned.
#[test]
fn costs_of_zero_and_above_the_capacity_are_errors() {
    let fixture = Fixture::new();
    for (name, limit) in by_every_name(4, ms(2_000)) {
        let limit = fixture.policy(name, limit);
        let (kind, message) = error_of(limit.acquire(5).wait());
        assert_eq!(kind, ErrorKind::NeverAdmissible);
        assert!(message.contains('5') && message.contains('4'), "{message}");
        assert_eq!(error_of(limit.try_acquire(5)).0, ErrorKind::NeverAdmissible);
        assert_eq!(error_of(limit.reserve(u64::MAX)).0, ErrorKind::NeverAdmissible);
        assert_eq!(error_of(limit.acquire(0).wait()).0, ErrorKind::InvalidInput);
        assert_eq!(take_all(&limit).len(), 4);
    }
}

/// "We wait until the request can be completed barring a timeout."
#[test]
fn an_unreachable_timeout_charges_nothing_and_returns_immediately() {
    let fixture = Fixture::new();
    let limit = fixture.policy("leaky", Limit::leaky_bucket(rate(4, Duration::from_secs(4_000))).unwrap());
    assert!(limit.acquire(4).timeout(ms(10)).wait().unwrap().is_admitted());
    let asked = shm_lib::now();
    assert!(is_denied(&limit.acquire(1).timeout(Duration::from_secs(60)).wait().unwrap()));
    assert!(shm_lib::now().since(asked) < Duration::from_secs(30));
    assert_eq!(limit.status().unwrap().queued, 0);
}

/// The original's `reconcile(actual, estimated)`, for a model's tokens.
#[test]
fn an_estimate_can_be_settled_up_and_down() {
    let fixture = Fixture::new();
    let tokens = Unit::named("tokens").unwrap();
    let hour = Duration::from_secs(3_600);
    let limit = Limit::token_bucket(rate(1_000, hour)).unwrap().counting(tokens);
    let limit = fixture.policy("model", limit);
    let ask = |n| Cost::one().and(tokens, n);
    let used = || limit.status().unwrap().limits[0].used;

    let mut less = limit.acquire(ask(500)).wait().unwrap();
    limit.settle(&mut less, ask(200)).unwrap();
    assert_eq!(used(), 200);
    let mut more = limit.acquire(ask(100)).wait().unwrap();
    limit.settle(&mut more, ask(400)).unwrap();
    assert_eq!(used(), 600);
    // A debt may exceed the bucket; later requests then wait until it is paid off.
    let mut far_more = limit.acquire(ask(400)).wait().unwrap();
    limit.settle(&mut far_more, ask(1_400)).unwrap();
    assert_eq!(used(), 1_000);
    let wait = limit.try_acquire(ask(1)).unwrap().retry_after().unwrap();
    assert!(wait > hour - ms(60_000) && wait <= hour + hour / 1_000, "{wait:?}");
    assert_eq!(error_of(limit.settle(&mut less, ask(0))).0, ErrorKind::InvalidInput);
}
