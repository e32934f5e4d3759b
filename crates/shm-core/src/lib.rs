//! What is in the shared memory of a limiter, and how it may change. Knows no waiting: that is `shm-lib`, which is
//! also what programs link.
//!
//! Imports run one way: `error`, `clock` → `denied` → `limit` → `layout` → `commit` → `segment` → `seat` → `permit` → `limiter`; `sys` holds
//! what needs the kernel or `unsafe`.
//!
//! # Trade-offs
//! - A decision is a clock read and one compare-and-swap. It takes no lock, so a process that is killed, stopped or
//!   paused anywhere holds up nobody. What does not fit one word is prepared aside and committed by one.
//! - Changes of the configuration do take a lock, of the kernel's kind that dies with its holder. They are rare.
//! - The file may only be used by those who trust one another with the budget: who can write to it can take all.

#![deny(unsafe_code)]
// A model compiles the protocols without the files around them.
#![cfg_attr(model, allow(dead_code, unreachable_pub))]

pub mod clock;
mod commit;
mod denied;
mod error;
mod layout;
pub mod limit;
mod line;
mod permit;
mod seat;
#[cfg(all(shuttle, test))]
mod shuttle_tests;
mod sync;

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
pub use limiter::{
    ChargeTotals, Decision, Demand, Granted, Inspection, Limiter, Nap, OnMismatch, Receipt, ReservedTurn,
    Settings, Step, Tended, Undecided, Waiter, Waiting, remove_by_force, sleep_on,
};
#[cfg(not(model))]
pub use line::Rouse;
#[cfg(not(model))]
pub use name::{MAX_NAME, Name};
#[cfg(not(model))]
pub use permit::PermitToken;
#[cfg(not(model))]
pub use seat::{Attached, Counts};
#[cfg(not(model))]
pub use segment::{DEFAULT_SEATS, MAX_SEATS};
#[cfg(not(model))]
pub use sys::process_lock::ProcessLock;
#[cfg(not(model))]
pub use sys::process_token::ProcessToken;
#[cfg(not(model))]
pub use sys::signal::without_handlers;
