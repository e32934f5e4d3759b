//! Waking others when they become first or the limits change, and detecting dead processes.

use crate::clock;
use crate::intervals::{FRONT_PROBE_INTERVAL, LINE_PROBE_INTERVAL, WAKE_TWO_PERIOD};
use crate::limit::MAX_LIMITS;
use crate::limiter::Limiter;
use crate::line::LineEntry;
use crate::seat::{HolderId, Probe, SeesLocks, Table, has_ended};
use crate::sync::{AtomicU64, Ordering, fence};
use crate::sys::futex;
use std::time::Duration;

/// The most processes that are woken at once because those before them may be dead.
const MAX_WOKEN: usize = 64;

impl Limiter {
    /// Wakes the first process in line if it plans to sleep for too long. The calling process, which is awake, has
    /// place `here`.
    pub(super) fn wake_first(&self, epoch: u64, here: usize) {
        // Pairs with the fence after the store of a plan: see `places`.
        fence(Ordering::SeqCst);
        let now = clock::now().as_nanos();
        let Some(first) = self.line().first(now).filter(|first| first.place != here) else { return };
        if self.free_permits() == 0 {
            return;
        }
        let (turns, costs) = (self.turns(), self.line().costs(first.place, epoch));
        let due = match turns.ready().all().iter().find(|turn| turn.at >= first.ticket) {
            // It was charged for another request; this one may have an earlier turn.
            Some(turn) if costs.is_some_and(|costs| turns.charge_of(turn).costs != costs) => None,
            Some(turn) => Some(turn.at),
            None => costs
                .and_then(|costs| self.estimate(epoch, &[0; MAX_LIMITS], &costs).ok()?)
                .map(|(ready, _)| ready.as_nanos()),
        };
        self.wake_in_order(due.unwrap_or(now).max(now), here, now);
    }

    /// Wakes the first process in line because a turn or permit has become free.
    pub(in crate::limiter) fn wake_first_now(&self) {
        // Pairs with the fence after the store of a plan: see `places`.
        fence(Ordering::SeqCst);
        let line = self.line();
        if !line.is_occupied() {
            return;
        }
        let now = clock::now().as_nanos();
        self.wake_in_order(now, usize::MAX, now);
    }

    /// Wakes the first process in line if it plans to sleep beyond `due`. If no thread sleeps at its place, or it
    /// missed its planned wake-up, it may be dead: then also wakes the next one, so that what is free is not lost on a
    /// dead process.
    fn wake_in_order(&self, due: u64, here: usize, now: u64) {
        let line = self.line();
        let dead_found = self.segment.header().line.dead_found_ns.load(Ordering::Relaxed);
        let mut enough = if now.abs_diff(dead_found) < WAKE_TWO_PERIOD.as_nanos() as u64 { 2 } else { 1 };
        for entry in line.in_order(now).take(MAX_WOKEN) {
            let is_awake = entry.place == here || !line.advance_plan(&entry, due) || self.ring(entry.place);
            enough -= u32::from(is_awake && !entry.is_slow_to_wake(now));
            if enough == 0 {
                return;
            }
        }
    }

    /// Wakes all processes in line: the limits were changed, or the limiter was retired.
    pub(in crate::limiter) fn wake_the_line(&self) {
        for entry in self.line().all() {
            self.ring(entry.place);
        }
    }

    /// Wakes the process at this place by its bell; returns whether it slept.
    pub(super) fn ring(&self, place: usize) -> bool {
        self.line().bell(place).is_some_and(|bell| {
            bell.fetch_add(1, Ordering::SeqCst);
            futex::wake_all(bell)
        })
    }

    pub(in crate::limiter) fn bell_of(&self, place: usize) -> u64 {
        self.line().bell(place).map_or(0, |bell| bell.load(Ordering::SeqCst))
    }

    /// Moves this process's own plan forward, and wakes the thread that tends its tasks.
    pub(super) fn advance_own_plan(&self, place: usize, until: u64) {
        let plan = self.segment.places()[place].plan.fetch_min(until, Ordering::SeqCst);
        if plan > until || plan <= clock::now().as_nanos() {
            self.ring(place);
        }
    }

    /// Clears the places of dead processes from the front of the line, up to the first process that is alive and awake,
    /// and wakes that one: what the dead ones left is its own now. The calling process, which is awake, has place `here`.
    /// Rate-limited over all processes together. Returns whether it cleared any.
    pub(in crate::limiter) fn reap_front(&self, now: u64, here: Option<usize>) -> bool {
        if !is_time(&self.segment.header().line.probed_ns, FRONT_PROBE_INTERVAL, now) {
            return false;
        }
        let mut all: Vec<LineEntry> = self.line().all().collect();
        all.sort_unstable_by_key(LineEntry::order);
        let mut locks = Probe::of_table(&self.segment, Table::Places);
        let mut found = false;
        for entry in all {
            let is_dead = self.clear_if_dead(entry.place, &mut locks);
            found |= is_dead;
            // A stopped process says nothing about those behind it, so go on.
            if !is_dead && !entry.is_late(now) {
                break;
            }
        }
        self.free_stuck_slots(&mut locks);
        if found {
            self.pass_on_turns(here.unwrap_or(usize::MAX));
        }
        found
    }

    /// Clears the places of all dead processes in line, and wakes the first one: used before a caller is denied because
    /// of the line's length. Rate-limited. Returns whether it cleared any.
    pub(super) fn reap_all(&self, now: u64, here: Option<usize>) -> bool {
        let found =
            is_time(&self.segment.header().line.probed_all_ns, LINE_PROBE_INTERVAL, now) && self.reap_line();
        if found {
            self.pass_on_turns(here.unwrap_or(usize::MAX));
        }
        found
    }

    /// A process has left the line, by itself or because it is dead: wakes the first one, or undoes the charged turns if none waits
    /// any more. The calling process, which is awake, has place `here`.
    pub(super) fn pass_on_turns(&self, here: usize) {
        let line = self.line();
        if line.is_occupied() {
            self.wake_first(self.segment.generations().epoch(), here);
        } else {
            self.undo_turns(None, |_| !line.is_occupied());
        }
    }

    /// Clears everything that dead processes left in the line. Returns whether it cleared a place.
    pub(in crate::limiter) fn reap_line(&self) -> bool {
        let mut locks = Probe::of_table(&self.segment, Table::Places);
        let mut found = false;
        for entry in self.line().all() {
            found |= self.clear_if_dead(entry.place, &mut locks);
        }
        self.free_stuck_slots(&mut locks);
        found
    }

    /// Frees the slots of turns whose fillers are dead.
    fn free_stuck_slots(&self, locks: &mut impl SeesLocks) {
        self.turns().free_stuck(|filler| {
            let place = self.segment.places().get(filler.seat);
            place.is_none_or(|place| has_ended(&place.holder, filler, locks).unwrap_or(false))
        });
    }

    /// Clears this place if its holder is dead.
    pub(super) fn clear_if_dead(&self, place: usize, locks: &mut impl SeesLocks) -> bool {
        let Some(holder) = self.segment.places().get(place).map(|place| &place.holder) else { return false };
        let tenure = holder.tenure.load(Ordering::Acquire);
        let id = HolderId { seat: place, tenure };
        if !has_ended(holder, id, locks).unwrap_or(false) {
            return false;
        }
        self.line().leave(place);
        self.segment.header().line.dead_found_ns.store(clock::now().as_nanos(), Ordering::Relaxed);
        true
    }
}

/// Whether an action is due again. Of several concurrent callers, only the winner of the CAS gets `true`.
fn is_time(last_done: &AtomicU64, every: Duration, now: u64) -> bool {
    let last = last_done.load(Ordering::Relaxed);
    now.abs_diff(last) >= every.as_nanos() as u64
        && last_done.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}
