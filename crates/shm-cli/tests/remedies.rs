//! What a message advises works for its case.

mod common;

use common::Place;

/// Creating it helps neither against a misspelt name nor a command that has no `--rate`.
#[test]
fn a_missing_limiter_has_the_remedy_of_its_command() {
    let place = Place::new();
    for (args, remedy) in [
        (&["set", "nope", "--rate", "5/s"][..], "`shm-limit list` shows those that exist"),
        (&["reset", "nope"], "`shm-limit list` shows those that exist"),
        (&["pause", "nope", "5s"], "`shm-limit list` shows those that exist"),
        (&["resume", "nope"], "`shm-limit list` shows those that exist"),
        (&["inspect", "nope"], "`shm-limit list` shows those that exist"),
        (&["remove", "nope"], "nothing to remove"),
        (&["acquire", "nope"], "give --rate or --permits to create it"),
        (&["run", "nope", "--", "true"], "give --rate or --permits to create it"),
        (&["hold", "nope", "--pid", "1"], "give --rate or --permits to create it"),
        (&["charge", "nope"], "give --rate or --permits to create it"),
        (&["reserve", "nope"], "give --rate or --permits to create it"),
        (&["schedule", "nope", "--requests", "2"], "give --rate or --permits to create it"),
    ] {
        let ended = place.run(args);
        assert_eq!((ended.status, ended.out.as_str()), (1, ""), "{args:?}");
        assert!(ended.err.contains("it does not exist; ") || ended.err.contains("it does not exist, so"));
        assert!(ended.err.contains(remedy) && !ended.err.contains("shm-limit create"), "{}", ended.err);
        // A wrong directory is another mistake.
        let nowhere = place.run(&[&["--dir", "/nowhere"], args].concat());
        assert!(nowhere.err.contains("nor does its directory"), "{}", nowhere.err);
    }
}

#[test]
fn an_empty_directory_is_not_answered_with_another_one() {
    let (place, other) = (Place::new(), Place::new());
    let dir = other.path().to_str().unwrap();
    let listed = place.run(&["--dir", dir, "list"]);
    // A command line without --dir would create it elsewhere.
    assert!(listed.err.contains(dir) && !listed.err.contains("create NAME"), "{}", listed.err);
}

#[test]
fn a_default_burst_of_a_unit_follows_its_rate() {
    let place = Place::new();
    place.ok(&["create", "model", "--rate", "200000/m", "--unit", "tokens"]);
    let burst = || place.json(&["inspect", "model", "--json"])["burst"].as_u64().unwrap();
    for (rate, expected) in [("400000/m", 400_000), ("100000/m", 100_000)] {
        place.ok(&["set", "model", "--rate", rate]);
        assert_eq!(burst(), expected);
        // The script that creates it goes on.
        place.ok(&["create", "model", "--rate", rate, "--unit", "tokens"]);
        place.ok(&["reset", "model"]);
        place.ok(&["acquire", "model", "--try", "--take", &format!("tokens={expected}")]);
    }
    // A burst that was chosen stays.
    place.ok(&["set", "model", "--burst", "7"]);
    place.ok(&["set", "model", "--rate", "300000/m"]);
    assert_eq!(burst(), 7);
    place.ok(&["create", "calls", "--rate", "5/s"]);
    place.ok(&["set", "calls", "--rate", "50/s"]);
    assert_eq!(place.json(&["inspect", "calls", "--json"])["burst"], 1);
}
