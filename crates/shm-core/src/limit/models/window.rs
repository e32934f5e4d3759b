//! Fixed windows and the sliding counter, each alone.

use super::definition::Spec;
use super::{Costs, Host, SLACK};
use crate::limit::rules::Rules;
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

/// Where the window with `at` in it ends.
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

/// What is left of `history` if turns after `late` are dropped, and until when nobody passes.
fn dropped(spec: Spec, history: &[(u64, u64)], late: u64) -> (Vec<(u64, u64)>, u64) {
    let kept: Vec<_> = history.iter().copied().filter(|&(at, _)| at <= late).collect();
    let (Spec::Fixed { per, .. } | Spec::First { per, .. } | Spec::Sliding { per, .. }) = spec else {
        unreachable!()
    };
    let Some((&(last, _), others)) = history.split_last() else { return (kept, 0) };
    let last_end = end_of(spec, others, last);
    if last_end <= late + per {
        // All in the window of `late`, or before: dropped or not, they count as used.
        return (history.to_vec(), 0);
    }
    // Turns in windows to come: this window is full.
    let end = end_of(spec, &kept, late);
    match spec {
        Spec::First { .. } => (kept, late + per),
        // What was used of this window weighs on the next, but nobody knows it any more.
        Spec::Sliding { .. } if last_end > end + per => (kept, end + per),
        _ => (history.iter().copied().filter(|&(at, _)| at < end).collect(), end),
    }
}

fn never_over(taken: &[(u64, u64, Spec)]) -> Result<(), TestCaseError> {
    for (i, &(at, cost, spec)) in taken.iter().enumerate() {
        let before: Vec<_> = taken[..i].iter().map(|&(at, cost, _)| (at, cost)).collect();
        prop_assert!(spec.conforms(&before, at, cost), "number {i} is over in {taken:?}");
    }
    Ok(())
}

proptest! {
    /// Each instant is the first that the definition allows, in turns for at once and for windows to come.
    #[test]
    fn windows_are_the_literal_ones(
        spec in specs(),
        steps in prop::collection::vec((0u64..250, any::<bool>(), 1u64..9), 1..60),
    ) {
        let per = spec.memory();
        let mut host = Host::new(rules(spec), 1, START);
        let (mut now, mut last, mut history) = (START, 0, Vec::new());
        for (percent, wait, cost) in steps {
            now += per * percent / 100 * (percent % 3) + percent % 2;
            let cost = cost.min(spec.most());
            let first = spec.earliest(&history, cost, now.max(last));
            prop_assert_eq!(host.ready(one(cost), now), first, "{:?}", history);
            // Denied to the last nanosecond.
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

    /// A limit under another `max` goes on in its windows. If turns in windows to come are dropped, this one is full.
    #[test]
    fn a_change_keeps_what_was_used(
        mut spec in specs(),
        steps in prop::collection::vec((0u64..250, 1u64..9, prop::option::weighted(0.3, 1u64..9)), 1..60),
    ) {
        let mut host = Host::new(rules(spec), 1, START);
        let (mut now, mut last, mut held) = (START, 0, 0);
        let (mut taken, mut history) = (Vec::new(), Vec::new());
        for (percent, cost, change) in steps {
            now += spec.memory() * percent / 100 * (percent % 3) + percent % 2;
            if let Some(max) = change {
                let late = now + SLACK;
                host.carry(rules(spec.with_most(max)), now, true);
                let (kept, until) = dropped(spec, &history, late);
                (spec, history, held, last) = (spec.with_most(max), kept, until.max(held), last.min(late));
                taken.retain(|t: &(u64, u64, Spec)| t.0 <= late);
            }
            let cost = cost.min(spec.most());
            let first = spec.earliest(&history, cost, now.max(last).max(held));
            prop_assert_eq!(host.ready(one(cost), now), first, "{:?} after {:?}", spec, history);
            prop_assert_eq!(host.take(one(cost), now), first);
            last = first;
            history.push((last, cost));
            taken.push((last, cost, spec));
        }
        never_over(&taken)?;
    }
}
