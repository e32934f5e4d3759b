//! A request that may wait, and the bounds that its caller sets before it waits.

use crate::wait::{self, Acquiring};
use crate::{Admission, Denied, DeniedBy, Error, ErrorKind, Outcome, RateLimit};
use shm_core::clock::Nanos;
use shm_core::limit::Cost;
use shm_core::{Demand, Result};
use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

/// A request made by [`RateLimit::acquire`]. It starts with [`wait`](Self::wait) in a thread, or `.await` in a task; until then
/// nothing is charged.
///
/// `T` is the result type. Without a bound it is an [`Admission`]: the request waits as long as it takes. With a bound
/// ([`timeout`](Self::timeout), [`deadline`](Self::deadline) or [`max_waiters`](Self::max_waiters)) it is an [`Outcome`], since
/// the request may be denied. Bounds can be combined; if one is set twice, the stricter one counts.
///
/// ```
/// # fn main() -> shm_lib::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use shm_lib::{Admission, Outcome, Rate, RateLimit};
/// use std::time::Duration;
///
/// let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_second(20)?)?;
/// let _first: Admission = limit.acquire(1).wait()?;
/// let second: Outcome = limit.acquire(1).timeout(Duration::from_secs(5)).max_waiters(100).wait()?;
/// assert!(second.is_admitted());
/// # Ok(())
/// # }
/// ```
///
/// # Who waits
/// All waiting callers, threads and tasks of all processes, form one line in order of arrival.
///
/// - **Deadline**: a caller whose time is over leaves the line, nothing stays charged for it, and those behind it move up. A
///   request whose turn is estimated to come after its deadline is denied immediately. (There is no estimate for permits: a
///   request for a permit waits until its deadline.)
/// - **Dropped**: a future that is dropped while it waits (by the runtime's timeout, `select!`, an aborted task) leaves the
///   line in the same way.
/// - **Fork**: a copy of a waiting future in the child has no place in the line, and dropping it does not affect the parent's.
///   If the child polls it, it joins the line as a new caller.
/// - **Killed**: the callers of a killed process leave the line, and those behind them move up.
/// - **Changed**: a change, pause or reset of the limiter applies to waiting callers at once. They keep their places.
/// - **Lost**: if the limiter is retired, replaced, or its file removed, a waiting caller moves to the line of the limiter that
///   then has the name, and keeps its arrival time: see [`OnLost`](crate::OnLost).
///
/// # Futures
/// `.await` creates the future; where a value is needed (`pin!`, `join!`), [`into_future`](IntoFuture::into_future) does. It
/// works in any runtime and uses no timer of the runtime. If the request is admitted immediately and the limiter is a single
/// limit of calls, the future does not allocate. A waiting future blocks no thread: one thread per process and limiter, which
/// starts when the first task waits, sleeps for all waiting tasks and wakes them.
#[must_use = "a request does nothing until `wait` or `.await`"]
pub struct Acquire<'a, T = Admission> {
    pub(crate) limit: &'a RateLimit,
    pub(crate) demand: Demand,
    output: PhantomData<fn() -> T>,
}

/// A request with a stop condition: see [`Acquire::stop_when`].
#[must_use = "a request does nothing until `wait`"]
pub struct StoppableAcquire<'a, T, F> {
    acquire: Acquire<'a, T>,
    stop: F,
}

/// The result of an [`Acquire`]: an [`Admission`] or an [`Outcome`]. Sealed: no other type can implement it.
pub trait AcquireOutput: sealed::AcquireOutput {}

impl AcquireOutput for Admission {}
impl AcquireOutput for Outcome {}

pub(crate) mod sealed {
    use crate::{Admission, Denied, RateLimit};
    use shm_core::Result;

    pub trait AcquireOutput: Sized {
        fn admitted(admission: Admission) -> Self;
        fn denied(limit: &RateLimit, denied: Denied) -> Result<Self>;
    }
}

impl sealed::AcquireOutput for Outcome {
    fn admitted(admission: Admission) -> Outcome {
        Outcome::Admitted(admission)
    }

    fn denied(_: &RateLimit, denied: Denied) -> Result<Outcome> {
        Ok(Outcome::Denied(denied))
    }
}

/// Without a bound of its own, a request can be denied only by the limiter's policy, and that is an error.
impl sealed::AcquireOutput for Admission {
    fn admitted(admission: Admission) -> Admission {
        admission
    }

    #[cold]
    fn denied(limit: &RateLimit, denied: Denied) -> Result<Admission> {
        Err(match denied.by() {
            DeniedBy::Line { waiting } => limit.limiter().line_full_error(waiting),
            // Without a deadline a request waits up to the last instant that the clock can express.
            _ => Error::new(ErrorKind::TooFar, "the turn would come after the last instant of the clock")
                .at(limit.name(), limit.path()),
        })
    }
}

impl<'a> Acquire<'a> {
    pub(crate) fn new(limit: &'a RateLimit, cost: &Cost) -> Acquire<'a> {
        Acquire { limit, demand: Demand::new(cost), output: PhantomData }
    }
}

impl<'a, T: AcquireOutput> Acquire<'a, T> {
    /// Waits for at most `timeout`, counted from this call. A request whose turn would come later is denied immediately.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    /// use std::time::{Duration, Instant};
    ///
    /// let limit = RateLimit::builder("report").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// let _ = limit.wait()?;
    /// let began = Instant::now();
    /// let denied = limit.acquire(1).timeout(Duration::from_secs(10)).wait()?; // the next turn is in a minute
    /// assert!(denied.retry_after() > Some(Duration::from_secs(50)));
    /// assert!(began.elapsed() < Duration::from_secs(5));
    /// # Ok(())
    /// # }
    /// ```
    pub fn timeout(self, timeout: Duration) -> Acquire<'a, Outcome> {
        self.until(wait::deadline_after(timeout))
    }

    /// Waits until `deadline` at the latest. A request whose turn would come later is denied immediately. If the deadline has
    /// passed already, the request is admitted immediately or denied.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    /// use std::time::{Duration, Instant};
    ///
    /// let limit = RateLimit::builder("batch").directory(dir.path()).open_rate(Rate::per_second(10)?)?;
    /// let deadline = Instant::now() + Duration::from_millis(350);
    /// let mut served = 0;
    /// while limit.acquire(1).deadline(deadline).wait()?.is_admitted() {
    ///     served += 1;
    /// }
    /// assert!((1..=4).contains(&served));
    /// # Ok(())
    /// # }
    /// ```
    pub fn deadline(self, deadline: Instant) -> Acquire<'a, Outcome> {
        self.until(wait::deadline_after(deadline.saturating_duration_since(Instant::now())))
    }

    pub(crate) fn until(self, latest: Nanos) -> Acquire<'a, Outcome> {
        let with_outcome = self.with_outcome();
        Acquire { demand: with_outcome.demand.until(latest), ..with_outcome }
    }

    /// Waits only if fewer than `n` requests of all processes are waiting; otherwise the request is denied immediately, by
    /// [`DeniedBy::Line`]. With 0 the request is admitted immediately or denied. If the limiter's policy also sets
    /// [`max_waiters`](crate::Policy::max_waiters), the smaller number counts.
    ///
    /// The waiting requests are counted when the request joins the line. The count is exact within a process; if several
    /// processes join at the same instant, each may take the last place.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{DeniedBy, Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("page").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// assert!(limit.acquire(1).max_waiters(0).wait()?.is_admitted());
    /// let denied = limit.acquire(1).max_waiters(0).wait()?.denied().unwrap();
    /// assert_eq!(denied.by(), DeniedBy::Line { waiting: 0 });
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_waiters(self, n: u32) -> Acquire<'a, Outcome> {
        let with_outcome = self.with_outcome();
        Acquire { demand: with_outcome.demand.behind_at_most(n.into()), ..with_outcome }
    }

    /// Sets no bound, but reports a denial by the limiter's policy ([`max_waiters`](crate::Policy::max_waiters)) as
    /// [`Outcome::Denied`] instead of an error.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{ErrorKind, Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("form").directory(dir.path()).max_waiters(0).open_rate(Rate::per_minute(1)?)?;
    /// let _ = limit.wait()?;
    /// assert_eq!(limit.wait().unwrap_err().kind(), ErrorKind::LineFull);
    /// assert!(!limit.acquire(1).or_denied().wait()?.is_admitted());
    /// # Ok(())
    /// # }
    /// ```
    pub fn or_denied(self) -> Acquire<'a, Outcome> {
        self.with_outcome()
    }

    /// Ends the wait of a thread when `stop` returns true, with an error of [`ErrorKind::Interrupted`]; nothing is charged then.
    /// `stop` is called before each sleep, after each signal handler that ran in this thread, and at least once a second. (To
    /// stop a future, drop it.)
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{ErrorKind, Rate, RateLimit};
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// static CTRL_C: AtomicBool = AtomicBool::new(true); // set by your signal handler
    ///
    /// let limit = RateLimit::builder("batch").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// limit.wait()?;
    /// let stopped = limit.acquire(1).stop_when(|| CTRL_C.load(Ordering::Relaxed)).wait();
    /// assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stop_when<F: FnMut() -> bool>(self, stop: F) -> StoppableAcquire<'a, T, F> {
        StoppableAcquire { acquire: self, stop }
    }

    /// Blocks this thread until the request is admitted or denied. A signal handler that runs in this thread does not end the
    /// wait; use [`stop_when`](Self::stop_when) for that.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("crawl").burst(3).directory(dir.path()).open_rate(Rate::per_second(100)?)?;
    /// let admission = limit.acquire(3).wait()?;
    /// assert!(admission.waited().is_zero()); // three calls were available
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`RateLimit::try_acquire`]; [`ErrorKind::TooFar`] if the turn would come in more than a year;
    /// [`ErrorKind::LineFull`] for a request without a bound if the policy's maximum number of requests already waits.
    pub fn wait(self) -> Result<T> {
        wait::wait(self, None::<fn() -> bool>)
    }

    /// Admits the request now if it need not wait. `None`: it has to wait, or will be denied, or the limiter has to be opened again;
    /// nothing was charged and no denial was counted, and the caller goes on with [`wait`](Self::wait) or `.await`. It takes no lock
    /// and opens no file, so it can be called where nothing may block.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_second(20)?)?;
    /// assert!(limit.acquire(1).try_now()?.is_some());
    /// let second = limit.acquire(1);
    /// assert!(second.try_now()?.is_none());
    /// second.wait()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`RateLimit::try_acquire`].
    #[inline]
    pub fn try_now(&self) -> Result<Option<T>> {
        match wait::try_immediate_calls(self.limit, &self.demand) {
            Some((receipt, charge)) => Ok(Some(T::admitted(Admission::immediate(receipt, None, charge)))),
            None => wait::try_immediate_here(self.limit, &self.demand),
        }
    }

    fn with_outcome(self) -> Acquire<'a, Outcome> {
        Acquire { limit: self.limit, demand: self.demand, output: PhantomData }
    }
}

impl<T: AcquireOutput, F: FnMut() -> bool> StoppableAcquire<'_, T, F> {
    /// Blocks this thread until the request is admitted or denied, or the stop condition returns true.
    ///
    /// # Errors
    /// As [`Acquire::wait`]; [`ErrorKind::Interrupted`] if the stop condition returned true.
    pub fn wait(self) -> Result<T> {
        wait::wait(self.acquire, Some(self.stop))
    }
}

/// `limit.acquire(1).await`: see [`Futures`](Acquire#futures).
impl<'a, T: AcquireOutput> IntoFuture for Acquire<'a, T> {
    type Output = Result<T>;
    type IntoFuture = Acquiring<'a, T>;

    fn into_future(self) -> Acquiring<'a, T> {
        Acquiring::new(self)
    }
}

impl<T> fmt::Debug for Acquire<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("limit", &self.limit.name())
            .field("cost", &self.demand.cost())
            .finish_non_exhaustive()
    }
}

impl<T, F> fmt::Debug for StoppableAcquire<'_, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoppableAcquire").field("acquire", &self.acquire).finish_non_exhaustive()
    }
}
