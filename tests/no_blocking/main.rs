//! Promise 2, no process blocks another: a process that is killed, stopped or frozen anywhere delays no other.
//!
//! | module | what it shows |
//! |---|---|
//! | `stopped_processes` | beside stopped processes, decisions take no longer and turns come on time |
//! | `waiters` | what wakes a hundred waiters, and that killed ones do not block the line |
//! | `full_seats` | with all seats taken, searches are bounded and control works |
//! | `contention` | threads of one process do not hold each other up for long |
//! | `keys` | requests for a key go on beside processes that are stopped in the middle of one |

mod contention;
mod full_seats;
mod keys;
mod stopped_processes;
mod waiters;
