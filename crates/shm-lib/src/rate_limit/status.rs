//! Reading the limiter's state, which charges nothing.

use super::RateLimit;
use crate::{Error, ErrorKind};
use shm_core::clock::Nanos;
use shm_core::limit::{Cost, Limit, LimitStatus, Policy};
use shm_core::{Counts, Denied, Inspection, Limiter, Result};
use std::time::Duration;

/// How full a limiter was when [`RateLimit::status`] read it. Other processes may have changed it since.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Status {
    /// How many calls all limits that count calls would admit now; `u64::MAX` if no limit counts calls. Ignores permits.
    pub available: u64,
    /// How much of the first limit's burst is used, in that limit's unit. During a pause `used + available` is less than the burst.
    pub used: u64,
    /// How long until one call would be admitted if no other request arrived.
    #[cfg_attr(feature = "serde", serde(rename = "next_in_ns", serialize_with = "nanos"))]
    pub next_in: Duration,
    /// The same as an instant.
    #[cfg_attr(feature = "serde", serde(rename = "next_at_ns"))]
    pub next_at: Nanos,
    /// How much is charged ahead, for turns that have not come yet: the largest such amount of any limit, in that limit's unit.
    pub queued: u64,
    /// How full each limit is, in the policy's order.
    pub limits: Vec<LimitStatus>,
}

impl RateLimit {
    /// How full the limiter is. Charges nothing.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("search").burst(20).directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// let _ = limit.try_acquire(5)?;
    /// let status = limit.status()?;
    /// assert_eq!((status.used, status.available), (5, 15));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn status(&self) -> Result<Status> {
        self.with(|limiter| status_of(limiter))
    }

    /// Why a request would be denied now, or `None` if it would be admitted. Charges nothing, and does not look at permits. In shadow
    /// mode, such a request is admitted all the same.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    /// use std::time::Duration;
    ///
    /// let limit = RateLimit::builder("search").burst(20).directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// let _ = limit.try_acquire(5)?;
    /// assert!(limit.denial(15)?.is_none());
    /// let retry_after = limit.denial(17)?.unwrap().retry_after().unwrap(); // for two more
    /// assert!(retry_after > Duration::from_secs(60) && retry_after <= Duration::from_secs(120));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn denial(&self, cost: impl Into<Cost>) -> Result<Option<Denied>> {
        let cost = cost.into();
        self.with(|limiter| limiter.denial(&cost))
    }

    /// The current policy: limits and permits.
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
    /// [`ErrorKind::Corrupt`] if the file is damaged.
    pub fn policy(&self) -> Result<Policy> {
        self.limiter().policy()
    }

    /// The first limit of the current policy, which is often the only one.
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
    /// [`ErrorKind::Corrupt`] if the file is damaged; [`ErrorKind::InvalidInput`] if the limiter has permits and no limit (use
    /// [`policy`](Self::policy) then).
    pub fn limit(&self) -> Result<Limit> {
        self.policy()?.first().ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "the limiter has permits and no limit")
                .at(self.name(), self.path())
        })
    }

    /// Counters over all processes that ever used the limiter, including those that have ended. They survive a reset.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use shm_lib::{Rate, RateLimit};
    /// # let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// let _ = (limit.try_acquire(1)?, limit.try_acquire(1)?);
    /// limit.reset()?;
    /// assert_eq!((limit.stats().admitted, limit.stats().denied), (1, 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> Counts {
        self.limiter().counts()
    }

    /// A full report for people and monitoring: policy, fill level, counters, and the attached and waiting processes.
    ///
    /// It asks the kernel which of those processes are alive, so it costs more than [`status`](Self::status).
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

    /// How many times this handle and its clones have lost their limiter because it was retired, replaced, or its file was
    /// removed. See [`OnLost`](crate::OnLost). [`Builder::when_lost`](crate::Builder::when_lost) reports each loss.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use shm_lib::{Rate, RateLimit};
    /// let open = || RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_second(5)?);
    /// let (mine, other) = (open()?, open()?);
    /// other.retire()?;
    /// assert!(mine.try_acquire(1)?.is_admitted()); // by the limiter that it recreated
    /// assert_eq!(mine.times_lost(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn times_lost(&self) -> u64 {
        self.binding.times_lost()
    }
}

fn status_of(limiter: &Limiter) -> Result<Status> {
    let (limits, now) = limiter.status()?;
    let policy = limiter.policy()?;
    let calls =
        || policy.limits().zip(&limits).filter(|(limit, _)| limit.unit().is_calls()).map(|(_, seen)| seen);
    // Without a limit, only a pause denies calls.
    let paused_until = if limits.is_empty() { limiter.paused_until(now)?.unwrap_or(now) } else { now };
    let next_at = limits.iter().map(|seen| seen.next_at).max().unwrap_or(paused_until);
    let unlimited = if paused_until > now { 0 } else { u64::MAX };
    Ok(Status {
        available: calls().map(|seen| seen.available).min().unwrap_or(unlimited),
        used: limits.first().map_or(0, |seen| seen.used),
        next_in: next_at.since(now),
        next_at,
        queued: limits.iter().map(|seen| seen.queued).max().unwrap_or(0),
        limits,
    })
}

/// Serializes a duration in nanoseconds, the unit of instants.
#[cfg(feature = "serde")]
fn nanos<S: serde::Serializer>(span: &Duration, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}
