//! Waiting: a caller stands in the line, looks, and claims a turn and a permit when it is first.
//!
//! Knows no threads and no futures: a caller looks when it is awake, and is told until when it can sleep. See `line` for
//! what lies in shared memory. Everything here runs while no signal handler does: a child that one forks would go on
//! with its parent's place.

use super::Limiter;
use super::decide::{Charged, Receipt};
use crate::clock::{self, Nanos};
use crate::commit::{Decision, Halt, Pair, Wanted};
use crate::denied::{Denied, DeniedBy};
use crate::error::Result;
use crate::layout::{RETIRED, TURNS, Turns};
use crate::limit::{Asked, Cost, Costs, MAX_LIMITS, MAX_WAIT};
use crate::line::{
    Afterwards, Ask, Caller, Callers, Charge, GRACE, Key, Places, Rouse, Standing, Turn, difference, sum,
};
use crate::permit::Held;
use crate::seat::{CellAccess, Probe, SeesLocks, Sitter, Table, is_gone};
use crate::sync::{AtomicU64, Ordering, fence};
use crate::sys::fork::process_token;
use crate::sys::futex;
use crate::sys::process_lock::Held as ProcessHeld;
use crate::sys::signal::NoHandlers;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

/// Turns that come within this time are charged ahead, so that somebody who wakes late uses up what came meanwhile. More
/// than the usual lateness of a wake-up (`models` of docs/decisions/12 say what it does).
const HORIZON: Duration = Duration::from_millis(5);
/// The second turn ahead is charged if it comes within this time. (The first always is: so nobody who tries takes what
/// those who stand have waited for.)
const SECOND: Duration = Duration::from_millis(20);
/// How often a process asks the kernel whether the first in line is alive.
const PROBE_EVERY: Duration = Duration::from_millis(10);
/// The longest sleep of the first in line; of the second it is twice as long, and so on.
const WATCH: Duration = Duration::from_millis(20);
/// So many in line watch that closely.
const WATCHERS: u64 = 5;
/// The longest sleep of others: for each who stands.
const WATCH_EACH: Duration = Duration::from_millis(2);
/// The longest sleep of a caller behind the first of its process. That one tells it when to look.
const BEHIND: Duration = Duration::from_millis(100);
/// The shortest sleep of the first in line.
const SHORTEST: Duration = Duration::from_micros(20);
/// A turn that nobody claimed for this long is nobody's: those who stood when it came are gone or stopped.
const UNCLAIMED: Duration = Duration::from_millis(100);

/// A caller that waits, or is about to.
#[derive(Debug)]
pub struct Waiter {
    ask: Ask,
    latest: Nanos,
    most_waiting: u64,
    /// When it first found that it had to wait.
    since: Option<Nanos>,
    /// Where it stands among those of its process, and which process that is.
    key: Option<Key>,
    process: u64,
}

impl Waiter {
    /// For this cost, by the instant `latest`, if fewer than `most_waiting` wait. The policy may say that fewer may wait.
    pub fn new(cost: &Cost, latest: Nanos, most_waiting: u64) -> Waiter {
        Waiter { ask: Ask::of(cost), latest, most_waiting, since: None, key: None, process: 0 }
    }

    /// Until when it waits.
    pub fn latest(&self) -> Nanos {
        self.latest
    }
}

/// What a waiting caller got.
#[derive(Debug)]
pub struct Granted {
    /// What it may use.
    pub receipt: Receipt,
    /// For a settlement.
    pub charged: Charged,
    /// Its permit, where there are permits.
    pub permit: Option<Held>,
    /// How long it waited.
    pub waited: Duration,
}

/// What a caller does after it has looked.
#[derive(Debug)]
pub enum Step {
    /// It goes on.
    Granted(Granted),
    /// It gives up.
    Denied(Denied),
    /// The limiter is in shadow: it tries, and is not denied.
    Shadow,
    /// It sleeps, and looks again. A task does so when it is told to; if this says that nobody tends the tasks of its
    /// process, it starts a thread that does.
    Sleep {
        /// For a thread.
        nap: Nap,
        /// For a task.
        start_tending: bool,
    },
    /// There is no place for its process. It sleeps until this instant, tries, and looks again.
    Unordered(Nanos),
}

/// Until when to sleep, and on what.
#[derive(Clone, Copy, Debug)]
pub struct Nap {
    until: Nanos,
    /// The place on whose bell to sleep, and what that said.
    bell: Option<(usize, u64)>,
    /// What the caller's own word said.
    own: u64,
}

impl Nap {
    /// The same, but for so long at most.
    #[must_use]
    pub fn at_most(self, time: Duration) -> Nap {
        Nap { until: self.until.min(clock::now().plus(time)), ..self }
    }
}

/// Sleeps on a word of this process's memory until it is no longer `seen`, or for this time.
pub fn sleep_on(word: &AtomicU64, seen: u64, time: Duration) {
    futex::sleep(word, seen, clock::now().plus(time));
}

/// How things stand for one caller.
struct View {
    now: u64,
    epoch: u64,
    /// The turns that it may have, in the order of their instants: those that come after its arrival.
    turns: Vec<(Turn, Charge)>,
    /// How many come before it, and what they ask for.
    before: u64,
    ahead: Costs,
    /// How many wait in all.
    all: u64,
    /// Permits that are free, as far as that matters.
    permits: u64,
    /// No seat was free to charge turns with.
    seatless: bool,
}

impl View {
    /// The turns that have come, if one of them is the caller's by its order.
    fn due(&self) -> &[(Turn, Charge)] {
        let due = self.turns.partition_point(|(turn, _)| turn.at <= self.now);
        if (due as u64).min(self.permits) > self.before { &self.turns[..due] } else { &[] }
    }
}

/// How many callers stand, as far as one process sees it.
struct Crowd {
    before: u64,
    ahead: Costs,
    all: u64,
    /// Whether all ask for the same.
    uniform: bool,
    /// Whether somebody is late.
    late: bool,
    /// The least ticket of all that are not.
    oldest: u64,
}

impl Limiter {
    pub(super) fn line(&self) -> Places<'_> {
        Places { standing: self.segment.standing(), places: self.segment.places() }
    }

    fn lock_callers(&self) -> Locked<'_> {
        Locked(Some(self.seat.callers()))
    }

    fn turns(&self) -> &Turns {
        &self.segment.fixed().turns
    }

    /// Whether somebody waits who is awake, or may be: then what is free is theirs.
    #[inline]
    pub fn is_waited_for(&self) -> bool {
        let line = self.line();
        line.is_anybody_there() && line.is_anybody_awake(clock::now().as_nanos())
    }

    /// Takes this cost at once, if nobody waits and it is to be had by `latest` (0: whenever that is). A denial is not
    /// counted: the caller may wait.
    ///
    /// # Errors
    /// As [`try_cost`](Limiter::try_cost).
    #[inline]
    pub fn admit_now(&self, cost: &Cost, latest: Nanos) -> Result<Option<Granted>> {
        if self.is_waited_for() {
            return Ok(None);
        }
        let wanted = if latest.as_nanos() == 0 { Wanted::NOW } else { Wanted::now_by(latest) };
        if let Some(calls) = cost.only_calls() {
            match self.at_once(calls, wanted, false) {
                Ok(super::Decision::Admitted(receipt)) => {
                    let (charged, waited) = (Charged::default(), Duration::ZERO);
                    return Ok(Some(Granted { receipt, charged, permit: None, waited }));
                }
                Ok(super::Decision::Denied { .. }) => return Ok(None),
                Err(_) => {}
            }
        }
        self.admit_now_slowly(cost, wanted)
    }

    fn admit_now_slowly(&self, cost: &Cost, wanted: Wanted) -> Result<Option<Granted>> {
        loop {
            let mut permit = None;
            if self.has_permits() {
                // The limits first: a caller that they deny keeps no permit from others, not even for a moment.
                if self.denial(cost)?.is_some() {
                    return Ok(None);
                }
                permit = self.take_permit()?;
                if permit.is_none() {
                    self.check(cost)?;
                    return Ok(None);
                }
            }
            let (decision, charged) = self.decide_now(cost, wanted)?;
            // Otherwise a signal handler forked in between, and this is the child: the permit is its parent's.
            if permit.is_some_and(|permit| !self.is_holder(permit)) {
                continue;
            }
            return Ok(match decision {
                super::Decision::Admitted(receipt) => {
                    self.count_admitted(cost.call_count(), Duration::ZERO);
                    Some(Granted { receipt, charged, permit, waited: Duration::ZERO })
                }
                super::Decision::Denied { .. } => {
                    permit.into_iter().for_each(|permit| self.give_back(permit));
                    None
                }
            });
        }
    }

    /// A caller looks: it goes on, gives up, or sleeps and looks again. The first time it joins the line. `rouse` is how it
    /// is told to look.
    ///
    /// In a forked child the caller stands anew.
    ///
    /// # Errors
    /// As [`try_cost`](Limiter::try_cost), and [`ErrorKind::TooFar`](crate::ErrorKind). It has left the line then.
    pub fn look(&self, waiter: &mut Waiter, rouse: &Rouse) -> Result<Step> {
        let _no_handlers = NoHandlers::enter();
        // Before anything else: whoever tells it to look meanwhile changes the word.
        let own = match rouse {
            Rouse::Thread(word) => word.load(Ordering::Acquire),
            Rouse::Task(_) => 0,
        };
        let mut callers = self.lock_callers();
        if waiter.process != callers.process {
            (waiter.process, waiter.key, waiter.since) = (callers.process, None, None);
        }
        let step = self.look_among(&mut callers, waiter, rouse, own);
        if !matches!(step, Ok(Step::Sleep { .. })) {
            self.step_out_of(&mut callers, waiter);
        }
        step
    }

    /// A caller leaves the line, wherever it stands. It takes nothing along.
    pub fn step_out(&self, waiter: &mut Waiter) {
        if waiter.key.is_none() {
            return;
        }
        let _no_handlers = NoHandlers::enter();
        let mut callers = self.lock_callers();
        if waiter.process == callers.process {
            self.step_out_of(&mut callers, waiter);
        }
    }

    fn look_among(
        &self,
        callers: &mut Callers,
        waiter: &mut Waiter,
        rouse: &Rouse,
        own: u64,
    ) -> Result<Step> {
        let mut planned: Option<u64> = None;
        loop {
            let now = clock::now();
            self.check_still_limits(now)?;
            if self.is_shadow() {
                return Ok(Step::Shadow);
            }
            let key = match self.stand(callers, waiter, rouse, now) {
                Ok(Ok(key)) => key,
                Ok(Err(step)) => return Ok(step),
                Err(halt) => {
                    self.clear_the_way(halt, waiter)?;
                    continue;
                }
            };
            // Read before it sees how things stand: whoever changes that rings.
            let seen =
                callers.place.as_ref().map(|place| (place.sitter.seat, self.bell_of(place.sitter.seat)));
            let step = self
                .view(callers, key, callers.epoch)
                .and_then(|view| self.step_for(callers, waiter, key, &view));
            match step {
                Ok(Next::Done(step)) => return Ok(step),
                Ok(Next::Again) => planned = None,
                Ok(Next::Sleep { until, is_first }) => {
                    let latest = waiter.latest.plus(Duration::from_nanos(1)).as_nanos();
                    let sleep = |until: u64, bell, start_tending| {
                        let nap = Nap { until: Nanos::from_nanos(until.min(latest)), bell, own };
                        Ok(Step::Sleep { nap, start_tending })
                    };
                    let place = seen.filter(|_| is_first).map(|(place, _)| place);
                    if rouse.is_task() {
                        if let Some(place) = place {
                            self.hasten_own(place, until);
                        }
                        let start_tending = !std::mem::replace(&mut callers.is_tended, true);
                        return sleep(until, None, start_tending);
                    }
                    let Some(place) = place else {
                        return sleep(now.plus(BEHIND).as_nanos(), None, false);
                    };
                    match planned {
                        // Nothing has changed since the plan was there for all to see.
                        Some(planned) if planned <= until => {
                            callers.sleeps_on_bell(key);
                            return sleep(planned, seen, false);
                        }
                        _ => {
                            self.line().plan(place, until);
                            planned = Some(until);
                        }
                    }
                }
                Err(halt) => self.clear_the_way(halt, waiter)?,
            }
        }
    }

    /// Mends what can be mended, or says what is wrong.
    #[cold]
    fn clear_the_way(&self, halt: Halt, waiter: &Waiter) -> Result<()> {
        let cost = waiter.ask.asked().cost();
        match halt {
            Halt::Miscounted => Err(self.miscounted(&cost)),
            halt => self.recover(halt, cost.largest()),
        }
    }

    /// This caller stands in the line from now on, if it did not yet. Or what it does instead.
    fn stand(
        &self,
        callers: &mut Callers,
        waiter: &mut Waiter,
        rouse: &Rouse,
        now: Nanos,
    ) -> std::result::Result<std::result::Result<Key, Step>, Halt> {
        let epoch = self.know_limits(callers, now.as_nanos());
        if waiter.key.is_none() {
            let Some(costs) = self.costs_in(epoch, waiter.ask.asked())? else { return Err(Halt::Changed) };
            if let Some(step) = self.join(callers, waiter, &costs, rouse, now)? {
                return Ok(Err(step));
            }
        }
        let Some(key) = waiter.key else { return Err(Halt::Changed) };
        callers.is_awake(key, rouse);
        if callers.costs(key) == [0; MAX_LIMITS] {
            // The limits are others now: let it say what is wrong.
            self.costs_in(epoch, waiter.ask.asked())?;
            return Err(Halt::Changed);
        }
        self.show_first(callers, now.as_nanos());
        Ok(Ok(key))
    }

    /// Puts the caller in the line, or says what it does instead.
    fn join(
        &self,
        callers: &mut Callers,
        waiter: &mut Waiter,
        costs: &Costs,
        rouse: &Rouse,
        now: Nanos,
    ) -> std::result::Result<Option<Step>, Halt> {
        // It attaches even if it gets nothing, so that `inspect` lists it.
        let _ = self.seat.counting(&self.segment);
        let since = *waiter.since.get_or_insert(now);
        let at = now.as_nanos();
        let crowd = self.crowd(callers, (since.as_nanos(), u64::MAX), costs, callers.epoch, at);
        let Some(most) = self.segment.generations().max_waiters(callers.epoch) else {
            return Err(Halt::Changed);
        };
        if crowd.all >= waiter.most_waiting.min(most.map_or(u64::MAX, u64::from)) {
            let by = DeniedBy::Line { waiting: crowd.all };
            return Ok(Some(Step::Denied(Denied::new(by, now))));
        }
        let turns = self.ready_turns(callers.epoch, at, crowd.oldest);
        if let Some((ready, limit)) = self.estimate(callers.epoch, &uncharged(&crowd.ahead, &turns), costs)? {
            if ready > waiter.latest {
                // Read after the estimate was made: what the limits admit now is for those who wait, or needs a permit.
                let now = clock::now();
                let denied = if ready <= now && self.has_permits() && self.free_permits() <= crowd.before {
                    Denied::new(DeniedBy::Permits, now)
                } else {
                    self.too_late(ready, now, limit)
                };
                return Ok(Some(Step::Denied(denied)));
            }
            if ready.since(now) > MAX_WAIT {
                return Err(Halt::TooFar { ready, now });
            }
        }
        if !matches!(self.seat.place(&self.segment, callers), Ok(Some(_))) {
            self.segment.fixed().line.unordered.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(Step::Unordered(now)));
        }
        let caller = Caller::new(waiter.ask.clone(), *costs, waiter.latest.as_nanos(), rouse.clone());
        waiter.key = Some(callers.insert(since.as_nanos(), caller));
        self.show_first(callers, at);
        Ok(None)
    }

    /// Writes the first caller of this process, and who stands behind it, to its place. Stands there, or leaves it.
    fn show_first(&self, callers: &mut Callers, now: u64) {
        callers.look_at_the_clock(now);
        let Some(place) = callers.place.as_ref().map(|place| place.sitter.seat) else { return };
        let line = self.line();
        match callers.first() {
            None => {
                callers.shown = None;
                line.leave(place);
                // A place far back in the table means that many processes wait: one may need it.
                if place >= self.segment.places().len() / 2 {
                    self.seat.release_place(&self.segment, callers);
                }
            }
            Some(first) if callers.shown == Some(first) => {
                let front = callers.front(first);
                line.write_behind(place, front.behind, front.newest);
            }
            Some(first) => {
                line.write(place, &callers.front(first));
                // Its caller is awake, or is told to look.
                line.plan(place, now);
                if callers.shown.is_none() {
                    line.stand(place);
                }
                callers.shown = Some(first);
            }
        }
    }

    /// The current epoch, whose limits the callers count by from now on.
    fn know_limits(&self, callers: &mut Callers, now: u64) -> u64 {
        let epoch = self.segment.generations().epoch();
        if callers.epoch != epoch {
            callers.recount(epoch, now, |ask| self.costs_in(epoch, ask.asked()).ok().flatten());
            if let (Some(place), Some(first)) = (callers.place.as_ref(), callers.shown) {
                self.line().write(place.sitter.seat, &callers.front(first));
            }
        }
        epoch
    }

    /// What a request costs each limit, if it can ever pass; `None` if the epoch is over.
    fn costs_in(&self, epoch: u64, asked: Asked<'_>) -> std::result::Result<Option<Costs>, Halt> {
        if self.segment.has_records() {
            return self.segment.records(None).costs_in(epoch, asked);
        }
        let Some(most) = self.segment.words().most(epoch) else { return Ok(None) };
        match asked.cost().only_calls().filter(|&n| n > 0) {
            None => Err(Halt::Miscounted),
            Some(n) if n > most => Err(Halt::NeverAdmissible { limit: 0, most }),
            Some(n) => Ok(Some([n; MAX_LIMITS])),
        }
    }

    /// When these costs would be admitted behind others, and the limit that says so; `None` if nobody knows.
    fn estimate(
        &self,
        epoch: u64,
        ahead: &Costs,
        costs: &Costs,
    ) -> std::result::Result<Option<(Nanos, usize)>, Halt> {
        if !self.segment.has_records() {
            let estimate = self.segment.words().estimate(epoch, ahead[0], costs[0], &clock::Host)?;
            return Ok(estimate.map(|ready| (ready, 0)));
        }
        match self.segment.records(None).estimate(epoch, ahead, costs, &clock::Host) {
            Err(Halt::Seatless) => Ok(None),
            estimate => estimate,
        }
    }

    /// Who else stands, seen by the caller with this key and these costs.
    fn crowd(&self, callers: &Callers, key: Key, costs: &Costs, epoch: u64, now: u64) -> Crowd {
        let place = callers.place.as_ref().map_or(usize::MAX, |place| place.sitter.seat);
        let (before, ahead) = callers.before(key);
        let own = callers.len() as u64;
        let mut crowd = Crowd {
            before,
            ahead,
            all: own,
            uniform: callers.total() == times(costs, own),
            late: false,
            oldest: callers.first().map_or(u64::MAX, |first| first.0),
        };
        for other in self.line().all().filter(|other| other.place != place) {
            if other.is_late(now) {
                crowd.late = true;
                continue;
            }
            let its = self.line().costs(other.place, epoch);
            crowd.all = crowd.all.saturating_add(other.behind).saturating_add(1);
            crowd.uniform &= its.is_none_or(|its| its == *costs);
            crowd.oldest = crowd.oldest.min(other.ticket);
            let n = other.callers_before(key.0, place);
            crowd.before = crowd.before.saturating_add(n);
            crowd.ahead = sum(&crowd.ahead, &times(&its.unwrap_or(*costs), n));
        }
        crowd
    }

    /// How things stand for this caller. Charges turns that are about to come for those who wait.
    fn view(&self, callers: &Callers, key: Key, epoch: u64) -> std::result::Result<View, Halt> {
        let now = clock::now().as_nanos();
        let Some(sitter) = callers.place.as_ref().map(|place| place.sitter) else {
            return Err(Halt::Changed);
        };
        let costs = callers.costs(key);
        let mut crowd = self.crowd(callers, key, &costs, epoch, now);
        if crowd.late && self.bury(now) {
            crowd = self.crowd(callers, key, &costs, epoch, now);
        }
        let mut permits = self.free_permits();
        if permits == 0 && self.free_those_of_the_dead() {
            permits = self.free_permits();
        }
        let mut seatless = false;
        let turns = loop {
            let turns = self.ready_turns(epoch, now, crowd.oldest);
            if turns.len() as u64 >= crowd.all.min(permits) {
                break turns;
            }
            let later = turns.iter().filter(|(turn, _)| turn.at > now).count();
            let latest = match later {
                0 => u64::MAX,
                1 => now.saturating_add(SECOND.as_nanos() as u64),
                _ => now.saturating_add(HORIZON.as_nanos() as u64),
            };
            let next = if crowd.uniform {
                costs
            } else {
                self.costs_of(callers, turns.len(), epoch, now).unwrap_or(costs)
            };
            match self.fill(sitter, &next, epoch, Nanos::from_nanos(latest)) {
                Ok(true) if self.segment.generations().epoch() == epoch => {}
                // Under an epoch that is over, the new turn is void, and this loop would charge one after the other.
                Ok(true) => return Err(Halt::Changed),
                Ok(false) => break turns,
                Err(Halt::Seatless) => {
                    seatless = true;
                    break turns;
                }
                Err(halt) => return Err(halt),
            }
        };
        if crowd.late {
            self.wake_first(epoch, sitter.seat);
        }
        let turns = turns.into_iter().filter(|(turn, _)| turn.at >= key.0).collect();
        Ok(View {
            now,
            epoch,
            turns,
            before: crowd.before,
            ahead: crowd.ahead,
            all: crowd.all,
            permits,
            seatless,
        })
    }

    /// What the `n`th of those who stand asks for, as far as it is known here.
    fn costs_of(&self, callers: &Callers, n: usize, epoch: u64, now: u64) -> Option<Costs> {
        let place = callers.place.as_ref().map_or(usize::MAX, |place| place.sitter.seat);
        let mut known: Vec<(u64, Costs)> =
            callers.awake().take(n + 1).map(|key| (key.0, callers.costs(key))).collect();
        let line = self.line();
        let others = line.all().filter(|other| other.place != place && !other.is_late(now));
        known.extend(others.filter_map(|other| Some((other.ticket, line.costs(other.place, epoch)?))));
        known.sort_unstable_by_key(|&(ticket, _)| ticket);
        known.get(n).map(|&(_, costs)| costs)
    }

    /// The turns of this epoch that are ready. Others are void, and those that nobody can want any more are undone.
    fn ready_turns(&self, epoch: u64, now: u64, oldest: u64) -> Vec<(Turn, Charge)> {
        let table = self.turns();
        let mut turns = Vec::new();
        for turn in table.ready().all() {
            let charge = table.charge_of(turn);
            let is_over = turn.at.saturating_add(UNCLAIMED.as_nanos() as u64) < now && turn.at < oldest;
            if charge.epoch != epoch {
                table.take(turn);
            } else if is_over {
                self.undo(turn, &charge, None);
            } else {
                turns.push((*turn, charge));
            }
        }
        turns
    }

    /// Charges one more turn for the line, if it comes by `latest`.
    fn fill(&self, by: Sitter, costs: &Costs, epoch: u64, latest: Nanos) -> std::result::Result<bool, Halt> {
        let Some(filling) = self.turns().begin(by) else { return Ok(false) };
        match self.charge_turn(filling.slot(), costs, epoch, latest) {
            Ok(Some((at, charge))) => {
                self.turns().publish(filling, at.as_nanos(), &charge);
                Ok(true)
            }
            nothing => {
                self.turns().abandon(filling);
                nothing.map(|_| false)
            }
        }
    }

    fn charge_turn(
        &self,
        slot: usize,
        costs: &Costs,
        epoch: u64,
        latest: Nanos,
    ) -> std::result::Result<Option<(Nanos, Charge)>, Halt> {
        if !self.segment.has_records() {
            return Ok(match self.segment.words().reserve(costs[0], latest, true, &clock::Host)? {
                Decision::Admitted { at, epoch, from, state, .. } => {
                    let charged = [0; MAX_LIMITS];
                    Some((at, Charge { epoch, before: from, after: state, costs: *costs, charged }))
                }
                Decision::Denied { .. } => None,
            });
        }
        let Ok(Some(mut cells)) = self.seat.cells(&self.segment) else { return Err(Halt::Seatless) };
        let records = self.segment.records(Some(cells.pair()));
        let asked = Asked::Costs(costs, epoch);
        match records.reserve(asked, latest, &clock::Host, true, &mut cells.desk)? {
            Decision::Admitted { at, epoch, from, state, .. } => {
                records.keep_before(epoch, &self.segment.turn_cells()[slot], cells.desk.before_it());
                let charged = cells.desk.charged();
                Ok(Some((at, Charge { epoch, before: from, after: state, costs: *costs, charged })))
            }
            Decision::Denied { .. } => Ok(None),
        }
    }

    /// Takes back the charges of all turns that nobody has claimed, the latest first, while `goes_on`.
    pub(super) fn undo_turns(&self, pair: Option<Pair>, goes_on: impl Fn() -> bool) {
        let table = self.turns();
        // The state word that was undone last, and what is there in its place.
        let mut now_as = None;
        for turn in table.ready().all().iter().rev() {
            if !goes_on() {
                return;
            }
            let charge = table.charge_of(turn);
            let after = now_as.filter(|(was, _)| *was == charge.after).map_or(charge.after, |(_, is)| is);
            now_as = self.undo(turn, &Charge { after, ..charge }, pair).map(|is| (charge.before, is));
        }
    }

    /// Takes back the charge of this turn, if nobody has claimed it; says the state word then, if nothing was charged after
    /// it. Otherwise a turn that is to come stays, for whoever stands when it comes; one that has come is given back as
    /// far as it can be.
    fn undo(&self, turn: &Turn, charge: &Charge, pair: Option<Pair>) -> Option<u64> {
        let is_newest = self.segment.generations().state_of(charge.epoch) == charge.after;
        if turn.at > clock::now().as_nanos() && !is_newest {
            return None;
        }
        if !self.segment.has_records() {
            return self.undo_word(turn, charge);
        }
        let cells = if pair.is_none() { self.seat.cells(&self.segment).ok()? } else { None };
        self.undo_record(turn, charge, pair.or_else(|| cells.as_ref().map(CellAccess::pair)))
    }

    fn undo_word(&self, turn: &Turn, charge: &Charge) -> Option<u64> {
        let (epoch, cost, words) = (charge.epoch, charge.costs[0], self.segment.words());
        if !self.turns().take(turn) {
            return None;
        }
        if words.cancel(epoch, charge.after, cost) {
            return Some(charge.before);
        }
        words.refund(epoch, Nanos::from_nanos(turn.at), Some(charge.after), cost, &clock::Host);
        None
    }

    fn undo_record(&self, turn: &Turn, charge: &Charge, pair: Option<Pair>) -> Option<u64> {
        let (epoch, records) = (charge.epoch, self.segment.records(pair));
        // Read before it is taken: then somebody else may fill the slot.
        let before = records.kept_before(epoch, &self.segment.turn_cells()[turn.slot]);
        if !self.turns().take(turn) {
            return None;
        }
        let undone = records.cancel(epoch, charge.after, &before).ok().flatten();
        if undone.is_none() {
            let (unused, at) = (Asked::Costs(&charge.costs, epoch), Nanos::from_nanos(turn.at));
            let _ = records.refund(epoch, charge.after, Some(&charge.charged), unused, at);
        }
        undone
    }

    /// What this caller does next.
    fn step_for(
        &self,
        callers: &mut Callers,
        waiter: &mut Waiter,
        key: Key,
        view: &View,
    ) -> std::result::Result<Next, Halt> {
        let now = Nanos::from_nanos(view.now);
        if now > waiter.latest {
            return Ok(Next::Done(Step::Denied(self.why_not(callers, key, view)?)));
        }
        let costs = callers.costs(key);
        let due = view.due();
        if !due.is_empty() {
            let fits = |charge: &Charge| (0..MAX_LIMITS).all(|i| charge.costs[i] >= costs[i]);
            let exact = due.iter().filter(|(_, charge)| charge.costs == costs);
            let larger = due.iter().filter(|(_, charge)| charge.costs != costs && fits(charge));
            let mut some = false;
            for (turn, charge) in exact.chain(larger) {
                some = true;
                if let Some(granted) = self.claim(waiter, &costs, turn, charge)? {
                    return Ok(Next::Done(Step::Granted(granted)));
                }
            }
            if some {
                return Ok(Next::Again);
            }
            if view.before == 0 {
                // All of them are too small for the first in line: they are charged anew, for it.
                self.undo_turns(None, || true);
                return Ok(Next::Again);
            }
        }
        let is_first = callers.first() == Some(key);
        Ok(Next::Sleep { until: self.sleep_until(view, &costs)?, is_first })
    }

    /// Claims this turn, and a permit where there are permits; neither or both. `None` if somebody else came first.
    fn claim(
        &self,
        waiter: &Waiter,
        costs: &Costs,
        turn: &Turn,
        charge: &Charge,
    ) -> std::result::Result<Option<Granted>, Halt> {
        let permit = if self.has_permits() {
            let Ok(Some(permit)) = self.take_permit_in_line() else { return Ok(None) };
            Some(permit)
        } else {
            None
        };
        let now = clock::now();
        // A turn of a generation that is over is void, whoever has it: what came of it is part of the next one's state.
        if !self.turns().take(turn) || !self.segment.generations().is_still(charge.epoch) {
            permit.into_iter().for_each(|permit| self.give_back(permit));
            return Ok(None);
        }
        let at = Nanos::from_nanos(turn.at);
        let owner = self.owner(process_token());
        let receipt = Receipt { at, epoch: charge.epoch, state: charge.after, owner };
        let charged = Charged(self.segment.has_records().then_some(charge.charged));
        let excess = difference(&charge.costs, costs);
        if self.segment.has_records() {
            if excess != [0; MAX_LIMITS]
                && let Ok(Some(cells)) = self.seat.cells(&self.segment)
            {
                let records = self.segment.records(Some(cells.pair()));
                let excess = Asked::Costs(&excess, charge.epoch);
                let _ = records.refund(charge.epoch, charge.after, Some(&charge.charged), excess, at);
            }
        } else if excess[0] > 0 {
            let words = self.segment.words();
            words.refund(charge.epoch, at, Some(charge.after), excess[0], &clock::Host);
        }
        let waited = now.since(waiter.since.unwrap_or(now));
        self.count_admitted(waiter.ask.asked().call_count(), waited);
        Ok(Some(Granted { receipt, charged, permit, waited }))
    }

    /// Until when the caller can sleep, if nothing changes.
    fn sleep_until(&self, view: &View, costs: &Costs) -> std::result::Result<u64, Halt> {
        let watch = if view.before < WATCHERS {
            WATCH * (view.before as u32 + 1)
        } else {
            (WATCH_EACH * u32::try_from(view.all).unwrap_or(u32::MAX)).max(WATCH * WATCHERS as u32)
        };
        let watch = view.now.saturating_add(watch.as_nanos() as u64);
        if view.permits <= view.before || view.seatless {
            return Ok(watch);
        }
        let turn = usize::try_from(view.before).ok().and_then(|before| view.turns.get(before));
        let due = match turn {
            Some((turn, _)) if turn.at > view.now => turn.at,
            // It has come, and is for others.
            Some(_) => watch,
            None => {
                let ahead = uncharged(&view.ahead, &view.turns);
                self.estimate(view.epoch, &ahead, costs)?.map_or(watch, |(ready, _)| ready.as_nanos())
            }
        };
        // Not at once: what is due is for others, and the estimate can't tell.
        Ok(due.max(view.now.saturating_add(SHORTEST.as_nanos() as u64)).min(watch))
    }

    /// Why this caller gets nothing in time.
    fn why_not(&self, callers: &Callers, key: Key, view: &View) -> std::result::Result<Denied, Halt> {
        let now = Nanos::from_nanos(view.now);
        if view.permits <= view.before && self.has_permits() {
            return Ok(Denied::new(DeniedBy::Permits, now));
        }
        let ahead = uncharged(&view.ahead, &view.turns);
        let estimate = self.estimate(view.epoch, &ahead, &callers.costs(key))?;
        let (ready, limit) = estimate.unwrap_or((now, 0));
        Ok(self.too_late(ready, now, limit))
    }

    /// A turn at `ready`, as this limit says, is too late for a caller. Without a limit it is a pause that says so.
    fn too_late(&self, ready: Nanos, now: Nanos, limit: usize) -> Denied {
        // What is to be had now is to be asked for again: this caller's time is over.
        let retry_at = ready.max(now.plus(Duration::from_nanos(1)));
        if self.is_unlimited() {
            Denied::by_pause(retry_at, now)
        } else {
            Denied::by_limit(limit, retry_at, now)
        }
    }

    /// The caller is gone from the line. Whoever is first now is told.
    fn step_out_of(&self, callers: &mut Callers, waiter: &mut Waiter) {
        let Some(key) = waiter.key.take() else { return };
        if !callers.remove(key) {
            return;
        }
        let now = clock::now().as_nanos();
        let was_shown = callers.shown == Some(key);
        let place = callers.place.as_ref().map_or(usize::MAX, |place| place.sitter.seat);
        self.show_first(callers, now);
        let line = self.line();
        if callers.is_empty() {
            if line.is_anybody_there() {
                self.wake_first(self.segment.generations().epoch(), place);
            } else {
                self.undo_turns(None, || !line.is_anybody_there());
            }
        } else if was_shown {
            self.tell_first(callers, now);
            self.wake_first(self.segment.generations().epoch(), place);
        }
    }

    /// Tells the first caller of this process that it is the first.
    fn tell_first(&self, callers: &mut Callers, now: u64) {
        let Some(first) = callers.shown else { return };
        if callers.hears_the_bell(first) {
            if let Some(place) = callers.place.as_ref() {
                self.ring(place.sitter.seat);
            }
        } else {
            callers.rouse(first, now);
        }
    }

    /// Wakes the first in line if it sleeps for longer than it should. The process that calls is at `here`, and is awake.
    fn wake_first(&self, epoch: u64, here: usize) {
        // Pairs with the fence after a plan was stored: see `places`.
        fence(Ordering::SeqCst);
        let now = clock::now().as_nanos();
        let Some(first) = self.line().first(now).filter(|first| first.place != here) else { return };
        if self.free_permits() == 0 {
            return;
        }
        let turn = self.turns().ready().all().iter().map(|turn| turn.at).find(|&at| at >= first.ticket);
        let due = turn.or_else(|| {
            let costs = self.line().costs(first.place, epoch)?;
            let estimate = self.estimate(epoch, &[0; MAX_LIMITS], &costs).ok()??;
            Some(estimate.0.as_nanos())
        });
        if self.line().hasten(&first, due.unwrap_or(now).max(now)) {
            self.ring(first.place);
        }
    }

    /// Wakes the first in line, for which something has become free.
    pub(super) fn wake_first_now(&self) {
        // Pairs with the fence after a plan was stored: see `places`.
        fence(Ordering::SeqCst);
        let line = self.line();
        if !line.is_anybody_there() {
            return;
        }
        let now = clock::now().as_nanos();
        if let Some(first) = line.first(now)
            && line.hasten(&first, now)
        {
            self.ring(first.place);
        }
    }

    /// Wakes all who stand: the limits have changed, or are no more.
    pub(super) fn wake_the_line(&self) {
        for standing in self.line().all() {
            self.ring(standing.place);
        }
    }

    fn ring(&self, place: usize) {
        if let Some(bell) = self.line().bell(place) {
            bell.fetch_add(1, Ordering::SeqCst);
            futex::wake_all(bell);
        }
    }

    fn bell_of(&self, place: usize) -> u64 {
        self.line().bell(place).map_or(0, |bell| bell.load(Ordering::SeqCst))
    }

    /// Moves the plan of this process forward, and wakes whoever tends its tasks.
    fn hasten_own(&self, place: usize, until: u64) {
        let plan = self.segment.places()[place].plan.fetch_min(until, Ordering::SeqCst);
        if plan > until || plan <= clock::now().as_nanos() {
            self.ring(place);
        }
    }

    /// Clears the places of the dead, the first in line first, until one is alive and awake. Not too often, all processes taken
    /// together. Whether there was one.
    fn bury(&self, now: u64) -> bool {
        let probed = &self.segment.fixed().line.probed_ns;
        let last = probed.load(Ordering::Relaxed);
        if now.saturating_sub(last) < PROBE_EVERY.as_nanos() as u64
            || probed.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return false;
        }
        let mut all: Vec<Standing> = self.line().all().collect();
        all.sort_unstable_by_key(|standing| (standing.ticket, standing.place));
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
        found
    }

    /// Clears this place if its holder is dead.
    fn clear_if_dead(&self, place: usize, locks: &mut impl SeesLocks) -> bool {
        let Some(holder) = self.segment.places().get(place).map(|place| &place.holder) else { return false };
        let tenure = holder.tenure.load(Ordering::Acquire);
        let sitter = Sitter { seat: place, tenure };
        if !is_gone(holder, sitter, locks).unwrap_or(false) {
            return false;
        }
        self.turns().free_those_of(sitter);
        self.line().leave(place);
        true
    }

    /// How many permits are free, up to the number of turns that could be charged. All of them where there are none.
    fn free_permits(&self) -> u64 {
        if self.has_permits() { self.permits().free(&self.segment.generations(), TURNS) } else { u64::MAX }
    }

    /// Whether the limiter goes on, asked now and then.
    fn check_still_limits(&self, now: Nanos) -> Result<()> {
        if self.segment.generations().epoch() >= RETIRED {
            return Err(self.segment.halted(Halt::Retired, 0));
        }
        self.glance_around(now)
    }

    /// A thread sleeps, as it was told.
    pub fn nap(&self, nap: &Nap, own: &AtomicU64) {
        match nap.bell.and_then(|(place, seen)| Some((self.line().bell(place)?, seen))) {
            Some((bell, seen)) => futex::sleep(bell, seen, nap.until),
            None => futex::sleep(own, nap.own, nap.until),
        }
    }

    /// Looks on behalf of the tasks of this process that wait, tells those to look whose turn has come, and says until when
    /// to sleep. For the one thread that tends them: see [`Step::Sleep`].
    pub fn tend(&self) -> Tended {
        let _no_handlers = NoHandlers::enter();
        let mut callers = self.lock_callers();
        let mut planned: Option<u64> = None;
        loop {
            let Some(place) = callers.place.as_ref().filter(|_| callers.has_tasks()) else {
                let word = Arc::clone(&callers.tasks_word);
                let seen = word.load(Ordering::Acquire);
                return Tended::Idle(word, seen);
            };
            let place = place.sitter.seat;
            let seen = self.bell_of(place);
            let now = clock::now();
            let at = now.as_nanos();
            let nap = |until: u64| {
                Tended::Nap(Nap { until: Nanos::from_nanos(until), bell: Some((place, seen)), own: 0 })
            };
            if self.check_still_limits(now).is_err() || self.is_shadow() {
                callers.rouse_all(at);
                return nap(now.plus(WATCH).as_nanos());
            }
            let epoch = self.know_limits(&mut callers, at);
            for key in callers.expired(at) {
                callers.rouse(key, at);
            }
            self.show_first(&mut callers, at);
            let until = self.rouse_due_tasks(&mut callers, epoch);
            let until = until.unwrap_or(now.plus(WATCH).as_nanos());
            let until = until.min(callers.next_deadline(at).saturating_add(1));
            match planned {
                Some(planned) if planned <= until => return nap(planned),
                _ => {
                    self.line().plan(place, until);
                    planned = Some(until);
                }
            }
        }
    }

    /// The thread that tends the tasks ends, unless one waits again. Whether it may.
    pub fn stop_tending(&self) -> bool {
        let mut callers = self.seat.callers();
        callers.is_tended &= callers.has_tasks();
        !callers.is_tended
    }

    /// Tells the tasks to look whose turn it is; until when nothing is to be done, then.
    fn rouse_due_tasks(&self, callers: &mut Callers, epoch: u64) -> Option<u64> {
        let now = clock::now().as_nanos();
        let waiting: Vec<Key> = callers.awake().take(TURNS).collect();
        for key in waiting {
            if callers.costs(key) == [0; MAX_LIMITS] {
                callers.rouse(key, now);
                continue;
            }
            let view = self.view(callers, key, epoch).ok()?;
            if view.due().is_empty() {
                let until = self.sleep_until(&view, &callers.costs(key)).ok()?;
                // Those that were told to look may not do so.
                return Some(if callers.shown == Some(key) {
                    until
                } else {
                    until.min(now + 2 * GRACE.as_nanos() as u64)
                });
            }
            if !callers.is_task(key) {
                break;
            }
            if !callers.is_roused(key) {
                callers.rouse(key, now);
            }
        }
        Some(now + 2 * GRACE.as_nanos() as u64)
    }
}

/// What is asked for without what is charged for it already.
fn uncharged(asked: &Costs, turns: &[(Turn, Charge)]) -> Costs {
    turns.iter().fold(*asked, |left, (_, charge)| difference(&left, &charge.costs))
}

fn times(costs: &Costs, n: u64) -> Costs {
    costs.map(|cost| cost.saturating_mul(n))
}

/// The callers of this process, for this thread alone. What is to be done afterwards is done when this is dropped.
struct Locked<'a>(Option<ProcessHeld<'a, Callers>>);

impl Deref for Locked<'_> {
    type Target = Callers;

    fn deref(&self) -> &Callers {
        self.0.as_ref().expect("until it is dropped")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Callers {
        self.0.as_mut().expect("until it is dropped")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let afterwards = std::mem::take(&mut self.afterwards);
        self.0 = None;
        afterwards.into_iter().for_each(Afterwards::run);
    }
}

/// What the thread that tends a process's tasks does next.
#[derive(Debug)]
pub enum Tended {
    /// It sleeps, and tends them again.
    Nap(Nap),
    /// No task waits. It sleeps on this word, which said this, without keeping the limiter open.
    Idle(Arc<AtomicU64>, u64),
}

/// What a caller does after it has seen how things stand.
enum Next {
    Done(Step),
    /// It looks once more.
    Again,
    /// It can sleep until this instant; `is_first`: as the first of its process.
    Sleep {
        until: u64,
        is_first: bool,
    },
}
