//! Several limits applied together, and permits.

use super::{Kind, Limit, Unit};
use crate::error::{Error, ErrorKind, Result};
use std::fmt;

/// The maximum number of limits of one limiter.
pub const MAX_LIMITS: usize = 4;
/// The maximum number of permits of one limiter.
pub const MAX_PERMITS: u32 = u16::MAX as u32;

/// The rules of a limiter: up to four limits, taken all or none, and optionally permits (a maximum number of concurrent
/// holders). A policy has at least one limit, or permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Filled from the front, without gaps.
    limits: [Option<Limit>; MAX_LIMITS],
    /// 0: no permits. Never 0 without a limit.
    permits: u32,
    shadow: bool,
    max_waiters: Option<u32>,
}

impl Policy {
    /// These limits, applied together.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for no limit (see [`of_permits`](Self::of_permits)), and for more than four.
    pub fn new(limits: &[Limit]) -> Result<Policy> {
        let bad = |why: String| Err(Error::new(ErrorKind::InvalidInput, why));
        if limits.is_empty() {
            return bad("a limiter needs a limit or permits, for example 5 per second or 3 permits".into());
        }
        if limits.len() > MAX_LIMITS {
            return bad(format!(
                "{} limits are too many for one limiter; it can have at most {MAX_LIMITS}",
                limits.len()
            ));
        }
        let mut all = [None; MAX_LIMITS];
        for (place, &limit) in all.iter_mut().zip(limits) {
            *place = Some(limit);
        }
        Ok(Policy { limits: all, permits: 0, shadow: false, max_waiters: None })
    }

    /// At most `n` permits held at once, and no limit: any number of calls, one after another.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for 0 and for more than [`MAX_PERMITS`].
    pub fn of_permits(n: u32) -> Result<Policy> {
        Policy { limits: [None; MAX_LIMITS], permits: 0, shadow: false, max_waiters: None }.with_permits(n)
    }

    /// The same policy with at most `n` permits held at once.
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

    /// The same policy with at most `n` requests waiting. A request that would have to wait is denied at once if this
    /// many already wait. With 0, no request waits.
    #[must_use]
    pub fn with_max_waiters(self, n: u32) -> Policy {
        Policy { max_waiters: Some(n), ..self }
    }

    /// The same policy with any number of requests waiting, which is the default.
    #[must_use]
    pub fn without_max_waiters(self) -> Policy {
        Policy { max_waiters: None, ..self }
    }

    /// The same policy without its limits: only the permits remain.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it has no permits.
    pub fn without_limits(self) -> Result<Policy> {
        Policy { limits: [None; MAX_LIMITS], ..self }.with_permits(self.permits)
    }

    /// The same policy with or without shadow mode, in which it decides and counts, but denies nothing.
    #[must_use]
    pub fn in_shadow(self, shadow: bool) -> Policy {
        Policy { shadow, ..self }
    }

    /// The quotas of a typical model API: requests per minute and per day, input and output tokens per minute. The
    /// units are named `input` and `output`. All are token buckets that hold the whole amount.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for amounts of 0.
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

    /// Its limits, in order.
    pub fn limits(&self) -> impl Iterator<Item = Limit> + '_ {
        self.limits.iter().map_while(|&limit| limit)
    }

    /// The first limit, often the only one; `None` if it has only permits.
    pub fn first(&self) -> Option<Limit> {
        self.limits[0]
    }

    /// Whether it has only permits, and no limit.
    pub fn is_unlimited(&self) -> bool {
        self.limits[0].is_none()
    }

    /// The same policy with this first limit, replacing the old one if there is one.
    #[must_use]
    pub fn with_first(self, limit: Limit) -> Policy {
        let mut limits = self.limits;
        limits[0] = Some(limit);
        Policy { limits, ..self }
    }

    /// The maximum number of permits held at once; `None` without permits.
    pub fn permits(&self) -> Option<u32> {
        (self.permits > 0).then_some(self.permits)
    }

    /// The maximum number of waiting requests; `None` if unlimited.
    pub fn max_waiters(&self) -> Option<u32> {
        self.max_waiters
    }

    /// Whether shadow mode is on, so that nothing is denied.
    pub fn is_shadow(&self) -> bool {
        self.shadow
    }

    /// Whether its state fits one word: a single bucket that counts calls, or no limit.
    pub(crate) fn fits_a_word(&self) -> bool {
        match self.limits {
            [Some(limit), None, ..] => limit.unit().is_calls() && matches!(limit.kind(), Kind::Bucket { .. }),
            limits => limits[0].is_none(),
        }
    }

    /// The largest request on the fast path: see `LimitParams::fast_burst`.
    pub(crate) fn fast_burst(&self) -> u64 {
        match self.limits[0] {
            Some(limit) if self.fits_a_word() && self.permits == 0 => limit.burst(),
            _ => 0,
        }
    }

    /// Whether both admit exactly the same.
    pub fn is_equivalent(&self, other: &Policy) -> bool {
        let same = |(a, b): (&Option<Limit>, &Option<Limit>)| match (a, b) {
            (Some(a), Some(b)) => a.is_equivalent(*b),
            (a, b) => a.is_none() && b.is_none(),
        };
        self.limits.iter().zip(&other.limits).all(same)
            && (self.permits, self.shadow, self.max_waiters)
                == (other.permits, other.shadow, other.max_waiters)
    }
}

impl From<Limit> for Policy {
    fn from(limit: Limit) -> Policy {
        Policy { limits: [Some(limit), None, None, None], permits: 0, shadow: false, max_waiters: None }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

    /// Only a limiter that is one bucket of calls without permits is decided by a single compare-and-swap.
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
