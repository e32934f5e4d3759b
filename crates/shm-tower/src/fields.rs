//! What clients are told: the fields `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-11.
//!
//! `RateLimit-Policy: "default";q=100;w=60` says that 100 may pass per 60 s, `RateLimit: "default";r=50;t=30` that 50 may
//! pass now, to be spread over 30 s. The draft asks servers not to tell clients of more in less time than the policy
//! (its section 8.5); so `t` is `r` at the policy's pace, and where nothing is left the time until there is.

use http::{HeaderMap, HeaderName, HeaderValue};
use shm_lib::limit::Outlook;
use shm_lib::{Denied, DeniedBy, Limit, Peek, Policy, RateLimit};
use std::fmt::Write;
use std::time::Duration;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// Structured fields have no larger integers (RFC 9651, section 3.3.1).
const MOST: u64 = 999_999_999_999_999;

/// The policies' names, as structured strings.
#[derive(Clone, Debug)]
pub(crate) struct Names(String);

impl Names {
    pub(crate) fn of(name: &str) -> Names {
        let mut quotable = String::with_capacity(name.len());
        for c in name.chars() {
            match c {
                '"' | '\\' => quotable.extend(['\\', c]),
                ' '..='~' => quotable.push(c),
                _ => quotable.push('_'),
            }
        }
        Names(quotable)
    }

    fn nth(&self, index: usize) -> String {
        if index == 0 { format!("\"{}\"", self.0) } else { format!("\"{}-{}\"", self.0, index + 1) }
    }

    fn of_permits(&self) -> String {
        format!("\"{}-concurrency\"", self.0)
    }
}

/// Adds the fields of an admission, or of a refusal. Returns after how many seconds a refused request is to be tried again:
/// at least 1, which is also said where nobody knows, and not less than what `RateLimit` says. Without the fields if the
/// limiter is gone or in shadow.
pub(crate) fn add(
    limit: &RateLimit,
    names: &Names,
    refused: Option<&Denied>,
    headers: &mut HeaderMap,
) -> u64 {
    let retry_after = seconds(refused.and_then(Denied::retry_after).unwrap_or_default());
    let (Ok(policy), Ok(peek)) = (limit.policy(), limit.peek()) else { return retry_after };
    if policy.is_shadow() {
        return retry_after;
    }
    let (limits, longest) = match refused {
        None => (now(names, &policy, &peek), 0),
        Some(denied) => exhausted(names, &policy, &peek, denied),
    };
    for (name, value) in [(POLICY, policies(names, &policy)), (LIMIT, limits)] {
        if let Ok(value) = HeaderValue::from_str(&value)
            && !value.is_empty()
        {
            headers.append(name, value);
        }
    }
    retry_after.max(longest)
}

/// The limits that count requests; clients know no others.
fn of_calls<'a>(
    names: &'a Names,
    policy: &'a Policy,
    peek: &'a Peek,
) -> impl Iterator<Item = (String, Limit, &'a Outlook)> {
    let all = policy.limits().zip(&peek.limits).filter(|(limit, _)| limit.unit().is_calls());
    all.enumerate().map(|(i, (limit, seen))| (names.nth(i), limit, seen))
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

fn now(names: &Names, policy: &Policy, peek: &Peek) -> String {
    let mut field = String::new();
    for (name, limit, seen) in of_calls(names, policy, peek) {
        let r = seen.available.min(MOST);
        item(&mut field, format_args!("{name};r={r};t={}", window(limit, seen, peek)));
    }
    field
}

/// Only those that refused it, so that `Retry-After` is not before the end of a window; and the longest of them.
fn exhausted(names: &Names, policy: &Policy, peek: &Peek, denied: &Denied) -> (String, u64) {
    let mut field = String::new();
    let mut longest = 0;
    if denied.by() == DeniedBy::Permits {
        return (format!("{};r=0", names.of_permits()), 0);
    }
    for (name, limit, seen) in of_calls(names, policy, peek).filter(|(.., seen)| seen.available == 0) {
        let t = window(limit, seen, peek);
        longest = longest.max(t);
        item(&mut field, format_args!("{name};r=0;t={t}"));
    }
    if field.is_empty()
        && let Some(retry_after) = denied.retry_after()
    {
        let t = seconds(retry_after);
        match policy.first() {
            // A call has become free since, or each request costs more than one.
            Some(first) if first.unit().is_calls() => {
                item(&mut field, format_args!("{};r=0;t={t}", names.nth(0)));
            }
            Some(_) => {}
            // Without a limit only a pause refuses for a known time.
            None => item(&mut field, format_args!("{};r=0;t={t}", names.of_permits())),
        }
    }
    (field, longest)
}

fn item(field: &mut String, item: std::fmt::Arguments<'_>) {
    let comma = if field.is_empty() { "" } else { ", " };
    // Writing to a String can't fail.
    let _ = write!(field, "{comma}{item}");
}

/// How many per how many whole seconds: never a faster pace than the limit's.
fn quota(limit: Limit) -> (u64, u64) {
    let per = limit.rate().per() + limit.guard();
    let w = seconds(per);
    let q = u128::from(limit.rate().max()) * u128::from(w) * 1_000_000_000 / per.as_nanos();
    (u64::try_from(q).unwrap_or(MOST).min(MOST), w)
}

/// In how many whole seconds no more than the available is to be used.
fn window(limit: Limit, seen: &Outlook, peek: &Peek) -> u64 {
    if seen.available == 0 {
        // `next_in` is that of the last of all limits.
        return seconds(peek.next_in.saturating_sub(peek.next_at.since(seen.next_at)));
    }
    let (q, w) = quota(limit);
    let t = (u128::from(seen.available) * u128::from(w)).div_ceil(u128::from(q));
    u64::try_from(t).unwrap_or(MOST).min(MOST)
}

/// Rounded up, and at least 1.
fn seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}
