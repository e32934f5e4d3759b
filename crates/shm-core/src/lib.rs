//! The state of a limiter in shared memory, and every way in which it changes. Internal: programs link `shm-lib`, which
//! adds handles, blocking waits and futures.
//!
//! Imports run one way: `intervals`, `error`, `clock` → `denied` → `limit` → `layout` → `keyed` → `commit` → `segment` → `seat` →
//! `permit`, `line` → `limiter`. `sys` holds everything that needs the kernel or `unsafe`.
//!
//! # Trade-offs
//! - A decision is a clock read and one compare-and-swap. It takes no lock, so a process that is killed, stopped or
//!   descheduled anywhere blocks no other process. State larger than one word is prepared in a private cell and
//!   committed by swapping the pointer to it.
//! - Configuration changes take a kernel lock, which the kernel releases when its holder dies. Changes are rare.
//! - All users of a file must trust one another: any process that can write to it can use up the whole budget.

#![deny(unsafe_code)]
// Model checkers (loom, shuttle) compile the protocols without the modules that do I/O, and their tests are what uses
// the protocols.
#![cfg_attr(model, allow(dead_code, unreachable_pub))]

// Futexes, locks of open file descriptions and CLOCK_BOOTTIME are Linux's; words and sizes of 64 bits are cast to one another.
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("shm-limit needs 64-bit Linux");

pub mod clock;
#[cfg(any(not(model), test))]
mod commit;
mod denied;
mod error;
mod intervals;
#[cfg(any(not(model), test))]
mod keyed;
#[cfg(any(not(model), test))]
mod layout;
pub mod limit;
#[cfg(any(not(model), test))]
mod line;
#[cfg(any(not(model), test))]
mod permit;
#[cfg(any(not(model), test))]
mod seat;
#[cfg(all(shuttle, test))]
mod shuttle_tests;
#[cfg(any(not(model), test))]
mod sync;
#[cfg(all(test, not(model)))]
mod vectors;

#[cfg(not(model))]
mod directory;
#[cfg(not(model))]
mod limiter;
#[cfg(not(model))]
mod name;
#[cfg(not(model))]
mod segment;
#[cfg(not(model))]
mod sys;

pub use denied::{Denied, DeniedBy};
#[cfg(not(model))]
pub use directory::{DIR_VARIABLE, Directory};
pub use error::{Error, ErrorKind, Result};
#[cfg(not(model))]
pub use keyed::EventCount;
#[cfg(all(feature = "simulation", not(model)))]
#[doc(hidden)]
pub use keyed::simulated::{SimulatedDecision, SimulatedTable};
#[cfg(not(model))]
pub use limiter::{
    ChargeTotals, Decision, Demand, DeniedKey, Granted, Inspection, KeyAsk, KeyInspection, KeyOf, KeyStatus,
    Limiter, OnMismatch, PrefetchedKey, Receipt, ReservedTurn, Settings, SleepPlan, TableStatus, TendStep,
    Undecided, WaitStep, Waiter, Waiting, WindowEnd, remove_by_force, sleep_on,
};
#[cfg(not(model))]
#[doc(hidden)]
pub use limiter::{CountRule, KeyCount, LogNotes, LogStatus};
#[cfg(not(model))]
pub use line::CallerWaker;
#[cfg(not(model))]
pub use name::{MAX_NAME, Name};
#[cfg(not(model))]
pub use permit::PermitToken;
#[cfg(not(model))]
pub use seat::{Attached, Counts};
#[cfg(not(model))]
pub use segment::{DEFAULT_CAPACITY, DEFAULT_SEATS, MAX_CAPACITY, MAX_SEATS};
#[cfg(not(model))]
pub use sys::process_lock::ProcessLock;
#[cfg(not(model))]
pub use sys::process_token::ProcessToken;
#[cfg(not(model))]
pub use sys::signal::without_handlers;
