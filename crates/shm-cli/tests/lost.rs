//! Limiters that are removed or replaced while commands use them or wait for them.

mod common;

use common::{Place, end_of, until};
use std::process::{Child, Stdio};

/// In the background, with its standard error to be read.
fn start(place: &Place, args: &[&str]) -> Child {
    place.command(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// With `--rate` a command knows how to open the limiter.
#[test]
fn waiting_jobs_with_a_rate_create_a_removed_limiter_again() {
    let place = Place::new();
    let run = ["run", "api", "--rate", "1/h", "--", "true"];
    place.ok(&run);
    let jobs = [start(&place, &run), start(&place, &run)];
    place.until_queue_is("api", 2);
    place.ok(&["remove", "api"]);
    // One has its turn with the new limiter, and the other one waits there.
    until(|| {
        let seen = place.run(&["inspect", "api", "--json"]).out;
        serde_json::from_str(&seen).is_ok_and(|seen: serde_json::Value| seen["callers_waiting"] == 1)
    });
    place.ok(&["set", "api", "--rate", "100/s"]);
    let ended = jobs.map(end_of);
    let said = ended.each_ref().map(|ended| ended.err.as_str());
    assert!(ended.iter().all(|ended| ended.status == 0), "{said:?}");
    let created = said.iter().filter(|text| text.contains("this process recreated it")).count();
    let joined = said.iter().filter(|text| text.contains("this process joined the new limiter")).count();
    assert_eq!((created, joined), (1, 1), "{said:?}");
}

#[test]
fn a_waiting_job_without_a_rate_says_that_the_limiter_is_not_there() {
    let place = Place::new();
    place.ok(&["run", "api", "--rate", "1/h", "--", "true"]);
    let job = start(&place, &["run", "api", "--", "true"]);
    place.until_queue_is("api", 1);
    place.ok(&["remove", "api"]);
    let ended = end_of(job);
    assert_eq!(ended.status, 1);
    assert!(ended.err.contains("does not exist"), "{}", ended.err);
}

#[test]
fn jobs_go_over_to_a_replacement() {
    let place = Place::new();
    place.ok(&["create", "api", "--rate", "1/h", "--seats", "2"]);
    place.ok(&["acquire", "api"]);
    let quiet = start(&place, &["run", "api", "--quiet", "--", "true"]);
    place.until_queue_is("api", 1);
    let text = place.ok(&["create", "api", "--rate", "5/s", "--greedy", "--seats", "300", "--replace"]);
    assert!(text.contains("replaced"), "{text}");
    let ended = end_of(quiet);
    assert_eq!((ended.status, ended.err.as_str()), (0, ""));
    let seen = place.json(&["inspect", "api", "--json"]);
    assert_eq!(seen["seats"]["total"].as_u64().or(seen["seats"].as_u64()), Some(300), "{seen}");
}

#[test]
fn errors_that_need_another_file_name_the_command_that_works() {
    let place = Place::new();
    place.ok(&["create", "api", "--rate", "5/s"]);
    for args in [
        &["set", "api", "--rate", "5/s", "--permits", "100"][..],
        &["create", "api", "--rate", "5/s", "--greedy"],
        &["create", "api", "--rate", "5/s", "--seats", "300"],
    ] {
        let ended = place.run(args);
        assert_ne!(ended.status, 0, "{args:?}");
        assert!(ended.err.contains("--replace"), "{args:?}: {}", ended.err);
    }
    place.ok(&["create", "api", "--rate", "5/s", "--permits", "100", "--replace"]);
    place.ok(&["set", "api", "--permits", "128"]);
}
