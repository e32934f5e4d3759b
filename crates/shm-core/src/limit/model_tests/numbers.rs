//! The reported numbers (used, available, queued), compared with counting the turns.

use super::definition::Spec;
use super::mix::{CAPACITY, START, costs_of, mixes, rules, some_costs};
use super::{Costs, PlainLimiter, SLACK, ns};
use crate::limit::log::STEP_NS;
use crate::limit::rule_set::Record;
use crate::limit::{LimitStatus, MAX_LIMITS};
use proptest::prelude::*;

const T: u64 = 1 << 20;

/// One turn, and its cost for each limit.
type Turn = (u64, Costs);

fn seen(host: &PlainLimiter, now: u64) -> [LimitStatus; MAX_LIMITS] {
    host.rules.statuses(&host.record, ns(now), &host.memory)
}

fn queued(turns: &[Turn], limit: usize, now: u64) -> u64 {
    turns.iter().filter(|t| t.0 > now).map(|t| t.1[limit]).sum()
}

/// The minimum and maximum that may be reported as used.
fn used(spec: Spec, turns: &[Turn], limit: usize, now: u64) -> (u64, u64) {
    let taken: Vec<_> = turns.iter().filter(|t| t.0 <= now).map(|t| (t.0, t.1[limit])).collect();
    let sum = |keep: &dyn Fn(u64) -> bool| -> u64 {
        taken.iter().filter(|(at, _)| keep(*at)).map(|(_, amount)| amount).sum()
    };
    let exactly = match spec {
        Spec::Bucket { interval, .. } => {
            let (mut level, mut then) = (0u64, 0);
            for &(at, amount) in taken.iter().chain([&(now, 0)]) {
                level = level.saturating_sub(at - then) + amount * interval;
                then = at;
            }
            // Ticks are rounded.
            return (level.saturating_sub(2).div_ceil(interval), (level + 2).div_ceil(interval));
        }
        Spec::Log { span, .. } => sum(&|at| at.div_ceil(STEP_NS) * STEP_NS + span > now),
        Spec::Fixed { per, origin, .. } => {
            let window = |at: u64| (i128::from(at) - i128::from(origin)).div_euclid(per.into());
            sum(&|at| window(at) == window(now))
        }
        Spec::First { per, .. } => {
            let (mut begin, mut used) = (None, 0);
            for &(at, amount) in taken.iter().filter(|(_, amount)| *amount > 0).chain([&(now, 0)]) {
                if begin.is_none_or(|begin| at >= begin + per) {
                    (begin, used) = (Some(at), 0);
                }
                used += amount;
            }
            used
        }
        Spec::Sliding { per, phase, .. } => {
            let begin = now - (now - phase) % per;
            let before = sum(&|at| at < begin && at + per >= begin);
            let weighs = u128::from(before) * u128::from(begin + per - now);
            sum(&|at| at >= begin) + weighs.div_ceil(per.into()) as u64
        }
    };
    (exactly, exactly)
}

proptest! {
    /// Exact as long as no turn of the queue has come, and without a queue; also after cancelled turns.
    #[test]
    fn used_and_queued_are_exact_until_the_first_turn_comes(
        specs in mixes(1 << 14),
        steps in prop::collection::vec((0u64..300, 0u8..4, some_costs()), 1..40),
        look in prop::collection::vec(0u64..2_000, 4),
    ) {
        let unit = specs[0].memory() / 20 + 1;
        let mut host = PlainLimiter::new(rules(&specs), CAPACITY, START);
        let (mut now, mut turns) = (START, Vec::<Turn>::new());
        let mut before: Option<Record> = None;
        // The first turn of the queue.
        let mut from = 0;
        for (percent, how, costs) in steps {
            let charged = costs_of(&specs, costs);
            match how {
                0 => now = (now + unit * percent / 100).next_multiple_of(STEP_NS),
                1 if before.is_some() => {
                    host.commit(host.rules.cancel(&host.record, &before.take().unwrap()));
                    turns.pop();
                }
                _ => {
                    before = Some(host.record);
                    let was_idle = turns.last().is_none_or(|t| t.0 <= now);
                    let at = host.take(charged, now);
                    if was_idle && at > now {
                        from = at;
                    }
                    turns.push((at, charged));
                }
            }
            let last = turns.last().map_or(0, |t| t.0);
            for later in look.iter().map(|percent| (now + unit * percent / 100).next_multiple_of(STEP_NS)) {
                let seen = seen(&host, later);
                for (i, spec) in specs.iter().enumerate() {
                    let queued = queued(&turns, i, later);
                    let (least, most) = used(*spec, &turns, i, later);
                    let told = seen[i];
                    if last <= later || later < from {
                        prop_assert_eq!(told.queued, queued, "{:?} {:?} at {}", spec, turns, later);
                        // For admissions that the queue has overwritten in its ring, a log only knows an upper bound of
                        // their times.
                        let is_log = matches!(spec, Spec::Log { .. });
                        let taken: u64 = turns.iter().map(|t| t.1[i]).sum();
                        let most = if is_log && taken > CAPACITY { spec.max_cost() } else { most };
                        prop_assert!((least..=most).contains(&told.used), "{told:?} {least} {most} {spec:?} {turns:?} {later}");
                    } else {
                        let all: u64 = turns.iter().filter(|t| t.0 >= from).map(|t| t.1[i]).sum();
                        prop_assert!(told.queued <= all);
                        prop_assert!(told.used <= spec.max_cost());
                    }
                    prop_assert!(told.queued == 0 || told.available == 0);
                    if last <= later && told.available > 0 {
                        let mut costs = [0; MAX_LIMITS];
                        costs[i] = told.available;
                        prop_assert_eq!(host.ready(costs, later), later);
                    }
                }
            }
        }
    }

    /// Single calls of one limit are counted exactly while the queue drains.
    #[test]
    fn a_queue_of_single_calls_is_counted_while_it_drains(
        spec in mixes(1 << 14).prop_map(|specs| specs[0]),
        calls in 1usize..40,
        look in prop::collection::vec(0u64..1_000, 10),
    ) {
        let mut host = PlainLimiter::new(rules(&[spec]), CAPACITY, START);
        let turns: Vec<Turn> = (0..calls).map(|_| (host.take([1, 0, 0, 0], START), [1, 0, 0, 0])).collect();
        let last = turns[calls - 1].0;
        for permille in look {
            let later = (START + (last - START) / 1_000 * permille).next_multiple_of(STEP_NS);
            let (told, exactly) = (seen(&host, later)[0].queued, queued(&turns, 0, later));
            match spec {
                // A ring that the queue has filled only bounds the number.
                Spec::Log { max, .. } if calls as u64 > CAPACITY => {
                    prop_assert!(told.abs_diff(exactly) <= max, "{told} {exactly} {turns:?}");
                }
                Spec::Sliding { max, .. } => prop_assert!(told.abs_diff(exactly) <= max, "{told} {exactly} {turns:?}"),
                _ => prop_assert_eq!(told, exactly, "{:?} {}", turns, later),
            }
        }
    }
}

/// Turns of a fast limit, spaced by a slow one: three count as three.
#[test]
fn turns_that_wait_for_another_limit_are_counted_as_turns() {
    let specs = [Spec::Bucket { interval: T / 1024, burst: 50 }, Spec::Bucket { interval: 16 * T, burst: 1 }];
    let mut host = PlainLimiter::new(rules(&specs), CAPACITY, START);
    let turns: Vec<Turn> = (0..6).map(|_| (host.take([1, 1, 0, 0], START), [1, 1, 0, 0])).collect();
    assert_eq!(seen(&host, START).map(|seen| (seen.used, seen.queued))[..2], [(1, 5), (1, 5)]);
    for later in (0..90).map(|n| START + n * T) {
        let seen = seen(&host, later);
        assert!(seen[..2].iter().all(|seen| seen.queued == queued(&turns, 0, later)), "{later} {seen:?}");
    }
    // Dropped before any of them has come, they leave nothing behind; later, at most what has come or could have.
    let mut other = host.clone_with(|host| (host.record, host.rules.clone()));
    host.carry(rules(&specs), START + T, true);
    assert_eq!(seen(&host, START + T).map(|seen| (seen.used, seen.queued))[..2], [(0, 0), (1, 0)]);
    (host.record, host.rules) = (other.0, std::mem::replace(&mut other.1, rules(&specs)));
    host.carry(rules(&specs), START + 33 * T, true);
    let told = seen(&host, START + 33 * T + SLACK)[0];
    assert!(told.used <= 6 && told.queued == 0, "{told:?}");
}

#[test]
fn a_greedy_queue_is_counted_after_a_cancelled_turn() {
    let specs = [Spec::Log { max: 2, span: 16 * T }];
    let mut host = PlainLimiter::new(rules(&specs), CAPACITY, START);
    (0..6).for_each(|_| {
        host.take([1, 0, 0, 0], START);
    });
    let old = host.record;
    host.take([1, 0, 0, 0], START);
    host.commit(host.rules.cancel(&host.record, &old));
    assert_eq!((seen(&host, START)[0].used, seen(&host, START)[0].queued), (2, 4));
    // And a change drops it without a trace.
    host.carry(rules(&[Spec::Log { max: 4, span: 16 * T }]), START + T, true);
    let told = seen(&host, START + T + SLACK + STEP_NS)[0];
    assert_eq!((told.used, told.available, told.queued), (2, 2, 0));
}

#[test]
fn a_sliding_counters_queue_is_counted_over_several_windows() {
    let specs = [Spec::Sliding { max: 10, per: 16 * T, phase: START }];
    let mut host = PlainLimiter::new(rules(&specs), CAPACITY, START);
    (0..35).for_each(|_| {
        host.take([1, 0, 0, 0], START);
    });
    assert_eq!((seen(&host, START)[0].used, seen(&host, START)[0].queued), (10, 25));
}

#[test]
fn a_settled_turn_is_no_longer_counted() {
    for spec in [
        Spec::Bucket { interval: T, burst: 4 },
        Spec::Log { max: 4, span: 4 * T },
        Spec::First { max: 4, per: 4 * T },
        Spec::Sliding { max: 4, per: 4 * T, phase: START },
    ] {
        let mut host = PlainLimiter::new(rules(&[spec]), CAPACITY, START);
        let first = host.take([4, 0, 0, 0], START);
        let charged = host.rules.charged(&host.record);
        let turn = host.take([4, 0, 0, 0], START);
        host.refund(&[3, 0, 0, 0], turn, None, true);
        assert_eq!((seen(&host, START)[0].used, seen(&host, START)[0].queued), (4, 1), "{spec:?}");
        if !matches!(spec, Spec::Log { .. }) {
            host.refund(&[2, 0, 0, 0], first, Some(&charged), false);
            assert_eq!((seen(&host, START)[0].used, seen(&host, START)[0].queued), (2, 1), "{spec:?}");
        }
    }
}

/// A pause that has ended does not affect a limiter that is reset.
#[test]
fn a_reset_after_a_pause_leaves_a_full_bucket() {
    use crate::limit::{Gcra, Limit};
    let limit = Limit::with_burst("100/s".parse().unwrap(), 100).unwrap();
    let end = 1_000_000_000;
    for now in [ns(end), ns(end + 1), ns(end + 500_000_000)] {
        let (paused, without) = (Gcra::new(limit, Some(ns(end))), Gcra::new(limit, None));
        assert!(paused.status(paused.unused(now), now).available < 100);
        let seen = without.status(without.unused(now), now);
        assert_eq!((seen.used, seen.available, seen.next_at), (0, 100, now));
    }
}
