//! A request of a key that may wait, and the bounds that its caller sets before it waits.

use super::LimitOfKey;
use super::wait::{self, Request};
use crate::acquire::AcquireOutput;
#[cfg(doc)]
use crate::{Acquire, DeniedBy, ErrorKind, KeyedBuilder};
use crate::{Admission, Outcome, Result};
use shm_core::clock::Nanos;
use shm_core::limit::Cost;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A request made by [`LimitOfKey::acquire`]. It starts with [`wait`](Self::wait) in a thread, or `.await` in a task; until then
/// nothing is charged. `T` is the result type, as for [`Acquire`].
///
/// # Who waits
/// The callers of a process that wait for the same key are served in order of arrival. Among processes there is no order, because
/// the table has no line for each of its keys.
///
/// - **Nothing is wasted**: while a caller waits for a key, the key's limit is delivered in full. A caller charges its turn up to
///   20 ms ahead (of a bucket or a fixed window), so that it does not depend on when it wakes up.
/// - **Deadline**: a request whose turn would come after its deadline is denied immediately.
/// - **Dropped** futures leave nothing charged, except for a turn within these 20 ms: that passes to the next caller of the process
///   that waits for the key, if it asks for the same and its deadline is not earlier; otherwise the turn is lost. A **killed** process
///   takes at most the turns of 20 ms of each key with it.
/// - **Futures that are not polled** for two seconds are passed over, so that the callers behind them go on.
/// - **Fork**: a copy of a waiting future in the child starts its request again when it is polled.
/// - **Changed**: waiting callers notice a change, pause or reset within a second, or when their turn comes if that is sooner.
/// - **Limits of all keys**: when the key has a turn, the caller that is first for it stands in the line of the limiter, with the
///   callers of all processes. There the order is by arrival. Both are charged for the instant of the turn in that line, so a key's
///   turn is not charged ahead: a caller that wakes up late delays the key's next turn by as much.
#[must_use = "a request does nothing until `wait` or `.await`"]
pub struct KeyAcquire<'l, 'k, T = Admission> {
    request: Request<'l, 'k>,
    output: PhantomData<fn() -> T>,
}

impl<'l, 'k> KeyAcquire<'l, 'k> {
    pub(super) fn new(of: LimitOfKey<'l, 'k>, cost: Cost) -> KeyAcquire<'l, 'k> {
        KeyAcquire { request: Request::new(of, cost), output: PhantomData }
    }
}

impl<'l, 'k, T: AcquireOutput> KeyAcquire<'l, 'k, T> {
    /// Waits for at most `timeout`, counted from this call. A request whose turn would come later is denied immediately.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{KeyedRateLimit, Rate};
    /// use std::time::Duration;
    ///
    /// let limit = KeyedRateLimit::builder("users").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// limit.key("alice").wait()?;
    /// let denied = limit.key("alice").acquire(1).timeout(Duration::from_secs(10)).wait()?; // the next turn is in a minute
    /// assert!(denied.retry_after() > Some(Duration::from_secs(50)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn timeout(self, timeout: Duration) -> KeyAcquire<'l, 'k, Outcome> {
        self.until(crate::wait::deadline_after(timeout))
    }

    /// Waits until `deadline` at the latest.
    pub fn deadline(self, deadline: Instant) -> KeyAcquire<'l, 'k, Outcome> {
        self.until(crate::wait::deadline_after(deadline.saturating_duration_since(Instant::now())))
    }

    fn until(self, latest: Nanos) -> KeyAcquire<'l, 'k, Outcome> {
        let mut request = self.request;
        request.latest = request.latest.min(latest);
        KeyAcquire { request, output: PhantomData }
    }

    /// Waits only if fewer than `n` callers of this process wait for the key; otherwise the request is denied immediately, by
    /// [`DeniedBy::Line`]. If the limiter's policy also sets a maximum ([`KeyedBuilder::max_waiters`]), the smaller one counts.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{DeniedBy, KeyedRateLimit, Rate};
    ///
    /// let limit = KeyedRateLimit::builder("page").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// assert!(limit.key("alice").acquire(1).max_waiters(0).wait()?.is_admitted());
    /// let denied = limit.key("alice").acquire(1).max_waiters(0).wait()?.denied().unwrap();
    /// assert_eq!(denied.by(), DeniedBy::Line { waiting: 0 });
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_waiters(self, n: u32) -> KeyAcquire<'l, 'k, Outcome> {
        let mut request = self.request;
        let n = u64::from(n);
        request.max_waiters = Some(request.max_waiters.map_or(n, |max| max.min(n)));
        KeyAcquire { request, output: PhantomData }
    }

    /// Sets no bound, but reports a denial by the limiter's policy as [`Outcome::Denied`] instead of an error.
    pub fn or_denied(self) -> KeyAcquire<'l, 'k, Outcome> {
        KeyAcquire { request: self.request, output: PhantomData }
    }

    /// Ends the wait of a thread when `stop` returns true: see [`Acquire::stop_when`]. `stop` is called before each sleep, after
    /// each signal handler that ran in this thread, and at least ten times a second. The wait then leaves what a dropped future leaves.
    pub fn stop_when<F: FnMut() -> bool>(self, stop: F) -> StoppableKeyAcquire<'l, 'k, T, F> {
        StoppableKeyAcquire { acquire: self, stop }
    }

    /// Decides the request now if that takes no place in a line. `None`: it has to wait, or (where there are limits of all keys or
    /// permits, or other callers of this process wait for the key) has to stand in line first; nothing was charged, and the caller
    /// goes on with [`wait`](Self::wait) or `.await`.
    ///
    /// # Errors
    /// As [`LimitOfKey::try_acquire`].
    pub fn try_now(&self) -> Result<Option<T>> {
        let all = &self.request.of.limit.all;
        wait::immediately(&self.request)?.map(|outcome| finish(all, outcome)).transpose()
    }

    /// Blocks this thread until the request is admitted or denied.
    ///
    /// # Errors
    /// As [`LimitOfKey::try_acquire`]; [`ErrorKind::TooFar`] if the turn would come in more than a year;
    /// [`ErrorKind::LineFull`] for a request without a bound if the policy's maximum number of callers already waits.
    pub fn wait(self) -> Result<T> {
        let all = &self.request.of.limit.all;
        finish(all, wait::in_thread(&self.request, None)?)
    }
}

/// A [`KeyAcquire`] that ends when a condition is met: see [`KeyAcquire::stop_when`].
#[must_use = "a request does nothing until `wait`"]
pub struct StoppableKeyAcquire<'l, 'k, T, F> {
    acquire: KeyAcquire<'l, 'k, T>,
    stop: F,
}

impl<T: AcquireOutput, F: FnMut() -> bool> StoppableKeyAcquire<'_, '_, T, F> {
    /// Blocks this thread until the request is admitted or denied, or the stop condition returns true.
    ///
    /// # Errors
    /// As [`KeyAcquire::wait`]; [`ErrorKind::Interrupted`] if the stop condition returned true.
    pub fn wait(mut self) -> Result<T> {
        let request = &self.acquire.request;
        finish(&request.of.limit.all, wait::in_thread(request, Some(&mut self.stop))?)
    }
}

/// The outcome in the form that the caller asked for.
fn finish<T: AcquireOutput>(all: &crate::RateLimit, outcome: Outcome) -> Result<T> {
    match outcome {
        Outcome::Admitted(admission) => Ok(T::admitted(admission)),
        Outcome::Denied(denied) => T::denied(all, denied),
    }
}

/// `limit.key("alice").acquire(1).await`.
impl<'l: 'k, 'k, T: AcquireOutput + 'k> IntoFuture for KeyAcquire<'l, 'k, T> {
    type Output = Result<T>;
    type IntoFuture = KeyAcquiring<'k, T>;

    fn into_future(self) -> KeyAcquiring<'k, T> {
        KeyAcquiring { state: State::New(Some(self.request)), output: PhantomData }
    }
}

/// The future of a [`KeyAcquire`]. It allocates only if it waits. A waiting future blocks no thread: one thread per handle and its
/// clones wakes all waiting tasks.
#[must_use = "a future does nothing until it is awaited"]
pub struct KeyAcquiring<'k, T = Admission> {
    state: State<'k>,
    output: PhantomData<fn() -> T>,
}

#[expect(clippy::large_enum_variant, reason = "without a wait nothing is allocated")]
enum State<'k> {
    New(Option<Request<'k, 'k>>),
    Waiting(&'k crate::RateLimit, Pin<Box<dyn Future<Output = Result<Outcome>> + Send + 'k>>),
}

impl<T: AcquireOutput> Future for KeyAcquiring<'_, T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let this = self.get_mut();
        if let State::New(request) = &mut this.state {
            let request = request.take().expect("polled after it was ready");
            let all = &request.of.limit.all;
            match wait::immediately(&request) {
                Err(e) => return Poll::Ready(Err(e)),
                Ok(Some(outcome)) => return Poll::Ready(finish(all, outcome)),
                Ok(None) => this.state = State::Waiting(all, Box::pin(wait::in_task(request))),
            }
        }
        let State::Waiting(all, waiting) = &mut this.state else { unreachable!("it waits now") };
        match waiting.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(outcome) => Poll::Ready(outcome.and_then(|outcome| finish(all, outcome))),
        }
    }
}

impl<T> fmt::Debug for KeyAcquire<'_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyAcquire")
            .field("limit", &self.request.of.limit.name())
            .field("key", &self.request.of.key)
            .field("cost", &self.request.cost)
            .finish_non_exhaustive()
    }
}

impl<T, F> fmt::Debug for StoppableKeyAcquire<'_, '_, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoppableKeyAcquire").field("acquire", &self.acquire).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for KeyAcquiring<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyAcquiring")
            .field("waits", &matches!(self.state, State::Waiting(..)))
            .finish_non_exhaustive()
    }
}
