//! One rate limit for every process on the host.
//!
//! Every process that opens the same name draws on one budget: forked workers, unrelated programs, and shell scripts (through
//! the command `shm-limit`). The budget is a file in shared memory. There is no daemon, and decisions are lock-free.
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
//! limit.wait()?; // first come, first served, across all processes
//! match limit.try_acquire(1)? {
//!     Outcome::Admitted(_) => println!("go"),
//!     Outcome::Denied(denied) => println!("try again in {:?}", denied.retry_after()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The API at a glance
//!
//! **Open a limiter**
//!
//! | | |
//! |---|---|
//! | [`RateLimit::open`], [`attach`](RateLimit::attach), [`builder`](RateLimit::builder) | join a limiter by name, or create it |
//! | [`Builder`] | burst, kind of limit, permits, directory, file mode, seats |
//! | [`Policy`], [`Limit`], [`Rate`], [`Unit`] | what a limiter enforces: up to four limits, of calls or other units, and permits |
//! | [`Kind`], [`Start`] | how a limit counts, and where fixed windows begin |
//! | [`PolicySpec`], [`OnMismatch`] | which settings of an existing limiter must match, and what to do if one does not |
//! | [`Directory`], [`DIR_VARIABLE`], [`Name`] | where the limiter's file is |
//! | [`OnLost`], [`Lost`], [`Found`] | what a handle does when its limiter is retired or its file is removed |
//!
//! **Make requests**
//!
//! | | |
//! |---|---|
//! | [`RateLimit::try_acquire`] | decide now, never wait |
//! | [`RateLimit::wait`], [`acquire`](RateLimit::acquire), [`Acquire`], [`Acquiring`] | wait for a turn, in a thread or a task, with or without a bound |
//! | [`RateLimit::reserve`], [`schedule`](RateLimit::schedule), [`Reservation`] | take turns ahead of time |
//! | [`RateLimit::settle`], [`charge`](RateLimit::charge), [`Settled`] | correct an estimated cost, or charge unconditionally |
//! | [`Cost`] | what a request costs: a number of calls, or amounts of units |
//! | [`Outcome`], [`Admission`], [`Denied`], [`DeniedBy`] | the decision |
//! | [`Permit`] | a held permit |
//! | [`Fallback`] | fail open or fail closed when the limiter cannot decide |
//!
//! **Limit each key of many**: users, addresses, tokens
//!
//! | | |
//! |---|---|
//! | [`KeyedRateLimit::open`], [`attach`](KeyedRateLimit::attach), [`builder`](KeyedRateLimit::builder), [`KeyedBuilder`] | join a limiter that limits each key, or create it |
//! | [`KeyedRateLimit::key`], [`Key`], [`LimitOfKey`] | one key's budget: decide, wait, charge, reset, status |
//! | [`KeyedRateLimit::try_acquire_many`] | decide for many keys at once |
//! | [`KeyAcquire`], [`StoppableKeyAcquire`], [`KeyAcquiring`] | wait for a key's turn, in a thread or a task |
//! | [`KeyPolicy`], [`KeyStatus`], [`TableStatus`], [`EventCount`], [`DeniedKey`], [`KeyInspection`] | the limits of each key, how full the table is, and which keys are denied most |
//!
//! **Inspect and control**
//!
//! | | |
//! |---|---|
//! | [`RateLimit::status`], [`Status`] | how full it is |
//! | [`RateLimit::policy`], [`limit`](RateLimit::limit), [`stats`](RateLimit::stats), [`inspect`](RateLimit::inspect) | its policy, its counters, and its attached and waiting processes: [`Stats`], [`Inspection`], [`Attached`], [`Waiting`], [`WindowEnd`] |
//! | [`RateLimit::pause_for`], [`resume`](RateLimit::resume), [`reset`](RateLimit::reset), [`retire`](RateLimit::retire) | for every process at once |
//! | [`RateLimit::change`], [`change_policy`](RateLimit::change_policy), [`update_policy`](RateLimit::update_policy) | change the rate or the policy, for every process at once |
//! | [`Changing`] | the same operations as futures: `pause_for_async`, … |
//!
//! **Common types**: [`Error`] and [`ErrorKind`] say what went wrong and what to do next; [`Nanos`] and [`now`] are instants
//! of the clock that all processes share.

#![forbid(unsafe_code)]

mod acquire;
mod binding;
mod builder;
mod fallback;
mod keyed;
mod lost;
mod outcome;
mod permit;
mod rate_limit;
mod reservation;
mod thread;
mod wait;

pub use acquire::{Acquire, AcquireOutput, StoppableAcquire};
pub use builder::Builder;
pub use fallback::Fallback;
pub use keyed::{
    Key, KeyAcquire, KeyAcquiring, KeyedBuilder, KeyedRateLimit, LimitOfKey, OwnedKey, StoppableKeyAcquire,
};
pub use lost::{Found, Lost, OnLost};
pub use outcome::{Admission, Outcome, Settled};
pub use permit::Permit;
pub use rate_limit::{Changing, RateLimit, Status};
pub use reservation::Reservation;
pub use shm_core::clock::{Nanos, now};
pub use shm_core::limit::{
    self, Calendar, Cost, KeyPolicy, Kind, Limit, Policy, PolicySpec, Rate, Start, Unit, Zone,
};
pub use shm_core::{
    Attached, Counts as Stats, DIR_VARIABLE, Denied, DeniedBy, DeniedKey, Directory, Error, ErrorKind,
    EventCount, Inspection, KeyInspection, KeyStatus, Name, OnMismatch, Result, TableStatus, Waiting,
    WindowEnd,
};
#[doc(hidden)]
pub use shm_core::{CountRule, KeyCount, LogNotes, LogStatus};
pub use wait::Acquiring;
