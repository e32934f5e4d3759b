//! The handle to a limiter.
//!
//! | file | what |
//! |---|---|
//! | `mod` | the type, and how to open one |
//! | `acquire` | requests that are decided now, or wait for their turn |
//! | `reserve` | turns taken ahead of time |
//! | `settle` | correcting a charge, and charging unconditionally |
//! | `status` | reading the limiter's state |
//! | `control` | changing the limiter for every process, and retiring it |
//! | `asynchronous` | the methods of `control` as futures |

mod acquire;
mod asynchronous;
mod control;
mod reserve;
mod settle;
mod status;

pub(crate) use acquire::{denied_or_shadowed, try_cost};
pub use asynchronous::Changing;
pub use status::Status;

use crate::Builder;
use crate::binding::{Binding, Current};
#[cfg(doc)]
use crate::{Cost, ErrorKind, Outcome};
use shm_core::{Limiter, Result};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A handle to a rate limit that every process on the host can share by name.
///
/// It is cheap to clone and can be used from any thread. The limiter outlives its handles and processes: it exists until it
/// is [retired](RateLimit::retire) or the machine restarts.
///
/// - **Fork**: parent and child may both keep using the handle; they draw on the same budget.
/// - **A killed process** leaves nothing behind. What it acquired stays used, its callers leave the line so that those behind
///   them move up, and its permits and its seat become free.
/// - **A stopped process** blocks no other process.
/// - **A lost limiter** (retired, replaced, or its file removed) is replaced on the next use of the handle: the handle joins
///   the limiter that now has the name or, if it was opened with a rate or a policy, creates it. See
///   [`OnLost`](crate::OnLost).
///
/// By default a limit is *patient*: at most `max` per `per`, evenly spaced, one per `per / max`. [`Builder::burst`] allows
/// bursts. The algorithm is the generic cell rate algorithm (GCRA, ITU-T I.371), which is equivalent to a token bucket; it
/// counts exactly, without drift.
///
/// | | cost is charged | waits | a denial is |
/// |---|---|---|---|
/// | [`try_acquire`](Self::try_acquire) | now | never | [`Outcome::Denied`] |
/// | [`wait`](Self::wait) | for one call, at its turn | as long as it takes, in this thread | an error, and only if the line is full |
/// | [`acquire`](Self::acquire) | at its turn | in a thread or a task, with a bound if one is set | as for `wait`; with a bound, [`Outcome::Denied`] |
/// | [`reserve`](Self::reserve), [`schedule`](Self::schedule) | now, for a turn to come | later, if the caller wants to | an error, and only if the turn would come in more than a year |
/// | [`charge`](Self::charge) | now, unconditionally | never | not possible |
///
/// A cost is a number of calls, or a [`Cost`] if a limit counts another unit.
#[derive(Clone)]
pub struct RateLimit {
    /// The limiter that was opened. `binding` holds its successor once it is lost.
    first: Arc<Limiter>,
    pub(crate) binding: Arc<Binding>,
}

impl RateLimit {
    pub(crate) fn of(first: Arc<Limiter>, binding: Binding) -> RateLimit {
        RateLimit { first, binding: Arc::new(binding) }
    }

    /// The limiter that was opened. If it is lost, every decision on it fails.
    #[inline]
    pub(crate) fn first(&self) -> &Arc<Limiter> {
        &self.first
    }

    /// The limiter that the handle uses at the moment.
    #[inline]
    pub(crate) fn limiter(&self) -> Current<'_> {
        self.binding.current(&self.first)
    }

    /// Runs `operation` on the current limiter; if that is lost, on the limiter that now has its name.
    #[inline]
    pub(crate) fn with<T>(&self, operation: impl FnMut(&Arc<Limiter>) -> Result<T>) -> Result<T> {
        self.binding.with(&self.first, operation)
    }

    /// Joins the limiter `name`, or creates it: at most `max` calls per `per`, evenly spaced.
    ///
    /// Its file is in `$SHM_LIMIT_DIR`, or in `/dev/shm/shm-limit-<uid>` if that is not set; see [`Builder::directory`]. If
    /// several processes create it at the same time, one of them does and the others join it. A process that is killed
    /// meanwhile leaves either a complete limiter or none.
    ///
    /// ```no_run
    /// # fn main() -> shm_lib::Result<()> {
    /// use shm_lib::RateLimit;
    /// use std::time::Duration;
    ///
    /// let limit = RateLimit::open("api", 50, Duration::from_secs(1))?; // and the same line in every other program
    /// # let _ = limit;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] if it exists with another rate (its burst and other settings are not compared, unless a
    /// [`Builder`] states them); [`ErrorKind::InvalidName`] and
    /// [`ErrorKind::InvalidInput`] for an invalid name or rate; and the errors of creating or opening its file, such as no
    /// space, no permission, another user's file, or a file that is damaged or not a limiter. On an error no file is created
    /// or changed.
    pub fn open(name: &str, max: u64, per: Duration) -> Result<RateLimit> {
        RateLimit::builder(name).open(max, per)
    }

    /// Joins the limiter `name` with whatever policy it has, and never creates it. If it has limits per key, this handle takes only
    /// from the limits of all keys, as [`KeyedRateLimit::all_keys`](crate::KeyedRateLimit::all_keys) does.
    ///
    /// ```no_run
    /// # fn main() -> shm_lib::Result<()> {
    /// use shm_lib::RateLimit;
    ///
    /// let limit = RateLimit::attach("api")?;
    /// println!("{} has {}", limit.name(), limit.policy()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it does not exist; otherwise as [`open`](Self::open).
    pub fn attach(name: &str) -> Result<RateLimit> {
        RateLimit::builder(name).attach()
    }

    /// All other settings of a limiter: a burst, another kind of limit, permits, a directory, a file mode. See [`Builder`].
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let search = RateLimit::builder("search").burst(20);
    /// # let search = search.directory(dir.path());
    /// let limit = search.open_rate(Rate::per_minute(60)?)?;
    /// assert_eq!(limit.status()?.available, 20);
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(name: &str) -> Builder {
        Builder::new(name)
    }

    /// The limiter's name.
    pub fn name(&self) -> &str {
        self.first.name().as_str()
    }

    /// The limiter's file.
    pub fn path(&self) -> &Path {
        self.first.path()
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("name", &self.name())
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}
