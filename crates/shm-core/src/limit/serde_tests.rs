//! Every valid policy is read as it was written; invalid input is rejected with the reason.

use super::*;
use proptest::prelude::*;

fn limits() -> impl Strategy<Value = Limit> {
    let rate = (1u64..1_000_000, 1u64..4_000).prop_map(|(max, seconds)| {
        Rate::new(max, Duration::from_secs(seconds) + Duration::from_nanos(max)).unwrap()
    });
    let unit = prop_oneof![
        Just(Unit::CALLS),
        "[a-z][a-zA-Z0-9_.-]{0,20}x".prop_map(|name| Unit::named(&name).unwrap())
    ];
    let starts = prop_oneof![Just(Start::Epoch), Just(Start::FirstUse)];
    (rate, unit, starts, 0u8..4, 1u64..10_000, 0u64..1_000_000_000).prop_map(
        |(rate, unit, start, kind, burst, guard)| {
            match kind {
                0 => Limit::with_burst(rate, burst),
                1 => Limit::greedy(rate).and_then(|limit| limit.guarded(Duration::from_nanos(guard))),
                2 => Limit::fixed_window(rate, start),
                _ => Limit::sliding_counter(rate),
            }
            .unwrap()
            .counting(unit)
        },
    )
}

proptest! {
    #[test]
    fn policies_round_trip(
        all in prop::collection::vec(limits(), 0..=4),
        permits in 0u32..=65_535,
        shadow: bool,
        max_waiters: Option<u32>,
    ) {
        let policy = if all.is_empty() { Policy::of_permits(permits.max(1)) } else { Policy::new(&all) };
        let mut policy = policy.unwrap().in_shadow(shadow);
        if permits > 0 {
            policy = policy.with_permits(permits).unwrap();
        }
        policy = max_waiters.map_or(policy, |n| policy.with_max_waiters(n));
        let text = serde_json::to_string(&policy).unwrap();
        prop_assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy, "{}", text);
        for limit in all {
            let kind = serde_json::to_string(&limit.kind()).unwrap();
            prop_assert_eq!(serde_json::from_str::<Kind>(&kind).unwrap(), limit.kind(), "{}", kind);
        }
    }
}

#[test]
fn the_serialized_form_is_stable() {
    let policy = Policy::new(&[
        Limit::patient("5/s".parse().unwrap()),
        Limit::greedy("500/m".parse().unwrap()).unwrap().guarded(Duration::from_millis(50)).unwrap(),
        Limit::fixed_window("9/h".parse().unwrap(), Start::FirstUse).unwrap(),
        Limit::sliding_counter("7/h".parse().unwrap()).unwrap().counting(Unit::named("tokens").unwrap()),
    ])
    .and_then(|policy| policy.with_permits(2))
    .unwrap();
    assert_eq!(
        serde_json::to_value(policy).unwrap(),
        serde_json::json!({"permits": 2, "shadow": false, "limit": [
            {"rate": "5/s", "kind": "bucket", "burst": 1},
            {"rate": "500/m", "kind": "greedy", "guard": "50ms"},
            {"rate": "9/h", "kind": "fixed-window", "start": "first-use"},
            {"rate": "7/h", "kind": "sliding-counter", "unit": "tokens"},
        ]})
    );
    assert_eq!(
        serde_json::to_value(Policy::of_permits(3).unwrap().with_max_waiters(10)).unwrap(),
        serde_json::json!({"permits": 3, "shadow": false, "max_waiters": 10, "limit": []})
    );
}

#[test]
fn omitted_fields_get_defaults() {
    let read = |text: &str| serde_json::from_str::<Policy>(text).unwrap();
    let five = Limit::patient("5/s".parse().unwrap());
    assert_eq!(read(r#"{"limit": [{"rate": "5/s"}]}"#), five.into());
    assert_eq!(read(r#"{"limits": [{"rate": "5/s", "unit": "calls"}]}"#), five.into());
    let tokens = read(r#"{"limit": [{"rate": "900/m", "unit": "tokens"}]}"#).first().unwrap();
    assert_eq!((tokens.burst(), tokens.unit().name()), (900, "tokens"));
    assert_eq!(read(r#"{"permits": 3}"#), Policy::of_permits(3).unwrap());
    let waiting = read(r#"{"limit": [{"rate": "5/s"}], "max_waiters": 10}"#);
    assert_eq!(waiting, Policy::from(five).with_max_waiters(10));
}

#[test]
fn invalid_policies_are_rejected_with_the_reason() {
    for (text, why) in [
        (r"{}", "needs a limit or permits"),
        (r#"{"limit": []}"#, "needs a limit or permits"),
        (r#"{"permits": 0}"#, "choose 1 to"),
        (r#"{"max_waiters": 3}"#, "needs a limit or permits"),
        (r#"{"permits": 3, "max_waiters": -1}"#, "expected u32"),
        (r#"{"limit": [{"rate": "5"}]}"#, "write MAX/PER"),
        (r#"{"limit": [{"burst": 3}]}"#, "missing field `rate`"),
        (r#"{"limit": [{"rate": "5/s", "kind": "leaky"}]}"#, "expected one of `bucket`, `greedy`"),
        (r#"{"limit": [{"rate": "5/s", "brust": 3}]}"#, "unknown field `brust`"),
        (r#"{"limit": [{"rate": "5/s"}], "permit": 3}"#, "unknown field `permit`"),
        (r#"{"limit": [{"rate": "5/s", "burst": 0}]}"#, "smallest burst is 1"),
        (r#"{"limit": [{"rate": "5/s", "guard": "1ms"}]}"#, "omit the guard"),
        (r#"{"limit": [{"rate": "5/s", "kind": "greedy", "guard": "1"}]}"#, "not a valid duration"),
        (r#"{"limit": [{"rate": "5/s", "kind": "greedy", "burst": 2}]}"#, "only a bucket has a burst"),
        (r#"{"limit": [{"rate": "5/s", "start": "epoch"}]}"#, "only fixed windows have a start"),
        (r#"{"limit": [{"rate": "5/s", "unit": "a b"}]}"#, "is not a valid unit"),
        (r#"{"limit": [{"rate": "5/s"}], "permits": 0}"#, "choose 1 to"),
        (
            r#"{"limit": [{"rate":"1/s"},{"rate":"2/s"},{"rate":"3/s"},{"rate":"4/s"},{"rate":"5/s"}]}"#,
            "at most 4",
        ),
    ] {
        let error = serde_json::from_str::<Policy>(text).expect_err(text).to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

/// A kind alone has no rate that would limit its burst.
#[test]
fn kinds_are_read_with_any_burst() {
    let kind = Kind::Bucket { burst: (1 << 58).try_into().unwrap() };
    let text = serde_json::to_string(&kind).unwrap();
    assert_eq!(serde_json::from_str::<Kind>(&text).unwrap(), kind);
    let error = serde_json::from_str::<Kind>(r#"{"kind": "greedy", "burst": 2}"#).unwrap_err();
    assert!(error.to_string().contains("only a bucket"), "{error}");
}

#[test]
fn snapshot_fields_name_their_unit() {
    let seen = crate::limit::LimitStatus { available: 1, used: 2, next_at: Nanos::from_nanos(3), queued: 4 };
    assert_eq!(
        serde_json::to_value(seen).unwrap(),
        serde_json::json!({"available": 1, "used": 2, "next_at_ns": 3, "queued": 4})
    );
    #[cfg(not(model))]
    {
        let counts = crate::Counts { waited_time: Duration::from_secs(1), ..Default::default() };
        assert_eq!(serde_json::to_value(counts).unwrap()["waited_time_ns"], 1_000_000_000u64);
    }
}
