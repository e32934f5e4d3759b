//! Telling others: who is first now, and that the limits have changed; and finding out who is dead.

use crate::clock;
use crate::limit::MAX_LIMITS;
use crate::limiter::Limiter;
use crate::line::Standing;
use crate::seat::{HolderId, Probe, SeesLocks, Table, has_ended};
use crate::sync::{AtomicU64, Ordering, fence};
use crate::sys::futex;
use std::time::Duration;

/// How often a process asks the kernel whether the first in line is alive.
const PROBE_EVERY: Duration = Duration::from_millis(10);
/// How often one asks of all who stand.
const PROBE_ALL_EVERY: Duration = Duration::from_millis(100);
/// So many are woken at most, if those before them may be dead.
const WAKE_AT_MOST: usize = 64;
/// For so long after a dead process was found in line two are woken and not one: the first may be killed before it claims
/// what is free, and the second then sees that it is late.
const WARY: Duration = Duration::from_secs(1);

impl Limiter {
    /// Wakes the first in line if it sleeps for longer than it should. The process that calls is at `here`, and is awake.
    pub(super) fn wake_first(&self, epoch: u64, here: usize) {
        // Pairs with the fence after a plan was stored: see `places`.
        fence(Ordering::SeqCst);
        let now = clock::now().as_nanos();
        let Some(first) = self.line().first(now).filter(|first| first.place != here) else { return };
        if self.free_permits() == 0 {
            return;
        }
        let (turns, costs) = (self.turns(), self.line().costs(first.place, epoch));
        let due = match turns.ready().all().iter().find(|turn| turn.at >= first.ticket) {
            // It was charged for another caller, and perhaps there is an earlier one for this.
            Some(turn) if costs.is_some_and(|costs| turns.charge_of(turn).costs != costs) => None,
            Some(turn) => Some(turn.at),
            None => costs
                .and_then(|costs| self.estimate(epoch, &[0; MAX_LIMITS], &costs).ok()?)
                .map(|(ready, _)| ready.as_nanos()),
        };
        self.wake_in_order(due.unwrap_or(now).max(now), here, now);
    }

    /// Wakes the first in line, for which something has become free.
    pub(in crate::limiter) fn wake_first_now(&self) {
        // Pairs with the fence after a plan was stored: see `places`.
        fence(Ordering::SeqCst);
        let line = self.line();
        if !line.is_anybody_there() {
            return;
        }
        let now = clock::now().as_nanos();
        self.wake_in_order(now, usize::MAX, now);
    }

    /// Wakes the first in line, if it plans to sleep for longer than until `due`. Where nobody sleeps at its place, or somebody
    /// should have been awake there, it may be dead: then the next one as well, so that what is free is not left to it.
    fn wake_in_order(&self, due: u64, here: usize, now: u64) {
        let line = self.line();
        let buried = self.segment.fixed().line.buried_ns.load(Ordering::Relaxed);
        let mut enough = if now.abs_diff(buried) < WARY.as_nanos() as u64 { 2 } else { 1 };
        for standing in line.in_order(now).take(WAKE_AT_MOST) {
            let is_awake =
                standing.place == here || !line.hasten(&standing, due) || self.ring(standing.place);
            enough -= u32::from(is_awake && !standing.has_overslept(now));
            if enough == 0 {
                return;
            }
        }
    }

    /// Wakes all who stand: the limits have changed, or are no more.
    pub(in crate::limiter) fn wake_the_line(&self) {
        for standing in self.line().all() {
            self.ring(standing.place);
        }
    }

    /// Wakes the process at this place; whether it slept.
    pub(super) fn ring(&self, place: usize) -> bool {
        self.line().bell(place).is_some_and(|bell| {
            bell.fetch_add(1, Ordering::SeqCst);
            futex::wake_all(bell)
        })
    }

    pub(super) fn bell_of(&self, place: usize) -> u64 {
        self.line().bell(place).map_or(0, |bell| bell.load(Ordering::SeqCst))
    }

    /// Moves the plan of this process forward, and wakes whoever tends its tasks.
    pub(super) fn hasten_own(&self, place: usize, until: u64) {
        let plan = self.segment.places()[place].plan.fetch_min(until, Ordering::SeqCst);
        if plan > until || plan <= clock::now().as_nanos() {
            self.ring(place);
        }
    }

    /// Clears the places of the dead, the first in line first, until one is alive and awake. Not too often, all processes taken
    /// together. Whether there was one.
    pub(in crate::limiter) fn bury(&self, now: u64) -> bool {
        if !is_time(&self.segment.fixed().line.probed_ns, PROBE_EVERY, now) {
            return false;
        }
        let mut all: Vec<Standing> = self.line().all().collect();
        all.sort_unstable_by_key(Standing::order);
        let mut locks = Probe::of_table(&self.segment, Table::Places);
        let mut found = false;
        for standing in all {
            let is_dead = self.clear_if_dead(standing.place, &mut locks);
            found |= is_dead;
            // One that is stopped says nothing of those behind it.
            if !is_dead && !standing.is_late(now) {
                break;
            }
        }
        self.free_lost_slots(&mut locks);
        found
    }

    /// Clears the places of all the dead, whoever stands before them: before a caller is refused because of those who stand.
    /// Not too often. Whether there was one.
    pub(super) fn bury_all(&self, now: u64) -> bool {
        is_time(&self.segment.fixed().line.probed_all_ns, PROBE_ALL_EVERY, now) && self.clear_the_line()
    }

    /// Clears what the dead left in the line, all of it. Whether there was a place.
    pub(in crate::limiter) fn clear_the_line(&self) -> bool {
        let mut locks = Probe::of_table(&self.segment, Table::Places);
        let mut found = false;
        for standing in self.line().all() {
            found |= self.clear_if_dead(standing.place, &mut locks);
        }
        self.free_lost_slots(&mut locks);
        found
    }

    /// Frees the slots of turns whose fillers are gone.
    fn free_lost_slots(&self, locks: &mut impl SeesLocks) {
        self.turns().free_the_lost(|filler| {
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
        self.segment.fixed().line.buried_ns.store(clock::now().as_nanos(), Ordering::Relaxed);
        true
    }
}

/// Whether what was last done at this instant is to be done again. Of those who ask at once one is told so.
fn is_time(last_done: &AtomicU64, every: Duration, now: u64) -> bool {
    let last = last_done.load(Ordering::Relaxed);
    now.abs_diff(last) >= every.as_nanos() as u64
        && last_done.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}
