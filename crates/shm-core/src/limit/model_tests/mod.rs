//! The pure code compared with literal definitions, evaluated by brute force.
//!
//! | file | content |
//! |---|---|
//! | `definition` | the literal definition of each kind of limit |
//! | `bucket` | textbook token bucket and leaky bucket |
//! | `log`, `window` | one limit of these kinds, with changes of the limit |
//! | `calendar` | windows of the calendar |
//! | `mix` | several limits at once; cancellations, refunds, changes in any order |
//! | `numbers` | reported numbers: used, available, queued |
//! | `search` | every short sequence of operations on one word, with cancelled and settled turns |
//! | `damage` | garbage in every word |

mod bucket;
mod calendar;
mod damage;
mod definition;
mod log;
mod mix;
mod numbers;
mod search;
mod window;

use super::MAX_LIMITS;
use super::log::Ring;
use super::rule_set::{Record, Rings, Rules};
use crate::clock::Nanos;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

type Costs = [u64; MAX_LIMITS];

/// How much clocks may differ when a queue is dropped.
const SLACK: u64 = 1_000;

fn ns(ns: u64) -> Nanos {
    Nanos::from_nanos(ns)
}

/// A ring in plain memory.
#[derive(Clone)]
struct Slots(Rc<RefCell<Vec<u64>>>);

impl Ring for Slots {
    fn slot(&self, index: u64) -> u64 {
        let slots = self.0.borrow();
        slots[(index % slots.len() as u64) as usize]
    }

    fn capacity(&self) -> u64 {
        self.0.borrow().len() as u64
    }
}

struct Memory([Slots; MAX_LIMITS]);

impl Rings for Memory {
    type Ring = Slots;

    fn ring(&self, limit: usize) -> Slots {
        self.0[limit].clone()
    }
}

impl Memory {
    fn new(capacity: u64) -> Memory {
        Memory(std::array::from_fn(|_| Slots(Rc::new(RefCell::new(vec![0; capacity as usize])))))
    }

    fn write(&self, (limit, range, slot): (usize, Range<u64>, u64)) {
        let mut slots = self.0[limit].0.borrow_mut();
        let len = slots.len() as u64;
        for index in range {
            let place = &mut slots[(index % len) as usize];
            *place = slot.max(*place);
        }
    }
}

/// A limiter in plain memory, with committers that stop at times and continue late.
struct PlainLimiter {
    rules: Rules,
    record: Record,
    memory: Memory,
    /// All writes to the rings that any committer ever prepared.
    writes: Vec<(usize, Range<u64>, u64)>,
}

impl PlainLimiter {
    fn new(rules: Rules, capacity: u64, now: u64) -> PlainLimiter {
        PlainLimiter {
            record: rules.unused(ns(now)),
            rules,
            memory: Memory::new(capacity),
            writes: Vec::new(),
        }
    }

    fn ready(&self, costs: Costs, now: u64) -> u64 {
        self.rules.ready(&self.record, &costs, now, &self.memory).max(now)
    }

    /// Returns the turn's time. Pending slots are written first, as every committer does.
    fn take(&mut self, costs: Costs, now: u64) -> u64 {
        let at = self.ready(costs, now);
        self.change(|rules, record| rules.charge(record, &costs, at, now));
        at
    }

    fn change(&mut self, change: impl FnOnce(&Rules, &mut Record)) {
        for write in self.rules.unwritten(&self.record) {
            self.memory.write(write);
        }
        let mut next = self.record;
        change(&self.rules, &mut next);
        self.commit(next);
    }

    /// Charges unconditionally, and returns the instant of the last call.
    fn debt(&mut self, amounts: Costs, now: u64) -> Option<u64> {
        for write in self.rules.unwritten(&self.record) {
            self.memory.write(write);
        }
        let mut next = self.record;
        let last = self.rules.debt(&mut next, &amounts, now, &self.memory);
        self.commit(next);
        last
    }

    /// The effect of an operation on a copy, including a copy of the rings.
    fn clone_with<T>(&self, act: impl FnOnce(&mut PlainLimiter) -> T) -> T {
        let slots =
            self.memory.0.each_ref().map(|slots| Slots(Rc::new(RefCell::new(slots.0.borrow().clone()))));
        act(&mut PlainLimiter {
            rules: self.rules.clone(),
            record: self.record,
            memory: Memory(slots),
            writes: self.writes.clone(),
        })
    }

    /// As a committer does: slots that are about to be shortened are not written before.
    fn refund(&mut self, unused: &Costs, at: u64, charged: Option<&Costs>, is_newest: bool) {
        if is_newest {
            let mut next = self.record;
            self.rules.refund(&mut next, unused, at, charged, true);
            self.commit(next);
        } else {
            self.change(|rules, record| {
                rules.refund(record, unused, at, charged, false);
            });
        }
    }

    fn commit(&mut self, next: Record) {
        self.record = next;
        self.writes.extend(self.rules.unwritten(&next));
    }

    fn carry(&mut self, next: Rules, now: u64, goes_on: bool) {
        let record = self.rules.carry(&self.record, ns(now), &next, |_| goes_on, &self.memory);
        self.rules = next;
        self.commit(record);
    }

    /// A stopped committer makes this write late, or a second time.
    fn write_late(&self, pick: usize) {
        if !self.writes.is_empty() {
            // Mostly recent ones.
            let back = pick % self.writes.len().min(if pick.is_multiple_of(3) { usize::MAX } else { 6 });
            self.memory.write(self.writes[self.writes.len() - 1 - back].clone());
        }
    }
}
