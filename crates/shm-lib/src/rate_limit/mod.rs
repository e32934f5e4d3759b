//! The handle.
//!
//! | file | what |
//! |---|---|
//! | `mod` | what it is, and how it is opened |
//! | `take` | taking, waiting, giving back |
//! | `control` | changing the limiter for everybody, and ending it |
//! | `asynchronous` | the same for tasks |
//! | `look` | looking |

mod asynchronous;
mod control;
mod look;
mod take;

pub use asynchronous::Changing;
pub use look::Peek;

use crate::Builder;
use crate::binding::{Binding, Current};
#[cfg(doc)]
use crate::{Cost, ErrorKind, Outcome};
use shm_core::{Limiter, Result};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A rate limit that every process on the host can share, by name.
///
/// Cheap to clone; use it from any thread, and go on using it after `fork` in parent and child: both take from the
/// same budget. Dropping it takes nothing from others; the limiter stays until it is [retired](RateLimit::retire) or
/// the machine restarts.
///
/// **A killed process** leaves nothing behind: what it took counts as used, it leaves the line and those behind it move up,
/// its permits and its seat are free. **A stopped process** holds up no other process.
///
/// **A lost limiter** is found again by its name: after it was retired, replaced, or its file was removed, the next use of
/// the handle joins the limiter that has the name now or, if the handle was opened with a rate or a policy, creates it. See
/// [`OnLost`](crate::OnLost).
///
/// The default is *patient*: at most `max` per `per`, evenly spaced, one per `per / max`. See
/// [`Builder::burst`] for more at once. The algorithm is the generic cell rate algorithm (ITU-T I.371), which is also
/// the token bucket; it counts exactly, without drift.
///
/// | | takes | waits | if it is denied |
/// |---|---|---|---|
/// | [`try_acquire`](Self::try_acquire) | now | never | [`Outcome::Denied`] |
/// | [`wait`](Self::wait) | one call | for as long as it takes | an error, if the line is full |
/// | [`acquire`](Self::acquire) | when it is its turn | in a thread or a task; with a bound if one is given | the same; with a bound [`Outcome::Denied`] |
/// | [`reserve`](Self::reserve), [`schedule`](Self::schedule) | a turn ahead of its time | not yet | an error, if it would come in more than a year |
/// | [`charge`](Self::charge) | without asking | never | – |
///
/// A cost is a number of calls, or a [`Cost`] where a limit counts a unit.
#[derive(Clone)]
pub struct RateLimit {
    /// The one that was opened. The others come after it was lost: see `binding`.
    first: Arc<Limiter>,
    pub(crate) binding: Arc<Binding>,
}

impl RateLimit {
    pub(crate) fn of(first: Arc<Limiter>, binding: Binding) -> RateLimit {
        RateLimit { first, binding: Arc::new(binding) }
    }

    /// The limiter that was opened. If it is lost, whatever is decided with it fails.
    #[inline]
    pub(crate) fn first(&self) -> &Arc<Limiter> {
        &self.first
    }

    /// The limiter that it uses now.
    #[inline]
    pub(crate) fn limiter(&self) -> Current<'_> {
        self.binding.current(&self.first)
    }

    /// Does this with the limiter; if that is lost, once more with the one that has its name now.
    #[inline]
    pub(crate) fn with<T>(&self, what: impl FnMut(&Arc<Limiter>) -> Result<T>) -> Result<T> {
        self.binding.with(&self.first, what)
    }

    /// Joins the limiter `name`, or creates it: at most `max` per `per`, evenly spaced.
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
    /// [`ErrorKind::Mismatch`] if it exists with another rate or burst; [`ErrorKind::InvalidName`] and
    /// [`ErrorKind::InvalidInput`] for what is not a valid name or rate; and what files can cause: no space, no permission,
    /// somebody else's file, a damaged or foreign file. Nothing is created then, and nothing is damaged.
    pub fn open(name: &str, max: u64, per: Duration) -> Result<RateLimit> {
        RateLimit::builder(name).open(max, per)
    }

    /// Joins the limiter `name` as it is.
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
    /// [`ErrorKind::NotFound`] if it does not exist, otherwise as [`open`](Self::open).
    pub fn attach(name: &str) -> Result<RateLimit> {
        RateLimit::builder(name).attach()
    }

    /// For everything else that can be said of a limiter: a burst, another way of counting, permits, a directory,
    /// permissions. See [`Builder`].
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Rate, RateLimit};
    ///
    /// let search = RateLimit::builder("search").burst(20);
    /// # let search = search.directory(dir.path());
    /// let limit = search.open_rate(Rate::per_minute(60)?)?;
    /// assert_eq!(limit.peek()?.available, 20);
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
