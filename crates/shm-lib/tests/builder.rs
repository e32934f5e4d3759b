//! A setting of a builder is used or refused, and never lost.

use shm_lib::{Builder, Error, ErrorKind, Limit, OnMismatch, Rate, RateLimit, Result, Start};
use std::time::Duration;

fn five() -> Rate {
    Rate::per_second(5).unwrap()
}

/// What a builder's ending call says of these settings.
fn end(settings: impl FnOnce(Builder) -> Builder, with: impl FnOnce(Builder) -> Result<RateLimit>) -> Error {
    let dir = tempfile::tempdir().unwrap();
    let builder = settings(RateLimit::builder("x").directory(dir.path()));
    let error = with(builder).expect_err("a setting was lost");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a file was created");
    error
}

type Setting = fn(Builder) -> Builder;

const OF_A_RATE: [(&str, Setting); 6] = [
    ("burst", |b| b.burst(4)),
    ("greedy", |b| b.greedy()),
    ("fixed_window", |b| b.fixed_window(Start::Epoch)),
    ("sliding_counter", |b| b.sliding_counter()),
    ("guard", |b| b.guard(Duration::from_millis(1))),
    ("and", |b| b.and(Limit::patient(five()))),
];
const OF_A_POLICY: [(&str, Setting); 3] =
    [("permits", |b| b.permits(4)), ("max_waiters", |b| b.max_waiters(4)), ("shadow", |b| b.shadow())];
const OF_A_FILE: [(&str, Setting); 3] = [
    ("mode", |b| b.mode(0o600)),
    ("seats", |b| b.seats(4)),
    ("on_mismatch", |b| b.on_mismatch(OnMismatch::Keep)),
];

#[test]
fn a_setting_that_the_ending_call_would_drop_is_an_error_that_names_it() {
    let named = |error: &Error, setting: &str| error.to_string().contains(&format!("`{setting}`"));
    for (name, setting) in OF_A_RATE.into_iter().chain(OF_A_POLICY) {
        let error = end(setting, |b| b.open_policy(Limit::patient(five())));
        assert!(named(&error, name) && error.to_string().contains("part of the policy"), "{error}");
    }
    for (name, setting) in OF_A_RATE {
        let error = end(|b| setting(b.permits(2)), Builder::open_permits);
        assert!(named(&error, name) && error.to_string().contains("open it with a rate"), "{error}");
    }
    for (name, setting) in OF_A_RATE.into_iter().chain(OF_A_POLICY).chain(OF_A_FILE) {
        let error = end(setting, Builder::attach);
        assert!(named(&error, name) && error.to_string().contains("leave it out"), "{error}");
        let builder = setting(RateLimit::builder("x").directory("/nonexistent"));
        let error = builder.remove_by_force().expect_err("a setting was lost");
        assert!(error.kind() == ErrorKind::InvalidInput && named(&error, name), "{error}");
    }
}

#[test]
fn two_ways_to_count_are_an_error_that_names_both() {
    let ways = &OF_A_RATE[..4];
    for (i, (one, first)) in ways.iter().enumerate() {
        for (other, second) in &ways[i + 1..] {
            for error in [
                end(|b| second(first(b)), |b| b.open_rate(five())),
                end(|b| first(second(b)), |b| b.open_rate(five())),
            ] {
                let message = error.to_string();
                assert!(message.contains(one) && message.contains(other), "{message}");
            }
        }
    }
    let error = end(|b| b.guard(Duration::from_millis(1)), |b| b.open_rate(five()));
    assert!(error.to_string().contains("needs `greedy`"), "{error}");
}

#[test]
fn a_guard_lengthens_the_window_of_a_greedy_limit() {
    let dir = tempfile::tempdir().unwrap();
    let guard = Duration::from_millis(50);
    let exchange = || RateLimit::builder("exchange").directory(dir.path()).greedy();
    let limit = exchange().guard(guard).open_rate(five()).unwrap();
    assert_eq!(limit.limit().unwrap(), Limit::greedy(five()).unwrap().guarded(guard).unwrap());
    // It is compared if it is stated, as a burst is.
    exchange().open_rate(five()).unwrap();
    let mismatch = exchange().guard(2 * guard).open_rate(five()).unwrap_err();
    assert_eq!(mismatch.kind(), ErrorKind::Mismatch);
}

#[test]
fn all_settings_that_go_with_a_policy_do() {
    let dir = tempfile::tempdir().unwrap();
    let builder =
        RateLimit::builder("x").directory(dir.path()).mode(0o600).seats(3).on_mismatch(OnMismatch::Change);
    let limit = builder.open_policy(Limit::patient(five())).unwrap();
    assert_eq!(limit.inspect().unwrap().seats, 3);
}
