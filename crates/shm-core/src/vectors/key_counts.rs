//! What is counted about keys: events, and the sample of denied keys.

use super::table::{Row, Table, row};
use crate::clock::Nanos;
use crate::keyed::{HashKey, denied_keys, events};
use crate::layout::{DENIED_KEYS, DeniedKeyWords, EventWords};
use crate::sync::{AtomicU64, Ordering};
use std::array::from_fn;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const NOW: u64 = 12_345_678_901_234;
const HASH_KEY: HashKey = HashKey([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);

pub(super) fn add(table: &mut Table) {
    table.section("key_events", &key_events());
    let (denied, most) = denied();
    table.section("denied_keys", &denied);
    table.section("most_denied", &most);
}

fn words<const N: usize>() -> [AtomicU64; N] {
    from_fn(|_| AtomicU64::new(0))
}

fn load(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

/// One event after the other.
fn key_events() -> Vec<Row> {
    let events = EventWords { total: AtomicU64::new(0), _reserved: words(), seconds: words() };
    let all = || [&events.total].into_iter().chain(&events.seconds).map(load).collect::<Vec<u64>>();
    let row = |after: u64| {
        let (now, before) = (Nanos::from_nanos(NOW + after), all());
        events::count(&events, now);
        let count = events::counted(&events, now);
        row! { now_ns: now.as_nanos() }
            .list("words", before)
            .list("words_after", all())
            .number("total", count.total)
            .number("last_minute", count.last_minute)
    };
    [0, 1, SECOND, 59 * SECOND, 60 * SECOND, 64 * SECOND, 65 * SECOND, 70 * SECOND, 500 * SECOND]
        .map(row)
        .into()
}

/// The words of a place in the sample.
fn place_words(place: &DeniedKeyWords) -> Vec<u64> {
    let DeniedKeyWords { tag, recent, before, name_len, check, name, .. } = place;
    [tag, recent, before, name_len, check].into_iter().chain(name).map(load).collect()
}

/// One denial after the other: of keys that come again, and of others that take places from each other. Then which keys were
/// denied most.
fn denied() -> (Vec<Row>, Vec<Row>) {
    let place = |_| DeniedKeyWords {
        tag: AtomicU64::new(0),
        recent: AtomicU64::new(0),
        before: AtomicU64::new(0),
        name_len: AtomicU64::new(0),
        check: AtomicU64::new(0),
        name: words(),
        _reserved: words(),
    };
    let places: Box<[DeniedKeyWords; DENIED_KEYS]> = Box::new(from_fn(place));
    let long = "x".repeat(60);
    let mut all: Vec<(Vec<String>, u64)> = vec![
        (vec!["alice".into()], 0),
        (vec!["alice".into()], 1),
        (vec!["alice".into(), "/login".into()], 2),
        (vec![long], 3),
        (vec!["alice".into()], MINUTE),
        (vec!["alice".into()], 3 * MINUTE),
    ];
    // Many for few places, a minute later.
    all.extend((0..90).map(|i| (vec![format!("key {i}")], 3 * MINUTE + i * 37)));
    all.extend((0..20).map(|i| (vec![format!("late key {i}")], 4 * MINUTE + i)));
    // Often.
    all.extend((0..90).map(|i| (vec!["alice".into()], 4 * MINUTE + i * 37)));
    let count = all.len();
    let mut rows = Vec::new();
    for (i, (parts, after)) in all.into_iter().enumerate() {
        let bytes: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
        let (tag, now) = (HASH_KEY.hash(&bytes).tag, Nanos::from_nanos(NOW + after));
        let group = (tag.word() >> 8) as usize % 8 * 8;
        let of_group = || places[group..group + 8].iter().flat_map(place_words).collect::<Vec<u64>>();
        let before = of_group();
        let times = if i % 5 == 4 { 16 } else { 1 };
        denied_keys::count(&places, tag, &bytes, times, now);
        if i < 8 || i + 3 > count || i % 8 == 0 {
            rows.push(
                row! { tag: tag.word(), group: group, now_ns: now.as_nanos(), times: times }
                    .texts("parts", &parts)
                    .list("words", before)
                    .list("words_after", of_group()),
            );
        }
    }
    let most = [4 * MINUTE + 5 * SECOND, 5 * MINUTE, 6 * MINUTE].map(|after| {
        let now = Nanos::from_nanos(NOW + after);
        let taken: Vec<Row> = places
            .iter()
            .map(place_words)
            .filter(|words| words[0] > 0)
            .map(|words| Row::default().list("words", words))
            .collect();
        let shown = denied_keys::most_denied(&places, now).into_iter().map(|key| {
            row! { last_minute: key.last_minute }.text("name", &String::from_utf8_lossy(&key.name))
        });
        row! { now_ns: now.as_nanos() }.rows("places", &taken).rows("keys", &shown.collect::<Vec<_>>())
    });
    (rows, most.into())
}
