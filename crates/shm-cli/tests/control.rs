//! Creating, changing and removing limiters from the command line.

mod common;

use common::Sandbox;

#[test]
fn creating_again_succeeds_only_with_the_same_settings() {
    let sandbox = Sandbox::new();
    assert!(sandbox.ok(&["create", "api", "--rate", "5/s", "--burst", "10"]).contains("created"));
    assert!(sandbox.ok(&["create", "api", "--rate", "300/m", "--burst", "10"]).contains("already exists"));
    let other = sandbox.run(&["create", "api", "--rate", "6/s"]);
    assert_eq!(other.status, 1);
    assert!(
        other.err.contains("5/s with bursts of 10") && other.err.contains("but 6/s was asked for"),
        "{}",
        other.err
    );
    let mode = sandbox.run(&["create", "api", "--rate", "5/s", "--burst", "10", "--mode", "660"]);
    assert!(mode.status == 1 && mode.err.contains("600") && mode.err.contains("660"), "{}", mode.err);
}

#[test]
fn create_sets_mode_and_seats() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "5/s", "--mode", "660", "--seats", "7"]);
    let seen = sandbox.json(&["inspect", "api", "--json"]);
    assert_eq!((&seen["mode"], &seen["seats"]), (&"660".into(), &7.into()));
}

#[test]
fn rate_and_burst_can_be_changed_separately() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "5/s", "--burst", "10"]);
    let said = sandbox.ok(&["set", "api", "--rate", "7/2s"]);
    assert!(said.contains("7/2s with bursts of 10 (was 5/s with bursts of 10)"), "{said}");
    sandbox.ok(&["set", "api", "--burst", "3"]);
    let seen = sandbox.json(&["inspect", "api", "--json"]);
    assert_eq!(
        (&seen["rate"]["text"], &seen["burst"], &seen["changes"]),
        (&"7/2s".into(), &3.into(), &2.into())
    );
    assert_eq!(sandbox.run(&["set", "api"]).status, 2);
    assert_eq!(sandbox.run(&["set", "none", "--burst", "3"]).status, 1);
}

#[test]
fn a_pause_denies_requests_until_it_is_resumed() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "1000/s"]);
    sandbox.ok(&["pause", "api", "1h"]);
    assert_eq!(sandbox.run(&["acquire", "api", "--try"]).status, 75);
    assert!(sandbox.ok(&["list"]).contains("paused"));
    assert!(sandbox.ok(&["inspect", "api"]).contains("resume"));
    assert!(sandbox.json(&["inspect", "api", "--json"])["paused_for_s"].as_f64().unwrap() > 3_000.0);
    sandbox.ok(&["resume", "api"]);
    sandbox.ok(&["acquire", "api", "--timeout", "30s"]);
    assert!(sandbox.ok(&["resume", "api"]).contains("was not paused"));
}

#[test]
fn reset_sets_usage_to_zero() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "1/h"]);
    sandbox.ok(&["acquire", "api"]);
    assert_eq!(sandbox.run(&["acquire", "api", "--try"]).status, 75);
    sandbox.ok(&["reset", "api"]);
    sandbox.ok(&["acquire", "api", "--try"]);
}

#[test]
fn removing_frees_the_name() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "5/s"]);
    sandbox.ok(&["remove", "api"]);
    assert_eq!(sandbox.run(&["remove", "api"]).status, 1);
    assert_eq!(sandbox.run(&["remove", "--force", "api"]).status, 1);
    sandbox.ok(&["create", "api", "--rate", "6/s"]);
}

#[test]
fn only_force_removes_a_file_that_is_not_a_limiter() {
    let sandbox = Sandbox::new();
    let junk = sandbox.path().join("junk");
    std::fs::write(&junk, "junk").unwrap();
    assert_eq!(sandbox.run(&["remove", "junk"]).status, 1);
    assert!(junk.exists());
    sandbox.ok(&["remove", "--force", "junk"]);
    assert!(!junk.exists());
}

#[test]
fn invalid_settings_are_usage_errors() {
    let sandbox = Sandbox::new();
    for args in [
        &["create", "api"][..],
        &["create", "api", "--rate", "5"],
        &["create", "api", "--rate", "0/s"],
        &["create", "api", "--rate", "5/s", "--burst", "0"],
        &["create", "api", "--rate", "5/s", "--mode", "9"],
        &["create", "api", "--rate", "5/s", "--mode", "640"],
        &["create", "api", "--rate", "5/s", "--seats", "0"],
        &["create", "a/b", "--rate", "5/s"],
        &["create", "", "--rate", "5/s"],
        &["create", ".hidden", "--rate", "5/s"],
        &["create", "a\nb", "--rate", "5/s"],
        &["pause", "api", "30"],
        &["pause", "api"],
        &["acquire", "api", "-n", "0"],
        &["acquire", "api", "--try", "--timeout", "1s"],
        &["acquire", "api", "--burst", "3"],
        &["run", "api"],
        &["run", "api", "--tmeout", "true"],
        &["nonsense"],
        &[],
    ] {
        let ended = sandbox.run(args);
        assert_eq!(ended.status, 2, "{args:?}: {}", ended.err);
        assert!(!ended.err.is_empty(), "{args:?}");
    }
    assert_eq!(sandbox.json(&["list", "--json"]), serde_json::json!([]));
}
