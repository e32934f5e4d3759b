//! The algorithms, as pure functions on plain values: no clock, no memory, no waiting.
//!
//! | file | what |
//! |---|---|
//! | `rate` | how much per how long |
//! | `limit` | one limit: a rate, how it is counted, what it counts; the validated way in |
//! | `unit` | what a limit counts |
//! | `description` | one limit in the words of flags and files |
//! | `serde_impls` | the same for serde (feature `serde`) |
//! | `policy` | up to four limits taken together, and permits |
//! | `policy_spec` | a policy as a caller stated it: what of an existing limiter is compared |
//! | `cost` | what one request takes of each |
//! | `parse` | `5/s`, `30/1m30s`: rates and spans as people write them |
//! | `ticks` | exact integer time: one token is a whole number of ticks |
//! | `gcra` | the generic cell rate algorithm |
//! | `given` | how much of a charge came back |
//! | `log` | the exact sliding log |
//! | `window` | fixed windows and the sliding counter |
//! | `rule` | one limit of several: its numbers, and its words of the record |
//! | `rule_set` | several limits decided at once, and the record that is their state |
//! | `audit` | an independent check of admissions against a rate |

pub mod audit;
mod cost;
mod description;
pub(crate) mod gcra;
mod given;
#[allow(clippy::module_inception)] // a limit, among what makes limits
mod limit;
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

pub use cost::Cost;
pub(crate) use cost::{Asked, Costs};
pub use description::{Description, KindName};
pub use gcra::{Gcra, MAX_WAIT, Outlook};
pub use given::{Given, Refund};
pub use limit::{Kind, Limit, MAX_GREEDY, MAX_REFILL, MAX_WINDOW, Start};
pub use parse::{format_span, parse_span};
pub use policy::{MAX_LIMITS, MAX_PERMITS, Policy};
pub use policy_spec::PolicySpec;
pub use rate::{MAX_PER, Rate};
pub use ticks::Ticks;
pub use unit::Unit;
