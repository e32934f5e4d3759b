//! The scenarios of `tests/conformance`, which every front runs for real, here in simulated time.
//!
//! | file | content |
//! |---|---|
//! | `mod` | the tests |
//! | `scenario` | the format of a scenario, and the comparison with what it expects |
//! | `simulated` | runs one |

#[allow(dead_code, reason = "the suite with real processes uses all of it")]
mod scenario;
mod simulated;

use scenario::{Clocks, Scenario, compare, ns};
use simulated::Simulated;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/scenarios");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED the scenarios: the packaged crate has none");
    None
}

/// What is wrong with the answers of the code. Nothing is late, and every expected field is answered.
fn complaints(scenario: &Scenario) -> Vec<String> {
    let (answers, wall) = Simulated::run(scenario);
    let slack = ns(scenario.slack);
    let clocks = Clocks { late: 0, stretch: 1, slack, wall };
    let mut all = Vec::new();
    for (index, (step, answers)) in scenario.steps.iter().zip(answers).enumerate() {
        let place = format!("{}, step {}", scenario.name, index + 1);
        if answers.len() as i64 != step.times {
            all.push(format!("{place}: {} answers, not {}", answers.len(), step.times));
        }
        for answer in answers {
            let (wrong, silent) = compare(step, &answer, clocks);
            all.extend(wrong.iter().map(|wrong| format!("{place}: {wrong}")));
            all.extend(silent.iter().map(|field| format!("{place}: no {field}")));
            // A caller may sleep a nanosecond longer than it has to.
            if answer.answered > step.answered() + slack.max(1) && step.is == answer.outcome {
                all.push(format!("{place}: answered after {} ns, not {}", answer.answered, step.answered()));
            }
        }
    }
    if !all.is_empty() {
        all.push(format!("  ({})", scenario.why));
    }
    all
}

#[test]
fn every_scenario_holds_in_simulated_time() {
    let Some(folder) = folder() else { return };
    let scenarios = Scenario::all(&folder);
    assert!(scenarios.len() >= 25, "{} scenarios", scenarios.len());
    let complaints: Vec<String> = scenarios.iter().flat_map(complaints).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The page about scenarios shows one, and names every operation.
#[test]
fn the_scenario_on_the_page_holds() {
    let Some(folder) = folder() else { return };
    let page = std::fs::read_to_string(folder.join("../README.md")).expect("the page");
    let (_, rest) = page.split_once("```json\n").expect("a scenario");
    let (text, _) = rest.split_once("```").expect("its end");
    let scenario = Scenario::read("page", text).expect("a scenario");
    assert_eq!(complaints(&scenario), Vec::<String>::new());
    let steps = Scenario::all(&folder).into_iter().flat_map(|scenario| scenario.steps);
    let used: BTreeSet<String> = steps.map(|step| step.op.word()).collect();
    let row = page.lines().find_map(|line| line.strip_prefix("| `do` |")).expect("a row");
    let named: BTreeSet<String> = row.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert_eq!(used, named);
}

/// A scenario that expects a nanosecond more or less, or another outcome, does not hold.
#[test]
fn a_wrong_expectation_is_found() {
    let scenario = |retry_after: &str, waited: &str, last: &str| {
        let text = format!(
            r#"{{"why": "A bucket of one call per second.", "policy": {{"limit": [{{"rate": "1/s"}}]}}, "steps": [
                {{"at": 0, "do": "try", "is": "admitted"}},
                {{"at": 0, "do": "try", "is": "denied", "by": "limits", "limit": 1, "retry_after": {retry_after}}},
                {{"at": 250, "do": "acquire", "is": "admitted", "waited": {waited}}},
                {{"at": 3000, "do": "try", "is": {last}}}]}}"#
        );
        complaints(&Scenario::read("wrong", &text).expect("a scenario"))
    };
    assert_eq!(scenario("1000", "750", r#""admitted""#), Vec::<String>::new());
    for (retry_after, waited, last, found) in [
        ("1000.000002", "750", r#""admitted""#, "step 2: retry after"),
        ("999.999998", "750", r#""admitted""#, "step 2: retry after"),
        ("1000", "750.000001", r#""admitted""#, "step 3: answered"),
        ("1000", "749.999998", r#""admitted""#, "step 3: admitted for"),
        ("1000", "750", r#""denied", "by": "limits""#, "step 4: expected Denied"),
    ] {
        let all = scenario(retry_after, waited, last);
        assert!(all.iter().any(|wrong| wrong.contains(found)), "{found}: {all:?}");
    }
}
