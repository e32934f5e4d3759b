//! Looking. It takes nothing.

use super::RateLimit;
use crate::{Error, ErrorKind};
use shm_core::clock::Nanos;
use shm_core::limit::{Limit, Outlook, Policy};
use shm_core::{Counts, Inspection, Limiter, Result};
use std::time::Duration;

/// How full a limiter is. Looking takes nothing, and the next moment may be different.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Peek {
    /// Calls that would be admitted now by all limits that count calls; `u64::MAX` if no limit does. (Permits are not looked
    /// at.)
    pub available: u64,
    /// How much of the first limit's burst is used. (In a pause, what is neither used nor available is held back.)
    pub used: u64,
    /// After how long one call would be admitted if no other request came.
    #[cfg_attr(feature = "serde", serde(rename = "next_in_ns", serialize_with = "nanos"))]
    pub next_in: Duration,
    /// The same as an instant.
    #[cfg_attr(feature = "serde", serde(rename = "next_at_ns"))]
    pub next_at: Nanos,
    /// How much is charged ahead, for turns that are to come.
    pub queued: u64,
    /// How full each limit is, in their order.
    pub limits: Vec<Outlook>,
}

impl RateLimit {
    /// How full it is. Takes nothing.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("search").burst(20).directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// let _ = limit.try_acquire(5)?;
    /// let peek = limit.peek()?;
    /// assert_eq!((peek.used, peek.available), (5, 15));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn peek(&self) -> Result<Peek> {
        self.with(|limiter| peek(limiter))
    }

    /// The limits and permits in force.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("api").permits(4).directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// assert_eq!(limit.policy()?.permits(), Some(4));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`].
    pub fn policy(&self) -> Result<Policy> {
        self.limiter().policy()
    }

    /// The first limit in force; often the only one.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// assert_eq!(limit.limit()?.rate(), Rate::per_second(5)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`]; [`ErrorKind::InvalidInput`] if it has permits and no limit (then [`policy`](Self::policy)
    /// says how many).
    pub fn limit(&self) -> Result<Limit> {
        self.policy()?.first().ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "it has permits and no limit").at(self.name(), self.path())
        })
    }

    /// What all processes did so far, the dead included.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use shm_lib::{Rate, RateLimit};
    /// # let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// let _ = (limit.try_acquire(1)?, limit.try_acquire(1)?);
    /// assert_eq!((limit.stats().admitted, limit.stats().denied), (1, 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> Counts {
        self.limiter().counts()
    }

    /// Everything that a person wants to know: who is attached and who waits included.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use shm_lib::{Rate, RateLimit};
    /// # let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// limit.wait()?;
    /// assert_eq!(limit.inspect()?.attached[0].pid, std::process::id());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn inspect(&self) -> Result<Inspection> {
        self.with(|limiter| limiter.inspect())
    }

    /// How often this handle and its clones have lost their limiter: it was retired, replaced, or its file was removed. See
    /// [`OnLost`](crate::OnLost), and [`Builder::when_lost`](crate::Builder::when_lost) to hear of it.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use shm_lib::{Rate, RateLimit};
    /// let open = || RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_second(5)?);
    /// let (mine, other) = (open()?, open()?);
    /// other.retire()?;
    /// assert!(mine.try_acquire(1)?.is_admitted()); // by the limiter that it created again
    /// assert_eq!(mine.times_lost(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn times_lost(&self) -> u64 {
        self.binding.times_lost()
    }
}

fn peek(limiter: &Limiter) -> Result<Peek> {
    let (limits, now) = limiter.peek()?;
    let policy = limiter.policy()?;
    let calls =
        || policy.limits().zip(&limits).filter(|(limit, _)| limit.unit().is_calls()).map(|(_, seen)| seen);
    // Where there is no limit only a pause denies.
    let paused_until = if limits.is_empty() { limiter.paused_until(now)?.unwrap_or(now) } else { now };
    let next_at = limits.iter().map(|seen| seen.next_at).max().unwrap_or(paused_until);
    let unlimited = if paused_until > now { 0 } else { u64::MAX };
    Ok(Peek {
        available: calls().map(|seen| seen.available).min().unwrap_or(unlimited),
        used: limits.first().map_or(0, |seen| seen.used),
        next_in: next_at.since(now),
        next_at,
        queued: limits.iter().map(|seen| seen.queued).max().unwrap_or(0),
        limits,
    })
}

/// Spans in snapshots are nanoseconds, as instants are.
#[cfg(feature = "serde")]
fn nanos<S: serde::Serializer>(span: &Duration, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}
