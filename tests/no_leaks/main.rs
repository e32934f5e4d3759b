//! Promise 3, nothing leaks: what a dead process held is free again, and an unfinished limiter has no name.
//!
//! | module | what is free again |
//! |---|---|
//! | `killed_processes` | seats of processes that are killed at random instants |
//! | `seats` | a seat that is released, or whose holder died |
//! | `three_hundred_processes` | three hundred seats, and fewer seats than processes |
//! | `permits` | permits of killed, replaced and stopped holders |
//! | `containers` | seats and permits across PID, IPC and user namespaces, also without root |
//! | `pid_namespaces` | the same for two processes that are both PID 1 |
//! | `creation_race` | nothing is left behind when many processes create one name |
//! | `descriptors` | descriptors: none is kept, and a lack of them loses nothing |
//! | `memory` | memory: none is locked, and a lack of address space leaves nothing behind |

mod containers;
mod creation_race;
mod descriptors;
mod killed_processes;
mod memory;
mod permits;
mod pid_namespaces;
mod seats;
mod three_hundred_processes;
