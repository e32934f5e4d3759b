//! The rate limiting algorithms, as pure functions on plain values: no clock, no shared memory, no waiting.
//!
//! | file | content |
//! |---|---|
//! | `rate` | an amount per period |
//! | `limit` | one validated limit: a rate, how it is counted, what it counts |
//! | `unit` | what a limit counts |
//! | `limit_spec` | one limit as a caller specified it, in flags or files |
//! | `serde_impls` | the same for serde (feature `serde`) |
//! | `policy` | up to four limits applied together, and permits |
//! | `key_policy` | limits per key, and the same as a caller specified them |
//! | `policy_spec` | a policy as a caller specified it, for comparison with an existing limiter |
//! | `cost` | what a request takes from each limit |
//! | `parse` | `5/s`, `30/1m30s`: text forms of rates and durations |
//! | `ticks` | exact integer time: one token is a whole number of ticks |
//! | `gcra` | the generic cell rate algorithm |
//! | `given` | how much of a charge was returned |
//! | `log` | the exact sliding window log |
//! | `window` | fixed windows and the sliding window counter |
//! | `calendar` | windows of the calendar, in the local time of a zone |
//! | `zone` | a time zone: its name, and its offsets from UTC |
//! | `rule` | one of several limits: its parameters, and its words of the record |
//! | `rule_set` | several limits decided at once, and the record that is their state |
//! | `audit` | an independent check of admissions against a limit |
//! | `model_tests` | properties: every kind against its textbook definition |

pub mod audit;
pub(crate) mod calendar;
mod cost;
pub(crate) mod gcra;
mod given;
pub(crate) mod key_policy;
#[allow(clippy::module_inception)] // the limit itself, among its algorithms
mod limit;
mod limit_spec;
pub(crate) mod log;
#[cfg(test)]
mod model_tests;
mod parse;
mod policy;
mod policy_spec;
mod rate;
pub(crate) mod rule;
pub(crate) mod rule_set;
#[cfg(feature = "serde")]
pub(crate) mod serde_impls;
mod ticks;
mod unit;
pub(crate) mod window;
pub(crate) mod zone;

pub use calendar::{Calendar, LocalDateTime};
#[cfg(any(not(model), test))]
pub(crate) use cost::Asked;
pub use cost::Cost;
pub(crate) use cost::Costs;
pub use gcra::{Gcra, LimitStatus, MAX_WAIT};
pub use given::{Given, Refund};
pub use key_policy::{KeyPolicy, KeySpec};
pub use limit::{Kind, Limit, MAX_ALIGNED, MAX_GREEDY, MAX_REFILL, MAX_WINDOW, Start};
pub use limit_spec::{LimitKind, LimitSpec};
pub use parse::{format_span, parse_span};
pub use policy::{MAX_LIMITS, MAX_PERMITS, Policy};
pub use policy_spec::PolicySpec;
pub use rate::{MAX_PER, Rate};
pub use ticks::Ticks;
pub use unit::Unit;
pub use zone::Zone;
