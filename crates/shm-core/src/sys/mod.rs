//! Everything that needs `unsafe`, or that deals with the kernel rather than with limits.
//!
//! | file | content |
//! |---|---|
//! | `map` | a mapped file as typed atomics |
//! | `futex` | sleeping on a shared word |
//! | `lock` | locks that are released when their holder dies: on a descriptor, or kept by a mapping |
//! | `process_token` | the identity of this process and thread |
//! | `fork_gate` | sections in which this process must not fork, and the fork hooks |
//! | `wiped` | memory that is zeroed in a forked child |
//! | `descriptor` | short-lived descriptors that a forked child does not keep |
//! | `mid_write` | writes that a fork in a signal handler must not duplicate |
//! | `pair` | two words that are replaced by one swap |
//! | `prefetch` | asking the processor for memory that is needed soon |
//! | `signal` | sections without signal handlers |
//! | `process_lock` | a lock among the threads of one process |
//! | `file_system` | file system types by magic number |
//! | `file_system_proof` | proofs that file system and kernel provide what a limiter depends on |
//! | `host` | boot, clock, PID namespace |

#![allow(unsafe_code)]

pub(crate) mod descriptor;
pub(crate) mod file_system;
pub(crate) mod file_system_proof;
pub(crate) mod fork_gate;
pub(crate) mod futex;
pub(crate) mod host;
pub(crate) mod lock;
pub(crate) mod map;
pub(crate) mod mid_write;
pub(crate) mod pair;
pub(crate) mod prefetch;
pub(crate) mod process_lock;
pub(crate) mod process_token;
pub(crate) mod signal;
mod wiped;
