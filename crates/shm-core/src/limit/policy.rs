//! A policy: the limits and permits that one limiter enforces together.

use super::{KeyPolicy, Kind, Limit, Start, Unit, Zone};
use crate::error::{Error, ErrorKind, Result};
use std::fmt;

/// The maximum number of limits of one limiter.
pub const MAX_LIMITS: usize = 4;
/// The maximum number of permits of one limiter.
pub const MAX_PERMITS: u32 = u16::MAX as u32;

/// What a limiter enforces: up to four limits, which are charged all or none, and optionally permits, which bound concurrency.
/// A policy has at least one limit, or permits.
///
/// ```
/// # use shm_core::limit::{Limit, Policy, Rate};
/// # fn main() -> shm_core::Result<()> {
/// let policy = Policy::new(&[
///     Limit::with_burst(Rate::per_second(10)?, 20)?,
///     Limit::fixed_window(Rate::per_day(50_000)?, shm_core::limit::Start::Epoch)?,
/// ])?;
/// let policy = policy.with_permits(4)?.with_max_waiters(100);
/// assert_eq!((policy.limits().count(), policy.permits()), (2, Some(4)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Without gaps: the `Some`s come first.
    limits: [Option<Limit>; MAX_LIMITS],
    /// 0 means no permits. Not 0 if there is no limit.
    permits: u32,
    shadow: bool,
    max_waiters: Option<u32>,
    keys: Option<KeyPolicy>,
}

impl Policy {
    /// A policy that limits nothing yet.
    const NOTHING: Policy =
        Policy { limits: [None; MAX_LIMITS], permits: 0, shadow: false, max_waiters: None, keys: None };

    /// A policy of one to four limits. For a policy without limits see [`of_permits`](Self::of_permits).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there are no limits or more than four, or if calendar windows have different zones.
    pub fn new(limits: &[Limit]) -> Result<Policy> {
        let bad = |why: String| Err(Error::new(ErrorKind::InvalidInput, why));
        if limits.is_empty() {
            return bad(
                "a limiter needs a limit or permits; give for example 5 per second, or 3 permits".into()
            );
        }
        if limits.len() > MAX_LIMITS {
            return bad(format!(
                "{} limits are too many for one limiter; it holds at most {MAX_LIMITS}",
                limits.len()
            ));
        }
        let mut all = [None; MAX_LIMITS];
        for (slot, &limit) in all.iter_mut().zip(limits) {
            *slot = Some(limit);
        }
        let policy = Policy { limits: all, ..Policy::NOTHING };
        policy.check_zones()?;
        Ok(policy)
    }

    /// Checks that all calendar windows have the same zone.
    pub(crate) fn check_zones(&self) -> Result<()> {
        let mut zones = self.zones();
        match zones.next().and_then(|first| Some((first, zones.find(|&zone| zone != first)?))) {
            None => Ok(()),
            Some((a, b)) => Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "all calendar windows of one limiter follow the same time zone, and these name {a} and {b}; choose one of \
                     them, or use two limiters"
                ),
            )),
        }
    }

    fn zones(&self) -> impl Iterator<Item = Zone> + '_ {
        self.limits().filter_map(|limit| match limit.kind() {
            Kind::CalendarWindow { zone, .. } => Some(zone),
            _ => None,
        })
    }

    /// The time zone of its calendar windows; `None` if it has none.
    pub fn zone(&self) -> Option<Zone> {
        self.zones().next()
    }

    /// Whether any of its windows follow the wall clock.
    pub(crate) fn follows_wall_clock(&self) -> bool {
        self.limits().any(|limit| {
            matches!(limit.kind(), Kind::FixedWindow(Start::Epoch) | Kind::CalendarWindow { .. })
        })
    }

    /// A policy of `n` permits and no limit: it bounds concurrency, but not the rate.
    ///
    /// ```
    /// # use shm_core::limit::Policy;
    /// # fn main() -> shm_core::Result<()> {
    /// let policy = Policy::of_permits(3)?;
    /// assert!(policy.is_unlimited());
    /// assert_eq!(policy.to_string(), "3 permits");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for 0 and for more than [`MAX_PERMITS`].
    pub fn of_permits(n: u32) -> Result<Policy> {
        Policy::NOTHING.with_permits(n)
    }

    /// A policy of limits per key, without a limit of all keys together.
    ///
    /// ```
    /// # use shm_core::limit::{KeyPolicy, Limit, Policy, Rate};
    /// # fn main() -> shm_core::Result<()> {
    /// let policy = Policy::of_keys(KeyPolicy::new(&[Limit::with_burst(Rate::per_second(5)?, 10)?])?);
    /// assert_eq!(policy.to_string(), "5/s with bursts of 10 per key");
    /// # Ok(())
    /// # }
    /// ```
    pub fn of_keys(keys: KeyPolicy) -> Policy {
        Policy { keys: Some(keys), ..Policy::NOTHING }
    }

    /// This policy with these limits per key. Its other limits are those of all keys together.
    #[must_use]
    pub fn with_keys(self, keys: KeyPolicy) -> Policy {
        Policy { keys: Some(keys), ..self }
    }

    /// The limits per key; `None` if the policy has none.
    pub fn keys(&self) -> Option<&KeyPolicy> {
        self.keys.as_ref()
    }

    /// This policy with `n` permits.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Limit, Policy, Rate};
    /// let policy = Policy::from(Limit::patient(Rate::per_second(5)?)).with_permits(4)?;
    /// assert_eq!(policy.permits(), Some(4));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for 0 and for more than [`MAX_PERMITS`].
    pub fn with_permits(self, n: u32) -> Result<Policy> {
        if !(1..=MAX_PERMITS).contains(&n) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{n} is not a valid number of permits; choose 1 to {MAX_PERMITS}"),
            ));
        }
        Ok(Policy { permits: n, ..self })
    }

    /// This policy with a maximum of `n` waiting requests. When `n` requests wait, a further one that would have to wait is
    /// denied immediately. With 0 no request waits.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Policy};
    /// let policy = Policy::of_permits(4)?.with_max_waiters(100);
    /// assert_eq!(policy.max_waiters(), Some(100));
    /// assert_eq!(policy.without_max_waiters().max_waiters(), None);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_max_waiters(self, n: u32) -> Policy {
        Policy { max_waiters: Some(n), ..self }
    }

    /// This policy without a maximum of waiting requests, which is the default.
    #[must_use]
    pub fn without_max_waiters(self) -> Policy {
        Policy { max_waiters: None, ..self }
    }

    /// This policy without its limits: only the permits remain.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Limit, Policy, Rate};
    /// let policy = Policy::from(Limit::patient(Rate::per_second(5)?)).with_permits(4)?;
    /// assert_eq!(policy.without_limits()?, Policy::of_permits(4)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it has neither permits nor limits per key.
    pub fn without_limits(self) -> Result<Policy> {
        let rest = Policy { limits: [None; MAX_LIMITS], ..self };
        if self.keys.is_some() { Ok(rest) } else { rest.with_permits(self.permits) }
    }

    /// This policy without permits.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it has neither limits nor limits per key.
    pub fn without_permits(self) -> Result<Policy> {
        if self.is_unlimited() && self.keys.is_none() {
            let why = "a limiter without limits needs its permits; give it a rate first";
            return Err(Error::new(ErrorKind::InvalidInput, why));
        }
        Ok(Policy { permits: 0, ..self })
    }

    /// This policy with shadow mode switched on or off. In shadow mode a limiter decides and counts, but denies no request.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Limit, Policy, Rate};
    /// let policy = Policy::from(Limit::patient(Rate::per_second(5)?)).in_shadow(true);
    /// assert!(policy.is_shadow() && !policy.in_shadow(false).is_shadow());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn in_shadow(self, shadow: bool) -> Policy {
        Policy { shadow, ..self }
    }

    /// The quotas of a model API: requests per minute and per day, and input and output tokens per minute, in the units `input`
    /// and `output`. Each is a token bucket whose burst is the whole quota.
    ///
    /// ```
    /// # use shm_core::limit::Policy;
    /// # fn main() -> shm_core::Result<()> {
    /// let policy = Policy::model_api(60, 30_000, 8_000, 10_000)?;
    /// assert_eq!(policy.limits().map(|limit| limit.burst()).collect::<Vec<_>>(), [60, 30_000, 8_000, 10_000]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if an amount is 0.
    pub fn model_api(
        requests_per_min: u64,
        input_per_min: u64,
        output_per_min: u64,
        requests_per_day: u64,
    ) -> Result<Policy> {
        let minute = |max| super::Rate::new(max, std::time::Duration::from_secs(60));
        let day = super::Rate::new(requests_per_day, std::time::Duration::from_secs(86_400))?;
        Policy::new(&[
            Limit::token_bucket(minute(requests_per_min)?)?,
            Limit::token_bucket(minute(input_per_min)?)?.counting(Unit::named("input")?),
            Limit::token_bucket(minute(output_per_min)?)?.counting(Unit::named("output")?),
            Limit::token_bucket(day)?,
        ])
    }

    /// The limits, in order.
    pub fn limits(&self) -> impl Iterator<Item = Limit> + Clone + '_ {
        self.limits.iter().map_while(|&limit| limit)
    }

    /// The first limit, which is often the only one; `None` if the policy has only permits or limits per key.
    pub fn first(&self) -> Option<Limit> {
        self.limits[0]
    }

    /// Whether the policy has no limit of all its requests together: only permits, or only limits per key.
    pub fn is_unlimited(&self) -> bool {
        self.limits[0].is_none()
    }

    /// Whether the policy has only limits per key: a request without a key has nothing to take from.
    pub fn limits_only_keys(&self) -> bool {
        self.keys.is_some() && self.is_unlimited() && self.permits == 0
    }

    /// This policy with `limit` as its first limit, replacing the first limit if there is one.
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Limit, Policy, Rate};
    /// let limit = Limit::patient(Rate::per_second(5)?);
    /// assert_eq!(Policy::of_permits(4)?.with_first(limit).first(), Some(limit));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_first(self, limit: Limit) -> Policy {
        let mut limits = self.limits;
        limits[0] = Some(limit);
        Policy { limits, ..self }
    }

    /// The number of permits; `None` if the policy has none.
    pub fn permits(&self) -> Option<u32> {
        (self.permits > 0).then_some(self.permits)
    }

    /// The maximum number of waiting requests; `None` if there is no maximum.
    pub fn max_waiters(&self) -> Option<u32> {
        self.max_waiters
    }

    /// Whether the policy is in shadow mode, which denies no request.
    pub fn is_shadow(&self) -> bool {
        self.shadow
    }

    /// Whether the state fits a single word: one bucket that counts calls, or no limit.
    pub(crate) fn fits_a_word(&self) -> bool {
        match self.limits {
            [Some(limit), None, ..] => limit.unit().is_calls() && matches!(limit.kind(), Kind::Bucket { .. }),
            limits => limits[0].is_none(),
        }
    }

    /// The most that one request can take on the fast path: see `LimitParams::fast_burst`.
    pub(crate) fn fast_burst(&self) -> u64 {
        match self.limits[0] {
            Some(limit) if self.fits_a_word() && self.permits == 0 => limit.burst(),
            _ => 0,
        }
    }

    /// Whether both policies make the same decisions: see [`Limit::is_equivalent`].
    ///
    /// ```
    /// # fn main() -> shm_core::Result<()> {
    /// # use shm_core::limit::{Limit, Policy, Rate};
    /// let policy = |rate| Policy::from(Limit::patient(rate));
    /// assert!(policy(Rate::per_second(10)?).is_equivalent(&policy(Rate::per_minute(600)?)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_equivalent(&self, other: &Policy) -> bool {
        let same = |(a, b): (&Option<Limit>, &Option<Limit>)| match (a, b) {
            (Some(a), Some(b)) => a.is_equivalent(*b),
            (a, b) => a.is_none() && b.is_none(),
        };
        self.limits.iter().zip(&other.limits).all(same)
            && (self.permits, self.shadow, self.max_waiters)
                == (other.permits, other.shadow, other.max_waiters)
            && match (&self.keys, &other.keys) {
                (Some(a), Some(b)) => a.is_equivalent(b),
                (a, b) => a.is_none() && b.is_none(),
            }
    }
}

impl From<Limit> for Policy {
    fn from(limit: Limit) -> Policy {
        Policy { limits: [Some(limit), None, None, None], ..Policy::NOTHING }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(keys) = &self.keys {
            write!(f, "{keys}")?;
            match (self.is_unlimited(), self.permits) {
                (true, 0) => {}
                _ => f.write_str("; of all keys: ")?,
            }
        }
        for (i, limit) in self.limits().enumerate() {
            write!(f, "{}{limit}", if i > 0 { " + " } else { "" })?;
        }
        match self.permits() {
            Some(n) if self.is_unlimited() => write!(f, "{n} permit{}", if n == 1 { "" } else { "s" })?,
            Some(n) => write!(f, " + at most {n} at a time")?,
            None => {}
        }
        if let Some(n) = self.max_waiters {
            write!(f, ", at most {n} waiting")?;
        }
        if self.shadow {
            write!(f, " (shadow)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Rate;

    fn limit() -> Limit {
        Limit::patient("5/s".parse::<Rate>().unwrap())
    }

    #[test]
    fn a_policy_has_a_limit_or_permits() {
        let permits = Policy::of_permits(3).unwrap();
        assert_eq!((permits.first(), permits.permits(), permits.limits().count()), (None, Some(3), 0));
        assert!(permits.is_unlimited() && permits.fits_a_word());
        for refused in [
            Policy::new(&[]),
            Policy::of_permits(0),
            Policy::of_permits(MAX_PERMITS + 1),
            Policy::from(limit()).without_limits(),
        ] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        let limited = permits.with_first(limit());
        assert_eq!(limited, Policy::from(limit()).with_permits(3).unwrap());
        assert_eq!(limited.without_limits().unwrap(), permits);
        assert!(!limited.is_equivalent(&permits) && permits.is_equivalent(&permits));
    }

    #[test]
    fn max_waiters_is_part_of_the_policy() {
        let policy = Policy::from(limit());
        assert_eq!(policy.max_waiters(), None);
        for n in [0, 10, u32::MAX] {
            assert_eq!(policy.with_max_waiters(n).max_waiters(), Some(n));
            assert!(!policy.with_max_waiters(n).is_equivalent(&policy));
            assert_eq!(policy.with_max_waiters(n).without_max_waiters(), policy);
        }
    }

    #[test]
    fn a_policy_is_displayed_with_its_settings() {
        let (limited, permits) = (Policy::from(limit()), Policy::of_permits(3).unwrap());
        for (policy, text) in [
            (permits, "3 permits"),
            (Policy::of_permits(1).unwrap(), "1 permit"),
            (permits.with_max_waiters(7).in_shadow(true), "3 permits, at most 7 waiting (shadow)"),
            (limited.with_max_waiters(0), "5/s evenly spaced, at most 0 waiting"),
            (
                limited.with_permits(2).unwrap().with_max_waiters(1),
                "5/s evenly spaced + at most 2 at a time, at most 1 waiting",
            ),
        ] {
            assert_eq!(policy.to_string(), text);
        }
    }

    /// Only a limiter of one bucket of calls, without permits, decides by a single compare-and-swap.
    #[test]
    fn only_one_bucket_without_permits_has_a_fast_burst() {
        let bucket = Limit::with_burst("5/s".parse().unwrap(), 4).unwrap();
        let policy = Policy::from(bucket);
        assert_eq!((policy.fast_burst(), policy.with_max_waiters(3).fast_burst()), (4, 4));
        for policy in [
            policy.with_permits(2).unwrap(),
            Policy::of_permits(2).unwrap(),
            Policy::new(&[bucket, bucket]).unwrap(),
            bucket.counting(Unit::named("bytes").unwrap()).into(),
            Limit::greedy("5/s".parse().unwrap()).unwrap().into(),
        ] {
            assert_eq!(policy.fast_burst(), 0, "{policy}");
        }
    }
}
