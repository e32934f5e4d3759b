//! Every setting of a builder is used or refused, never ignored.

use shm_lib::{Builder, Error, ErrorKind, Limit, OnMismatch, Rate, RateLimit, Result, Start, Zone};
use std::time::Duration;

fn five() -> Rate {
    Rate::per_second(5).unwrap()
}

/// The error of the completing method `with` after these settings.
fn refusal(
    settings: impl FnOnce(Builder) -> Builder,
    with: impl FnOnce(Builder) -> Result<RateLimit>,
) -> Error {
    let dir = tempfile::tempdir().unwrap();
    let builder = settings(RateLimit::builder("x").directory(dir.path()));
    let error = with(builder).expect_err("a setting was lost");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a file was created");
    error
}

type Setting = fn(Builder) -> Builder;

const RATE_SETTINGS: [(&str, Setting); 7] = [
    ("burst", |b| b.burst(4)),
    ("greedy", |b| b.greedy()),
    ("fixed_window", |b| b.fixed_window(Start::Epoch)),
    ("calendar_window", |b| b.calendar_window(Zone::UTC)),
    ("sliding_counter", |b| b.sliding_counter()),
    ("guard", |b| b.guard(Duration::from_millis(1))),
    ("and", |b| b.and(Limit::patient(five()))),
];
const POLICY_SETTINGS: [(&str, Setting); 3] =
    [("permits", |b| b.permits(4)), ("max_waiters", |b| b.max_waiters(4)), ("shadow", |b| b.shadow())];
const FILE_SETTINGS: [(&str, Setting); 3] = [
    ("mode", |b| b.mode(0o600)),
    ("seats", |b| b.seats(4)),
    ("on_mismatch", |b| b.on_mismatch(OnMismatch::Keep)),
];

#[test]
fn an_unusable_setting_is_an_error_that_names_it() {
    let named = |error: &Error, setting: &str| error.to_string().contains(&format!("`{setting}`"));
    for (name, setting) in RATE_SETTINGS.into_iter().chain(POLICY_SETTINGS) {
        let error = refusal(setting, |b| b.open_policy(Limit::patient(five())));
        assert!(named(&error, name) && error.to_string().contains("part of the policy"), "{error}");
    }
    for (name, setting) in RATE_SETTINGS {
        let error = refusal(|b| setting(b.permits(2)), Builder::open_permits);
        assert!(named(&error, name) && error.to_string().contains("open it with a rate"), "{error}");
    }
    for (name, setting) in RATE_SETTINGS.into_iter().chain(POLICY_SETTINGS).chain(FILE_SETTINGS) {
        let error = refusal(setting, Builder::attach);
        assert!(named(&error, name) && error.to_string().contains("leave it out"), "{error}");
        let builder = setting(RateLimit::builder("x").directory("/nonexistent"));
        let error = builder.remove_by_force().expect_err("a setting was lost");
        assert!(error.kind() == ErrorKind::InvalidInput && named(&error, name), "{error}");
    }
}

#[test]
fn two_kinds_of_limit_are_an_error_that_names_both() {
    let ways = &RATE_SETTINGS[..5];
    for (i, (one, first)) in ways.iter().enumerate() {
        for (other, second) in &ways[i + 1..] {
            for error in [
                refusal(|b| second(first(b)), |b| b.open_rate(five())),
                refusal(|b| first(second(b)), |b| b.open_rate(five())),
            ] {
                let message = error.to_string();
                assert!(message.contains(one) && message.contains(other), "{message}");
            }
        }
    }
    let error = refusal(|b| b.guard(Duration::from_millis(1)), |b| b.open_rate(five()));
    assert!(error.to_string().contains("needs `greedy`"), "{error}");
}

#[test]
fn a_guard_lengthens_the_window_of_a_greedy_limit() {
    let dir = tempfile::tempdir().unwrap();
    let guard = Duration::from_millis(50);
    let exchange = || RateLimit::builder("exchange").directory(dir.path()).greedy();
    let limit = exchange().guard(guard).open_rate(five()).unwrap();
    assert_eq!(limit.limit().unwrap(), Limit::greedy(five()).unwrap().guarded(guard).unwrap());
    // A stated guard must match, as a stated burst must.
    exchange().open_rate(five()).unwrap();
    let mismatch = exchange().guard(2 * guard).open_rate(five()).unwrap_err();
    assert_eq!(mismatch.kind(), ErrorKind::Mismatch);
}

#[test]
fn open_policy_uses_mode_seats_and_on_mismatch() {
    let dir = tempfile::tempdir().unwrap();
    let builder =
        RateLimit::builder("x").directory(dir.path()).mode(0o600).seats(3).on_mismatch(OnMismatch::Change);
    let limit = builder.open_policy(Limit::patient(five())).unwrap();
    assert_eq!(limit.inspect().unwrap().seats, 3);
}
