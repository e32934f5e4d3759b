//! The suite finds fronts with mistakes.

use crate::every_front::run_all;
use crate::front::Front;
use crate::real::{Verdict, run};

/// The mistakes that `drivers/wrong.rs` knows, and scenarios that must find each of them.
const MISTAKES: [(&str, &[&str]); 10] = [
    ("admits-all", &["bucket-burst", "greedy", "permits", "keys-bucket", "max-waiters-zero"]),
    ("never-waits", &["waiting-in-order", "pause-waiting"]),
    ("early", &["waiting-in-order", "greedy-waiting"]),
    ("takes-one", &["waiting-large-first", "greedy", "units"]),
    ("keeps-permits", &["permits"]),
    ("does-not-settle", &["settle-for-less", "settle-greedy"]),
    ("asks-too-early", &["bucket-burst", "window-first-use", "charge"]),
    ("one-key", &["keys-bucket"]),
    ("hides-shadow", &["shadow"]),
    ("oversleeps", &["resume"]),
];

#[test]
#[ignore = "cargo xtask test conformance"]
fn every_mistake_of_a_front_is_found() {
    let _alone = harness::alone();
    let all = crate::all_scenarios();
    let fronts = MISTAKES.map(|(mistake, _)| Front::wrong(mistake));
    let pairs = fronts.iter().zip(MISTAKES).flat_map(|(front, (_, finders))| {
        let of = |name: &&str| all.iter().find(|scenario| scenario.name == *name).expect("a scenario");
        finders.iter().map(of).map(move |scenario| (front, scenario))
    });
    let pairs: Vec<_> = pairs.collect();
    let is_found = |verdict: &Verdict| matches!(verdict, Verdict::Wrong(_));
    for (front, scenario, mut verdict) in run_all(pairs) {
        // A machine that is late by more than the mistake hides it.
        for _ in 0..2 {
            if !is_found(&verdict) {
                verdict = run(front, scenario);
            }
        }
        assert!(is_found(&verdict), "{} in {}: {verdict:?}", front.name, scenario.name);
    }
}
