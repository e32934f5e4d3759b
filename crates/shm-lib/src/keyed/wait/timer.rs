//! What wakes a caller at an instant. A waiting thread sleeps by itself. Waiting tasks share one thread, which starts when the first
//! of them sleeps, and ends when none has slept for a second.

use super::own_state::OwnState;
use super::queues::Queues;
use crate::thread;
use shm_core::clock::{self, Nanos};
use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

/// How long the thread stays while no task sleeps.
const LINGER: Duration = Duration::from_secs(1);

/// A way to sleep until an instant.
pub(super) trait Sleep {
    /// Sleeps until this instant, or shorter: the caller looks at the clock again, and at whatever may have woken it.
    fn sleep_until(&self, at: Nanos) -> impl Future<Output = ()> {
        let mut has_slept = false;
        poll_fn(move |context| {
            if has_slept || clock::now() >= at {
                return Poll::Ready(());
            }
            // The next poll is after a sleep: to this instant, or to a wake-up.
            has_slept = true;
            self.wake_at(at, context.waker());
            Poll::Pending
        })
    }

    /// Wakes the caller at this instant.
    fn wake_at(&self, at: Nanos, waker: &Waker);
}

/// For a thread that polls its own future.
#[derive(Default)]
pub(super) struct ThreadTimer {
    wake_at: Cell<Option<Nanos>>,
}

struct ThreadWaker(Thread);

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
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
        let waker = Waker::from(Arc::new(ThreadWaker(std::thread::current())));
        let (mut context, mut future) = (Context::from_waker(&waker), pin!(future));
        loop {
            self.wake_at.set(None);
            if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
                return Some(done);
            }
            if stop.as_mut().is_some_and(|stop| stop()) {
                return None;
            }
            let longest = if stop.is_some() { STOP_CHECK } else { LINGER };
            let time = self.wake_at.get().map_or(longest, |at| at.since(clock::now()).min(longest));
            if !time.is_zero() {
                std::thread::park_timeout(time);
            }
        }
    }
}

impl Sleep for ThreadTimer {
    fn wake_at(&self, at: Nanos, _: &Waker) {
        self.wake_at.set(Some(at));
    }
}

/// For tasks.
pub(super) struct TaskTimer {
    queues: Arc<Queues>,
}

impl TaskTimer {
    pub(super) fn of(queues: &Arc<Queues>) -> TaskTimer {
        TaskTimer { queues: Arc::clone(queues) }
    }
}

impl Sleep for TaskTimer {
    fn wake_at(&self, at: Nanos, waker: &Waker) {
        self.queues.timer.wake_at(&self.queues, at, waker);
    }
}

/// The thread that wakes sleeping tasks.
#[derive(Default)]
pub(super) struct TimerThread {
    state: OwnState<State>,
}

#[derive(Default)]
struct State {
    sleepers: BinaryHeap<Sleeper>,
    thread: Option<Thread>,
    is_running: bool,
}

struct Sleeper {
    at: Nanos,
    waker: Waker,
}

/// The earliest one is the greatest.
impl Ord for Sleeper {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

impl PartialOrd for Sleeper {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Sleeper {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Sleeper {}

impl TimerThread {
    /// Wakes a task at this instant.
    fn wake_at(&self, queues: &Arc<Queues>, at: Nanos, waker: &Waker) {
        let sleeper = Sleeper { at, waker: waker.clone() };
        let (starts, thread) = self.state.with(|state| {
            let is_earliest = state.sleepers.peek().is_none_or(|first| at < first.at);
            state.sleepers.push(sleeper);
            let starts = !std::mem::replace(&mut state.is_running, true);
            (starts, if is_earliest { state.thread.clone() } else { None })
        });
        if let Some(thread) = thread {
            thread.unpark();
        }
        if starts {
            let timer = Arc::clone(queues);
            if thread::start(None, move || timer.timer.run()).is_err() {
                // Without a thread to spare, the tasks look at the clock themselves.
                let sleepers = self.state.with(|state| {
                    state.is_running = false;
                    std::mem::take(&mut state.sleepers)
                });
                sleepers.into_iter().for_each(|sleeper| sleeper.waker.wake());
            }
        }
    }

    fn run(&self) {
        let mut idle_since = clock::now();
        loop {
            let now = clock::now();
            let (due, next) = self.state.with(|state| {
                state.thread = Some(std::thread::current());
                let mut due = Vec::new();
                while state.sleepers.peek().is_some_and(|first| first.at <= now) {
                    due.extend(state.sleepers.pop());
                }
                (due, state.sleepers.peek().map(|first| first.at))
            });
            if !due.is_empty() || next.is_some() {
                idle_since = now;
            }
            // Outside the lock, because a waker runs code of its runtime.
            for sleeper in due {
                // It may drop a task of the program's, which may panic. The others have to be woken all the same.
                let _ = catch_unwind(AssertUnwindSafe(|| sleeper.waker.wake()));
            }
            if next.is_none() && now.since(idle_since) >= LINGER {
                let ended = self.state.with(|state| {
                    let ends = state.sleepers.is_empty();
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
