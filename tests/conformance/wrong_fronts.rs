//! The suite finds fronts with mistakes.

use crate::every_front::run_all;
use crate::front::Front;
use crate::real::{Verdict, run};

/// The mistakes that `drivers/wrong.rs` knows, and scenarios that must find each of them.
const MISTAKES: [(&str, &[&str]); 9] = [
    ("admits-all", &["bucket-burst", "greedy", "permits", "keys-bucket", "max-waiters-zero"]),
    ("never-waits", &["waiting-in-order", "pause-waiting"]),
    ("early", &["waiting-in-order", "greedy-waiting"]),
    ("takes-one", &["waiting-large-first", "greedy", "units"]),
    ("keeps-permits", &["permits"]),
    ("does-not-settle", &["settle-for-less", "settle-greedy"]),
    ("asks-too-early", &["bucket-burst", "window-first-use", "charge"]),
    ("one-key", &["keys-bucket"]),
    ("hides-shadow", &["shadow"]),
];

#[test]
#[ignore = "cargo xtask test conformance"]
fn every_mistake_of_a_front_is_found() {
    let _alone = harness::alone();
    let all = crate::all_scenarios();
    std::thread::scope(|scope| {
        for (mistake, finders) in MISTAKES {
            let of = |name: &&str| {
                all.iter().find(|scenario| scenario.name == **name).expect("a scenario").clone()
            };
            let scenarios: Vec<_> = finders.iter().map(of).collect();
            scope.spawn(move || {
                let is_found = |verdict: &Verdict| matches!(verdict, Verdict::Wrong(_));
                let front = [Front::wrong(mistake)];
                for (_, scenario, mut verdict) in run_all(&front, &scenarios) {
                    // A machine that is late by more than the mistake hides it.
                    for _ in 0..2 {
                        if !is_found(&verdict) {
                            verdict = run(&front[0], scenario);
                        }
                    }
                    assert!(is_found(&verdict), "{mistake} in {}: {verdict:?}", scenario.name);
                }
            });
        }
    });
}
