//! `--fail-open` and `--fail-closed`: what happens if the limiter cannot decide.

mod common;

use common::Sandbox;

#[test]
fn without_a_choice_an_error_is_an_error() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(&["run", "api", "--", "echo", "ran"]);
    assert_eq!((ended.status, ended.out.as_str()), (1, ""));
    let failed = sandbox.run(&["acquire", "api", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&failed.out).unwrap();
    assert_eq!((failed.status, &json["outcome"], &json["error"]), (1, &"failed".into(), &"not_found".into()));
    assert!(json["problem"].as_str().unwrap().contains("does not exist") && !failed.err.is_empty());
    // A request that can never pass is such an error too.
    sandbox.ok(&["create", "api", "--rate", "5/s"]);
    let failed = sandbox.run(&["acquire", "api", "-n", "6", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&failed.out).unwrap();
    assert_eq!((failed.status, &json["error"]), (2, &"never_admissible".into()));
    let failed = sandbox.run(&["acquire", "api", "-n", "0", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&failed.out).unwrap();
    assert_eq!((failed.status, &json["error"]), (2, &"failed".into()));
}

#[test]
fn fail_open_goes_on_and_reports_the_error() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.path().join("junk"), "junk").unwrap();
    for name in ["missing", "junk"] {
        let ended = sandbox.run(&["run", name, "--fail-open", "--quiet", "--", "echo", "ran"]);
        assert_eq!((ended.status, ended.out.as_str()), (0, "ran\n"), "{}", ended.err);
        assert!(ended.err.contains(name) && ended.err.contains("--fail-open"), "{}", ended.err);
    }
    let acquired = sandbox.run(&["acquire", "missing", "--fail-open", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&acquired.out).unwrap();
    assert_eq!(
        (acquired.status, &json["outcome"], &json["error"]),
        (0, &"admitted".into(), &"not_found".into())
    );
}

#[test]
fn fail_closed_denies_and_says_after_how_long_to_try_again() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(&["run", "api", "--fail-closed", "--", "echo", "ran"]);
    assert_eq!((ended.status, ended.out.as_str()), (75, ""));
    assert!(ended.err.contains("does not exist") && ended.err.contains("1.000000 s"), "{}", ended.err);
    let ended = sandbox.run(&["acquire", "api", "--fail-closed=2m", "--denied-status", "9"]);
    assert_eq!((ended.status, ended.out.as_str()), (9, "120.000000\n"));
    let json = sandbox.json(&["acquire", "api", "--fail-closed", "--json"]);
    assert_eq!(
        (&json["outcome"], &json["denied_by"], &json["retry_after_s"]),
        (&"denied".into(), &"unavailable".into(), &1.0.into())
    );
    assert_eq!(sandbox.run(&["acquire", "api", "--fail-closed", "--fail-open"]).status, 2);
}

/// A wrong request is the caller's mistake, and an ordinary denial is not a failure.
#[test]
fn neither_hides_a_mistake_nor_a_denial() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "1/h"]);
    for choice in ["--fail-open", "--fail-closed"] {
        let ended = sandbox.run(&["acquire", "api", "-n", "5", choice]);
        assert_eq!((ended.status, ended.out.as_str()), (2, ""), "{choice}: {}", ended.err);
    }
    sandbox.ok(&["acquire", "api", "--fail-closed"]);
    assert_eq!(sandbox.run(&["run", "api", "--try", "--fail-open", "--", "echo", "ran"]).status, 75);
}
