//! How decisions reach the shared memory: lock-free, and done or not begun at every instruction.
//!
//! | file | what |
//! |---|---|
//! | `config` | a configuration |
//! | `config_words` | the same as words of the file: written, read and checked |
//! | `generation` | configurations that follow one another, each with its own state; taking over |
//! | `state_word` | the word that says whether a generation can be charged, and its value |
//! | `word_state` | a decision as one compare-and-swap, for a limiter whose state is one word |
//! | `record` | the same for any other: prepared in a cell of one's own, committed by a compare-and-swap |
//! | `record_store` | the cells and rings that records are in |
//! | `scratch` | what a process keeps between its decisions on records |

mod config;
mod config_words;
mod generation;
#[cfg(all(model, test))]
pub(crate) mod loom_tests;
mod record;
mod record_store;
mod scratch;
mod state_word;
mod word_state;

pub(crate) use config::Config;
pub(crate) use generation::{CommitError, GenerationState, Generations, Verdict};
pub(crate) use record::{Pair, Records};
pub(crate) use record_store::RecordStore;
pub(crate) use scratch::Scratch;
#[cfg(not(model))]
pub(crate) use word_state::{AttemptError, Decides};
pub(crate) use word_state::{Wanted, WordState};
