//! How words are packed, hashed and checked: checksums, states, permits, turns, seats, names, configurations, and the parts
//! of a file.

use super::table::{Row, Table, row};
use crate::clock::{Nanos, WallOffset};
use crate::commit::{Config, RecordPtr, StateWord, in_memory};
use crate::directory::Directory;
use crate::error::Result;
use crate::keyed::{Anchor, KeyClock};
use crate::layout::{Generation, Hash, Holder, Seat, TurnTable, place_lock, seat_lock};
use crate::limit::{KeyPolicy, Kind, Limit, Policy, Rate, Start, Unit};
use crate::line::Charge;
use crate::name::Name;
use crate::permit::word_of;
use crate::seat::{HolderId, SeesLocks, TakesLocks, begin, claim, end};
use crate::segment::shape_for;
use crate::sync::{AtomicU64, Ordering};
use std::time::Duration;

const DAY: u64 = 86_400_000_000_000;
const SECOND: u64 = 1_000_000_000;

pub(super) fn add(table: &mut Table) {
    table.section("checksums", &checksums());
    table.section("state_words", &state_words());
    table.section("record_pointers", &record_pointers());
    table.section("permit_words", &permit_words());
    table.section("turn_words", &turn_words());
    table.section("locked_bytes", &locked_bytes());
    table.section("tenures", &tenures());
    table.section("names", &names());
    table.section("configurations", &configurations());
    table.section("files", &files());
}

fn checksums() -> Vec<Row> {
    let lists: [&[u64]; 5] = [&[], &[0], &[1, 2, 3], &[u64::MAX, 1 << 63], &[0, 0, 0, 0, 0, 0, 0, 1]];
    let row = |words: &[u64]| {
        let sum = words.iter().fold(Hash::new(), |hash, &word| hash.word(word));
        Row::default().list("words", words).number("checksum", sum.0)
    };
    lists.into_iter().map(row).collect()
}

fn state_words() -> Vec<Row> {
    let values = [0, 1, 12_345_678_901, (1 << 62) - 1];
    let states =
        values.into_iter().flat_map(|v| [StateWord::Live(v), StateWord::Frozen(v), StateWord::Unset(v)]);
    let row = |state: StateWord| {
        let word = state.encode();
        assert!(state == StateWord::Invalid || StateWord::decode(word) == state);
        let row = row! { word: word };
        match state {
            StateWord::Live(value) => row.text("kind", "live").number("value", value),
            StateWord::Frozen(value) => row.text("kind", "frozen").number("value", value),
            StateWord::Unset(epoch) => row.text("kind", "unset").number("value", epoch),
            StateWord::Invalid => row.text("kind", "damaged"),
        }
    };
    states.chain([StateWord::Invalid]).map(row).collect()
}

fn record_pointers() -> Vec<Row> {
    let all = [(1, 257), (2, 256), (1 << 40, 8_193), ((1 << 48) - 1, 0)];
    let row = |(version, cell): (u64, usize)| {
        let word = version << 14 | cell as u64;
        assert_eq!(RecordPtr(word).cell(), cell);
        row! { word: word, version: version, cell: cell, next_cell: 3, next_word: RecordPtr(word).next(3) }
    };
    all.into_iter().map(row).collect()
}

fn permit_words() -> Vec<Row> {
    let all = [(0, 1, 1), (5, 3, 7), (4_095, (1 << 40) + 5, 2_047), (17, (1 << 41) - 1, 2_048 + 9)];
    let row = |(seat, tenure, number): (usize, u64, u64)| {
        let word = word_of(HolderId { seat, tenure }, number);
        row! { seat: seat, tenure: tenure, number: number, word: word }
    };
    all.into_iter().map(row).collect()
}

/// The word of a turn: free, being filled, ready.
fn turn_words() -> Vec<Row> {
    let all = [(0, 1, 0), (63, 7, 41), (4_095, (1 << 40) + 3, (1 << 62) - 1)];
    let row = |(place, tenure, number): (usize, u64, u64)| {
        let turns = TurnTable::model();
        turns.turns[0].number.store(number, Ordering::Relaxed);
        let filling = turns.begin(HolderId { seat: place, tenure }).expect("a free turn");
        let word = || turns.states[0].load(Ordering::Relaxed);
        let being_filled = word();
        turns.publish(filling, 0, &Charge::default());
        row! { place: place, tenure: tenure, number_before: number, being_filled: being_filled, ready: word() }
    };
    all.into_iter().map(row).collect()
}

fn locked_bytes() -> Vec<Row> {
    let all = [(0, 1), (5, 3), (127, 1_001), (4_095, (1 << 20) - 1), (0, (1 << 20) + 1), (9, u64::MAX)];
    let row = |(index, tenure): (usize, u64)| {
        row! { index: index, tenure: tenure, seat: seat_lock(index, tenure), place: place_lock(index, tenure) }
    };
    all.into_iter().map(row).collect()
}

/// No process holds a lock.
struct AllFree;

impl SeesLocks for AllFree {
    fn is_held(&mut self, _: HolderId) -> Result<bool> {
        Ok(false)
    }
}

impl TakesLocks for AllFree {
    fn try_lock(&mut self, _: HolderId) -> Result<bool> {
        Ok(true)
    }

    fn unlock(&mut self, _: HolderId) {}
}

/// The tenure of a free seat, then taken, then released.
fn tenures() -> Vec<Row> {
    let row = |tenure: u64| {
        let holder: Holder = Seat::model().holder;
        holder.tenure.store(tenure, Ordering::Relaxed);
        let id = claim(0, &holder, &mut AllFree).expect("no locks").expect("a free seat");
        begin(&holder, id);
        let taken = holder.tenure.load(Ordering::Relaxed);
        end(&holder, taken);
        row! { found: tenure, taken: taken, released: holder.tenure.load(Ordering::Relaxed) }
    };
    [0, 1, 2, 7, 1 << 41].into_iter().map(row).collect()
}

fn names() -> Vec<Row> {
    let (longest, too_long) = ("x".repeat(200), "x".repeat(201));
    let umlauts = ["ü".repeat(100), "ü".repeat(101)];
    let all = [
        "api",
        "a b",
        "a:b.c",
        "-v",
        "日本語",
        "a.",
        "~",
        "a\\b",
        "é",
        "e\u{301}",
        "a\u{ad}b",
        "a\u{2028}b",
        &longest,
        &umlauts[0],
        "",
        ".",
        "..",
        ".hidden",
        "a/b",
        "/abs",
        "a\0b",
        "a\nb",
        "a\u{7f}b",
        "a\u{85}b",
        &too_long,
        &umlauts[1],
    ];
    let directory = Directory::at("/dev/shm/limits");
    let row = |text: &str| {
        let name = Name::new(text);
        let path = name.as_ref().ok().map(|name| directory.file(name).display().to_string());
        let row = Row::default().text("name", text).flag("is_valid", name.is_ok());
        path.into_iter().fold(row, |row, path| row.text("directory", "/dev/shm/limits").text("path", &path))
    };
    all.into_iter().map(row).collect()
}

pub(super) fn rate(max: u64, per_ns: u64) -> Rate {
    Rate::new(max, Duration::from_nanos(per_ns)).expect("a rate")
}

pub(super) fn bucket(max: u64, per_ns: u64, burst: u64) -> Limit {
    Limit::with_burst(rate(max, per_ns), burst).expect("a bucket")
}

fn greedy(max: u64, per_ns: u64, guard_ns: u64) -> Limit {
    let limit = Limit::greedy(rate(max, per_ns)).expect("a greedy limit");
    limit.guarded(Duration::from_nanos(guard_ns)).expect("a guard")
}

pub(super) fn windows(max: u64, per_ns: u64, start: Start) -> Limit {
    Limit::fixed_window(rate(max, per_ns), start).expect("windows")
}

pub(super) fn counter(max: u64, per_ns: u64) -> Limit {
    Limit::sliding_counter(rate(max, per_ns)).expect("a counter")
}

pub(super) fn unit(name: &str) -> Unit {
    Unit::named(name).expect("a unit")
}

pub(super) fn policy(limits: &[Limit]) -> Policy {
    Policy::new(limits).expect("a policy")
}

/// Limits of every kind, one by one and together.
pub(super) fn policies() -> Vec<Policy> {
    let permits = |policy: Policy, n| policy.with_permits(n).expect("permits");
    let tokens = || bucket(200_000, 60 * SECOND, 200_000).counting(unit("tokens"));
    vec![
        policy(&[bucket(5, SECOND, 1)]),
        policy(&[bucket(5, SECOND, 1)]).in_shadow(true),
        policy(&[bucket(10, 3 * SECOND, 20)]).with_max_waiters(7),
        permits(policy(&[bucket(1_000_000_007, 3_600 * SECOND, 100)]), 3),
        Policy::of_permits(65_535).expect("permits"),
        policy(&[tokens()]),
        policy(&[bucket(50, SECOND, 5), tokens(), bucket(1, 366 * DAY, 2)]),
        policy(&[greedy(5, SECOND, 0)]),
        policy(&[greedy(1_000, 60 * SECOND, 20_000_000)]).with_max_waiters(0),
        policy(&[windows(1_000, DAY, Start::Epoch)]),
        policy(&[windows(7, 90 * SECOND, Start::FirstUse), counter(3, SECOND)]),
        permits(
            policy(&[
                bucket(5, SECOND, 2),
                greedy(3, SECOND, 5),
                windows(100, 3_600 * SECOND, Start::Epoch).counting(unit("kB_out.v-2")),
                counter(1 << 48, 366 * DAY),
            ]),
            1,
        )
        .in_shadow(true),
    ]
}

/// Limits per key: of each kind, several, and with limits of all keys. Their clocks, and for how many keys they have room.
fn keyed_policies() -> Vec<(Policy, KeyClock, u64)> {
    let keys = |limits: &[Limit]| KeyPolicy::new(limits).expect("limits per key");
    // Another offset than that of the generation: the wall clock was set since the creation.
    let then = 1_740_000_000_000_000_007;
    let clock = |policy: Policy, ticks: [u64; 4], wall_ns, capacity| {
        let keys = policy.keys().expect("limits per key");
        let mut clock = KeyClock::new(keys, Nanos::from_nanos(6_000 * SECOND + 7), wall_ns);
        clock.anchors.iter_mut().zip(ticks).for_each(|(anchor, ticks)| anchor.ticks = ticks);
        (policy, clock, capacity)
    };
    let minute = || windows(100, 60 * SECOND, Start::Epoch);
    let three_a_day = Policy::of_permits(70).expect("permits").with_keys(keys(&[bucket(3, DAY, 3)]));
    let mut all = vec![
        clock(Policy::of_keys(keys(&[bucket(5, SECOND, 10)])), [0; 4], 0, 1),
        clock(
            Policy::of_keys(keys(&[bucket(7, 3 * SECOND, 4)])).in_shadow(true),
            [SECOND + 5, 0, 0, 0],
            0,
            100_000,
        ),
        clock(Policy::of_keys(keys(&[minute()]).refusing_new_keys(true)), [0; 4], then, 110_000),
        clock(
            Policy::of_keys(keys(&[counter(1_000, 3_600 * SECOND)]).hiding_names(true)),
            [12, 0, 0, 0],
            then,
            1_000,
        ),
        clock(
            policy(&[bucket(2_000, SECOND, 100)]).with_keys(keys(&[
                bucket(1_000_003, 60 * SECOND, 1_000_003).counting(unit("tokens")),
                windows(1_000_000_000, SECOND, Start::Epoch),
                counter(1 << 20, DAY),
                bucket(1, 366 * DAY, 9),
            ])),
            [1 << 50, 3, 0, 99],
            then,
            1_000_000_000,
        ),
        clock(
            policy(&[greedy(5, SECOND, 0), bucket(1, SECOND, 1)])
                .with_permits(3)
                .expect("permits")
                .with_keys(
                    keys(&[minute(), counter(3, SECOND).counting(unit("kB_out.v-2"))])
                        .refusing_new_keys(true)
                        .hiding_names(true),
                ),
            [0, 2, 0, 0],
            then,
            30_000,
        ),
        clock(three_a_day.with_max_waiters(2), [0; 4], 0, 250),
        clock(three_a_day, [7; 4], 0, 250),
        clock(three_a_day, [1 << 40; 4], 0, 250),
    ];
    // The tables of the last two were made for other rates: a tick is longer than a nanosecond, or much shorter.
    let made_for = [rate(1_000, SECOND), rate(1, 20 * DAY)];
    let last = all.len() - made_for.len();
    for ((_, clock, _), rate) in all[last..].iter_mut().zip(made_for) {
        let anchor = &mut clock.anchors[0];
        *anchor = Anchor { ticks: anchor.ticks, ..Anchor::new(rate, Nanos::from_nanos(anchor.ns)) };
    }
    all
}

/// Where the clock of a table was.
pub(super) fn anchored(anchor: &Anchor) -> Row {
    row! { ns: anchor.ns, ticks: anchor.ticks, call_bits: anchor.call_bits }
}

fn anchors(policy: &Policy, clock: &KeyClock) -> Vec<Row> {
    let limits = policy.keys().into_iter().flat_map(KeyPolicy::limits);
    clock.anchors.iter().zip(limits).map(|(anchor, _)| anchored(anchor)).collect()
}

/// All of them.
fn all_policies() -> Vec<(Policy, KeyClock, u64)> {
    let plain =
        policies().into_iter().map(|policy| (policy, KeyClock::default(), crate::segment::DEFAULT_CAPACITY));
    plain.chain(keyed_policies()).collect()
}

/// What was requested for each key.
fn requested_keys(policy: &Policy) -> Option<Row> {
    let keys = policy.keys()?;
    let limits: Vec<Row> = keys.limits().map(requested).collect();
    let row = Row::default().rows("limits", &limits);
    Some(row.flag("refuses_new", keys.refuses_new_keys()).flag("hides_names", keys.hides_names()))
}

/// What was requested, which all other words follow from.
pub(super) fn requested(limit: Limit) -> Row {
    let kind = match limit.kind() {
        Kind::Bucket { .. } => "bucket",
        Kind::Greedy => "greedy",
        Kind::FixedWindow(Start::Epoch) => "windows since 1970",
        Kind::FixedWindow(_) => "windows from first use",
        Kind::CalendarWindow { .. } => "calendar windows",
        _ => "sliding counter",
    };
    let (rate, guard) = (limit.rate(), limit.guard().as_nanos());
    let numbers =
        row! { max: rate.max(), per_ns: rate.per().as_nanos(), burst: limit.burst(), guard_ns: guard };
    let unit = if limit.unit().is_calls() { String::new() } else { limit.unit().to_string() };
    Row::default().text("kind", kind).row("numbers", &numbers).text("unit", &unit)
}

/// All words of a generation.
fn words(generation: &Generation) -> Vec<u64> {
    let word = |at: usize| -> u64 {
        let covered = in_memory::word_at(generation, at);
        covered.map_or(0, |word: &AtomicU64| word.load(Ordering::Relaxed))
    };
    (0..size_of::<Generation>()).step_by(8).map(word).collect()
}

fn configurations() -> Vec<Row> {
    let wall_ns = 1_750_000_000_123_456_789;
    let row = |(i, (policy, key_clock, _)): (usize, (Policy, KeyClock, u64))| {
        let not_before = [None, Some(Nanos::from_nanos(8_000 * SECOND + 3))][i % 2];
        let since = Nanos::from_nanos(7_000 * SECOND + i as u64);
        let offset = WallOffset { ns: wall_ns, uncertainty_ns: 0 };
        let new = Config::new(policy, since).by_wall_clock(offset, None).expect("no zone");
        let config = Config { not_before, starts_empty: i % 3 == 0, key_clock, ..new };
        let number = 1 + i as u64;
        let generation = in_memory::generation(&config, number);
        let limits: Vec<Row> = policy.limits().map(requested).collect();
        let row = row! { number: number, wall_ns: wall_ns, since_ns: since.as_nanos() }
            .flag("starts_empty", config.starts_empty)
            .maybe("not_before_ns", not_before.map(Nanos::as_nanos))
            .number("permits", policy.permits().unwrap_or(0))
            .number("most_permits_ever", config.permits_ever)
            .maybe("max_waiters", policy.max_waiters().map(u64::from))
            .flag("shadow", policy.is_shadow())
            .rows("limits", &limits);
        let row = match requested_keys(&policy) {
            Some(keys) => row.row(
                "keys",
                &keys.rows("anchors", &anchors(&policy, &key_clock)).number("wall_ns", key_clock.wall_ns),
            ),
            None => row.maybe("keys", None),
        };
        row.list("words", words(&generation))
    };
    all_policies().into_iter().enumerate().map(row).collect()
}

/// The parts of files for these policies.
fn files() -> Vec<Row> {
    let row = |(i, (policy, _, capacity)): (usize, (Policy, KeyClock, u64))| {
        let seats = [128, 1, 2, 33, 4_096][i % 5];
        let shape = shape_for(&policy, seats, capacity);
        let limits: Vec<Row> = policy.limits().map(requested).collect();
        let parts = row! {
            cells: shape.cells_at(), turn_cells: shape.turn_cells_at(), slots: shape.slots_at(), permits: shape.permits_at(),
            standing: shape.occupied_at(), places: shape.places_at(), end: shape.file_size(),
        };
        let keys = shape.keys;
        let parts = if keys.tables == 0 {
            parts
        } else {
            parts
                .number("key_stats", shape.key_stats_at())
                .number("chunks", shape.chunks_at())
                .number("fixed_end", shape.fixed_size())
                .number("tables", shape.tables_at())
        };
        let numbers = row! {
            cells: shape.cells, permits: shape.permits, places: shape.places(), tables: keys.tables, rows: keys.rows,
            chunks: keys.chunks(),
        };
        let row = match requested_keys(&policy) {
            Some(keys) => Row::default().row("keys", &keys.number("capacity", capacity)),
            None => Row::default().maybe("keys", None),
        };
        row.rows("limits", &limits)
            .number("permits", policy.permits().unwrap_or(0))
            .number("seats", seats)
            .row("numbers", &numbers.list("rings", shape.rings))
            .row("offsets", &parts)
    };
    all_policies().into_iter().enumerate().map(row).collect()
}
