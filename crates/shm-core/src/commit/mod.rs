//! How decisions reach the shared memory: lock-free, and done or not begun at every instruction.
//!
//! | file | what |
//! |---|---|
//! | `generation` | configurations that follow one another, each with its own state; taking over |
//! | `word` | a decision as one compare-and-swap |

mod generation;
#[cfg(all(loom, test))]
mod loom_tests;
mod word;

pub(crate) use generation::{Generations, Terms};
pub(crate) use word::{Decision, Halt};
