//! The handle.

use crate::{Admission, Builder, Outcome};
use shm_core::clock::Nanos;
use shm_core::limit::{Limit, Rate};
use shm_core::{Counts, Error, ErrorKind, Inspection, Limiter, Result};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A rate limit that every process on the host can share, by name.
///
/// Cheap to clone; use it from any thread, and go on using it after `fork` in parent and child: both take from the
/// same budget. Dropping it takes nothing from others; the limiter stays until it is [retired](RateLimit::retire) or
/// the machine restarts.
///
/// **A killed process** leaves nothing behind: what it took counts as used, its turn in the queue passes, its seat is
/// free at once. **A stopped process** holds up nobody.
///
/// The default is *patient*: at most `max` per `per`, evenly spaced, one per `per / max`. See
/// [`Builder::burst`] for more at once. The algorithm is the generic cell rate algorithm (ITU-T I.371), which is also
/// the token bucket; it counts exactly, without drift.
#[derive(Clone)]
pub struct RateLimit {
    pub(crate) limiter: Arc<Limiter>,
}

/// How full a limiter is. Looking takes nothing, and the next moment may be different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peek {
    /// Tokens that would be admitted now.
    pub available: u64,
    /// Tokens of the burst that are used. (In a pause, those that are neither used nor available are held back.)
    pub used: u64,
    /// After how long one token would be admitted, if nobody else asks.
    pub next_in: Duration,
    /// The same as an instant.
    pub next_at: Nanos,
    /// Tokens reserved by those who wait.
    pub queued: u64,
}

impl RateLimit {
    /// Joins the limiter `name`, or creates it: at most `max` per `per`, evenly spaced.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] if it exists with another rate or burst; [`ErrorKind::InvalidName`] and
    /// [`ErrorKind::InvalidInput`] for what can't be; and what files can cause: no space, no permission, somebody
    /// else's file, a damaged or foreign file. Nothing is created then, and nothing is damaged.
    pub fn open(name: &str, max: u64, per: Duration) -> Result<RateLimit> {
        RateLimit::builder(name).open(max, per)
    }

    /// Joins the limiter `name` as it is.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, otherwise as [`open`](Self::open).
    pub fn attach(name: &str) -> Result<RateLimit> {
        RateLimit::builder(name).attach()
    }

    /// For a burst, another directory, permissions.
    pub fn builder(name: &str) -> Builder {
        Builder::new(name)
    }

    /// Takes one token now, or nothing. Never waits.
    ///
    /// # Errors
    /// [`ErrorKind::Retired`] or [`ErrorKind::Removed`]: open it again. [`ErrorKind::Corrupt`]: somebody wrote rubbish
    /// into the file. Whether to go on without a limit then, is the caller's choice.
    #[inline]
    pub fn try_acquire(&self) -> Result<Outcome> {
        self.limiter.try_acquire(1).map(Outcome::from)
    }

    /// Takes `n` tokens now, or nothing.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire); [`ErrorKind::NeverAdmissible`] if `n` is above the burst, and
    /// [`ErrorKind::InvalidInput`] if it is zero.
    #[inline]
    pub fn try_acquire_n(&self, n: u64) -> Result<Outcome> {
        self.limiter.try_acquire(at_least_one(n)?).map(Outcome::from)
    }

    /// Takes one token and waits for its turn. Among all processes, first come, first served.
    ///
    /// Hears of every change of the limiter while it waits. A signal handler that runs in this thread does not end
    /// the wait; see [`wait_unless`](Self::wait_unless) for that.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire); [`ErrorKind::TooFar`] if the queue is over a year long.
    pub fn wait(&self) -> Result<Admission> {
        self.wait_n(1)
    }

    /// Takes `n` tokens and waits for their turn.
    ///
    /// # Errors
    /// As [`wait`](Self::wait) and [`try_acquire_n`](Self::try_acquire_n).
    pub fn wait_n(&self, n: u64) -> Result<Admission> {
        match self.wait_unless(n, None, || false)? {
            Outcome::Admitted(admission) => Ok(admission),
            // Only a deadline denies.
            Outcome::Denied(_) => Err(Error::new(ErrorKind::Io, "denied without a deadline")),
        }
    }

    /// Takes one token if its turn comes within `timeout`; otherwise takes nothing and returns at once.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Outcome> {
        self.wait_n_timeout(1, timeout)
    }

    /// Takes `n` tokens if their turn comes within `timeout`; otherwise takes nothing and returns at once.
    ///
    /// # Errors
    /// As [`wait_n`](Self::wait_n).
    pub fn wait_n_timeout(&self, n: u64, timeout: Duration) -> Result<Outcome> {
        // A time that doesn't fit the clock is no deadline.
        self.wait_unless(n, Instant::now().checked_add(timeout), || false)
    }

    /// Takes one token if its turn comes by `deadline`; otherwise takes nothing and returns at once.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_deadline(&self, deadline: Instant) -> Result<Outcome> {
        self.wait_n_deadline(1, deadline)
    }

    /// Takes `n` tokens if their turn comes by `deadline`; otherwise takes nothing and returns at once.
    ///
    /// # Errors
    /// As [`wait_n`](Self::wait_n).
    pub fn wait_n_deadline(&self, n: u64, deadline: Instant) -> Result<Outcome> {
        self.wait_unless(n, Some(deadline), || false)
    }

    /// Like [`wait_n_deadline`](Self::wait_n_deadline), and asks `stop` before each sleep, after each signal handler that
    /// ran in this thread, and at least once a second. When it says true the turn is given back if it was the last
    /// one (and is forfeited otherwise).
    ///
    /// # Errors
    /// As [`wait_n`](Self::wait_n); [`ErrorKind::Interrupted`] after `stop` said true.
    pub fn wait_unless(
        &self,
        n: u64,
        deadline: Option<Instant>,
        stop: impl FnMut() -> bool,
    ) -> Result<Outcome> {
        crate::wait::wait(&self.limiter, at_least_one(n)?, deadline, stop)
    }

    /// How full it is. Takes nothing.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn peek(&self) -> Result<Peek> {
        let (seen, now) = self.limiter.peek()?;
        Ok(Peek {
            available: seen.available,
            used: seen.used,
            next_in: seen.next_at.since(now),
            next_at: seen.next_at,
            queued: seen.queued,
        })
    }

    /// The limit in force.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`].
    pub fn limit(&self) -> Result<Limit> {
        self.limiter.limit()
    }

    /// Admits nothing for `time`, in any process, then goes on at the pace and not in a burst. For a server's
    /// `429 Retry-After`. Never shortens a pause.
    ///
    /// # Errors
    /// As [`change`](Self::change); [`ErrorKind::InvalidInput`] for more than 366 days.
    pub fn pause_for(&self, time: Duration) -> Result<()> {
        self.limiter.pause_for(time)
    }

    /// Ends a pause; every sleeper hears of it at once.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn resume(&self) -> Result<()> {
        self.limiter.resume()
    }

    /// Changes the rate, for every process and every sleeper at once; the burst stays. What was used stays used, and
    /// those who wait ask again under the new rate.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`]; [`ErrorKind::Retired`], [`ErrorKind::Removed`], [`ErrorKind::Corrupt`];
    /// [`ErrorKind::Busy`] if another process was stopped in the middle of a change and has not moved for two
    /// seconds. Changes wait for one another; decisions wait for nobody.
    pub fn change(&self, max: u64, per: Duration) -> Result<()> {
        self.limiter.change_rate(Rate::new(max, per)?)
    }

    /// Changes rate and burst.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn change_limit(&self, limit: Limit) -> Result<()> {
        self.limiter.change(limit)
    }

    /// Forgets what was used. Those who wait ask again.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn reset(&self) -> Result<()> {
        self.limiter.reset()
    }

    /// Ends the limiter for every process: next decisions and all who wait get [`ErrorKind::Retired`], and the name
    /// is free for a new one.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn retire(&self) -> Result<()> {
        self.limiter.retire()
    }

    /// What all processes did so far, the dead included.
    pub fn stats(&self) -> Counts {
        self.limiter.counts()
    }

    /// Everything that a person wants to know, who is attached included.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn inspect(&self) -> Result<Inspection> {
        self.limiter.inspect()
    }

    /// The limiter's name.
    pub fn name(&self) -> &str {
        self.limiter.name().as_str()
    }

    /// The limiter's file.
    pub fn path(&self) -> &Path {
        self.limiter.path()
    }
}

#[inline]
fn at_least_one(n: u64) -> Result<u64> {
    if n == 0 { Err(none_asked()) } else { Ok(n) }
}

#[cold]
fn none_asked() -> Error {
    Error::new(ErrorKind::InvalidInput, "0 tokens were asked for; ask for 1 or more")
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("name", &self.name())
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}
