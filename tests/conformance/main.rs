//! One suite for all fronts: scenarios that each of them runs for real, and all of them at once on one limiter. The pure core
//! runs the same scenarios in simulated time (`crates/shm-core/src/limiter/conformance`). `README.md` in this folder says how to
//! add a scenario or a front. `cargo xtask test conformance` runs it.
//!
//! | file | content |
//! |---|---|
//! | `every_front` | every front runs every scenario |
//! | `together` | all fronts at once, under kills |
//! | `wrong_fronts` | fronts with mistakes, which are found |
//! | `readme` | drivers do what the page says |
//! | `real` | runs a scenario on a front |
//! | `front` | the fronts, and what each of them cannot do |
//! | `driver` | a process of a front's driver |

mod driver;
mod every_front;
mod front;
mod readme;
mod real;
#[path = "../../crates/shm-core/src/limiter/conformance/scenario.rs"]
mod scenario;
mod together;
mod wrong_fronts;

use scenario::Scenario;
use std::path::Path;

/// All scenarios.
fn all_scenarios() -> Vec<Scenario> {
    Scenario::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/scenarios"))
}
