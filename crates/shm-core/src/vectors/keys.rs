//! Limits per key: how keys are hashed, what each kind of limit makes of a key's state, and what requests do to the slots of a
//! row.

use super::table::{Row, Table, row};
use super::words::{anchored, bucket, counter, rate, requested, windows};
use crate::clock::Nanos;
use crate::keyed::{
    Anchor, Charge, HashKey, KeyClock, KeyDecision, KeyHash, KeyLimit, KeyRequest, KeyReset,
    Table as KeyTable, TableClock, Tables,
};
use crate::layout::{MAX_ROWS, RowSlots};
use crate::limit::{Limit, MAX_LIMITS, Rate, Start};
use crate::sync::Ordering;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const DAY: u64 = 86_400 * SECOND;
/// Some hours after boot.
const NOW: u64 = 12_345_678_901_234;
/// The offset of the wall clock when the limiter was created.
const WALL: u64 = 1_740_000_000_000_000_007;
const HASH_KEY: HashKey = HashKey([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);

pub(super) fn add(table: &mut Table) {
    table.section("key_hashes", &hashes());
    table.section("key_clocks", &clocks());
    table.section("key_charges", &charges());
    table.section("key_debts", &debts());
    table.section("key_inheritances", &inheritances());
    table.section("key_clock_advances", &advances());
    table.section("key_rates", &rates());
    table.section("key_rows", &rows());
    table.section("key_requests", &requests());
}

fn ns(at: u64) -> Nanos {
    Nanos::from_nanos(at)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hashes() -> Vec<Row> {
    let long = [b'x'; 65];
    let all: [&[&[u8]]; 13] = [
        &[b"alice"],
        &[b""],
        &[b"2001:db8::/64"],
        &[b"1234567"],
        &[b"12345678"],
        &[b"\xff\x00\x80"],
        &[&long],
        &[b"alice", b"/login"],
        &[b"a", b"", b"b"],
        &[b"ab"],
        &[b"ab", b""],
        &[b"", b"ab"],
        &[],
    ];
    let keys = [HASH_KEY, HashKey([0, 0]), HashKey([u64::MAX, 1 << 63])];
    let row = |(key, parts): (HashKey, &[&[u8]])| {
        let hash = key.hash(parts);
        let own = hash.tag;
        let counts = [1, 16, 1_000, 15_625, MAX_ROWS];
        // The tag in the key's own slot after so many resets, and the tag of the slot in which its life is counted.
        let mut reset = own;
        let mut lives = Vec::new();
        for resets in 0..=256 {
            if [0, 1, 2, 255, 256].contains(&resets) {
                let counted_in = own.of_life(reset.life()).word();
                lives.push(row! { resets: resets, own_tag: reset.word(), counted_in: counted_in });
            }
            reset = reset.in_next_life();
        }
        Row::default()
            .list("hash_key", key.0)
            .texts("parts_hex", parts.iter().map(|part| hex(part)))
            .pairs("row_of_rows", counts.map(|rows| (rows, hash.row(rows as usize) as u64)))
            .number("fingerprint", key.fingerprint(parts))
            .rows("lives", &lives)
    };
    all.into_iter().enumerate().map(|(i, parts)| row((keys[if i < 7 { 0 } else { i % 3 }], parts))).collect()
}

/// A limit per key, with its table's clock and perhaps a pause.
#[derive(Clone, Copy)]
struct InForce {
    limit: Limit,
    anchor: Anchor,
    not_before: Option<u64>,
}

impl InForce {
    fn limit(&self) -> KeyLimit {
        let clock = KeyClock { anchors: [self.anchor; MAX_LIMITS], wall_ns: WALL };
        KeyLimit::of(&KeyLimit::params_of(self.limit, 0, &clock, self.not_before.map(ns)))
    }

    fn row(&self) -> Row {
        requested(self.limit)
            .row("anchor", &anchored(&self.anchor))
            .number("wall_ns", WALL)
            .maybe("not_before_ns", self.not_before)
    }
}

/// Windows, whose clock is so many windows ahead.
fn ahead(limit: Limit, advance: u64, not_before: Option<u64>) -> InForce {
    InForce { limit, anchor: Anchor { ticks: advance, ..Anchor::default() }, not_before }
}

/// A bucket in a table that was made for its rate, whose clock was at this tick then.
fn since(limit: Limit, at: u64, ticks: u64, not_before: Option<u64>) -> InForce {
    made_for(limit, limit.rate(), at, ticks, not_before)
}

/// The same in a table that was made for another rate.
fn made_for(limit: Limit, rate: Rate, at: u64, ticks: u64, not_before: Option<u64>) -> InForce {
    InForce { limit, anchor: Anchor { ticks, ..Anchor::new(rate, ns(at)) }, not_before }
}

fn all_kinds() -> Vec<InForce> {
    let soon = Some(NOW + SECOND / 2);
    let minute = |max| windows(max, MINUTE, Start::Epoch);
    let seven = bucket(7, 3 * SECOND, 10);
    vec![
        since(bucket(5, SECOND, 1), NOW - 100 * SECOND, 0, None),
        since(seven, NOW - 123_456_789, 5_000_000_000, None),
        since(bucket(1_000_003, SECOND, 1_000), 5, 0, soon),
        made_for(seven, rate(1_000, SECOND), NOW - 50 * SECOND, 1 << 32, Some(NOW - SECOND / 4)),
        made_for(seven, rate(1, 10 * SECOND), NOW - 50 * SECOND, 1 << 40, soon),
        since(bucket(1, 366 * DAY, 3), NOW - DAY / 24, 0, None),
        // A process that lags, right after a change.
        since(bucket(2, SECOND, 2), NOW + 700, 1 << 50, None),
        ahead(minute(10), 0, None),
        ahead(minute(3), 1_000, Some(NOW + 90 * SECOND)),
        ahead(windows(1_000_000_000, SECOND, Start::Epoch), 7, None),
        ahead(counter(10, MINUTE), 0, None),
        ahead(counter(1, SECOND), 40, soon),
        ahead(counter(1 << 20, DAY), 2, None),
    ]
}

/// Ticks of clocks, and where these go on after a change of the rate.
fn clocks() -> Vec<Row> {
    let buckets = all_kinds().into_iter().filter(|own| own.anchor.call_bits > 0);
    let row = |own: InForce| {
        let clock = TableClock::new(own.limit.rate(), &own.anchor);
        let instants = [0, NOW - 1, NOW, NOW + 1, NOW + 1_000, NOW + 3_600 * SECOND, 1 << 60];
        let near = clock.at(ns(NOW));
        let ticks =
            [0, near, near + 1, near + 1_000, near + (1 << 40), own.anchor.ticks, own.anchor.ticks + 1];
        let moved = own.anchor.moved(own.limit.rate(), ns(NOW + 12_345));
        own.row()
            .number("speed", clock.speed.mantissa)
            .number("speed_shift", clock.speed.shift)
            .number("inverse", clock.inverse.mantissa)
            .number("inverse_shift", clock.inverse.shift)
            .pairs("ticks_at", instants.map(|at| (at, clock.at(ns(at)))))
            .pairs("reached_at", ticks.map(|tick| (tick, clock.instant(tick).as_nanos())))
            .number("changed_at_ns", NOW + 12_345)
            .row("anchor_after", &anchored(&moved))
    };
    buckets.map(row).collect()
}

/// States around the present one: never used, unused, used in part, full, ahead.
fn states(limit: &KeyLimit, burst: u64, now: Nanos) -> Vec<u64> {
    let unused = limit.unused(now);
    let debt = |amount: u64| limit.debt(unused, now, amount);
    let earlier = |ns: u64| limit.debt(0, now - std::time::Duration::from_nanos(ns), burst);
    let mut all = vec![
        0,
        unused,
        debt(1),
        debt(burst.div_ceil(2)),
        debt(burst),
        debt(2 * burst + 1),
        debt(7 * burst),
        earlier(SECOND / 3),
        earlier(40 * SECOND),
        earlier(90 * SECOND),
        earlier(DAY),
    ];
    if matches!(limit, KeyLimit::Bucket(_)) {
        // Around the nanosecond of now.
        all.extend([unused.saturating_sub(1), unused.saturating_sub(2), unused + 1, unused + 2, unused + 60]);
    }
    all
}

fn charges() -> Vec<Row> {
    let mut rows = Vec::new();
    for own in all_kinds() {
        let (limit, burst, now) = (own.limit(), own.limit.burst(), ns(NOW));
        for (i, state) in states(&limit, burst, now).into_iter().enumerate() {
            let cost = [1, burst, burst.div_ceil(2)][i % 3];
            let latest = ns(NOW + [0, 100 * SECOND, 0, SECOND][i % 4]);
            let (used, left) = limit.usage(state, now);
            let row = own
                .row()
                .number("state", state)
                .number("now_ns", NOW)
                .number("cost", cost)
                .number("latest_ns", latest.as_nanos())
                .number("unused", limit.unused(now))
                .flag("is_live", limit.is_live(state, now))
                .number("used", used)
                .number("left", left)
                .number("next_at_ns", limit.next_at(state, now).as_nanos())
                .flag("is_possible", limit.is_plausible(state, now, limit.anchor_ns()));
            rows.push(match limit.charge(state, now, cost, latest) {
                Charge::Conforms { at, state } => {
                    row.number("admitted_at_ns", at.as_nanos()).number("state_after", state)
                }
                Charge::TooEarly { ready } => row.number("ready_ns", ready.as_nanos()),
            });
        }
    }
    rows
}

fn debts() -> Vec<Row> {
    let mut rows = Vec::new();
    for own in all_kinds() {
        let (limit, burst, now) = (own.limit(), own.limit.burst(), ns(NOW));
        let amounts = [1, 2, burst, burst + 1, 3 * burst + 2, 40 * burst];
        for (state, amount) in states(&limit, burst, now).into_iter().zip(amounts.into_iter().cycle()) {
            let after = limit.debt(state, now, amount);
            rows.push(
                own.row()
                    .number("state", state)
                    .number("now_ns", NOW)
                    .number("amount", amount)
                    .number("state_after", after)
                    .number("next_at_ns", limit.next_at(after, now).as_nanos()),
            );
        }
    }
    rows
}

/// What a new key starts from, in a row with these states.
fn inheritances() -> Vec<Row> {
    let mut rows = Vec::new();
    for own in all_kinds().into_iter().skip(3).step_by(3) {
        let (limit, now) = (own.limit(), ns(NOW));
        let all = states(&limit, own.limit.burst(), now);
        for from in [0, 1, 2, 4] {
            let states: Vec<u64> = all.iter().copied().skip(from).collect();
            let least = states.iter().copied().min().unwrap_or(0);
            rows.push(
                own.row()
                    .number("now_ns", NOW)
                    .list("states", &states)
                    .number("inherited", limit.inherited(least, states.iter().copied(), now)),
            );
        }
    }
    rows
}

/// How far a reset of the table advances its clock.
fn advances() -> Vec<Row> {
    let mut rows = Vec::new();
    for own in all_kinds() {
        let (limit, now) = (own.limit(), ns(NOW));
        for greatest in states(&limit, own.limit.burst(), now) {
            let next = own.anchor.ticks.saturating_add(limit.advance_past(greatest, now));
            rows.push(
                own.row().number("now_ns", NOW).number("greatest", greatest).number("ticks_after", next),
            );
        }
    }
    rows
}

/// A request that brings its rate.
fn rates() -> Vec<Row> {
    let mut rows = Vec::new();
    for own in all_kinds().into_iter().take(5) {
        for (max, per, burst) in
            [(5, SECOND, 7), (5, SECOND, 9), (1, MINUTE, 1), (700, 3 * SECOND, 100), (10, SECOND, 40)]
        {
            let (limit, state) = (own.limit(), own.limit().unused(ns(NOW)));
            let other = limit.at(rate(max, per), burst).ok();
            let charged = other.map(|other| match other.charge(state, ns(NOW), 1, ns(NOW + DAY)) {
                Charge::Conforms { at, state } => [at.as_nanos(), state],
                Charge::TooEarly { .. } => panic!("within a day"),
            });
            let row = own
                .row()
                .row("brought", &row! { max: max, per_ns: per, burst: burst })
                .number("state", state)
                .number("now_ns", NOW)
                .flag("is_possible", other.is_some());
            rows.push(match charged {
                Some([at, state]) => row.number("admitted_at_ns", at).number("state_after", state),
                None => row,
            });
        }
    }
    rows
}

/// Rows of tables, in plain memory.
fn empty_rows(n: usize) -> Vec<RowSlots> {
    (0..n).map(|_| RowSlots::default()).collect()
}

/// The slots of a row: states and tags.
fn slots(row: &RowSlots) -> Vec<(u64, u64)> {
    row.0.iter().map(|pair| (pair.first(Ordering::Relaxed), pair.second(Ordering::Relaxed))).collect()
}

fn hash_of(key: &str) -> KeyHash {
    HASH_KEY.hash(&[key.as_bytes()])
}

fn decided(row: Row, decision: KeyDecision) -> Row {
    match decision {
        KeyDecision::Admitted { at, has_forgotten } => row
            .text("outcome", "admitted")
            .number("at_ns", at.as_nanos())
            .flag("has_forgotten", has_forgotten),
        KeyDecision::TooEarly { limit, ready, is_inherited } => row
            .text("outcome", "too early")
            .number("by", limit)
            .number("at_ns", ready.as_nanos())
            .flag("is_inherited", is_inherited),
        KeyDecision::Full { limit } => row.text("outcome", "full").number("by", limit),
    }
}

#[derive(Clone, Copy)]
enum Step {
    /// Request this much, at this time, and as a turn that comes within this time.
    Ask(u64, u64),
    /// The same, unless the row is full.
    AskIfRoom,
    Debt(u64),
    Reset,
}

/// Requests of many keys that meet in one row.
fn rows() -> Vec<Row> {
    let kinds = [
        since(bucket(2, SECOND, 4), NOW - SECOND, 9_000_000_000, None),
        ahead(windows(3, MINUTE, Start::Epoch), 0, None),
        ahead(counter(5, MINUTE), 0, None),
    ];
    let mut rows = Vec::new();
    for own in kinds {
        let (limit, memory) = (own.limit(), empty_rows(1));
        let table = KeyTable { limit, rows: &memory };
        let tables = Tables::one(table);
        let mut steps: Vec<(String, u64, Step)> = Vec::new();
        // One slot stays free. Keys have different debts.
        (0..15).for_each(|i| steps.push((format!("k{i}"), i * 1_000, Step::Ask(1 + i % 3, 0))));
        let soon = SECOND / 50;
        for (key, at, step) in [
            ("k3", soon, Step::Ask(2, 0)),
            ("k3", soon - 5_000_000, Step::Ask(1, 0)),
            ("k3", soon + 5, Step::Ask(1, 2 * SECOND)),
            ("k4", soon + 5, Step::Ask(3, 0)),
            ("last slot", soon + 6, Step::Ask(1, 0)),
            // The row is full: these take the place of the one with the least state.
            ("new", soon + 7, Step::AskIfRoom),
            ("new", soon + 8, Step::Ask(1, 0)),
            ("newer", soon + 9, Step::Ask(3, 0)),
            ("k1", soon + 9, Step::Ask(1, 0)),
            ("k9", soon + 10, Step::Debt(9)),
            ("newest", soon + 10, Step::Debt(2)),
            ("k3", soon + 11, Step::Reset),
            ("nobody", soon + 11, Step::Reset),
            ("k3", soon + 12, Step::Ask(1, 0)),
            ("k3", soon + 13, Step::Ask(1, 0)),
            ("k3", soon + 14, Step::Debt(2)),
            ("k3", soon + 15, Step::Reset),
            ("k3", soon + 16, Step::Ask(2, 0)),
            // The key's debts have expired, then all others.
            ("k3", 70 * SECOND, Step::Ask(2, 0)),
            ("k3", 70 * SECOND, Step::AskIfRoom),
            ("another", 200 * SECOND, Step::AskIfRoom),
            ("k3", 200 * SECOND, Step::Reset),
            ("k3", 200 * SECOND, Step::Ask(1, 0)),
        ] {
            steps.push((key.to_owned(), at, step));
        }
        for (i, (key, at, step)) in steps.into_iter().enumerate() {
            let (hash, now, before) = (hash_of(&key), ns(NOW + at), slots(&memory[0]));
            let changes = |before: Vec<(u64, u64)>| -> Vec<Row> {
                let pairs = slots(&memory[0]).into_iter().zip(before).enumerate();
                let changed = pairs.filter(|(_, (now, then))| now != then);
                changed.map(|(i, ((state, tag), _))| row! { slot: i, state: state, tag: tag }).collect()
            };
            let known = table.row(hash).known(&limit, hash.tag, now);
            let row = own
                .row()
                .text("key", &key)
                .number("now_ns", now.as_nanos())
                .pairs("slots", before.clone())
                .flag("is_known", known.is_in_a_slot)
                .number("known_state", known.state);
            let ask = |cost, ahead, may_forget| {
                let latest = ns(now.as_nanos() + ahead);
                let request = KeyRequest {
                    keys: [hash; MAX_LIMITS],
                    now,
                    costs: [cost; MAX_LIMITS],
                    latest,
                    may_forget,
                };
                let row = row! { cost: cost, latest_ns: latest.as_nanos() }.flag("may_forget", may_forget);
                ("request", decided(row, tables.admit(&request)))
            };
            let (name, done) = match step {
                Step::Ask(cost, ahead) => ask(cost, ahead, true),
                Step::AskIfRoom => ask(1, 0, false),
                Step::Debt(amount) => {
                    let latest = ns(u64::MAX >> 2);
                    table.row(hash).charge(&limit, hash.tag, now, amount, latest).expect("within that time");
                    ("debt", row! { amount: amount })
                }
                Step::Reset => {
                    let is_done = table.row(hash).reset(&limit, hash.tag, now) == KeyReset::Done;
                    ("reset", Row::default().flag("was_known", is_done))
                }
            };
            // The first ones are all alike.
            if !(3..13).contains(&i) {
                rows.push(row.row(name, &done).rows("changed_slots", &changes(before)));
            }
        }
    }
    rows
}

/// Requests of keys with several limits.
fn requests() -> Vec<Row> {
    let all = [
        ahead(counter(6, MINUTE), 0, None),
        since(bucket(5, SECOND, 3), NOW - MINUTE, 0, None),
        ahead(windows(5, 30 * SECOND, Start::Epoch), 3, None),
    ];
    let memory = all.map(|_| empty_rows(2));
    let tables: Vec<KeyTable<'_>> =
        all.iter().zip(&memory).map(|(own, rows)| KeyTable { limit: own.limit(), rows }).collect();
    let tables = Tables::new(tables.iter().copied());
    let limits = all.each_ref().map(InForce::row);
    let mut rows = Vec::new();
    for (key, at, costs) in [
        ("alice", 0, [1, 1, 1]),
        ("alice", 5, [2, 2, 2]),
        ("bob", 6, [1, 3, 1]),
        ("alice", 7, [1, 1, 1]),
        ("alice", SECOND, [1, 1, 2]),
        ("alice", 2 * SECOND, [1, 1, 1]),
        ("alice", 2 * SECOND + 1, [1, 0, 0]),
        ("bob", 3 * SECOND, [1, 3, 1]),
        ("alice", 31 * SECOND, [2, 1, 1]),
        ("alice", 40 * SECOND, [1, 1, 1]),
    ] {
        let (hash, now) = (hash_of(key), ns(NOW + at));
        let in_rows = || -> Vec<Vec<(u64, u64)>> {
            memory.iter().map(|rows| slots(&rows[hash.row(rows.len())])).collect()
        };
        let before = in_rows();
        let request = KeyRequest {
            keys: [hash; MAX_LIMITS],
            now,
            costs: std::array::from_fn(|i| costs.get(i).copied().unwrap_or(0)),
            latest: now,
            may_forget: true,
        };
        let decision = tables.admit(&request);
        let named = |all: Vec<Vec<(u64, u64)>>| {
            all.into_iter()
                .enumerate()
                .fold(Row::default(), |row, (i, slots)| row.pairs(&i.to_string(), slots))
        };
        let row = Row::default()
            .text("key", key)
            .number("now_ns", now.as_nanos())
            .rows("limits", &limits)
            .list("costs", costs)
            .row("slots", &named(before));
        rows.push(
            row.row("request", &decided(Row::default(), decision)).row("slots_after", &named(in_rows())),
        );
    }
    rows
}
