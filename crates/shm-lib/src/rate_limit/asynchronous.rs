//! Changes as futures, which never block the runtime.
//!
//! A change opens the limiter's file and may wait up to two seconds for another process's change. Therefore each runs in a
//! thread of its own, which wakes the task when it is done.

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
    /// [`pause_for`](Self::pause_for) as a future: see [`Changing`].
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

    /// [`resume`](Self::resume) as a future: see [`Changing`].
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # use shm_lib::{Rate, RateLimit};
    /// # let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// # runtime.block_on(async {
    /// limit.pause_for_async(std::time::Duration::from_secs(30)).await?;
    /// limit.resume_async().await?;
    /// assert!(limit.try_acquire(1)?.is_admitted());
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`resume`](Self::resume).
    pub fn resume_async(&self) -> Changing {
        Changing::new(self, RateLimit::resume)
    }

    /// [`change`](Self::change) as a future: see [`Changing`].
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

    /// [`change_policy`](Self::change_policy) as a future: see [`Changing`].
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # use shm_lib::{Limit, Rate, RateLimit};
    /// # let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// # runtime.block_on(async {
    /// limit.change_policy_async(Limit::with_burst(Rate::per_second(10)?, 20)?).await?;
    /// assert_eq!(limit.limit()?.burst(), 20);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`change_policy`](Self::change_policy).
    pub fn change_policy_async(&self, policy: impl Into<Policy>) -> Changing {
        let policy = policy.into();
        Changing::new(self, move |limit| limit.change_policy(policy))
    }

    /// [`update_policy`](Self::update_policy) as a future: see [`Changing`]. `update` runs in the thread that makes the change.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # use shm_lib::{Rate, RateLimit};
    /// # let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// # runtime.block_on(async {
    /// limit.update_policy_async(|policy| policy.with_permits(4)).await?;
    /// assert_eq!(limit.policy()?.permits(), Some(4));
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`update_policy`](Self::update_policy).
    pub fn update_policy_async(
        &self,
        mut update: impl FnMut(Policy) -> Result<Policy> + Send + 'static,
    ) -> Changing {
        Changing::new(self, move |limit| limit.update_policy(&mut update))
    }

    /// [`reset`](Self::reset) as a future: see [`Changing`].
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # use shm_lib::{Rate, RateLimit};
    /// # let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// # runtime.block_on(async {
    /// assert!(limit.try_acquire(1)?.is_admitted());
    /// limit.reset_async().await?;
    /// assert!(limit.try_acquire(1)?.is_admitted());
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`reset`](Self::reset).
    pub fn reset_async(&self) -> Changing {
        Changing::new(self, RateLimit::reset)
    }

    /// [`retire`](Self::retire) as a future: see [`Changing`].
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # use shm_lib::{ErrorKind, Rate, RateLimit};
    /// # let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// # runtime.block_on(async {
    /// limit.retire_async().await?;
    /// assert_eq!(limit.try_acquire(1).unwrap_err().kind(), ErrorKind::Retired);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`retire`](Self::retire).
    pub fn retire_async(&self) -> Changing {
        Changing::new(self, RateLimit::retire)
    }
}

/// The future of a change, for any runtime. The change runs in a thread of its own, which starts at the first poll.
///
/// - **Dropped** before its first poll, it changes nothing. Dropped later, it does not cancel the change: the thread completes
///   it, and its error, if any, is lost.
/// - **Forked**: in a child, a future that the parent has already polled fails, since the thread exists only in the parent.
/// - **Killed**: a process that is killed during a change has made the whole change or none of it.
#[must_use = "a change is not made until it is awaited"]
pub struct Changing {
    state: ChangeState,
}

type Change = Box<dyn FnOnce() -> Result<()> + Send>;
type Outcome = std::thread::Result<Result<()>>;

enum ChangeState {
    NotStarted { limit: RateLimit, change: Change },
    Running { limit: RateLimit, process: ProcessToken, report: Arc<Mutex<Report>> },
    Done,
}

/// The thread's result, and the task to wake when it is there.
#[derive(Default)]
struct Report {
    done: Option<Outcome>,
    waker: Option<Waker>,
}

impl Changing {
    fn new(limit: &RateLimit, change: impl FnOnce(&RateLimit) -> Result<()> + Send + 'static) -> Changing {
        let its = limit.clone();
        Changing {
            state: ChangeState::NotStarted { limit: limit.clone(), change: Box::new(move || change(&its)) },
        }
    }
}

impl Future for Changing {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match std::mem::replace(&mut self.state, ChangeState::Done) {
            ChangeState::NotStarted { limit, change } => {
                let report =
                    Arc::new(Mutex::new(Report { done: None, waker: Some(context.waker().clone()) }));
                start(change, &report).map_err(|why| {
                    let why = format!("cannot start the thread for the change: {why}");
                    Error::new(ErrorKind::Io, why).at(limit.name(), limit.path())
                })?;
                self.state = ChangeState::Running { limit, process: ProcessToken::current(), report };
                Poll::Pending
            }
            // Checked before locking the report: in a forked child the lock may be held by a thread of the parent.
            ChangeState::Running { limit, process, .. } if process != ProcessToken::current() => {
                let why = "the parent process started this change and completes it; start another one in this process";
                Poll::Ready(Err(Error::new(ErrorKind::InvalidInput, why).at(limit.name(), limit.path())))
            }
            ChangeState::Running { limit, process, report } => match poll_report(&report, context) {
                Some(Ok(done)) => Poll::Ready(done),
                Some(Err(panic)) => resume_unwind(panic),
                None => {
                    self.state = ChangeState::Running { limit, process, report };
                    Poll::Pending
                }
            },
            ChangeState::Done => panic!("polled after it was ready"),
        }
    }
}

/// The thread's result. If it is not there yet, registers this task to be woken.
fn poll_report(report: &Mutex<Report>, context: &Context<'_>) -> Option<Outcome> {
    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
    let done = report.done.take();
    if done.is_none() {
        report.waker = Some(context.waker().clone());
    }
    done
}

fn start(change: Change, report: &Arc<Mutex<Report>>) -> std::io::Result<()> {
    let report = Arc::clone(report);
    thread::start(None, move || {
        let done = catch_unwind(AssertUnwindSafe(change));
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
            ChangeState::NotStarted { .. } => "not started",
            ChangeState::Running { .. } => "running",
            ChangeState::Done => "done",
        };
        f.debug_struct("Changing").field("state", &state).finish_non_exhaustive()
    }
}
