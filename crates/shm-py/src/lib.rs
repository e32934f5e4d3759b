//! The native part of the Python package `shm_limit`: the handle of a limiter, its decisions, and what they need of Python.
//!
//! | file | content |
//! |---|---|
//! | `rate_limit` | the handle: `RateLimit` |
//! | `keyed` | the handle of a limiter with limits per key, and one key of it |
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
mod convert;
mod errors;
mod event_loop;
mod keyed;
mod last_admission;
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
    use crate::event_loop::{Acquiring, Wakeups};
    #[pymodule_export]
    use crate::keyed::{LimitOfKey, NativeKeyedRateLimit};
    #[pymodule_export]
    use crate::outcome::{Admission, Denied};
    #[pymodule_export]
    use crate::policy::Limit;
    #[pymodule_export]
    use crate::rate_limit::NativeRateLimit;
    #[pymodule_export]
    use crate::reservation::Reservation;
}
