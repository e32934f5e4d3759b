//! Limiters that are removed or replaced while commands use them or wait for them.

mod common;

use common::{Sandbox, end_of, until};
use std::process::{Child, Stdio};

/// Starts the command in the background, with its standard error piped.
fn start(sandbox: &Sandbox, args: &[&str]) -> Child {
    sandbox.command(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// With `--rate` a command can create the limiter again.
#[test]
fn waiting_jobs_with_a_rate_create_a_removed_limiter_again() {
    let sandbox = Sandbox::new();
    let run = ["run", "api", "--rate", "1/h", "--", "true"];
    sandbox.ok(&run);
    let jobs = [start(&sandbox, &run), start(&sandbox, &run)];
    sandbox.until_queue_is("api", 2);
    sandbox.ok(&["remove", "api"]);
    // One of them is admitted by the new limiter, and the other one waits there.
    until(|| {
        let seen = sandbox.run(&["inspect", "api", "--json"]).out;
        serde_json::from_str(&seen).is_ok_and(|seen: serde_json::Value| seen["callers_waiting"] == 1)
    });
    sandbox.ok(&["set", "api", "--rate", "100/s"]);
    let ended = jobs.map(end_of);
    let said = ended.each_ref().map(|ended| ended.err.as_str());
    assert!(ended.iter().all(|ended| ended.status == 0), "{said:?}");
    let created = said.iter().filter(|text| text.contains("this process recreated it")).count();
    let joined = said.iter().filter(|text| text.contains("this process joined the new limiter")).count();
    assert_eq!((created, joined), (1, 1), "{said:?}");
}

#[test]
fn a_waiting_job_without_a_rate_fails_when_the_limiter_is_removed() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["run", "api", "--rate", "1/h", "--", "true"]);
    let job = start(&sandbox, &["run", "api", "--", "true"]);
    sandbox.until_queue_is("api", 1);
    sandbox.ok(&["remove", "api"]);
    let ended = end_of(job);
    assert_eq!(ended.status, 1);
    assert!(ended.err.contains("does not exist"), "{}", ended.err);
}

#[test]
fn jobs_go_over_to_a_replacement() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "1/h", "--seats", "2"]);
    sandbox.ok(&["acquire", "api"]);
    let quiet = start(&sandbox, &["run", "api", "--quiet", "--", "true"]);
    sandbox.until_queue_is("api", 1);
    let text = sandbox.ok(&["create", "api", "--rate", "5/s", "--greedy", "--seats", "300", "--replace"]);
    assert!(text.contains("replaced"), "{text}");
    let ended = end_of(quiet);
    assert_eq!((ended.status, ended.err.as_str()), (0, ""));
    let seen = sandbox.json(&["inspect", "api", "--json"]);
    assert_eq!(seen["seats"]["total"].as_u64().or(seen["seats"].as_u64()), Some(300), "{seen}");
}

#[test]
fn errors_about_room_in_the_file_advise_a_command_that_works() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "5/s"]);
    for args in [
        &["set", "api", "--rate", "5/s", "--permits", "100"][..],
        &["create", "api", "--rate", "5/s", "--greedy"],
        &["create", "api", "--rate", "5/s", "--seats", "300"],
    ] {
        let ended = sandbox.run(args);
        assert_ne!(ended.status, 0, "{args:?}");
        assert!(ended.err.contains("--replace"), "{args:?}: {}", ended.err);
    }
    sandbox.ok(&["create", "api", "--rate", "5/s", "--permits", "100", "--replace"]);
    sandbox.ok(&["set", "api", "--permits", "128"]);
}
