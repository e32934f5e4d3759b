//! What a message advises works for its case.

mod common;

use common::Sandbox;

/// Creating it helps neither against a misspelt name nor a command that has no `--rate`.
#[test]
fn a_missing_limiter_has_the_remedy_of_its_command() {
    let sandbox = Sandbox::new();
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
        let ended = sandbox.run(args);
        assert_eq!((ended.status, ended.out.as_str()), (1, ""), "{args:?}");
        assert!(ended.err.contains("it does not exist; ") || ended.err.contains("it does not exist, so"));
        assert!(ended.err.contains(remedy) && !ended.err.contains("shm-limit create"), "{}", ended.err);
        // A wrong directory is another mistake.
        let nowhere = sandbox.run(&[&["--dir", "/nowhere"], args].concat());
        assert!(nowhere.err.contains("nor does its directory"), "{}", nowhere.err);
    }
}

#[test]
fn an_empty_directory_is_not_answered_with_another_one() {
    let (sandbox, other) = (Sandbox::new(), Sandbox::new());
    let dir = other.path().to_str().unwrap();
    let listed = sandbox.run(&["--dir", dir, "list"]);
    // A command line without --dir would create it elsewhere.
    assert!(listed.err.contains(dir) && !listed.err.contains("create NAME"), "{}", listed.err);
}
