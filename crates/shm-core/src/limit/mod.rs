//! The algorithms, as pure functions on plain values: no clock, no memory, no waiting.
//!
//! | file | what |
//! |---|---|
//! | `rate` | how much per how long, and the burst; the validated way in |
//! | `notation` | `5/s`, `30/1m30s`: rates and spans as people write them |
//! | `ticks` | exact integer time: one token is a whole number of ticks |
//! | `gcra` | the generic cell rate algorithm |
//! | `audit` | an independent check of admissions against a rate |

pub mod audit;
pub(crate) mod gcra;
mod notation;
mod rate;
mod ticks;

pub use gcra::{Gcra, MAX_WAIT, Outlook};
pub use notation::{format_span, parse_span};
pub use rate::{Limit, MAX_PER, MAX_REFILL, Rate};
pub use ticks::Ticks;
