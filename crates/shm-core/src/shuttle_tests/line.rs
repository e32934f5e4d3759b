//! The line: processes that join, charge turns, claim and leave, or die at any point, while the configuration is
//! republished.
//!
//! The parts of `limiter::wait` that need a file are repeated here in short form.

use super::{Time, play, roll};
use crate::clock::Nanos;
use crate::commit::loom_tests::Ring;
use crate::commit::{CommitError, Config, GenerationState, Verdict, WordState};
use crate::layout::{Place, TURNS, TurnTable};
use crate::limit::audit::{self, Admission};
use crate::limit::{Limit, Rate};
use crate::line::{Charge, Front, Places, ReadyTurn};
use crate::seat::simulated_locks::SimulatedLocks;
use crate::seat::{HolderId, TakesLocks, begin, claim, end, has_ended};
use crate::sync::{AtomicU64, Ordering};
use shuttle::sync::Arc;
use shuttle::thread;
use std::sync::Mutex;
use std::time::Duration;

const PROCESSES: u64 = 3;
const CALLS: u64 = 3;
const CHANGES: u64 = 2;
const PLACES: usize = 4;
/// Two per this period, and a burst of three.
const PER: u64 = 10_000_000;
const BURST: u64 = 3;
/// The longest sleep.
const WATCH: u64 = 20_000_000;
/// A turn that came this long before every waiting caller arrived is undone.
const UNCLAIMED: u64 = 100_000_000;
/// A caller that is served needs fewer looks than this.
const LOOKS: usize = 500;

fn limit() -> Limit {
    Limit::with_burst(Rate::new(2, Duration::from_nanos(PER)).unwrap(), BURST).unwrap()
}

struct Scene {
    ring: Ring,
    turns: TurnTable,
    occupied: [AtomicU64; 1],
    places: [Place; PLACES],
    locks: SimulatedLocks<PLACES, 64>,
    time: Time,
    used: Mutex<Vec<Admission>>,
}

/// The result of a look.
enum Look {
    Granted,
    Sleep(u64),
    /// Killed in the middle.
    Dead,
}

/// A process in line, with one caller.
struct Caller<'a> {
    scene: &'a Scene,
    id: HolderId,
    ticket: u64,
    cost: u64,
    /// Whether it will be killed soon.
    is_doomed: bool,
}

impl Scene {
    fn words(&self) -> WordState<'_> {
        WordState(self.ring.generations())
    }

    fn line(&self) -> Places<'_> {
        Places { occupied: &self.occupied, places: &self.places, limits: 1 }
    }

    fn clock(&self) -> impl Fn() -> Nanos {
        || self.time.now()
    }

    fn take_a_place(&self) -> Option<HolderId> {
        let mut locks = &self.locks;
        let id =
            (0..PLACES).find_map(|place| claim(place, &self.places[place].holder, &mut locks).unwrap())?;
        begin(&self.places[id.seat].holder, id);
        Some(id)
    }

    fn has_ended(&self, id: HolderId) -> bool {
        let mut locks = &self.locks;
        has_ended(&self.places[id.seat].holder, id, &mut locks).unwrap()
    }

    fn clear_dead_places(&self) {
        for standing in self.line().all() {
            let holder = &self.places[standing.place].holder;
            let id = HolderId { seat: standing.place, tenure: holder.tenure.load(Ordering::Acquire) };
            if self.has_ended(id) {
                self.line().leave(id.seat);
            }
        }
        self.turns.free_stuck(|filler| self.has_ended(filler));
    }

    /// The turns that callers which arrived at `oldest` or later can use. Turns from long before are undone.
    fn ready(&self, epoch: u64, now: u64, oldest: u64) -> Vec<(ReadyTurn, Charge)> {
        let mut turns = Vec::new();
        for turn in self.turns.ready().all() {
            let charge = self.turns.charge_of(turn);
            if charge.epoch == epoch && turn.at.saturating_add(UNCLAIMED) < now && turn.at < oldest {
                self.undo(turn, &charge);
            } else if charge.epoch == epoch {
                turns.push((*turn, charge));
            } else if !self.ring.generations().is_current_after_write(charge.epoch) {
                self.turns.take(turn);
            }
        }
        turns
    }

    fn undo(&self, turn: &ReadyTurn, charge: &Charge) -> Option<u64> {
        let is_newest = self.ring.generations().state_of(charge.epoch) == charge.after;
        if turn.at > self.time.now().as_nanos() && !is_newest || !self.turns.take(turn) {
            return None;
        }
        let (epoch, cost) = (charge.epoch, charge.costs[0]);
        if self.words().cancel(epoch, charge.after, cost) {
            return Some(charge.before);
        }
        let at = Nanos::from_nanos(turn.at);
        self.words().refund(epoch, at, Some(charge.after), cost, &self.clock());
        None
    }

    fn undo_future_turns(&self) {
        let now = self.time.now().as_nanos();
        self.undo_turns(|turn| turn.at > now);
    }

    fn undo_turns(&self, should_undo: impl Fn(&ReadyTurn) -> bool) {
        let mut undone = None;
        for turn in self.turns.ready().all().iter().rev() {
            if !should_undo(turn) {
                return;
            }
            let charge = self.turns.charge_of(turn);
            let after = undone.filter(|(was, _)| *was == charge.after).map_or(charge.after, |(_, is)| is);
            undone = self.undo(turn, &Charge { after, ..charge }).map(|is| (charge.before, is));
        }
    }

    /// Publishes the same configuration again. The changer may die before any process has settled it.
    fn change(&self, epoch: u64) {
        let config =
            Config { starts_empty: false, ..Config::new(limit().into(), Nanos::from_nanos(Time::START)) };
        self.undo_turns(|_| true);
        self.words().publish(epoch, &config, &self.clock()).unwrap();
        if roll(2) == 0 {
            let _ = self.words().settle(epoch + 1, &self.clock());
        }
    }

    fn lives(&self) {
        for _ in 0..CALLS {
            let Some(id) = self.take_a_place() else { continue };
            let caller = Caller {
                scene: self,
                id,
                ticket: self.time.now().as_nanos(),
                cost: 1 + roll(2),
                is_doomed: roll(4) == 0,
            };
            let lives = caller.waits();
            if lives {
                end(&self.places[id.seat].holder, id.tenure);
            }
            let mut locks = &self.locks;
            locks.unlock(id);
        }
    }
}

impl Caller<'_> {
    /// Returns whether it is alive.
    fn waits(&self) -> bool {
        let (s, place) = (self.scene, self.id.seat);
        let costs = [self.cost; 4];
        s.line()
            .write(place, &Front { ticket: self.ticket, behind: 0, newest: self.ticket, costs, epoch: 1 });
        s.line().plan(place, self.ticket);
        s.line().enter(place);
        let leaves_after = if roll(4) == 0 { roll(3) as usize } else { LOOKS };
        for looks in 0.. {
            assert!(looks < LOOKS, "a caller waits for ever: {}", self.told());
            if self.is_doomed && roll(4) == 0 {
                return false;
            }
            if looks == leaves_after {
                break;
            }
            match self.look() {
                Look::Granted => break,
                Look::Dead => return false,
                Look::Sleep(until) => {
                    s.line().plan(place, until);
                    s.time.wait_until(Nanos::from_nanos(until));
                    s.line().reenter(place);
                    thread::yield_now();
                }
            }
        }
        s.line().leave(place);
        if !s.line().is_occupied() {
            s.undo_turns(|_| !s.line().is_occupied());
        }
        true
    }

    /// A description of the state, for failures.
    fn told(&self) -> String {
        let s = self.scene;
        let now = s.time.now().as_nanos();
        let (turns, standing) =
            (s.ready(s.ring.generations().epoch(), 0, 0), s.line().all().collect::<Vec<_>>());
        let (place, ticket, cost) = (self.id.seat, self.ticket, self.cost);
        format!("{cost} for place {place}, ticket {ticket}, at {now}; turns {turns:?}; standing {standing:?}")
    }

    fn look(&self) -> Look {
        let s = self.scene;
        let now = s.time.now().as_nanos();
        let epoch = s.ring.generations().epoch();
        let others = || s.line().all().filter(|other| other.place != self.id.seat);
        if others().any(|other| other.is_late(now)) || s.turns.is_full() {
            s.clear_dead_places();
        }
        let (mut before, mut oldest) = (0, self.ticket);
        let mut asked = vec![(self.ticket, self.cost)];
        for other in others().filter(|other| !other.is_late(now)) {
            let its = s.line().costs(other.place, 1).expect("costs of this epoch");
            asked.push((other.ticket, its[0].clamp(1, 2)));
            oldest = oldest.min(other.ticket);
            before += usize::from((other.ticket, other.place) < (self.ticket, self.id.seat));
        }
        asked.sort_unstable();
        let mut was_recharged = false;
        let turns = loop {
            let turns = s.ready(epoch, now, oldest);
            let next = turns.iter().find(|(turn, _)| turn.at >= self.ticket);
            let is_for_another =
                next.is_some_and(|(turn, charge)| turn.at > now && charge.costs[0] != self.cost);
            if before == 0 && is_for_another && !was_recharged {
                was_recharged = true;
                s.undo_future_turns();
                continue;
            }
            let (ready, later) = (
                turns.iter().filter(|(turn, _)| turn.at >= oldest).count(),
                turns.iter().filter(|(turn, _)| turn.at > now).count(),
            );
            let latest = if later == 0 { u64::MAX >> 1 } else { now + PER };
            let Some(&(_, cost)) = asked.get(ready) else { break turns };
            match self.fill(cost, epoch, latest) {
                Ok(Some(true)) => {}
                Ok(Some(false)) => break turns,
                Ok(None) => return Look::Dead,
                Err(_) => return Look::Sleep(now),
            }
        };
        let mine: Vec<_> = turns.into_iter().filter(|(turn, _)| turn.at >= self.ticket).collect();
        let due = mine.iter().filter(|(turn, _)| turn.at <= now).count();
        if due > before {
            for (turn, charge) in mine[..due].iter().filter(|(_, charge)| charge.costs[0] >= self.cost) {
                if s.turns.take(turn) && s.ring.generations().is_current_after_write(charge.epoch) {
                    self.uses(turn, charge);
                    return Look::Granted;
                }
            }
            if before == 0 {
                s.undo_turns(|_| true);
                return Look::Sleep(now);
            }
            return Look::Sleep(now + WATCH);
        }
        let next = mine.get(before).map_or(now + WATCH, |(turn, _)| turn.at);
        Look::Sleep(next.min(now + WATCH))
    }

    /// Returns whether a turn was charged. `None`: killed while doing so.
    fn fill(&self, cost: u64, epoch: u64, latest: u64) -> std::result::Result<Option<bool>, CommitError> {
        let s = self.scene;
        let Some(filling) = s.turns.begin(self.id) else { return Ok(Some(false)) };
        if self.is_doomed && roll(3) == 0 {
            return Ok(None);
        }
        let latest = Nanos::from_nanos(latest);
        match s.words().reserve(cost, latest, true, &s.clock()) {
            Ok(Verdict::Admitted { at, epoch: of, state, .. }) => {
                if self.is_doomed && roll(3) == 0 {
                    return Ok(None);
                }
                let costs = [cost; 4];
                let charge = Charge { epoch: of, before: 0, after: state, costs, charged: [0; 4] };
                s.turns.publish(filling, at.as_nanos(), &charge);
                if of == epoch { Ok(Some(true)) } else { Err(CommitError::Changed) }
            }
            other => {
                s.turns.abandon(filling);
                other.map(|_| Some(false))
            }
        }
    }

    fn uses(&self, turn: &ReadyTurn, charge: &Charge) {
        let s = self.scene;
        let at = Nanos::from_nanos(turn.at);
        assert!(at >= Nanos::from_nanos(self.ticket) && at <= s.time.now());
        let excess = charge.costs[0] - self.cost;
        if excess > 0 {
            s.undo_future_turns();
            s.words().refund(charge.epoch, at, Some(charge.after), excess, &s.clock());
        }
        s.used.lock().unwrap().push(Admission { at, calls: self.cost });
    }
}

#[test]
fn the_line_keeps_the_limit_and_loses_no_slot() {
    play(|| {
        let scene = Arc::new(Scene {
            ring: Ring::new(),
            turns: TurnTable::model(),
            occupied: [AtomicU64::new(0)],
            places: std::array::from_fn(|_| Place::model()),
            locks: SimulatedLocks::new(),
            time: Time::new(),
            used: Mutex::default(),
        });
        scene.words().initialise(&Config::new(limit().into(), Nanos::from_nanos(Time::START)));
        let processes: Vec<_> = (0..PROCESSES)
            .map(|_| {
                let s = scene.clone();
                thread::spawn(move || s.lives())
            })
            .collect();
        (1..=CHANGES).for_each(|epoch| {
            thread::yield_now();
            scene.change(epoch);
        });
        processes.into_iter().for_each(|process| process.join().unwrap());
        let mut used = scene.used.lock().unwrap().clone();
        assert_eq!(audit::check(limit(), &mut used), Ok(()), "{used:?}");
        // All processes have ended: the next one finds every slot free, and all unused budget.
        scene.time.wait_until(scene.time.now().plus(Duration::from_nanos(100 * PER)));
        scene.clear_dead_places();
        assert!(!scene.line().is_occupied());
        scene.ready(scene.ring.generations().epoch(), 0, 0);
        scene.undo_turns(|_| true);
        let last = HolderId { seat: 0, tenure: 9_999 };
        assert!((0..TURNS).all(|_| scene.turns.begin(last).is_some()), "a slot is lost");
    });
}
