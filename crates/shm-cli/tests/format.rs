//! Limiters' files as an independent implementation of `docs/format.md` reads and creates them, compared with
//! `shm-limit inspect --json`.

mod common;

use common::{Sandbox, until};
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Whether the reader can be run; if not, says why, past the capture of the test runner.
fn has_reader() -> bool {
    use std::io::Write;
    let why = if !in_repository("tests/docs/format_reader.py").exists() {
        "the packaged crate has no tests/docs/format_reader.py"
    } else if Command::new("python3").arg("--version").output().is_err() {
        "there is no python3 here"
    } else {
        return true;
    };
    let _ = writeln!(std::io::stderr(), "SKIPPED {}: {why}", module_path!());
    false
}

fn reader(command: &str, file: &Path, argument: &str) -> Output {
    let mut python = Command::new("python3");
    python.arg(in_repository("tests/docs/format_reader.py")).arg(command);
    python.arg(in_repository("docs/format-vectors.json")).arg(file).arg(argument).output().unwrap()
}

fn ns(seconds: &Value) -> Value {
    seconds.as_f64().map_or(Value::Null, |s| json!((s * 1e9).round() as u64))
}

/// What both say of a limiter: as the command shows it.
fn as_inspected(seen: &Value) -> Value {
    let limits: Vec<Value> = seen["limits"].as_array().unwrap().iter().map(limit).collect();
    let attached: Vec<Value> = seen["attached"].as_array().unwrap().iter().map(process).collect();
    let waiting: Vec<Value> = seen["waiting"].as_array().unwrap().iter().map(in_line).collect();
    let mut permits = seen["permits"].clone();
    if permits.is_null() {
        permits = json!(0);
    } else {
        permits["holders"].as_array_mut().unwrap().iter_mut().for_each(|holder| {
            holder.as_object_mut().unwrap().remove("pid");
        });
    }
    let mut all = json!({
        "limits": limits, "attached": attached, "permits": permits,
        "paused_for_ns": ns(&seen["paused_for_s"]),
        "waited_total_ns": ns(&seen["waited_total_s"]),
        "waiting": waiting,
    });
    let same = ["name", "bytes", "seats", "created_unix", "changes", "shadow", "max_waiters"];
    for key in same.into_iter().chain(["admitted", "calls", "denied", "waited", "unordered"]) {
        all[key] = seen[key].clone();
    }
    all
}

fn limit(seen: &Value) -> Value {
    let kind = match (seen["kind"].as_str().unwrap(), seen["start"].as_str()) {
        ("fixed-window", Some("first-use")) => "windows from first use",
        ("fixed-window", _) => "windows since 1970",
        ("sliding-counter", _) => "sliding counter",
        (other, _) => other,
    };
    json!({
        "kind": kind, "unit": seen["unit"], "burst": seen["burst"], "guard_ns": ns(&seen["guard_s"]),
        "max": seen["rate"]["max"], "per_ns": ns(&seen["rate"]["per_s"]),
        "used": seen["used"], "available": seen["available"], "charged_ahead": seen["charged_ahead"],
        "next_in_ns": ns(&seen["next_in_s"]),
    })
}

fn process(seen: &Value) -> Value {
    let mut process = json!({ "since_ns": ns(&seen["since_s"]) });
    for key in ["seat", "pid", "command", "admitted", "denied", "waited", "permits"] {
        process[key] = seen[key].clone();
    }
    process
}

fn in_line(seen: &Value) -> Value {
    let mut process = json!({ "since_ns": ns(&seen["since_s"]) });
    for key in ["position", "pid", "command", "callers", "asks"] {
        process[key] = seen[key].clone();
    }
    process
}

/// What the reader finds in the file of this limiter, as it is now, and what the command says.
fn both(sandbox: &Sandbox, name: &str) -> (Value, Value) {
    let seen = sandbox.json(&["inspect", name, "--json"]);
    assert_eq!(seen["health"], "ok", "{seen}");
    let output = reader("file", &sandbox.path().join(name), &ns(&seen["age_s"]).to_string());
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let mut read: Value = serde_json::from_slice(&output.stdout).unwrap();
    // The command rounds times until something up to microseconds.
    let round_up =
        |ns: &mut Value| *ns = ns.as_u64().map_or(Value::Null, |ns| json!(ns.div_ceil(1_000) * 1_000));
    round_up(&mut read["paused_for_ns"]);
    read["limits"].as_array_mut().unwrap().iter_mut().for_each(|limit| round_up(&mut limit["next_in_ns"]));
    (read, as_inspected(&seen))
}

#[track_caller]
fn compare(sandbox: &Sandbox, name: &str) -> Value {
    let (read, inspected) = both(sandbox, name);
    assert_eq!(read, inspected, "{name}");
    read
}

fn sandbox(name: &str, settings: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", name].into_iter().chain(settings.split(' ')).collect::<Vec<_>>());
    sandbox
}

#[test]
fn the_reader_and_inspect_agree_on_one_bucket() {
    if !has_reader() {
        return;
    }
    let sandbox = sandbox("é b.c", "--rate 3/h --burst 4 --max-waiters 5 --seats 2");
    compare(&sandbox, "é b.c");
    sandbox.ok(&["acquire", "é b.c", "--calls", "3"]);
    sandbox.ok(&["acquire", "é b.c"]);
    assert_eq!(sandbox.run(&["acquire", "é b.c", "--try"]).status, 75);
    let read = compare(&sandbox, "é b.c");
    assert_eq!((&read["limits"][0]["available"], &read["denied"]), (&json!(0), &json!(1)));
    // All around the ring of generations, with a pause at its end.
    for rate in 4..14 {
        sandbox.ok(&["set", "é b.c", "--rate", &format!("{rate}/h")]);
    }
    compare(&sandbox, "é b.c");
    sandbox.ok(&["pause", "é b.c", "1h"]);
    let read = compare(&sandbox, "é b.c");
    assert_eq!(read["changes"], 11);
    assert!(read["paused_for_ns"].as_u64().is_some_and(|ns| ns > 3_500_000_000_000));
    sandbox.ok(&["reset", "é b.c"]);
    compare(&sandbox, "é b.c");
}

#[test]
fn the_reader_and_inspect_agree_on_permits() {
    if !has_reader() {
        return;
    }
    let with_rate = sandbox("api", "--rate 100/s --burst 20 --permits 70 --shadow");
    let alone = sandbox("api", "--permits 3");
    for sandbox in [with_rate, alone] {
        compare(&sandbox, "api");
        let mut holders: Vec<_> = (0..2)
            .map(|_| {
                let mut command = sandbox.command(&["run", "api", "--", "sh", "-c", "echo up; read end"]);
                let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
                child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
                child
            })
            .collect();
        let read = compare(&sandbox, "api");
        assert_eq!((&read["permits"]["held"], read["attached"].as_array().unwrap().len()), (&json!(2), 2));
        // One ends as it should, the other is killed and leaves its seat and its permit.
        drop(holders[0].stdin.take());
        holders[0].wait().unwrap();
        holders[1].kill().unwrap();
        holders[1].wait().unwrap();
        let read = compare(&sandbox, "api");
        assert_eq!((&read["permits"]["held"], read["attached"].as_array().unwrap().len()), (&json!(0), 0));
    }
}

#[test]
fn the_reader_and_inspect_agree_on_several_limits() {
    if !has_reader() {
        return;
    }
    let sandbox = sandbox(
        "model",
        "--rate 50/h --burst 5 --rate 100/h --greedy --guard 20ms --rate 9000/366d --unit tokens --rate 40/h --window sliding",
    );
    compare(&sandbox, "model");
    for _ in 0..3 {
        sandbox.ok(&["acquire", "model", "--take", "tokens=700"]);
    }
    let read = compare(&sandbox, "model");
    let used: Vec<&Value> = read["limits"].as_array().unwrap().iter().map(|limit| &limit["used"]).collect();
    assert_eq!(used, [3, 3, 2_100, 3]);
    sandbox.ok(&["pause", "model", "1h"]);
    compare(&sandbox, "model");

    for (kind, rate, used) in [("fixed", "2/d", 2), ("first-use", "2/366d", 2), ("sliding", "2/366d", 2)] {
        sandbox.ok(&["create", kind, "--rate", rate, "--window", kind, "--permits", "1"]);
        compare(&sandbox, kind);
        sandbox.ok(&["run", kind, "--", "true"]);
        sandbox.ok(&["run", kind, "--", "true"]);
        assert_eq!(sandbox.run(&["run", kind, "--try", "--", "true"]).status, 75);
        assert_eq!(compare(&sandbox, kind)["limits"][0]["used"], used, "{kind}");
    }
}

#[test]
fn the_reader_and_inspect_agree_on_the_line() {
    if !has_reader() {
        return;
    }
    let sandbox = sandbox("api", "--rate 1/h --burst 3");
    sandbox.ok(&["acquire", "api", "--calls", "3"]);
    let mut waiters: Vec<Child> = ["1", "2", "3"]
        .into_iter()
        .enumerate()
        .map(|(before, calls)| {
            let waiter =
                sandbox.command(&["acquire", "api", "--calls", calls]).stdout(Stdio::null()).spawn().unwrap();
            until(|| sandbox.json(&["inspect", "api", "--json"])["callers_waiting"] == before + 1);
            waiter
        })
        .collect();
    // The turn of the first is charged a moment after it has joined the line.
    until(|| sandbox.json(&["inspect", "api", "--json"])["charged_ahead"] == 1);
    let read = compare(&sandbox, "api");
    let asks: Vec<&Value> =
        read["waiting"].as_array().unwrap().iter().map(|process| &process["asks"]["calls"]).collect();
    assert_eq!(asks, [1, 2, 3]);
    // A dead one keeps its place until another process needs to know, but neither shows it.
    waiters[1].kill().unwrap();
    waiters[1].wait().unwrap();
    assert_eq!(compare(&sandbox, "api")["waiting"].as_array().unwrap().len(), 2);
    for mut waiter in waiters {
        let _ = waiter.kill();
        waiter.wait().unwrap();
    }
}

#[test]
fn the_reader_refuses_a_damaged_file() {
    if !has_reader() {
        return;
    }
    let sandbox = sandbox("api", "--rate 5/s --burst 3");
    let file = sandbox.path().join("api");
    let whole = std::fs::read(&file).unwrap();
    // A word of the header, one of the configuration (in the second place of the ring), and the number that follows from it.
    for at in [24, 64, 2560 + 1344 + 32, 2560 + 1344 + 64 + 16] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&file, &damaged).unwrap();
        let output = reader("file", &file, "0");
        assert!(!output.status.success(), "byte {at}");
    }
}

/// A limiter that another implementation created.
#[test]
fn the_command_uses_a_limiter_that_the_reader_created() {
    if !has_reader() {
        return;
    }
    let limit = |kind: &str, max: u64, seconds: u64, burst: u64, guard_ns: u64, unit: &str| {
        let numbers =
            json!({"max": max, "per_ns": seconds * 1_000_000_000, "burst": burst, "guard_ns": guard_ns});
        json!({"kind": kind, "numbers": numbers, "unit": unit})
    };
    let day = 86_400;
    let bucket = || limit("bucket", 7, day, 4, 0, "");
    for (name, limits, permits) in [
        ("bucket", vec![bucket()], 0),
        ("bucket and permits", vec![bucket()], 2),
        ("permits", vec![], 70),
        ("several", vec![bucket(), limit("greedy", 5, day, 5, 1_000, ""), bucket()], 0),
        ("greedy", vec![limit("greedy", 2_000, day, 2_000, 0, "")], 1),
        ("windows", vec![limit("windows since 1970", 9, day, 9, 0, "")], 0),
        (
            "others",
            vec![
                limit("windows from first use", 9, day, 9, 0, ""),
                limit("sliding counter", 8, day, 8, 0, ""),
            ],
            0,
        ),
    ] {
        let sandbox = Sandbox::new();
        let policy = json!({"limits": limits, "permits": permits, "seats": 3});
        let file = sandbox.path().join(name);
        let output = reader("create", &file, &policy.to_string());
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        // It does not replace it.
        assert!(!reader("create", &file, &policy.to_string()).status.success());
        let new = compare(&sandbox, name);
        assert_eq!(
            (&new["changes"], &new["seats"], new["limits"].as_array().unwrap().len()),
            (&json!(0), &json!(3), limits.len())
        );
        for used in 1..=2 {
            sandbox.ok(&["run", name, "--", "true"]);
            let read = compare(&sandbox, name);
            assert!(
                read["limits"].as_array().unwrap().iter().all(|limit| limit["used"] == used),
                "{name}: {read}"
            );
        }
        sandbox.ok(&["set", name, "--max-waiters", "5"]);
        sandbox.ok(&["pause", name, "1h"]);
        assert_eq!(sandbox.run(&["run", name, "--try", "--", "true"]).status, 75);
        compare(&sandbox, name);
        sandbox.ok(&["resume", name]);
        sandbox.ok(&["run", name, "--", "true"]);
        assert_eq!(compare(&sandbox, name)["changes"], 3);
        sandbox.ok(&["remove", name]);
        assert!(!file.exists());
    }
}
