//! The line as `list` and `inspect` show it: waiting callers of living processes, for limits and for permits, in order of
//! arrival.

mod common;

use common::{Sandbox, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::process::Child;
use std::time::Duration;

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

fn end(children: impl IntoIterator<Item = Child>) {
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// Waiting processes, which arrived one after the other.
fn waiters(sandbox: &Sandbox, name: &str, all: &[&[&str]]) -> Vec<Child> {
    let mut children = Vec::new();
    for args in all {
        children.push(sandbox.start(args));
        sandbox.until_queue_is(name, children.len() as u64);
    }
    children
}

fn inspect(sandbox: &Sandbox, name: &str) -> Value {
    sandbox.json(&["inspect", name, "--json"])
}

/// The PIDs of the waiting processes, in the order of the line.
fn line(seen: &Value) -> Vec<u64> {
    seen["waiting"].as_array().unwrap().iter().map(|one| one["pid"].as_u64().unwrap()).collect()
}

fn pids<'a>(children: impl IntoIterator<Item = &'a Child>) -> Vec<u64> {
    children.into_iter().map(|child| child.id().into()).collect()
}

/// The cell of this limiter and this column in `list`.
fn cell(sandbox: &Sandbox, name: &str, column: &str) -> String {
    let table = sandbox.ok(&["list"]);
    let mut lines = table.lines();
    let head: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    let row = lines.map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|row| row[0] == name);
    row.unwrap()[head.iter().position(|&title| title == column).unwrap()].to_owned()
}

#[test]
fn the_line_for_a_rate_is_listed_in_order_of_arrival() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "1/h"]);
    assert!(sandbox.ok(&["inspect", "api"]).contains("queue     empty"));
    assert_eq!(cell(&sandbox, "api", "QUEUE"), "0");
    sandbox.ok(&["acquire", "api"]);
    let line_up = ["acquire", "api"];
    let mut children =
        waiters(&sandbox, "api", &[&line_up, &line_up, &["run", "api", "--", "true"], &line_up]);
    assert_eq!(cell(&sandbox, "api", "QUEUE"), "4");
    let list = sandbox.json(&["list", "--json"]);
    assert_eq!((&list[0]["callers_waiting"], &list[0]["waiting"]), (&4.into(), &Value::Null));
    let seen = inspect(&sandbox, "api");
    assert_eq!(line(&seen), pids(&children));
    assert_eq!((&seen["charged_ahead"], &seen["unordered"]), (&1.into(), &0.into()));
    let first = seen["waiting"][0].as_object().unwrap();
    let mut keys: Vec<&str> = first.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["asks", "callers", "command", "foreign_pid", "late", "pid", "position", "since_s"]);
    assert_eq!(
        (&first["position"], &first["callers"], &first["asks"]),
        (&1.into(), &1.into(), &json!({"calls": 1}))
    );
    assert_eq!((&first["command"], &first["foreign_pid"]), (&"shm-limit".into(), &false.into()));
    let since = |index: usize| seen["waiting"][index]["since_s"].as_f64().unwrap();
    assert!(since(0) > since(1) && since(1) > since(2) && since(2) > since(3), "{seen}");
    let page = sandbox.ok(&["inspect", "api"]);
    assert!(page.contains("queue     4 callers of 4 processes"), "{page}");
    for (index, child) in children.iter().enumerate() {
        let (start, end) = (format!("{}. pid {} ", index + 1, child.id()), "1 caller, for 1 call");
        assert!(page.lines().any(|line| line.contains(&start) && line.contains(end)), "{start}: {page}");
    }
    // A process that leaves in any way is no longer listed, and those behind it move up.
    send(&children[0], Signal::SIGKILL);
    send(&children[2], Signal::SIGTERM);
    for index in [2, 0] {
        children.remove(index).wait().unwrap();
    }
    let seen = inspect(&sandbox, "api");
    assert_eq!(line(&seen), pids(&children));
    assert_eq!((&seen["callers_waiting"], &seen["waiting"][1]["position"]), (&2.into(), &2.into()));
    end(children);
    assert_eq!(cell(&sandbox, "api", "QUEUE"), "0");
    assert_eq!(inspect(&sandbox, "api")["waiting"], json!([]));
}

#[test]
fn the_line_for_permits_is_listed_and_served_in_order() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "dl", "--permits", "1"]);
    let log = sandbox.path().join(".log");
    let job = |word: &str| format!("echo {word} >>{}", log.display());
    let mut holder = sandbox.start(&["run", "dl", "--", "sleep", "1000"]);
    until(|| inspect(&sandbox, "dl")["permits"]["held"] == 1);
    let jobs = ["one", "two", "three"].map(job);
    let all = jobs.each_ref().map(|job| ["run", "dl", "--", "sh", "-c", job.as_str()]);
    let children = waiters(&sandbox, "dl", &all.each_ref().map(|args| &args[..]));
    assert_eq!((cell(&sandbox, "dl", "QUEUE"), cell(&sandbox, "dl", "PERMITS")), ("3".into(), "1/1".into()));
    let seen = inspect(&sandbox, "dl");
    assert_eq!(line(&seen), pids(&children));
    assert_eq!(seen["waiting"][0]["asks"], json!({}));
    let page = sandbox.ok(&["inspect", "dl"]);
    assert!(
        page.contains("queue     3 callers of 3 processes") && page.contains("1 caller, for a permit"),
        "{page}"
    );
    send(&holder, Signal::SIGTERM);
    holder.wait().unwrap();
    for mut child in children {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "one\ntwo\nthree\n");
}

#[test]
fn the_cost_of_a_waiting_request_is_shown_by_unit() {
    let sandbox = Sandbox::new();
    sandbox.ok(&[
        "create",
        "model",
        "--rate",
        "100/h",
        "--burst",
        "9",
        "--rate",
        "2000/h",
        "--unit",
        "tokens",
        "--permits",
        "3",
    ]);
    sandbox.ok(&["acquire", "model", "-n", "2", "--take", "tokens=2000"]);
    let asks = ["acquire", "model", "-n", "3", "--take", "tokens=900"];
    let children = waiters(&sandbox, "model", &[&asks, &["acquire", "model", "--take", "tokens=0"]]);
    let seen = inspect(&sandbox, "model");
    assert_eq!(seen["waiting"][0]["asks"], json!({"calls": 3, "tokens": 900}));
    assert_eq!(seen["waiting"][1]["asks"], json!({"calls": 1, "tokens": 0}));
    assert_eq!(seen["limits"][1]["charged_ahead"], 900);
    let page = sandbox.ok(&["inspect", "model"]);
    for words in
        ["for 3 calls and 900 tokens and a permit", "for 1 call and a permit", "900 tokens charged ahead"]
    {
        assert!(page.contains(words), "{words}: {page}");
    }
    end(children);
}

#[test]
fn a_stopped_waiter_is_late_and_keeps_its_place() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "1/h"]);
    sandbox.ok(&["acquire", "api"]);
    let line_up = ["acquire", "api"];
    let children = waiters(&sandbox, "api", &[&line_up, &line_up]);
    send(&children[0], Signal::SIGSTOP);
    until(|| inspect(&sandbox, "api")["waiting"][0]["late"] == true);
    let seen = inspect(&sandbox, "api");
    assert_eq!((line(&seen), &seen["callers_waiting"]), (pids(&children), &2.into()));
    let page = sandbox.ok(&["inspect", "api"]);
    let its = page.lines().find(|line| line.contains(&format!("1. pid {}", children[0].id()))).unwrap();
    assert!(its.ends_with("late: did not wake up in time (stopped?), passed over"), "{page}");
    send(&children[0], Signal::SIGCONT);
    until(|| inspect(&sandbox, "api")["waiting"][0]["late"] == false);
    end(children);
}

/// A small limiter has places for 64 processes.
#[test]
fn callers_without_a_place_are_counted() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "1/h", "--seats", "1"]);
    sandbox.ok(&["acquire", "api"]);
    let children: Vec<Child> = (0..66).map(|_| sandbox.start(&["acquire", "api"])).collect();
    until(|| inspect(&sandbox, "api")["callers_waiting"] == 64 && inspect(&sandbox, "api")["unordered"] == 2);
    // They look for a place repeatedly, and are counted once.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(inspect(&sandbox, "api")["unordered"], 2);
    let page = sandbox.ok(&["inspect", "api"]);
    assert!(page.contains("found no place in the line") && page.contains("--seats"), "{page}");
    end(children);
}

/// `--max-waiters` is a setting of the limiter, as `--permits` is.
#[test]
fn max_waiters_is_compared_with_an_existing_limiter_and_given_to_a_new_one() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["acquire", "api", "--rate", "100/s", "--max-waiters", "7"]);
    assert_eq!(inspect(&sandbox, "api")["max_waiters"], 7);
    sandbox.ok(&["acquire", "api", "--rate", "100/s"]);
    let other = sandbox.run(&["acquire", "api", "--rate", "100/s", "--max-waiters", "8"]);
    assert!(other.status == 1 && other.err.contains("shm-limit set api --max-waiters 8"), "{}", other.err);
    assert_eq!(sandbox.run(&["acquire", "api", "--max-waiters", "7"]).status, 2);
}
