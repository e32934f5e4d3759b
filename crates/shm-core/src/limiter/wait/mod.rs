//! Waiting in line: a caller joins the line, looks, and claims a turn (and a permit) when it is first.
//!
//! Independent of threads and futures: a caller that is awake looks, and gets the instant until which it can sleep. See
//! `line` for the state in shared memory. Everything here runs with signal handlers blocked: a child forked by a
//! handler would continue with its parent's place.
//!
//! | file | content |
//! |---|---|
//! | `mod` | the loop of a caller: look, sleep, until it is admitted or gives up |
//! | `immediate` | admission without waiting |
//! | `joining` | joining and leaving the line |
//! | `view` | what one caller sees: who is before it, which turns have come, how long it can sleep |
//! | `charging` | charging turns ahead, and undoing that |
//! | `claiming` | the admission |
//! | `waking` | waking others, and clearing the places of dead processes |
//! | `tending` | looking on behalf of async tasks |
//! | `model_tests` | simulation of all of it against its documented guarantees |

mod charging;
mod claiming;
mod immediate;
mod joining;
#[cfg(test)]
mod model_tests;
mod tending;
mod view;
mod waking;

pub use tending::TendStep;

use super::Limiter;
use super::receipt::{ChargeTotals, Receipt};
use crate::clock::{self, Nanos};
use crate::commit::CommitError;
use crate::denied::Denied;
use crate::error::Result;
use crate::intervals::FOLLOWER_SLEEP;
use crate::limit::{Cost, MAX_LIMITS};
use crate::line::{Ask, CallerWaker, Callers, Deferred, Key, Places};
use crate::permit::PermitToken;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::futex;
use crate::sys::process_lock::ProcessLockGuard as ProcessHeld;
use crate::sys::signal::NoHandlers;
use claiming::Next;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// A request, and how long its caller is willing to wait.
#[derive(Debug)]
pub struct Demand {
    ask: Ask,
    latest: Nanos,
    max_waiting: u64,
}

impl Demand {
    /// A request for this cost, with unbounded waiting.
    pub fn new(cost: &Cost) -> Demand {
        Demand { ask: Ask::of(cost), latest: Nanos::from_nanos(u64::MAX), max_waiting: u64::MAX }
    }

    /// The caller waits until this instant at most. (0: it does not wait at all.)
    #[must_use]
    pub fn until(self, latest: Nanos) -> Demand {
        Demand { latest: self.latest.min(latest), ..self }
    }

    /// The caller waits only if fewer than `n` others do. The policy may lower that further.
    #[must_use]
    pub fn behind_at_most(self, n: u64) -> Demand {
        Demand { max_waiting: self.max_waiting.min(n), ..self }
    }

    /// The number of calls, if it asks for nothing else.
    #[inline]
    pub fn calls(&self) -> Option<u64> {
        match self.ask {
            Ask::Calls(n) => Some(n),
            Ask::Units(_) => None,
        }
    }

    /// What the caller asks for.
    pub fn cost(&self) -> Cost {
        self.ask.asked().cost()
    }

    /// Until when the caller waits.
    pub fn latest(&self) -> Nanos {
        self.latest
    }
}

/// A caller that waits or is about to.
#[derive(Debug)]
pub struct Waiter {
    demand: Demand,
    /// When it first had to wait.
    since: Option<Nanos>,
    /// Its position among the callers of its process, and the token of that process.
    key: Option<Key>,
    process: u64,
}

impl Waiter {
    /// A caller that has not looked yet.
    pub fn new(demand: Demand) -> Waiter {
        Waiter { demand, since: None, key: None, process: 0 }
    }

    /// What the caller asks for.
    pub fn demand(&self) -> &Demand {
        &self.demand
    }
}

/// What a waiting caller was granted.
#[derive(Debug)]
pub struct Granted {
    /// The admission.
    pub receipt: Receipt,
    /// Needed for a settlement.
    pub charged: ChargeTotals,
    /// Its permit, if the limiter has permits.
    pub permit: Option<PermitToken>,
    /// How long it waited.
    pub waited: Duration,
}

/// What a caller does after a look.
#[derive(Debug)]
pub enum WaitStep {
    /// It was admitted.
    Granted(Granted),
    /// It gives up.
    Denied(Denied),
    /// The limiter is in shadow mode: the caller tries without waiting, and is not denied.
    Shadow,
    /// It sleeps, then looks again. A task looks again when its waker is called; if `start_tending` is set, no thread
    /// tends the tasks of this process yet, and the caller starts one.
    Sleep {
        /// For a thread.
        plan: SleepPlan,
        /// For a task.
        start_tending: bool,
    },
    /// No place is free for its process. It sleeps until this instant, tries, and looks again.
    NoPlace(Nanos),
}

/// Until when to sleep, and on which futex word.
#[derive(Clone, Copy, Debug)]
pub struct SleepPlan {
    pub(in crate::limiter) until: Nanos,
    /// The place on whose bell (a futex word) to sleep, and the value it had.
    pub(in crate::limiter) bell: Option<(usize, u64)>,
    /// The value that the caller's own word had.
    pub(in crate::limiter) own: u64,
}

impl SleepPlan {
    /// The same, but at most this long.
    #[must_use]
    pub fn at_most(self, time: Duration) -> SleepPlan {
        SleepPlan { until: self.until.min(clock::now().plus(time)), ..self }
    }
}

/// Sleeps on a word of this process's memory until it differs from `seen`, or for this time.
pub fn sleep_on(word: &AtomicU64, seen: u64, time: Duration) {
    futex::sleep(word, seen, clock::now().plus(time));
}

impl Limiter {
    pub(in crate::limiter) fn line(&self) -> Places<'_> {
        let limits = if self.segment.has_records() { MAX_LIMITS } else { 1 };
        Places { occupied: self.segment.occupied(), places: self.segment.places(), limits }
    }

    fn lock_callers(&self) -> LockedCallers<'_> {
        let no_handlers = NoHandlers::enter();
        LockedCallers { callers: Some(self.process.callers()), no_handlers: Some(no_handlers) }
    }

    /// Whether any process waits that is awake, or may be: then free turns and permits belong to the line.
    #[inline]
    pub fn has_awake_waiters(&self) -> bool {
        let line = self.line();
        line.is_occupied() && line.has_awake_process(clock::now().as_nanos())
    }

    /// One look of a waiting caller: it is admitted, gives up, or sleeps and looks again. The first look joins the
    /// line. `waker` is how to wake the caller.
    ///
    /// In a forked child the caller joins the line as a new one.
    ///
    /// # Errors
    /// Those of [`try_cost`](Limiter::try_cost), and [`ErrorKind::TooFar`](crate::ErrorKind). The caller has then left
    /// the line.
    pub fn poll_turn(&self, waiter: &mut Waiter, waker: &CallerWaker) -> Result<WaitStep> {
        // Read before anything else: a waker that runs meanwhile changes the word.
        let own = match waker {
            CallerWaker::Thread(word) => word.load(Ordering::Acquire),
            CallerWaker::Task(_) => 0,
        };
        let mut callers = self.lock_callers();
        if waiter.process != callers.process {
            (waiter.process, waiter.key, waiter.since) = (callers.process, None, None);
        }
        let step = self.poll_turn_locked(&mut callers, waiter, waker, own);
        if !matches!(step, Ok(WaitStep::Sleep { .. })) {
            self.leave_line(&mut callers, waiter);
        }
        // Callers far from the front do not check the file, so a caller that learns of the loss wakes the next one.
        if step.as_ref().is_err_and(|e| e.kind().is_lost()) {
            self.wake_first_now();
        }
        step
    }

    /// Removes a caller from the line, wherever it is. It takes no turn with it.
    pub fn cancel_wait(&self, waiter: &mut Waiter) {
        if waiter.key.is_none() {
            return;
        }
        let mut callers = self.lock_callers();
        if waiter.process == callers.process {
            self.leave_line(&mut callers, waiter);
        }
    }

    fn poll_turn_locked(
        &self,
        callers: &mut Callers,
        waiter: &mut Waiter,
        waker: &CallerWaker,
        own: u64,
    ) -> Result<WaitStep> {
        let mut planned: Option<u64> = None;
        loop {
            // Read before the state: every process that changes the state rings the bell afterwards.
            let bell =
                |callers: &Callers| Some(callers.place_index()?).map(|place| (place, self.bell_of(place)));
            let seen = bell(callers);
            let now = clock::now();
            let is_far = |key| self.sleep_if_far_back(callers, key, now.as_nanos());
            let far = waiter.key.filter(|_| now <= waiter.demand.latest).and_then(is_far);
            self.check_not_retired()?;
            if far.is_none() {
                self.maybe_check_file(now)?;
            }
            if self.is_shadow() {
                return Ok(WaitStep::Shadow);
            }
            let key = match self.ensure_in_line(callers, waiter, waker, now) {
                Ok(Ok(key)) => key,
                Ok(Err(step)) => return Ok(step),
                Err(why) => {
                    self.recover_waiter(why, waiter)?;
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
                        let plan = SleepPlan { until: Nanos::from_nanos(until.min(latest)), bell, own };
                        Ok(WaitStep::Sleep { plan, start_tending })
                    };
                    let place = seen.filter(|_| is_first).map(|(place, _)| place);
                    if waker.is_task() {
                        if let Some(place) = place {
                            self.advance_own_plan(place, until);
                        }
                        // Its deadline is watched by the thread that tends tasks, whichever caller is first.
                        if let Some((place, _)) = seen.filter(|_| latest < callers.tended_until) {
                            callers.tended_until = latest;
                            self.ring(place);
                        }
                        let start_tending = !std::mem::replace(&mut callers.is_tended, true);
                        return sleep(until, None, start_tending);
                    }
                    let Some(place) = place else {
                        return sleep(now.plus(FOLLOWER_SLEEP).as_nanos(), None, false);
                    };
                    if let Some(until) = self.confirm_plan(place, until, &mut planned) {
                        callers.set_on_bell(key);
                        return sleep(until, seen, false);
                    }
                }
                Err(why) => self.recover_waiter(why, waiter)?,
            }
        }
    }

    /// Returns `until` if this plan was already published and nothing has changed since, so that the caller may sleep.
    /// Otherwise publishes it, and the caller looks once more.
    fn confirm_plan(&self, place: usize, until: u64, planned: &mut Option<u64>) -> Option<u64> {
        let confirmed = planned.filter(|&planned| planned <= until && self.line().has_plan(place, planned));
        if confirmed.is_none() {
            self.line().plan(place, until);
            *planned = Some(until);
        }
        confirmed
    }

    /// Repairs what can be repaired, or returns the error. After `Ok`, the caller retries.
    #[cold]
    fn recover_waiter(&self, why: CommitError, waiter: &Waiter) -> Result<()> {
        let cost = waiter.demand.ask.asked().cost();
        match why {
            CommitError::WrongUnits => Err(self.wrong_units_error(&cost)),
            why => self.recover(why, cost.largest()),
        }
    }

    /// Puts a thread to sleep as this plan says.
    pub fn sleep_by(&self, plan: &SleepPlan, own: &AtomicU64) {
        match plan.bell.and_then(|(place, seen)| Some((self.line().bell(place)?, seen))) {
            Some((bell, seen)) => futex::sleep(bell, seen, plan.until),
            None => futex::sleep(own, plan.own, plan.until),
        }
    }
}

/// The waiting callers of this process, locked for this thread, with signal handlers blocked. Deferred work runs on
/// drop, after both are released.
struct LockedCallers<'a> {
    callers: Option<ProcessHeld<'a, Callers>>,
    no_handlers: Option<NoHandlers>,
}

impl Deref for LockedCallers<'_> {
    type Target = Callers;

    fn deref(&self) -> &Callers {
        self.callers.as_ref().expect("present until drop")
    }
}

impl DerefMut for LockedCallers<'_> {
    fn deref_mut(&mut self) -> &mut Callers {
        self.callers.as_mut().expect("present until drop")
    }
}

impl Drop for LockedCallers<'_> {
    fn drop(&mut self) {
        let deferred = std::mem::take(&mut self.deferred);
        self.callers = None;
        self.no_handlers = None;
        deferred.into_iter().for_each(Deferred::run);
    }
}
