//! The settings with which a limiter is opened or created; `open` has the methods that do so.

mod open;

use crate::lost::Observer;
use crate::{Lost, OnLost};
#[cfg(doc)]
use crate::{PolicySpec, RateLimit};
use shm_core::limit::{Limit, Start, Zone};
use shm_core::{Directory, OnMismatch};
use std::path::PathBuf;
use std::time::Duration;

/// Settings for opening or creating a limiter. Made by [`RateLimit::builder`]; one of the methods `open…`, [`attach`] or
/// [`remove_by_force`] completes it.
///
/// If the limiter exists, its policy must match the settings made here; settings that were not made match anything. Without
/// [`burst`](Builder::burst) the limiter may have any burst, without [`permits`](Builder::permits) any number of permits, and
/// so on: see [`PolicySpec`].
///
/// No setting is ignored. A setting that the completing method cannot use, and settings that contradict each other, are errors
/// ([`InvalidInput`](crate::ErrorKind::InvalidInput)) that name them.
///
/// [`attach`]: Builder::attach
/// [`remove_by_force`]: Builder::remove_by_force
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
    calendar_window: Option<Zone>,
    sliding_counter: bool,
    guard: Option<Duration>,
    more: Vec<Limit>,
    permits: Option<u32>,
    max_waiters: Option<u32>,
    shadow: bool,
    directory: Option<Directory>,
    mode: Option<u32>,
    seats: Option<usize>,
    /// Only for a limiter with limits per key.
    capacity: Option<u64>,
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
            calendar_window: None,
            sliding_counter: false,
            guard: None,
            more: Vec::new(),
            permits: None,
            max_waiters: None,
            shadow: false,
            directory: None,
            mode: None,
            seats: None,
            capacity: None,
            on_mismatch: None,
            replace: false,
            on_lost: OnLost::default(),
            when_lost: None,
        }
    }

    /// How many calls may be admitted at the same instant after an idle time. The default, 1, spaces calls evenly. Units:
    /// calls.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("api").burst(20).directory(shared).open_rate(Rate::per_second(5)?)?;
    /// assert!(limit.try_acquire(20)?.is_admitted());
    /// # Ok(())
    /// # }
    /// ```
    pub fn burst(mut self, burst: u64) -> Self {
        self.burst = Some(burst);
        self
    }

    /// Makes the limit greedy: at most `max` in any window of `per`, as fast as possible, by an exact sliding log. See
    /// [`Limit::greedy`].
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("api").greedy().directory(shared).open_rate(Rate::per_hour(5)?)?;
    /// assert!(limit.try_acquire(5)?.is_admitted());
    /// assert!(!limit.try_acquire(1)?.is_admitted());
    /// # Ok(())
    /// # }
    /// ```
    pub fn greedy(mut self) -> Self {
        self.greedy = true;
        self
    }

    /// Lengthens the window of a [`greedy`](Self::greedy) limit by the time by which an admitted caller may be late with its
    /// call, so that a strict server never counts one call too many. See [`Limit::guarded`].
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

    /// Makes the limit a fixed window: at most `max` in each of the consecutive windows of `per`. See [`Limit::fixed_window`].
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{Rate, RateLimit, Start};
    ///
    /// let limit = RateLimit::builder("api").fixed_window(Start::FirstUse).directory(shared);
    /// let limit = limit.open_rate(Rate::per_day(1_000)?)?;
    /// assert_eq!(limit.status()?.available, 1_000);
    /// # Ok(())
    /// # }
    /// ```
    pub fn fixed_window(mut self, start: Start) -> Self {
        self.fixed_window = Some(start);
        self
    }

    /// Makes the limit a calendar window: at most `max` in each hour, day, week or month of the calendar of `zone`. The period of
    /// the rate must be one of these. See [`Limit::calendar_window`].
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{RateLimit, Zone};
    ///
    /// let limit = RateLimit::builder("api").calendar_window(Zone::UTC).directory(shared);
    /// let limit = limit.open_rate("1000/month".parse()?)?;
    /// assert_eq!(limit.status()?.available, 1_000);
    /// # Ok(())
    /// # }
    /// ```
    pub fn calendar_window(mut self, zone: Zone) -> Self {
        self.calendar_window = Some(zone);
        self
    }

    /// Makes the limit a sliding counter: at most `max`, by an estimate over a sliding window of `per`. With a `max`
    /// below 10 it admits less than 90 % of its rate under constant demand. See [`Limit::sliding_counter`].
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("api").sliding_counter().directory(shared).open_rate(Rate::per_day(1_000_000)?)?;
    /// assert_eq!(limit.status()?.available, 1_000_000);
    /// # Ok(())
    /// # }
    /// ```
    pub fn sliding_counter(mut self) -> Self {
        self.sliding_counter = true;
        self
    }

    /// Adds a further limit. A request is charged to all limits or to none. A limiter has at most four.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{Limit, Rate, RateLimit};
    ///
    /// let daily = Limit::token_bucket(Rate::per_day(1_000)?)?;
    /// let limit = RateLimit::builder("api").and(daily).directory(shared).open_rate(Rate::per_second(5)?)?;
    /// assert_eq!(limit.policy()?.limits().count(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn and(mut self, limit: Limit) -> Self {
        self.more.push(limit);
        self
    }

    /// Limits concurrency: an admission holds one of `n` [permits](crate::Permit) until it is dropped. Use it with a rate, or
    /// alone with [`open_permits`](Self::open_permits).
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("api").burst(100).permits(2).directory(shared).open_rate(Rate::per_second(100)?)?;
    /// let _held = (limit.wait()?, limit.wait()?);
    /// assert!(!limit.try_acquire(1)?.is_admitted());
    /// # Ok(())
    /// # }
    /// ```
    pub fn permits(mut self, n: u32) -> Self {
        self.permits = Some(n);
        self
    }

    /// Lets at most `n` requests wait. When `n` are waiting, a further request that would have to wait is denied immediately:
    /// by [`DeniedBy::Line`](crate::DeniedBy::Line) if it has a bound of its own (see [`Acquire`](crate::Acquire)), otherwise
    /// with the error [`LineFull`](crate::ErrorKind::LineFull). With 0 no request waits. Default: any number.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{ErrorKind, Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("form").max_waiters(0).directory(shared).open_rate(Rate::per_minute(1)?)?;
    /// limit.wait()?;
    /// assert_eq!(limit.wait().unwrap_err().kind(), ErrorKind::LineFull);
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_waiters(mut self, n: u32) -> Self {
        self.max_waiters = Some(n);
        self
    }

    /// Shadow mode: the limiter decides and counts but denies no request, to try a limit out before enforcing it. An admission
    /// says if it would have been denied: [`Admission::shadowed`](crate::Admission::shadowed).
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("trial").shadow().directory(shared).open_rate(Rate::per_minute(1)?)?;
    /// let (_first, second) = (limit.wait()?, limit.wait()?); // does not wait
    /// assert!(second.shadowed().is_some());
    /// assert_eq!(limit.stats().denied, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn shadow(mut self) -> Self {
        self.shadow = true;
        self
    }

    /// The directory of the limiter's file, which must exist. The same name in the same directory is the same budget, so the
    /// directory can be mounted into containers or shared with a group. Default: `$SHM_LIMIT_DIR`, else
    /// `/dev/shm/shm-limit-<uid>`, which is created when needed and private to the user.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("api").directory(shared).open_rate(Rate::per_second(5)?)?;
    /// assert_eq!(limit.path(), shared.join("api"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn directory(self, path: impl Into<PathBuf>) -> Self {
        self.in_directory(Directory::at(path))
    }

    /// The same, as a [`Directory`].
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{Directory, Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("api").in_directory(Directory::at(shared)).open_rate(Rate::per_second(5)?)?;
    /// assert_eq!(limit.path(), shared.join("api"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn in_directory(mut self, directory: Directory) -> Self {
        self.directory = Some(directory);
        self
    }

    /// Permissions of the file if this call creates it: `0o600`, `0o660` or `0o666`. The default is `0o600`, or `0o660` in a
    /// setgid directory that its group can write to. The umask is ignored.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{Rate, RateLimit};
    /// use std::os::unix::fs::PermissionsExt;
    ///
    /// let limit = RateLimit::builder("api").mode(0o660).directory(shared).open_rate(Rate::per_second(5)?)?;
    /// let mode = std::fs::metadata(limit.path()).unwrap().permissions().mode();
    /// assert_eq!(mode & 0o777, 0o660);
    /// # Ok(())
    /// # }
    /// ```
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// How many processes can have a seat at the same time, if this call creates the limiter. A process needs one seat, however
    /// many handles it has. Default: 128. Processes without a seat can still use a limiter of a single bucket of calls without
    /// permits (they share one set of counters). With any other limiter, their callers wait in line for a seat; a request that
    /// does not wait, or whose deadline passes, fails with [`NoSeat`](crate::ErrorKind::NoSeat).
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let limit = RateLimit::builder("api").seats(1_000).directory(shared).open_rate(Rate::per_second(5)?)?;
    /// assert_eq!(limit.inspect()?.seats, 1_000);
    /// # Ok(())
    /// # }
    /// ```
    pub fn seats(mut self, seats: usize) -> Self {
        self.seats = Some(seats);
        self
    }

    pub(crate) fn capacity(mut self, keys: u64) -> Self {
        self.capacity = Some(keys);
        self
    }

    /// What to do if the limiter exists and does not match these settings. Default: an error that shows both. Workers that are
    /// restarted use [`OnMismatch::Keep`], so that they also start after an operator has changed the limiter.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::{ErrorKind, OnMismatch, Rate, RateLimit};
    ///
    /// let api = || RateLimit::builder("api").directory(shared);
    /// api().open_rate(Rate::per_second(5)?)?.change(50, std::time::Duration::from_secs(1))?;
    /// assert_eq!(api().open_rate(Rate::per_second(5)?).unwrap_err().kind(), ErrorKind::Mismatch);
    /// let worker = api().on_mismatch(OnMismatch::Keep).open_rate(Rate::per_second(5)?)?;
    /// assert_eq!(worker.limit()?.rate(), Rate::per_second(50)?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_mismatch(mut self, on_mismatch: OnMismatch) -> Self {
        self.on_mismatch = Some(on_mismatch);
        self
    }

    /// Creates a new limiter even if one exists, for example to change the number of seats or to make room for more limits. The
    /// replacement is atomic: processes that have the old limiter open and reopen its name (see [`OnLost`]) join the new one,
    /// and none of them can create another in between. Usage, permits and the waiting line are not carried over.
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

    /// What the handle does when its limiter is lost: retired (`shm-limit remove`), replaced, or its file removed. Default: it
    /// [reopens its name](OnLost::Reopen).
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

    /// Calls this function after the limiter was lost and the handle has tried to reopen its name. It is called in the thread
    /// that did so, without holding a lock. With the feature `tracing` each such event is also logged through `tracing`, with
    /// the target `shm_limit`.
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
    /// assert!(limit.try_acquire(1)?.is_admitted()); // prints "… it was retired; this process recreated it …"
    /// # Ok(())
    /// # }
    /// ```
    pub fn when_lost(mut self, report: impl Fn(&Lost<'_>) + Send + Sync + 'static) -> Self {
        self.when_lost = Some(Observer::new(report));
        self
    }
}
