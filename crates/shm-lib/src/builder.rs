//! Everything about a limiter that is not its rate.

use crate::binding::{Binding, Opening};
use crate::lost::Observer;
use crate::{Lost, OnLost, RateLimit};
use shm_core::limit::{Description, KindName, Limit, PolicySpec, Rate, Start};
use shm_core::{Directory, Error, ErrorKind, Name, OnMismatch, Result, Settings};
use std::path::PathBuf;
use std::time::Duration;

/// How to open a limiter. Made by [`RateLimit::builder`], ended by [`open`](Builder::open) or
/// [`attach`](Builder::attach).
///
/// A limiter that exists is compared with what was stated here, and not with what was left out: without
/// [`burst`](Builder::burst) it may have any burst, without [`permits`](Builder::permits) any number of permits, and so on,
/// see [`PolicySpec`].
///
/// No setting is lost: one that the ending call has no use for, and two that contradict each other, are errors
/// ([`InvalidInput`](crate::ErrorKind::InvalidInput)) that name them.
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
    burst: Option<u64>,
    greedy: bool,
    fixed_window: Option<Start>,
    sliding_counter: bool,
    guard: Option<Duration>,
    more: Vec<Limit>,
    permits: Option<u32>,
    max_waiters: Option<u32>,
    shadow: bool,
    directory: Option<Directory>,
    mode: Option<u32>,
    seats: Option<usize>,
    on_mismatch: Option<OnMismatch>,
    replace: bool,
    on_lost: OnLost,
    when_lost: Option<Observer>,
}

impl Builder {
    pub(crate) fn new(name: &str) -> Builder {
        Builder {
            name: name.to_owned(),
            burst: None,
            greedy: false,
            fixed_window: None,
            sliding_counter: false,
            guard: None,
            more: Vec::new(),
            permits: None,
            max_waiters: None,
            shadow: false,
            directory: None,
            mode: None,
            seats: None,
            on_mismatch: None,
            replace: false,
            on_lost: OnLost::default(),
            when_lost: None,
        }
    }

    /// How many calls may pass at one instant after a quiet time. 1, the default, spaces them evenly.
    pub fn burst(mut self, burst: u64) -> Self {
        self.burst = Some(burst);
        self
    }

    /// At most `max` in any window of `per`, as fast as possible: an exact sliding log. See [`Limit::greedy`].
    pub fn greedy(mut self) -> Self {
        self.greedy = true;
        self
    }

    /// For [`greedy`](Self::greedy): lengthens the window by as much as an admitted caller may be late with its call, so that
    /// a strict server never counts one too many. See [`Limit::guarded`].
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{Rate, RateLimit};
    /// use std::time::Duration;
    ///
    /// let guard = Duration::from_millis(50);
    /// let limit = RateLimit::builder("exchange").greedy().guard(guard).directory(shared);
    /// let limit = limit.open_rate(Rate::per_second(10)?)?;
    /// assert_eq!(limit.limit()?.guard(), guard);
    /// # Ok(())
    /// # }
    /// ```
    pub fn guard(mut self, guard: Duration) -> Self {
        self.guard = Some(guard);
        self
    }

    /// At most `max` per window, one window after the other. See [`Limit::fixed_window`].
    pub fn fixed_window(mut self, start: Start) -> Self {
        self.fixed_window = Some(start);
        self
    }

    /// At most `max` by an estimate over a sliding window. See [`Limit::sliding_counter`].
    pub fn sliding_counter(mut self) -> Self {
        self.sliding_counter = true;
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

    /// At most `n` requests wait. A request that would have to wait is denied at once when this many already wait: by
    /// [`DeniedBy::Line`](crate::DeniedBy::Line) if it has a bound of its own (see [`Acquire`](crate::Acquire)), otherwise with
    /// an error, [`LineFull`](crate::ErrorKind::LineFull). With 0 no request waits. Default: any number.
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
        self.seats = Some(seats);
        self
    }

    /// What to do if the limiter exists and differs from what was stated here. Default: an error that shows both.
    /// [`OnMismatch::Keep`] is for workers that are started again and again: they also start after somebody has changed the
    /// limiter.
    pub fn on_mismatch(mut self, on_mismatch: OnMismatch) -> Self {
        self.on_mismatch = Some(on_mismatch);
        self
    }

    /// Creates the limiter anew, also if it exists: with other seats, another kind, more room. That is done in one step:
    /// processes that have it open and find its name again (see [`OnLost`]) join the new one, and none of them creates
    /// another meanwhile. Its usage, permits and line start anew.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let api = || RateLimit::builder("api").directory(shared);
    /// let worker = api().seats(2).open_rate(Rate::per_second(5)?)?;
    /// api().seats(256).replace().open_rate(Rate::per_second(5)?)?;
    /// assert!(worker.try_acquire(1)?.is_admitted());
    /// assert_eq!(worker.inspect()?.seats, 256);
    /// # Ok(())
    /// # }
    /// ```
    pub fn replace(mut self) -> Self {
        self.replace = true;
        self
    }

    /// What the handle does when its limiter is lost: it was retired (`shm-limit remove`), replaced, or its file was removed.
    /// Default: it [finds its name again](OnLost::FindAgain).
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{ErrorKind, OnLost, Rate, RateLimit};
    ///
    /// let api = || RateLimit::builder("api").directory(shared);
    /// let limit = api().on_lost(OnLost::Error).open_rate(Rate::per_second(5)?)?;
    /// api().attach()?.retire()?;
    /// assert_eq!(limit.try_acquire(1).unwrap_err().kind(), ErrorKind::Retired);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_lost(mut self, on_lost: OnLost) -> Self {
        self.on_lost = on_lost;
        self
    }

    /// Calls this function when the limiter was lost and the handle has looked for its name: in the thread that did so, and
    /// without any lock. With the feature `tracing` each such event is also told to `tracing`, for the target `shm_limit`.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let api = || RateLimit::builder("api").directory(shared);
    /// let limit = api().when_lost(|lost| eprintln!("{lost}")).open_rate(Rate::per_second(5)?)?;
    /// api().attach()?.retire()?;
    /// assert!(limit.try_acquire(1)?.is_admitted()); // "it was retired, and was created again; …"
    /// # Ok(())
    /// # }
    /// ```
    pub fn when_lost(mut self, tell: impl Fn(&Lost<'_>) + Send + Sync + 'static) -> Self {
        self.when_lost = Some(Observer::new(tell));
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
        self.refuse_contradictions()?;
        let (burst, start, guard) = (self.burst, self.fixed_window, self.guard);
        let rate = Description { burst, start, guard, ..Description::of(rate) };
        let first = match (self.greedy, self.fixed_window, self.sliding_counter) {
            (true, ..) => Description { kind: KindName::Greedy, ..rate },
            (_, Some(_), _) => Description { kind: KindName::FixedWindow, ..rate },
            (.., true) => Description { kind: KindName::SlidingCounter, ..rate },
            _ => rate,
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
    /// See [`RateLimit::open`]; [`ErrorKind::InvalidInput`] without
    /// [`permits`](Self::permits), and with what belongs to a rate (a burst, another kind, a further limit).
    pub fn open_permits(self) -> Result<RateLimit> {
        let Some(n) = self.permits else {
            return Err(
                self.bad("a limiter without a rate needs permits; say how many before `open_permits`")
            );
        };
        self.refuse(
            &self.of_a_rate(),
            "opens a limiter without a rate",
            "leave it out, or open it with a rate",
        )?;
        self.open_with_settings(PolicySpec::of_permits(n)?)
    }

    /// Settings that belong to a rate, and were made.
    fn of_a_rate(&self) -> [(&'static str, bool); 6] {
        [
            ("burst", self.burst.is_some()),
            ("greedy", self.greedy),
            ("fixed_window", self.fixed_window.is_some()),
            ("sliding_counter", self.sliding_counter),
            ("guard", self.guard.is_some()),
            ("and", !self.more.is_empty()),
        ]
    }

    /// Settings of the whole policy, and whether they were made.
    fn of_a_policy(&self) -> [(&'static str, bool); 3] {
        [
            ("permits", self.permits.is_some()),
            ("max_waiters", self.max_waiters.is_some()),
            ("shadow", self.shadow),
        ]
    }

    /// Settings of a new file, and of joining one that exists.
    fn of_a_file(&self) -> [(&'static str, bool); 4] {
        [
            ("replace", self.replace),
            ("mode", self.mode.is_some()),
            ("seats", self.seats.is_some()),
            ("on_mismatch", self.on_mismatch.is_some()),
        ]
    }

    /// An error if one of these settings was made.
    fn refuse(&self, settings: &[(&str, bool)], ending: &str, instead: &str) -> Result<()> {
        match settings.iter().find(|(_, was_made)| *was_made) {
            None => Ok(()),
            Some((setting, _)) => {
                let why = format!("`{setting}` of the builder would be lost: this {ending}; {instead}");
                Err(self.bad(why))
            }
        }
    }

    fn refuse_contradictions(&self) -> Result<()> {
        let ways = self.of_a_rate();
        let mut ways = ways[..4].iter().filter(|(_, was_made)| *was_made).map(|(way, _)| way);
        if let (Some(one), Some(other)) = (ways.next(), ways.next()) {
            let why = format!("`{one}` and `{other}` of the builder are two ways to count; choose one");
            return Err(self.bad(why));
        }
        if self.guard.is_some() && !self.greedy {
            let why = "`guard` of the builder needs `greedy`: only a greedy limit has a window to lengthen";
            return Err(self.bad(why));
        }
        Ok(())
    }

    fn refuse_all_but_the_directory(&self, ending: &str, instead: &str) -> Result<()> {
        self.refuse(&self.of_a_rate(), ending, instead)?;
        self.refuse(&self.of_a_policy(), ending, instead)?;
        self.refuse(&self.of_a_file(), ending, instead)
    }

    fn bad(&self, why: impl Into<String>) -> Error {
        Error::new(ErrorKind::InvalidInput, format!("limiter {:?}: {}", self.name, why.into()))
    }

    /// With what the builder says of the whole policy.
    fn open_with_settings(self, policy: PolicySpec) -> Result<RateLimit> {
        let policy = self.max_waiters.map_or(policy, |n| policy.with_max_waiters(n));
        let policy = if self.shadow { policy.in_shadow(true) } else { policy };
        self.join_or_create(policy)
    }

    /// Joins the limiter, or creates it with this policy. It goes with directory, mode, seats and `on_mismatch` of the
    /// builder; everything else is part of the policy.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{ErrorKind, Limit, Policy, Rate, RateLimit};
    ///
    /// let policy = Policy::from(Limit::greedy(Rate::per_second(5)?)?).with_permits(4)?;
    /// let limit = RateLimit::builder("api").directory(shared).open_policy(policy)?;
    /// assert_eq!(limit.policy()?, policy);
    ///
    /// let lost = RateLimit::builder("api").directory(shared).permits(4).open_policy(Limit::greedy(Rate::per_second(5)?)?);
    /// assert_eq!(lost.unwrap_err().kind(), ErrorKind::InvalidInput);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A [`Policy`](crate::Policy) or [`Limit`] states everything: a limiter with other limits, permits or shadow, or with
    /// more of them, is a mismatch. A [`PolicySpec`] states some of it.
    ///
    /// # Errors
    /// See [`RateLimit::open`].
    pub fn open_policy(self, policy: impl Into<PolicySpec>) -> Result<RateLimit> {
        let ending = "opens the limiter with the policy as it is given";
        let instead = "make it part of the policy";
        self.refuse(&self.of_a_rate(), ending, instead)?;
        self.refuse(&self.of_a_policy(), ending, instead)?;
        self.join_or_create(policy)
    }

    fn join_or_create(self, policy: impl Into<PolicySpec>) -> Result<RateLimit> {
        let settings = Settings {
            mode: self.mode,
            seats: self.seats.unwrap_or(shm_core::DEFAULT_SEATS),
            on_mismatch: self.on_mismatch.unwrap_or(OnMismatch::Error),
            ..Settings::new(policy)
        };
        self.bind(Opening::Open(Box::new(settings)))
    }

    fn bind(self, terms: Opening) -> Result<RateLimit> {
        let (directory, name) = self.place()?;
        let opened = Binding::open(directory, name, terms, self.replace, self.on_lost, self.when_lost);
        opened.map(|(first, binding)| RateLimit::of(first, binding))
    }

    /// Joins the limiter as it is. It goes with the directory of the builder and with nothing else.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{ErrorKind, Rate, RateLimit};
    ///
    /// let api = || RateLimit::builder("api").directory(shared);
    /// assert_eq!(api().attach().unwrap_err().kind(), ErrorKind::NotFound);
    /// api().open_rate(Rate::per_second(5)?)?;
    /// assert_eq!(api().attach()?.limit()?.rate(), Rate::per_second(5)?);
    /// assert_eq!(api().permits(4).attach().unwrap_err().kind(), ErrorKind::InvalidInput);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`RateLimit::attach`].
    pub fn attach(self) -> Result<RateLimit> {
        self.refuse_all_but_the_directory(
            "joins the limiter as it is",
            "leave it out, or open it with a rate or a policy",
        )?;
        self.bind(Opening::Attach)
    }

    /// Removes the limiter, also if its file is not usable: damaged, of another version, from before the machine started,
    /// or any other regular file. A usable limiter is [retired](RateLimit::retire) first, so that every process that uses
    /// it hears of it. It goes with the directory of the builder and with nothing else.
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
    /// [`ErrorKind::NotFound`]; [`ErrorKind::NotALimiter`] for
    /// anything but a regular file; and whatever keeps this process from removing the file.
    pub fn remove_by_force(self) -> Result<()> {
        self.refuse_all_but_the_directory("removes the limiter", "leave it out")?;
        let of_a_handle =
            [("on_lost", self.on_lost != OnLost::default()), ("when_lost", self.when_lost.is_some())];
        self.refuse(&of_a_handle, "removes the limiter", "leave it out")?;
        let (dir, name) = self.place()?;
        shm_core::remove_by_force(&dir, &name)
    }
}
