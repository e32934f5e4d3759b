//! Settled and cancelled turns on one word, in every order: the protocol of `commit::word_state` on plain values.
//!
//! A reservation stores the word from right after it, and is cancelled only if the word is unchanged. A settlement
//! lowers the word, so later requests could raise it to that very value by chance. Therefore a second word, `reserved`,
//! contains the greatest value that any reservation led to, and a settlement lowers the word only to values above that;
//! or, if the admission is itself a reservation and the word is still the one right after it, by the exact amount.

use super::ns;
use crate::limit::audit::{self, Admission};
use crate::limit::{Gcra, Limit, Rate};
use proptest::prelude::*;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Wait(u64),
    Try(u64),
    Reserve(u64),
    /// Which admission, and how much of it was unused.
    Settle(usize, u64),
    Cancel(usize),
    Charge(u64),
}

#[derive(Clone, Copy, Debug)]
struct Receipt {
    at: u64,
    /// The word right after.
    state: u64,
    cost: u64,
    actual: u64,
    is_reservation: bool,
    /// Neither settled nor cancelled yet.
    is_open: bool,
}

#[derive(Clone)]
struct World {
    limit: Limit,
    g: Gcra,
    /// Whether settlements respect `reserved`.
    guarded: bool,
    now: u64,
    word: u64,
    reserved: u64,
    receipts: Vec<Receipt>,
    charged: Vec<Admission>,
}

impl World {
    fn new(limit: Limit, guarded: bool, now: u64) -> World {
        let g = Gcra::new(limit, None);
        let word = g.unused(ns(now));
        World { limit, g, guarded, now, word, reserved: 0, receipts: Vec::new(), charged: Vec::new() }
    }

    fn take(&mut self, cost: u64, is_reservation: bool) -> bool {
        let ready = self.g.ready_at(self.word, cost).max(ns(self.now));
        if ready > ns(self.now) && !is_reservation {
            return false;
        }
        self.word = self.g.charge(self.word, self.g.unused(ns(self.now)), cost);
        if is_reservation {
            self.reserved = self.reserved.max(self.word);
        }
        let (at, state) = (ready.as_nanos(), self.word);
        self.receipts.push(Receipt { at, state, cost, actual: cost, is_reservation, is_open: true });
        true
    }

    /// Returns whether it had any effect.
    fn step(&mut self, step: Step) -> bool {
        match step {
            Step::Wait(ns) => {
                self.now += ns;
                ns > 0
            }
            Step::Try(cost) => self.take(cost, false),
            Step::Reserve(cost) => self.take(cost, true),
            Step::Settle(i, unused) => {
                let receipt = &mut self.receipts[i];
                (receipt.is_open, receipt.actual) = (false, receipt.cost - unused);
                let Receipt { at, state, is_reservation, .. } = *receipt;
                let word = if self.guarded && is_reservation && self.word == state {
                    self.g.refund(self.word, unused)
                } else {
                    let least = if self.guarded { self.reserved + 1 } else { 0 };
                    self.g.give_back(self.word, ns(at), ns(self.now), unused, least)
                };
                std::mem::replace(&mut self.word, word) != word
            }
            Step::Cancel(i) => {
                let receipt = &mut self.receipts[i];
                receipt.is_open = false;
                let is_last = self.word == receipt.state;
                if is_last {
                    receipt.actual = 0;
                    self.word = self.g.refund(self.word, receipt.cost);
                }
                is_last
            }
            Step::Charge(amount) => {
                let mut tat = self.word;
                let tick = self.g.unused(ns(self.now));
                for _ in 0..amount {
                    let at = self.g.ready_at(tat, 1).max(ns(self.now));
                    self.charged.push(Admission { at, calls: 1 });
                    tat = self.g.charge(tat, tick, 1);
                }
                let debt = self.g.debt(self.word, tick, amount);
                let last = self.charged.last().map(|last| last.at);
                assert_eq!(debt.map(|(tat, _)| tat), Some(tat));
                assert_eq!(debt.map(|(_, slot)| ns(self.g.ticks.first_ns(slot)).max(ns(self.now))), last);
                self.word = tat;
                true
            }
        }
    }

    /// Whether all that was used is within the limit, including anything that would be admitted now.
    fn is_within_the_limit(&self) -> bool {
        let used = self.receipts.iter().filter(|r| r.actual > 0);
        let used = used.map(|r| Admission { at: ns(r.at), calls: r.actual });
        let mut list: Vec<_> = used.chain(self.charged.iter().copied()).collect();
        let most = (1..=self.limit.burst()).rev().find(|&c| self.g.ready_at(self.word, c) <= ns(self.now));
        list.extend(most.map(|tokens| Admission { at: ns(self.now), calls: tokens }));
        audit::check(self.limit, &mut list).is_ok()
    }

    /// The next steps that can make a difference.
    fn steps(&self, waits: &[u64], after_wait: bool) -> Vec<Step> {
        let burst = self.limit.burst();
        let mut costs = vec![1, burst.div_ceil(2), burst];
        costs.dedup();
        let mut steps: Vec<_> = costs.iter().flat_map(|&c| [Step::Try(c), Step::Reserve(c)]).collect();
        steps.push(Step::Charge(1));
        if !after_wait {
            steps.extend(waits.iter().map(|&ns| Step::Wait(ns)));
        }
        for (i, receipt) in self.receipts.iter().enumerate().filter(|(_, r)| r.is_open) {
            steps.push(Step::Settle(i, receipt.cost));
            if receipt.cost > 1 {
                steps.push(Step::Settle(i, 1));
            }
            if receipt.is_reservation {
                steps.push(Step::Cancel(i));
            }
        }
        steps
    }

    /// Tries every sequence of up to `depth` steps. Returns one that breaks the limit, if any.
    fn search(&self, depth: usize, waits: &[u64], done: &mut Vec<Step>, seen: &mut u64) -> Option<Vec<Step>> {
        *seen += 1;
        if !self.is_within_the_limit() {
            return Some(done.clone());
        }
        if depth == 0 {
            return None;
        }
        for step in self.steps(waits, matches!(done.last(), Some(Step::Wait(_)))) {
            let mut next = self.clone();
            // A settlement that refunds nothing still ends an admission; a denied request has no effect.
            if !next.step(step) && !matches!(step, Step::Settle(..)) {
                continue;
            }
            done.push(step);
            let found = next.search(depth - 1, waits, done, seen);
            done.pop();
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

/// Small buckets, also at rates whose interval is not whole nanoseconds.
fn small_limits() -> Vec<Limit> {
    let limit = |max, per, burst| {
        Limit::with_burst(Rate::new(max, Duration::from_nanos(per)).unwrap(), burst).unwrap()
    };
    vec![limit(1, 3, 1), limit(1, 4, 4), limit(1, 8, 3), limit(2, 7, 2), limit(3, 10, 3), limit(3, 29, 4)]
}

fn search_all(guarded: bool, depth: usize) -> Vec<Option<Vec<Step>>> {
    let mut seen = 0;
    let search = |limit: Limit| {
        let interval = limit.rate().emission_interval().as_nanos() as u64;
        let waits = [1, interval, 2 * interval];
        World::new(limit, guarded, 1_000).search(depth, &waits, &mut Vec::new(), &mut seen)
    };
    let found = small_limits().into_iter().map(search).collect();
    println!("{seen} sequences");
    found
}

#[test]
fn no_short_sequence_on_a_word_breaks_the_limit() {
    let found = search_all(true, 6);
    assert!(found.iter().all(Option::is_none), "{found:?}");
}

/// Six steps and one more request: an admission is refunded, and a reservation is cancelled behind a newcomer.
#[test]
fn without_the_reserved_word_a_short_sequence_breaks_the_limit() {
    let limit = small_limits()[1];
    let world = World::new(limit, false, 1_000);
    let found = world.search(6, &[1, 4, 8], &mut Vec::new(), &mut 0);
    println!("{found:?}");
    assert!(found.is_some());
    let mut world = World::new(limit, true, 1_000);
    found.into_iter().flatten().for_each(|step| {
        world.step(step);
    });
    assert!(world.is_within_the_limit());
}

/// One million per second with a burst of 100: a newcomer raises the word to the very value that a reservation led to.
#[test]
fn a_reservation_is_not_cancelled_behind_a_newcomer() {
    let limit = Limit::with_burst("1000000/s".parse().unwrap(), 100).unwrap();
    let mut came_back = 0;
    for (wait, newcomer) in (20_000..30_000).flat_map(|wait| [(wait, 50 - wait / 1_000)]) {
        for guarded in [false, true] {
            let mut world = World::new(limit, guarded, 1 << 40);
            let steps = [
                Step::Try(25),
                Step::Reserve(25),
                Step::Settle(0, 25),
                Step::Wait(wait),
                Step::Try(newcomer),
            ];
            steps.into_iter().for_each(|step| assert!(world.step(step) || guarded, "{step:?}"));
            let cancelled = world.step(Step::Cancel(1));
            assert!(!(guarded && cancelled), "{wait}");
            came_back += u64::from(cancelled);
            assert!(world.is_within_the_limit() || !guarded, "{wait}");
            assert_eq!(world.is_within_the_limit(), !cancelled, "{wait}");
        }
    }
    assert!(came_back > 0, "the word never came back without the guard either");
}

/// A settlement is exact to the tick: unused calls do not count.
#[test]
fn settled_calls_that_were_not_used_do_not_count() {
    let limit = Limit::with_burst("5/m".parse().unwrap(), 5).unwrap();
    let mut world = World::new(limit, true, 1 << 40);
    for i in 0..20 {
        assert!(world.step(Step::Try(1)), "call {i}");
        assert!(world.step(Step::Wait(50_000)));
        assert!(world.step(Step::Settle(i, 1)));
    }
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Wait(u64),
    /// Until the next request of this cost makes the word equal to that of this reservation.
    WaitFor(usize, u64),
    Try(u64),
    Reserve(u64),
    Settle(usize, u64),
    Cancel(usize),
    Charge(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let cost = || prop_oneof![1u64..4, 1u64..130];
    prop::collection::vec(
        prop_oneof![
            2 => prop_oneof![0u64..3, 0u64..400, 0u64..40_000].prop_map(Move::Wait),
            2 => (0usize..6, cost()).prop_map(|(i, c)| Move::WaitFor(i, c)),
            4 => cost().prop_map(Move::Try),
            3 => cost().prop_map(Move::Reserve),
            4 => (0usize..6, prop_oneof![Just(u64::MAX), 1u64..40]).prop_map(|(i, less)| Move::Settle(i, less)),
            3 => (0usize..6).prop_map(Move::Cancel),
            1 => cost().prop_map(Move::Charge),
        ],
        1..60,
    )
}

proptest! {
    #[test]
    fn no_long_sequence_on_a_word_breaks_the_limit(
        max in 1u64..1_000, per in prop_oneof![1u64..50, 1_000u64..1_000_000], burst in prop_oneof![1u64..5, 1u64..130],
        moves in moves(),
    ) {
        let rate = Rate::new(max.min(per), Duration::from_nanos(per)).unwrap();
        let mut world = World::new(Limit::with_burst(rate, burst).unwrap(), true, 1 << 40);
        for one in moves {
            let open = |back: usize, reservation: bool| {
                let fits = |r: &Receipt| r.is_open && (r.is_reservation || !reservation);
                let mut open = world.receipts.iter().enumerate().rev().filter(|(_, r)| fits(r));
                open.nth(back).map(|(i, r)| (i, *r))
            };
            let step = match one {
                Move::Wait(percent) => Step::Wait(percent * per / max / 100 + percent % 3),
                Move::WaitFor(back, cost) => {
                    let Some((_, receipt)) = open(back, true) else { continue };
                    let until = world.g.refund(receipt.state, cost.min(burst));
                    let wait = world.g.ticks.first_ns(until).saturating_sub(world.now);
                    world.step(Step::Wait(wait));
                    Step::Try(cost.min(burst))
                }
                Move::Try(cost) => Step::Try(cost.min(burst)),
                Move::Reserve(cost) => Step::Reserve(cost.min(burst)),
                Move::Charge(cost) => Step::Charge(cost.min(8)),
                Move::Settle(back, less) => {
                    let Some((i, receipt)) = open(back, false) else { continue };
                    Step::Settle(i, less.min(receipt.cost))
                }
                Move::Cancel(back) => {
                    let Some((i, _)) = open(back, true) else { continue };
                    Step::Cancel(i)
                }
            };
            // While a reservation is outstanding, the word is not below it.
            world.step(step);
            for r in world.receipts.iter().filter(|r| r.is_open && r.is_reservation) {
                prop_assert!(world.word >= r.state, "{:?}", r);
            }
            prop_assert!(world.is_within_the_limit(), "{:?} {:?}", step, world.receipts);
        }
    }
}
