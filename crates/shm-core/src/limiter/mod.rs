//! The one door to a limiter: open it, decide, reserve, cancel, change, look.
//!
//! | file | what |
//! |---|---|
//! | `settings` | what a limiter should be, when it may have to be created |
//! | `mismatch` | the command that makes a limiter what it should be |
//! | `decide` | taking |
//! | `receipt` | what was decided, and what a caller keeps of it |
//! | `recover` | what to do when no decision is possible |
//! | `liveness` | whether the limiter is still the one that its name leads to |
//! | `give_back` | giving back what was taken, and charging afterwards |
//! | `permits` | holding one of so many |
//! | `wait` | standing in the line |
//! | `process` | what this process keeps of a limiter: its seat, its scratch, its waiting callers |
//! | `change` | changing it for everybody, and ending it |
//! | `inspect` | looking |
//! | `remove` | removing what can't be retired |

mod change;
mod decide;
mod give_back;
mod inspect;
mod liveness;
mod mismatch;
mod permits;
mod process;
mod receipt;
mod recover;
mod remove;
mod settings;
mod wait;

pub use inspect::{Inspection, Waiting};
use process::ProcessState;
pub use receipt::{ChargeTotals, Decision, Receipt, ReservedTurn, Undecided};
pub use remove::remove_by_force;
pub use settings::{OnMismatch, Settings};
pub use wait::{Demand, Granted, Nap, Step, Tended, Waiter, sleep_on};

use crate::clock::Nanos;
use crate::commit::{CommitError, Config};
use crate::directory::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::limit::Policy;
use crate::name::Name;
use crate::segment::Segment;
use crate::sync::Ordering;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

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
    /// Shared with all other handles of this process to the same file.
    process: Arc<ProcessState>,
    next_file_check_ns: AtomicU64,
    /// Where a free permit was last seen.
    permit_hint: AtomicUsize,
    /// An epoch in which no permits are in force; 0: none is known.
    epoch_without_permits: AtomicU64,
    /// When the holders of permits may be looked at again.
    next_holder_probe_ns: AtomicU64,
    /// When its file was made: no other limiter of this machine was made then.
    created_ns: u64,
    /// Whether this handle made it.
    was_created: bool,
    /// Whether the handle uses another one, since this one is lost.
    is_superseded: AtomicBool,
}

impl Limiter {
    /// Joins the limiter of this name, or creates it.
    ///
    /// # Errors
    /// Everything in [`ErrorKind`] that concerns files, and [`ErrorKind::Mismatch`].
    pub fn open(dir: &Directory, name: &Name, settings: &Settings) -> Result<Limiter> {
        let plan = settings.plan()?;
        let (segment, created) = Segment::join(dir, name, Some(&plan))?;
        let limiter = Limiter::around(segment, created);
        if !created {
            limiter.reconcile(settings)?;
        }
        Ok(limiter)
    }

    /// Creates a limiter in place of the one of this name, if there is one: that is retired, and the name goes over to the new
    /// one in one step, so that no process that looks for the name meanwhile creates another.
    ///
    /// A process that is killed in the middle of it leaves the old limiter as it was, or retired, or replaced.
    ///
    /// # Errors
    /// As [`open`](Limiter::open), without [`ErrorKind::Mismatch`]; what is there must be a usable limiter.
    pub fn replace(dir: &Directory, name: &Name, settings: &Settings) -> Result<Limiter> {
        let plan = settings.plan()?;
        loop {
            let (segment, created) = Segment::join(dir, name, Some(&plan))?;
            let limiter = Limiter::around(segment, created);
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
            return new.map(|segment| Limiter::around(segment, true));
        }
    }

    /// Joins the limiter of this name as it is.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, and everything in [`ErrorKind`] that concerns files.
    pub fn attach(dir: &Directory, name: &Name) -> Result<Limiter> {
        Segment::join(dir, name, None).map(|(segment, _)| Limiter::around(segment, false))
    }

    fn around(segment: Segment, was_created: bool) -> Limiter {
        Limiter {
            was_created,
            is_superseded: AtomicBool::new(false),
            created_ns: segment.fixed().geometry.created_ns.load(Ordering::Relaxed),
            process: ProcessState::join(&segment),
            next_file_check_ns: AtomicU64::new(0),
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

    /// From now on every decision fails at once, without a look at the file: this limiter is lost, and there is another one.
    pub fn supersede(&self) {
        self.is_superseded.store(true, Ordering::Relaxed);
        self.next_file_check_ns.store(0, Ordering::Relaxed);
    }

    /// Whose an admission is: this process's (by its token), of this limiter. A forked child is somebody else.
    #[inline]
    fn owner(&self, process: u64) -> u64 {
        self.created_ns.rotate_left(16) ^ process
    }

    fn reconcile(&self, settings: &Settings) -> Result<()> {
        let (there, stated) = (self.config()?.policy, &settings.policy);
        if stated.is_met_by(&there) {
            return Ok(());
        }
        match settings.on_mismatch {
            OnMismatch::Keep => Ok(()),
            OnMismatch::Change => self.change_from(|there| stated.applied_to(&there)),
            OnMismatch::Error => {
                let room = |wanted: &Policy| self.segment.has_room_for(wanted);
                let change = mismatch::remedy(self.name(), &there, stated, room);
                Err(self.segment.error(
                    ErrorKind::Mismatch,
                    format!(
                        "it exists with {there}, but {stated} was asked for; to use it as it is, add --keep (a program: \
                         OnMismatch::Keep); {change}"
                    ),
                ))
            }
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

    fn config(&self) -> Result<Config> {
        self.segment
            .generations()
            .config()
            .map(|(_, config)| config)
            .map_err(|why| self.segment.commit_error(why, 0))
    }

    /// Why there is no seat.
    #[cold]
    fn seatless(&self) -> Error {
        self.segment.commit_error(CommitError::NoSeat, 1)
    }

    /// Why a caller that wants to wait for as long as it takes can't: `waiting` requests wait already.
    #[cold]
    pub fn line_is_full(&self, waiting: u64) -> Error {
        let most = match self.policy() {
            Ok(policy) => policy.max_waiters().map_or(String::new(), |n| format!(" and at most {n} may")),
            Err(e) => return e,
        };
        self.segment.error(
            ErrorKind::LineFull,
            format!(
                "{waiting} requests wait already{most} (max_waiters); try again later, or let more requests wait: \
                 shm-limit set {} --max-waiters N",
                self.name().shell_word()
            ),
        )
    }

    /// The limits and permits in force.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`].
    pub fn policy(&self) -> Result<Policy> {
        Ok(self.config()?.policy)
    }

    /// Whether it has no limit, only permits.
    pub fn is_unlimited(&self) -> bool {
        self.segment.generations().is_unlimited()
    }

    /// When its pause ends, if that is after `now`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`].
    pub fn paused_until(&self, now: Nanos) -> Result<Option<Nanos>> {
        Ok(self.config()?.paused_until(now))
    }

    /// Whether it denies nobody.
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
