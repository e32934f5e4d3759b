//! One key's budget.

use super::{Key, KeyAcquire, KeyedRateLimit, decide};
use crate::outcome::{Charge, KeyCharge};
use crate::{Admission, Outcome, Settled};
#[cfg(doc)]
use crate::{ErrorKind, Limit, RateLimit};
use shm_core::limit::{Cost, Rate};
use shm_core::{Error, KeyAsk, KeyStatus, PrefetchedKey, Result};

/// The budget of one key, made by [`KeyedRateLimit::key`]. It offers for one key what a [`RateLimit`] offers for a whole limiter.
///
/// A request takes from all limits of the key and, if the limiter has limits of all keys or permits, from those; or it takes from
/// none, and is denied. Two cases can leave something charged without an admission:
///
/// - Where several requests of one key race for its last call, one that loses may have taken from those limits that recover
///   faster than the one that denied it: at most one call for each racing request. Of the limits of all keys it gives back what it
///   took (see [`RateLimit::settle`] for what a greedy limit can give back).
/// - A process that is killed during a request leaves at most this one request charged, in some of the limits.
#[derive(Clone, Debug)]
pub struct LimitOfKey<'l, 'k> {
    pub(super) limit: &'l KeyedRateLimit,
    pub(super) key: Key<'k>,
    pub(super) at: Option<(Rate, u64)>,
}

impl<'l, 'k> LimitOfKey<'l, 'k> {
    #[inline]
    pub(super) fn new(limit: &'l KeyedRateLimit, key: Key<'k>) -> LimitOfKey<'l, 'k> {
        LimitOfKey { limit, key, at: None }
    }

    /// Counts by this rate and burst instead of those of the first limit per key, for example for paid users beside free ones in
    /// one table. Each use of the key must give it: a request, a debt, a settlement, a status. The other limits per key stay those of
    /// the limiter. The first limit must be a bucket, and the two must take about equally long to recover from a full burst
    /// (`burst / rate`): between an eighth and eight times as long.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{KeyedRateLimit, Rate};
    ///
    /// let limit = KeyedRateLimit::builder("users").burst(10).directory(dir.path()).open_rate(Rate::per_minute(10)?)?;
    /// let paid = (Rate::per_minute(100)?, 100);
    /// assert!(!limit.key("free").try_acquire(10)?.retry_after().is_some());
    /// assert!(limit.key("paid").at(paid.0, paid.1).try_acquire(50)?.is_admitted());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn at(self, rate: Rate, burst: u64) -> LimitOfKey<'l, 'k> {
        LimitOfKey { at: Some((rate, burst)), ..self }
    }

    /// Charges the whole cost now, or denies the request. Never waits.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{DeniedBy, KeyedRateLimit, Rate};
    ///
    /// let limit = KeyedRateLimit::builder("users").burst(5).directory(dir.path()).open_rate(Rate::per_second(1)?)?;
    /// assert!(limit.key("alice").try_acquire(4)?.is_admitted());
    /// let denied = limit.key("alice").try_acquire(4)?.denied().unwrap();
    /// assert!(matches!(denied.by(), DeniedBy::KeyLimit { index: 0, inherited: false, .. }));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::NeverAdmissible`] if the cost is more than the burst.
    /// - [`ErrorKind::InvalidInput`] if the cost is zero, or its units do not match the limits; if the rate of
    ///   [`at`](Self::at) does not fit; if the limiter has no limits per key.
    /// - [`ErrorKind::NoSpace`] if the table needs memory for the key, and its file system is full. Keys whose part of the table
    ///   has memory go on.
    /// - Otherwise as [`RateLimit::try_acquire`]. [`ErrorKind::NoSeat`] can occur only with limits of all keys, or permits.
    #[inline]
    pub fn try_acquire(&self, cost: impl Into<Cost>) -> Result<Outcome> {
        self.try_prefetched(
            self.key.single().map(|part| self.limit.all.first().prefetch_part(part)),
            cost.into(),
        )
    }

    /// Starts to load what a decision needs.
    #[inline]
    pub(super) fn prefetch(&self) -> Option<PrefetchedKey> {
        let limiter = self.limit.all.first();
        match self.key.single() {
            Some(part) => Some(limiter.prefetch_part(part)),
            None => {
                self.key.with(|key| limiter.prefetch_key(key));
                None
            }
        }
    }

    /// Decides a request, after [`prefetch`](Self::prefetch).
    #[inline(always)]
    pub(super) fn try_prefetched(&self, key: Option<PrefetchedKey>, cost: Cost) -> Result<Outcome> {
        // Always tries the first limiter, as `RateLimit::try_acquire` does.
        if let (Some(key), Some(part), Some(calls), None) =
            (key, self.key.single(), cost.only_calls(), self.at)
        {
            if let Some(decision) = self.limit.all.first().try_key_fast(key, part, calls) {
                return Ok(decide::outcome_with(decision, || Charge::KeyCalls(calls)));
            }
            return self.try_calls(key, part, calls);
        }
        self.try_cost(&cost)
    }

    /// Out of line, so that the commonest limiters do not pay for it.
    #[inline(never)]
    fn try_calls(&self, key: PrefetchedKey, part: &[u8], calls: u64) -> Result<Outcome> {
        match self.limit.all.first().try_key_fast_by_any_limit(key, part, calls) {
            Some(decision) => Ok(decide::outcome_with(decision, || Charge::KeyCalls(calls))),
            None => self.try_cost(&Cost::from(calls)),
        }
    }

    #[inline(never)]
    fn try_cost(&self, cost: &Cost) -> Result<Outcome> {
        self.limit.all.with(|limiter| decide::now(limiter, &self.key, cost, self.at))
    }

    /// Prepares a request that waits for its turn: [`wait`](KeyAcquire::wait) for it in a thread, or `.await` it in a task.
    /// [`KeyAcquire`] explains who is served first.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// use shm_lib::{KeyedRateLimit, Rate};
    /// use std::time::Duration;
    ///
    /// let limit = KeyedRateLimit::builder("users").directory(dir.path()).open_rate(Rate::per_second(20)?)?;
    /// limit.key("alice").acquire(1).wait()?; // in a thread
    /// # runtime.block_on(async {
    /// limit.key("alice").acquire(1).await?; // in a task of any runtime
    /// let outcome = limit.key("alice").acquire(1).timeout(Duration::from_millis(10)).await?;
    /// assert!(!outcome.is_admitted());
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn acquire(&self, cost: impl Into<Cost>) -> KeyAcquire<'l, 'k> {
        KeyAcquire::new(self.clone(), cost.into())
    }

    /// Blocks this thread until one call is admitted: short for `acquire(1).wait()`.
    ///
    /// # Errors
    /// As [`KeyAcquire::wait`].
    pub fn wait(&self) -> Result<Admission> {
        self.acquire(1).wait()
    }

    /// What the key has used and can still take, for each limit per key, in order. Charges nothing. (For limits of all keys see
    /// [`KeyedRateLimit::all_keys`].)
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{KeyedRateLimit, Rate};
    ///
    /// let limit = KeyedRateLimit::builder("users").burst(5).directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// let _ = limit.key("alice").try_acquire(2)?;
    /// let status = limit.key("alice").status()?[0];
    /// assert_eq!((status.known, status.used, status.available), (true, 2, 3));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn status(&self) -> Result<Vec<KeyStatus>> {
        self.limit
            .all
            .with(|limiter| self.key.with(|key| limiter.key_status(key, self.at)))
            .map(|(status, _)| status)
    }

    /// For each limit per key, in order, a number that stands for the key where strangers see it: in a log, or in the response to
    /// a client. It is the same in every process. It reveals nothing about the key, not even to someone who can guess the key and
    /// compare, because it is a hash under a random key of the limiter's file. A limiter that is recreated gives other numbers.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{KeyedRateLimit, Rate};
    ///
    /// let limit = KeyedRateLimit::builder("tokens").directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// let fingerprint = limit.key("a secret").fingerprints()?[0];
    /// assert_eq!(limit.key("a secret").fingerprints()?, [fingerprint]);
    /// assert_ne!(limit.key("another one").fingerprints()?, [fingerprint]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn fingerprints(&self) -> Result<Vec<u64>> {
        self.limit.all.with(|limiter| self.key.with(|key| limiter.key_fingerprints(key)))
    }

    /// Resets the usage of the key to zero. Returns whether the key was in the table.
    ///
    /// Until the key has recovered from its old debt, it takes the room of one more key in the table. So a program that would reset
    /// a key at each success (of a login, for example) should instead [`charge`](Self::charge) only failures.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{KeyedRateLimit, Rate};
    ///
    /// let limit = KeyedRateLimit::builder("users").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// let alice = limit.key("alice");
    /// assert!(alice.try_acquire(1)?.is_admitted() && !alice.try_acquire(1)?.is_admitted());
    /// assert!(alice.reset()?);
    /// assert!(alice.try_acquire(1)?.is_admitted());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn reset(&self) -> Result<bool> {
        self.limit.all.with(|limiter| self.key.with(|key| limiter.reset_key(key)))
    }

    /// Charges this cost to the key unconditionally, as a penalty or a debt, in one step per limit. It delays later requests of the
    /// key; it denies nothing now, and takes nothing from the limits of all keys. The amount may be larger than the burst. Units
    /// that the cost does not name are not charged.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{KeyedRateLimit, Rate};
    /// use std::time::Duration;
    ///
    /// let limit = KeyedRateLimit::builder("logins").burst(5).directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// limit.key("alice").charge(7)?; // a wrong password
    /// assert!(limit.key("alice").try_acquire(1)?.retry_after() > Some(Duration::from_secs(150)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire), but no cost is too large for the burst; [`ErrorKind::TooFar`]
    /// if the key could then make no request for more than a year. (If another process charges it at the same time, the limits
    /// that recover faster than that one may have been charged.)
    pub fn charge(&self, cost: impl Into<Cost>) -> Result<()> {
        let cost = cost.into();
        self.limit.all.with(|limiter| {
            let (_, of_key) = limiter.split_cost(&cost)?;
            self.key.with(|key| limiter.charge_key(&KeyAsk { key, cost: &of_key, at: self.at }))
        })
    }

    /// Corrects the cost of an admission of this key that was charged an estimate. If the actual cost is higher, the difference is
    /// charged to the key, and delays its later requests. **If it is lower, the difference is not given back to the key**: the state
    /// of a key cannot decrease, or keys that were forgotten would return with less than they owed. So estimate low, and charge the
    /// rest. The limits of all keys are given back what can be given back, as by [`RateLimit::settle`]; the result says how much
    /// that was.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Cost, KeyedRateLimit, Limit, Rate, Unit};
    ///
    /// let tokens = Unit::named("tokens")?;
    /// let limit = Limit::token_bucket(Rate::per_hour(10_000)?)?.counting(tokens);
    /// let limit = KeyedRateLimit::builder("model").directory(dir.path()).open_limits(&[limit])?;
    /// let mut admission = limit.key("alice").acquire(Cost::of(tokens, 1_000)).wait()?; // an estimate
    /// limit.key("alice").settle(&mut admission, Cost::of(tokens, 1_400))?; // the actual cost
    /// assert_eq!(limit.key("alice").status()?[0].used, 1_400);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`charge`](Self::charge); [`ErrorKind::InvalidInput`] if the admission was already settled,
    /// or is not one of a key.
    pub fn settle(&self, admission: &mut Admission, actual: impl Into<Cost>) -> Result<Settled> {
        let actual = actual.into();
        let all = &self.limit.all;
        let invalid = |why: &str| {
            Err(Error::new(crate::ErrorKind::InvalidInput, why).at(self.limit.name(), self.limit.path()))
        };
        // First, because it may fail.
        let (for_all, for_key) = all.with(|limiter| limiter.split_cost(&actual))?;
        let KeyCharge { cost, all: of_all } = match std::mem::replace(&mut admission.charge, Charge::Settled)
        {
            Charge::KeyCalls(n) => KeyCharge { cost: Cost::from(n), all: None },
            Charge::Key(charge) => *charge,
            Charge::Settled => {
                return invalid("this admission is already settled; an admission can be settled once");
            }
            // Never charged.
            uncharged @ (Charge::FailedOpen | Charge::Shadowed(_)) => {
                admission.charge = uncharged;
                return Ok(Settled::default());
            }
            other => {
                admission.charge = other;
                return invalid("this admission is not one of a key; settle it with `RateLimit::settle`");
            }
        };
        let receipt = admission.receipt;
        let is_ours = all.limiter().belongs_to_this_process(&receipt);
        let debt = cost.differences(&for_key).1.filter(|_| is_ours);
        if let Some(debt) = &debt {
            all.with(|limiter| match limiter.belongs_to_this_process(&receipt) {
                true => self.key.with(|key| limiter.charge_key(&KeyAsk { key, cost: debt, at: self.at })),
                false => Ok(()),
            })?;
        }
        let of_all =
            of_all.map(|mut of_all| all.settle(&mut of_all, for_all)).transpose()?.unwrap_or_default();
        Ok(Settled { debt: debt.or(of_all.debt), ..of_all })
    }
}
