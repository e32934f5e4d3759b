//! Waiting: a caller stands in the line, looks, and claims a turn and a permit when it is first.
//!
//! Knows no threads and no futures: a caller looks when it is awake, and is told until when it can sleep. See `line` for
//! what lies in shared memory. Everything here runs while no signal handler does: a child that one forks would go on
//! with its parent's place.
//!
//! | file | what |
//! |---|---|
//! | `mod` | a caller looks, again and again, until it goes on or gives up |
//! | `at_once` | what is to be had without waiting |
//! | `standing` | joining the line and leaving it |
//! | `view` | how things stand for one caller |
//! | `charging` | turns that are charged ahead, and undone |
//! | `claiming` | the admission |
//! | `waking` | telling others, and clearing the places of the dead |
//! | `tending` | looking on behalf of tasks |
//! | `model_tests` | for tests: all of it against what it promises, word for word |

mod at_once;
mod charging;
mod claiming;
#[cfg(test)]
mod model_tests;
mod standing;
mod tending;
mod view;
mod waking;

pub use tending::Tended;

use super::Limiter;
use super::receipt::{ChargeTotals, Receipt};
use crate::clock::{self, Nanos};
use crate::commit::CommitError;
use crate::denied::Denied;
use crate::error::Result;
use crate::limit::{Cost, MAX_LIMITS};
use crate::line::{Afterwards, Ask, Callers, Key, Places, Rouse};
use crate::permit::PermitToken;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::futex;
use crate::sys::process_lock::ProcessLockGuard as ProcessHeld;
use crate::sys::signal::NoHandlers;
use claiming::Next;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// The longest sleep of a caller behind the first of its process. That one tells it when to look.
const BEHIND: Duration = Duration::from_millis(100);

/// What a caller asks for, and how long it waits for it.
#[derive(Debug)]
pub struct Demand {
    ask: Ask,
    latest: Nanos,
    most_waiting: u64,
}

impl Demand {
    /// For this cost, without a bound.
    pub fn new(cost: &Cost) -> Demand {
        Demand { ask: Ask::of(cost), latest: Nanos::from_nanos(u64::MAX), most_waiting: u64::MAX }
    }

    /// The caller waits until this instant at most. (0: it wants only what is to be had at once, whenever that is.)
    #[must_use]
    pub fn until(self, latest: Nanos) -> Demand {
        Demand { latest: self.latest.min(latest), ..self }
    }

    /// It waits if fewer than `n` others do. The policy may say that even fewer may wait.
    #[must_use]
    pub fn behind_at_most(self, n: u64) -> Demand {
        Demand { most_waiting: self.most_waiting.min(n), ..self }
    }

    /// How many calls it asks for, if nothing else.
    #[inline]
    pub fn calls(&self) -> Option<u64> {
        match self.ask {
            Ask::Calls(n) => Some(n),
            Ask::Units(_) => None,
        }
    }

    /// What it asks for.
    pub fn cost(&self) -> Cost {
        self.ask.asked().cost()
    }

    /// Until when it waits.
    pub fn latest(&self) -> Nanos {
        self.latest
    }
}

/// A caller that waits, or is about to.
#[derive(Debug)]
pub struct Waiter {
    demand: Demand,
    /// When it first found that it had to wait.
    since: Option<Nanos>,
    /// Where it stands among those of its process, and which process that is.
    key: Option<Key>,
    process: u64,
}

impl Waiter {
    /// One that has not looked yet.
    pub fn new(demand: Demand) -> Waiter {
        Waiter { demand, since: None, key: None, process: 0 }
    }

    /// What it asks for.
    pub fn demand(&self) -> &Demand {
        &self.demand
    }
}

/// What a waiting caller got.
#[derive(Debug)]
pub struct Granted {
    /// What it may use.
    pub receipt: Receipt,
    /// For a settlement.
    pub charged: ChargeTotals,
    /// Its permit, where there are permits.
    pub permit: Option<PermitToken>,
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

impl Limiter {
    pub(in crate::limiter) fn line(&self) -> Places<'_> {
        let limits = if self.segment.has_records() { MAX_LIMITS } else { 1 };
        Places { standing: self.segment.standing(), places: self.segment.places(), limits }
    }

    fn lock_callers(&self) -> Locked<'_> {
        let no_handlers = NoHandlers::enter();
        Locked { callers: Some(self.process.callers()), no_handlers: Some(no_handlers) }
    }

    /// Whether somebody waits who is awake, or may be: then what is free is theirs.
    #[inline]
    pub fn is_waited_for(&self) -> bool {
        let line = self.line();
        line.is_anybody_there() && line.is_anybody_awake(clock::now().as_nanos())
    }

    /// A caller looks: it goes on, gives up, or sleeps and looks again. The first time it joins the line. `rouse` is how it
    /// is told to look.
    ///
    /// In a forked child the caller stands anew.
    ///
    /// # Errors
    /// As [`try_cost`](Limiter::try_cost), and [`ErrorKind::TooFar`](crate::ErrorKind). It has left the line then.
    pub fn look(&self, waiter: &mut Waiter, rouse: &Rouse) -> Result<Step> {
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
        // Those far from the front don't ask. So whoever hears it tells the next.
        if step.as_ref().is_err_and(|e| e.kind().is_lost()) {
            self.wake_first_now();
        }
        step
    }

    /// A caller leaves the line, wherever it stands. It takes nothing along.
    pub fn step_out(&self, waiter: &mut Waiter) {
        if waiter.key.is_none() {
            return;
        }
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
            // Read before it sees how things stand: whoever changes that rings.
            let bell =
                |callers: &Callers| Some(callers.place_index()?).map(|place| (place, self.bell_of(place)));
            let seen = bell(callers);
            let now = clock::now();
            let is_far = |key| self.far_from_the_front(callers, key, now.as_nanos());
            let far = waiter.key.filter(|_| now <= waiter.demand.latest).and_then(is_far);
            self.check_not_retired()?;
            if far.is_none() {
                self.maybe_check_file(now)?;
            }
            if self.is_shadow() {
                return Ok(Step::Shadow);
            }
            let key = match self.stand(callers, waiter, rouse, now) {
                Ok(Ok(key)) => key,
                Ok(Err(step)) => return Ok(step),
                Err(why) => {
                    self.clear_the_way(why, waiter)?;
                    continue;
                }
            };
            let seen = seen.or_else(|| bell(callers));
            let step = match far {
                Some(until) => Ok(Next::Sleep { until, is_first: true }),
                None => self
                    .view(callers, key, callers.epoch)
                    .and_then(|view| self.step_for(callers, waiter, key, &view)),
            };
            match step {
                Ok(Next::Done(step)) => return Ok(step),
                Ok(Next::Again) => planned = None,
                Ok(Next::Sleep { until, is_first }) => {
                    let latest = waiter.demand.latest.plus(Duration::from_nanos(1)).as_nanos();
                    let sleep = |until: u64, bell, start_tending| {
                        let nap = Nap { until: Nanos::from_nanos(until.min(latest)), bell, own };
                        Ok(Step::Sleep { nap, start_tending })
                    };
                    let place = seen.filter(|_| is_first).map(|(place, _)| place);
                    if rouse.is_task() {
                        if let Some(place) = place {
                            self.hasten_own(place, until);
                        }
                        // Its deadline is looked after by the thread that tends it, whoever is first.
                        if let Some((place, _)) = seen.filter(|_| latest < callers.tended_until) {
                            callers.tended_until = latest;
                            self.ring(place);
                        }
                        let start_tending = !std::mem::replace(&mut callers.is_tended, true);
                        return sleep(until, None, start_tending);
                    }
                    let Some(place) = place else {
                        return sleep(now.plus(BEHIND).as_nanos(), None, false);
                    };
                    if let Some(until) = self.stands_by_its_plan(place, until, &mut planned) {
                        callers.sleeps_on_bell(key);
                        return sleep(until, seen, false);
                    }
                }
                Err(why) => self.clear_the_way(why, waiter)?,
            }
        }
    }

    /// Until when to sleep, if that was planned, and nothing has changed since the plan was there for all to see. Otherwise it
    /// is planned now, and the caller looks once more.
    fn stands_by_its_plan(&self, place: usize, until: u64, planned: &mut Option<u64>) -> Option<u64> {
        let stands = planned.filter(|&planned| planned <= until && self.line().has_plan(place, planned));
        if stands.is_none() {
            self.line().plan(place, until);
            *planned = Some(until);
        }
        stands
    }

    /// Mends what can be mended, or says what is wrong.
    #[cold]
    fn clear_the_way(&self, why: CommitError, waiter: &Waiter) -> Result<()> {
        let cost = waiter.demand.ask.asked().cost();
        match why {
            CommitError::WrongUnits => Err(self.wrong_units_error(&cost)),
            why => self.recover(why, cost.largest()),
        }
    }

    /// A thread sleeps, as it was told.
    pub fn nap(&self, nap: &Nap, own: &AtomicU64) {
        match nap.bell.and_then(|(place, seen)| Some((self.line().bell(place)?, seen))) {
            Some((bell, seen)) => futex::sleep(bell, seen, nap.until),
            None => futex::sleep(own, nap.own, nap.until),
        }
    }
}

/// The callers of this process, for this thread alone, while no signal handler runs in it. What is to be done afterwards is
/// done when this is dropped, when neither is so any more.
struct Locked<'a> {
    callers: Option<ProcessHeld<'a, Callers>>,
    no_handlers: Option<NoHandlers>,
}

impl Deref for Locked<'_> {
    type Target = Callers;

    fn deref(&self) -> &Callers {
        self.callers.as_ref().expect("until it is dropped")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Callers {
        self.callers.as_mut().expect("until it is dropped")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let afterwards = std::mem::take(&mut self.afterwards);
        self.callers = None;
        self.no_handlers = None;
        afterwards.into_iter().for_each(Afterwards::run);
    }
}
