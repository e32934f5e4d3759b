//! The response fields `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-11.
//!
//! `RateLimit-Policy: "default";q=100;w=60` states a quota of 100 requests per 60 s. `RateLimit: "default";r=50;t=30` states that
//! 50 requests are available now, to be spread over 30 s. Section 8.5 of the draft asks servers not to suggest a faster rate
//! than the policy's. Therefore `t` is the time that `r` requests take at the policy's rate; if `r` is 0, it is the time until
//! a request is available.
//!
//! A limit per key also has the parameter `pk`, a partition key. The draft asks servers not to return sensitive information in it,
//! and to let clients predict it. A key may be a secret, so this is the key's fingerprint, which nobody can predict: equal values
//! mean that requests take from the same budget.

use crate::budget::Budget;
use crate::config::LayerConfig;
use http::{HeaderMap, HeaderName, HeaderValue};
use shm_lib::{
    Denied, DeniedBy, KeyPolicy, KeyedRateLimit, Limit, OwnedKey, Policy, RateLimit, Result, Status,
};
use std::fmt::{self, Write};
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

    fn nth(&self, suffix: &str, index: usize) -> String {
        let name = &self.0;
        if index == 0 { format!("\"{name}{suffix}\"") } else { format!("\"{name}{suffix}-{}\"", index + 1) }
    }

    fn of_permits(&self) -> String {
        format!("\"{}-concurrency\"", self.0)
    }
}

/// A limit that counts calls, which are the clients' requests. Limits of other units are not reported.
struct Reported {
    name: String,
    scope: Scope,
    /// The limit's index among those of its scope.
    index: usize,
    limit: Limit,
    available: u64,
    /// How long until a call is available.
    next_in: Duration,
    partition: Option<Partition>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Key,
    All,
}

/// The partition key, displayed as a parameter: a byte sequence.
#[derive(Clone, Copy)]
struct Partition(u64);

/// The values of the response fields that a [`RateLimitLayer`](crate::RateLimitLayer) adds, for servers that are not tower
/// services, such as those of other languages.
///
/// ```
/// # fn main() -> shm_lib::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use shm_lib::{Rate, RateLimit};
/// use shm_tower::ResponseFields;
///
/// let limit = RateLimit::builder("api").directory(dir.path()).burst(5).open_rate(Rate::per_minute(5)?)?;
/// let fields = ResponseFields::of(&limit, "default", None);
/// assert_eq!(fields.policy.as_deref(), Some("\"default\";q=5;w=60"));
/// assert_eq!(fields.limit.as_deref(), Some("\"default\";r=5;t=60"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponseFields {
    /// The value of `RateLimit-Policy`. `None` if the limiter is gone or in shadow mode, or has no limit for the request.
    pub policy: Option<String>,
    /// The value of `RateLimit`. `None` as for `policy`, and if it is not known for how long a request is denied.
    pub limit: Option<String>,
    /// The `Retry-After` of a denied request in seconds: at least 1 (also if the time is not known), and at least the `t` of
    /// `limit`.
    pub retry_after: u64,
}

impl ResponseFields {
    /// The fields of a request that takes from this limiter, and why it was denied, if it was. `policy_name` is that of
    /// [`RateLimitLayer::policy_name`](crate::RateLimitLayer::policy_name).
    pub fn of(limit: &RateLimit, policy_name: &str, denied: Option<&Denied>) -> ResponseFields {
        fields(&Names::of(policy_name), limit, None, denied)
    }

    /// The fields of a request that takes from the budget of this key; without a key, only from the limits of all keys.
    pub fn of_key(
        limit: &KeyedRateLimit,
        key: Option<&OwnedKey>,
        policy_name: &str,
        denied: Option<&Denied>,
    ) -> ResponseFields {
        fields(&Names::of(policy_name), limit.all_keys(), Some((limit, key)), denied)
    }
}

/// Adds the fields to the response of an admitted or denied request. Returns the `Retry-After` of a denied request.
pub(crate) fn add(
    config: &LayerConfig,
    budget: &Budget,
    denied: Option<&Denied>,
    headers: &mut HeaderMap,
) -> u64 {
    let key = match budget {
        Budget::Key(key) => Some(key),
        Budget::All => None,
        Budget::Unlimited => return seconds(denied.and_then(Denied::retry_after).unwrap_or_default()),
    };
    let keyed = config.limiter.keyed().map(|keyed| (keyed, key));
    let fields = fields(&config.names, config.limiter.all(), keyed, denied);
    for (name, value) in [(POLICY, fields.policy), (LIMIT, fields.limit)] {
        if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
            headers.append(name, value);
        }
    }
    fields.retry_after
}

fn fields(
    names: &Names,
    limit: &RateLimit,
    keyed: Option<(&KeyedRateLimit, Option<&OwnedKey>)>,
    denied: Option<&Denied>,
) -> ResponseFields {
    let retry_after = seconds(denied.and_then(Denied::retry_after).unwrap_or_default());
    let none = ResponseFields { policy: None, limit: None, retry_after };
    let (Ok(policy), Ok(status)) = (limit.policy(), limit.status()) else { return none };
    if policy.is_shadow() {
        return none;
    }
    let mut reported = Vec::new();
    if let Some((keyed, Some(key))) = keyed {
        match of_key(names, keyed, key, &policy) {
            Ok(of_key) => reported = of_key,
            Err(_) => return none,
        }
    }
    let suffix = if keyed.is_some() { "-all" } else { "" };
    reported.extend(of_all(names, suffix, &policy, &status));
    let of_permits = policy.permits().map(|n| (names.of_permits(), n));
    let (limits, max_window) = match denied {
        None => (remaining(&reported), 0),
        Some(denied) => exhausted(&reported, names, &policy, denied),
    };
    let filled = |value: String| Some(value).filter(|value| !value.is_empty());
    ResponseFields {
        policy: filled(policies(&reported, of_permits)),
        limit: filled(limits),
        retry_after: retry_after.max(max_window),
    }
}

/// The limits of this key.
fn of_key(names: &Names, keyed: &KeyedRateLimit, key: &OwnedKey, policy: &Policy) -> Result<Vec<Reported>> {
    let of_key = keyed.key(key);
    let (status, fingerprints) = (of_key.status()?, of_key.fingerprints()?);
    let now = shm_lib::now();
    let limits = policy.keys().into_iter().flat_map(KeyPolicy::limits);
    let mut reported = Vec::new();
    for (index, ((limit, status), fingerprint)) in limits.zip(status).zip(fingerprints).enumerate() {
        if limit.unit().is_calls() {
            reported.push(Reported {
                name: names.nth("", reported.len()),
                scope: Scope::Key,
                index,
                limit,
                available: status.available,
                next_in: status.next_at.since(now),
                partition: Some(Partition(fingerprint)),
            });
        }
    }
    Ok(reported)
}

/// The limits of all requests.
fn of_all(names: &Names, suffix: &str, policy: &Policy, status: &Status) -> Vec<Reported> {
    let mut reported = Vec::new();
    for (index, (limit, limit_status)) in policy.limits().zip(&status.limits).enumerate() {
        if limit.unit().is_calls() {
            reported.push(Reported {
                name: names.nth(suffix, reported.len()),
                scope: Scope::All,
                index,
                limit,
                available: limit_status.available,
                // `next_in` belongs to the limit whose next call comes last.
                next_in: status.next_in.saturating_sub(status.next_at.since(limit_status.next_at)),
                partition: None,
            });
        }
    }
    reported
}

fn policies(reported: &[Reported], of_permits: Option<(String, u32)>) -> String {
    let mut field = String::new();
    for limit in reported {
        let (q, w) = quota(limit.limit);
        item(&mut field, &limit.name, format_args!(";q={q};w={w}"), limit.partition);
    }
    if let Some((name, n)) = of_permits {
        item(&mut field, &name, format_args!(";q={n};qu=\"concurrent-requests\""), None);
    }
    field
}

fn remaining(reported: &[Reported]) -> String {
    let mut field = String::new();
    for limit in reported {
        let (r, t) = (limit.available.min(MAX_INTEGER), window(limit));
        item(&mut field, &limit.name, format_args!(";r={r};t={t}"), limit.partition);
    }
    field
}

/// The `RateLimit` field of a denied request: only the exhausted limits, and the longest of their windows, which `Retry-After`
/// must not undercut.
fn exhausted(reported: &[Reported], names: &Names, policy: &Policy, denied: &Denied) -> (String, u64) {
    let mut field = String::new();
    let mut max_window = 0;
    match denied.by() {
        DeniedBy::Permits => {
            item(&mut field, &names.of_permits(), format_args!(";r=0"), None);
            return (field, 0);
        }
        // When there will be room for the key is not known.
        DeniedBy::TableFull => {
            for limit in reported.iter().filter(|limit| limit.scope == Scope::Key).take(1) {
                item(&mut field, &limit.name, format_args!(";r=0"), limit.partition);
            }
            return (field, 0);
        }
        _ => {}
    }
    for limit in reported.iter().filter(|limit| limit.available == 0) {
        let t = window(limit);
        max_window = max_window.max(t);
        item(&mut field, &limit.name, format_args!(";r=0;t={t}"), limit.partition);
    }
    if field.is_empty()
        && let Some(retry_after) = denied.retry_after()
    {
        let t = seconds(retry_after);
        match denying(reported, denied) {
            // A call has become available since the denial, or a request costs more than one call.
            Some(limit) => item(&mut field, &limit.name, format_args!(";r=0;t={t}"), limit.partition),
            // Without a limit, only a pause denies requests for a known time.
            None if policy.is_unlimited() && policy.keys().is_none() => {
                item(&mut field, &names.of_permits(), format_args!(";r=0;t={t}"), None);
            }
            None => {}
        }
    }
    (field, max_window)
}

/// The limit that denied the request, if it counts calls; otherwise the first one that does.
fn denying<'r>(reported: &'r [Reported], denied: &Denied) -> Option<&'r Reported> {
    let by = match denied.by() {
        DeniedBy::KeyLimit { index, .. } => Some((Scope::Key, index)),
        DeniedBy::Limit { index, .. } => Some((Scope::All, index)),
        _ => None,
    };
    reported.iter().find(|limit| by == Some((limit.scope, limit.index))).or(reported.first())
}

fn item(field: &mut String, name: &str, parameters: fmt::Arguments<'_>, partition: Option<Partition>) {
    let comma = if field.is_empty() { "" } else { ", " };
    // Writing to a String can't fail.
    let _ = write!(field, "{comma}{name}{parameters}");
    if let Some(partition) = partition {
        let _ = write!(field, ";pk={partition}");
    }
}

/// The limit's rate as an amount per whole seconds, never faster than the limit itself.
fn quota(limit: Limit) -> (u64, u64) {
    let per = limit.rate().per() + limit.guard();
    let w = seconds(per);
    let q = u128::from(limit.rate().max()) * u128::from(w) * 1_000_000_000 / per.as_nanos();
    (u64::try_from(q).unwrap_or(MAX_INTEGER).min(MAX_INTEGER), w)
}

/// The `t` of a limit: the whole seconds over which the client should spread the available calls, or until one is available.
fn window(limit: &Reported) -> u64 {
    if limit.available == 0 {
        return seconds(limit.next_in);
    }
    let (q, w) = quota(limit.limit);
    let t = (u128::from(limit.available) * u128::from(w)).div_ceil(u128::from(q));
    u64::try_from(t).unwrap_or(MAX_INTEGER).min(MAX_INTEGER)
}

/// Whole seconds, rounded up, at least 1.
fn seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

/// Between colons, in Base64 (RFC 9651, section 3.3.5).
impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        f.write_char(':')?;
        // 64 bits are ten digits of six bits and a last one of four, which is padded to twelve characters.
        let bits = u128::from(self.0) << 2;
        for digit in (0..11).rev() {
            f.write_char(char::from(DIGITS[(bits >> (6 * digit)) as usize & 63]))?;
        }
        f.write_str("=:")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known values are from `base64` of GNU coreutils.
    #[test]
    fn a_partition_key_is_a_byte_sequence() {
        for (number, text) in [
            (0, ":AAAAAAAAAAA=:"),
            (u64::MAX, "://////////8=:"),
            (u64::from_be_bytes(*b"shm-lock"), ":c2htLWxvY2s=:"),
            (0xfb0f_0102_0304_0506, ":+w8BAgMEBQY=:"),
        ] {
            assert_eq!(Partition(number).to_string(), text);
        }
    }
}
