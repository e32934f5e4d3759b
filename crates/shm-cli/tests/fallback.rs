//! `--fail-open` and `--fail-closed`: what happens if the limiter cannot decide.

mod common;

use common::{Sandbox, end_of, until};

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

/// A seat becomes free when a process ends, as a turn comes: a caller that waited for one until its deadline is denied.
#[test]
fn a_timeout_without_a_free_seat_is_a_denial() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "100/s", "--permits", "2", "--seats", "1"]);
    let mut holder = sandbox.start(&["run", "api", "--", "sleep", "60"]);
    until(|| sandbox.json(&["inspect", "api", "--json"])["permits"]["held"] == 1);
    let ended = sandbox.run(&["acquire", "api", "--timeout", "100ms"]);
    assert_eq!((ended.status, ended.out.as_str()), (75, "0.100000\n"), "{}", ended.err);
    assert!(
        ended.err.contains("all its seats are taken (1)") && ended.err.contains("is denied"),
        "{}",
        ended.err
    );
    let ended =
        sandbox.run(&["run", "api", "--timeout", "100ms", "--denied-status", "9", "--", "echo", "ran"]);
    assert_eq!((ended.status, ended.out.as_str()), (9, ""));
    assert!(ended.err.contains("was not run"), "{}", ended.err);
    let ended = sandbox.run(&["acquire", "api", "--timeout", "100ms", "--quiet"]);
    assert_eq!((ended.status, ended.out.as_str(), ended.err.as_str()), (75, "", ""));
    let json = sandbox.json(&["acquire", "api", "--timeout", "100ms", "--json"]);
    assert_eq!(
        (&json["outcome"], &json["denied_by"], &json["error"]),
        (&"denied".into(), &"unavailable".into(), &"no_seat".into())
    );
    // Whoever says what to do without a decision gets that, and one that does not wait gets the error.
    let ended = sandbox.run(&["run", "api", "--timeout", "100ms", "--fail-open", "--", "echo", "ran"]);
    assert_eq!((ended.status, ended.out.as_str()), (0, "ran\n"), "{}", ended.err);
    for at_once in [&["--try"][..], &["--timeout", "0s"]] {
        let ended = sandbox.run(&[&["acquire", "api"], at_once].concat());
        assert_eq!((ended.status, ended.out.as_str()), (1, ""), "{at_once:?}: {}", ended.err);
    }
    // A seat that becomes free in time is used.
    let waiter = sandbox.start(&["acquire", "api", "--timeout", "30s"]);
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(end_of(waiter).status, 0);
}
