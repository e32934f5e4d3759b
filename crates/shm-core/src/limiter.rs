//! The one door to a limiter: decide, reserve, cancel, change, look.

use crate::clock::{self, Nanos};
use crate::commit::{self, Halt, Terms};
use crate::error::{Error, ErrorKind, Result};
use crate::limit::{Limit, MAX_WAIT, Outlook, Rate, format_span};
use crate::name::{Directory, Name};
use crate::seat::{self, Attached, Counts, Seating};
use crate::segment::{DEFAULT_MODE, DEFAULT_SEATS, MAX_SEATS, Plan, Segment, shell_word};
use crate::sync::Ordering;
use crate::sys::futex;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// How often a busy process looks whether the file was removed underneath.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The longest sleep without looking around: for a removed file, a suspended machine, a signal just missed.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// What to do when the limiter exists with another rate or burst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMismatch {
    /// Fail with [`ErrorKind::Mismatch`], which says both.
    #[default]
    Error,
    /// Join it as it is.
    Keep,
    /// Change it, for everybody, to what was asked for.
    Change,
}

/// What a limiter should be, for one that may have to be created.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The limit.
    pub limit: Limit,
    /// Permissions of the file: read and write for the owner, and for the group and others or not.
    pub mode: u32,
    /// How many processes can be counted and named each for itself.
    pub seats: usize,
    /// What to do when it exists with another limit.
    pub on_mismatch: OnMismatch,
}

impl Settings {
    /// This limit, and the defaults for the rest.
    pub fn new(limit: Limit) -> Settings {
        Settings { limit, mode: DEFAULT_MODE, seats: DEFAULT_SEATS, on_mismatch: OnMismatch::Error }
    }

    fn plan(&self) -> Result<Plan> {
        let pairs = [self.mode >> 6 & 7, self.mode >> 3 & 7, self.mode & 7];
        if self.mode > 0o777 || pairs[0] != 6 || pairs.iter().any(|&p| p != 6 && p != 0) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "mode {:o} can't work: whoever takes from a limiter must read and write its file; use 600, 660 or 666",
                    self.mode
                ),
            ));
        }
        if !(1..=MAX_SEATS).contains(&self.seats) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{} seats are not possible; choose 1 to {MAX_SEATS}", self.seats),
            ));
        }
        let terms = Terms { limit: self.limit, since: clock::now(), not_before: None, forget: true };
        Ok(Plan { terms, mode: self.mode, seats: self.seats })
    }
}

/// A limiter in shared memory, seen from this process.
///
/// A process takes its seat with its first request, not when it opens: opening stays cheap, and who only looks is
/// not shown as attached.
///
/// All methods take `&self` and may be called from any number of threads. After `fork`, parent and child both go on
/// using it. No method waits for another process, except that changes wait up to two seconds for one another.
/// A process killed in any of them leaves the limiter as it was before or as it is after.
pub struct Limiter {
    segment: Segment,
    seating: Seating,
    look_again_ns: AtomicU64,
}

/// Tokens taken for an instant: now or a later turn.
#[derive(Debug, PartialEq, Eq)]
pub struct Reservation {
    /// When they may be used.
    pub at: Nanos,
    /// The clock when they were taken.
    pub now: Nanos,
    /// How many.
    pub tokens: u64,
    epoch: u64,
    tat: u64,
}

/// What was decided.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// The tokens are taken.
    Admitted(Reservation),
    /// Nothing is taken.
    Denied {
        /// From when on the same request would be admitted, if nobody else asks.
        ready: Nanos,
        /// The clock when it was decided.
        now: Nanos,
    },
}

impl Limiter {
    /// Joins the limiter of this name, or creates it.
    ///
    /// # Errors
    /// Everything in [`ErrorKind`] that concerns files, and [`ErrorKind::Mismatch`].
    pub fn open(dir: &Directory, name: &Name, settings: &Settings) -> Result<Limiter> {
        let plan = settings.plan()?;
        let (segment, created) = Segment::join(dir, name, Some(&plan))?;
        let limiter = Limiter::around(segment);
        if !created {
            limiter.reconcile(settings)?;
        }
        Ok(limiter)
    }

    /// Joins the limiter of this name as it is.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, and everything in [`ErrorKind`] that concerns files.
    pub fn attach(dir: &Directory, name: &Name) -> Result<Limiter> {
        Segment::join(dir, name, None).map(|(segment, _)| Limiter::around(segment))
    }

    fn around(segment: Segment) -> Limiter {
        Limiter { segment, seating: Seating::none(), look_again_ns: AtomicU64::new(0) }
    }

    fn reconcile(&self, settings: &Settings) -> Result<()> {
        let there = self.terms()?.limit;
        if there.is_equivalent(settings.limit) {
            return Ok(());
        }
        match settings.on_mismatch {
            OnMismatch::Keep => Ok(()),
            OnMismatch::Change => self.change(settings.limit),
            OnMismatch::Error => Err(self.segment.error(
                ErrorKind::Mismatch,
                format!(
                    "it exists with {there}, but {} was asked for; open it with those parameters, attach to it as it is, \
                     or change it for everybody: shm-limit set {} --rate {} --burst {}",
                    settings.limit,
                    shell_word(self.name()),
                    settings.limit.rate(),
                    settings.limit.burst(),
                ),
            )),
        }
    }

    /// The limiter's name.
    pub fn name(&self) -> &Name {
        self.segment.name()
    }

    /// The limiter's file.
    pub fn path(&self) -> &Path {
        self.segment.path()
    }

    /// Takes `tokens` now, or nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NeverAdmissible`], [`ErrorKind::Retired`], [`ErrorKind::Removed`], [`ErrorKind::Corrupt`].
    #[inline]
    pub fn try_acquire(&self, tokens: u64) -> Result<Decision> {
        let counting = self.seating.counting(&self.segment);
        let decision = self.decide(tokens, Nanos::from_nanos(0))?;
        match decision {
            Decision::Admitted(_) => counting.admitted(tokens),
            Decision::Denied { .. } => counting.denied(),
        }
        Ok(decision)
    }

    /// Takes `tokens` for the first turn that is free, if that is now or at most `latest`. Not yet counted: see
    /// [`count_admitted`](Self::count_admitted) and [`count_denied`](Self::count_denied).
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire), and [`ErrorKind::TooFar`].
    pub fn reserve(&self, tokens: u64, latest: Nanos) -> Result<Decision> {
        // Who waits is here, too.
        let _ = self.seating.counting(&self.segment);
        self.decide(tokens, latest)
    }

    #[inline]
    fn decide(&self, tokens: u64, latest: Nanos) -> Result<Decision> {
        loop {
            let (decision, now) = match self.segment.generations().reserve(tokens, latest, &clock::Host) {
                Ok(commit::Decision::Admitted { at, now, epoch, tat }) => {
                    (Decision::Admitted(Reservation { at, now, tokens, epoch, tat }), now)
                }
                Ok(commit::Decision::Denied { ready, now }) => (Decision::Denied { ready, now }, now),
                Err(halt) => {
                    self.recover(halt, tokens)?;
                    continue;
                }
            };
            if now.as_nanos() >= self.look_again_ns.load(Ordering::Relaxed) {
                self.look_around(now)?;
            }
            return Ok(decision);
        }
    }

    #[cold]
    fn look_around(&self, now: Nanos) -> Result<()> {
        self.look_again_ns.store(now.plus(LOOK_EVERY).as_nanos(), Ordering::Relaxed);
        self.segment.check_still_there()
    }

    /// Mends what can be mended without a person, or says what is wrong.
    #[cold]
    fn recover(&self, halt: Halt, tokens: u64) -> Result<()> {
        if halt != Halt::Frozen {
            return Err(self.segment.halted(halt, tokens));
        }
        // A process that slept through many changes froze the state it once had to freeze. See `generation`.
        self.publish(|terms| {
            let generations = self.segment.generations();
            let still = generations.settle(generations.epoch(), &clock::Host) == Err(Halt::Frozen);
            Ok(still.then_some(Terms { forget: false, ..*terms }))
        })
    }

    /// Whether the terms have changed since: then the reservation is void, and its owner asks again.
    pub fn is_void(&self, reservation: &Reservation) -> bool {
        self.segment.generations().epoch() != reservation.epoch
    }

    /// Sleeps until the reservation's turn, news, a signal or one second, whichever comes first.
    ///
    /// # Errors
    /// [`ErrorKind::Removed`].
    pub fn sleep(&self, reservation: &Reservation, now: Nanos) -> Result<()> {
        let until = reservation.at.min(now.plus(LONGEST_SLEEP));
        let epoch = &self.segment.fixed().news.epoch;
        futex::sleep(epoch, reservation.epoch, until);
        if until < reservation.at {
            self.segment.check_still_there()?;
        }
        Ok(())
    }

    /// Gives a reservation back, if nobody reserved after it; otherwise it is forfeited. Returns which.
    #[allow(clippy::needless_pass_by_value)] // given back once
    pub fn cancel(&self, reservation: Reservation) -> bool {
        self.segment.generations().cancel(reservation.epoch, reservation.tat, reservation.tokens)
    }

    /// Counts a reservation that is used now, after a wait (or none).
    pub fn count_admitted(&self, reservation: &Reservation, waited: Duration) {
        let counting = self.seating.counting(&self.segment);
        counting.admitted(reservation.tokens);
        if !waited.is_zero() {
            counting.waited(waited);
        }
    }

    /// Counts a request that was not admitted.
    pub fn count_denied(&self) {
        self.seating.counting(&self.segment).denied();
    }

    /// How full it is. Takes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Retired`], [`ErrorKind::Removed`], [`ErrorKind::Corrupt`].
    pub fn peek(&self) -> Result<(Outlook, Nanos)> {
        self.segment.check_still_there()?;
        loop {
            match self.segment.generations().outlook(&clock::Host) {
                Ok(seen) => return Ok(seen),
                Err(halt) => self.recover(halt, 0)?,
            }
        }
    }

    fn terms(&self) -> Result<Terms> {
        self.segment
            .generations()
            .terms()
            .map(|(_, terms)| terms)
            .map_err(|halt| self.segment.halted(halt, 0))
    }

    /// The limit in force.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`].
    pub fn limit(&self) -> Result<Limit> {
        Ok(self.terms()?.limit)
    }

    /// Changes the limit, for every process and every sleeper at once. What was used stays used, up to a full
    /// bucket; those who wait ask again under the new terms; a pause goes on.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`], [`ErrorKind::Retired`], [`ErrorKind::Removed`], [`ErrorKind::Corrupt`].
    pub fn change(&self, limit: Limit) -> Result<()> {
        self.change_from(|_| Ok(limit))
    }

    /// Changes the limit to what `make` says of the one in force. Otherwise as [`change`](Self::change).
    ///
    /// # Errors
    /// As [`change`](Self::change), and what `make` fails with.
    pub fn change_from(&self, make: impl FnOnce(Limit) -> Result<Limit>) -> Result<()> {
        self.publish(|terms| Ok(Some(Terms { limit: make(terms.limit)?, forget: false, ..*terms })))
    }

    /// Changes the rate and keeps the burst. Otherwise as [`change`](Self::change).
    ///
    /// # Errors
    /// As [`change`](Self::change), and [`ErrorKind::InvalidInput`] if the burst can't be kept at this rate.
    pub fn change_rate(&self, rate: Rate) -> Result<()> {
        self.change_from(|there| Limit::with_burst(rate, there.burst()))
    }

    /// Forgets what was used: the limiter is as if new. A pause goes on. Also clears a damaged state.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn reset(&self) -> Result<()> {
        self.publish(|terms| Ok(Some(Terms { forget: true, ..*terms })))
    }

    /// Admits nothing for `time`, for every process; then goes on at the pace, not in a burst. Never shortens a
    /// pause: of several, the one that ends last counts.
    ///
    /// # Errors
    /// As [`change`](Self::change), and [`ErrorKind::InvalidInput`] for more than 366 days.
    pub fn pause_for(&self, time: Duration) -> Result<()> {
        if time > MAX_WAIT {
            return Err(self.segment.error(
                ErrorKind::InvalidInput,
                format!("a pause of {} is too long; the longest is 366 days", format_span(time)),
            ));
        }
        let until = clock::now().plus(time);
        self.publish(|terms| {
            let sooner = terms.not_before.is_none_or(|at| at < until);
            Ok(sooner.then_some(Terms { not_before: Some(until), forget: false, ..*terms }))
        })
    }

    /// Ends a pause. What was used before it is still used.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn resume(&self) -> Result<()> {
        self.publish(|terms| {
            Ok(terms.not_before.map(|_| Terms { not_before: None, forget: false, ..*terms }))
        })
    }

    /// One change: makes the new terms from those in force (or `None` to leave them) and wakes every sleeper.
    fn publish(&self, make: impl FnOnce(&Terms) -> Result<Option<Terms>>) -> Result<()> {
        let control = self.segment.control()?;
        let generations = self.segment.generations();
        let published = (|| {
            let halted = |halt| self.segment.halted(halt, 0);
            if self.segment.is_retired() {
                return Err(halted(Halt::Retired));
            }
            let (epoch, mut terms) = generations.terms().map_err(halted)?;
            let now = clock::now();
            // Past its end a pause still keeps a burst from leaving at once.
            let gcra = terms.gcra();
            terms.not_before = terms.not_before.filter(|_| gcra.floor > gcra.unused(now));
            let Some(next) = make(&terms)? else { return Ok(()) };
            if next.forget {
                generations.clear_damage(epoch);
            }
            generations.publish(epoch, &Terms { since: now, ..next }, &clock::Host).map_err(halted)?;
            // Whoever comes first would do it; done now, fewest turns of the old queue count as used.
            let _ = generations.settle(epoch + 1, &clock::Host);
            Ok(())
        })();
        drop(control);
        // Also after a failure: another changer may have died before its wake.
        futex::wake_all(&self.segment.fixed().news.epoch);
        published.map_err(|e: Error| e.at(self.name().as_str(), self.path()))
    }

    /// Ends the limiter: every handle's next decision and every sleeper gets [`ErrorKind::Retired`], and the name is
    /// free again.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn retire(&self) -> Result<()> {
        self.segment.check_removable()?;
        let control = self.segment.control()?;
        self.segment.generations().retire();
        futex::wake_all(&self.segment.fixed().news.epoch);
        control.remove_name()
    }

    /// What all processes did so far, the dead included.
    pub fn counts(&self) -> Counts {
        seat::totals(&self.segment)
    }

    /// Everything that a person wants to know.
    ///
    /// # Errors
    /// [`ErrorKind::Retired`], [`ErrorKind::Removed`], [`ErrorKind::Corrupt`].
    pub fn inspect(&self) -> Result<Inspection> {
        let (outlook, now) = self.peek()?;
        let terms = self.terms()?;
        let file = self.segment.reopen()?;
        let meta = file.metadata().map_err(|e| Error::os("can't look at it", e))?;
        let regions = &self.segment.fixed().regions;
        Ok(Inspection {
            limit: terms.limit,
            now,
            outlook,
            paused_until: terms.not_before.filter(|&at| at > now),
            changes: self.segment.generations().epoch().saturating_sub(1),
            counts: self.counts(),
            attached: seat::attached(&self.segment, &file),
            seats: self.segment.seats().len(),
            created: Nanos::from_nanos(regions.created_ns.load(Ordering::Relaxed)),
            created_unix: regions.created_unix.load(Ordering::Relaxed),
            mode: meta.mode() & 0o7777,
            owner: meta.uid(),
            bytes: meta.size(),
        })
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.seating.leave(&self.segment);
    }
}

/// A limiter as seen at one instant.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The limit in force.
    pub limit: Limit,
    /// When this was seen.
    pub now: Nanos,
    /// How full it is.
    pub outlook: Outlook,
    /// Until when nothing is admitted.
    pub paused_until: Option<Nanos>,
    /// How often it was changed, paused, resumed or reset.
    pub changes: u64,
    /// What all processes did so far.
    pub counts: Counts,
    /// The living processes that use it.
    pub attached: Vec<Attached>,
    /// How many could be attached at once and still be told apart.
    pub seats: usize,
    /// When it was created.
    pub created: Nanos,
    /// The same in seconds since 1970, by the creator's wall clock.
    pub created_unix: u64,
    /// Permissions of the file.
    pub mode: u32,
    /// Owner of the file.
    pub owner: u32,
    /// Size of the file.
    pub bytes: u64,
}

/// Removes a file that is no usable limiter: damaged, of another version, from before the machine started. Those
/// that are usable are retired properly.
///
/// # Errors
/// [`ErrorKind::NotFound`], [`ErrorKind::NotALimiter`] for what is not a regular file, or that it can't be removed.
pub fn remove_by_force(dir: &Directory, name: &Name) -> Result<()> {
    use ErrorKind::{Corrupt, Incompatible, NotALimiter, OtherClock, Untrusted};
    let path = dir.file(name);
    let look = || {
        std::fs::symlink_metadata(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Error::new(ErrorKind::NotFound, "there is none").at(name.as_str(), &path)
            }
            _ => Error::os("can't look at it", e).at(name.as_str(), &path),
        })
    };
    let meta = look()?;
    match Limiter::attach(dir, name) {
        Ok(limiter) => return limiter.retire(),
        Err(e) if !matches!(e.kind(), Corrupt | Incompatible | NotALimiter | OtherClock | Untrusted) => {
            return Err(e);
        }
        Err(_) => {}
    }
    // What was found unusable, not what somebody has put there since.
    let again = look()?;
    if (again.dev(), again.ino()) != (meta.dev(), meta.ino()) {
        return Err(
            Error::new(ErrorKind::Busy, "another file has its name now; look again").at(name.as_str(), &path)
        );
    }
    if !meta.is_file() {
        return Err(Error::new(
            ErrorKind::NotALimiter,
            "this is no regular file; remove it by hand if it should go",
        )
        .at(name.as_str(), &path));
    }
    std::fs::remove_file(&path).map_err(|e| Error::os("can't remove it", e).at(name.as_str(), &path))
}
