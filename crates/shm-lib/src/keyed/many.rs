//! Many keys at once.

use super::{Key, KeyedRateLimit, LimitOfKey};
use crate::Outcome;
use shm_core::limit::Cost;
use shm_core::{ProcessToken, Result};

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
        // More than a processor loads at a time would push out what was loaded first.
        const AT_ONCE: usize = 16;
        let cost = cost.into();
        let requests: Vec<LimitOfKey<'_, 'k>> = keys.into_iter().map(|key| self.key(key)).collect();
        let mut process = ProcessToken::current();
        let mut outcomes = Vec::with_capacity(requests.len());
        for requests in requests.chunks(AT_ONCE) {
            let mut prefetched = [None; AT_ONCE];
            prefetched.iter_mut().zip(requests).for_each(|(key, request)| *key = request.prefetch());
            for (request, key) in requests.iter().zip(prefetched) {
                outcomes.push(request.try_prefetched(key, cost)?);
            }
        }
        // In a child that a signal handler forked meanwhile, what was decided before are admissions of its parent.
        while process != ProcessToken::current() {
            process = ProcessToken::current();
            for (outcome, request) in outcomes.iter_mut().zip(&requests) {
                let limiter = self.all.limiter();
                if matches!(outcome, Outcome::Admitted(mine) if !limiter.belongs_to_this_process(&mine.receipt))
                {
                    *outcome = request.try_prefetched(None, cost)?;
                }
            }
        }
        Ok(outcomes)
    }
}
