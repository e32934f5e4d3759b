//! `charge`, `reserve` and `schedule`: what is taken without waiting for it.

mod common;

use common::Sandbox;
use serde_json::Value;

/// What one call of `acquire` must wait, in seconds.
fn next_in(sandbox: &Sandbox, name: &str) -> f64 {
    sandbox.json(&["inspect", name, "--json"])["next_in_s"].as_f64().unwrap()
}

fn seconds(text: &str) -> Vec<f64> {
    text.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn a_charge_denies_nothing_and_delays_later_requests() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "login", "--rate", "6/m"]);
    assert_eq!(sandbox.ok(&["charge", "login", "-n", "3"]), "login: charged 3 calls\n");
    let next = next_in(&sandbox, "login");
    assert!((25.0..=30.0).contains(&next), "{next}");
    assert_eq!(sandbox.ok(&["charge", "login"]), "login: charged 1 call\n");
    assert!(next_in(&sandbox, "login") > 35.0);
    assert_eq!(sandbox.run(&["acquire", "login", "--try"]).status, 75);
}

#[test]
fn a_charge_of_a_unit_charges_no_call() {
    let sandbox = Sandbox::new();
    sandbox
        .ok(&["create", "model", "--rate", "10/h", "--burst", "10", "--rate", "1000/h", "--unit", "tokens"]);
    let used = || {
        let seen = sandbox.json(&["inspect", "model", "--json"]);
        [0, 1].map(|limit| seen["limits"][limit]["used"].as_u64().unwrap())
    };
    assert_eq!(sandbox.ok(&["charge", "model", "--take", "tokens=850"]), "model: charged 850 tokens\n");
    assert_eq!(used(), [0, 850]);
    let said = sandbox.ok(&["charge", "model", "-n", "2", "--take", "tokens=50"]);
    assert_eq!((said.as_str(), used()), ("model: charged 2 calls and 50 tokens\n", [2, 900]));
    for wrong in [&["-n", "0"][..], &["--take", "tokens=0"], &["--take", "bytes=5"], &["--take", "tokens"]] {
        let ended = sandbox.run(&[&["charge", "model"], wrong].concat());
        assert_eq!((ended.status, ended.out.as_str()), (2, ""), "{wrong:?}: {}", ended.err);
    }
    assert_eq!(used(), [2, 900]);
}

#[test]
fn a_reserved_turn_stays_taken_when_the_process_has_ended() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "1/10s"]);
    assert_eq!(seconds(&sandbox.ok(&["reserve", "api"])), [0.0]);
    let second = seconds(&sandbox.ok(&["reserve", "api"]))[0];
    assert!((5.0..=10.0).contains(&second), "{second}");
    let third = sandbox.json(&["reserve", "api", "--json"]);
    let keys: Vec<&String> = third.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["at_ns", "error", "name", "path", "problem", "wait_s"]);
    let wait = third["wait_s"].as_f64().unwrap();
    assert!((15.0..=20.0).contains(&wait), "{wait}");
    assert!(third["at_ns"].as_u64().unwrap() > 0);
    assert_eq!(sandbox.json(&["inspect", "api", "--json"])["admitted"], 3);
    // A reset makes room for others, and the limiter is created if the flags say how.
    sandbox.ok(&["reset", "api"]);
    assert_eq!(sandbox.run(&["reserve", "nope"]).status, 1);
    let failed = sandbox.run(&["reserve", "nope", "--json"]);
    let json: Value = serde_json::from_str(&failed.out).unwrap();
    assert_eq!((failed.status, &json["error"], &json["at_ns"]), (1, &"not_found".into(), &Value::Null));
    assert!(json["problem"].as_str().unwrap().contains("does not exist") && !failed.err.is_empty());
    assert_eq!(seconds(&sandbox.ok(&["reserve", "nope", "--rate", "5/s"])), [0.0]);
}

/// The receipt of a turn that could not be printed is lost, so the turn is given back.
#[test]
fn a_turn_that_cannot_be_printed_is_given_back() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "1/h"]);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let status = sandbox.command(&["reserve", "api"]).stdout(full).status().unwrap();
    assert_eq!(status.code(), Some(1));
    sandbox.ok(&["acquire", "api", "--try"]);
}

#[test]
fn scheduled_turns_are_as_far_apart_as_the_rate_says() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "1/10s"]);
    let turns = seconds(&sandbox.ok(&["schedule", "api", "--requests", "3"]));
    assert_eq!(turns.len(), 3);
    for pair in turns.windows(2) {
        assert!((pair[1] - pair[0] - 10.0).abs() < 1.0, "{turns:?}");
    }
    let more = sandbox.json(&["schedule", "api", "-n", "1", "--requests", "2", "--json"]);
    let at = |index: usize| more["turns"][index]["at_ns"].as_u64().unwrap();
    assert_eq!(at(1) - at(0), 10_000_000_000);
    assert!(more["turns"][0]["wait_s"].as_f64().unwrap() > 25.0);
    assert_eq!((more["turns"].as_array().map(Vec::len), &more["error"]), (Some(2), &Value::Null));
    let failed = sandbox.run(&["schedule", "api", "--requests", "0", "--json"]);
    let json: Value = serde_json::from_str(&failed.out).unwrap();
    assert_eq!((failed.status, &json["error"]), (2, &"invalid_input".into()));
    assert_eq!(json["turns"], serde_json::json!([]));
    for wrong in [&["--requests", "0"][..], &["--requests", "1000001"], &["--requests", "2", "-n", "0"], &[]]
    {
        let ended = sandbox.run(&[&["schedule", "api"], wrong].concat());
        assert_eq!((ended.status, ended.out.as_str()), (2, ""), "{wrong:?}: {}", ended.err);
    }
}

/// The scripts in the help of `reserve` and `schedule` run as they are.
#[test]
fn the_documented_scripts_keep_the_limit() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "20/s"]);
    let script = |command: &str, from: &str, to: &str| {
        let help = sandbox.ok(&[command, "--help"]);
        let text = help.split_once(from).unwrap().1.split_once(to).unwrap().0;
        format!("{from}{text}{to}").replace("curl -sS https://example.com/", "date +%s%N")
    };
    let reserve = script("reserve", "sleep \"$(", "\n");
    let schedule = script("schedule", "for wait in", "wait\n");
    let run = |script: &str, status: i32| {
        let shell = format!("shm-limit() {{ \"$PROGRAM\" \"$@\"; }}\n{script}");
        let mut command = assert_cmd::Command::new("bash");
        command.env("PROGRAM", env!("CARGO_BIN_EXE_shm-limit")).env("SHM_LIMIT_DIR", sandbox.path());
        let output = command.args(["-c", &shell]).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    assert_eq!(run(&reserve, 0), 1);
    assert_eq!(run(&schedule, 0), 3);
    // If the limiter does not exist, nothing runs, not even in a loop.
    sandbox.ok(&["remove", "api"]);
    assert_eq!(run(&reserve, 1), 0);
    assert_eq!(run(&schedule, 0), 0);
}

/// Where there are no turns, nothing can be taken ahead.
#[test]
fn permits_alone_have_no_turns() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "p", "--permits", "2"]);
    for args in [&["reserve", "p"][..], &["schedule", "p", "--requests", "2"]] {
        let ended = sandbox.run(args);
        assert_eq!((ended.status, ended.out.as_str()), (2, ""), "{}", ended.err);
    }
    assert_eq!(sandbox.json(&["inspect", "p", "--json"])["permits"]["held"], Value::from(0));
}
