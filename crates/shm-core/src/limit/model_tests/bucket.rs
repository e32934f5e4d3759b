//! Token bucket and leaky bucket by the textbook, in exact fractions: both equal our bucket.

use super::{Costs, PlainLimiter, ns};
use crate::limit::rule::Rule;
use crate::limit::rule_set::Rules;
use crate::limit::{Gcra, Limit, Rate, audit};
use proptest::prelude::*;
use std::time::Duration;

/// Tokens drip in until the bucket is full; a request takes some out, or is denied. In units of `1/per` token.
struct TokenBucket {
    max: u128,
    per: u128,
    tokens: u128,
    then: u64,
}

impl TokenBucket {
    fn new(rate: Rate) -> TokenBucket {
        let (max, per) = (rate.max().into(), rate.per().as_nanos());
        TokenBucket { max, per, tokens: max * per, then: 0 }
    }

    /// Takes tokens; if that fails, returns when it could succeed.
    fn take(&mut self, now: u64, cost: u64) -> Result<(), u64> {
        self.tokens = (self.tokens + u128::from(now - self.then) * self.max).min(self.max * self.per);
        self.then = now;
        match (u128::from(cost) * self.per).checked_sub(self.tokens) {
            None | Some(0) => {
                self.tokens -= u128::from(cost) * self.per;
                Ok(())
            }
            Some(missing) => Err(now + missing.div_ceil(self.max) as u64),
        }
    }
}

/// Water leaks out until the bucket is empty; a request pours some in, unless that would overflow. In units of `1/per`
/// drop.
struct LeakyBucket {
    size: u128,
    leak: u128,
    drop: u128,
    water: u128,
    then: u64,
}

impl LeakyBucket {
    fn new(rate: Rate) -> LeakyBucket {
        let (max, per) = (rate.max().into(), rate.per().as_nanos());
        LeakyBucket { size: max * per, leak: max, drop: per, water: 0, then: 0 }
    }

    fn take(&mut self, now: u64, cost: u64) -> Result<(), u64> {
        self.water = self.water.saturating_sub(u128::from(now - self.then) * self.leak);
        self.then = now;
        let water = self.water + u128::from(cost) * self.drop;
        if water <= self.size {
            self.water = water;
            return Ok(());
        }
        Err(now + (water - self.size).div_ceil(self.leak) as u64)
    }
}

/// The same with our implementation: a record with one bucket.
fn take(host: &mut PlainLimiter, now: u64, cost: u64) -> Result<(), u64> {
    let costs: Costs = [cost, 0, 0, 0];
    match host.ready(costs, now) {
        at if at > now => Err(at),
        _ => {
            host.take(costs, now);
            Ok(())
        }
    }
}

fn host(limit: Limit) -> PlainLimiter {
    PlainLimiter::new(Rules::new(1, |_| Rule::Bucket(Gcra::new(limit, None)), [false; 4], 0), 1, 1)
}

fn word(g: &Gcra, tat: &mut u64, now: u64, cost: u64) -> Result<(), u64> {
    let at = g.ready_at(*tat, cost).as_nanos();
    if at > now {
        return Err(at);
    }
    *tat = g.charge(*tat, g.unused(ns(now)), cost);
    Ok(())
}

proptest! {
    /// If the interval is whole nanoseconds, so that no rounding is needed, all give identical answers.
    #[test]
    fn token_bucket_leaky_bucket_and_ours_are_identical(
        max in 1u64..40, interval in prop_oneof![1u64..100, 1u64..10_000_000_000],
        steps in prop::collection::vec((0u64..150, 0u64..3, 1u64..40, any::<bool>()), 1..200),
    ) {
        let rate = Rate::new(max, Duration::from_nanos(max * interval)).unwrap();
        let (mut token, mut leaky) = (TokenBucket::new(rate), LeakyBucket::new(rate));
        let limit = Limit::token_bucket(rate).unwrap();
        prop_assert_eq!(limit, Limit::leaky_bucket(rate).unwrap());
        let (g, mut tat, mut ours, mut now) = (Gcra::new(limit, None), 0, host(limit), 1);
        for (percent, more, cost, again) in steps {
            now += interval * percent / 100 + more;
            let cost = cost.min(max);
            for _ in 0..2 {
                let answer = token.take(now, cost);
                prop_assert_eq!(leaky.take(now, cost), answer);
                prop_assert_eq!(word(&g, &mut tat, now, cost), answer);
                prop_assert_eq!(take(&mut ours, now, cost), answer);
                match answer {
                    Err(at) if again => now = at,
                    _ => break,
                }
            }
        }
    }

    /// At any other rate, our answers are the same to a nanosecond, without accumulation.
    #[test]
    fn at_other_rates_they_differ_by_less_than_a_nanosecond(
        max in 1u64..2_000, per in 2_000u64..10_000_000_000_000, steps in prop::collection::vec(1u64..2_000, 1..200),
    ) {
        let rate = Rate::new(max, Duration::from_nanos(per)).unwrap();
        let limit = Limit::token_bucket(rate).unwrap();
        let (g, mut tat, mut ours) = (Gcra::new(limit, None), 0, host(limit));
        let mut sum = 0u64;
        for cost in steps {
            let cost = cost.min(max);
            sum += cost;
            // Every caller queues: the textbook's instant is the exact fraction, rounded up.
            let exact = 1 + (u128::from(sum.saturating_sub(max)) * u128::from(per)).div_ceil(max.into()) as u64;
            let at = g.ready_at(tat, cost).max(ns(1)).as_nanos();
            tat = g.charge(tat, g.unused(ns(1)), cost);
            prop_assert!(at.abs_diff(exact) <= 1, "{at} {exact}");
            // A chain of turns in a record does not drift from the word by a nanosecond.
            prop_assert_eq!(ours.take([cost, 0, 0, 0], 1), at);
        }
    }

    /// A record's bucket keeps the definition when callers come within nanoseconds of their instant.
    #[test]
    fn requests_within_nanoseconds_of_their_instant_gain_nothing(
        max in 1u64..20, per in prop_oneof![20u64..5_000, (5u32..50).prop_map(|k| 1 << k)], burst in 1u64..5,
        steps in prop::collection::vec((0u64..3, 1u64..3, any::<bool>()), 1..200),
    ) {
        let rate = Rate::new(max.min(per), Duration::from_nanos(per)).unwrap();
        let limit = Limit::with_burst(rate, burst).unwrap();
        let (mut ours, mut taken, mut now) = (host(limit), Vec::new(), 1);
        for (more, cost, reserve) in steps {
            let cost = cost.min(burst);
            let ready = ours.ready([cost, 0, 0, 0], now);
            if !reserve {
                now = ready + more;
            }
            taken.push(audit::Admission { at: ns(ours.take([cost, 0, 0, 0], now)), calls: cost });
        }
        prop_assert_eq!(audit::check(limit, &mut taken), Ok(()));
    }
}

/// An evenly spaced limit in a record, with many turns reserved at once.
#[test]
fn a_long_chain_of_turns_equals_that_of_a_word() {
    for (max, per) in [(7, 1_000_000_000), (10, 3_000_000_000), (1_000_000_007, 3_600_000_000_000)] {
        let limit = Limit::patient(Rate::new(max, Duration::from_nanos(per)).unwrap());
        let (g, mut tat, mut ours) = (Gcra::new(limit, None), 0, host(limit));
        for _ in 0..100_000 {
            let at = g.ready_at(tat, 1).max(ns(12_345));
            tat = g.charge(tat, g.unused(ns(12_345)), 1);
            assert_eq!(ours.take([1, 0, 0, 0], 12_345), at.as_nanos());
        }
    }
}
