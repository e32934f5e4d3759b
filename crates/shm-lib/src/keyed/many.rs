//! Many keys at once.

use super::decide;
use super::{Key, KeyedRateLimit};
use crate::Outcome;
use shm_core::limit::Cost;
use shm_core::{KeyAsk, KeyOf, Limiter, Result};
use std::sync::Arc;

impl KeyedRateLimit {
    /// Decides a request for each of these keys, each for `cost`, in their order: as [`try_acquire`] for one after the other, but
    /// faster, because what they need of a large table is loaded at the same time. For proxies, which have many requests at hand.
    ///
    /// [`try_acquire`]: super::LimitOfKey::try_acquire
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{KeyedRateLimit, Rate};
    ///
    /// let limit = KeyedRateLimit::builder("users").directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// let outcomes = limit.try_acquire_many(["alice", "bob", "alice"], 1)?;
    /// let admitted: Vec<bool> = outcomes.iter().map(|outcome| outcome.is_admitted()).collect();
    /// assert_eq!(admitted, [true, true, false]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`try_acquire`], for the first request that has one. Requests before it may have been charged.
    pub fn try_acquire_many<'k, K: Into<Key<'k>>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        cost: impl Into<Cost>,
    ) -> Result<Vec<Outcome>> {
        let (keys, cost): (Vec<Key<'k>>, Cost) = (keys.into_iter().map(Into::into).collect(), cost.into());
        let mut outcomes = Vec::with_capacity(keys.len());
        self.all.with(|limiter| {
            // If the limiter is lost halfway, the rest is decided by the next one.
            let rest = &keys[outcomes.len()..];
            many(limiter, rest, &cost, &mut outcomes)
        })?;
        Ok(outcomes)
    }
}

fn many(limiter: &Arc<Limiter>, keys: &[Key<'_>], cost: &Cost, outcomes: &mut Vec<Outcome>) -> Result<()> {
    if limiter.takes_more_than_keys()? {
        for key in keys {
            outcomes.push(decide::now(limiter, key, cost, None)?);
        }
        return Ok(());
    }
    let single: Option<Vec<[&[u8]; 1]>> = keys.iter().map(|key| Some([key.single()?])).collect();
    let Some(single) = single else {
        for key in keys {
            outcomes.push(decide::now(limiter, key, cost, None)?);
        }
        return Ok(());
    };
    let asks: Vec<KeyAsk<'_>> =
        single.iter().map(|parts| KeyAsk { key: KeyOf::All(parts), cost, at: None }).collect();
    limiter.try_keys(&asks, |_, decision| outcomes.push(decide::outcome(decision, cost)))
}
