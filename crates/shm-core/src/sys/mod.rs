//! Everything that needs `unsafe`, or that is about the kernel rather than about limits.
//!
//! | file | what |
//! |---|---|
//! | `map` | a file as typed atomics |
//! | `futex` | sleeping on a shared word |
//! | `lock` | locks that die with their holder: on a descriptor, or held by a mapping |
//! | `process_token` | which process and which thread this is |
//! | `fork_gate` | moments in which this process must not fork, and what is done when it does |
//! | `wiped` | memory that a forked child finds wiped |
//! | `descriptor` | descriptors that are open for a moment, and that a forked child does not keep |
//! | `mid_write` | writes that a signal handler's fork must not double |
//! | `signal` | moments in which no signal handler runs |
//! | `process_lock` | a lock among the threads of one process |
//! | `ground` | proves what a limiter rests on, or says what is missing |
//! | `file_system` | kinds of file systems by number |
//! | `host` | which boot, which clock, which PID namespace |

#![allow(unsafe_code)]

pub(crate) mod descriptor;
pub(crate) mod file_system;
pub(crate) mod fork_gate;
pub(crate) mod futex;
pub(crate) mod ground;
pub(crate) mod host;
pub(crate) mod lock;
pub(crate) mod map;
pub(crate) mod mid_write;
pub(crate) mod process_lock;
pub(crate) mod process_token;
pub(crate) mod signal;
mod wiped;
