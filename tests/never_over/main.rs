//! Promise 1, never over: in no window of any length is more admitted than the limit says.
//!
//! | module | what its processes do |
//! |---|---|
//! | `many_processes` | 64 of them wait for, or poll, one limiter: all that the limit allows is delivered, and no more |
//! | `several_limits` | use three limits and permits at once, while they are killed and replaced |
//! | `reservations` | reserve and schedule turns ahead |
//! | `changes` | change the limiter while others use it, and are killed in the middle of that |
//! | `late_callers` | make their calls late, to a server that counts what arrives |
//! | `idle_time` | leave the limiter idle, or poll it slowly |
//! | `refunds_and_resets` | give back, charge, reset, pause: by values |
//! | `keys` | share the budgets of keys, also of more keys than the table has room for |

mod changes;
mod idle_time;
mod keys;
mod late_callers;
mod many_processes;
mod refunds_and_resets;
mod reservations;
mod several_limits;
