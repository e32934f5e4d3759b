//! The generic cell rate algorithm (ITU-T I.371 and the ATM Forum; virtual scheduling form), equivalent to a token
//! bucket, and to a leaky bucket used as a meter.
//!
//! The state is one number, the theoretical arrival time (TAT): the instant at which the bucket would be empty again. A
//! request of `cost` tokens at `now` conforms if `max(TAT, now) + cost·T ≤ now + burst·T`, with `T` the emission
//! interval; it moves the TAT to `max(TAT, now) + cost·T`. A TAT beyond `now + burst·T` is a queue of reserved turns.
//!
//! *Tokens* here are those of the bucket: a request costs one token for each call, or for each one of the unit that the
//! limit counts, and the bucket regains one token in each emission interval.

use super::{Limit, Ticks};
use crate::clock::Nanos;
use std::time::Duration;

/// The maximum distance of a queued turn, and the maximum length of a pause: 366 days.
pub const MAX_WAIT: Duration = Duration::from_secs(366 * 86_400);

/// The upper bound of a TAT: 2^62 ticks, at least 73 years after boot.
pub(crate) const TAT_END: u64 = 1 << 62;

/// What a time in a state is at most, for messages: see [`Gcra::is_implausible`].
pub(crate) const REACHABLE_TIME: &str = "a time at most 732 days ahead";

/// When a queue is dropped, turns up to this long after the clock reading count as used: another CPU may have read a
/// clock up to that much later before it saw the change.
pub(super) const CLOCK_SLACK: Duration = Duration::from_micros(1);

/// One limit: everything a decision needs besides the state. Tick 0 is at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gcra {
    pub(crate) ticks: Ticks,
    pub(crate) burst: u64,
    /// The minimum effective TAT: 0, or a value that denies all requests until a pause ends.
    pub(crate) floor: u64,
}

/// The fill level of one limit at one instant. Reading it takes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LimitStatus {
    /// Calls (or amounts of the limit's unit) that would be admitted at this instant.
    pub available: u64,
    /// Calls that count as used at this instant, rounded up. During a pause, used and available do not add up to the
    /// burst. Exact as long as no turn of the queue has come; while the queue drains, an estimate if turns wait for
    /// several limits or extend into future windows.
    pub used: u64,
    /// When a request for one call would be admitted if no other request came: now, or later.
    #[cfg_attr(feature = "serde", serde(rename = "next_at_ns"))]
    pub next_at: Nanos,
    /// Calls already charged for future instants (turns of waiting callers, reservations, debts), rounded up.
    ///
    /// For a single bucket of calls, this is the amount beyond a full bucket: exact for single calls, and too low by
    /// less than the next turn if that is for several. Otherwise it is exact as long as no turn of the queue has come.
    /// While the queue drains, it stays exact for single calls of one bucket, one fixed window, or a greedy limit whose
    /// ring holds the whole queue; in all other cases it assumes evenly spaced turns. A future charge counts, too.
    pub queued: u64,
}

impl Gcra {
    /// The limit, admitting nothing before `not_before` and then resuming at its sustained rate, without a burst.
    pub fn new(limit: Limit, not_before: Option<Nanos>) -> Gcra {
        let ticks = Ticks::of(limit.rate());
        let floor = not_before.map_or(0, |at| {
            ticks.at(at.as_nanos()).saturating_add(1).saturating_add(ticks.tokens(limit.burst() - 1))
        });
        Gcra { ticks, burst: limit.burst(), floor }
    }

    /// The state with zero usage at `now`.
    pub(crate) fn unused(&self, now: Nanos) -> u64 {
        self.ticks.at(now.as_nanos())
    }

    /// Whether `cost` tokens, at most `burst`, conform at this tick. (With parameters from corrupt memory, the result
    /// is arbitrary.)
    #[inline]
    pub(crate) fn conforms(&self, tat: u64, tick: u64, cost: u64) -> bool {
        tat.max(self.floor) <= tick.wrapping_add(self.ticks.tokens(self.burst.saturating_sub(cost)))
    }

    /// The first tick at which `cost` tokens, at most `burst`, conform.
    #[inline]
    pub(crate) fn slot(&self, tat: u64, cost: u64) -> u64 {
        tat.max(self.floor).saturating_sub(self.ticks.tokens(self.burst.saturating_sub(cost)))
    }

    /// The exact first nanosecond at which `cost` tokens conform.
    #[inline]
    pub fn ready_at(&self, tat: u64, cost: u64) -> Nanos {
        Nanos::from_nanos(self.ticks.first_ns(self.slot(tat, cost)))
    }

    /// The TAT after taking `cost` tokens at `tick`, either immediately or for the next turn of the queue.
    #[inline]
    pub fn charge(&self, tat: u64, tick: u64, cost: u64) -> u64 {
        tat.max(self.floor).max(tick).wrapping_add(self.ticks.tokens(cost))
    }

    /// The TAT after a debt of `amount` tokens, as if each had queued separately at `tick`, and the slot of the last of
    /// them. `None` if that is not representable. Constant time.
    pub(crate) fn debt(&self, tat: u64, tick: u64, amount: u64) -> Option<(u64, u64)> {
        let all = self.ticks.tokens_saturating(amount, 1);
        let after = tat.max(self.floor).max(tick).checked_add(all).filter(|&after| after < TAT_END)?;
        let burst = self.ticks.tokens_saturating(self.burst, 1);
        Some((after, after.saturating_sub(burst).max(tick)))
    }

    /// The TAT before the last charge of `cost`, which led to `tat`, or before a part of that charge: exact if nothing
    /// was charged after it. (Idle time before that charge stays forfeited.)
    pub fn refund(&self, tat: u64, cost: u64) -> u64 {
        tat.saturating_sub(self.ticks.tokens_saturating(cost, 1))
    }

    /// The TAT after `amount` of a charge for `at` turned out unused, if only the TAT is known; not below `least` (and
    /// never above `tat`).
    ///
    /// Compare the bucket with one that was not charged this amount. Right after the charge they differ by the amount.
    /// A later charge brings them closer only by the time for which the other bucket was empty before it, and all of
    /// that time lies between `at` and now. So the amount is returned except for the time since `at`. The other
    /// bucket's level at `at` itself must not be used, because earlier charges may have been refunded since. The one
    /// tick of slack: a turn is booked at its slot, which may be one tick before the tick in which the nanosecond `at`
    /// begins.
    ///
    /// Nothing is returned while turns are reserved ahead: a smaller TAT would no longer tell how far they reach.
    pub(crate) fn give_back(&self, tat: u64, at: Nanos, now: Nanos, amount: u64, least: u64) -> u64 {
        let tick = self.ticks.at(now.as_nanos());
        if self.slot(tat, 0) > tick {
            return tat;
        }
        self.refund_less_leakage(tat, at.as_nanos(), tick, amount).max(least).min(tat)
    }

    /// `tat` minus `amount`, except for the time from `at` to `until`, when the last charge was made.
    pub(super) fn refund_less_leakage(&self, tat: u64, at: u64, until: u64, amount: u64) -> u64 {
        let leaked = until.saturating_sub(self.ticks.at(at)).saturating_add(1);
        tat.saturating_sub(self.ticks.tokens_saturating(amount, 1).saturating_sub(leaked))
    }

    /// Whether no sequence of calls can have led to this TAT: the implied wait is absurd.
    pub(crate) fn is_implausible(&self, tat: u64, now: Nanos) -> bool {
        let sane = self
            .ticks
            .at(2 * MAX_WAIT.as_nanos() as u64)
            .saturating_add(self.ticks.tokens(self.burst).saturating_mul(2));
        let tat = tat.max(self.floor);
        tat >= TAT_END || tat.saturating_sub(self.ticks.at(now.as_nanos())) > sane
    }

    /// The fill level at `now`.
    pub fn status(&self, tat: u64, now: Nanos) -> LimitStatus {
        let tick = self.ticks.at(now.as_nanos());
        let size = self.ticks.tokens(self.burst);
        let token = self.ticks.tokens(1);
        let level = |tat: u64| tat.saturating_sub(tick).min(size);
        LimitStatus {
            available: self.ticks.whole_tokens(size - level(tat.max(self.floor))),
            used: level(tat).div_ceil(token),
            next_at: self.ready_at(tat, 1).max(now),
            // What was reserved, not what a pause holds back.
            queued: tat.saturating_sub(self.floor.max(tick.saturating_add(size))).div_ceil(token),
        }
    }

    /// An upper bound of the TAT after the last turn that may have come by `now`: a full bucket.
    pub(crate) fn full(&self, now: Nanos) -> u64 {
        let tick = self.ticks.at(now.plus(CLOCK_SLACK).as_nanos());
        tick.saturating_add(self.ticks.tokens(self.burst)).saturating_add(1)
    }

    /// The state with which `next` takes over at `now` from this limit in state `tat`: the same number of used tokens,
    /// in the new ticks, clamped to a full bucket. The queue is dropped, because its callers request again.
    ///
    /// Under the same rate nothing is rounded, however often the state is carried over; under another rate it is
    /// rounded up.
    pub fn carry(&self, tat: u64, now: Nanos, next: &Gcra) -> u64 {
        let bound = self.full(now);
        let now = now.plus(CLOCK_SLACK).as_nanos();
        let (tick, token) = (self.ticks.at(now), self.ticks.tokens(1));
        let tat = if self.floor >= bound {
            // During a pause, what exceeds a full bucket begins at the floor, and not one token after what was used
            // before.
            tat.min(bound)
        } else {
            // Turns are one token apart, counted back from the last; the last one whose time has come may have been
            // used.
            tat.saturating_sub(tat.saturating_sub(bound).div_ceil(token).saturating_mul(token))
        };
        let full = next.ticks.tokens(next.burst);
        if self.ticks == next.ticks {
            return tat.min(tick.saturating_add(full).saturating_add(1));
        }
        let used = tat.saturating_sub(tick);
        // Masked, as in `tokens`.
        let (from, to) = (self.ticks.shift & 63, next.ticks.shift & 63);
        let used = if to < from {
            used.div_ceil(1 << (from - to))
        } else if used.leading_zeros() < to - from {
            u64::MAX
        } else {
            used << (to - from)
        };
        next.ticks.at(now).saturating_add(1).saturating_add(used.min(full))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Rate, audit};
    use proptest::prelude::*;

    const DAY: u64 = 86_400_000_000_000;

    /// Intervals from a nanosecond to a year, with every magnitude equally likely.
    fn limits() -> impl Strategy<Value = Limit> {
        (10u32..=54, 0u32..=54, any::<u64>(), any::<u64>(), prop_oneof![1u64..4, 1u64..200]).prop_map(
            |(per_bits, max_bits, a, b, burst)| {
                let per = (a % (1u64 << per_bits)).min(366 * DAY - 1) + 1;
                let max = (b % (1u64 << max_bits) + 1).min(per);
                let rate = Rate::new(max, Duration::from_nanos(per)).unwrap();
                Limit::with_burst(rate, burst).or_else(|_| Limit::with_burst(rate, 1)).unwrap()
            },
        )
    }

    fn at(ns: u64) -> Nanos {
        Nanos::from_nanos(ns)
    }

    /// Takes `cost` at `now` if it conforms.
    fn try_take(g: &Gcra, tat: &mut u64, now: Nanos, cost: u64) -> bool {
        let ok = g.ready_at(*tat, cost) <= now;
        if ok {
            *tat = g.charge(*tat, g.unused(now), cost);
        }
        ok
    }

    proptest! {
        /// Denied until the promised instant, admitted exactly at it.
        #[test]
        fn the_promised_instant_is_exact(limit in limits(), costs in prop::collection::vec((1u64..200, 0u64..DAY), 1..50)) {
            let g = Gcra::new(limit, None);
            let (mut tat, mut now) = (0, 5);
            for (cost, step) in costs {
                let cost = cost.min(limit.burst());
                now += step;
                let ready = g.ready_at(tat, cost).as_nanos();
                if ready > now {
                    prop_assert!(!try_take(&g, &mut tat, at(ready - 1), cost));
                    now = ready;
                }
                prop_assert!(try_take(&g, &mut tat, at(now), cost));
            }
        }

        /// No window of whole nanoseconds exceeds the definition, for any sequence of requests.
        #[test]
        fn no_window_exceeds_the_limit(
            limit in limits(),
            gaps in prop::collection::vec((1u64..5, prop::bool::ANY, 0u64..300), 1..300),
        ) {
            let g = Gcra::new(limit, None);
            let interval = limit.rate().emission_interval().as_nanos() as u64;
            let (mut tat, mut now, mut taken) = (0, 0u64, Vec::new());
            for (cost, wait, percent) in gaps {
                let cost = cost.min(limit.burst());
                now += interval / 100 * percent + percent % 3;
                let ready = g.ready_at(tat, cost).max(at(now));
                // Either the turn is reserved, or it is taken only if it is now.
                if wait || ready == at(now) {
                    tat = g.charge(tat, g.unused(at(now)), cost);
                    taken.push(audit::Admission { at: ready, calls: cost });
                }
            }
            prop_assert_eq!(audit::check(limit, &mut taken), Ok(()));
        }

        /// Constant demand gets exactly `max` per `per` for a whole day, without drift.
        #[test]
        fn a_day_of_constant_demand_is_exact(max in 1u64..2_000, per in 1u64..=DAY, burst in 1u64..50) {
            let rate = Rate::new(max.min(per), Duration::from_nanos(per)).unwrap();
            let Ok(limit) = Limit::with_burst(rate, burst) else { return Ok(()) };
            let g = Gcra::new(limit, None);
            // Not each of up to 10^14 admissions: the TAT is linear, so jump close to the end of the day.
            let last = (u128::from(rate.max()) * u128::from(DAY) / u128::from(per)) as u64 + burst;
            let jump = last.saturating_sub(100).min((TAT_END - 1) >> g.ticks.shift);
            let mut tat = g.ticks.tokens(jump);
            let mut count = jump;
            while g.ready_at(tat, 1) < at(DAY) {
                tat = g.charge(tat, g.unused(at(0)), 1);
                count += 1;
            }
            // `burst` at once, then number k at k·per/max: those strictly before the end of the day.
            let exact = burst - 1 + (u128::from(rate.max()) * u128::from(DAY)).div_ceil(u128::from(per)) as u64;
            prop_assert_eq!(count, exact);
        }

        /// Usage is kept, converted to the new ticks and clamped to a full bucket.
        #[test]
        fn a_change_keeps_usage(old in limits(), new in limits(), tokens in 0u64..400, later in 0u64..DAY) {
            let g = Gcra::new(old, None);
            let n = Gcra::new(new, None);
            let tat = g.charge(0, g.unused(at(later)), tokens);
            let carried = n.status(g.carry(tat, at(later), &n), at(later));
            let used = tokens.min(old.burst()).min(new.burst());
            // The old rate applies until `CLOCK_SLACK` after the change.
            let in_slack = |g: &Gcra| g.ticks.whole_tokens(g.ticks.at(2 * CLOCK_SLACK.as_nanos() as u64));
            let slack = in_slack(&g) + in_slack(&n) + 1;
            prop_assert!(new.burst() - carried.available >= used.saturating_sub(slack), "{carried:?}");
            prop_assert!(new.burst() - carried.available <= used + slack, "{carried:?}");
            prop_assert_eq!(carried.queued.saturating_sub(slack), 0);
        }
    }

    proptest! {
        /// However often a limit takes over from itself, no request is admitted a nanosecond earlier.
        #[test]
        fn repeated_changes_gain_nothing(limit in limits(), steps in prop::collection::vec((0u64..300, 0u64..4), 1..200)) {
            let g = Gcra::new(limit, None);
            let interval = limit.rate().emission_interval().as_nanos() as u64;
            let (mut now, mut tat, mut taken) = (DAY, 0, Vec::new());
            for (percent, take) in steps {
                now += interval / 100 * percent + percent % 3;
                for _ in 0..take {
                    // Now, or reserved: then it counts only if its turn comes before the next change.
                    let ready = g.ready_at(tat, 1).max(at(now));
                    tat = g.charge(tat, g.unused(at(now)), 1);
                    taken.push(audit::Admission { at: ready, calls: 1 });
                }
                now += interval / 100 * (percent / 2);
                taken.retain(|t| t.at <= at(now));
                tat = g.carry(tat, at(now), &g);
            }
            prop_assert_eq!(audit::check(limit, &mut taken), Ok(()));
        }

        /// Nor do pauses, waiters during them, cancelled turns and early ends gain anything.
        #[test]
        fn repeated_pauses_gain_nothing(
            limit in limits(),
            burst in 1u64..3,
            steps in prop::collection::vec(
                (prop_oneof![0u64..300, 0u64..20], 0u64..4, prop::option::of(0u64..500), prop::bool::weighted(0.2)),
                1..200,
            ),
        ) {
            let limit = Limit::with_burst(limit.rate(), burst).unwrap_or(limit);
            let interval = limit.rate().emission_interval().as_nanos() as u64;
            let (mut now, mut tat, mut taken) = (DAY, 0, Vec::new());
            let mut g = Gcra::new(limit, None);
            for (percent, take, pause, cancel) in steps {
                now += interval / 100 * percent + percent % 3;
                for _ in 0..take {
                    let ready = g.ready_at(tat, 1).max(at(now));
                    tat = g.charge(tat, g.unused(at(now)), 1);
                    if cancel && ready > at(now) {
                        tat = g.refund(tat, 1);
                    } else {
                        taken.push(audit::Admission { at: ready, calls: 1 });
                    }
                }
                now += interval / 100 * (percent / 2);
                taken.retain(|t| t.at <= at(now));
                let next = Gcra::new(limit, pause.map(|percent| at(now + interval / 100 * percent)));
                tat = g.carry(tat, at(now), &next);
                g = next;
            }
            prop_assert_eq!(audit::check(limit, &mut taken), Ok(()));
        }

        /// Nor do refunds of partly unused admissions, whenever they are made.
        #[test]
        fn settling_gains_nothing(
            limit in limits(),
            burst in 1u64..12,
            steps in prop::collection::vec((0u64..300, 1u64..12, 0u64..12, 0usize..5, prop::bool::ANY), 1..150),
        ) {
            let limit = Limit::with_burst(limit.rate(), burst).unwrap_or(limit);
            let interval = limit.rate().emission_interval().as_nanos() as u64;
            let g = Gcra::new(limit, None);
            let (mut now, mut tat) = (DAY, 0);
            // The instant, and the amount used.
            let mut taken = Vec::new();
            for (percent, cost, unused, back, settle) in steps {
                now += interval / 100 * percent + percent % 3;
                let cost = cost.min(limit.burst());
                let ready = g.ready_at(tat, cost).max(at(now));
                tat = g.charge(tat, g.unused(at(now)), cost);
                taken.push((ready, cost));
                let place = taken.len().saturating_sub(1 + back);
                if settle {
                    let (ready, used) = &mut taken[place];
                    let unused = unused.min(*used);
                    *used -= unused;
                    tat = g.give_back(tat, *ready, at(now), unused, 0);
                }
            }
            let mut used: Vec<_> = taken
                .into_iter()
                .filter(|t| t.1 > 0)
                .map(|(at, calls)| audit::Admission { at, calls })
                .collect();
            prop_assert_eq!(audit::check(limit, &mut used), Ok(()));
        }

        /// Nor does changing to another rate and back.
        #[test]
        fn changing_the_rate_and_back_gains_nothing(limit in limits(), other in limits(), used in 1u64..200) {
            let (g, o) = (Gcra::new(limit, None), Gcra::new(Limit::with_burst(other.rate(), limit.burst()).unwrap_or(limit), None));
            let tat = g.charge(0, g.unused(at(DAY)), used.min(limit.burst()));
            let before = g.ready_at(tat, limit.burst());
            let after = g.ready_at(o.carry(g.carry(tat, at(DAY), &o), at(DAY), &g), limit.burst());
            // During the slack, the other rate applies.
            let slack = o.ticks.whole_tokens(o.ticks.at(2 * CLOCK_SLACK.as_nanos() as u64)) + 1;
            prop_assert!(g.ready_at(g.refund(tat, slack), limit.burst()) <= after.max(before), "{before:?} {after:?}");
            if slack == 1 && other.rate().emission_interval() > Duration::from_millis(1) {
                prop_assert!(after.plus(2 * CLOCK_SLACK) >= before, "{before:?} {after:?}");
            }
        }
    }

    #[test]
    fn a_change_to_a_much_slower_rate_leaves_the_bucket_full() {
        let old = Gcra::new(Limit::with_burst("1/s".parse().unwrap(), 600).unwrap(), None);
        let new = Gcra::new(Limit::with_burst("1/366d".parse().unwrap(), 9).unwrap(), None);
        for used in [9, 255, 512, 513, 600] {
            let tat = old.charge(0, old.unused(at(DAY)), used);
            assert_eq!(new.status(old.carry(tat, at(DAY), &new), at(DAY)).available, 0, "{used}");
        }
    }

    /// The rates of the design, with each admission of a day counted.
    #[test]
    fn awkward_rates_are_exact_over_a_day() {
        for (max, per_ns) in [
            (10, 3_000_000_000),
            (7, 1_000_000_000),
            (3, 1_500_000_000),
            (1_000_000_007, 3_600 * 1_000_000_000_000 / 1000),
        ] {
            let rate = Rate::new(max, Duration::from_nanos(per_ns)).unwrap();
            let g = Gcra::new(Limit::patient(rate), None);
            let end = if max > 1_000_000 { 1_000_000_000 } else { DAY };
            let (mut tat, mut count) = (0, 0u64);
            while g.ready_at(tat, 1) < at(end) {
                tat = g.charge(tat, g.unused(g.ready_at(tat, 1)), 1);
                count += 1;
            }
            assert_eq!(
                u128::from(count),
                (u128::from(max) * u128::from(end)).div_ceil(per_ns.into()),
                "{rate}"
            );
        }
    }

    #[test]
    fn after_a_pause_turns_come_at_the_sustained_rate() {
        let limit = Limit::with_burst("10/s".parse().unwrap(), 5).unwrap();
        let g = Gcra::new(limit, Some(at(1_000_000_000)));
        let mut tat = 0;
        for k in 0..20 {
            let ready = g.ready_at(tat, 1).as_nanos();
            assert!(ready.abs_diff(1_000_000_000 + k * 100_000_000) <= 1, "turn {k} at {ready}");
            tat = g.charge(tat, g.unused(at(0)), 1);
        }
    }

    #[test]
    fn resuming_keeps_usage_and_drops_the_queue() {
        let limit = Limit::with_burst("1/m".parse().unwrap(), 5).unwrap();
        let paused = Gcra::new(limit, Some(at(3_600_000_000_000)));
        let resumed = Gcra::new(limit, None);
        let used = paused.ticks.tokens(2);
        assert_eq!(resumed.status(paused.carry(used, at(10), &resumed), at(2_000)).available, 3);
        // Callers that queued during the pause request again; at most a full bucket can have been used.
        let queued = paused.charge(used, paused.unused(at(5)), 40);
        assert_eq!(paused.status(queued, at(5)).queued, 40);
        let after = resumed.carry(queued, at(10), &resumed);
        assert_eq!(resumed.status(after, at(10)).queued, 0);
    }

    /// A bug of another shared limiter: it skipped the refill when idle, and lost fractions when polled.
    #[test]
    fn idle_time_refills_up_to_the_burst_and_fractions_are_kept() {
        let limit = Limit::with_burst("100/s".parse().unwrap(), 100).unwrap();
        let g = Gcra::new(limit, None);
        let mut tat = 0;
        let burst = |tat: &mut u64, now| (0..300).filter(|_| try_take(&g, tat, at(now), 1)).count();
        assert_eq!(burst(&mut tat, 1_000), 100);
        assert_eq!(burst(&mut tat, 1_200_001_000), 100);

        let g = Gcra::new(Limit::with_burst("1000/s".parse().unwrap(), 3).unwrap(), None);
        let mut tat = 0;
        let got: usize = (0..=1579u64)
            .map(|k| (0..3).filter(|_| try_take(&g, &mut tat, at(k * 1_900_000), 1)).count())
            .sum();
        assert!((3000..=3003).contains(&got), "{got} of 3000 in 3 s");
    }
}
