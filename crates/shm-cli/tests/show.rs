//! Output: for humans, for programs, and on streams that fail.

mod common;

use common::Sandbox;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::process::Stdio;

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

const BRIEF: [&str; 35] = [
    "admitted",
    "age_s",
    "available",
    "burst",
    "bytes",
    "callers_waiting",
    "calls",
    "changes",
    "charged_ahead",
    "clock_set_s",
    "created_unix",
    "denied",
    "directory",
    "full",
    "group_gid",
    "health",
    "keys",
    "limits",
    "max_waiters",
    "mode",
    "name",
    "next_in_s",
    "owner_uid",
    "path",
    "paused_for_s",
    "permits",
    "problem",
    "rate",
    "seats",
    "shadow",
    "tightest",
    "unordered",
    "used",
    "waited",
    "waited_total_s",
];

/// The shape is a promise: fields may be added here, never taken away or renamed.
#[test]
fn json_has_the_documented_fields() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "100/10s", "--burst", "4"]);
    let seen = sandbox.json(&["inspect", "api", "--json"]);
    let mut all = BRIEF.to_vec();
    all.extend(["attached", "waiting"]);
    all.sort_unstable();
    assert_eq!(keys(&seen), all);
    assert_eq!(seen["rate"], serde_json::json!({"max": 100, "per_s": 10.0, "text": "100/10s"}));
    assert_eq!(
        (&seen["health"], &seen["problem"], &seen["available"]),
        (&"ok".into(), &Value::Null, &4.into())
    );
    let of_a_limit = [
        "available",
        "burst",
        "charged_ahead",
        "guard_s",
        "kind",
        "next_in_s",
        "rate",
        "start",
        "text",
        "unit",
        "used",
        "window_ends",
        "zone",
    ];
    assert_eq!(keys(&seen["limits"][0]), of_a_limit);
    let list = sandbox.json(&["list", "--json"]);
    assert_eq!(keys(&list[0]), BRIEF);
    let taken = sandbox.json(&["acquire", "api", "-n", "4", "--json"]);
    let promised = [
        "at_ns",
        "calls",
        "denied_by",
        "denied_limit",
        "error",
        "key",
        "name",
        "outcome",
        "path",
        "problem",
        "retry_after_s",
        "shadowed",
        "units",
        "waited_s",
    ];
    assert_eq!(keys(&taken), promised);
    for (command, fields) in [("inspect", &all[..]), ("inspect", &of_a_limit), ("acquire", &promised)] {
        let help = sandbox.ok(&[command, "--help"]);
        let documented = |field: &str| {
            help.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == field)
        };
        let missing: Vec<&&str> = fields.iter().filter(|field| !documented(field)).collect();
        assert!(missing.is_empty(), "{command} --help does not document {missing:?}");
    }
    assert_eq!((&taken["outcome"], &taken["calls"]), (&"admitted".into(), &4.into()));
}

#[test]
fn inspect_lists_attached_processes() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "1/h"]);
    sandbox.ok(&["acquire", "api"]);
    let mut waiter = sandbox.start(&["acquire", "api"]);
    sandbox.until_queue_is("api", 1);
    let seen = sandbox.json(&["inspect", "api", "--json"]);
    let who = &seen["attached"][0];
    assert_eq!(
        keys(who),
        ["admitted", "command", "denied", "foreign_pid", "permits", "pid", "seat", "since_s", "waited"]
    );
    assert_eq!((&who["pid"], &who["command"]), (&waiter.id().into(), &"shm-limit".into()));
    let page = sandbox.ok(&["inspect", "api"]);
    for word in [
        &format!("pid {}", waiter.id()),
        "1/h evenly spaced",
        "1 call charged ahead",
        "mode 600",
        "1 of 128 seats",
    ] {
        assert!(page.contains(word), "{word}: {page}");
    }
    waiter.kill().unwrap();
    waiter.wait().unwrap();
    assert_eq!(sandbox.json(&["inspect", "api", "--json"])["attached"], serde_json::json!([]));
}

#[test]
fn a_damaged_file_is_listed_and_hides_no_other() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "good", "--rate", "5/s"]);
    sandbox.ok(&["create", "bad", "--rate", "5/s"]);
    std::fs::write(sandbox.path().join("junk"), "junk").unwrap();
    std::fs::create_dir(sandbox.path().join("directory")).unwrap();
    let cut = OpenOptions::new().write(true).open(sandbox.path().join("bad")).unwrap();
    cut.set_len(10_000).unwrap();
    let listed = sandbox.run(&["list"]);
    assert_eq!(listed.status, 0);
    for word in ["good", "corrupt", "not a limiter"] {
        assert!(listed.out.contains(word), "{word}: {}", listed.out);
    }
    assert!(listed.err.contains("junk") && listed.err.contains("directory"), "{}", listed.err);
    let list = sandbox.json(&["list", "--json"]);
    let health: Vec<&str> = list.as_array().unwrap().iter().map(|l| l["health"].as_str().unwrap()).collect();
    assert_eq!(health, ["corrupt", "not_a_limiter", "ok", "not_a_limiter"]);
    let bad = sandbox.run(&["inspect", "bad", "--json"]);
    assert_eq!(bad.status, 1);
    assert_eq!(
        keys(&serde_json::from_str(&bad.out).unwrap()),
        ["directory", "health", "name", "path", "problem"]
    );
    assert_eq!(sandbox.run(&["inspect", "bad"]).status, 1);
}

#[test]
fn a_missing_directory_is_an_error_and_an_empty_one_is_not() {
    let sandbox = Sandbox::new();
    let empty = sandbox.run(&["list"]);
    assert_eq!((empty.status, empty.out.as_str()), (0, ""));
    assert!(empty.err.contains(sandbox.path().to_str().unwrap()), "{}", empty.err);
    let nowhere = sandbox.path().join("nowhere");
    assert_eq!(sandbox.run(&["--dir", nowhere.to_str().unwrap(), "list"]).status, 1);
    let missing = sandbox.run(&["create", "api", "--rate", "5/s", "--dir", nowhere.to_str().unwrap()]);
    assert!(missing.status == 1 && missing.err.contains("nowhere"), "{}", missing.err);
    let missing = sandbox.run(&["inspect", "api", "--json"]);
    let found: Value = serde_json::from_str(&missing.out).unwrap();
    assert_eq!((missing.status, &found["health"]), (1, &"not_found".into()));
    assert_eq!(keys(&found), ["directory", "health", "name", "path", "problem"]);
}

#[test]
fn the_directory_can_be_given_before_and_after_the_command() {
    let (sandbox, other) = (Sandbox::new(), Sandbox::new());
    let dir = other.path().to_str().unwrap();
    sandbox.ok(&["--dir", dir, "create", "api", "--rate", "5/s"]);
    assert!(sandbox.ok(&["list", "--dir", dir]).contains("api"));
    assert!(!sandbox.ok(&["list"]).contains("api"));
}

#[test]
fn a_closed_pipe_is_not_a_failure() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "1/h"]);
    for (args, status) in [
        (&["list"][..], 0),
        (&["inspect", "api", "--json"], 0),
        (&["completions", "bash"], 0),
        (&["--help"], 0),
        (&["acquire", "api"], 0),
        (&["acquire", "api", "--try"], 75),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output =
            sandbox.command(args).stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(status), "{args:?}");
        assert!(output.stderr.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_full_disk_is_a_failure_without_panic() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "5/s"]);
    for args in [
        &["list"][..],
        &["inspect", "api"],
        &["completions", "zsh"],
        &["--help"],
        &["demo", "--seconds", "1"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output =
            sandbox.command(args).stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains("standard output") && !said.contains("panic"), "{args:?}: {said}");
    }
}

/// A terminal gives a wide character two cells and a combining mark none.
#[test]
fn columns_line_up_with_wide_characters() {
    use unicode_width::UnicodeWidthStr;
    let sandbox = Sandbox::new();
    let names = ["api", "日本語レート", "e\u{301}te\u{301}", "🚀🚀", "한국어", "plain-but-long-name"];
    for name in names {
        sandbox.ok(&["create", name, "--rate", "5/s"]);
    }
    let table = sandbox.ok(&["list"]);
    // Where the last column begins, in cells.
    let ends: Vec<usize> = table
        .lines()
        .map(|line| line.rsplit_once(' ').unwrap().0)
        .map(unicode_width::UnicodeWidthStr::width)
        .collect();
    assert_eq!(ends.len(), names.len() + 1);
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}\n{table}");
    let limits: Vec<usize> =
        table.lines().skip(1).map(|line| line.split_once("5/s").unwrap().0.width()).collect();
    assert!(limits.iter().all(|at| *at == limits[0]), "{limits:?}\n{table}");
}

#[test]
fn no_colours_without_a_terminal() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "5/s"]);
    assert!(!sandbox.ok(&["list"]).contains('\x1b') && !sandbox.ok(&["inspect", "api"]).contains('\x1b'));
}

#[test]
fn each_command_has_help_with_examples() {
    let sandbox = Sandbox::new();
    for command in [
        "create",
        "list",
        "inspect",
        "set",
        "reset",
        "pause",
        "remove",
        "acquire",
        "run",
        "demo",
        "completions",
    ] {
        assert!(sandbox.ok(&[command, "--help"]).contains("shm-limit "), "{command}");
    }
    assert!(sandbox.ok(&["--version"]).starts_with("shm-limit "));
}
