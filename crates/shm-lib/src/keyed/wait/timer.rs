//! What wakes a caller at an instant. A waiting thread sleeps by itself. Waiting tasks share one thread, which starts when the first
//! of them sleeps, and ends when none has slept for a second.

use super::next_id;
use super::own_state::OwnState;
use super::queues::Queues;
use crate::thread;
use shm_core::clock::{self, Nanos};
use shm_core::{CallerWaker, sleep_on};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

/// How long the thread stays while no task sleeps.
const LINGER: Duration = Duration::from_secs(1);

/// A way to sleep until an instant.
pub(super) trait Sleep {
    /// Sleeps until this instant has come, however often the caller is polled before.
    fn sleep_until(&self, at: Nanos) -> impl Future<Output = ()> {
        poll_fn(move |context| {
            if clock::now() >= at {
                return Poll::Ready(());
            }
            self.wake_at(at, context.waker());
            Poll::Pending
        })
    }

    /// Wakes the caller at this instant, and no more at the one that was planned before.
    fn wake_at(&self, at: Nanos, waker: &Waker);
}

/// For a thread that polls its own future.
#[derive(Default)]
pub(super) struct ThreadTimer {
    wake_at: Cell<Option<Nanos>>,
}

struct ThreadWaker(CallerWaker);

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }
}

impl ThreadTimer {
    /// Polls the future in this thread until it is ready. `None`: `stop` returned true.
    pub(super) fn run<T>(
        &self,
        future: impl Future<Output = T>,
        mut stop: Option<&mut dyn FnMut() -> bool>,
    ) -> Option<T> {
        /// How often `stop` is called at least.
        const STOP_CHECK: Duration = Duration::from_millis(100);
        let word = Arc::new(AtomicU64::new(0));
        let waker = Waker::from(Arc::new(ThreadWaker(CallerWaker::Thread(Arc::clone(&word)))));
        let (mut context, mut future) = (Context::from_waker(&waker), pin!(future));
        loop {
            self.wake_at.set(None);
            let seen = word.load(Ordering::Acquire);
            if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
                return Some(done);
            }
            if stop.as_mut().is_some_and(|stop| stop()) {
                return None;
            }
            let longest = if stop.is_some() { STOP_CHECK } else { LINGER };
            let time = self.wake_at.get().map_or(longest, |at| at.since(clock::now()).min(longest));
            if !time.is_zero() {
                // A signal handler ends the sleep, and `stop` may know of it.
                sleep_on(&word, seen, time);
            }
        }
    }
}

impl Sleep for ThreadTimer {
    fn wake_at(&self, at: Nanos, _: &Waker) {
        self.wake_at.set(Some(at));
    }
}

/// For a task.
pub(super) struct TaskTimer {
    queues: Arc<Queues>,
    id: u64,
    /// When the task is to be woken (ns); 0: not planned.
    planned: AtomicU64,
}

impl TaskTimer {
    pub(super) fn of(queues: &Arc<Queues>) -> TaskTimer {
        TaskTimer { queues: Arc::clone(queues), id: next_id(), planned: AtomicU64::new(0) }
    }

    /// Plans this instant, and returns the one that was planned before.
    fn plan(&self, at: Nanos) -> Alarm {
        let planned = self.planned.swap(at.as_nanos(), Ordering::Relaxed);
        Alarm { at: Nanos::from_nanos(planned), id: self.id }
    }
}

impl Sleep for TaskTimer {
    fn wake_at(&self, at: Nanos, waker: &Waker) {
        let before = self.plan(at);
        self.queues.timer.wake_at(&self.queues, before, Alarm { at, id: self.id }, waker);
    }
}

impl Drop for TaskTimer {
    fn drop(&mut self) {
        let planned = self.plan(Nanos::default());
        if planned.at > Nanos::default() {
            self.queues.timer.forget(planned);
        }
    }
}

/// The thread that wakes sleeping tasks.
#[derive(Default)]
pub(super) struct TimerThread {
    state: OwnState<State>,
}

#[derive(Default)]
struct State {
    /// One for each sleeping task, the earliest first.
    alarms: BTreeMap<Alarm, Waker>,
    thread: Option<Thread>,
    is_running: bool,
}

/// When a task is to be woken, and which.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Alarm {
    at: Nanos,
    id: u64,
}

impl State {
    fn first(&self) -> Option<Nanos> {
        self.alarms.first_key_value().map(|(alarm, _)| alarm.at)
    }
}

impl TimerThread {
    /// Wakes a task at this instant, and not at the one before.
    fn wake_at(&self, queues: &Arc<Queues>, before: Alarm, alarm: Alarm, waker: &Waker) {
        let waker = waker.clone();
        let (starts, thread, old) = self.state.with(|state| {
            let old = state.alarms.remove(&before);
            let is_earliest = state.first().is_none_or(|first| alarm.at < first);
            state.alarms.insert(alarm, waker);
            let starts = !std::mem::replace(&mut state.is_running, true);
            (starts, if is_earliest { state.thread.clone() } else { None }, old)
        });
        // Outside the lock, because it is of a runtime.
        drop(old);
        if let Some(thread) = thread {
            thread.unpark();
        }
        if starts {
            let timer = Arc::clone(queues);
            if thread::start(None, move || timer.timer.run()).is_err() {
                // Without a thread to spare, the tasks look at the clock themselves.
                let alarms = self.state.with(|state| {
                    state.is_running = false;
                    std::mem::take(&mut state.alarms)
                });
                alarms.into_values().for_each(Waker::wake);
            }
        }
    }

    fn forget(&self, alarm: Alarm) {
        let old = self.state.with(|state| state.alarms.remove(&alarm));
        drop(old);
    }

    fn run(&self) {
        let mut idle_since = clock::now();
        loop {
            let now = clock::now();
            let (due, next) = self.state.with(|state| {
                state.thread = Some(std::thread::current());
                let mut due = Vec::new();
                while state.first().is_some_and(|at| at <= now) {
                    due.extend(state.alarms.pop_first());
                }
                (due, state.first())
            });
            if !due.is_empty() || next.is_some() {
                idle_since = now;
            }
            // Outside the lock, because a waker runs code of its runtime.
            for (_, waker) in due {
                // It may drop a task of the program's, which may panic. The others have to be woken all the same.
                let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            }
            if next.is_none() && now.since(idle_since) >= LINGER {
                let ended = self.state.with(|state| {
                    let ends = state.alarms.is_empty();
                    if ends {
                        (state.is_running, state.thread) = (false, None);
                    }
                    ends
                });
                if ended {
                    return;
                }
            }
            let time = next.map_or(LINGER, |at| at.since(clock::now()));
            if !time.is_zero() {
                std::thread::park_timeout(time);
            }
        }
    }
}
