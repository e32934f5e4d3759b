//! Seats: which processes are attached, what each of them did, and which are dead.
//!
//! A seat is an index, held by an OFD lock on one byte of the file; each tenure of the seat uses another byte. The
//! kernel releases the lock when the process dies, in whatever PID namespace it lives. A forked child has no seat until
//! it takes its own.
//!
//! | file | content |
//! |---|---|
//! | `tenure` | the number that distinguishes successive holders of a seat, and dead holders from living ones |
//! | `probe` | queries of the kernel's locks |
//! | `search` | finding and claiming a free seat |
//! | `process_seat` | this process's own seat |
//! | `counts` | counters and their lanes |
//! | `attached` | the list of attached processes |

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
#[cfg(all(model, test))]
pub(crate) mod simulated_locks;
mod tenure;

#[cfg(not(model))]
pub use attached::Attached;
#[cfg(not(model))]
pub(crate) use attached::{HolderInfo, attached, holder_info};
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
#[cfg(test)]
pub(crate) use tenure::{TakesLocks, begin, claim};
