//! What one caller sees: who is before it, which turns have come, and how long it can sleep.

use super::charging::charge_deadline;
use crate::clock::{self, Nanos};
use crate::commit::{CommitError, Damage};
use crate::denied::{Denied, DeniedBy};
use crate::intervals::{
    FRONT_PROCESSES, FRONT_SLEEP, MAX_LINE_SLEEP, MIN_LINE_SLEEP, QUIET_FRONT_SLEEP, QUIET_REAR_SLEEP_EACH,
    REAR_SLEEP_EACH, UNCLAIMED_AFTER, WAKE_GRACE,
};
use crate::layout::{PLACES, TURNS};
use crate::limit::Costs;
use crate::limiter::Limiter;
use crate::line::{Callers, Charge, Key, LineEntry, ReadyTurn, difference, sum};
use std::time::Duration;

const _: () = assert!(REAR_SLEEP_EACH.as_nanos() * (*PLACES.end() as u128) < MAX_LINE_SLEEP.as_nanos());

/// What one caller sees at an instant.
pub(super) struct View {
    pub(super) now: u64,
    pub(super) epoch: u64,
    pub(super) summary: LineSummary,
    /// The turns that it may use, ordered by instant: those that come after its arrival.
    pub(super) turns: Vec<(ReadyTurn, Charge)>,
    /// When the earliest of all turns comes, also of those from before its arrival: one of them may belong to no caller any more,
    /// and is undone by a process that looks.
    earliest: Option<u64>,
    /// Free permits, capped at the number of turns that could be charged.
    pub(super) permits: u64,
    /// No seat was free for charging turns or holding a permit.
    pub(super) seatless: bool,
}

impl View {
    /// The turns that have come, if by its position in line one of them belongs to this caller. A turn unclaimed for
    /// [`UNCLAIMED_AFTER`] is open to any caller, so that none waits for ever behind others that never come, whatever
    /// the shared line claims.
    pub(super) fn due(&self) -> &[(ReadyTurn, Charge)] {
        let come_by = |at: u64| self.turns.partition_point(|(turn, _)| turn.at <= at);
        let due = come_by(self.now);
        if (due as u64).min(self.permits) > self.summary.before {
            return &self.turns[..due];
        }
        let unclaimed = come_by(self.now.saturating_sub(UNCLAIMED_AFTER.as_nanos() as u64));
        if self.permits > 0 { &self.turns[..unclaimed] } else { &[] }
    }
}

/// The other callers in line, as far as one process can see them.
pub(super) struct LineSummary {
    /// How many callers are before this one, and the sum of their costs.
    pub(super) before: u64,
    pub(super) ahead: Costs,
    /// How many are in line in total, including this one.
    pub(super) all: u64,
    /// How many processes are before the caller's own, and how many there are in total.
    places_before: u32,
    places: u32,
    /// Whether all callers ask for the same.
    pub(super) uniform: bool,
    /// Whether any process is late, and whether a late caller is before this one.
    pub(super) late: bool,
    pub(super) late_before: bool,
    /// When the first of the processes before the caller's becomes late, unless it looks before that.
    next_late: u64,
    /// The earliest arrival among the callers that are not late.
    pub(super) oldest: u64,
}

impl Limiter {
    /// What this caller sees now. Charges imminent turns on behalf of the line.
    pub(super) fn view(
        &self,
        callers: &Callers,
        key: Key,
        epoch: u64,
    ) -> std::result::Result<View, CommitError> {
        let now = clock::now().as_nanos();
        let Some(id) = callers.place.as_ref().map(|place| place.id) else {
            return Err(CommitError::Changed);
        };
        let costs = callers.costs(key);
        let mut summary = self.summarize_line(callers, key, &costs, epoch, now);
        if (summary.late || self.turns().is_full()) && self.reap_front(now, Some(id.seat)) {
            summary = self.summarize_line(callers, key, &costs, epoch, now);
        }
        let mut permits = self.free_permits();
        if permits == 0 && self.reclaim_dead_permits() {
            permits = self.free_permits();
        }
        // A permit names the seat of its holder.
        let mut seatless =
            self.has_permits() && !matches!(self.process.seat.holder_id(&self.segment), Ok(Some(_)));
        if seatless {
            permits = 0;
        }
        let turns = loop {
            let turns = self.ready_turns(epoch, now, summary.oldest);
            // Turns from before the arrival of every caller that is awake belong to no caller, or to a late one.
            let ready = &turns[turns.partition_point(|(turn, _)| turn.at < summary.oldest)..];
            let (earlier, later) = ready.split_at(ready.partition_point(|(turn, _)| turn.at < key.0));
            let ready = ready.len();
            let has_one = || {
                let needed = self.count_needed(callers, earlier, &costs, epoch, now).min(summary.before);
                needed + later.len() as u64 > summary.before
            };
            if ready as u64 >= permits || ready as u64 >= summary.all && has_one() {
                break turns;
            }
            // The first in line knows its own request; for other positions the published costs decide.
            let next = if summary.uniform || ready == 0 && summary.before == 0 {
                costs
            } else {
                self.costs_of(callers, ready, epoch, now).unwrap_or(costs)
            };
            match self.fill(id, &next, epoch, charge_deadline(&turns, now)) {
                // Such a turn would belong to no caller, and so would every further one.
                Ok(Some(at)) if at.plus(WAKE_GRACE).as_nanos() < now => {
                    return Err(CommitError::Corrupt(Damage::turn(at.as_nanos())));
                }
                Ok(Some(_)) => {}
                Ok(None) => break turns,
                Err(CommitError::NoSeat) => {
                    seatless = true;
                    break turns;
                }
                Err(why) => return Err(why),
            }
        };
        if summary.late {
            self.wake_first(epoch, id.seat);
        }
        let earliest = turns.first().map(|(turn, _)| turn.at);
        let turns = turns.into_iter().filter(|(turn, _)| turn.at >= key.0).collect();
        Ok(View { now, epoch, summary, turns, earliest, permits, seatless })
    }

    /// How many of these turns, which came before a caller arrived, the callers before it can use: each turn is of use only
    /// to a caller that had arrived by then.
    fn count_needed(
        &self,
        callers: &Callers,
        turns: &[(ReadyTurn, Charge)],
        costs: &Costs,
        epoch: u64,
        now: u64,
    ) -> u64 {
        let mut needed = 0;
        for (n, (turn, _)) in turns.iter().enumerate() {
            let arrived = self.summarize_line(callers, (turn.at, u64::MAX), costs, epoch, now).before;
            if arrived >= turns.len() as u64 {
                // There are enough callers for the remaining turns, too.
                return needed + (turns.len() - n) as u64;
            }
            needed = arrived.min(needed + 1);
        }
        needed
    }

    /// Summarizes the other callers in line, seen from the caller with this key and these costs.
    pub(super) fn summarize_line(
        &self,
        callers: &Callers,
        key: Key,
        costs: &Costs,
        epoch: u64,
        now: u64,
    ) -> LineSummary {
        let place = callers.place_index().unwrap_or(usize::MAX);
        let (before, ahead) = callers.before(key);
        let own = callers.len() as u64;
        let mut summary = LineSummary {
            before,
            ahead,
            all: own,
            places_before: 0,
            places: 1,
            uniform: callers.total() == times(costs, own),
            late: false,
            late_before: !callers.is_oldest(key) && before == 0,
            next_late: u64::MAX,
            oldest: callers.first().map_or(u64::MAX, |first| first.0),
        };
        for other in self.line().all().filter(|other| other.place != place) {
            if other.is_late(now) {
                summary.late = true;
                summary.late_before |= other.callers_before(key.0, place) > 0;
                continue;
            }
            let its = self.line().costs(other.place, epoch);
            summary.all = summary.all.saturating_add(other.behind).saturating_add(1);
            summary.uniform &= its.is_none_or(|its| its == *costs);
            summary.oldest = summary.oldest.min(other.ticket);
            let n = other.callers_before(key.0, place);
            summary.places += 1;
            summary.places_before += u32::from(n > 0);
            if n > 0 {
                summary.next_late = summary.next_late.min(other.late_after());
            }
            summary.before = summary.before.saturating_add(n);
            summary.ahead = sum(&summary.ahead, &times(&its.unwrap_or(*costs), n));
        }
        summary
    }

    /// What the `n`th caller in line asks for, if this process can see that.
    pub(super) fn costs_of(&self, callers: &Callers, n: usize, epoch: u64, now: u64) -> Option<Costs> {
        let place = callers.place_index().unwrap_or(usize::MAX);
        let own = callers.awake().take(n + 1).map(|key| ((key.0, place), callers.costs(key)));
        let mut known: Vec<((u64, usize), Costs)> = own.collect();
        let line = self.line();
        let others = line.all().filter(|other| other.place != place && !other.is_late(now));
        known.extend(others.filter_map(|other| Some((other.order(), line.costs(other.place, epoch)?))));
        // Stable sort: the callers of one process are in order already.
        known.sort_by_key(|&(order, _)| order);
        known.get(n).map(|&(_, costs)| costs)
    }

    /// When these costs would be admitted behind others, and which limit decides that; `None` if that is unknown.
    pub(super) fn estimate(
        &self,
        epoch: u64,
        ahead: &Costs,
        costs: &Costs,
    ) -> std::result::Result<Option<(Nanos, usize)>, CommitError> {
        if !self.segment.has_records() {
            let estimate = self.segment.words().estimate(epoch, ahead[0], costs[0], &clock::SystemClock)?;
            return Ok(estimate.map(|ready| (ready, 0)));
        }
        match self.segment.records(None).estimate(epoch, ahead, costs, &clock::SystemClock) {
            Err(CommitError::NoSeat) => Ok(None),
            estimate => estimate,
        }
    }

    /// Like [`estimate`](Self::estimate), behind the callers before this one, less what is already charged for them as turns.
    pub(super) fn estimate_in_line(
        &self,
        epoch: u64,
        summary: &LineSummary,
        turns: &[(ReadyTurn, Charge)],
        costs: &Costs,
    ) -> std::result::Result<Option<(Nanos, usize)>, CommitError> {
        let ahead = turns.iter().fold(summary.ahead, |left, (_, charge)| difference(&left, &charge.costs));
        self.estimate(epoch, &ahead, costs)
    }

    /// If more awake processes are before the first caller of this process than turns are ever charged ahead, returns
    /// until when it can sleep: none of those turns can be its own, and the processes before it do all the work. So
    /// thousands of processes can wait without using the CPU.
    pub(super) fn sleep_if_far_back(&self, callers: &Callers, key: Key, now: u64) -> Option<u64> {
        let place = callers.place_index().filter(|_| callers.first() == Some(key))?;
        let line = self.line();
        let before = |other: &LineEntry| other.order() < (key.0, place) && !other.is_late(now);
        line.all().filter(before).nth(TURNS)?;
        Some(watch(TURNS as u32, line.count(), now, self.turns().earliest()))
    }

    /// How many permits are free, capped at the number of turns that can be charged; unlimited without permits.
    pub(super) fn free_permits(&self) -> u64 {
        if self.has_permits() { self.permits().free(&self.segment.generations(), TURNS) } else { u64::MAX }
    }

    /// Until when the caller can sleep if nothing changes.
    pub(super) fn sleep_until(&self, view: &View, costs: &Costs) -> std::result::Result<u64, CommitError> {
        let summary = &view.summary;
        let watch = watch(summary.places_before, summary.places, view.now, view.earliest);
        if view.seatless {
            return Ok(watch);
        }
        if view.permits <= summary.before {
            // The free permits belong to the callers before it. If those were woken and do not come, a permit soon belongs
            // to this caller.
            let is_for_others =
                view.permits > 0 && view.turns.first().is_some_and(|(turn, _)| turn.at <= view.now);
            return Ok(if is_for_others { watch.min(summary.next_late.saturating_add(1)) } else { watch });
        }
        let turn = usize::try_from(summary.before).ok().and_then(|before| view.turns.get(before));
        let due = match turn {
            Some((turn, _)) if turn.at > view.now => turn.at,
            // It has come, but belongs to another caller.
            Some(_) => watch,
            None => self
                .estimate_in_line(view.epoch, summary, &view.turns, costs)?
                .map_or(watch, |(ready, _)| ready.as_nanos()),
        };
        // Sleep even if the estimate says now: a turn that has come may belong to others, which the estimate cannot tell.
        Ok(due.max(view.now.saturating_add(MIN_LINE_SLEEP.as_nanos() as u64)).min(watch))
    }

    /// The denial for a caller whose deadline has passed or will pass before its turn.
    pub(super) fn denial_of(
        &self,
        callers: &Callers,
        key: Key,
        view: &View,
    ) -> std::result::Result<Denied, CommitError> {
        let now = Nanos::from_nanos(view.now);
        if view.permits <= view.summary.before && self.has_permits() {
            return Ok(Denied::new(DeniedBy::Permits, now));
        }
        let costs = callers.costs(key);
        let estimate = self.estimate_in_line(view.epoch, &view.summary, &view.turns, &costs)?;
        let (ready, limit) = estimate.unwrap_or((now, 0));
        Ok(self.too_late(ready, now, limit))
    }

    /// The denial for a turn at `ready`, decided by this limit, that comes too late. Without limits, a pause is the
    /// reason.
    pub(super) fn too_late(&self, ready: Nanos, now: Nanos, limit: usize) -> Denied {
        // If it could be admitted now, the answer is to retry now: this caller's deadline has passed.
        let retry_at = ready.max(now.plus(Duration::from_nanos(1)));
        if self.is_unlimited() {
            Denied::by_pause(retry_at, now)
        } else {
            Denied::by_limit(limit, retry_at, now)
        }
    }
}

/// Until when a process may sleep at most, with this many of all processes in line before it, and given the next turn.
/// Each process counts from its own last look, so they do not all look at the same time.
fn watch(before: u32, all: u32, now: u64, next_turn: Option<u64>) -> u64 {
    let after = |first: Duration, each: Duration| {
        let time = if before < FRONT_PROCESSES {
            first * (before + 1)
        } else {
            (each * all).max(first * FRONT_PROCESSES)
        };
        now.saturating_add(time.min(MAX_LINE_SLEEP).as_nanos() as u64)
    };
    let quiet = after(QUIET_FRONT_SLEEP, QUIET_REAR_SLEEP_EACH);
    if next_turn.is_some_and(|turn| turn > quiet) { quiet } else { after(FRONT_SLEEP, REAR_SLEEP_EACH) }
}

fn times(costs: &Costs, n: u64) -> Costs {
    costs.map(|cost| cost.saturating_mul(n))
}
