//! Async tasks that wait: one thread per process sleeps for all of them, and wakes those whose turn has come.

use super::SleepPlan;
use crate::clock::{self, Nanos};
use crate::intervals::{FRONT_SLEEP, WAKE_GRACE};
use crate::layout::TURNS;
use crate::limit::MAX_LIMITS;
use crate::limiter::Limiter;
use crate::line::{Callers, Key};
use crate::sync::{AtomicU64, Ordering};
use std::sync::Arc;

/// What the thread that tends a process's tasks does next.
#[derive(Debug)]
pub enum TendStep {
    /// Sleep, then tend the tasks again.
    Sleep(SleepPlan),
    /// No task waits. Sleep on this word, which had this value, without keeping the limiter open.
    Idle(Arc<AtomicU64>, u64),
}

impl Limiter {
    /// Looks on behalf of the waiting tasks of this process, wakes those whose turn has come, and returns how long to
    /// sleep. For the one thread that tends them: see [`WaitStep::Sleep`](super::WaitStep::Sleep).
    pub fn tend(&self) -> TendStep {
        let mut callers = self.lock_callers();
        let mut planned: Option<u64> = None;
        loop {
            callers.tended_until = 0;
            let Some(place) = callers.place_index().filter(|_| callers.has_tasks()) else {
                // Its last plan was the plan of the whole process; from now on the first of the waiting threads plans
                // for itself.
                self.wake_own_first(&mut callers, clock::now().as_nanos());
                let word = Arc::clone(&callers.tasks_word);
                let seen = word.load(Ordering::Acquire);
                return TendStep::Idle(word, seen);
            };
            let seen = self.bell_of(place);
            let now = clock::now();
            let at = now.as_nanos();
            let plan = |until: u64| {
                TendStep::Sleep(SleepPlan {
                    until: Nanos::from_nanos(until),
                    bell: Some((place, seen)),
                    own: 0,
                })
            };
            let valid = self.check_not_retired().and_then(|()| self.maybe_check_file(now));
            if valid.is_err() || self.is_shadow() {
                callers.wake_all(at);
                callers.tended_until = now.plus(FRONT_SLEEP).as_nanos();
                return plan(callers.tended_until);
            }
            let epoch = self.refresh_epoch(&mut callers, at);
            for key in callers.expired(at) {
                callers.wake(key, at);
            }
            self.publish_first(&mut callers, at);
            let until = self.wake_due_callers(&mut callers, epoch);
            let until = until.unwrap_or(now.plus(FRONT_SLEEP).as_nanos());
            let until = until.min(callers.next_deadline(at).saturating_add(1));
            if let Some(until) = self.confirm_plan(place, until, &mut planned) {
                callers.tended_until = until;
                return plan(until);
            }
        }
    }

    /// Called before the tending thread ends; returns false if a task waits again, and the thread has to go on.
    pub fn stop_tending(&self) -> bool {
        let mut callers = self.lock_callers();
        callers.is_tended &= callers.has_tasks();
        !callers.is_tended
    }

    /// Wakes the tasks whose turn has come; returns until when nothing is to be done.
    fn wake_due_callers(&self, callers: &mut Callers, epoch: u64) -> Option<u64> {
        let now = clock::now().as_nanos();
        let waiting: Vec<Key> = callers.awake().take(TURNS).collect();
        for key in waiting {
            if callers.costs(key) == [0; MAX_LIMITS] {
                callers.wake(key, now);
                continue;
            }
            let view = self.view(callers, key, epoch).ok()?;
            if view.due().is_empty() && !self.is_charged_for_another(&view, &callers.costs(key)) {
                let until = self.sleep_until(&view, &callers.costs(key)).ok()?;
                // Tasks that were woken may fail to look.
                return Some(if callers.published == Some(key) {
                    until
                } else {
                    until.min(now + 2 * WAKE_GRACE.as_nanos() as u64)
                });
            }
            if callers.is_woken(key) {
                continue;
            }
            // Also ring for a thread: another process that relies on this one's plan wakes no other process, but the
            // thread may have planned a longer sleep.
            if let Some(place) = callers.place_index().filter(|_| callers.is_on_bell(key)) {
                self.ring(place);
            }
            callers.wake(key, now);
        }
        Some(now + 2 * WAKE_GRACE.as_nanos() as u64)
    }
}
