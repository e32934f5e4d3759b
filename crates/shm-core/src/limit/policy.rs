//! Several limits that are taken together, and permits.

use super::{Kind, Limit, Unit};
use crate::error::{Error, ErrorKind, Result};
use std::fmt;

/// The most limits that one limiter can have.
pub const MAX_LIMITS: usize = 4;
/// The most permits that one limiter can have.
pub const MAX_PERMITS: u32 = u16::MAX as u32;

/// What a limiter keeps: one to four limits, taken all or none, and perhaps permits: how many may be held at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// The first is always there, and none comes after a gap.
    limits: [Option<Limit>; MAX_LIMITS],
    /// 0: none.
    permits: u32,
    shadow: bool,
}

impl Policy {
    /// These limits, all together.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for none, and for more than four.
    pub fn new(limits: &[Limit]) -> Result<Policy> {
        let bad = |why: String| Err(Error::new(ErrorKind::InvalidInput, why));
        if limits.is_empty() {
            return bad("a limiter needs a limit; say for example 5 per second".into());
        }
        if limits.len() > MAX_LIMITS {
            return bad(format!(
                "{} limits are too many for one limiter; it holds at most {MAX_LIMITS}",
                limits.len()
            ));
        }
        let mut all = [None; MAX_LIMITS];
        for (place, &limit) in all.iter_mut().zip(limits) {
            *place = Some(limit);
        }
        Ok(Policy { limits: all, permits: 0, shadow: false })
    }

    /// The same, with at most `n` permits held at once.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for 0 and for more than [`MAX_PERMITS`].
    pub fn with_permits(self, n: u32) -> Result<Policy> {
        if !(1..=MAX_PERMITS).contains(&n) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{n} permits are not possible; choose 1 to {MAX_PERMITS}"),
            ));
        }
        Ok(Policy { permits: n, ..self })
    }

    /// The same in shadow: it decides and counts, and denies nobody.
    #[must_use]
    pub fn in_shadow(self, shadow: bool) -> Policy {
        Policy { shadow, ..self }
    }

    /// A model API's quotas: requests per minute and per day, input and output tokens per minute. The units are called
    /// `input` and `output`. All are token buckets of their whole amount.
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

    /// Its limits.
    pub fn limits(&self) -> impl Iterator<Item = Limit> + '_ {
        self.limits.iter().map_while(|&limit| limit)
    }

    /// The first of its limits; often the only one.
    pub fn first(&self) -> Limit {
        match self.limits[0] {
            Some(limit) => limit,
            None => unreachable!("Policy::new puts a limit first"),
        }
    }

    /// The same, with another first limit.
    #[must_use]
    pub fn with_first(self, limit: Limit) -> Policy {
        let mut limits = self.limits;
        limits[0] = Some(limit);
        Policy { limits, ..self }
    }

    /// How many permits may be held at once; `None` if it has none.
    pub fn permits(&self) -> Option<u32> {
        (self.permits > 0).then_some(self.permits)
    }

    /// Whether it denies nobody.
    pub fn is_shadow(&self) -> bool {
        self.shadow
    }

    /// The only limit, if its state is a single word.
    pub(crate) fn single_word(&self) -> Option<Limit> {
        match self.limits {
            [Some(limit), None, ..]
                if limit.unit().is_calls() && matches!(limit.kind(), Kind::Bucket { .. }) =>
            {
                Some(limit)
            }
            _ => None,
        }
    }

    /// Whether both admit exactly the same.
    pub fn is_equivalent(&self, other: &Policy) -> bool {
        let same = |(a, b): (&Option<Limit>, &Option<Limit>)| match (a, b) {
            (Some(a), Some(b)) => a.is_equivalent(*b),
            (a, b) => a.is_none() && b.is_none(),
        };
        self.limits.iter().zip(&other.limits).all(same)
            && (self.permits, self.shadow) == (other.permits, other.shadow)
    }
}

impl From<Limit> for Policy {
    fn from(limit: Limit) -> Policy {
        Policy { limits: [Some(limit), None, None, None], permits: 0, shadow: false }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, limit) in self.limits().enumerate() {
            write!(f, "{}{limit}", if i > 0 { " + " } else { "" })?;
        }
        if let Some(n) = self.permits() {
            write!(f, " + at most {n} at a time")?;
        }
        if self.shadow {
            write!(f, " (shadow)")?;
        }
        Ok(())
    }
}
