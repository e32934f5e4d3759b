//! Fixed windows and the sliding counter, each alone.

use super::definition::Spec;
use super::{Costs, PlainLimiter, SLACK};
use crate::limit::rule_set::Rules;
use proptest::prelude::*;

const START: u64 = 1 << 20;

fn rules(spec: Spec) -> Rules {
    Rules::new(1, |_| spec.rule(), [false; 4], 0)
}

fn one(cost: u64) -> Costs {
    [cost, 0, 0, 0]
}

fn specs() -> impl Strategy<Value = Spec> {
    let per = || prop_oneof![1u64..40, 1u64..100_000, 1..4 * START];
    prop_oneof![
        (1u64..9, per(), prop_oneof![0..START, 0..2 * START]).prop_map(|(max, per, origin)| Spec::Fixed {
            max,
            per,
            origin
        }),
        (1u64..9, per()).prop_map(|(max, per)| Spec::First { max, per }),
        (1u64..9, per()).prop_map(|(max, per)| Spec::Sliding { max, per, phase: START }),
    ]
}

/// The end of the window that contains `at`.
fn end_of(spec: Spec, history: &[(u64, u64)], at: u64) -> u64 {
    match spec {
        Spec::Fixed { per, origin: zero, .. } | Spec::Sliding { per, phase: zero, .. } => {
            at + per - (i128::from(at) - i128::from(zero)).rem_euclid(per.into()) as u64
        }
        Spec::First { per, .. } => {
            let mut begin = None;
            for at in history.iter().map(|&(at, _)| at).chain([at]) {
                if begin.is_none_or(|begin| at >= begin + per) {
                    begin = Some(at);
                }
            }
            begin.unwrap() + per
        }
        Spec::Bucket { .. } | Spec::Log { .. } => unreachable!(),
    }
}

/// What counts of `history` if turns after `late` are dropped. The queue, if any, has its first turn at `from`, with
/// `before` turns preceding it.
fn dropped(spec: Spec, history: &[(u64, u64)], late: u64, (from, before): (u64, usize)) -> Vec<(u64, u64)> {
    let (Spec::Fixed { max, per, .. } | Spec::First { max, per } | Spec::Sliding { max, per, .. }) = spec
    else {
        unreachable!()
    };
    let Some((&(last, _), others)) = history.split_last() else { return Vec::new() };
    if last <= late {
        return history.to_vec();
    }
    if late < from {
        // The whole queue lies ahead: as if it had never existed.
        return history[..before].to_vec();
    }
    let last_end = end_of(spec, others, last);
    if last_end <= late + per {
        // All in the window of `late` or earlier: dropped or not, they count as used.
        return history.to_vec();
    }
    // Turns in future windows: this window has at most `max`, or what it had before the queue.
    let sum = |list: &[(u64, u64)], begin: u64| -> u64 {
        list.iter().filter(|(at, _)| (begin..begin + per).contains(at)).map(|(_, amount)| amount).sum()
    };
    let then = &history[..before];
    let Spec::Sliding { phase, .. } = spec else {
        let begin =
            then.split_last().map_or(0, |(&(at, _), others)| (end_of(spec, others, at).max(per)) - per);
        let is_open = (begin..begin + per).contains(&late);
        // Each window of the queue began when the previous one ended.
        let last_begin = last_end - per;
        let here = last_begin - (last_begin - late).div_ceil(per) * per;
        return vec![if is_open { (begin, max.max(sum(then, begin))) } else { (here.max(1), max) }];
    };
    let begin = end_of(spec, &[], late) - per;
    let is_next = last_end - per <= begin + per;
    let used = if is_next { sum(history, begin) } else { max.max(sum(then, begin)) };
    let was_open = then.last().map_or(phase, |&(at, _)| at) >= begin;
    let weighs = sum(then, begin.saturating_sub(per));
    vec![(begin - 1, if was_open { weighs } else { weighs.max(max) }), (late, used)]
}

fn never_over(taken: &[(u64, u64, Spec)]) -> Result<(), TestCaseError> {
    for (i, &(at, cost, spec)) in taken.iter().enumerate() {
        let before: Vec<_> = taken[..i].iter().map(|&(at, cost, _)| (at, cost)).collect();
        prop_assert!(spec.conforms(&before, at, cost), "number {i} is over in {taken:?}");
    }
    Ok(())
}

proptest! {
    /// Each instant is the first that the definition allows, for turns now and in future windows.
    #[test]
    fn windows_equal_their_definitions(
        spec in specs(),
        steps in prop::collection::vec((0u64..250, any::<bool>(), 1u64..9), 1..60),
    ) {
        let per = spec.memory();
        let mut host = PlainLimiter::new(rules(spec), 1, START);
        let (mut now, mut last, mut history) = (START, 0, Vec::new());
        for (percent, wait, cost) in steps {
            now += per * percent / 100 * (percent % 3) + percent % 2;
            let cost = cost.min(spec.max_cost());
            let first = spec.earliest(&history, cost, now.max(last));
            prop_assert_eq!(host.ready(one(cost), now), first, "{:?}", history);
            // Denied up to the last nanosecond.
            if first > now.max(last) {
                prop_assert!(!spec.conforms(&history, first - 1, cost));
                prop_assert_eq!(host.ready(one(cost), first - 1), first);
            }
            if wait || first == now {
                prop_assert_eq!(host.take(one(cost), now), first);
                history.push((first, cost));
                last = first;
            }
        }
        let taken: Vec<_> = history.into_iter().map(|(at, cost)| (at, cost, spec)).collect();
        never_over(&taken)?;
    }

    /// A limit with another `max` continues in its windows. A queue of which no turn has come leaves nothing behind.
    #[test]
    fn a_change_keeps_usage(
        mut spec in specs(),
        steps in prop::collection::vec((0u64..250, 1u64..9, prop::option::weighted(0.3, 1u64..9)), 1..60),
    ) {
        let mut host = PlainLimiter::new(rules(spec), 1, START);
        let (mut now, mut last, mut queue) = (START, 0, (0, 0));
        let (mut taken, mut history) = (Vec::new(), Vec::new());
        for (percent, cost, change) in steps {
            now += spec.memory() * percent / 100 * (percent % 3) + percent % 2;
            if let Some(max) = change {
                let late = now + SLACK;
                host.carry(rules(spec.with_most(max)), now, true);
                history = dropped(spec, &history, late, queue);
                (spec, last) = (spec.with_most(max), last.min(late));
                taken.retain(|t: &(u64, u64, Spec)| t.0 <= late);
            }
            let cost = cost.min(spec.max_cost());
            let first = spec.earliest(&history, cost, now.max(last));
            prop_assert_eq!(host.ready(one(cost), now), first, "{:?} after {:?}", spec, history);
            if first > now && (last <= now || change.is_some()) {
                queue = (first, history.len());
            }
            prop_assert_eq!(host.take(one(cost), now), first);
            last = first;
            history.push((last, cost));
            taken.push((last, cost, spec));
        }
        never_over(&taken)?;
    }

    /// A debt is a queue of single calls: it ends with the last of them, and the next request is admitted as early.
    #[test]
    fn a_debt_ends_with_the_last_of_as_many_single_calls(
        spec in specs(),
        steps in prop::collection::vec((0u64..250, any::<bool>(), 1u64..9), 0..20),
        amount in prop_oneof![1u64..12, 1u64..200],
    ) {
        // No rate exceeds one per nanosecond.
        let spec = spec.with_most(spec.max_cost().min(spec.memory() / 2).max(1));
        let mut host = PlainLimiter::new(rules(spec), 1, START);
        let mut now = START;
        for (percent, wait, cost) in steps {
            now += spec.memory() * percent / 100 * (percent % 3) + percent % 2;
            let cost = one(cost.min(spec.max_cost()));
            if wait || host.ready(cost, now) == now {
                host.take(cost, now);
            }
        }
        let last = host.clone_with(|host| (0..amount).map(|_| host.take(one(1), now)).last());
        let next = host.clone_with(|host| {
            (0..amount).for_each(|_| {
                host.take(one(1), now);
            });
            [1, spec.max_cost()].map(|cost| host.ready(one(cost), now))
        });
        prop_assert_eq!(host.debt(one(amount), now), last);
        prop_assert_eq!([1, spec.max_cost()].map(|cost| host.ready(one(cost), now)), next);
    }
}

/// 25 of 25 are used and one waits for the next window. With a maximum of 100, 75 are left at once.
#[test]
fn raising_the_maximum_frees_the_rest_of_a_used_window() {
    const S: u64 = 1_000_000_000;
    let specs = [
        Spec::First { max: 25, per: 8 * S },
        Spec::Fixed { max: 25, per: 8 * S, origin: 0 },
        Spec::Sliding { max: 25, per: 8 * S, phase: 0 },
    ];
    for spec in specs {
        let now = 80 * S;
        let mut host = PlainLimiter::new(rules(spec), 1, now);
        assert_eq!(host.take(one(25), now), now);
        assert!(host.take(one(1), now) > now + S);
        host.carry(rules(spec.with_most(100)), now + S, true);
        let seen = host.rules.statuses(&host.record, super::ns(now + S + SLACK), &host.memory)[0];
        assert_eq!((seen.used, seen.available, seen.queued), (25, 75, 0), "{spec:?}");
        assert!(host.ready(one(75), now + S) <= now + S + SLACK, "{spec:?}");
        assert!(host.ready(one(76), now + S) > now + 2 * S, "{spec:?}");
    }
}

/// The queue extends beyond the next window. All turns of this window came under the old maximum.
#[test]
fn raising_the_maximum_of_a_queued_window_frees_what_exceeds_the_old_one() {
    const S: u64 = 1_000_000_000;
    for spec in [Spec::First { max: 5, per: S }, Spec::Fixed { max: 5, per: S, origin: 0 }] {
        let now = 80 * S;
        let mut host = PlainLimiter::new(rules(spec), 1, now);
        (0..17).for_each(|_| {
            host.take(one(1), now);
        });
        let later = now + S + S / 2;
        host.carry(rules(spec.with_most(8)), later, true);
        let seen = host.rules.statuses(&host.record, super::ns(later + SLACK), &host.memory)[0];
        assert_eq!((seen.used, seen.available, seen.queued), (5, 3, 0), "{spec:?}");
    }
}
