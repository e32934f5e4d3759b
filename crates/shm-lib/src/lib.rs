//! One rate limit for every process on the host.
//!
//! Any process that opens a name takes from the same budget, through a file in shared memory: forked workers,
//! unrelated programs, shell scripts (by the command `shm-limit`). No daemon, no lock on the data path.
//!
//! ```
//! use shm_lib::{Outcome, RateLimit};
//! use std::time::Duration;
//!
//! # fn main() -> shm_lib::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let limit = RateLimit::builder("api").directory(dir.path()).open(100, Duration::from_secs(1))?;
//! # #[cfg(any())]
//! let limit = RateLimit::open("api", 100, Duration::from_secs(1))?;
//! limit.wait()?; // first come, first served, among all processes
//! match limit.try_acquire(1)? {
//!     Outcome::Admitted(_) => println!("go"),
//!     Outcome::Denied(denied) => println!("try again in {:?}", denied.retry_after()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | | |
//! |---|---|
//! | [`RateLimit`] | a handle to a limiter: open, take, wait, look, change |
//! | [`Builder`] | burst, directory, permissions, seats |
//! | [`Policy`], [`Limit`], [`Unit`] | what it keeps: up to four limits, of calls or of units, and permits |
//! | [`PolicySpec`], [`OnMismatch`] | what of an existing limiter is compared, and what to do if it differs |
//! | [`Cost`] | what a request costs: a number of calls, or amounts of units |
//! | [`Acquire`] | waiting for a turn, with or without a bound, in a thread or a task |
//! | [`Outcome`], [`Admission`], [`Denied`], [`DeniedBy`] | what was decided |
//! | [`Settled`] | what a settlement changed |
//! | [`Permit`], [`Reservation`] | what is held, and turns taken ahead |
//! | [`OnLost`], [`Lost`] | what a handle does when its limiter is retired or removed |
//! | [`Fallback`] | fail-open or fail-closed, if the caller says so |
//! | [`Error`], [`ErrorKind`] | what went wrong, and what to do next |

#![forbid(unsafe_code)]

mod acquire;
mod binding;
mod builder;
mod fallback;
mod lost;
mod outcome;
mod permit;
mod rate_limit;
mod reservation;
mod thread;
mod wait;

pub use acquire::{Acquire, AcquireUnless, Gives};
pub use builder::Builder;
pub use fallback::Fallback;
pub use lost::{Found, Lost, OnLost};
pub use outcome::{Admission, Outcome, Settled};
pub use permit::Permit;
pub use rate_limit::{Changing, Peek, RateLimit};
pub use reservation::Reservation;
pub use shm_core::clock::{Nanos, now};
pub use shm_core::limit::{self, Cost, Kind, Limit, Policy, PolicySpec, Rate, Start, Unit};
pub use shm_core::{
    Attached, Counts as Stats, DIR_VARIABLE, Denied, DeniedBy, Directory, Error, ErrorKind, Inspection, Name,
    OnMismatch, Result, Waiting,
};
pub use wait::Acquiring;
