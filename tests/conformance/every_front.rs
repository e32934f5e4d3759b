//! Every front runs every scenario.

use crate::front::{self, Front};
use crate::real::{Verdict, run, run_alone};
use crate::scenario::Scenario;
use harness::log_uncaptured;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How many scenarios run at one time. They sleep most of the time.
const AT_ONCE: usize = 24;
/// How long a machine that is too late gets to run scenarios one after the other.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs all of these, as many at a time; and again, one after the other, those for which the machine was too late.
pub(crate) fn run_all<'a>(
    pairs: impl IntoIterator<Item = (&'a Front, &'a Scenario), IntoIter: Send>,
) -> Vec<(&'a Front, &'a Scenario, Verdict)> {
    let (pairs, verdicts) = (Mutex::new(pairs.into_iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = pairs.lock().expect("no panic").next();
                    let Some((front, scenario)) = next else { return };
                    let verdict = run(front, scenario);
                    verdicts.lock().expect("no panic").push((front, scenario, verdict));
                }
            });
        }
    });
    let mut verdicts = verdicts.into_inner().expect("no panic");
    let end = Instant::now() + PATIENCE;
    for (front, scenario, verdict) in &mut verdicts {
        if matches!(verdict, Verdict::TooLate(_)) && Instant::now() < end {
            *verdict = run_alone(front, scenario);
        }
    }
    verdicts
}

#[test]
#[ignore = "cargo xtask test conformance"]
fn every_front_keeps_every_scenario() {
    let _alone = harness::alone();
    let (fronts, scenarios) = (front::all(), crate::all_scenarios());
    let real: Vec<Scenario> =
        scenarios.iter().filter(|scenario| scenario.only_simulated.is_none()).cloned().collect();
    let verdicts =
        run_all(real.iter().flat_map(|scenario| fronts.iter().map(move |front| (front, scenario))));
    let (mut passed, mut wrong, mut late) = (0, Vec::new(), Vec::new());
    let mut most_late = (0, String::new());
    for front in &fronts {
        let (mut skipped, mut silent) = (BTreeSet::new(), BTreeSet::new());
        for (_, scenario, verdict) in verdicts.iter().filter(|(of, ..)| of.name == front.name) {
            let place = format!("{}, {}", front.name, scenario.name);
            match verdict {
                Verdict::Passed { silent: fields, late } => {
                    passed += 1;
                    most_late = most_late.max((*late, place));
                    silent.extend(fields.iter().map(|(op, field)| (op.as_str(), *field)));
                }
                Verdict::Unsupported(_) => drop(skipped.insert(scenario.name.as_str())),
                Verdict::TooLate(by) => late.push(format!("{place}: {by:?} ns")),
                Verdict::Wrong(what) => {
                    wrong.extend(what.iter().map(|what| format!("{place}, {what} ({})", scenario.why)));
                }
            }
        }
        // What a front cannot do is listed, and no more than that.
        let known: BTreeSet<&str> = front.skips.iter().map(|&(scenario, _)| scenario).collect();
        if skipped != known {
            wrong.push(format!("{} skips {skipped:?}, expected {known:?}", front.name));
        }
        let known: BTreeSet<(&str, &str)> = front.silent.iter().map(|&(op, field, _)| (op, field)).collect();
        if silent != known {
            wrong.push(format!("{} does not tell {silent:?}, expected {known:?}", front.name));
        }
        for (scenario, why) in front.skips {
            log_uncaptured(&format!("SKIPPED {scenario} for {}: {why}", front.name));
        }
    }
    for scenario in scenarios.iter().filter(|scenario| scenario.only_simulated.is_some()) {
        let why = scenario.only_simulated.as_deref().unwrap_or_default();
        log_uncaptured(&format!("SKIPPED {} for real: {why}", scenario.name));
    }
    for what in &late {
        log_uncaptured(&format!("UNDECIDED, the machine was too late each time: {what}"));
    }
    let skipped: usize = fronts.iter().map(|front| front.skips.len()).sum();
    log_uncaptured(&format!(
        "conformance: {} scenarios × {} fronts: {passed} passed, {skipped} skipped, {} undecided, {} wrong; nothing that was \
         judged was later than {} ms ({})",
        real.len(),
        fronts.len(),
        late.len(),
        wrong.len(),
        most_late.0 / 1_000_000,
        most_late.1
    ));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    // A machine on which most runs say nothing is not a machine on which the suite passes.
    assert!(late.len() * 4 <= passed, "{} runs were too late to say anything, {passed} passed", late.len());
}
