//! Commits of decisions to shared memory: lock-free and crash-atomic. At every instruction, a decision has either
//! happened or not.
//!
//! | file | content |
//! |---|---|
//! | `config` | a configuration |
//! | `config_words` | the configuration as words of the file: written, read and checked |
//! | `damage` | what an error says about a damaged word |
//! | `generation` | successive configurations, each with its own state; the transition between them |
//! | `state_word` | the word that tells whether a generation can be charged, and its value |
//! | `word_state` | decisions by one compare-and-swap, where the state is one word |
//! | `record` | decisions on larger states: prepared in a private cell, committed by one compare-and-swap |
//! | `record_store` | the cells and rings that hold records |
//! | `scratch` | what a process keeps between its decisions on records |

mod config;
mod config_words;
mod damage;
mod generation;
#[cfg(all(model, test))]
pub(crate) mod loom_tests;
mod record;
mod record_store;
mod scratch;
mod state_word;
mod word_state;

pub(crate) use config::Config;
#[cfg(not(model))]
pub(crate) use damage::{Damage, Remedy};
pub(crate) use generation::{CommitError, GenerationState, Generations, Verdict};
pub(crate) use record::{Pair, Records};
pub(crate) use record_store::RecordStore;
pub(crate) use scratch::Scratch;
pub(crate) use word_state::WordState;
#[cfg(not(model))]
pub(crate) use word_state::{AttemptError, Decides, Wanted};
#[cfg(all(test, not(model)))]
pub(crate) use {config_words::in_memory, record_store::RecordPtr, state_word::StateWord};
