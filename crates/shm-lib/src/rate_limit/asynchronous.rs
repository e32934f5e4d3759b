//! Changes for tasks: they never block the runtime.
//!
//! A change may wait for another process that is in the middle of one, up to two seconds, and it opens the limiter's file.
//! So it is made by a thread, which is started for it and wakes the task.

use super::RateLimit;
use crate::thread;
use shm_core::limit::Policy;
use shm_core::{Error, ErrorKind, ProcessToken, Result};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

impl RateLimit {
    /// [`pause_for`](Self::pause_for) for tasks. See [`Changing`].
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    /// use std::time::Duration;
    ///
    /// let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// # runtime.block_on(async {
    /// limit.pause_for_async(Duration::from_secs(30)).await?; // the server answered Retry-After: 30
    /// assert!(limit.try_acquire(1)?.retry_after() > Some(Duration::from_secs(29)));
    /// limit.resume_async().await?;
    /// assert!(limit.try_acquire(1)?.is_admitted());
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`pause_for`](Self::pause_for).
    pub fn pause_for_async(&self, time: Duration) -> Changing {
        Changing::new(self, move |limit| limit.pause_for(time))
    }

    /// [`resume`](Self::resume) for tasks. See [`Changing`].
    ///
    /// # Errors
    /// As [`resume`](Self::resume).
    pub fn resume_async(&self) -> Changing {
        Changing::new(self, RateLimit::resume)
    }

    /// [`change`](Self::change) for tasks. See [`Changing`].
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    /// use std::time::Duration;
    ///
    /// let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// # runtime.block_on(async {
    /// limit.change_async(50, Duration::from_secs(1)).await?;
    /// assert_eq!(limit.limit()?.rate(), Rate::per_second(50)?);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn change_async(&self, max: u64, per: Duration) -> Changing {
        Changing::new(self, move |limit| limit.change(max, per))
    }

    /// [`change_policy`](Self::change_policy) for tasks. See [`Changing`].
    ///
    /// # Errors
    /// As [`change_policy`](Self::change_policy).
    pub fn change_policy_async(&self, policy: impl Into<Policy>) -> Changing {
        let policy = policy.into();
        Changing::new(self, move |limit| limit.change_policy(policy))
    }

    /// [`update_policy`](Self::update_policy) for tasks; `update` runs in the thread that makes the change. See [`Changing`].
    ///
    /// # Errors
    /// As [`update_policy`](Self::update_policy).
    pub fn update_policy_async(
        &self,
        mut update: impl FnMut(Policy) -> Result<Policy> + Send + 'static,
    ) -> Changing {
        Changing::new(self, move |limit| limit.update_policy(&mut update))
    }

    /// [`reset`](Self::reset) for tasks. See [`Changing`].
    ///
    /// # Errors
    /// As [`reset`](Self::reset).
    pub fn reset_async(&self) -> Changing {
        Changing::new(self, RateLimit::reset)
    }

    /// [`retire`](Self::retire) for tasks. See [`Changing`].
    ///
    /// # Errors
    /// As [`retire`](Self::retire).
    pub fn retire_async(&self) -> Changing {
        Changing::new(self, RateLimit::retire)
    }
}

/// A change that is made in a thread of its own, as a future of any runtime.
///
/// - **Dropped** before it was first polled, it changes nothing. Dropped later, it leaves the thread alone: the change is made
///   all the same, or fails unheard.
/// - **Forked**: polled in a child after the parent has polled it, it is an error, since the thread is the parent's.
/// - **Killed** in the middle of it, the process has changed everything or nothing.
#[must_use = "a change is not made until it is awaited"]
pub struct Changing {
    state: State,
}

type Work = Box<dyn FnOnce() -> Result<()> + Send>;
type Done = std::thread::Result<Result<()>>;

enum State {
    Planned { limit: RateLimit, work: Work },
    Begun { limit: RateLimit, by: ProcessToken, report: Arc<Mutex<Report>> },
    Over,
}

/// What the thread and the task tell each other.
#[derive(Default)]
struct Report {
    done: Option<Done>,
    waker: Option<Waker>,
}

impl Changing {
    fn new(limit: &RateLimit, work: impl FnOnce(&RateLimit) -> Result<()> + Send + 'static) -> Changing {
        let its = limit.clone();
        Changing { state: State::Planned { limit: limit.clone(), work: Box::new(move || work(&its)) } }
    }
}

impl Future for Changing {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Planned { limit, work } => {
                let report =
                    Arc::new(Mutex::new(Report { done: None, waker: Some(context.waker().clone()) }));
                begin(work, &report).map_err(|why| {
                    let why = format!("cannot start the thread that makes the change: {why}");
                    Error::new(ErrorKind::Io, why).at(limit.name(), limit.path())
                })?;
                self.state = State::Begun { limit, by: ProcessToken::current(), report };
                Poll::Pending
            }
            // Before the report is locked: the thread that may hold it is the parent's.
            State::Begun { limit, by, .. } if by != ProcessToken::current() => {
                let why =
                    "this change was begun by the parent process, which makes it; ask for one of your own";
                Poll::Ready(Err(Error::new(ErrorKind::InvalidInput, why).at(limit.name(), limit.path())))
            }
            State::Begun { limit, by, report } => match heard(&report, context) {
                Some(Ok(done)) => Poll::Ready(done),
                Some(Err(panic)) => resume_unwind(panic),
                None => {
                    self.state = State::Begun { limit, by, report };
                    Poll::Pending
                }
            },
            State::Over => panic!("polled after it was ready"),
        }
    }
}

/// What the thread said; if nothing yet, it wakes this task.
fn heard(report: &Mutex<Report>, context: &Context<'_>) -> Option<Done> {
    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
    let done = report.done.take();
    if done.is_none() {
        report.waker = Some(context.waker().clone());
    }
    done
}

fn begin(work: Work, report: &Arc<Mutex<Report>>) -> std::io::Result<()> {
    let report = Arc::clone(report);
    thread::start(None, move || {
        let done = catch_unwind(AssertUnwindSafe(work));
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        report.done = Some(done);
        let waker = report.waker.take();
        drop(report);
        waker.into_iter().for_each(Waker::wake);
    })
}

impl fmt::Debug for Changing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Planned { .. } => "planned",
            State::Begun { .. } => "begun",
            State::Over => "over",
        };
        f.debug_struct("Changing").field("state", &state).finish_non_exhaustive()
    }
}
