//! The line: waiting callers of all processes in order of arrival, and the turns charged for them.
//!
//! Two principles (docs/decisions/12): *a place belongs to its holder*, so a caller that leaves takes nothing but its
//! place with it; *a turn belongs to the line*, so it goes to the caller that is first when it comes.
//!
//! | file | content |
//! |---|---|
//! | `turns` | turns charged ahead, each claimed by one compare-and-swap |
//! | `places` | which processes are in line, in which order, and which are awake |
//! | `callers` | the callers of this process, behind its one place |
//! | `loom_tests` | every interleaving of small scenarios |

#[cfg(not(model))]
mod callers;
#[cfg(all(model, not(shuttle), test))]
mod loom_tests;
mod places;
mod turns;

#[cfg(not(model))]
pub use callers::CallerWaker;
#[cfg(not(model))]
pub(crate) use callers::{Ask, Caller, Callers, Deferred, Key, difference, sum};
#[cfg(all(shuttle, test))]
pub(crate) use places::Front;
#[cfg(not(model))]
pub(crate) use places::LineEntry;
#[cfg(any(not(model), shuttle))]
pub(crate) use places::Places;
#[cfg(any(not(model), shuttle))]
pub(crate) use turns::{Charge, ReadyTurn};
