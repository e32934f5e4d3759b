//! What a caller says of an acquisition before it waits.

use crate::wait::{self, Acquiring};
use crate::{Admission, Denied, DeniedBy, Error, ErrorKind, Outcome, RateLimit};
use shm_core::clock::Nanos;
use shm_core::limit::Cost;
use shm_core::{Demand, Result};
use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

/// An acquisition that has not begun: made by [`RateLimit::acquire`], ended by [`wait`](Self::wait) in a thread or `.await`
/// in a task. Until then nothing is taken.
///
/// `T` is what it gives. Without a bound that is an [`Admission`]: the request waits for as long as it takes. With a bound
/// ([`timeout`](Self::timeout), [`deadline`](Self::deadline), [`max_waiters`](Self::max_waiters)) it is an [`Outcome`], since
/// the request may be denied. Several bounds go together; if one is given twice, the stricter counts.
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
/// All callers that wait, threads and tasks of all processes, stand in one line in the order in which they arrived.
///
/// - **Out of time** a caller leaves the line and takes nothing along; those behind it move up. If the estimate says at the
///   outset that the deadline cannot be met, the request is denied at once. (How soon a permit is free is not known: for one
///   the request waits until its deadline.)
/// - **Dropped** while it waits (a timeout of the runtime, `select!`, an aborted task), a future leaves the line in the same
///   way.
/// - **Forked**: a copy in the child has no place in the line, and takes and gives back nothing of its parent's. Polled
///   there, it stands anew.
/// - **Killed** processes leave the line; those behind them move up.
/// - **Changed**: a change, pause or reset of the limiter reaches every caller that waits at once. It keeps its place.
/// - **Lost**: if the limiter is retired, replaced, or its file removed, a caller goes over to the line of the one that has the
///   name then, as one that arrived when it did: see [`OnLost`](crate::OnLost).
///
/// # Futures
/// `.await` makes one; where a future is needed as a value (`pin!`, `join!`), [`into_future`](IntoFuture::into_future) does.
/// They work in any runtime and need no timer of it. Admitted at once, a future neither allocates (where there is one limit,
/// of calls) nor starts anything. A future that waits blocks no thread: one thread of the process, which is started when a
/// task first waits for a limiter, sleeps for all of them and wakes them.
#[must_use = "an acquisition does nothing until `wait` or `.await`"]
pub struct Acquire<'a, T = Admission> {
    pub(crate) limit: &'a RateLimit,
    pub(crate) demand: Demand,
    gives: PhantomData<fn() -> T>,
}

/// An acquisition that its thread may stop: see [`Acquire::stop_when`].
#[must_use = "an acquisition does nothing until `wait`"]
pub struct AcquireUnless<'a, T, F> {
    acquire: Acquire<'a, T>,
    stop: F,
}

/// What an acquisition gives: an [`Admission`] or an [`Outcome`]. No other type can implement it.
pub trait Gives: sealed::Gives {}

impl Gives for Admission {}
impl Gives for Outcome {}

pub(crate) mod sealed {
    use crate::{Admission, Denied, RateLimit};
    use shm_core::Result;

    pub trait Gives: Sized {
        fn admitted(admission: Admission) -> Self;
        fn denied(limit: &RateLimit, denied: Denied) -> Result<Self>;
    }
}

impl sealed::Gives for Outcome {
    fn admitted(admission: Admission) -> Outcome {
        Outcome::Admitted(admission)
    }

    fn denied(_: &RateLimit, denied: Denied) -> Result<Outcome> {
        Ok(Outcome::Denied(denied))
    }
}

/// Without a bound only the limiter's own policy denies, and that is an error.
impl sealed::Gives for Admission {
    fn admitted(admission: Admission) -> Admission {
        admission
    }

    #[cold]
    fn denied(limit: &RateLimit, denied: Denied) -> Result<Admission> {
        Err(match denied.by() {
            DeniedBy::Line { waiting } => limit.limiter().line_is_full(waiting),
            // What an acquisition without a deadline waits for until the last instant of the clock.
            _ => Error::new(ErrorKind::TooFar, "the turn would come after the last instant of the clock")
                .at(limit.name(), limit.path()),
        })
    }
}

impl<'a> Acquire<'a> {
    pub(crate) fn new(limit: &'a RateLimit, cost: &Cost) -> Acquire<'a> {
        Acquire { limit, demand: Demand::new(cost), gives: PhantomData }
    }
}

impl<'a, T: Gives> Acquire<'a, T> {
    /// Waits for `timeout` at most, from this call on. If the turn would come later, the request is denied at once.
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
    /// let denied = limit.acquire(1).timeout(Duration::from_secs(10)).wait()?; // the turn is in a minute
    /// assert!(denied.retry_after() > Some(Duration::from_secs(50)));
    /// assert!(began.elapsed() < Duration::from_secs(5));
    /// # Ok(())
    /// # }
    /// ```
    pub fn timeout(self, timeout: Duration) -> Acquire<'a, Outcome> {
        self.until(wait::after(timeout))
    }

    /// Waits until `deadline` at most. If the turn would come later, the request is denied at once. After a deadline that is
    /// over already the request is admitted if that is possible at once.
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
        self.until(wait::after(deadline.saturating_duration_since(Instant::now())))
    }

    fn until(self, latest: Nanos) -> Acquire<'a, Outcome> {
        let bounded = self.bounded();
        Acquire { demand: bounded.demand.until(latest), ..bounded }
    }

    /// Waits if fewer than `n` requests wait, in all processes together; otherwise the request is denied at once, by
    /// [`DeniedBy::Line`]. With 0 it does not wait, and is admitted if that is possible at once. Where the limiter's own
    /// policy has a [`max_waiters`](crate::Policy::max_waiters), the smaller of both counts.
    ///
    /// The line is counted when the request joins it, exactly within a process; processes that join in the same instant may
    /// each find the last place free.
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
        let bounded = self.bounded();
        Acquire { demand: bounded.demand.behind_at_most(n.into()), ..bounded }
    }

    /// Without a bound of its own: but what the policy denies ([`max_waiters`](crate::Policy::max_waiters)) is an
    /// [`Outcome::Denied`] and not an error.
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
        self.bounded()
    }

    /// For threads: asks `stop` before each sleep, after each signal handler that ran in this thread, and at least once a
    /// second. When it says true, the wait ends with an error of [`ErrorKind::Interrupted`] and nothing is taken. (A future is
    /// stopped by dropping it.)
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{ErrorKind, Rate, RateLimit};
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// static CTRL_C: AtomicBool = AtomicBool::new(true); // set by your handler
    ///
    /// let limit = RateLimit::builder("batch").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// limit.wait()?;
    /// let stopped = limit.acquire(1).stop_when(|| CTRL_C.load(Ordering::Relaxed)).wait();
    /// assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stop_when<F: FnMut() -> bool>(self, stop: F) -> AcquireUnless<'a, T, F> {
        AcquireUnless { acquire: self, stop }
    }

    /// Waits in this thread until the request is admitted or denied. A signal handler that runs in this thread does not end
    /// the wait: see [`stop_when`](Self::stop_when).
    ///
    /// # Errors
    /// As [`RateLimit::try_acquire`]; [`ErrorKind::TooFar`] if the turn would come in more than a year;
    /// [`ErrorKind::LineFull`] without a bound, if as many requests wait as the policy lets wait.
    pub fn wait(self) -> Result<T> {
        wait::wait(self, None::<fn() -> bool>)
    }

    fn bounded(self) -> Acquire<'a, Outcome> {
        Acquire { limit: self.limit, demand: self.demand, gives: PhantomData }
    }
}

impl<T: Gives, F: FnMut() -> bool> AcquireUnless<'_, T, F> {
    /// As [`Acquire::wait`].
    ///
    /// # Errors
    /// As [`Acquire::wait`]; [`ErrorKind::Interrupted`] after the condition said true.
    pub fn wait(self) -> Result<T> {
        wait::wait(self.acquire, Some(self.stop))
    }
}

/// `limit.acquire(1).await`: see [`Futures`](Acquire#futures).
impl<'a, T: Gives> IntoFuture for Acquire<'a, T> {
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

impl<T, F> fmt::Debug for AcquireUnless<'_, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireUnless").field("acquire", &self.acquire).finish_non_exhaustive()
    }
}
