//! The response fields `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-11.
//!
//! `RateLimit-Policy: "default";q=100;w=60` states a quota of 100 requests per 60 s. `RateLimit: "default";r=50;t=30` states that
//! 50 requests are available now, to be spread over 30 s. Section 8.5 of the draft asks servers not to suggest a faster rate
//! than the policy's. Therefore `t` is the time that `r` requests take at the policy's rate; if `r` is 0, it is the time until
//! a request is available.

use http::{HeaderMap, HeaderName, HeaderValue};
use shm_lib::limit::LimitStatus;
use shm_lib::{Denied, DeniedBy, Limit, Policy, RateLimit, Status};
use std::fmt::Write;
use std::time::Duration;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The largest integer of a structured field (RFC 9651, section 3.3.1).
const MAX_INTEGER: u64 = 999_999_999_999_999;

/// The policy names, escaped for structured strings.
#[derive(Clone, Debug)]
pub(crate) struct Names(String);

impl Names {
    pub(crate) fn of(name: &str) -> Names {
        let mut escaped = String::with_capacity(name.len());
        for c in name.chars() {
            match c {
                '"' | '\\' => escaped.extend(['\\', c]),
                ' '..='~' => escaped.push(c),
                _ => escaped.push('_'),
            }
        }
        Names(escaped)
    }

    fn nth(&self, index: usize) -> String {
        if index == 0 { format!("\"{}\"", self.0) } else { format!("\"{}-{}\"", self.0, index + 1) }
    }

    fn of_permits(&self) -> String {
        format!("\"{}-concurrency\"", self.0)
    }
}

/// Adds the fields to the response of an admitted or denied request. Adds none if the limiter is gone or in shadow mode.
///
/// Returns the `Retry-After` of a denied request in seconds: at least 1 (also if the time is not known), and at least the `t` of
/// the `RateLimit` field.
pub(crate) fn add(limit: &RateLimit, names: &Names, denied: Option<&Denied>, headers: &mut HeaderMap) -> u64 {
    let retry_after = seconds(denied.and_then(Denied::retry_after).unwrap_or_default());
    let (Ok(policy), Ok(status)) = (limit.policy(), limit.status()) else { return retry_after };
    if policy.is_shadow() {
        return retry_after;
    }
    let (limits, max_window) = match denied {
        None => (remaining(names, &policy, &status), 0),
        Some(denied) => exhausted(names, &policy, &status, denied),
    };
    for (name, value) in [(POLICY, policies(names, &policy)), (LIMIT, limits)] {
        if let Ok(value) = HeaderValue::from_str(&value)
            && !value.is_empty()
        {
            headers.append(name, value);
        }
    }
    retry_after.max(max_window)
}

/// The limits that count calls, which are the clients' requests. Limits of other units are not reported.
fn of_calls<'a>(
    names: &'a Names,
    policy: &'a Policy,
    status: &'a Status,
) -> impl Iterator<Item = (String, Limit, &'a LimitStatus)> {
    let all = policy.limits().zip(&status.limits).filter(|(limit, _)| limit.unit().is_calls());
    all.enumerate().map(|(i, (limit, limit_status))| (names.nth(i), limit, limit_status))
}

fn policies(names: &Names, policy: &Policy) -> String {
    let mut field = String::new();
    for (i, limit) in policy.limits().filter(|limit| limit.unit().is_calls()).enumerate() {
        let (q, w) = quota(limit);
        item(&mut field, format_args!("{};q={q};w={w}", names.nth(i)));
    }
    if let Some(n) = policy.permits() {
        item(&mut field, format_args!("{};q={n};qu=\"concurrent-requests\"", names.of_permits()));
    }
    field
}

fn remaining(names: &Names, policy: &Policy, status: &Status) -> String {
    let mut field = String::new();
    for (name, limit, limit_status) in of_calls(names, policy, status) {
        let r = limit_status.available.min(MAX_INTEGER);
        item(&mut field, format_args!("{name};r={r};t={}", window(limit, limit_status, status)));
    }
    field
}

/// The `RateLimit` field of a denied request: only the exhausted limits, and the longest of their windows, which `Retry-After`
/// must not undercut.
fn exhausted(names: &Names, policy: &Policy, status: &Status, denied: &Denied) -> (String, u64) {
    let mut field = String::new();
    let mut max_window = 0;
    if denied.by() == DeniedBy::Permits {
        return (format!("{};r=0", names.of_permits()), 0);
    }
    for (name, limit, limit_status) in
        of_calls(names, policy, status).filter(|(.., limit_status)| limit_status.available == 0)
    {
        let t = window(limit, limit_status, status);
        max_window = max_window.max(t);
        item(&mut field, format_args!("{name};r=0;t={t}"));
    }
    if field.is_empty()
        && let Some(retry_after) = denied.retry_after()
    {
        let t = seconds(retry_after);
        match policy.first() {
            // A call has become available since the denial, or a request costs more than one call.
            Some(first) if first.unit().is_calls() => {
                item(&mut field, format_args!("{};r=0;t={t}", names.nth(0)));
            }
            Some(_) => {}
            // Without a limit, only a pause denies requests for a known time.
            None => item(&mut field, format_args!("{};r=0;t={t}", names.of_permits())),
        }
    }
    (field, max_window)
}

fn item(field: &mut String, item: std::fmt::Arguments<'_>) {
    let comma = if field.is_empty() { "" } else { ", " };
    // Writing to a String can't fail.
    let _ = write!(field, "{comma}{item}");
}

/// The limit's rate as an amount per whole seconds, never faster than the limit itself.
fn quota(limit: Limit) -> (u64, u64) {
    let per = limit.rate().per() + limit.guard();
    let w = seconds(per);
    let q = u128::from(limit.rate().max()) * u128::from(w) * 1_000_000_000 / per.as_nanos();
    (u64::try_from(q).unwrap_or(MAX_INTEGER).min(MAX_INTEGER), w)
}

/// The `t` of a limit: the whole seconds over which the client should spread the available calls, or until one is available.
fn window(limit: Limit, limit_status: &LimitStatus, status: &Status) -> u64 {
    if limit_status.available == 0 {
        // `next_in` belongs to the limit whose next call comes last.
        return seconds(status.next_in.saturating_sub(status.next_at.since(limit_status.next_at)));
    }
    let (q, w) = quota(limit);
    let t = (u128::from(limit_status.available) * u128::from(w)).div_ceil(u128::from(q));
    u64::try_from(t).unwrap_or(MAX_INTEGER).min(MAX_INTEGER)
}

/// Whole seconds, rounded up, at least 1.
fn seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}
