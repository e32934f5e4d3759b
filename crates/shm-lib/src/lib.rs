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
//! match limit.try_acquire()? {
//!     Outcome::Admitted(_) => println!("go"),
//!     Outcome::Denied(denial) => println!("come back in {:?}", denial.retry_after()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | | |
//! |---|---|
//! | [`RateLimit`] | a handle to a limiter: open, take, wait, look, change |
//! | [`Builder`] | burst, directory, permissions, seats |
//! | [`Outcome`], [`Admission`], [`Denial`] | what was decided |
//! | [`Error`], [`ErrorKind`] | what went wrong, and what to do next |

#![forbid(unsafe_code)]

/// The program in the README is run, too.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

mod builder;
mod outcome;
mod rate_limit;
mod wait;

pub use builder::Builder;
pub use outcome::{Admission, Denial, Outcome};
pub use rate_limit::{Peek, RateLimit};
pub use shm_core::clock::{Nanos, now};
pub use shm_core::limit::{self, Limit, Rate};
pub use shm_core::{
    Attached, Counts as Stats, DIR_VARIABLE, Directory, Error, ErrorKind, Inspection, Name, OnMismatch,
    Result,
};
