//! Limits per key, as JSON: the table of keys, and one key.

use super::parts::{Limit, Permits, Rate};
use crate::args::NamedKey;
use crate::exit::Failure;
use crate::output::{duration::seconds_f64, json, keys};
use serde::Serialize;
use shm_lib::limit::{LimitKind, LimitSpec};
use shm_lib::{
    Directory, ErrorKind, EventCount, Inspection, KeyInspection, KeyPolicy, KeyStatus, Name, Start, Unit,
};
use std::path::PathBuf;

/// The limits per key of a limiter, and its table of keys.
#[derive(Serialize)]
pub(super) struct Keys {
    /// In the order of `set --limit`.
    limits: Vec<KeyLimit>,
    /// How many keys the limiter was made for.
    capacity: u64,
    /// How many keys owe something, estimated.
    live: u64,
    /// The same as a part of the capacity: more than 1 if there are more.
    fill: f64,
    /// `near_capacity`, `table_full`, or null.
    warning: Option<&'static str>,
    /// The capacity to choose; null without a warning.
    advised_capacity: Option<u64>,
    /// The memory that the tables have, and the most that they can have.
    memory_bytes: u64,
    memory_max_bytes: u64,
    /// Keys that were forgotten before they had recovered.
    forgotten: Events,
    /// New keys that were denied because the table was too full.
    new_keys_denied: Events,
    /// Whether a new key is denied rather than that one is forgotten.
    refuses_new_keys: bool,
    /// Whether the names of denied keys are not kept.
    hides_names: bool,
    /// The keys that were denied most in the last minute; absent from `list`.
    #[serde(skip_serializing_if = "Option::is_none")]
    most_denied: Option<Vec<Denied>>,
}

/// One limit per key, and its usage by a key.
#[derive(Serialize)]
struct KeyLimit {
    /// In words.
    text: String,
    unit: Unit,
    kind: LimitKind,
    rate: Rate,
    /// The most that a key may take at one instant.
    burst: u64,
    /// Where fixed windows begin; null for other kinds.
    start: Option<Start>,
    #[serde(flatten)]
    usage: Option<Usage>,
}

/// What a key has used of a limit.
#[derive(Serialize)]
struct Usage {
    available: u64,
    used: u64,
    /// Beyond the burst: a debt.
    charged_ahead: u64,
    next_in_s: f64,
}

#[derive(Serialize)]
struct Events {
    last_minute: u64,
    total: u64,
}

#[derive(Serialize)]
struct Denied {
    /// The parts of the key, of which the first 48 bytes are known.
    key: Vec<String>,
    last_minute: u64,
}

impl From<EventCount> for Events {
    fn from(count: EventCount) -> Events {
        Events { last_minute: count.last_minute, total: count.total }
    }
}

impl KeyLimit {
    fn all(seen: &Inspection, status: &[KeyStatus]) -> Vec<KeyLimit> {
        let one = |(index, limit): (usize, shm_lib::Limit)| {
            let LimitSpec { rate, kind, start, .. } = limit.into();
            KeyLimit {
                text: limit.to_string(),
                unit: limit.unit(),
                kind,
                rate: Rate::of(rate),
                burst: limit.burst(),
                start,
                usage: status.get(index).map(|status| Usage {
                    available: status.available,
                    used: status.used,
                    charged_ahead: status.charged_ahead,
                    next_in_s: seconds_f64(status.next_at.since(seen.now)),
                }),
            }
        };
        seen.policy.keys().into_iter().flat_map(KeyPolicy::limits).enumerate().map(one).collect()
    }
}

impl Keys {
    pub(super) fn of(seen: &Inspection) -> Option<Keys> {
        let (policy, table) = (seen.policy.keys()?, &seen.keys.as_ref()?.table);
        let warning = keys::warning(table);
        let (last_minute, total) = keys::new_keys_denied(table);
        Some(Keys {
            limits: KeyLimit::all(seen, &[]),
            capacity: table.capacity,
            live: table.live,
            fill: table.live as f64 / table.capacity.max(1) as f64,
            warning: warning.map(keys::Warning::word),
            advised_capacity: warning.map(|_| keys::advised_capacity(table)),
            memory_bytes: table.allocated,
            memory_max_bytes: table.bytes,
            forgotten: table.forgotten.into(),
            new_keys_denied: Events { last_minute, total },
            refuses_new_keys: policy.refuses_new_keys(),
            hides_names: policy.hides_names(),
            most_denied: None,
        })
    }

    pub(super) fn add_most_denied(&mut self, inspected: &KeyInspection, n: usize) {
        let one =
            |denied: &shm_lib::DeniedKey| Denied { key: denied.key.clone(), last_minute: denied.last_minute };
        self.most_denied = Some(keys::top(inspected, n).iter().map(one).collect());
    }
}

/// `inspect NAME --key KEY --json`.
#[derive(Serialize)]
pub(crate) struct OneKey<'a> {
    name: &'a str,
    path: PathBuf,
    directory: PathBuf,
    /// `ok`, or what is wrong.
    health: &'static str,
    /// What is wrong and what to do next.
    problem: Option<String>,
    /// The parts of the key.
    key: &'a [String],
    /// Absent if the limiter cannot be read.
    #[serde(flatten)]
    details: Option<KeyDetails>,
}

#[derive(Serialize)]
struct KeyDetails {
    /// Whether the key is in the table.
    known: bool,
    /// The limits per key, and what this key has used.
    limits: Vec<KeyLimit>,
    /// The limits of all keys.
    all_keys: Vec<Limit>,
    /// The permits, which all keys share.
    permits: Option<Permits>,
    /// The time until one more call of the key would be admitted.
    next_in_s: f64,
    shadow: bool,
    paused_for_s: Option<f64>,
}

impl<'a> OneKey<'a> {
    fn new(dir: &Directory, name: &'a Name, key: &'a NamedKey) -> OneKey<'a> {
        OneKey {
            name: name.as_str(),
            path: dir.file(name),
            directory: dir.path().to_owned(),
            health: "ok",
            problem: None,
            key: &key.parts,
            details: None,
        }
    }

    pub(crate) fn of(
        dir: &Directory,
        name: &'a Name,
        key: &'a NamedKey,
        seen: &Inspection,
        status: &[KeyStatus],
    ) -> OneKey<'a> {
        let of_all = seen.limits.iter().map(|status| status.next_at);
        let next_at = status.iter().map(|status| status.next_at).chain(of_all).max();
        let details = KeyDetails {
            known: status.iter().any(|status| status.known),
            limits: KeyLimit::all(seen, status),
            all_keys: Limit::all(seen),
            permits: Permits::of(seen),
            next_in_s: next_at.map_or(0.0, |at| seconds_f64(at.since(seen.now))),
            shadow: seen.policy.is_shadow(),
            paused_for_s: seen.paused_until.map(|until| seconds_f64(until.since(seen.now))),
        };
        OneKey { details: Some(details), ..OneKey::new(dir, name, key) }
    }

    pub(crate) fn failed(
        dir: &Directory,
        name: &'a Name,
        key: &'a NamedKey,
        failure: &Failure,
    ) -> OneKey<'a> {
        let health = match failure {
            // Nothing is wrong with the limiter.
            Failure::Limiter(error) if error.kind() == ErrorKind::InvalidInput => "ok",
            Failure::Limiter(error) => json::health(error),
            _ => "failed",
        };
        OneKey { health, problem: Some(failure.to_string()), ..OneKey::new(dir, name, key) }
    }
}
