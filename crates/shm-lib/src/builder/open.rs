//! Opening, attaching and removing: the methods that complete a builder, and the settings that each can use.

use super::Builder;
use crate::binding::{Binding, Opening};
use crate::{OnLost, RateLimit};
#[cfg(doc)]
use shm_core::limit::Limit;
use shm_core::limit::{LimitKind, LimitSpec, PolicySpec, Rate};
use shm_core::{Directory, Error, ErrorKind, Name, OnMismatch, Result, Settings};
use std::time::Duration;

impl Builder {
    fn location(&self) -> Result<(Directory, Name)> {
        let dir = self.directory.clone().unwrap_or_else(Directory::from_env);
        Ok((dir, Name::new(&self.name)?))
    }

    /// Joins the limiter, or creates it with at most `max` calls per `per`.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::RateLimit;
    /// use std::time::Duration;
    ///
    /// let limit = RateLimit::builder("api").burst(10).directory(shared).open(50, Duration::from_secs(1))?;
    /// assert_eq!(limit.status()?.available, 10);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`RateLimit::open`]; [`ErrorKind::InvalidInput`] for settings that contradict each other.
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
    /// As [`open`](Self::open).
    pub fn open_rate(self, rate: Rate) -> Result<RateLimit> {
        let policy = PolicySpec::new(&self.limits_at(rate)?)?;
        let policy = self.permits.map_or(Ok(policy), |n| policy.with_permits(n))?;
        self.open_with_settings(policy)
    }

    /// The limits that the builder's settings and this rate specify.
    pub(crate) fn limits_at(&self, rate: Rate) -> Result<Vec<LimitSpec>> {
        self.refuse_contradictions()?;
        let (burst, start, zone, guard) = (self.burst, self.fixed_window, self.calendar_window, self.guard);
        let rate = LimitSpec { burst, start, zone, guard, ..LimitSpec::of(rate) };
        let first = match (self.greedy, self.fixed_window, self.sliding_counter) {
            _ if zone.is_some() => LimitSpec { kind: LimitKind::CalendarWindow, ..rate },
            (true, ..) => LimitSpec { kind: LimitKind::Greedy, ..rate },
            (_, Some(_), _) => LimitSpec { kind: LimitKind::FixedWindow, ..rate },
            (.., true) => LimitSpec { kind: LimitKind::SlidingCounter, ..rate },
            _ => rate,
        };
        let more = self.more.iter().map(|&limit| limit.into());
        Ok(std::iter::once(first).chain(more).collect())
    }

    /// Opens with this policy and the builder's settings of the whole policy.
    pub(crate) fn open_keys(self, policy: PolicySpec) -> Result<RateLimit> {
        let policy = self.permits.map_or(Ok(policy), |n| policy.with_permits(n))?;
        self.open_with_settings(policy)
    }

    /// An error if a setting of a rate was made.
    pub(crate) fn refuse_rate_settings(&self, method: &str, instead: &str) -> Result<()> {
        self.refuse(&self.rate_settings(), method, instead)
    }

    /// Joins the limiter, or creates it with [`permits`](Self::permits) and no rate: it limits concurrency only.
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let shared = dir.path();
    /// use shm_lib::RateLimit;
    ///
    /// let limit = RateLimit::builder("downloads").directory(shared).permits(3).open_permits()?;
    /// let download = limit.wait()?; // the admission holds a permit until it is dropped
    /// # let _ = download;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`RateLimit::open`]; [`ErrorKind::InvalidInput`] without [`permits`](Self::permits), and with settings that need a
    /// rate (a burst, a kind of limit, a further limit).
    pub fn open_permits(self) -> Result<RateLimit> {
        let Some(n) = self.permits else {
            return Err(
                self.invalid("a limiter without a rate needs permits; set `permits` before `open_permits`")
            );
        };
        self.refuse(
            &self.rate_settings(),
            "opens a limiter without a rate",
            "leave it out, or open it with a rate",
        )?;
        self.open_with_settings(PolicySpec::of_permits(n)?)
    }

    /// The settings that need a rate, and whether each was set.
    fn rate_settings(&self) -> [(&'static str, bool); 7] {
        [
            ("burst", self.burst.is_some()),
            ("greedy", self.greedy),
            ("fixed_window", self.fixed_window.is_some()),
            ("calendar_window", self.calendar_window.is_some()),
            ("sliding_counter", self.sliding_counter),
            ("guard", self.guard.is_some()),
            ("and", !self.more.is_empty()),
        ]
    }

    /// The settings of the whole policy, and whether each was set.
    fn policy_settings(&self) -> [(&'static str, bool); 3] {
        [
            ("permits", self.permits.is_some()),
            ("max_waiters", self.max_waiters.is_some()),
            ("shadow", self.shadow),
        ]
    }

    /// The settings for creating or joining the file, and whether each was set.
    fn file_settings(&self) -> [(&'static str, bool); 5] {
        [
            ("capacity", self.capacity.is_some()),
            ("replace", self.replace),
            ("mode", self.mode.is_some()),
            ("seats", self.seats.is_some()),
            ("on_mismatch", self.on_mismatch.is_some()),
        ]
    }

    /// An error if one of these settings was made, since the completing method cannot use it.
    pub(crate) fn refuse(&self, settings: &[(&str, bool)], method: &str, instead: &str) -> Result<()> {
        match settings.iter().find(|(_, was_set)| *was_set) {
            None => Ok(()),
            Some((setting, _)) => {
                let why =
                    format!("the builder's `{setting}` would be ignored, since this {method}; {instead}");
                Err(self.invalid(why))
            }
        }
    }

    fn refuse_contradictions(&self) -> Result<()> {
        let kinds = self.rate_settings();
        let mut kinds = kinds[..5].iter().filter(|(_, was_set)| *was_set).map(|(kind, _)| kind);
        if let (Some(first), Some(second)) = (kinds.next(), kinds.next()) {
            let why =
                format!("the builder's `{first}` and `{second}` are different kinds of limit; choose one");
            return Err(self.invalid(why));
        }
        if self.guard.is_some() && !self.greedy {
            let why = "the builder's `guard` needs `greedy`: only a greedy limit has a window to lengthen";
            return Err(self.invalid(why));
        }
        Ok(())
    }

    fn refuse_all_but_the_directory(&self, method: &str, instead: &str) -> Result<()> {
        self.refuse(&self.rate_settings(), method, instead)?;
        self.refuse(&self.policy_settings(), method, instead)?;
        self.refuse(&self.file_settings(), method, instead)
    }

    pub(crate) fn invalid(&self, why: impl Into<String>) -> Error {
        Error::new(ErrorKind::InvalidInput, format!("limiter {:?}: {}", self.name, why.into()))
    }

    /// Opens with the builder's settings of the whole policy.
    fn open_with_settings(self, policy: PolicySpec) -> Result<RateLimit> {
        let policy = self.max_waiters.map_or(policy, |n| policy.with_max_waiters(n));
        let policy = if self.shadow { policy.in_shadow(true) } else { policy };
        self.join_or_create(policy)
    }

    /// Joins the limiter, or creates it with this policy. The builder's settings of a rate or of the whole policy (permits,
    /// `max_waiters`, shadow) cannot be used with it: make them part of the policy.
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
    /// let ignored = RateLimit::builder("api").directory(shared).permits(4).open_policy(Limit::greedy(Rate::per_second(5)?)?);
    /// assert_eq!(ignored.unwrap_err().kind(), ErrorKind::InvalidInput);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// With a [`Policy`](crate::Policy) or [`Limit`], every part of an existing limiter's policy must match. With a
    /// [`PolicySpec`], only the parts that it states must match.
    ///
    /// # Errors
    /// As [`RateLimit::open`]; [`ErrorKind::InvalidInput`] for settings that cannot be used with a policy.
    pub fn open_policy(self, policy: impl Into<PolicySpec>) -> Result<RateLimit> {
        let method = "opens the limiter with exactly the given policy";
        let instead = "make it part of the policy";
        self.refuse(&self.rate_settings(), method, instead)?;
        self.refuse(&self.policy_settings(), method, instead)?;
        self.join_or_create(policy)
    }

    fn join_or_create(self, policy: impl Into<PolicySpec>) -> Result<RateLimit> {
        let settings = Settings {
            mode: self.mode,
            seats: self.seats.unwrap_or(shm_core::DEFAULT_SEATS),
            capacity: self.capacity.unwrap_or(shm_core::DEFAULT_CAPACITY),
            on_mismatch: self.on_mismatch.unwrap_or(OnMismatch::Error),
            ..Settings::new(policy)
        };
        self.bind(Opening::Open(Box::new(settings)))
    }

    fn bind(self, opening: Opening) -> Result<RateLimit> {
        let (directory, name) = self.location()?;
        let opened = Binding::open(directory, name, opening, self.replace, self.on_lost, self.when_lost);
        opened.map(|(first, binding)| RateLimit::of(first, binding))
    }

    /// Joins the limiter with whatever policy it has, and never creates it. Of the builder's settings it can use the directory,
    /// [`on_lost`](Self::on_lost) and [`when_lost`](Self::when_lost).
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
    /// As [`RateLimit::attach`]; [`ErrorKind::InvalidInput`] for any other setting.
    pub fn attach(self) -> Result<RateLimit> {
        self.refuse_all_but_the_directory(
            "joins the limiter as it is",
            "leave it out, or open it with a rate or a policy",
        )?;
        self.bind(Opening::Attach)
    }

    /// Removes the limiter even if its file is not usable: damaged, of another version, from before the machine started, or any
    /// other regular file. A usable limiter is [retired](RateLimit::retire) first, so that every process that uses it is
    /// notified. Of the builder's settings it can use only the directory.
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
    /// [`ErrorKind::NotFound`] if the file does not exist; [`ErrorKind::NotALimiter`] if it is not a regular file;
    /// [`ErrorKind::InvalidInput`] for any other setting; and the errors of removing a file.
    pub fn remove_by_force(self) -> Result<()> {
        self.refuse_all_but_the_directory("removes the limiter", "leave it out")?;
        let handle_settings =
            [("on_lost", self.on_lost != OnLost::default()), ("when_lost", self.when_lost.is_some())];
        self.refuse(&handle_settings, "removes the limiter", "leave it out")?;
        let (dir, name) = self.location()?;
        shm_core::remove_by_force(&dir, &name)
    }
}
