//! Seats: which processes are here, what each of them did, and who is dead.
//!
//! A seat is an index, held by a lock on one byte of the file: another byte for each time that it is taken. The kernel
//! frees the lock when the process dies, whatever namespace it is in; a forked child has no seat until it takes its own.
//!
//! | file | what |
//! |---|---|
//! | `tenure` | the number that tells one holder of a seat from the next, and the dead from the living |
//! | `probe` | the locks of seats, as the kernel has them |
//! | `search` | how a process finds a free seat and takes it |
//! | `process_seat` | this process's own seat |
//! | `counts` | what was counted, in whose lane |
//! | `attached` | everybody who is here, for people |

#[cfg(not(model))]
mod attached;
#[cfg(not(model))]
mod counts;
#[cfg(not(model))]
mod probe;
#[cfg(not(model))]
mod process_seat;
#[cfg(not(model))]
mod search;
mod tenure;

#[cfg(not(model))]
pub use attached::Attached;
#[cfg(not(model))]
pub(crate) use attached::{Person, attached, person};
#[cfg(not(model))]
pub use counts::Counts;
#[cfg(not(model))]
pub(crate) use counts::totals;
#[cfg(not(model))]
pub(crate) use probe::{Probe, Table};
#[cfg(not(model))]
pub(crate) use process_seat::ProcessSeat;
#[cfg(not(model))]
pub(crate) use search::{Claimed, Search};
pub(crate) use tenure::{HolderId, SeesLocks, TENURE_BITS, end, has_ended};
#[cfg(all(model, test))]
pub(crate) use tenure::{TakesLocks, begin, claim};
