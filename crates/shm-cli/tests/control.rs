//! Creating, changing and removing limiters from the command line.

mod common;

use common::Place;

#[test]
fn creating_twice_is_fine_and_creating_another_is_not() {
    let place = Place::new();
    assert!(place.ok(&["create", "api", "--rate", "5/s", "--burst", "10"]).contains("created"));
    assert!(place.ok(&["create", "api", "--rate", "300/m", "--burst", "10"]).contains("already exists"));
    let other = place.run(&["create", "api", "--rate", "6/s"]);
    assert_eq!(other.status, 1);
    assert!(
        other.err.contains("5/s with bursts of 10") && other.err.contains("but 6/s was asked for"),
        "{}",
        other.err
    );
    let mode = place.run(&["create", "api", "--rate", "5/s", "--burst", "10", "--mode", "660"]);
    assert!(mode.status == 1 && mode.err.contains("600") && mode.err.contains("660"), "{}", mode.err);
}

#[test]
fn mode_and_seats_are_as_asked_for() {
    let place = Place::new();
    place.ok(&["create", "api", "--rate", "5/s", "--mode", "660", "--seats", "7"]);
    let seen = place.json(&["inspect", "api", "--json"]);
    assert_eq!((&seen["mode"], &seen["seats"]), (&"660".into(), &7.into()));
}

#[test]
fn the_rate_and_the_burst_can_be_changed_each_alone() {
    let place = Place::new();
    place.ok(&["create", "api", "--rate", "5/s", "--burst", "10"]);
    let said = place.ok(&["set", "api", "--rate", "7/2s"]);
    assert!(said.contains("7/2s with bursts of 10 (was 5/s with bursts of 10)"), "{said}");
    place.ok(&["set", "api", "--burst", "3"]);
    let seen = place.json(&["inspect", "api", "--json"]);
    assert_eq!(
        (&seen["rate"]["text"], &seen["burst"], &seen["changes"]),
        (&"7/2s".into(), &3.into(), &2.into())
    );
    assert_eq!(place.run(&["set", "api"]).status, 2);
    assert_eq!(place.run(&["set", "none", "--burst", "3"]).status, 1);
}

#[test]
fn a_pause_admits_nothing_until_it_is_resumed() {
    let place = Place::new();
    place.ok(&["create", "api", "--rate", "1000/s"]);
    place.ok(&["pause", "api", "1h"]);
    assert_eq!(place.run(&["acquire", "api", "--try"]).status, 75);
    assert!(place.ok(&["list"]).contains("paused"));
    assert!(place.ok(&["inspect", "api"]).contains("resume"));
    assert!(place.json(&["inspect", "api", "--json"])["paused_for_s"].as_f64().unwrap() > 3_000.0);
    place.ok(&["resume", "api"]);
    place.ok(&["acquire", "api", "--timeout", "30s"]);
    assert!(place.ok(&["resume", "api"]).contains("was not paused"));
}

#[test]
fn reset_forgets_what_was_used() {
    let place = Place::new();
    place.ok(&["create", "api", "--rate", "1/h"]);
    place.ok(&["acquire", "api"]);
    assert_eq!(place.run(&["acquire", "api", "--try"]).status, 75);
    place.ok(&["reset", "api"]);
    place.ok(&["acquire", "api", "--try"]);
}

#[test]
fn removing_frees_the_name() {
    let place = Place::new();
    place.ok(&["create", "api", "--rate", "5/s"]);
    place.ok(&["remove", "api"]);
    assert_eq!(place.run(&["remove", "api"]).status, 1);
    assert_eq!(place.run(&["remove", "--force", "api"]).status, 1);
    place.ok(&["create", "api", "--rate", "6/s"]);
}

#[test]
fn force_removes_what_is_no_limiter_and_nothing_else_does() {
    let place = Place::new();
    let junk = place.path().join("junk");
    std::fs::write(&junk, "junk").unwrap();
    assert_eq!(place.run(&["remove", "junk"]).status, 1);
    assert!(junk.exists());
    place.ok(&["remove", "--force", "junk"]);
    assert!(!junk.exists());
}

#[test]
fn what_can_not_be_is_wrong_usage() {
    let place = Place::new();
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
        let ended = place.run(args);
        assert_eq!(ended.status, 2, "{args:?}: {}", ended.err);
        assert!(!ended.err.is_empty(), "{args:?}");
    }
    assert_eq!(place.json(&["list", "--json"]), serde_json::json!([]));
}
