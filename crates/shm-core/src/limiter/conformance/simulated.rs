//! Runs a scenario on the real code in simulated time: on one thread, with a clock that stands still between the instants of the
//! scenario and those for which callers sleep. So every answer is exact to the nanosecond.

use super::scenario::{Answer, Op, Outcome, Scenario, Status, Step, ns};
use crate::clock::set::{SetClock, SetWall};
use crate::clock::{self, Nanos};
use crate::denied::{Denied, DeniedBy};
use crate::directory::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::limit::{Cost, Limit, Policy, Unit};
use crate::limiter::wait::{Demand, SleepPlan, WaitStep, Waiter};
use crate::limiter::{ChargeTotals, Decision, KeyAsk, KeyOf, Limiter, Receipt, ReservedTurn, Settings};
use crate::line::CallerWaker;
use crate::name::Name;
use crate::permit::PermitToken;
use crate::sync::{AtomicU64, Ordering};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The machine was started so long before the scenario begins.
const START: i64 = 400 * 86_400 * 1_000_000_000;
/// A caller that looks more often than this at one instant does not sleep.
const LOOKS: usize = 1_000;

/// One process, its clocks, and what it keeps.
pub(super) struct Simulated {
    clock: SetClock,
    _wall: SetWall,
    limiter: Limiter,
    is_keyed: bool,
    waiting: Vec<Waiting>,
    kept: BTreeMap<String, Box<Kept>>,
    reserved: BTreeMap<String, ReservedTurn>,
    answers: Vec<Vec<Answer>>,
    /// The wall clock at the beginning, in Unix nanoseconds.
    wall: i64,
    _folder: tempfile::TempDir,
}

/// What is needed to give back, settle or release.
struct Kept {
    receipt: Receipt,
    charged: ChargeTotals,
    cost: Cost,
    permit: Option<PermitToken>,
    /// If it is one of a key: the key, and whether the limits of all keys were charged as well.
    key: Option<(String, Option<Box<Kept>>)>,
}

/// A caller that waits.
struct Waiting {
    step: usize,
    sent: i64,
    keep: Option<String>,
    for_what: Wait,
}

enum Wait {
    /// In the line of the limiter.
    InLine { waiter: Waiter, word: Arc<AtomicU64>, plan: SleepPlan },
    /// For a key's turn: until then it sleeps.
    ForKey { key: String, cost: Cost, latest: Nanos, until: Nanos },
}

/// What was decided, or until when a caller sleeps.
enum Next {
    Done(Decided),
    Sleeps(Wait),
}

enum Decided {
    Admitted { kept: Box<Kept>, shadowed: bool },
    Denied(Denied),
}

fn now() -> i64 {
    clock::now().as_nanos() as i64
}

/// A turn, which comes at exactly this instant.
fn instant(at: Nanos) -> (i64, i64) {
    let at = at.as_nanos() as i64 - START;
    (at, at)
}

fn cost_of(step: &Step) -> Cost {
    let mut units = step.cost().into_iter().map(|(unit, n)| match unit.as_str() {
        "calls" => (Unit::CALLS, n),
        unit => (Unit::named(unit).expect("a unit"), n),
    });
    let (unit, n) = units.next().expect("a cost");
    units.fold(Cost::of(unit, n), |cost, (unit, n)| cost.and(unit, n))
}

impl Simulated {
    /// Runs it. Returns the answers of each step, and the wall clock at the beginning.
    pub(super) fn run(scenario: &Scenario) -> (Vec<Vec<Answer>>, i64) {
        let policy: Policy = serde_json::from_value(scenario.policy.clone()).expect("a valid policy");
        let wall = scenario.wall.as_ref();
        let wall = match wall.and_then(|wall| wall.unix) {
            Some(unix) => unix * 1_000_000_000,
            // A day of 2026, when that is 0 of most divisors.
            None => 1_795_651_200_000_000_000 + wall.and_then(|wall| wall.at).map_or(0, |at| ns(at as f64)),
        };
        let clock = SetClock::still_at(Nanos::from_nanos(START as u64));
        let set_wall = SetWall::ahead_by((wall - START) as u64);
        let folder = tempfile::tempdir().expect("a directory");
        let (directory, name) = (Directory::at(folder.path()), Name::new("scenario").expect("a name"));
        let mut settings = Settings::new(policy);
        settings.capacity = scenario.capacity.unwrap_or(settings.capacity);
        let limiter = Limiter::open(&directory, &name, &settings).expect("the limiter");
        let mut world = Simulated {
            clock,
            _wall: set_wall,
            limiter,
            is_keyed: scenario.is_keyed(),
            waiting: Vec::new(),
            kept: BTreeMap::new(),
            reserved: BTreeMap::new(),
            answers: vec![Vec::new(); scenario.steps.len()],
            wall,
            _folder: folder,
        };
        for (index, step) in scenario.steps.iter().enumerate() {
            world.pass_until(START + step.at());
            for _ in 0..step.times {
                world.play(index, step);
                world.look_all();
            }
        }
        // Until the last deadline of a caller; one without a deadline is served by then, or never.
        let end = scenario.steps.iter().map(Step::answered).max().unwrap_or(0);
        world.pass_until(START + end + ns(1.0));
        (std::mem::take(&mut world.answers), world.wall)
    }

    /// Lets time pass, and callers wake up at their instants.
    fn pass_until(&mut self, until: i64) {
        loop {
            self.look_all();
            let wakes = |waiting: &Waiting| match &waiting.for_what {
                Wait::InLine { plan, .. } => plan.until.as_nanos() as i64,
                Wait::ForKey { until, .. } => until.as_nanos() as i64,
            };
            match self.waiting.iter().map(wakes).min().filter(|&at| at <= until) {
                Some(at) => self.clock.pass_until(at as u64),
                None => break,
            }
        }
        self.clock.pass_until(until as u64);
    }

    /// All callers that have been woken, or whose sleep is over, look, until none is left.
    fn look_all(&mut self) {
        for _ in 0..LOOKS {
            let now = clock::now();
            let is_awake = |waiting: &Waiting| match &waiting.for_what {
                Wait::InLine { word, plan, .. } => {
                    let is_woken = match plan.bell {
                        Some((place, seen)) => self.limiter.bell_of(place) != seen,
                        None => word.load(Ordering::Relaxed) != plan.own,
                    };
                    is_woken || now >= plan.until
                }
                Wait::ForKey { until, .. } => now >= *until,
            };
            let Some(index) = self.waiting.iter().position(is_awake) else { return };
            let Waiting { step, sent, keep, for_what } = self.waiting.remove(index);
            let next = match for_what {
                Wait::InLine { waiter, word, .. } => self.look(waiter, word),
                Wait::ForKey { key, cost, latest, .. } => self.acquire_of_key(key, cost, latest),
            };
            match next {
                Ok(Next::Sleeps(for_what)) => {
                    // At its place, so that callers of one key look in the order of their arrival.
                    self.waiting.insert(index, Waiting { step, sent, keep, for_what });
                }
                Ok(Next::Done(decided)) => self.decided(step, sent, keep, decided),
                Err(e) => self.answer(step, refused(sent, &e)),
            }
        }
        panic!("a caller does not sleep: {} wait at {}", self.waiting.len(), now() - START);
    }

    fn answer(&mut self, step: usize, answer: Answer) {
        self.answers[step].push(answer);
    }

    fn decided(&mut self, step: usize, sent: i64, keep: Option<String>, decided: Decided) {
        let mut answer = Answer { sent, answered: now() - START, ..Answer::default() };
        match decided {
            Decided::Admitted { mut kept, shadowed } => {
                answer.outcome = Outcome::Admitted;
                answer.at = Some(kept.receipt.at.as_nanos() as i64 - START);
                answer.shadowed = Some(shadowed);
                match keep {
                    Some(name) => drop(self.kept.insert(name, kept)),
                    None => kept.permit.take().into_iter().for_each(|permit| self.limiter.give_back(permit)),
                }
            }
            Decided::Denied(denied) => {
                answer.outcome = Outcome::Denied;
                answer.denied_by = Some(denied.by().word().to_owned());
                answer.denied_limit = match denied.by() {
                    DeniedBy::Limit { index, .. } | DeniedBy::KeyLimit { index, .. } => Some(index + 1),
                    _ => None,
                };
                answer.retry_after = denied.retry_after().map(|time| time.as_nanos() as i64);
                // From the instant at which it was decided, as callers count it.
                assert_eq!(denied.at().as_nanos() as i64 - START, answer.answered);
            }
        }
        self.answer(step, answer);
    }

    fn play(&mut self, index: usize, step: &Step) {
        let sent = now() - START;
        let cost = cost_of(step);
        let key = step.key.clone();
        if step.op.decides() {
            let next = match (step.op, key) {
                (Op::Try, None) => try_now(&self.limiter, &cost).map(Next::Done),
                (Op::Try, Some(key)) => self.try_key(&key, &cost).map(Next::Done),
                (_, None) => {
                    let latest = step.timeout.map_or(u64::MAX, |time| (now() + ns(time)) as u64);
                    let demand = Demand::new(&cost).until(Nanos::from_nanos(latest));
                    self.acquire(match step.max_waiters {
                        Some(most) => demand.behind_at_most(most.into()),
                        None => demand,
                    })
                }
                (_, Some(key)) => {
                    let latest = step.timeout.map_or(i64::MAX, |time| now() + ns(time));
                    self.acquire_of_key(key, cost, Nanos::from_nanos(latest as u64))
                }
            };
            match next {
                Ok(Next::Done(decided)) => self.decided(index, sent, step.keep.clone(), decided),
                Ok(Next::Sleeps(for_what)) => {
                    let keep = step.keep.clone();
                    self.waiting.push(Waiting { step: index, sent, keep, for_what });
                }
                Err(e) => self.answer(index, refused(sent, &e)),
            }
            return;
        }
        let done = Answer { sent, answered: sent, ..Answer::default() };
        let answer = self.control(step, &cost, done).unwrap_or_else(|e| refused(sent, &e));
        self.answer(index, answer);
    }

    fn acquire(&mut self, demand: Demand) -> Result<Next> {
        if let Some(granted) = self.limiter.admit_now(&demand)? {
            let kept = Kept::of(granted.receipt, granted.charged, demand.cost(), granted.permit);
            return Ok(Next::Done(Decided::Admitted { kept, shadowed: false }));
        }
        self.look(Waiter::new(demand), Arc::new(AtomicU64::new(0)))
    }

    fn look(&self, mut waiter: Waiter, word: Arc<AtomicU64>) -> Result<Next> {
        let waker = CallerWaker::Thread(Arc::clone(&word));
        Ok(match self.limiter.poll_turn(&mut waiter, &waker)? {
            WaitStep::Granted(granted) => {
                let kept = Kept::of(granted.receipt, granted.charged, waiter.demand().cost(), granted.permit);
                Next::Done(Decided::Admitted { kept, shadowed: false })
            }
            WaitStep::Denied(denied) => Next::Done(Decided::Denied(denied)),
            WaitStep::Shadow => Next::Done(try_now(&self.limiter, &waiter.demand().cost())?),
            WaitStep::Sleep { plan, .. } => Next::Sleeps(Wait::InLine { waiter, word, plan }),
            WaitStep::NoPlace(_) => panic!("one process has a place"),
        })
    }

    fn try_key(&self, key: &str, cost: &Cost) -> Result<Decided> {
        let limiter = &self.limiter;
        let parts: [&[u8]; 1] = [key.as_bytes()];
        let key_of = KeyOf::All(&parts);
        if !limiter.takes_more_than_keys()? {
            let ask = KeyAsk { key: key_of, cost, at: None };
            let decision = limiter.try_key(&ask)?.expect("limits per key only");
            return Ok(of_key(decision, key, cost, None));
        }
        let (for_all, for_key) = limiter.split_cost(cost)?;
        let ask = KeyAsk { key: key_of, cost: &for_key, at: None };
        if let Some(denied) = limiter.key_denial(&ask, true)? {
            return Ok(Decided::denied(denied, limiter.is_shadow()));
        }
        let of_all = match try_now(limiter, &for_all)? {
            Decided::Admitted { kept, .. } => kept,
            denied @ Decided::Denied(_) => return Ok(denied),
        };
        let decision = limiter.try_key_beside(&ask, &of_all.receipt)?.expect("one process");
        Ok(of_key(decision, key, &for_key, Some(of_all)))
    }

    fn acquire_of_key(&self, key: String, cost: Cost, latest: Nanos) -> Result<Next> {
        Ok(match self.try_key(&key, &cost)? {
            Decided::Denied(denied) => match denied.retry_at().filter(|&at| at <= latest) {
                Some(until) => Next::Sleeps(Wait::ForKey { key, cost, latest, until }),
                None => Next::Done(Decided::Denied(denied)),
            },
            admitted @ Decided::Admitted { .. } => Next::Done(admitted),
        })
    }

    fn control(&mut self, step: &Step, cost: &Cost, mut done: Answer) -> Result<Answer> {
        let limiter = &self.limiter;
        let parts = step.key.as_ref().map(|key| [key.as_bytes()]);
        let key = parts.as_ref().map(|parts| KeyOf::All(&parts[..]));
        match step.op {
            Op::Try | Op::Acquire => unreachable!("decisions"),
            Op::Charge => match key {
                None => limiter.charge(cost)?,
                Some(key) => {
                    limiter.charge_key(&KeyAsk { key, cost: &limiter.split_cost(cost)?.1, at: None })?;
                }
            },
            Op::Settle => {
                let name = step.of.as_ref().expect("checked");
                let given_back = settle(limiter, &self.kept[name], cost)?;
                done.given_back = Some(given_back.into_iter().collect());
            }
            Op::Release => {
                let kept = self.kept.remove(step.of.as_ref().expect("checked")).expect("kept");
                limiter.give_back(kept.permit.expect("a permit"));
            }
            Op::Reserve => {
                let turn = limiter.reserve(cost)?;
                done.turns = Some(vec![instant(turn.receipt.at)]);
                if let Some(name) = &step.keep {
                    self.reserved.insert(name.clone(), turn);
                }
            }
            Op::Cancel => {
                let turn = self.reserved.remove(step.of.as_ref().expect("checked")).expect("kept");
                done.outcome = if limiter.cancel(turn) { Outcome::Done } else { Outcome::Forfeited };
            }
            Op::Schedule => {
                let turns = limiter.schedule(cost, step.count.expect("checked"))?;
                done.turns = Some(turns.into_iter().map(instant).collect());
            }
            Op::Pause => limiter.pause_for(Duration::from_nanos(ns(step.time.expect("checked")) as u64))?,
            Op::Resume => limiter.resume()?,
            Op::Change => {
                let rate = step.rate.as_ref().expect("checked").parse()?;
                if self.is_keyed {
                    limiter.change_from(|policy| {
                        let keys = *policy.keys().expect("limits per key");
                        let first = keys.limits().next().expect("one").at_rate(rate)?;
                        Ok(policy.with_keys(keys.with_limit(0, first)?))
                    })?;
                } else {
                    limiter.change_rate(rate)?;
                }
            }
            Op::ChangePolicy => {
                let policy = step.policy.clone().expect("checked");
                limiter.change(serde_json::from_value::<Policy>(policy).expect("a valid policy"))?;
            }
            Op::Reset => match key {
                None => limiter.reset()?,
                Some(key) => {
                    limiter.reset_key(key)?;
                    // Those who wait for it are woken.
                    let now = clock::now();
                    for waiting in &mut self.waiting {
                        if let Wait::ForKey { until, .. } = &mut waiting.for_what {
                            *until = now;
                        }
                    }
                }
            },
            Op::Status => {
                let status = match key {
                    None => {
                        limiter.status()?.0.first().map(|seen| (seen.available, seen.used, Some(seen.queued)))
                    }
                    Some(key) => {
                        limiter.key_status(key, None)?.0.first().map(|seen| (seen.available, seen.used, None))
                    }
                };
                let (available, used, queued) = status.expect("a limit");
                done.status = Some(Status { available: Some(available), used: Some(used), queued });
            }
        }
        Ok(done)
    }
}

impl Kept {
    fn of(receipt: Receipt, charged: ChargeTotals, cost: Cost, permit: Option<PermitToken>) -> Box<Kept> {
        Box::new(Kept { receipt, charged, cost, permit, key: None })
    }
}

impl Decided {
    /// A denial, or an admission in shadow mode.
    fn denied(denied: Denied, is_shadow: bool) -> Decided {
        match is_shadow {
            true => {
                let receipt = Receipt::of_nothing(denied.at());
                let kept = Kept::of(receipt, ChargeTotals::default(), Cost::from(1), None);
                Decided::Admitted { kept, shadowed: true }
            }
            false => Decided::Denied(denied),
        }
    }
}

fn of_key(decision: Decision, key: &str, cost: &Cost, mut of_all: Option<Box<Kept>>) -> Decided {
    match decision {
        Decision::Admitted(receipt) => {
            let permit = of_all.as_mut().and_then(|all| all.permit.take());
            let mut kept = Kept::of(receipt, ChargeTotals::default(), *cost, permit);
            kept.key = Some((key.to_owned(), of_all));
            Decided::Admitted { kept, shadowed: false }
        }
        Decision::Denied { denied, shadow } => Decided::denied(denied, shadow),
    }
}

/// As a handle decides.
fn try_now(limiter: &Limiter, cost: &Cost) -> Result<Decided> {
    Ok(match limiter.permit_and(cost, || limiter.try_cost(cost))? {
        Ok(((Decision::Admitted(receipt), charged), permit)) => {
            Decided::Admitted { kept: Kept::of(receipt, charged, *cost, permit), shadowed: false }
        }
        Ok(((Decision::Denied { denied, shadow }, _), permit)) => {
            permit.into_iter().for_each(|permit| limiter.give_back(permit));
            Decided::denied(denied, shadow)
        }
        Err(denied) => Decided::denied(denied, limiter.is_shadow()),
    })
}

/// Corrects a cost; returns what was given back, by unit.
fn settle(limiter: &Limiter, kept: &Kept, actual: &Cost) -> Result<BTreeMap<String, f64>> {
    let policy = limiter.policy()?;
    let (unused, debt) = kept.cost.differences(actual);
    let refund = match &kept.key {
        None => Some(limiter.settle(&kept.receipt, &kept.charged, unused.as_ref(), debt.as_ref())?),
        Some((key, of_all)) => {
            if let Some(debt) = &debt {
                let parts: [&[u8]; 1] = [key.as_bytes()];
                limiter.charge_key(&KeyAsk { key: KeyOf::All(&parts), cost: debt, at: None })?;
            }
            let of_all = of_all.as_ref();
            return of_all.map_or_else(|| Ok(BTreeMap::new()), |all| settle(limiter, all, actual));
        }
    };
    let units = policy.limits().map(Limit::unit);
    Ok(units.map(|unit| (unit.name().to_owned(), refund.map_or(0.0, |refund| refund.amount(unit)))).collect())
}

fn refused(sent: i64, error: &Error) -> Answer {
    let kind: ErrorKind = error.kind();
    Answer {
        outcome: Outcome::Refused,
        sent,
        answered: now() - START,
        kind: Some(kind.word()),
        message: error.to_string(),
        ..Answer::default()
    }
}
