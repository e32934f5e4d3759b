//! Limits per key: one limiter that limits each of many keys.
//!
//! | file | content |
//! |---|---|
//! | `mod` | the handle, and how to open one |
//! | `builder` | its settings |
//! | `key` | a key, and what can be one |
//! | `limit_of_key` | one key's budget |
//! | `counts` | counts and logs of a key, whose bounds come with the request |
//! | `decide` | a request of a key: decided now, from its own limits and those of all keys |
//! | `many` | many keys at once |
//! | `acquire` | a request that may wait, and its bounds |
//! | `wait` | waiting for a key's turn |

mod acquire;
mod builder;
mod counts;
mod decide;
mod key;
mod limit_of_key;
mod many;
mod wait;

pub use acquire::{KeyAcquire, KeyAcquiring, StoppableKeyAcquire};
pub use builder::KeyedBuilder;
pub use key::{Key, OwnedKey};
pub use limit_of_key::LimitOfKey;

use crate::RateLimit;
#[cfg(doc)]
use crate::{ErrorKind, OnLost};
use shm_core::limit::{KeyPolicy, Policy, Rate};
use shm_core::{DeniedKey, Error, Result, TableStatus};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wait::queues::Queues;

/// A handle to a limiter with limits per key, which all processes on the host share: each key, for example each user, has a budget
/// of its own.
///
/// ```
/// # fn main() -> shm_lib::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use shm_lib::KeyedRateLimit;
/// use std::time::Duration;
///
/// # let limit = KeyedRateLimit::builder("users").directory(dir.path()).open(5, Duration::from_secs(1))?;
/// # #[cfg(any())]
/// let limit = KeyedRateLimit::open("users", 5, Duration::from_secs(1))?;
/// assert!(limit.key("alice").try_acquire(1)?.is_admitted());
/// assert!(!limit.key("alice").try_acquire(1)?.is_admitted());
/// assert!(limit.key("bob").try_acquire(1)?.is_admitted());
/// # Ok(())
/// # }
/// ```
///
/// The table of keys has a fixed size ([`KeyedBuilder::capacity`]), gets its memory as keys come, and needs no process that cleans
/// up. A decision takes no lock.
///
/// - **Never over**: no key gets more than its limit, however many keys there are, and whichever are forgotten. When the table is
///   full, a new key starts with the debt of the key of its row that recovers first, and takes its place if it is admitted. So new
///   keys may be denied, and a forgotten key returns with at least what it owed. [`table_status`](Self::table_status) tells how
///   often that happens.
/// - **Fork**, **killed** and **stopped** processes, and **a lost limiter**: as for [`RateLimit`]. A killed process leaves at most
///   one request charged that it did not make.
/// - Nothing can be given back to a key: see [`LimitOfKey::settle`]. There are no permits per key.
#[derive(Clone)]
pub struct KeyedRateLimit {
    all: RateLimit,
    queues: Arc<Queues>,
}

impl KeyedRateLimit {
    fn of(all: RateLimit) -> KeyedRateLimit {
        KeyedRateLimit { all, queues: Arc::new(Queues::default()) }
    }

    /// Joins the limiter `name`, or creates it: each key has at most `max` calls per `per`, evenly spaced.
    ///
    /// The file is where that of a [`RateLimit`] of this name would be: a name belongs to a limiter with limits per key or to one
    /// without.
    ///
    /// ```no_run
    /// # fn main() -> shm_lib::Result<()> {
    /// use shm_lib::KeyedRateLimit;
    /// use std::time::Duration;
    ///
    /// let limit = KeyedRateLimit::open("users", 5, Duration::from_secs(1))?; // and the same line in every other program
    /// # let _ = limit;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`RateLimit::open`]; [`ErrorKind::Mismatch`] also if the existing limiter has no limits per key;
    /// [`ErrorKind::Unsupported`] on a processor that cannot replace 16 bytes in one step.
    pub fn open(name: &str, max: u64, per: Duration) -> Result<KeyedRateLimit> {
        KeyedRateLimit::builder(name).open(max, per)
    }

    /// Joins the limiter `name` with whatever policy it has, and never creates it.
    ///
    /// # Errors
    /// As [`RateLimit::attach`]; [`ErrorKind::InvalidInput`] if it has no limits per key.
    pub fn attach(name: &str) -> Result<KeyedRateLimit> {
        KeyedRateLimit::builder(name).attach()
    }

    /// All other settings: a burst, another kind of limit, several limits per key, a limit of all keys, the capacity. See
    /// [`KeyedBuilder`].
    pub fn builder(name: &str) -> KeyedBuilder {
        RateLimit::builder(name).into()
    }

    /// The budget of this key: see [`Key`] for what can be one.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{KeyedRateLimit, Rate};
    /// use std::net::IpAddr;
    ///
    /// let limit = KeyedRateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// let address: IpAddr = "192.0.2.7".parse().unwrap();
    /// assert!(limit.key("alice").try_acquire(1)?.is_admitted());
    /// assert!(limit.key(address).try_acquire(1)?.is_admitted());
    /// assert!(limit.key(("alice", "/login")).try_acquire(1)?.is_admitted());
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn key<'k>(&self, key: impl Into<Key<'k>>) -> LimitOfKey<'_, 'k> {
        LimitOfKey::new(self, key.into())
    }

    /// The limiter as a whole: to pause, reset or retire it for all keys, to change its policy, and to inspect it. Requests made
    /// with this handle name no key: they take only from the limits of all keys, and are errors if there are none.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{KeyedRateLimit, Rate};
    /// use std::time::Duration;
    ///
    /// let limit = KeyedRateLimit::builder("users").directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// limit.all_keys().pause_for(Duration::from_secs(30))?;
    /// assert!(limit.key("alice").try_acquire(1)?.retry_after() > Some(Duration::from_secs(29)));
    /// limit.all_keys().resume()?;
    /// limit.all_keys().reset()?;
    /// assert_eq!(limit.all_keys().stats().denied, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn all_keys(&self) -> &RateLimit {
        &self.all
    }

    /// The limits of each key.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`]; [`ErrorKind::InvalidInput`] if a limiter without limits per key has taken the name since.
    pub fn policy(&self) -> Result<KeyPolicy> {
        self.all.policy()?.keys().copied().ok_or_else(|| self.not_keyed())
    }

    /// Changes the rate of the first limit per key, for every process and all keys at once. Its burst stays. What a key has used
    /// stays used, and is recovered at the new rate. A request that is underway during the change is decided by the new rate, and
    /// may be charged twice.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{KeyedRateLimit, Rate};
    /// use std::time::Duration;
    ///
    /// let limit = KeyedRateLimit::builder("users").directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// limit.change(50, Duration::from_secs(1))?;
    /// assert_eq!(limit.policy()?.to_string(), "50/s evenly spaced per key");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`RateLimit::change`]; [`ErrorKind::InvalidInput`] if the limit counts windows of another length, or if the rate is more
    /// than 128 times that of the limiter's creation: then its table has to be [replaced](KeyedBuilder::replace).
    pub fn change(&self, max: u64, per: Duration) -> Result<()> {
        let rate = Rate::new(max, per)?;
        self.all.update_policy(|policy| {
            let keys = policy.keys().copied().ok_or_else(|| self.not_keyed())?;
            let first = keys.limits().next().ok_or_else(|| self.not_keyed())?;
            Ok(policy.with_keys(keys.with_limit(0, first.at_rate(rate)?)?))
        })
    }

    /// Changes the limits of each key, as [`change`](Self::change) changes a rate. The number of limits, their kinds, and the
    /// lengths of windows cannot be changed ([`KeyedBuilder::replace`] can).
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn change_keys(&self, keys: KeyPolicy) -> Result<()> {
        self.all.update_policy(|policy: Policy| Ok(policy.with_keys(keys)))
    }

    /// How full the table is, how often keys were forgotten, and how often new keys were denied because of that.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{KeyedRateLimit, Rate};
    ///
    /// let limit = KeyedRateLimit::builder("users").capacity(1_000_000).directory(dir.path());
    /// let limit = limit.open_rate(Rate::per_second(5)?)?;
    /// let status = limit.table_status()?;
    /// assert_eq!((status.capacity, status.live, status.allocated), (1_000_000, 0, 0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`policy`](Self::policy), [`ErrorKind::Retired`], [`ErrorKind::Removed`].
    pub fn table_status(&self) -> Result<TableStatus> {
        self.all.with(|limiter| limiter.table_status())?.ok_or_else(|| self.not_keyed())
    }

    /// The keys that were denied most in the last minute, at most `n` of them. They come from a sample, in which a key with a few per
    /// cent of all denials is found. The result is empty if the limiter [hides names](KeyedBuilder::hide_names).
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{KeyedRateLimit, Rate};
    ///
    /// let limit = KeyedRateLimit::builder("users").directory(dir.path()).open_rate(Rate::per_minute(1)?)?;
    /// for _ in 0..3 {
    ///     let _ = limit.key("mallory").try_acquire(1)?;
    /// }
    /// let most = &limit.most_denied(10)[0];
    /// assert_eq!((most.key.as_slice(), most.last_minute), (&["mallory".to_owned()][..], 2));
    /// # Ok(())
    /// # }
    /// ```
    pub fn most_denied(&self, n: usize) -> Vec<DeniedKey> {
        self.all.limiter().most_denied(n)
    }

    /// The limiter's name.
    pub fn name(&self) -> &str {
        self.all.name()
    }

    /// The limiter's file.
    pub fn path(&self) -> &Path {
        self.all.path()
    }

    /// The error for a limiter without limits per key.
    #[cold]
    fn not_keyed(&self) -> Error {
        self.all.limiter().no_keys_error()
    }
}

impl fmt::Debug for KeyedRateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimit")
            .field("name", &self.name())
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}
