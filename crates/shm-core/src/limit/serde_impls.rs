//! Serde for policies and snapshots. Input is validated by the public constructors, and an unknown field is an error.
//!
//! ```toml
//! permits = 2
//! shadow = false
//! max_waiters = 100  # omitted: any number may wait
//! [[limit]]
//! rate = "500/m"
//! kind = "greedy"    # bucket (the default) | greedy | fixed-window | calendar-window | sliding-counter
//! guard = "50ms"     # greedy only
//! [[limit]]
//! rate = "200000/m"
//! burst = 1000       # bucket only; omitted: 1 for calls, `max` for other units
//! unit = "tokens"    # omitted: calls
//! [[limit]]
//! rate = "10000/1day"
//! kind = "fixed-window"
//! start = "epoch"    # fixed-window only: epoch (the default) | first-use
//! [[limit]]
//! rate = "100000/month"        # h, day, week or month
//! kind = "calendar-window"
//! zone = "Europe/Berlin"       # calendar-window only: a time zone; omitted: UTC
//! ```
//!
//! With `permits`, a `[[limit]]` is optional. So it is with limits per key:
//!
//! ```toml
//! [keys]
//! refuse_new = false   # true: when a row is full, new keys are denied, and none is forgotten
//! hide_names = false   # true: the names of denied keys are not kept
//! [[keys.limit]]
//! rate = "5/s"
//! burst = 10
//! ```

use super::{
    Calendar, KeyPolicy, Kind, Limit, LimitKind, LimitSpec, LocalDateTime, Policy, Rate, Start, Unit, Zone,
    format_span, parse_span,
};
use crate::clock::Nanos;
use crate::error::{Error, ErrorKind, Result};
use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};
use std::time::Duration;

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitText {
    rate: Rate,
    #[serde(default)]
    kind: LimitKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<Start>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<Zone>,
    #[serde(default, with = "span", skip_serializing_if = "Option::is_none")]
    guard: Option<Duration>,
    #[serde(default, skip_serializing_if = "Unit::is_calls")]
    unit: Unit,
}

/// A kind alone, without rate and unit.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct KindText {
    kind: LimitKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<Start>,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<Calendar>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<Zone>,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyText {
    #[serde(skip_serializing_if = "Option::is_none")]
    permits: Option<u32>,
    #[serde(default)]
    shadow: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_waiters: Option<u32>,
    #[serde(default, alias = "limits")]
    limit: Vec<Limit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<KeyPolicy>,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyPolicyText {
    #[serde(default)]
    refuse_new: bool,
    #[serde(default)]
    hide_names: bool,
    #[serde(alias = "limits")]
    limit: Vec<Limit>,
}

impl From<Limit> for LimitText {
    fn from(limit: Limit) -> LimitText {
        let LimitSpec { rate, kind, burst, start, zone, guard, unit } = limit.into();
        LimitText { rate, kind, burst, start, zone, guard: guard.filter(|guard| !guard.is_zero()), unit }
    }
}

impl TryFrom<LimitText> for Limit {
    type Error = Error;

    fn try_from(LimitText { rate, kind, burst, start, zone, guard, unit }: LimitText) -> Result<Limit> {
        LimitSpec { rate, kind, burst, start, zone, guard, unit }.try_into()
    }
}

impl From<Kind> for KindText {
    fn from(kind: Kind) -> KindText {
        let burst = if let Kind::Bucket { burst } = kind { Some(burst.get()) } else { None };
        let start = if let Kind::FixedWindow(start) = kind { Some(start) } else { None };
        let (period, zone) = match kind {
            Kind::CalendarWindow { period, zone } => (Some(period), Some(zone)),
            _ => (None, None),
        };
        KindText { kind: kind.into(), burst, start, period, zone }
    }
}

impl TryFrom<KindText> for Kind {
    type Error = Error;

    fn try_from(KindText { kind, burst, start, period, zone }: KindText) -> Result<Kind> {
        // The fastest possible rate supports every kind, with every possible burst.
        let per = match (kind, period) {
            (LimitKind::CalendarWindow, period) => period.unwrap_or(Calendar::Day).nominal(),
            (_, None) => Duration::from_nanos(1),
            (_, Some(_)) => return Err(bad("only calendar windows have a period; omit it")),
        };
        let any = LimitSpec { kind, burst, start, zone, ..LimitSpec::of(Rate::new(1, per)?) };
        Ok(Limit::try_from(any)?.kind())
    }
}

impl From<Policy> for PolicyText {
    fn from(policy: Policy) -> PolicyText {
        PolicyText {
            permits: policy.permits(),
            shadow: policy.is_shadow(),
            max_waiters: policy.max_waiters(),
            limit: policy.limits().collect(),
            keys: policy.keys().copied(),
        }
    }
}

impl From<KeyPolicy> for KeyPolicyText {
    fn from(keys: KeyPolicy) -> KeyPolicyText {
        KeyPolicyText {
            refuse_new: keys.refuses_new_keys(),
            hide_names: keys.hides_names(),
            limit: keys.limits().collect(),
        }
    }
}

impl TryFrom<KeyPolicyText> for KeyPolicy {
    type Error = Error;

    fn try_from(text: KeyPolicyText) -> Result<KeyPolicy> {
        let keys = KeyPolicy::new(&text.limit)?;
        Ok(keys.refusing_new_keys(text.refuse_new).hiding_names(text.hide_names))
    }
}

impl TryFrom<PolicyText> for Policy {
    type Error = Error;

    fn try_from(text: PolicyText) -> Result<Policy> {
        let policy = match (text.permits, text.keys) {
            (None, Some(keys)) if text.limit.is_empty() => Policy::of_keys(keys),
            (Some(n), _) if text.limit.is_empty() => Policy::of_permits(n)?,
            (Some(n), _) => Policy::new(&text.limit)?.with_permits(n)?,
            (None, _) => Policy::new(&text.limit)?,
        };
        let policy = text.keys.map_or(policy, |keys| policy.with_keys(keys));
        let policy = text.max_waiters.map_or(policy, |n| policy.with_max_waiters(n));
        Ok(policy.in_shadow(text.shadow))
    }
}

/// Serializes by way of a struct with named fields.
macro_rules! by_description {
    ($($type:ident by $text:ident),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
                $text::from(*self).serialize(to)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
                $text::deserialize(from)?.try_into().map_err(de::Error::custom)
            }
        }
    )*};
}

/// Serializes as a string, in text form.
macro_rules! by_string {
    ($($type:ident read by $read:expr),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                ($read)(text.as_str()).map_err(de::Error::custom)
            }
        }
    )*};
}

by_description!(Limit by LimitText, Kind by KindText, Policy by PolicyText, KeyPolicy by KeyPolicyText);
by_string!(Rate read by str::parse::<Rate>, Unit read by unit, Zone read by Zone::named);

fn bad(why: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, why)
}

fn unit(text: &str) -> Result<Unit> {
    if text == Unit::CALLS.name() { Ok(Unit::CALLS) } else { Unit::named(text) }
}

/// As in RFC 3339.
impl Serialize for LocalDateTime {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{self:#}"))
    }
}

impl Serialize for Nanos {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.serialize_u64(self.as_nanos())
    }
}

/// For `serialize_with` in snapshots, where durations are in nanoseconds, like instants.
pub(crate) fn nanos<S: Serializer>(span: &Duration, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

/// Durations in text form: `50ms`.
mod span {
    use super::{Deserialize, Deserializer, Duration, Serializer, de, format_span, parse_span};

    // Serde's signature.
    #[allow(clippy::ref_option)]
    pub(super) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        to: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        to.collect_str(&format_span(span.unwrap_or_default()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> std::result::Result<Option<Duration>, D::Error> {
        parse_span(&String::deserialize(from)?).map(Some).map_err(de::Error::custom)
    }
}

#[cfg(test)]
#[path = "serde_tests.rs"]
mod tests;
