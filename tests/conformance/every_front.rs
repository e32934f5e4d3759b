//! Every front runs every scenario, and all of them together do.

use crate::front::{self, Front};
use crate::real::{Run, Verdict};
use crate::scenario::Scenario;
use harness::{log_uncaptured, skip};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many scenarios run at one time. They sleep most of the time.
const AT_ONCE: usize = 32;
/// How long a machine that is too late gets to run scenarios one after the other.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs all of these, as many at a time; and again, one after the other, those for which the machine was too late.
pub(crate) fn run_all(runs: &[Run<'_>]) -> Vec<Verdict> {
    let verdicts: Vec<Mutex<Option<Verdict>>> = runs.iter().map(|_| Mutex::default()).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((run, verdict)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    runs.get(index).zip(verdicts.get(index))
                } {
                    *verdict.lock().expect("no panic") = Some(run.run());
                }
            });
        }
    });
    let verdicts = verdicts.into_iter().map(|verdict| verdict.into_inner().expect("no panic").expect("run"));
    let end = Instant::now() + PATIENCE;
    runs.iter()
        .zip(verdicts)
        .map(|(run, verdict)| match verdict {
            Verdict::TooLate(_) if Instant::now() < end => run.run_alone(),
            verdict => verdict,
        })
        .collect()
}

/// What came of all runs.
#[derive(Default)]
struct Summary {
    passed: usize,
    wrong: Vec<String>,
    late: Vec<String>,
    most_late: (i64, String),
}

impl Summary {
    fn add(&mut self, whose: &str, scenario: &Scenario, verdict: &Verdict) {
        let place = format!("{whose}, {}", scenario.name);
        match verdict {
            Verdict::Passed { late, .. } => {
                self.passed += 1;
                self.most_late = std::mem::take(&mut self.most_late).max((*late, place));
            }
            // Compared with what the front is known not to have.
            Verdict::Unsupported(_) => {}
            Verdict::TooLate(by) => self.late.push(format!("{place}: {by:?} ns")),
            Verdict::Wrong(what) => {
                let why = &scenario.why;
                self.wrong.extend(what.iter().map(|what| format!("{place}, {what} ({why})")));
            }
        }
    }

    /// What a front cannot do is listed, and no more than that.
    fn compare_with_list(&mut self, front: &Front, verdicts: &[(&Scenario, &Verdict)]) {
        let (mut skipped, mut silent, mut is_complete) = (BTreeSet::new(), BTreeSet::new(), true);
        for (scenario, verdict) in verdicts {
            match verdict {
                Verdict::Passed { silent: fields, .. } => {
                    silent.extend(fields.iter().map(|(op, field)| (op.as_str(), *field)));
                }
                Verdict::Unsupported(_) => drop(skipped.insert(scenario.name.as_str())),
                Verdict::TooLate(_) | Verdict::Wrong(_) => is_complete = false,
            }
        }
        let known: BTreeSet<&str> = front.skips.iter().map(|&(scenario, _)| scenario).collect();
        if !skipped.is_subset(&known) || is_complete && skipped != known {
            self.wrong.push(format!("{} skips {skipped:?}, expected {known:?}", front.name));
        }
        let known: BTreeSet<(&str, &str)> = front.silent.iter().map(|&(op, field, _)| (op, field)).collect();
        if !silent.is_subset(&known) || is_complete && silent != known {
            self.wrong.push(format!("{} does not tell {silent:?}, expected {known:?}", front.name));
        }
    }

    fn assert(&self, what: &str, skipped: usize) {
        for what in &self.late {
            log_uncaptured(&format!("UNDECIDED, the machine was too late each time: {what}"));
        }
        let Summary { passed, wrong, late, most_late: (most_late, where_) } = self;
        log_uncaptured(&format!(
            "conformance: {what}: {passed} passed, {skipped} skipped, {} undecided, {} wrong; nothing that was judged was later \
             than {} ms ({where_})",
            late.len(),
            wrong.len(),
            most_late / 1_000_000,
        ));
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
        // A machine on which many runs say nothing is not a machine on which the suite passes.
        assert!(
            late.len() * 4 <= *passed,
            "{} runs were too late to say anything, {passed} passed",
            late.len()
        );
    }
}

#[test]
#[ignore = "cargo xtask test conformance"]
fn every_front_keeps_every_scenario() {
    let _alone = harness::alone();
    let (fronts, all) = (front::all(), crate::all_scenarios());
    let (real, simulated): (Vec<&Scenario>, Vec<&Scenario>) =
        all.iter().partition(|scenario| scenario.only_simulated.is_none());
    let pairs = real.iter().flat_map(|&scenario| fronts.iter().map(move |front| (front, scenario)));
    let runs: Vec<Run<'_>> = pairs.map(|(front, scenario)| Run { fronts: vec![front], scenario }).collect();
    let verdicts = run_all(&runs);
    let mut summary = Summary::default();
    for front in &fronts {
        let of = runs.iter().zip(&verdicts).filter(|(run, _)| run.fronts[0].name == front.name);
        let of: Vec<(&Scenario, &Verdict)> = of.map(|(run, verdict)| (run.scenario, verdict)).collect();
        of.iter().for_each(|(scenario, verdict)| summary.add(front.name, scenario, verdict));
        summary.compare_with_list(front, &of);
        for (scenario, why) in front.skips {
            log_uncaptured(&format!("SKIPPED {scenario} for {}: {why}", front.name));
        }
    }
    for scenario in simulated {
        let why = scenario.only_simulated.as_deref().unwrap_or_default();
        log_uncaptured(&format!("SKIPPED {} for real: {why}", scenario.name));
    }
    let skipped = fronts.iter().map(|front| front.skips.len()).sum();
    summary.assert(&format!("{} scenarios × {} fronts", real.len(), fronts.len()), skipped);
}

/// The steps of each scenario, done by all fronts by turns: what one of them takes, changes or waits for is what the others see.
#[test]
#[ignore = "cargo xtask test conformance"]
fn all_fronts_by_turns_keep_every_scenario() {
    let _alone = harness::alone();
    let (fronts, all) = (front::all(), crate::all_scenarios());
    if fronts.len() < 2 {
        skip!("there is only one front");
    }
    let real: Vec<&Scenario> = all.iter().filter(|scenario| scenario.only_simulated.is_none()).collect();
    let can =
        |front: &&Front, scenario: &Scenario| front.skips.iter().all(|(name, _)| *name != scenario.name);
    let team = |scenario: &Scenario| fronts.iter().filter(|front| can(front, scenario)).collect();
    let runs: Vec<Run<'_>> = real.iter().map(|scenario| Run { fronts: team(scenario), scenario }).collect();
    let mut summary = Summary::default();
    for (run, verdict) in runs.iter().zip(run_all(&runs)) {
        summary.add("by turns", run.scenario, &verdict);
        assert!(!matches!(verdict, Verdict::Unsupported(_)), "{}: {verdict:?}", run.scenario.name);
    }
    summary.assert(&format!("{} scenarios, their steps by {} fronts in turn", real.len(), fronts.len()), 0);
}
