//! Everything about a limiter that is not its rate.

use crate::RateLimit;
use shm_core::limit::{Description, KindName, Limit, PolicySpec, Rate, Start};
use shm_core::{Directory, Error, ErrorKind, Limiter, Name, OnMismatch, Result, Settings};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How to open a limiter. Made by [`RateLimit::builder`], ended by [`open`](Builder::open) or
/// [`attach`](Builder::attach).
///
/// A limiter that exists is compared with what was stated here, and not with what was left out: without
/// [`burst`](Builder::burst) it may have any burst, without [`permits`](Builder::permits) any number of permits, and so on,
/// see [`PolicySpec`].
///
/// ```
/// # fn main() -> shm_lib::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let shared = dir.path();
/// use shm_lib::{OnMismatch, RateLimit};
/// use std::time::Duration;
///
/// let limit = RateLimit::builder("mail")
///     .burst(20)
///     .directory(shared)
///     .mode(0o660)
///     .on_mismatch(OnMismatch::Change)
///     .open(600, Duration::from_secs(60))?;
/// # let _ = limit;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `open` or `attach`"]
pub struct Builder {
    name: String,
    /// How the first limit counts, if that was stated.
    kind: Option<How>,
    more: Vec<Limit>,
    permits: Option<u32>,
    max_waiters: Option<u32>,
    shadow: bool,
    directory: Option<Directory>,
    mode: Option<u32>,
    seats: usize,
    on_mismatch: OnMismatch,
}

/// How the first limit counts.
#[derive(Clone, Copy, Debug)]
enum How {
    Bucket(u64),
    Greedy,
    Fixed(Start),
    Sliding,
}

impl Builder {
    pub(crate) fn new(name: &str) -> Builder {
        Builder {
            name: name.to_owned(),
            kind: None,
            more: Vec::new(),
            permits: None,
            max_waiters: None,
            shadow: false,
            directory: None,
            mode: None,
            seats: shm_core::DEFAULT_SEATS,
            on_mismatch: OnMismatch::Error,
        }
    }

    /// How many may pass at one instant after a quiet time. 1, the default, spaces them evenly.
    pub fn burst(mut self, burst: u64) -> Self {
        self.kind = Some(How::Bucket(burst));
        self
    }

    /// At most `max` in any window of `per`, as fast as possible: an exact sliding log. See [`Limit::greedy`].
    pub fn greedy(mut self) -> Self {
        self.kind = Some(How::Greedy);
        self
    }

    /// At most `max` per window, one window after the other. See [`Limit::fixed_window`].
    pub fn fixed_window(mut self, start: Start) -> Self {
        self.kind = Some(How::Fixed(start));
        self
    }

    /// At most `max` by an estimate over a sliding window. See [`Limit::sliding_counter`].
    pub fn sliding_counter(mut self) -> Self {
        self.kind = Some(How::Sliding);
        self
    }

    /// And this limit, too: a request takes from all, or from none. Up to four in all.
    pub fn and(mut self, limit: Limit) -> Self {
        self.more.push(limit);
        self
    }

    /// At most `n` at a time: an admission holds a [`Permit`](crate::Permit) until it is dropped. With a rate, or alone: see
    /// [`open_permits`](Self::open_permits).
    pub fn permits(mut self, n: u32) -> Self {
        self.permits = Some(n);
        self
    }

    /// At most `n` requests wait. A request that would have to wait is refused at once when this many already wait. With
    /// 0 no request waits. Default: any number.
    pub fn max_waiters(mut self, n: u32) -> Self {
        self.max_waiters = Some(n);
        self
    }

    /// Decides and counts, but denies nobody: to see what a limit would do before it does.
    pub fn shadow(mut self) -> Self {
        self.shadow = true;
        self
    }

    /// The directory of the limiter's file, which must exist. The same name in the same directory is the same
    /// budget: mount it into containers, give it to a group. Default: `$SHM_LIMIT_DIR`, else
    /// `/dev/shm/shm-limit-<uid>`, which is made when needed and private to the user.
    pub fn directory(self, path: impl Into<PathBuf>) -> Self {
        self.in_directory(Directory::at(path))
    }

    /// The same, as a [`Directory`].
    pub fn in_directory(mut self, directory: Directory) -> Self {
        self.directory = Some(directory);
        self
    }

    /// Permissions of the file if it is created here: `0o600`, `0o660` or `0o666`. The default is `0o600`, and `0o660` in a
    /// directory that a group shares: one that is setgid and that its group can write to. The umask plays no part.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// For how many processes at once the limiter, if it is created here, has a seat: one for each process, however many
    /// handles it has. Default 128. Beyond that, a limiter of one bucket of calls works, and counts in common; any other, and
    /// one with permits, answers [`NoSeat`](crate::ErrorKind::NoSeat).
    pub fn seats(mut self, seats: usize) -> Self {
        self.seats = seats;
        self
    }

    /// What to do if the limiter exists and differs from what was stated here. Default: an error that shows both.
    /// [`OnMismatch::Keep`] is for workers that are started again and again: they also start after somebody has changed the
    /// limiter.
    pub fn on_mismatch(mut self, on_mismatch: OnMismatch) -> Self {
        self.on_mismatch = on_mismatch;
        self
    }

    fn place(&self) -> Result<(Directory, Name)> {
        let dir = self.directory.clone().unwrap_or_else(Directory::from_env);
        Ok((dir, Name::new(&self.name)?))
    }

    /// Joins the limiter, or creates it with at most `max` per `per`.
    ///
    /// # Errors
    /// See [`RateLimit::open`].
    pub fn open(self, max: u64, per: Duration) -> Result<RateLimit> {
        self.open_rate(Rate::new(max, per)?)
    }

    /// Joins the limiter, or creates it with this rate.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("api").directory(shared).open_rate(Rate::per_second(50)?)?;
    /// # let _ = limit;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`RateLimit::open`].
    pub fn open_rate(self, rate: Rate) -> Result<RateLimit> {
        let rate = Description::of(rate);
        let first = match self.kind {
            None => rate,
            Some(How::Bucket(burst)) => Description { burst: Some(burst), ..rate },
            Some(How::Greedy) => Description { kind: KindName::Greedy, ..rate },
            Some(How::Fixed(start)) => {
                Description { kind: KindName::FixedWindow, start: Some(start), ..rate }
            }
            Some(How::Sliding) => Description { kind: KindName::SlidingCounter, ..rate },
        };
        let more = self.more.iter().map(|&limit| limit.into());
        let policy = PolicySpec::new(&std::iter::once(first).chain(more).collect::<Vec<_>>())?;
        let policy = self.permits.map_or(Ok(policy), |n| policy.with_permits(n))?;
        self.open_with_settings(policy)
    }

    /// Joins the limiter, or creates it with [`permits`](Self::permits) and no rate: at most so many at a time, one after the
    /// other as fast as they come.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::RateLimit;
    ///
    /// let limit = RateLimit::builder("downloads").directory(shared).permits(3).open_permits()?;
    /// let download = limit.wait()?; // holds a permit until it is dropped
    /// # let _ = download;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`RateLimit::open`]; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) without
    /// [`permits`](Self::permits), and with what belongs to a rate (a burst, another kind, a further limit).
    pub fn open_permits(self) -> Result<RateLimit> {
        let bad = |why: &str| Error::new(ErrorKind::InvalidInput, why);
        let Some(n) = self.permits else {
            return Err(bad("a limiter without a rate needs permits; say how many before open_permits"));
        };
        if self.kind.is_some() || !self.more.is_empty() {
            return Err(bad(
                "a limiter with permits only has no burst, no other kind and no further limit; \
                 leave them out, or open it with a rate",
            ));
        }
        self.open_with_settings(PolicySpec::of_permits(n)?)
    }

    /// With what the builder says of the whole policy.
    fn open_with_settings(self, policy: PolicySpec) -> Result<RateLimit> {
        let policy = self.max_waiters.map_or(policy, |n| policy.with_max_waiters(n));
        let policy = if self.shadow { policy.in_shadow(true) } else { policy };
        self.open_policy(policy)
    }

    /// Joins the limiter, or creates it with this policy. Of the builder, only directory, mode, seats and
    /// `on_mismatch` count.
    ///
    /// A [`Policy`](crate::Policy) or [`Limit`] states everything: a limiter with other limits, permits or shadow, or with
    /// more of them, is a mismatch. A [`PolicySpec`] states some of it.
    ///
    /// # Errors
    /// See [`RateLimit::open`].
    pub fn open_policy(self, policy: impl Into<PolicySpec>) -> Result<RateLimit> {
        let (dir, name) = self.place()?;
        let settings = Settings {
            mode: self.mode,
            seats: self.seats,
            on_mismatch: self.on_mismatch,
            ..Settings::new(policy)
        };
        Limiter::open(&dir, &name, &settings).map(|limiter| RateLimit { limiter: Arc::new(limiter) })
    }

    /// Joins the limiter as it is. Of the builder, only the directory counts.
    ///
    /// # Errors
    /// See [`RateLimit::attach`].
    pub fn attach(self) -> Result<RateLimit> {
        let (dir, name) = self.place()?;
        Limiter::attach(&dir, &name).map(|limiter| RateLimit { limiter: Arc::new(limiter) })
    }

    /// Removes the limiter, also if its file is not usable: damaged, of another version, from before the machine started,
    /// or any other regular file. A usable limiter is [retired](RateLimit::retire) first, so that every process that uses
    /// it hears of it. Of the builder, only the directory counts.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{ErrorKind, RateLimit};
    ///
    /// std::fs::write(shared.join("api"), "not a limiter").unwrap();
    /// let api = || RateLimit::builder("api").directory(shared);
    /// assert_eq!(api().attach().unwrap_err().kind(), ErrorKind::NotALimiter);
    /// api().remove_by_force()?;
    /// assert_eq!(api().attach().unwrap_err().kind(), ErrorKind::NotFound);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound); [`ErrorKind::NotALimiter`](crate::ErrorKind::NotALimiter) for
    /// anything but a regular file; and whatever keeps this process from removing the file.
    pub fn remove_by_force(self) -> Result<()> {
        let (dir, name) = self.place()?;
        shm_core::remove_by_force(&dir, &name)
    }
}
