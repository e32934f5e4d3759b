//! All fronts at once on one limiter, while their processes are killed, replaced, stopped and let go: never over, nothing wasted,
//! and first come, first served.
//!
//! | file | content |
//! |---|---|
//! | `mod` | the tests |
//! | `crowd` | the processes, their callers, and what is done to them |
//! | `verdict` | what is checked afterwards |

mod crowd;
mod verdict;

use crate::front::{self, Front};
use crowd::{Crowd, Plan};
use harness::log_uncaptured;
use serde_json::{Value, json};
use std::time::Duration;
use verdict::Verdict;

/// Callers wait for longer than the bound of the order: 60 callers for 100 a second.
const PLAN: Plan =
    Plan { processes: 3, callers: 6, commands: 8, time: Duration::from_secs(5), troubles: true };

fn judge(what: &str, fronts: &[Front], plan: &Plan, policy: &Value) -> Verdict {
    let record = Crowd::gather(fronts, plan, policy).run();
    let verdict = Verdict::of(policy, &record);
    log_uncaptured(&format!("conformance: {what}, {} fronts at once: {verdict}", fronts.len()));
    verdict
}

fn names(fronts: &[Front]) -> Vec<&str> {
    fronts.iter().map(|front| front.name).collect()
}

/// A burst, and permits of which a stopped process leaves enough.
fn bucket() -> Value {
    json!({"permits": 24, "limit": [{"rate": "100/s", "burst": 5}]})
}

fn greedy() -> Value {
    json!({"limit": [{"rate": "5/50ms", "kind": "greedy"}]})
}

#[test]
#[ignore = "cargo xtask test conformance"]
fn all_fronts_at_once_share_a_bucket_and_permits_under_kills() {
    let _alone = harness::alone();
    let fronts = front::all();
    let verdict = judge("a bucket and permits", &fronts, &PLAN, &bucket());
    assert_eq!(verdict.complaints(&names(&fronts)), Vec::<String>::new());
}

#[test]
#[ignore = "cargo xtask test conformance"]
fn all_fronts_at_once_share_a_greedy_limit_under_kills() {
    let _alone = harness::alone();
    let fronts = front::all();
    let verdict = judge("a greedy limit", &fronts, &PLAN, &greedy());
    assert_eq!(verdict.complaints(&names(&fronts)), Vec::<String>::new());
}

/// The key is the same one for all fronts.
#[test]
#[ignore = "cargo xtask test conformance"]
fn all_fronts_at_once_share_a_key_under_kills() {
    let _alone = harness::alone();
    let fronts = front::all();
    let of_key = json!({"keys": {"limit": [{"rate": "100/s", "burst": 5}]}});
    let verdict = judge("a key", &fronts, &PLAN, &of_key);
    assert_eq!(verdict.complaints(&names(&fronts)), Vec::<String>::new());
}

/// The judge finds fronts that are over, that exceed the permits, and that waste.
#[test]
#[ignore = "cargo xtask test conformance"]
fn a_wrong_front_in_the_crowd_is_found() {
    let _alone = harness::alone();
    let plan = Plan { time: Duration::from_secs(1), troubles: false, ..PLAN };
    let few_permits = json!({"permits": 2, "limit": [{"rate": "1000/s", "burst": 5}]});
    for (mistake, policy, found) in [
        ("never-waits", &bucket(), "over the limit"),
        ("never-waits", &few_permits, "permits were held"),
        ("keeps-permits", &bucket(), "delivered"),
    ] {
        let fronts = [Front::wrong(mistake)];
        let complaints = judge(mistake, &fronts, &plan, policy).complaints(&names(&fronts));
        assert!(complaints.iter().any(|what| what.contains(found)), "{mistake}: {complaints:?}");
    }
}
