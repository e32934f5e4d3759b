//! The native part of the Python package `shm_limit`: the handle of a limiter, its decisions, and what they need of Python.
//!
//! | file | content |
//! |---|---|
//! | `rate_limit` | the handle: `RateLimit` |
//! | `keyed` | the handle of a limiter with limits per key, and one key of it |
//! | `counts` | counts and logs of keys, whose bounds come with the request, for storages of other rate limiters |
//! | `client_ip` | the address of a server's client, also behind trusted proxies |
//! | `key_pause` | a pause of one key |
//! | `opening` | how a limiter is opened: the settings of its file, and what happens when it is not as it was |
//! | `policy` | limits and settings, as Python gives them |
//! | `convert` | numbers, periods and costs, as Python gives them |
//! | `outcome` | what a decision returns: an `Admission` or a `Denied` |
//! | `blocks` | the admissions of `with` blocks |
//! | `last_admission` | the object of a handle's last admission, used again |
//! | `reservation` | a turn that was taken in advance |
//! | `wait` | waiting in a thread, with the interpreter released and Ctrl-C obeyed |
//! | `event_loop` | waiting in tasks of an event loop |
//! | `errors` | exceptions, from the library's errors |
//!
//! What is Python alone is in `python/shm_limit/`: the exceptions, decorators, and the public names.

#![deny(unsafe_code)]

mod blocks;
mod client_ip;
mod convert;
mod counts;
mod errors;
mod event_loop;
mod key_pause;
mod keyed;
mod last_admission;
mod opening;
mod outcome;
mod policy;
mod rate_limit;
mod reservation;
mod wait;

use pyo3::prelude::*;

/// The native part of `shm_limit`.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::client_ip::NativeClientIp;
    #[pymodule_export]
    use crate::counts::{KeyCounts, KeyLogs};
    #[pymodule_export]
    use crate::event_loop::{Acquiring, Wakeups};
    #[pymodule_export]
    use crate::keyed::{LimitOfKey, NativeKeyedRateLimit};
    #[pymodule_export]
    use crate::outcome::{Admission, Denied};
    #[pymodule_export]
    use crate::policy::Limit;
    #[pymodule_export]
    use crate::rate_limit::{NativeRateLimit, default_directory};
    #[pymodule_export]
    use crate::reservation::Reservation;
}
