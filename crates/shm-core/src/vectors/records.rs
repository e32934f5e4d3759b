//! Several limits at once: how a record is packed, and what one admission changes in it.

use super::limits::{Memory, Slots};
use super::table::{Row, Table, row};
use super::words::{bucket, policies, policy, requested};
use crate::clock::{Nanos, WallOffset};
use crate::commit::{Config, in_memory};
use crate::limit::{MAX_LIMITS, Policy};

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 12_345_678_901_234;
const WALL: u64 = 1_750_000_000_123_456_789;
/// Slots of the rings here: fewer than a file has.
const CAPACITY: usize = 4;

pub(super) fn add(table: &mut Table) {
    table.section("zero_usage", &zero_usage());
    table.section("record_decisions", &records());
    table.section("record_changes", &changes());
}

/// Which policies, with which limits that have a ring, and until when paused.
fn cases() -> Vec<(Policy, [bool; MAX_LIMITS], Option<Nanos>)> {
    let all = policies();
    let (none, third) = ([false; MAX_LIMITS], [false, false, true, false]);
    let together = all[11];
    let two: Vec<_> = all[6].limits().take(2).collect();
    vec![
        (policy(&two), none, None),
        (policy(&two), third, None),
        (policy(&two), [true, false, false, false], Some(Nanos::from_nanos(NOW + SECOND / 2))),
        (all[10], none, None),
        (together, [false, true, false, false], None),
        (together, [false, true, false, true], Some(Nanos::from_nanos(NOW - SECOND / 2))),
    ]
}

/// The record of a new file.
fn zero_usage() -> Vec<Row> {
    let row = |(policy, ringed, _): (Policy, [bool; MAX_LIMITS], Option<Nanos>)| {
        let since = Nanos::from_nanos(NOW);
        let rules = in_memory::rules_of(&new(policy, since), ringed);
        let limits: Vec<Row> = policy.limits().map(requested).collect();
        row! { at_ns: NOW }
            .rows("limits", &limits)
            .list("ring_slots", ringed.map(|has_ring| if has_ring { CAPACITY } else { 0 }))
            .list("words", rules.size().words(&rules.unused(since)))
    };
    cases().into_iter().map(row).collect()
}

/// Two buckets with a queue, carried to other buckets before, during and after the queue.
fn changes() -> Vec<Row> {
    let two = policy(&[bucket(10, SECOND, 3), bucket(3, SECOND, 2)]);
    let others = [
        two,
        policy(&[bucket(10, SECOND, 1), bucket(7, 3 * SECOND, 20)]),
        policy(&[bucket(1, 60 * SECOND, 5)]),
    ];
    let ends = [None, Some(Nanos::from_nanos(NOW + SECOND))];
    let mut rows = Vec::new();
    for (from, not_before) in others.into_iter().flat_map(|from| ends.map(|end| (from, end))) {
        let config = |policy, not_before| Config { not_before, ..new(policy, Nanos::from_nanos(NOW)) };
        let memory = Memory(std::array::from_fn(|_| Slots::default()));
        let rules = in_memory::rules_of(&config(from, not_before), [false; MAX_LIMITS]);
        let mut record = rules.unused(Nanos::from_nanos(NOW - SECOND));
        for costs in [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0]] {
            let costs = std::array::from_fn(|i| if i < rules.len() { costs[i] } else { 0 });
            let at = rules.ready(&record, &costs, NOW, &memory).max(NOW);
            rules.charge(&mut record, &costs, at, NOW);
        }
        for (i, to) in others.into_iter().enumerate() {
            for (k, late) in [0, SECOND / 5, SECOND + SECOND / 2, 600 * SECOND].into_iter().enumerate() {
                let (now, end) = (Nanos::from_nanos(NOW + late), ends[(i + k) % 2]);
                let next = in_memory::rules_of(&config(to, end), [false; MAX_LIMITS]);
                let after = rules.carry(&record, now, &next, |_| true, &memory);
                let described = |policy: Policy, end: Option<Nanos>| {
                    let limits: Vec<Row> = policy.limits().map(requested).collect();
                    Row::default().rows("limits", &limits).maybe("not_before_ns", end.map(Nanos::as_nanos))
                };
                rows.push(
                    Row::default()
                        .row("from", &described(from, not_before))
                        .row("to", &described(to, end))
                        .number("now_ns", now.as_nanos())
                        .list("words", rules.size().words(&record))
                        .list("words_after", next.size().words(&after)),
                );
            }
        }
    }
    rows
}

/// A configuration under this page's wall clock.
fn new(policy: Policy, since: Nanos) -> Config {
    let offset = WallOffset { ns: WALL, uncertainty_ns: 0 };
    Config::new(policy, since).by_wall_clock(offset, None).expect("no zone")
}

fn records() -> Vec<Row> {
    cases().into_iter().flat_map(|(policy, ringed, not_before)| history(policy, ringed, not_before)).collect()
}

/// A few requests one after the other, some of them as turns.
fn history(policy: Policy, ringed: [bool; MAX_LIMITS], not_before: Option<Nanos>) -> Vec<Row> {
    let since = Nanos::from_nanos(NOW - SECOND);
    let config = Config { not_before, ..new(policy, since) };
    let rules = in_memory::rules_of(&config, ringed);
    let memory =
        Memory(ringed.map(|has_ring| if has_ring { Slots::new(CAPACITY) } else { Slots::default() }));
    let limits: Vec<Row> = policy.limits().map(requested).collect();
    let mut record = rules.unused(since);
    let (mut rows, mut now) = (Vec::new(), NOW);
    for (pause, costs) in [
        (0, [1, 1, 1, 1]),
        (7, [2, 0, 40, 1]),
        (SECOND / 3, [1, 2, 0, 0]),
        (SECOND / 2, [0, 1, 60, 1]),
        (1, [2, 2, 1, 3]),
        (2 * SECOND, [1, 1, 1, 1]),
    ] {
        now += pause;
        let costs = std::array::from_fn(|i| if i < rules.len() { costs[i] } else { 0 });
        let at = rules.ready(&record, &costs, now, &memory).max(now);
        let rings = memory.0.each_ref().map(Slots::all);
        let raised: Vec<_> = rules.unwritten(&record).collect();
        let mut after = record;
        rules.charge(&mut after, &costs, at, now);
        let lists =
            rings.iter().enumerate().fold(Row::default(), |row, (i, ring)| row.list(&format!("{i}"), ring));
        rows.push(
            row! { wall_ns: WALL, now_ns: now }
                .maybe("not_before_ns", not_before.map(Nanos::as_nanos))
                .rows("limits", &limits)
                .row("rings", &lists)
                .list("costs", costs)
                .list("words", rules.size().words(&record))
                .number("admitted_at_ns", at)
                .list("words_after", rules.size().words(&after)),
        );
        for (limit, range, value) in raised {
            range.for_each(|index| memory.0[limit].raise(index, value));
        }
        record = after;
    }
    rows
}
