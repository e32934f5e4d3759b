//! The suite finds fronts with mistakes.

use crate::every_front::run_all;
use crate::front::Front;
use crate::real::{Run, Verdict};
use harness::log_uncaptured;

/// A front that is late is told from a machine that is late only where nothing else runs.
const LATE: (&str, &str) = ("oversleeps", "resume");

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
    let fronts = MISTAKES.map(|(mistake, _)| Front::wrong(mistake));
    let pairs = fronts.iter().zip(MISTAKES).flat_map(|(front, (_, finders))| {
        let of = |name: &&str| all.iter().find(|scenario| scenario.name == *name).expect("a scenario");
        finders.iter().map(of).map(move |scenario| Run { fronts: vec![front], scenario })
    });
    let runs: Vec<Run<'_>> = pairs.collect();
    let is_found = |verdict: &Verdict| matches!(verdict, Verdict::Wrong(_));
    for (run, mut verdict) in runs.iter().zip(run_all(&runs)) {
        // A machine that is late by more than the mistake hides it.
        for _ in 0..2 {
            if !is_found(&verdict) {
                verdict = run.run();
            }
        }
        assert!(is_found(&verdict), "{} in {}: {verdict:?}", run.fronts[0].name, run.scenario.name);
    }
    let (mistake, finder) = LATE;
    let (front, scenario) = (Front::wrong(mistake), all.iter().find(|scenario| scenario.name == finder));
    let run = Run { fronts: vec![&front], scenario: scenario.expect("a scenario") };
    match run.run_alone() {
        Verdict::Wrong(what) => assert!(what.iter().all(|what| what.contains("late")), "{what:?}"),
        // The machine was as late at least once.
        Verdict::TooLate(by) => log_uncaptured(&format!("UNDECIDED: {mistake}, {by:?} ns late")),
        other => panic!("{mistake}: {other:?}"),
    }
}
