//! How things stand for one caller: who comes before it, which turns have come, until when it can sleep.

use super::charging::{UNCLAIMED, wanted_by};
use crate::clock::{self, Nanos};
use crate::commit::CommitError;
use crate::denied::{Denied, DeniedBy};
use crate::layout::{PLACES, TURNS};
use crate::limit::Costs;
use crate::limiter::Limiter;
use crate::line::{Callers, Charge, GRACE, Key, LONGEST_PLAN, ReadyTurn, Standing, difference, sum};
use std::time::Duration;

/// The longest sleep of the first process in line; of the second it is twice as long, and so on. Nobody passes over a dead
/// process before its sleep would be over: where many are killed, longer sleeps at the front waste turns.
pub(super) const WATCH: Duration = Duration::from_millis(20);
/// So many processes in line watch that closely.
const WATCHERS: u32 = 5;
/// The longest sleep of others: for each process that stands, so that one of them looks every 2 ms. Not for each caller:
/// those of one process die together.
const WATCH_EACH: Duration = Duration::from_millis(2);
/// The same where the next turn comes later than they sleep: until then there is nothing to waste, and thousands can sleep.
/// (A release, a change, or the end of a pause wakes those who are first.)
const QUIET_WATCH: Duration = Duration::from_millis(100);
const QUIET_WATCH_EACH: Duration = Duration::from_millis(16);
/// The longest sleep of all.
const LONGEST: Duration = Duration::from_secs(16);
const _: () = assert!(WATCH_EACH.as_nanos() * (*PLACES.end() as u128) < LONGEST.as_nanos());
const _: () = assert!(LONGEST.as_nanos() < LONGEST_PLAN.as_nanos());
/// The shortest sleep of the first in line.
const SHORTEST: Duration = Duration::from_micros(20);

/// How things stand for one caller.
pub(super) struct View {
    pub(super) now: u64,
    pub(super) epoch: u64,
    pub(super) crowd: Crowd,
    /// The turns that it may have, in the order of their instants: those that come after its arrival.
    pub(super) turns: Vec<(ReadyTurn, Charge)>,
    /// Permits that are free, as far as that matters.
    pub(super) permits: u64,
    /// No seat was free to charge turns with.
    pub(super) seatless: bool,
}

impl View {
    /// The turns that have come, if one of them is the caller's by its order. One that has been there for long is anybody's:
    /// so nobody waits for ever behind others that never come, whatever the line says of them.
    pub(super) fn due(&self) -> &[(ReadyTurn, Charge)] {
        let come_by = |at: u64| self.turns.partition_point(|(turn, _)| turn.at <= at);
        let due = come_by(self.now);
        if (due as u64).min(self.permits) > self.crowd.before {
            return &self.turns[..due];
        }
        let unclaimed = come_by(self.now.saturating_sub(UNCLAIMED.as_nanos() as u64));
        if self.permits > 0 { &self.turns[..unclaimed] } else { &[] }
    }
}

/// Who stands beside one caller, as far as its process sees it.
pub(super) struct Crowd {
    /// How many callers come before it, and what they ask for.
    pub(super) before: u64,
    pub(super) ahead: Costs,
    /// How many stand in all, with it.
    pub(super) all: u64,
    /// How many processes stand before that of the caller, and how many in all.
    places_before: u32,
    places: u32,
    /// Whether all ask for the same.
    pub(super) uniform: bool,
    /// Whether somebody is late, and whether somebody who is stands before the caller.
    pub(super) late: bool,
    pub(super) late_before: bool,
    /// When the first of the processes before the caller's is late, if it does not look until then.
    next_late: u64,
    /// The least ticket of all that are not.
    pub(super) oldest: u64,
}

impl Limiter {
    /// How things stand for this caller. Charges turns that are about to come for those who wait.
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
        let mut crowd = self.crowd(callers, key, &costs, epoch, now);
        if (crowd.late || self.turns().is_full()) && self.bury(now) {
            crowd = self.crowd(callers, key, &costs, epoch, now);
        }
        let mut permits = self.free_permits();
        if permits == 0 && self.free_those_of_the_dead() {
            permits = self.free_permits();
        }
        // A permit names the seat of its holder.
        let mut seatless =
            self.has_permits() && !matches!(self.process.seat.holder_id(&self.segment), Ok(Some(_)));
        if seatless {
            permits = 0;
        }
        let turns = loop {
            let turns = self.ready_turns(epoch, now, crowd.oldest);
            // Those that came before anybody who is awake arrived are for nobody, or for somebody who is late.
            let ready = turns.len() - turns.partition_point(|(turn, _)| turn.at < crowd.oldest);
            // And those that came before this caller arrived are for those before it, who may not need them all.
            let earlier = ready.saturating_sub(turns.iter().filter(|(turn, _)| turn.at >= key.0).count());
            let before_it = crowd.before.min(earlier as u64);
            let has_one = (ready - earlier) as u64 + before_it > crowd.before;
            if ready as u64 >= permits || ready as u64 >= crowd.all && has_one {
                break turns;
            }
            // The first in line knows best what the first in line asks for.
            let next = if crowd.uniform || ready == 0 && crowd.before == 0 {
                costs
            } else {
                self.costs_of(callers, ready, epoch, now).unwrap_or(costs)
            };
            match self.fill(id, &next, epoch, wanted_by(&turns, now)) {
                // It would be nobody's, and so would the next.
                Ok(Some(at)) if at.plus(GRACE).as_nanos() < now => {
                    return Err(CommitError::Corrupt("a turn comes before it is charged"));
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
        if crowd.late {
            self.wake_first(epoch, id.seat);
        }
        let turns = turns.into_iter().filter(|(turn, _)| turn.at >= key.0).collect();
        Ok(View { now, epoch, crowd, turns, permits, seatless })
    }

    /// Who else stands, seen by the caller with this key and these costs.
    pub(super) fn crowd(&self, callers: &Callers, key: Key, costs: &Costs, epoch: u64, now: u64) -> Crowd {
        let place = callers.place_index().unwrap_or(usize::MAX);
        let (before, ahead) = callers.before(key);
        let own = callers.len() as u64;
        let mut crowd = Crowd {
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
                crowd.late = true;
                crowd.late_before |= other.callers_before(key.0, place) > 0;
                continue;
            }
            let its = self.line().costs(other.place, epoch);
            crowd.all = crowd.all.saturating_add(other.behind).saturating_add(1);
            crowd.uniform &= its.is_none_or(|its| its == *costs);
            crowd.oldest = crowd.oldest.min(other.ticket);
            let n = other.callers_before(key.0, place);
            crowd.places += 1;
            crowd.places_before += u32::from(n > 0);
            if n > 0 {
                crowd.next_late = crowd.next_late.min(other.late_after());
            }
            crowd.before = crowd.before.saturating_add(n);
            crowd.ahead = sum(&crowd.ahead, &times(&its.unwrap_or(*costs), n));
        }
        crowd
    }

    /// What the `n`th of those who stand asks for, as far as it is known here.
    pub(super) fn costs_of(&self, callers: &Callers, n: usize, epoch: u64, now: u64) -> Option<Costs> {
        let place = callers.place_index().unwrap_or(usize::MAX);
        let own = callers.awake().take(n + 1).map(|key| ((key.0, place), callers.costs(key)));
        let mut known: Vec<((u64, usize), Costs)> = own.collect();
        let line = self.line();
        let others = line.all().filter(|other| other.place != place && !other.is_late(now));
        known.extend(others.filter_map(|other| Some((other.order(), line.costs(other.place, epoch)?))));
        // Of one process they stand in their order already.
        known.sort_by_key(|&(order, _)| order);
        known.get(n).map(|&(_, costs)| costs)
    }

    /// When these costs would be admitted behind others, and the limit that says so; `None` if nobody knows.
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

    /// The same behind those of a crowd who come before, of whom some are charged for by turns.
    pub(super) fn estimate_behind(
        &self,
        epoch: u64,
        crowd: &Crowd,
        turns: &[(ReadyTurn, Charge)],
        costs: &Costs,
    ) -> std::result::Result<Option<(Nanos, usize)>, CommitError> {
        let ahead = turns.iter().fold(crowd.ahead, |left, (_, charge)| difference(&left, &charge.costs));
        self.estimate(epoch, &ahead, costs)
    }

    /// Until when the first caller of a process can sleep before which more processes are awake than turns are ever charged
    /// ahead: its turn can't be among those, and the others see to all the rest. So thousands can sleep.
    pub(super) fn far_from_the_front(&self, callers: &Callers, key: Key, now: u64) -> Option<u64> {
        let place = callers.place_index().filter(|_| callers.first() == Some(key))?;
        let line = self.line();
        let before = |other: &Standing| other.order() < (key.0, place) && !other.is_late(now);
        line.all().filter(before).nth(TURNS)?;
        Some(watch(TURNS as u32, line.count(), now, self.turns().earliest()))
    }

    /// How many permits are free, up to the number of turns that could be charged. All of them where there are none.
    pub(super) fn free_permits(&self) -> u64 {
        if self.has_permits() { self.permits().free(&self.segment.generations(), TURNS) } else { u64::MAX }
    }

    /// Until when the caller can sleep, if nothing changes.
    pub(super) fn sleep_until(&self, view: &View, costs: &Costs) -> std::result::Result<u64, CommitError> {
        let crowd = &view.crowd;
        let earliest = view.turns.first().map(|(turn, _)| turn.at);
        let watch = watch(crowd.places_before, crowd.places, view.now, earliest);
        if view.seatless {
            return Ok(watch);
        }
        if view.permits <= crowd.before {
            // What is free is for those before it. If they were woken for it, and don't come, it is this caller's soon.
            let is_for_others =
                view.permits > 0 && view.turns.first().is_some_and(|(turn, _)| turn.at <= view.now);
            return Ok(if is_for_others { watch.min(crowd.next_late.saturating_add(1)) } else { watch });
        }
        let turn = usize::try_from(crowd.before).ok().and_then(|before| view.turns.get(before));
        let due = match turn {
            Some((turn, _)) if turn.at > view.now => turn.at,
            // It has come, and is for others.
            Some(_) => watch,
            None => self
                .estimate_behind(view.epoch, crowd, &view.turns, costs)?
                .map_or(watch, |(ready, _)| ready.as_nanos()),
        };
        // Not at once: what is due is for others, and the estimate can't tell.
        Ok(due.max(view.now.saturating_add(SHORTEST.as_nanos() as u64)).min(watch))
    }

    /// Why this caller gets nothing in time.
    pub(super) fn why_not(
        &self,
        callers: &Callers,
        key: Key,
        view: &View,
    ) -> std::result::Result<Denied, CommitError> {
        let now = Nanos::from_nanos(view.now);
        if view.permits <= view.crowd.before && self.has_permits() {
            return Ok(Denied::new(DeniedBy::Permits, now));
        }
        let costs = callers.costs(key);
        let estimate = self.estimate_behind(view.epoch, &view.crowd, &view.turns, &costs)?;
        let (ready, limit) = estimate.unwrap_or((now, 0));
        Ok(self.too_late(ready, now, limit))
    }

    /// A turn at `ready`, as this limit says, is too late for a caller. Without a limit it is a pause that says so.
    pub(super) fn too_late(&self, ready: Nanos, now: Nanos, limit: usize) -> Denied {
        // What is to be had now is to be asked for again: this caller's time is over.
        let retry_at = ready.max(now.plus(Duration::from_nanos(1)));
        if self.is_unlimited() {
            Denied::by_pause(retry_at, now)
        } else {
            Denied::by_limit(limit, retry_at, now)
        }
    }
}

/// Until when a process sleeps at most that has so many of all processes in line before it, and when the next turn comes.
/// Each sleeps from its own last look on, so that they don't all look at once.
fn watch(before: u32, all: u32, now: u64, next_turn: Option<u64>) -> u64 {
    let after = |first: Duration, each: Duration| {
        let time = if before < WATCHERS { first * (before + 1) } else { (each * all).max(first * WATCHERS) };
        now.saturating_add(time.min(LONGEST).as_nanos() as u64)
    };
    let quiet = after(QUIET_WATCH, QUIET_WATCH_EACH);
    if next_turn.is_some_and(|turn| turn > quiet) { quiet } else { after(WATCH, WATCH_EACH) }
}

fn times(costs: &Costs, n: u64) -> Costs {
    costs.map(|cost| cost.saturating_mul(n))
}
