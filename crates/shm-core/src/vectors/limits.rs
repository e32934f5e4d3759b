//! What each kind of limit decides: time in ticks, a bucket's decisions and changes, windows, counters and logs.

use super::table::{Row, Table, row};
use super::words::{bucket, rate};
use crate::clock::Nanos;
use crate::limit::calendar::{LocalTime, Offsets};
use crate::limit::log::{Log, Ring, State as LogState, WORDS};
use crate::limit::rule::Rule;
use crate::limit::rule_set::{Record, Rings, Rules};
use crate::limit::window::{FixedState, FixedWindow, SlidingCounter, SlidingState, Windows};
use crate::limit::{Gcra, Limit, MAX_LIMITS, Ticks};
use std::cell::RefCell;
use std::rc::Rc;

const SECOND: u64 = 1_000_000_000;
const YEAR: u64 = 366 * 86_400 * SECOND;
/// Some hours after boot.
const NOW: u64 = 12_345_678_901_234;

pub(super) fn add(table: &mut Table) {
    table.section("ticks", &ticks());
    table.section("bucket_decisions", &decisions());
    table.section("bucket_debts", &debts());
    table.section("bucket_refunds", &refunds());
    table.section("bucket_changes", &changes());
    table.section("fixed_windows", &fixed_windows());
    table.section("sliding_counters", &sliding_counters());
    table.section("greedy_limits", &greedy_limits());
}

fn ns(at: u64) -> Nanos {
    Nanos::from_nanos(at)
}

/// The extremes, and rates that do not divide evenly.
fn rates() -> [(u64, u64); 11] {
    [
        (1, 1),
        (YEAR, YEAR),
        (1, YEAR),
        (YEAR - 1, YEAR),
        (1, SECOND),
        (5, SECOND),
        (7, SECOND),
        (10, 3 * SECOND),
        (3, 1_500_000_000),
        (1_000_000_007, 3_600 * SECOND),
        (999_999_937, SECOND),
    ]
}

fn ticks() -> Vec<Row> {
    let instants = [0, 1, 2, SECOND - 1, SECOND, NOW, YEAR, (1 << 53) + 1, 1 << 61, (1 << 63) - 1];
    let row = |(max, per_ns): (u64, u64)| {
        let t = Ticks::of(rate(max, per_ns));
        let near = t.at(NOW);
        let wanted = [0, 1, 2, 3, near - 1, near, near + 1, 1 << 53, (1 << 62) - 1, 1 << 62];
        row! { max: max, per_ns: per_ns, shift: t.shift, ticks_per_ns: t.per_ns, ns_per_tick: t.inverse }
            .pairs("tick_of_ns", instants.map(|at| (at, t.at(at))))
            .pairs("first_ns_of_tick", wanted.map(|tick| (tick, t.first_ns(tick))))
    };
    rates().into_iter().map(row).collect()
}

/// A bucket in force, perhaps paused.
fn described(limit: Limit, not_before: Option<Nanos>) -> Row {
    let (gcra, rate) = (Gcra::new(limit, not_before), limit.rate());
    row! { max: rate.max(), per_ns: rate.per().as_nanos(), burst: limit.burst() }
        .maybe("not_before_ns", not_before.map(Nanos::as_nanos))
        .number("floor", gcra.floor)
}

fn buckets() -> Vec<(Limit, Option<Nanos>)> {
    let limits = [
        bucket(5, SECOND, 1),
        bucket(5, SECOND, 20),
        bucket(10, 3 * SECOND, 7),
        bucket(1, 1, 1_000),
        bucket(1, YEAR, 9),
        bucket(1_000_000_007, 3_600 * SECOND, 100),
    ];
    let pauses = [None, Some(ns(NOW + 3 * SECOND)), Some(ns(NOW - SECOND))];
    limits.into_iter().flat_map(|limit| pauses.map(|pause| (limit, pause))).collect()
}

/// States around the current one: unused, used in part, full, with turns ahead.
fn states(gcra: &Gcra) -> [u64; 6] {
    let (tick, token, full) = (gcra.ticks.at(NOW), gcra.ticks.tokens(1), gcra.ticks.tokens(gcra.burst));
    [0, tick - 1, tick + token / 3, tick + full - token / 2, tick + full + 1, tick + full + 3 * token]
}

fn decisions() -> Vec<Row> {
    let mut rows = Vec::new();
    for (limit, pause) in buckets() {
        let gcra = Gcra::new(limit, pause);
        for (i, tat) in states(&gcra).into_iter().enumerate() {
            let cost = [1, limit.burst(), limit.burst().div_ceil(2)][i % 3];
            let (ready, tick) = (gcra.ready_at(tat, cost), gcra.ticks.at(NOW));
            assert_eq!(gcra.conforms(tat, tick, cost), ready <= ns(NOW));
            let seen = gcra.status(tat, ns(NOW));
            let usage = row! {
                used: seen.used, available: seen.available, queued: seen.queued, next_at_ns: seen.next_at.as_nanos(),
            };
            rows.push(
                Row::default()
                    .row("bucket", &described(limit, pause))
                    .number("tat", tat)
                    .number("now_ns", NOW)
                    .number("cost", cost)
                    .flag("conforms_now", ready <= ns(NOW))
                    .number("conforms_at_ns", ready.as_nanos())
                    .number("tat_after", gcra.charge(tat, tick, cost))
                    .row("usage", &usage),
            );
        }
    }
    rows
}

fn debts() -> Vec<Row> {
    let mut rows = Vec::new();
    for (limit, pause) in buckets() {
        let gcra = Gcra::new(limit, pause);
        for (tat, amount) in states(&gcra).into_iter().zip([1, 3, 1_000, 7, 2, 1 << 40]) {
            let debt = gcra.debt(tat, gcra.ticks.at(NOW), amount);
            rows.push(
                Row::default()
                    .row("bucket", &described(limit, pause))
                    .number("tat", tat)
                    .number("now_ns", NOW)
                    .number("tokens", amount)
                    // None: the TAT would be 2^62 or more.
                    .maybe("tat_after", debt.map(|(after, _)| after))
                    .maybe("last_at_ns", debt.map(|(_, last)| gcra.ticks.first_ns(last))),
            );
        }
    }
    rows
}

fn refunds() -> Vec<Row> {
    let mut rows = Vec::new();
    for (limit, pause) in buckets() {
        let gcra = Gcra::new(limit, pause);
        for (i, tat) in states(&gcra).into_iter().enumerate() {
            let part = [1, limit.burst()][i % 2];
            let at = NOW - [0, 1, SECOND / 7, 3 * SECOND, 10][i % 5];
            let reserved = [0, tat.saturating_sub(gcra.ticks.tokens(1) / 5)][i % 2];
            let later = gcra.give_back(tat, ns(at), ns(NOW), part, reserved.saturating_add(1));
            rows.push(
                Row::default()
                    .row("bucket", &described(limit, pause))
                    .row("state", &row! { tat: tat, reserved: reserved })
                    .number("admitted_at_ns", at)
                    .number("now_ns", NOW)
                    .number("part", part)
                    .number("tat_after_if_newest_reservation", gcra.refund(tat, part))
                    .number("tat_after_otherwise", later),
            );
        }
    }
    rows
}

/// One word carried to every other bucket.
fn changes() -> Vec<Row> {
    let mut rows = Vec::new();
    let all = buckets();
    for (i, &(limit, pause)) in all.iter().enumerate() {
        let from = Gcra::new(limit, pause);
        for (k, tat) in states(&from).into_iter().enumerate() {
            // The same limit under another pause, another burst, and another rate.
            let burst = Limit::with_burst(limit.rate(), 1 + limit.burst() / 2).expect("a smaller burst");
            let others =
                [(limit, all[(i + 1) % all.len()].1), (burst, pause), all[(i + 5 * k + 4) % all.len()]];
            let (next, next_pause) = others[k % 3];
            let to = Gcra::new(next, next_pause);
            rows.push(
                Row::default()
                    .row("from", &described(limit, pause))
                    .row("to", &described(next, next_pause))
                    .number("tat", tat)
                    .number("now_ns", NOW)
                    .number("tat_after", from.carry(tat, ns(NOW), &to)),
            );
        }
    }
    rows
}

/// Only windows of a calendar need it.
const LOCAL: LocalTime = LocalTime { wall_ns: 0, offsets: Offsets::UTC };

/// Windows of a minute, one of which begins at `origin`; without it, from first use.
fn window(max: u64, origin: Option<u64>) -> FixedWindow {
    let per = 60 * SECOND;
    let windows = match origin {
        Some(origin) => Windows::Aligned { per, wall_ns: per - 1 - (origin + per - 1) % per },
        None => Windows::FirstUse { per },
    };
    FixedWindow { max, windows }
}

fn fixed_windows() -> Vec<Row> {
    let mut rows = Vec::new();
    for origin in [None, Some(37), Some(NOW % (60 * SECOND)), Some(NOW + 5 * SECOND)] {
        let window = window(10, origin);
        let state = |start, used| FixedState { start, used };
        let states = [
            state(0, 0),
            state(NOW - 59 * SECOND, 3),
            state(NOW - 59 * SECOND, 10),
            state(NOW - 60 * SECOND, 10),
            state(NOW - 60 * SECOND + 1, 9),
            state(NOW, 1),
        ];
        for before in states {
            for (cost, now) in [(1, NOW), (8, NOW), (1, NOW + 59 * SECOND)] {
                let at = window.ready(&before, cost, &LOCAL).max(now);
                let mut after = before;
                window.charge(&mut after, at, cost, &LOCAL);
                rows.push(
                    row! { max: window.max, per_ns: 60 * SECOND }
                        .maybe("y", origin)
                        .list("words", [before.start, before.used])
                        .number("cost", cost)
                        .number("now_ns", now)
                        .number("admitted_at_ns", at)
                        .list("words_after", [after.start, after.used])
                        .number("used_now", window.used(&before, now, &LOCAL)),
                );
            }
        }
    }
    // Right after boot, before an instant at which a window begins.
    let window = window(2, Some(100 * SECOND));
    for (start, used, now) in [(0, 0, 5), (0, 2, 30 * SECOND), (40 * SECOND, 2, 41 * SECOND)] {
        let before = FixedState { start, used };
        let at = window.ready(&before, 1, &LOCAL).max(now);
        let mut after = before;
        window.charge(&mut after, at, 1, &LOCAL);
        rows.push(
            row! { max: window.max, per_ns: 60 * SECOND, y: 100 * SECOND }
                .list("words", [start, used])
                .number("cost", 1)
                .number("now_ns", now)
                .number("admitted_at_ns", at)
                .list("words_after", [after.start, after.used])
                .number("used_now", window.used(&before, now, &LOCAL)),
        );
    }
    rows
}

fn sliding_counters() -> Vec<Row> {
    let mut rows = Vec::new();
    for (max, per) in [(10, 60 * SECOND), (1, SECOND), (1 << 48, YEAR)] {
        let counter = SlidingCounter { max, per };
        let state = |start, used, before| SlidingState { start, used, before };
        let states = [
            state(NOW.saturating_sub(per / 2), 0, 0),
            state(NOW.saturating_sub(per / 2), max / 2, max),
            state(NOW.saturating_sub(per / 3), max, max / 3),
            state(NOW.saturating_sub(per), max, max),
            state(NOW.saturating_sub(2 * per + 5), max, 1),
            state(NOW, 0, max),
        ];
        for before in states {
            for cost in [1, max.div_ceil(2)] {
                let at = counter.ready(&before, cost).max(NOW);
                let mut after = before;
                counter.charge(&mut after, at, cost);
                rows.push(
                    row! { max: max, per_ns: per }
                        .list("words", [before.start, before.used, before.before])
                        .number("cost", cost)
                        .number("now_ns", NOW)
                        .number("admitted_at_ns", at)
                        .list("words_after", [after.start, after.used, after.before])
                        .number("used_now", counter.used(&before, NOW)),
                );
            }
        }
    }
    rows
}

/// Rings in plain memory.
#[derive(Clone, Default)]
pub(super) struct Slots(Rc<RefCell<Vec<u64>>>);

impl Slots {
    pub(super) fn new(capacity: usize) -> Slots {
        Slots(Rc::new(RefCell::new(vec![0; capacity])))
    }

    pub(super) fn raise(&self, index: u64, value: u64) {
        let mut slots = self.0.borrow_mut();
        let len = slots.len() as u64;
        let slot = &mut slots[(index % len) as usize];
        *slot = value.max(*slot);
    }

    pub(super) fn all(&self) -> Vec<u64> {
        self.0.borrow().clone()
    }
}

impl Ring for Slots {
    fn slot(&self, index: u64) -> u64 {
        let slots = self.0.borrow();
        if slots.is_empty() { 0 } else { slots[(index % slots.len() as u64) as usize] }
    }

    fn capacity(&self) -> u64 {
        self.0.borrow().len() as u64
    }
}

/// The rings of a limiter.
pub(super) struct Memory(pub(super) [Slots; MAX_LIMITS]);

impl Rings for Memory {
    type Ring = Slots;

    fn ring(&self, limit: usize) -> Slots {
        self.0[limit].clone()
    }
}

/// A greedy limit in use, and a queue that a change dropped.
fn greedy_limits() -> Vec<Row> {
    let log = Log { max: 3, span: 60 * SECOND };
    let rules = Rules::new(1, |_| Rule::Log(log), [true, false, false, false], 0);
    let memory = Memory([Slots::new(4), Slots::default(), Slots::default(), Slots::default()]);
    let mut record = rules.unused(ns(NOW));
    let words = |record: &Record| record.0[2..2 + WORDS].to_vec();
    let (mut rows, mut now) = (Vec::new(), NOW);
    for (pause, cost, as_turn, drop) in [
        (0, 1, false, false),
        (SECOND + 1, 2, false, false),
        (SECOND, 1, false, false),
        (60 * SECOND, 1, true, false),
        (3 * SECOND, 1, true, false),
        (SECOND / 2, 1, true, true),
        (SECOND, 1, false, false),
        (60 * SECOND, 3, false, false),
        (60 * SECOND, 1, true, false),
        (1, 3, true, false),
    ] {
        now += pause;
        if drop {
            record = rules.carry(&record, ns(now), &rules, |_| true, &memory);
        }
        let (before, slots) = (words(&record), memory.0[0].all());
        let state = LogState::read(&before);
        let at = log.ready(&state, cost, &memory.0[0]).max(now);
        let (range, value) = state.unwritten();
        let mut after = before.clone();
        Log::charge_words(&mut after, at, cost);
        rows.push(
            row! { max: log.max, span_ns: log.span }
                .list("ring", slots)
                .list("words", &before)
                .number("cost", cost)
                .number("now_ns", now)
                .number("admitted_at_ns", at)
                .pairs("slots_to_raise_before_it", range.clone().map(|index| (index % 4, value)))
                .list("words_after", after),
        );
        if as_turn || at == now {
            range.for_each(|index| memory.0[0].raise(index, value));
            rules.charge(&mut record, &[cost, 0, 0, 0], at, now);
        }
    }
    let damaged =
        [[1 << 62, 0, 0, 0, 0, 0, 0, 0, 1], [5, 0, NOW, 0, 6, 0, 0, 0, 1], [5, 0, NOW, 0, 0, 6, 0, 0, 1]];
    rows.extend(damaged.map(|words| {
        assert!(!LogState::read(&words).is_sound());
        row! { max: log.max, span_ns: log.span }.list("words", words).flag("is_damaged", true)
    }));
    rows
}
