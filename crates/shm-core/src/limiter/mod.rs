//! A limiter as one process sees it: open, decide, reserve, cancel, wait, change, inspect.
//!
//! | file | content |
//! |---|---|
//! | `settings` | the settings of a limiter that may have to be created |
//! | `mismatch` | the command that turns an existing limiter into the requested one |
//! | `decide` | acquire, reserve, schedule |
//! | `receipt` | decisions, and what a caller keeps of an admission |
//! | `recover` | what to do when a decision is not possible |
//! | `liveness` | whether the limiter is still the one that its name refers to |
//! | `give_back` | cancel, settle, charge afterwards |
//! | `permits` | concurrency permits |
//! | `keys` | requests for keys, each of which has limits of its own |
//! | `wait` | waiting in line |
//! | `process` | per-process state of a limiter: seat, scratch, waiting callers |
//! | `change` | changes for all processes, and the end of a limiter |
//! | `inspect` | read-only views |
//! | `clock_tests` | what happens when the wall clock is set |
//! | `conformance` | the scenarios that all fronts run, in simulated time |
//! | `key_damage_tests` | damaged words of a limiter with limits per key |
//! | `remove` | removing files that cannot be retired |

mod change;
#[cfg(test)]
mod clock_tests;
#[cfg(all(test, feature = "serde", feature = "zones"))]
mod conformance;
mod decide;
mod give_back;
mod inspect;
#[cfg(test)]
mod key_damage_tests;
mod keys;
mod liveness;
mod mismatch;
mod permits;
mod process;
mod receipt;
mod recover;
mod remove;
mod settings;
mod wait;

pub use inspect::{Inspection, KeyInspection, Waiting, WindowEnd};
pub use keys::{
    CountRule, DeniedKey, KeyAsk, KeyCount, KeyOf, KeyStatus, LogNotes, LogStatus, PrefetchedKey, TableStatus,
};
use process::ProcessState;
pub use receipt::{ChargeTotals, Decision, Receipt, ReservedTurn, Undecided};
pub use remove::remove_by_force;
pub use settings::{OnMismatch, Settings};
pub use wait::{Demand, Granted, SleepPlan, TendStep, WaitStep, Waiter, sleep_on};

use crate::clock::Nanos;
use crate::commit::{CommitError, Config};
use crate::directory::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::keyed::denied_keys::DenialPace;
use crate::limit::Policy;
use crate::name::Name;
use crate::segment::Segment;
use crate::sync::Ordering;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

/// A handle to a limiter in shared memory.
///
/// A process takes its seat with its first request, not on open: opening stays cheap, and a process that only inspects
/// is not listed as attached.
///
/// All methods take `&self` and may be called from any number of threads. After `fork`, parent and child can both go on
/// using the handle. No method waits for another process, except that changes wait up to two seconds for one another.
/// If a process is killed during any of them, the limiter is left as it was before or as it is after the operation.
pub struct Limiter {
    segment: Segment,
    /// Shared with all other handles of this process to the same file.
    process: Arc<ProcessState>,
    next_file_check_ns: AtomicU64,
    /// How often this handle denies requests of keys.
    denial_pace: DenialPace,
    /// The index where a free permit was last seen.
    permit_hint: AtomicUsize,
    /// An epoch known to have no permits; 0 if none is known.
    epoch_without_permits: AtomicU64,
    /// When this handle may next probe whether permit holders are alive.
    next_holder_probe_ns: AtomicU64,
    /// When the file was created. Identifies the limiter: the clock gives no two of this machine the same instant.
    created_ns: u64,
    /// Whether this handle created it.
    was_created: bool,
    /// Whether the owner of this handle has moved on to another limiter, because this one is lost.
    is_superseded: AtomicBool,
    /// Whether any of its windows follow the wall clock, as of the last check.
    follows_wall_clock: AtomicBool,
}

impl Limiter {
    /// Opens the limiter of this name, or creates it.
    ///
    /// # Errors
    /// All kinds in [`ErrorKind`] that concern files, and [`ErrorKind::Mismatch`].
    pub fn open(dir: &Directory, name: &Name, settings: &Settings) -> Result<Limiter> {
        let plan = settings.plan()?;
        let (segment, created) = Segment::join(dir, name, Some(&plan))?;
        let limiter = Limiter::with_segment(segment, created);
        if !created {
            limiter.reconcile(settings)?;
        }
        Ok(limiter)
    }

    /// Creates a limiter under this name and retires the existing one, if any. The name moves to the new limiter in one
    /// step, so no process that opens the name meanwhile creates a third.
    ///
    /// If the process is killed halfway, the old limiter is unchanged, or retired, or replaced.
    ///
    /// # Errors
    /// Those of [`open`](Limiter::open) except [`ErrorKind::Mismatch`]. An existing file must be a usable limiter.
    pub fn replace(dir: &Directory, name: &Name, settings: &Settings) -> Result<Limiter> {
        let plan = settings.plan()?;
        loop {
            let (segment, created) = Segment::join(dir, name, Some(&plan))?;
            let limiter = Limiter::with_segment(segment, created);
            if created {
                return Ok(limiter);
            }
            limiter.segment.check_removable()?;
            let control = match limiter.segment.control() {
                // Another process removed or replaced it just now.
                Err(e) if e.kind().is_lost() => continue,
                control => control?,
            };
            let new = control.replace(&plan);
            limiter.wake_everybody();
            return new.map(|segment| Limiter::with_segment(segment, true));
        }
    }

    /// Opens the limiter of this name with its current settings.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it does not exist, and all kinds in [`ErrorKind`] that concern files.
    pub fn attach(dir: &Directory, name: &Name) -> Result<Limiter> {
        Segment::join(dir, name, None).map(|(segment, _)| Limiter::with_segment(segment, false))
    }

    fn with_segment(segment: Segment, was_created: bool) -> Limiter {
        let config = segment.has_records().then(|| segment.generations().config());
        let follows = matches!(config, Some(Ok((_, config))) if config.policy.follows_wall_clock());
        Limiter {
            follows_wall_clock: AtomicBool::new(follows),
            was_created,
            is_superseded: AtomicBool::new(false),
            created_ns: segment.header().geometry.created_ns.load(Ordering::Relaxed),
            process: ProcessState::join(&segment),
            next_file_check_ns: AtomicU64::new(0),
            denial_pace: DenialPace::default(),
            permit_hint: AtomicUsize::new(0),
            epoch_without_permits: AtomicU64::new(0),
            next_holder_probe_ns: AtomicU64::new(0),
            segment,
        }
    }

    /// Whether opening this handle created the limiter.
    pub fn was_created(&self) -> bool {
        self.was_created
    }

    /// From now on every decision fails at once, without a file check: this limiter is lost, and the caller has opened
    /// another one.
    pub fn supersede(&self) {
        self.is_superseded.store(true, Ordering::Relaxed);
        self.next_file_check_ns.store(0, Ordering::Relaxed);
    }

    /// Identifies who owns an admission: this process (by its token) and this limiter. A forked child is another owner.
    #[inline]
    fn owner(&self, process: u64) -> u64 {
        self.created_ns.rotate_left(16) ^ process
    }

    fn reconcile(&self, settings: &Settings) -> Result<()> {
        let (config, specified) = (self.config()?, &settings.policy);
        let existing = config.policy;
        if specified.is_met_by(&existing) {
            return Ok(());
        }
        match settings.on_mismatch {
            OnMismatch::Keep => Ok(()),
            OnMismatch::Change => self.change_from(|existing| specified.applied_to(&existing)),
            OnMismatch::Error => {
                let (name, in_dir) = Directory::in_shell(self.name(), self.directory());
                let room = |wanted: &Policy| self.can_become(&config, wanted);
                let change = mismatch::remedy((&name, &in_dir), &existing, specified, room);
                // A request of a key cannot use a limiter without limits per key, nor the other way round.
                let keep = if existing.keys().is_some() == specified.policy().keys().is_some() {
                    "to use it as it is, add --keep (a program: OnMismatch::Keep); "
                } else {
                    ""
                };
                Err(self.segment.error(
                    ErrorKind::Mismatch,
                    format!("it exists with {existing}, but {specified} was asked for; {keep}{change}"),
                ))
            }
        }
    }

    /// Whether the file of a limiter with this configuration can be used for the policy; if not, why.
    fn can_become(&self, existing: &Config, wanted: &Policy) -> std::result::Result<(), String> {
        self.segment.has_room_for(wanted)?;
        let (Some(keys), Some(wanted)) = (existing.policy.keys(), wanted.keys()) else { return Ok(()) };
        keys.obstacle_to(wanted).or_else(|| existing.key_clock.obstacle_to(wanted)).map_or(Ok(()), Err)
    }

    fn directory(&self) -> &Path {
        self.path().parent().unwrap_or(self.path())
    }

    /// The limiter's name.
    pub fn name(&self) -> &Name {
        self.segment.name()
    }

    /// The limiter's file.
    pub fn path(&self) -> &Path {
        self.segment.path()
    }

    fn config(&self) -> Result<Config> {
        self.segment
            .generations()
            .config()
            .map(|(_, config)| config)
            .map_err(|why| self.segment.commit_error(why, 0))
    }

    /// The error for a process that cannot get a seat.
    #[cold]
    fn no_seat_error(&self) -> Error {
        self.segment.commit_error(CommitError::NoSeat, 1)
    }

    /// The error for a caller that set no bound on its wait and cannot join the line: `waiting` requests already wait.
    #[cold]
    pub fn line_full_error(&self, waiting: u64) -> Error {
        let max = match self.policy() {
            Ok(policy) => policy.max_waiters().map_or(String::new(), |n| format!(", the maximum is {n}")),
            Err(e) => return e,
        };
        self.segment.error(
            ErrorKind::LineFull,
            format!(
                "{waiting} requests already wait{max} (max_waiters); try again later, or let more requests wait: \
                 shm-limit set {} --max-waiters N",
                self.name().shell_word()
            ),
        )
    }

    /// The current limits and permits.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`].
    pub fn policy(&self) -> Result<Policy> {
        Ok(self.config()?.policy)
    }

    /// Whether the limiter has only permits, and no limit.
    pub fn is_unlimited(&self) -> bool {
        self.segment.generations().is_unlimited()
    }

    /// When the current pause ends, if that is after `now`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`].
    pub fn paused_until(&self, now: Nanos) -> Result<Option<Nanos>> {
        Ok(self.config()?.paused_until(now))
    }

    /// Whether the limiter is in shadow mode: it counts denials but denies nothing.
    pub fn is_shadow(&self) -> bool {
        self.segment.generations().is_shadow()
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("name", &self.name())
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.process.leave(&self.segment);
    }
}
