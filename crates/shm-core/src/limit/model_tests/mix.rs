//! Several limits at once.

use super::definition::{Spec, bucket};
use super::{Costs, PlainLimiter, SLACK, ns};
use crate::limit::log::STEP_NS;
use crate::limit::rule::Rule;
use crate::limit::rule_set::{Record, Rules};
use crate::limit::{Gcra, MAX_LIMITS};
use proptest::prelude::*;

pub(super) const START: u64 = 1 << 24;
pub(super) const CAPACITY: u64 = 8;

pub(super) fn rules(specs: &[Spec]) -> Rules {
    paused(specs, 0, false)
}

/// Nothing is admitted before `until`; then the buckets start at their sustained rate, or with their unused budget.
fn paused(specs: &[Spec], until: u64, at_pace: bool) -> Rules {
    let rule = |i: usize| match specs[i] {
        Spec::Bucket { interval, burst } if at_pace => {
            Rule::Bucket(Gcra::new(bucket(interval, burst), Some(ns(until))))
        }
        spec => spec.rule(),
    };
    Rules::new(specs.len(), rule, [true, true, false, false], until)
}

/// Up to four limits of any kind. Only the first two have a ring.
pub(super) fn mixes(unit: u64) -> impl Strategy<Value = Vec<Spec>> {
    let spec = move |ringed: bool| {
        let per = move || unit..40 * unit;
        let log = (1..=CAPACITY, per()).prop_map(|(max, span)| Spec::Log { max, span });
        let others = prop_oneof![
            (1..=CAPACITY, unit..8 * unit).prop_map(|(burst, interval)| Spec::Bucket { interval, burst }),
            (1..=CAPACITY, per(), 0..2 * START).prop_map(|(max, per, origin)| Spec::Fixed {
                max,
                per,
                origin
            }),
            (1..=CAPACITY, per()).prop_map(|(max, per)| Spec::First { max, per }),
            (1..=CAPACITY, per()).prop_map(|(max, per)| Spec::Sliding { max, per, phase: START }),
        ];
        if ringed { prop_oneof![2 => log, 3 => others].boxed() } else { others.boxed() }
    };
    (spec(true), prop::option::of(spec(true)), prop::option::of(spec(false)), prop::option::of(spec(false)))
        .prop_map(|(a, b, c, d)| [Some(a), b, c, d].into_iter().flatten().collect::<Vec<_>>())
        // A ring belongs to an index; limits beyond the rings cannot be logs.
        .prop_filter("a log without a ring", |all: &Vec<Spec>| {
            all.iter().skip(2).all(|spec| !matches!(spec, Spec::Log { .. }))
        })
}

/// The cost of one turn; at least one call.
pub(super) fn costs_of(specs: &[Spec], mut costs: Costs) -> Costs {
    for (i, cost) in costs.iter_mut().enumerate() {
        *cost = specs.get(i).map_or(0, |spec| (*cost).min(spec.max_cost()));
    }
    if costs == [0; MAX_LIMITS] {
        costs[0] = 1;
    }
    costs
}

pub(super) fn some_costs() -> impl Strategy<Value = Costs> {
    prop::array::uniform4(prop_oneof![Just(0), Just(1), 1u64..9])
}

/// A turn: its time, what it was charged, what it really used, and under which limits.
#[derive(Clone, Debug)]
struct Turn {
    at: u64,
    charged: Costs,
    actual: Costs,
    specs: Vec<Spec>,
    /// Not admitted but charged unconditionally: no receipt exists for it.
    is_debt: bool,
}

fn history(turns: &[Turn], limit: usize) -> Vec<(u64, u64)> {
    turns.iter().filter(|t| t.charged[limit] > 0).map(|t| (t.at, t.actual[limit])).collect()
}

/// Each turn was within each of its limits.
fn never_over(turns: &[Turn]) -> Result<(), TestCaseError> {
    for (k, turn) in turns.iter().enumerate().filter(|(_, turn)| !turn.is_debt) {
        prop_assert!(k == 0 || turn.at >= turns[k - 1].at);
        for (i, spec) in turn.specs.iter().enumerate().filter(|(i, _)| turn.charged[*i] > 0) {
            let before = history(&turns[..k], i);
            prop_assert!(spec.conforms(&before, turn.at, turn.actual[i]), "turn {k}, limit {i} in {turns:?}");
        }
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum Step {
    Take {
        gap: u64,
        costs: Costs,
    },
    Reserve {
        times: u64,
        costs: Costs,
    },
    Cancel,
    Refund {
        back: usize,
        amounts: Costs,
    },
    /// With an optional pause.
    Carry {
        gap: u64,
        maxes: Costs,
        pause: u64,
        at_pace: bool,
    },
    WriteLate {
        pick: usize,
    },
    /// More than was charged turned out to be used.
    Debt {
        amounts: Costs,
    },
}

fn steps(unit: u64, changes: u32) -> impl Strategy<Value = Vec<Step>> {
    let gap = move || prop_oneof![3 => 0..4 * unit, 1 => 0..60 * unit, 1 => Just(0)];
    let maxes = || prop::array::uniform4(1..=CAPACITY);
    prop::collection::vec(
        prop_oneof![
            4 => (gap(), some_costs()).prop_map(|(gap, costs)| Step::Take { gap, costs }),
            2 => (1u64..5, some_costs()).prop_map(|(times, costs)| Step::Reserve { times, costs }),
            3 => Just(Step::Cancel),
            2 => (0usize..4, some_costs()).prop_map(|(back, amounts)| Step::Refund { back, amounts }),
            changes => (gap(), maxes(), prop_oneof![2 => Just(0), 1 => 0..60 * unit], any::<bool>())
                .prop_map(|(gap, maxes, pause, at_pace)| Step::Carry { gap, maxes, pause, at_pace }),
            3 => any::<usize>().prop_map(|pick| Step::WriteLate { pick }),
            1 => some_costs().prop_map(|amounts| Step::Debt { amounts }),
        ],
        1..60,
    )
}

/// Any operations in any order. What counts is the real usage of turns that came.
fn storm(mut specs: Vec<Spec>, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut host = PlainLimiter::new(rules(&specs), CAPACITY, START);
    let (mut now, mut turns) = (START, Vec::<Turn>::new());
    // The record before the newest turn, as long as nothing followed.
    let mut before: Option<Record> = None;
    // The buckets' running totals right after each of the newest turns since the last change.
    let mut then = Vec::<Costs>::new();
    for step in steps {
        match step {
            Step::Take { gap, costs } => {
                now += gap;
                let charged = costs_of(&specs, costs);
                before = Some(host.record);
                let at = host.take(charged, now);
                then.push(host.rules.charged(&host.record));
                turns.push(Turn { at, charged, actual: charged, specs: specs.clone(), is_debt: false });
            }
            Step::Reserve { times, costs } => {
                for _ in 0..times {
                    let charged = costs_of(&specs, costs);
                    before = Some(host.record);
                    let at = host.take(charged, now);
                    then.push(host.rules.charged(&host.record));
                    turns.push(Turn { at, charged, actual: charged, specs: specs.clone(), is_debt: false });
                }
            }
            Step::Cancel => {
                if let Some(old) = before.take() {
                    host.commit(host.rules.cancel(&host.record, &old));
                    turns.pop();
                    then.pop();
                }
            }
            Step::Refund { back, amounts } => {
                let place = turns.len().wrapping_sub(1 + back);
                let charged = then.len().checked_sub(1 + back).map(|i| then[i]);
                let turn = turns.get_mut(place).filter(|turn| !turn.is_debt);
                if let (Some(turn), Some(charged)) = (turn, charged) {
                    let mut unused = amounts;
                    for (amount, actual) in unused.iter_mut().zip(&mut turn.actual) {
                        *amount = (*amount).min(*actual);
                        *actual -= *amount;
                    }
                    let at = turn.at;
                    let is_newest = back == 0 && before.is_some();
                    // Sometimes the totals are unknown.
                    let known = at % 3 > 0;
                    host.refund(&unused, at, known.then_some(&charged), is_newest);
                    before = None;
                }
            }
            Step::Carry { gap, maxes, pause, at_pace } => {
                now += gap;
                turns.retain(|t| t.at <= now + SLACK);
                for (spec, max) in specs.iter_mut().zip(maxes) {
                    // A smaller bucket drops what exceeds it, by design; not tested here.
                    if !matches!(spec, Spec::Bucket { .. }) {
                        *spec = spec.with_most(max);
                    }
                }
                host.carry(paused(&specs, now + pause, at_pace && pause > 0), now, true);
                before = None;
                then.clear();
            }
            Step::WriteLate { pick } => host.write_late(pick),
            Step::Debt { amounts } => {
                before = None;
                // It counts as single calls, queued at each limit separately.
                let (least, mut calls) = (host.record.last().max(now), Vec::new());
                for limit in 0..specs.len() {
                    let mut charged = [0; MAX_LIMITS];
                    charged[limit] = 1;
                    let last = host.clone_with(|host| host.debt(charged.map(|n| n * amounts[limit]), now));
                    calls.extend(host.clone_with(|host| {
                        let take = |_| (host.take(charged, now).min(last.unwrap_or(0)), charged);
                        (0..amounts[limit]).map(take).collect::<Vec<_>>()
                    }));
                }
                let last =
                    host.debt(std::array::from_fn(|i| if i < specs.len() { amounts[i] } else { 0 }), now);
                prop_assert!(last.is_some_and(|last| last >= least));
                calls.sort_unstable();
                for (at, charged) in calls {
                    turns.push(Turn { at, charged, actual: charged, specs: specs.clone(), is_debt: true });
                    then.push(host.rules.charged(&host.record));
                }
            }
        }
    }
    never_over(&turns)
}

/// Every sequence of this many steps.
fn every_sequence(specs: &[Spec], alphabet: &[Step], depth: u32) {
    for number in 0..alphabet.len().pow(depth) {
        let steps: Vec<_> =
            (0..depth).map(|i| alphabet[number / alphabet.len().pow(i) % alphabet.len()].clone()).collect();
        if let Err(e) = storm(specs.to_vec(), steps.clone()) {
            panic!("{e} after {steps:?} of {specs:?}");
        }
    }
}

/// Two limits with small numbers: after any five operations, the limits hold for what is admitted next.
#[test]
fn no_short_sequence_on_a_record_breaks_a_limit() {
    const U: u64 = 1 << 14;
    let kinds = [
        Spec::Bucket { interval: 2 * U, burst: 2 },
        Spec::Log { max: 2, span: 4 * U },
        Spec::First { max: 2, per: 4 * U },
        Spec::Fixed { max: 2, per: 4 * U, origin: U },
        Spec::Sliding { max: 2, per: 4 * U, phase: START },
    ];
    let maxes = [3, 3, 3, 3];
    let alphabet = [
        Step::Take { gap: 0, costs: [2, 1, 0, 0] },
        Step::Take { gap: 4 * U, costs: [1, 1, 0, 0] },
        Step::Reserve { times: 2, costs: [1, 1, 0, 0] },
        Step::Cancel,
        Step::Refund { back: 0, amounts: [2, 1, 0, 0] },
        Step::Refund { back: 1, amounts: [1, 1, 0, 0] },
        Step::Carry { gap: U, maxes, pause: 0, at_pace: false },
        Step::Debt { amounts: [1, 0, 0, 0] },
    ];
    for (i, first) in kinds.into_iter().enumerate() {
        for second in [Spec::Bucket { interval: 3 * U, burst: 1 }, kinds[(i + 1) % kinds.len()]] {
            every_sequence(&[first, second], &alphabet, 5);
        }
    }
}

proptest! {
    /// A debt ends when the last of as many single calls would. The next request is admitted as early as behind those,
    /// or at most one span later if there is a log.
    #[test]
    fn a_debt_of_one_limit_is_a_queue_of_single_calls(
        specs in mixes(1 << 14),
        steps in prop::collection::vec((0u64..300, any::<bool>(), some_costs()), 0..20),
        amount in prop_oneof![1u64..12, 1u64..200],
    ) {
        let unit = specs[0].memory() / 20 + 1;
        let mut host = PlainLimiter::new(rules(&specs), CAPACITY, START);
        let mut now = START;
        for (percent, wait, costs) in steps {
            now += unit * percent / 100;
            let charged = costs_of(&specs, costs);
            if wait || host.ready(charged, now) == now {
                host.take(charged, now);
            }
        }
        let one = [1, 0, 0, 0];
        let singly = host.clone_with(|host| {
            let last = (0..amount).map(|_| host.take(one, now)).last();
            (last, host.ready(one, now))
        });
        let last = host.debt([amount, 0, 0, 0], now);
        let next = host.ready(one, now);
        if let Spec::Log { max, span } = specs[0] {
            // Each window's times are rounded up.
            let steps = (amount / max + 2) * STEP_NS;
            prop_assert!(last <= singly.0 && last.unwrap() + steps >= singly.0.unwrap(), "{last:?} {singly:?}");
            prop_assert!(next + steps >= singly.1 && next <= singly.1 + span + STEP_NS, "{next} {singly:?}");
        } else {
            prop_assert_eq!((last, next), singly);
        }
    }
}

proptest! {
    /// The instant is the first that satisfies every limit, and not before the previous turn.
    #[test]
    fn the_instant_is_the_first_that_satisfies_all_limits(
        specs in prop_oneof![mixes(1), mixes(64), mixes(1 << 14)],
        steps in prop::collection::vec((0u64..300, any::<bool>(), some_costs(), any::<usize>()), 1..40),
    ) {
        let unit = specs[0].memory() / 20 + 1;
        let mut host = PlainLimiter::new(rules(&specs), CAPACITY, START);
        let (mut now, mut last, mut turns) = (START, 0, Vec::<Turn>::new());
        for (percent, wait, costs, pick) in steps {
            now += unit * percent / 100;
            let charged = costs_of(&specs, costs);
            let from = now.max(last);
            let first = (0..specs.len())
                .filter(|&i| charged[i] > 0)
                .map(|i| specs[i].earliest(&history(&turns, i), charged[i], from))
                .fold(from, u64::max);
            prop_assert_eq!(host.ready(charged, now), first, "{:?} {:?}", charged, turns);
            if wait || first == now {
                if first > from {
                    prop_assert_eq!(host.ready(charged, first - 1), first);
                }
                prop_assert_eq!(host.take(charged, now), first);
                turns.push(Turn { at: first, charged, actual: charged, specs: specs.clone(), is_debt: false });
                last = first;
            }
            host.write_late(pick);
        }
        never_over(&turns)?;
    }

    /// Reservations, cancellations, refunds, changes and late writes, in any order: the limits hold.
    #[test]
    fn no_sequence_of_operations_breaks_a_limit(specs in mixes(1 << 14), steps in steps(1 << 14, 1)) {
        storm(specs, steps)?;
    }

    /// The same with at least one log, the most intricate kind.
    #[test]
    fn no_sequence_of_operations_breaks_a_log(
        max in 1..=CAPACITY, span in 1u64..40, more in mixes(1 << 14), steps in steps(1 << 14, 3),
    ) {
        storm([Spec::Log { max, span: span << 14 }].into_iter().chain(more).take(2).collect(), steps)?;
    }

    /// A change to another kind keeps the used amount.
    #[test]
    fn a_change_of_kind_keeps_usage(
        from in mixes(1 << 14), to in mixes(1 << 14), used in 1..=CAPACITY,
        then in prop::collection::vec((0u64..1 << 17, 1..=CAPACITY), 0..20),
    ) {
        let (mut from, mut to) = (from[0], to[0]);
        for spec in [&mut from, &mut to] {
            if let Spec::Fixed { origin, .. } = spec {
                *origin = START;
            }
        }
        if std::mem::discriminant(&from) == std::mem::discriminant(&to) {
            return Ok(());
        }
        let (mut host, used, mut now) = (PlainLimiter::new(rules(&[from]), CAPACITY, START), used.min(from.max_cost()), START + 1);
        host.take([used, 0, 0, 0], now);
        host.carry(rules(&[to]), now, true);
        let most = to.max_cost();
        for cost in 1..=most {
            let passes = host.ready([cost, 0, 0, 0], now) < now + SLACK + STEP_NS;
            prop_assert_eq!(passes, cost + used <= most, "{} with {} used", cost, used);
        }
        let turn = |at, cost, spec| Turn {
            at, charged: [cost, 0, 0, 0], actual: [cost, 0, 0, 0], specs: vec![spec], is_debt: false,
        };
        let mut turns = vec![turn(now + SLACK, used.min(most), to)];
        now += SLACK;
        for (gap, cost) in then {
            now += gap;
            let cost = cost.min(most);
            turns.push(turn(host.take([cost, 0, 0, 0], now), cost, to));
        }
        if let Spec::Sliding { phase, .. } = &mut to {
            *phase = START + 1 + SLACK;
        }
        turns.iter_mut().for_each(|turn| turn.specs[0] = to);
        never_over(&turns)?;
    }
}

/// A bucket that is reset during a pause has its burst when the pause ends early.
#[test]
fn a_reset_during_a_pause_leaves_nothing_used() {
    let specs = [Spec::Bucket { interval: 1 << 20, burst: 5 }];
    let mut host = PlainLimiter::new(rules(&specs), 1, START);
    host.take([5, 0, 0, 0], START);
    host.carry(paused(&specs, START << 4, true), START, false);
    host.carry(rules(&specs), START, true);
    assert!(host.ready([5, 0, 0, 0], START) <= START + SLACK);
}

/// Turns of a bucket that waited for another limit are not one token apart: dropping them must not make the next one
/// early.
#[test]
fn turns_that_waited_for_another_limit_are_dropped_safely() {
    const T: u64 = 1 << 20;
    let specs = [Spec::Bucket { interval: T, burst: 1 }, Spec::First { max: 1, per: T / 2 * 3 }];
    let mut host = PlainLimiter::new(rules(&specs), CAPACITY, START);
    assert_eq!(host.take([1, 0, 0, 0], START), START);
    let turns = [0; 2].map(|_| host.take([1, 1, 0, 0], START) - START);
    assert_eq!(turns, [T, T + T / 2 * 3]);
    host.carry(rules(&specs), START + 1, true);
    let at = host.ready([1, 0, 0, 0], START + 1);
    assert!((START + T..START + T + 2 * SLACK).contains(&at), "{at}");
}

/// A turn was written to the ring before it was cancelled. The admission that takes its index is not mistaken for part
/// of the queue.
#[test]
fn a_cancelled_turn_in_the_ring_hides_no_admission() {
    const S: u64 = 1 << 20;
    let specs = [Spec::Log { max: 2, span: S }, Spec::First { max: 1, per: 100 * S }];
    let mut host = PlainLimiter::new(rules(&specs), CAPACITY, START);
    assert_eq!(host.take([1, 1, 0, 0], START), START);
    let old = host.record;
    assert_eq!(host.take([1, 1, 0, 0], START), START + 100 * S);
    host.write_late(0);
    host.commit(host.rules.cancel(&host.record, &old));
    assert_eq!(host.take([1, 0, 0, 0], START + 64), START + 64);
    assert_eq!(host.take([1, 0, 0, 0], START + 64), START + S);
    // Late, but not by a hundred spans.
    let at = host.take([1, 0, 0, 0], START + 64);
    assert!((START + 64 + S..=START + 2 * S).contains(&at), "{at}");
    host.carry(rules(&specs), START + 128, true);
    let at = host.ready([1, 0, 0, 0], START + 128);
    assert!((START + S..=START + 2 * SLACK + S).contains(&at), "{at}");
}

/// Ten million calls are charged as fast as one; an unrepresentable amount is rejected, and charges nothing.
#[test]
fn a_debt_of_any_size_takes_one_step() {
    const S: u64 = 1_000_000_000;
    let kinds = [
        Spec::Bucket { interval: S, burst: 1 },
        Spec::Log { max: 8, span: 8 * S },
        Spec::First { max: 8, per: 8 * S },
        Spec::Fixed { max: 8, per: 8 * S, origin: 5 },
        Spec::Sliding { max: 9, per: 8 * S, phase: START },
    ];
    for spec in kinds {
        let mut host = PlainLimiter::new(rules(&[spec]), CAPACITY, START);
        let last = host.debt([10_000_000, 0, 0, 0], START).unwrap() - START;
        assert!((9_999_990 * S..=10_000_010 * S).contains(&last), "{spec:?} {last}");
        let next = host.ready([1, 0, 0, 0], START) - START;
        assert!((last..=last + 8 * S).contains(&next), "{spec:?} {last} {next}");
        let before = host.record;
        assert_eq!(host.debt([u64::MAX, 0, 0, 0], START), None, "{spec:?}");
        assert_eq!(host.record, before);
    }
}
