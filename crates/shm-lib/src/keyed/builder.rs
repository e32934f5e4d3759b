//! The settings of a limiter with limits per key.

use super::KeyedRateLimit;
use crate::{Builder, Lost, OnLost};
#[cfg(doc)]
use crate::{DeniedBy, ErrorKind, RateLimit};
#[cfg(doc)]
use shm_core::limit::Policy;
use shm_core::limit::{KeySpec, Limit, LimitSpec, PolicySpec, Rate, Start};
use shm_core::{Directory, Error, OnMismatch, Result};
use std::path::PathBuf;
use std::time::Duration;

/// Settings for opening or creating a limiter with limits per key. [`KeyedRateLimit::builder`] makes it; one of the methods
/// `open…` or [`attach`](Self::attach) completes it.
///
/// As with a [`Builder`], an existing limiter must match the settings made here, and settings that were not made match anything.
///
/// ```
/// # fn main() -> shm_lib::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let shared = dir.path();
/// use shm_lib::{KeyedRateLimit, Limit, Rate};
///
/// // Each user: 5 per second with bursts of 10, and 1,000 per hour. All users together: 2,000 per second.
/// let limit = KeyedRateLimit::builder("users")
///     .burst(10)
///     .and(Limit::sliding_counter(Rate::per_hour(1_000)?)?)
///     .in_all(Limit::with_burst(Rate::per_second(2_000)?, 100)?)
///     .capacity(1_000_000)
///     .directory(shared)
///     .open_rate(Rate::per_second(5)?)?;
/// # let _ = limit;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `open` or `attach`"]
pub struct KeyedBuilder {
    /// Its settings of a rate are those of each key, and its settings of the policy are those of all keys.
    base: Builder,
    of_all: Vec<Limit>,
    refuses_new: Option<bool>,
    hides_names: Option<bool>,
}

/// With the settings of the file and of losses that a [`Builder`] has; its settings of the limit are those of each key then, and its
/// permits those of all keys.
impl From<Builder> for KeyedBuilder {
    fn from(base: Builder) -> KeyedBuilder {
        KeyedBuilder { base, of_all: Vec::new(), refuses_new: None, hides_names: None }
    }
}

impl KeyedBuilder {
    fn with(self, set: impl FnOnce(Builder) -> Builder) -> KeyedBuilder {
        KeyedBuilder { base: set(self.base), ..self }
    }

    /// How many calls of a key may be admitted at the same instant after an idle time. The default, 1, spaces calls evenly.
    pub fn burst(self, burst: u64) -> Self {
        self.with(|base| base.burst(burst))
    }

    /// Makes the limit a fixed window: at most `max` in each of the consecutive windows of `per`, which is at least a second. The
    /// windows begin at multiples of `per` by the wall clock as it is when the limiter is created, and do not follow when it is
    /// set.
    pub fn fixed_window(self) -> Self {
        self.with(|base| base.fixed_window(Start::Epoch))
    }

    /// Makes the limit a sliding counter: at most `max`, by an estimate over a sliding window of `per`, which is at least a second.
    /// See [`Limit::sliding_counter`].
    pub fn sliding_counter(self) -> Self {
        self.with(Builder::sliding_counter)
    }

    /// Adds a further limit of each key. A request is charged to all limits or to none. Each key has at most four, and each limit
    /// has a table of its own.
    pub fn and(self, limit: Limit) -> Self {
        self.with(|base| base.and(limit))
    }

    /// Adds a limit of all keys together: of any kind, and up to four. A request is charged to the limits of its key and to those
    /// of all keys, or to none.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{DeniedBy, KeyedRateLimit, Limit, Rate};
    ///
    /// let limit = KeyedRateLimit::builder("users").burst(5).in_all(Limit::with_burst(Rate::per_minute(7)?, 7)?);
    /// let limit = limit.directory(dir.path()).open_rate(Rate::per_minute(5)?)?;
    /// assert!(limit.key("alice").try_acquire(5)?.is_admitted());
    /// let denied = limit.key("bob").try_acquire(5)?.denied().unwrap();
    /// assert!(matches!(denied.by(), DeniedBy::Limit { index: 0, .. }));
    /// assert!(limit.key("bob").try_acquire(2)?.is_admitted(), "the denial took nothing");
    /// # Ok(())
    /// # }
    /// ```
    pub fn in_all(mut self, limit: Limit) -> Self {
        self.of_all.push(limit);
        self
    }

    /// Limits concurrency, over all keys: an admission holds one of `n` [permits](crate::Permit) until it is dropped. (There are no
    /// permits per key: a permit belongs to a process and is free again when the process has ended, but a key belongs to no process.)
    pub fn permits_in_all(self, n: u32) -> Self {
        self.with(|base| base.permits(n))
    }

    /// Lets at most `n` callers of a process wait for a key: a further one is denied immediately, as by
    /// [`KeyAcquire::max_waiters`](super::KeyAcquire::max_waiters). For the limits of all keys see [`Builder::max_waiters`].
    pub fn max_waiters(self, n: u32) -> Self {
        self.with(|base| base.max_waiters(n))
    }

    /// Shadow mode: the limiter decides and counts but denies no request. See [`Builder::shadow`].
    pub fn shadow(self) -> Self {
        self.with(Builder::shadow)
    }

    /// How many keys can owe something at the same time, if this call creates the limiter. Default: 100,000. The table takes 40
    /// bytes for each key of the capacity and each limit per key, as far as it is used.
    ///
    /// Count the keys that come within the time that a key takes to recover from a full burst: for 5 per second with bursts of 10,
    /// those of two seconds; for fixed windows of an hour, those of an hour; for a sliding counter of an hour, those of two hours. With
    /// several limits per key, the longest of these times counts. With more keys than that, new keys begin to be denied for the
    /// debts of others, rarely at first: docs/benchmarks.md shows how often.
    pub fn capacity(self, keys: u64) -> Self {
        self.with(|base| base.capacity(keys))
    }

    /// Denies new keys while all slots of their row hold keys that owe something ([`DeniedBy::TableFull`]). By default, a new key
    /// inherits the debt of the key that recovers first, and takes its place if it is admitted with that debt.
    pub fn refuse_new_keys(mut self) -> Self {
        self.refuses_new = Some(true);
        self
    }

    /// Keeps no names of keys in the file. By default, the file has a sample of the keys that are denied most, for
    /// [`most_denied`](KeyedRateLimit::most_denied) and `shm-limit inspect`: at most 64 keys, the first 48 bytes of each.
    pub fn hide_names(mut self) -> Self {
        self.hides_names = Some(true);
        self
    }

    /// The directory of the limiter's file: see [`Builder::directory`].
    pub fn directory(self, path: impl Into<PathBuf>) -> Self {
        self.with(|base| base.directory(path))
    }

    /// The same, as a [`Directory`].
    pub fn in_directory(self, directory: Directory) -> Self {
        self.with(|base| base.in_directory(directory))
    }

    /// Permissions of the file if this call creates it: see [`Builder::mode`].
    pub fn mode(self, mode: u32) -> Self {
        self.with(|base| base.mode(mode))
    }

    /// How many processes can have a seat, if this call creates the limiter: see [`Builder::seats`]. A limiter without limits of all
    /// keys needs none.
    pub fn seats(self, seats: usize) -> Self {
        self.with(|base| base.seats(seats))
    }

    /// What to do if the limiter exists and does not match these settings: see [`Builder::on_mismatch`].
    pub fn on_mismatch(self, on_mismatch: OnMismatch) -> Self {
        self.with(|base| base.on_mismatch(on_mismatch))
    }

    /// Creates a new limiter even if one exists, in one step: see [`Builder::replace`]. For another capacity, or other kinds of
    /// limits.
    pub fn replace(self) -> Self {
        self.with(Builder::replace)
    }

    /// What the handle does when its limiter is lost: see [`Builder::on_lost`].
    pub fn on_lost(self, on_lost: OnLost) -> Self {
        self.with(|base| base.on_lost(on_lost))
    }

    /// Calls this function after the limiter was lost: see [`Builder::when_lost`].
    pub fn when_lost(self, report: impl Fn(&Lost<'_>) + Send + Sync + 'static) -> Self {
        self.with(|base| base.when_lost(report))
    }

    /// Joins the limiter, or creates it with at most `max` calls per `per` for each key.
    ///
    /// # Errors
    /// As [`KeyedRateLimit::open`]; [`ErrorKind::InvalidInput`] for settings that contradict each other.
    pub fn open(self, max: u64, per: Duration) -> Result<KeyedRateLimit> {
        self.open_rate(Rate::new(max, per)?)
    }

    /// Joins the limiter, or creates it with this rate for each key.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_rate(self, rate: Rate) -> Result<KeyedRateLimit> {
        let limits = self.base.limits_at(rate)?;
        self.open_specified(&limits)
    }

    /// Joins the limiter, or creates it with these limits of each key. The builder's settings of a rate cannot be used with it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_limits(self, limits: &[Limit]) -> Result<KeyedRateLimit> {
        self.base.refuse_rate_settings(
            "opens the limiter with exactly the given limits",
            "make it part of them",
        )?;
        self.open_specified(&limits.iter().map(|&limit| limit.into()).collect::<Vec<_>>())
    }

    /// The settings that only limits per key have, and whether they were made; beside those of the [`Builder`].
    fn own_settings(&self) -> [(&'static str, bool); 3] {
        [
            ("in_all", !self.of_all.is_empty()),
            ("refuse_new_keys", self.refuses_new.is_some()),
            ("hide_names", self.hides_names.is_some()),
        ]
    }

    fn open_specified(self, limits: &[LimitSpec]) -> Result<KeyedRateLimit> {
        let keys = KeySpec::new(limits)?;
        let keys = self.refuses_new.map_or(keys, |refuses| keys.refusing_new_keys(refuses));
        let keys = self.hides_names.map_or(keys, |hides| keys.hiding_names(hides));
        let policy = if self.of_all.is_empty() {
            PolicySpec::of_keys(keys)
        } else {
            let of_all: Vec<LimitSpec> = self.of_all.iter().map(|&limit| limit.into()).collect();
            PolicySpec::new(&of_all)?.with_keys(keys)
        };
        self.base.open_keys(policy).map(KeyedRateLimit::of)
    }

    /// Joins the limiter, or creates it with this policy, which must have limits per key ([`Policy::with_keys`]). A [`PolicySpec`]
    /// specifies some parts of a policy, and accepts any others of an existing limiter. Of the builder's
    /// settings it can use the capacity and those of the file and the handle.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`ErrorKind::InvalidInput`] if the policy has no limits per key.
    pub fn open_policy(self, policy: impl Into<PolicySpec>) -> Result<KeyedRateLimit> {
        let policy = policy.into();
        let instead = "make it part of the policy";
        self.base.refuse(&self.own_settings(), "opens the limiter with exactly the given policy", instead)?;
        if policy.policy().keys().is_none() {
            let why =
                format!("the policy ({policy}) has no limits per key; add them with `Policy::with_keys`");
            return Err(self.base.invalid(why));
        }
        self.base.open_policy(policy).map(KeyedRateLimit::of)
    }

    /// Joins the limiter with whatever policy it has, and never creates it. Of the builder's settings it can use the directory,
    /// [`on_lost`](Self::on_lost) and [`when_lost`](Self::when_lost).
    ///
    /// # Errors
    /// As [`KeyedRateLimit::attach`]; [`ErrorKind::InvalidInput`] for any other setting.
    pub fn attach(self) -> Result<KeyedRateLimit> {
        self.base.refuse(&self.own_settings(), "joins the limiter as it is", "leave it out")?;
        let limit = KeyedRateLimit::of(self.base.attach()?);
        let has_keys = limit.all.limiter().has_keys();
        if has_keys { Ok(limit) } else { Err::<_, Error>(limit.not_keyed()) }
    }
}
