//! The exact sliding window log.

use super::definition::Spec;
use super::{Costs, PlainLimiter, SLACK};
use crate::limit::log::{STEP_NS, State};
use crate::limit::rule_set::Rules;
use proptest::prelude::*;

/// Long compared with the slack of clocks.
const UNIT: u64 = 256 * STEP_NS;

fn rules(spec: Spec) -> Rules {
    Rules::new(1, |_| spec.rule(), [true; 4], 0)
}

fn one(cost: u64) -> Costs {
    [cost, 0, 0, 0]
}

/// The log's state in the record.
fn state(host: &PlainLimiter) -> State {
    State::read(&host.record.0[2..])
}

/// No window that ends with an admission contains more than was allowed at that time: (time, amount, limit).
fn never_over(taken: &[(u64, u64, Spec)]) -> Result<(), TestCaseError> {
    for (i, &(at, cost, spec)) in taken.iter().enumerate() {
        let before: Vec<_> = taken[..i].iter().map(|&(at, cost, _)| (at, cost)).collect();
        prop_assert!(spec.conforms(&before, at, cost), "number {i} is over in {taken:?}");
    }
    Ok(())
}

/// Takes turns now or later as the model does, `late` ns after it at most.
fn exact(
    max: u64,
    span: u64,
    spare: u32,
    steps: Vec<(u64, bool, u64, usize)>,
    late: u64,
) -> Result<(), TestCaseError> {
    let spec = Spec::Log { max, span };
    let mut host = PlainLimiter::new(rules(spec), max.next_power_of_two() << spare, UNIT);
    let (mut now, mut last, mut taken, mut history) = (UNIT, 0, Vec::new(), Vec::new());
    for (gap, wait, cost, pick) in steps {
        now += gap;
        let cost = one(cost.min(max));
        let at = host.ready(cost, now);
        // The literal definition, nanosecond by nanosecond.
        let first = spec.earliest(&history, cost[0], now.max(last));
        prop_assert!(at <= first && first - at.min(first) < STEP_NS);
        let exactly = (now.max(last)..=first).filter(|t| spec.conforms(&history, *t, cost[0]));
        prop_assert!(exactly.take(1).all(|t| at - t <= late), "{at} {history:?}");
        if wait || at == now {
            if at > now {
                prop_assert_eq!(host.ready(cost, at - 1), at);
                prop_assert_eq!(host.ready(cost, at), at);
            }
            prop_assert_eq!(host.take(cost, now), at);
            taken.push((at, cost[0], spec));
            history.push((at, cost[0]));
            last = at;
        }
        if pick < 20 {
            host.write_late(pick);
        }
    }
    never_over(&taken)
}

#[derive(Clone, Debug)]
enum Step {
    /// This much later, by a clock that lags this much.
    Take {
        gap: u64,
        behind: u64,
        cost: u64,
    },
    Reserve {
        times: u64,
        cost: u64,
    },
    /// To another `max`; or with nothing kept; or by way of another kind.
    Carry {
        gap: u64,
        max: u64,
        span: u64,
        how: u8,
    },
    WriteLate {
        pick: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let gap = || prop_oneof![0..UNIT, 0..20 * UNIT, Just(0)];
    prop::collection::vec(
        prop_oneof![
            4 => (gap(), 0..SLACK, 1u64..5).prop_map(|(gap, behind, cost)| Step::Take { gap, behind, cost }),
            2 => (1u64..9, 1u64..5).prop_map(|(times, cost)| Step::Reserve { times, cost }),
            2 => (gap(), 1u64..17, 1u64..20, prop_oneof![6 => Just(0u8), 1 => Just(1), 1 => Just(2)])
                .prop_map(|(gap, max, span, how)| Step::Carry { gap, max, span, how }),
            3 => any::<usize>().prop_map(|pick| Step::WriteLate { pick }),
        ],
        1..80,
    )
}

proptest! {
    /// Equal to the definition, to the nanosecond, where times are whole steps.
    #[test]
    fn a_log_equals_its_definition(
        max in 1u64..12, span in 1u64..30, spare in 0u32..2,
        steps in prop::collection::vec((0u64..30, any::<bool>(), 1u64..12, any::<usize>()), 1..40),
    ) {
        let steps = steps.into_iter().map(|(gap, wait, cost, pick)| (gap * gap / 8 * STEP_NS, wait, cost, pick % 40));
        exact(max, span * STEP_NS, spare, steps.collect(), 0)?;
    }

    /// Between steps less than one step late, and never early.
    #[test]
    fn between_steps_it_is_late_by_less_than_one_step(
        max in 1u64..12, span in 1u64..3_000, spare in 0u32..2,
        steps in prop::collection::vec((0u64..700, any::<bool>(), 1u64..12, any::<usize>()), 1..40),
    ) {
        exact(max, span, spare, steps.into_iter().map(|(g, w, c, pick)| (g, w, c, pick % 40)).collect(), STEP_NS - 1)?;
    }

    /// Queues are dropped repeatedly, and stopped writers come back: nothing is admitted that should not be. And no
    /// caller waits longer than if as many calls as possible had been made just when the queue was dropped.
    #[test]
    fn no_change_admits_one_too_many(bits in 0u32..5, max in 1u64..17, span in 1u64..20, steps in steps()) {
        let capacity = 1 << bits;
        let mut spec = Spec::Log { max: max.min(capacity), span: span * UNIT };
        let (mut now, mut taken) = (UNIT, Vec::new());
        let mut host = PlainLimiter::new(rules(spec), capacity, now);
        // An upper bound of what may count.
        let mut counted = Vec::new();
        for step in steps {
            match step {
                Step::Take { gap, behind, cost } => {
                    now += gap;
                    let cost = cost.min(spec.max_cost());
                    let from = (now - behind).max(host.record.last());
                    let at = host.take(one(cost), now - behind);
                    prop_assert!(at <= spec.earliest(&counted, cost, from), "{at} after {taken:?}");
                    taken.push((at, cost, spec));
                    counted.push((at, cost));
                }
                Step::Reserve { times, cost } => {
                    for _ in 0..times {
                        let (cost, from) = (cost.min(spec.max_cost()), now.max(host.record.last()));
                        let at = host.take(one(cost), now);
                        prop_assert!(at <= spec.earliest(&counted, cost, from), "{at} after {taken:?}");
                        taken.push((at, cost, spec));
                        counted.push((at, cost));
                    }
                }
                Step::Carry { gap, max, span, how } => {
                    now += gap;
                    let Spec::Log { span: old, .. } = spec else { unreachable!() };
                    let span = if span % 2 == 0 { span * UNIT } else { old };
                    spec = Spec::Log { max: max.min(capacity), span };
                    taken.retain(|t| t.0 <= now + SLACK);
                    never_over(&taken)?;
                    counted = vec![(now + SLACK, spec.max_cost())];
                    match how {
                        0 => host.carry(rules(spec), now, true),
                        1 => {
                            taken.clear();
                            counted.clear();
                            host.carry(rules(spec), now, false);
                        }
                        _ => {
                            // As if the used amount had been admitted now.
                            taken.clear();
                            let other = Spec::Bucket { interval: UNIT, burst: 16 };
                            host.carry(rules(other), now, true);
                            host.carry(rules(spec), now, true);
                        }
                    }
                }
                Step::WriteLate { pick } => host.write_late(pick),
            }
        }
        never_over(&taken)?;
    }
}

/// Two per second, ten calls at once: two go, and then two each second.
#[test]
fn a_schedule_of_a_greedy_limit() {
    const S: u64 = 1_000_000_000;
    let mut host = PlainLimiter::new(rules(Spec::Log { max: 2, span: S }), 2, 64 * S);
    let offsets: Vec<_> = (0..10).map(|_| (host.take(one(1), 64 * S) - 64 * S) / S).collect();
    assert_eq!(offsets, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
}

/// Once no eras are left, each dropped queue costs one window, and still the limit holds.
#[test]
fn the_limit_holds_after_the_last_era() {
    let spec = Spec::Log { max: 4, span: 100 * UNIT };
    let mut host = PlainLimiter::new(rules(spec), 4, UNIT);
    let (mut now, mut taken) = (UNIT, Vec::new());
    for round in 0..1_400 {
        for _ in 0..=(round % 6) {
            taken.push((host.take(one(1), now), 1, spec));
        }
        now += 30 * UNIT;
        let newest = state(&host).newest;
        host.carry(rules(spec), now, true);
        host.write_late(round as usize);
        if state(&host).newest < newest {
            taken.retain(|t| t.0 <= now + SLACK);
        }
        assert!(host.ready(one(1), now) <= now + SLACK + 64 + 100 * UNIT, "a standstill");
        if taken.len() > 20 {
            never_over(&taken).unwrap();
            taken.drain(..taken.len() - 12);
        }
    }
    assert_eq!(state(&host).era, 1023);
}

/// A limit that is removed and added again finds its ring as it left it, and is not misled by it.
#[test]
fn a_log_that_is_added_again_starts_empty() {
    let spec = Spec::Log { max: 4, span: 100 * UNIT };
    let with = |len| Rules::new(len, |_| spec.rule(), [true; 4], 0);
    let mut now = UNIT;
    let mut host = PlainLimiter::new(with(2), 4, now);
    for _ in 0..5 {
        for _ in 0..9 {
            host.take([0, 1, 0, 0], now);
        }
        host.carry(with(2), now, true);
    }
    now += 1_000 * UNIT;
    host.carry(with(1), now, true);
    host.take(one(1), now);
    host.carry(with(2), now, true);
    let turns: Vec<_> = (0..12).map(|_| host.take([0, 1, 0, 0], now) / (100 * UNIT) - 10).collect();
    assert_eq!(turns, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
}
