//! The line: waiting callers of all processes, in the order in which they arrived, and the turns that they are about to
//! use.
//!
//! Two ideas (docs/decisions/12): *a place is its holder's*, so whoever leaves takes nothing along but its place; *a turn is
//! the line's*, so it is used by whoever is first when it comes.
//!
//! | file | what |
//! |---|---|
//! | `turns` | what is charged ahead, and claimed by one compare-and-swap |
//! | `places` | who stands, in which order, and who of them is awake |
//! | `callers` | the callers of this process, behind the one place that it has |

#[cfg(not(model))]
mod callers;
#[cfg(all(model, not(shuttle), test))]
mod loom_tests;
mod places;
mod turns;

#[cfg(not(model))]
pub use callers::Rouse;
#[cfg(not(model))]
pub(crate) use callers::{Afterwards, Ask, Caller, Callers, Key, difference, sum};
#[cfg(all(shuttle, test))]
pub(crate) use places::Front;
pub(crate) use places::Places;
#[cfg(not(model))]
pub(crate) use places::{GRACE, LONGEST_PLAN, Standing};
pub(crate) use turns::{Charge, ReadyTurn};
