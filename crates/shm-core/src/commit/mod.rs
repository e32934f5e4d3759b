//! How decisions reach the shared memory: lock-free, and done or not begun at every instruction.
//!
//! | file | what |
//! |---|---|
//! | `terms` | a configuration, checked, and as words |
//! | `generation` | configurations that follow one another, each with its own state; taking over |
//! | `word` | a decision as one compare-and-swap, for a limiter whose state is one word |
//! | `record` | the same for any other: prepared in a cell of one's own, committed by a compare-and-swap |
//! | `table` | the cells and rings that records are in |
//! | `desk` | what a process keeps between its decisions on records |

mod desk;
mod generation;
mod record;
#[cfg(all(model, test))]
pub(crate) mod scenes;
mod table;
mod terms;
mod word;

pub(crate) use desk::Desk;
pub(crate) use generation::{Commit, Decision, Generations, Halt};
pub(crate) use record::{Pair, Records};
pub(crate) use table::Table;
pub(crate) use terms::Terms;
#[cfg(not(model))]
pub(crate) use word::{Decides, Miss};
pub(crate) use word::{Wanted, Words};
