//! At most so many at once: held while a command runs, free when it ends, however it does.

mod common;

use common::{Place, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

fn place(permits: &str) -> Place {
    let place = Place::new();
    place.ok(&["create", "api", "--rate", "1000/s", "--burst", "1000", "--permits", permits]);
    place
}

fn held(place: &Place) -> Value {
    place.json(&["inspect", "api", "--json"])["permits"]["held"].clone()
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

/// A `run` whose command is up: it says so first.
fn holder(place: &Place, script: &str) -> Child {
    let mut command = place.command(&["run", "api", "--", "sh", "-c", script]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut up = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    child
}

#[test]
fn who_holds_permits_is_shown_and_others_are_denied() {
    let place = place("1");
    let mut holder = holder(&place, "echo up; read end");
    let seen = place.json(&["inspect", "api", "--json"]);
    let seat = seen["attached"][0]["seat"].clone();
    assert_eq!(
        seen["permits"],
        json!({"max": 1, "held": 1, "holders": [{"seat": seat, "pid": holder.id(), "held": 1}]})
    );
    assert_eq!((&seen["attached"][0]["permits"], &seen["full"]), (&1.into(), &true.into()));
    let page = place.ok(&["inspect", "api"]);
    assert!(page.contains("1 of 1 held") && page.contains("holds 1 permit"), "{page}");
    let row = place.ok(&["list"]);
    assert!(row.contains("1/1") && row.contains("full"), "{row}");
    let denied = place.run(&["run", "api", "--try", "--", "echo", "ran"]);
    assert_eq!((denied.status, denied.out.as_str()), (75, ""));
    assert!(denied.err.contains("permits"), "{}", denied.err);
    let denied = place.run(&["acquire", "api", "--timeout", "10ms"]);
    assert_eq!((denied.status, denied.out.as_str()), (75, "0.100000\n"));
    let denied = place.json(&["acquire", "api", "--try", "--json"]);
    assert_eq!((&denied["denied_by"], &denied["retry_after_s"]), (&"permits".into(), &Value::Null));
    send(&holder, Signal::SIGKILL);
    holder.wait().unwrap();
}

#[test]
fn a_permit_is_back_when_the_command_has_ended() {
    let place = place("1");
    let ran = place.run(&["run", "api", "--", "sh", "-c", "exit 7"]);
    assert_eq!(ran.status, 7);
    assert_eq!(held(&place), 0);
    assert_eq!(place.run(&["run", "api", "--try", "--", "no-such-command-anywhere"]).status, 127);
    assert_eq!(place.run(&["run", "api", "--try", "--", "/etc/passwd"]).status, 126);
    place.ok(&["acquire", "api", "--try"]);
    assert_eq!(held(&place), 0);
    let mut killed = place.start(&["run", "api", "--", "sh", "-c", "kill -USR1 $$"]);
    assert_eq!(killed.wait().unwrap().signal(), Some(Signal::SIGUSR1 as i32));
}

/// Its permit is free, and whoever waits for one gets it. The command itself goes on.
#[test]
fn a_killed_run_frees_its_permit() {
    let place = place("1");
    let file = place.path().join(".went-on");
    let script =
        format!("echo up; while [ ! -e {0}.end ]; do sleep 0.02; done; echo yes >{0}", file.display());
    let mut holder = holder(&place, &script);
    let mut waiter = place.start(&["run", "api", "--", "true"]);
    until(|| place.json(&["inspect", "api", "--json"])["attached"].as_array().unwrap().len() == 2);
    std::thread::sleep(Duration::from_millis(100));
    assert!(waiter.try_wait().unwrap().is_none());
    let began = Instant::now();
    send(&holder, Signal::SIGKILL);
    assert_eq!(waiter.wait().unwrap().code(), Some(0));
    // A second by the promise; more on a machine that is busy.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(holder.wait().unwrap().signal(), Some(9));
    std::fs::write(format!("{}.end", file.display()), "").unwrap();
    until(|| std::fs::read_to_string(&file).is_ok_and(|said| said == "yes\n"));
}

#[test]
fn what_kill_sends_is_passed_on_and_the_end_is_the_commands() {
    let place = place("1");
    let mut child = holder(&place, "trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done");
    send(&child, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(9));
    let mut child = holder(&place, "echo up; exec sleep 1000");
    send(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGINT as i32));
    assert_eq!(held(&place), 0);
}

/// Signals, mask and descriptors are what they are without us.
#[test]
fn the_command_inherits_what_it_would_inherit_without_us() {
    let place = place("2");
    let look = ["sh", "-c", "grep -E 'Sig(Ign|Blk|Cgt)' /proc/self/status; ls /proc/self/fd"];
    let alone = std::process::Command::new(look[0]).args(&look[1..]).stdin(Stdio::null()).output().unwrap();
    let through = place.command(&[&["run", "api", "--"][..], &look].concat()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&through.stdout), String::from_utf8_lossy(&alone.stdout));
}

/// As cron or a daemon may start it: whoever ignores SIGCHLD is told of no child's end.
#[test]
fn an_ignored_end_of_children_is_heard_all_the_same() {
    let place = place("1");
    let program = env!("CARGO_BIN_EXE_shm-limit");
    let mut child = std::process::Command::new("sh")
        .args(["-c", "trap '' CHLD HUP; exec \"$0\" run api -- sh -c 'exit 6'", program])
        .env("SHM_LIMIT_DIR", place.path())
        .process_group(0)
        .spawn()
        .unwrap();
    until(|| child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(6));
}

#[test]
fn never_more_than_so_many_run_at_once() {
    let place = place("2");
    let count = place.path().join(".count");
    std::fs::create_dir(&count).unwrap();
    let dir = count.display();
    let script = format!("mkdir {dir}/$$; ls {dir} | wc -l; sleep 0.05; rmdir {dir}/$$");
    let all: Vec<Child> = (0..8)
        .map(|_| {
            place.command(&["run", "api", "--", "sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in all {
        let output = child.wait_with_output().unwrap();
        let at_once: u32 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
        assert!(output.status.success() && (1..=2).contains(&at_once), "{at_once}");
    }
}

#[test]
fn an_interrupted_wait_for_a_permit_takes_none() {
    let place = place("1");
    let mut holder = holder(&place, "echo up; read end");
    let mut waiter = place.start(&["run", "api", "--", "true"]);
    until(|| place.json(&["inspect", "api", "--json"])["attached"].as_array().unwrap().len() == 2);
    send(&waiter, Signal::SIGTERM);
    assert_eq!(waiter.wait().unwrap().signal(), Some(15));
    assert_eq!(held(&place), 1);
    send(&holder, Signal::SIGKILL);
    holder.wait().unwrap();
    assert_eq!(held(&place), 0);
}

#[test]
fn permits_need_no_rate() {
    let place = Place::new();
    assert_eq!(place.ok(&["create", "api", "--permits", "2"]), "api: created, 2 permits\n");
    assert_eq!(place.ok(&["create", "api", "--permits", "2"]), "api: already exists, 2 permits\n");
    for _ in 0..5 {
        assert_eq!(place.ok(&["run", "api", "--permits", "2", "--", "echo", "ran"]), "ran\n");
    }
    let mut holders = [holder(&place, "echo up; read end"), holder(&place, "echo up; read end")];
    let denied = place.run(&["run", "api", "--try", "--", "echo", "ran"]);
    assert_eq!((denied.status, denied.out.as_str()), (75, ""));
    let seen = place.json(&["inspect", "api", "--json"]);
    for key in ["tightest", "rate", "burst", "available", "used", "charged_ahead", "max_waiters"] {
        assert_eq!(seen[key], Value::Null, "{key}");
    }
    assert_eq!((&seen["limits"], &seen["full"], &seen["next_in_s"]), (&json!([]), &true.into(), &0.0.into()));
    let page = place.ok(&["inspect", "api"]);
    assert!(page.contains("2 of 2 held") && page.contains("limit     none, only permits"), "{page}");
    let table = place.ok(&["list"]);
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["api", "-", "-", "-", "-", "0", "-", "2/2", "7", "1", "2", "full"]);
    for holder in &mut holders {
        send(holder, Signal::SIGKILL);
        holder.wait().unwrap();
    }
    let table = place.ok(&["list"]);
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[6..], ["now", "0/2", "7", "1", "0", "ok"]);
}

#[test]
fn a_pause_holds_also_without_a_rate() {
    let place = Place::new();
    place.ok(&["create", "api", "--permits", "2"]);
    place.ok(&["pause", "api", "1m"]);
    let denied = place.json(&["acquire", "api", "--try", "--json"]);
    assert!(denied["retry_after_s"].as_f64().unwrap() > 50.0);
    let seen = place.json(&["inspect", "api", "--json"]);
    assert!(seen["next_in_s"].as_f64().unwrap() > 50.0 && seen["full"] == true);
    place.ok(&["resume", "api"]);
    place.ok(&["acquire", "api", "--try", "-n", "1000"]);
}

#[test]
fn a_rate_is_added_to_permits_and_removed_again() {
    let place = Place::new();
    place.ok(&["create", "api", "--permits", "2"]);
    let said = place.ok(&["set", "api", "--rate", "10/h", "--burst", "5"]);
    assert_eq!(said, "api: 10/h with bursts of 5 + at most 2 at a time (was 2 permits)\n");
    place.ok(&["acquire", "api", "-n", "5"]);
    assert_eq!(place.run(&["acquire", "api", "--try"]).status, 75);
    let back = place.run(&["set", "api", "--no-rate", "--permits", "3"]);
    assert_eq!(back.out, "api: 3 permits (was 10/h with bursts of 5 + at most 2 at a time)\n");
    assert!(back.err.contains("limit 1 (10/h with bursts of 5) is removed"), "{}", back.err);
    place.ok(&["acquire", "api", "--try", "-n", "50"]);
    for (args, why) in [
        (&["set", "api", "--burst", "5"][..], "say --rate as well"),
        (&["set", "api", "--limit", "2", "--rate", "5/s"][..], "no limit 2"),
        (&["set", "api", "--no-permits"][..], "needs a limit or permits"),
    ] {
        let refused = place.run(args);
        assert_eq!(refused.status, 2, "{args:?}: {}", refused.err);
        assert!(refused.err.contains(why), "{args:?}: {}", refused.err);
    }
    let mismatch = place.run(&["acquire", "api", "--rate", "5/s"]);
    assert_eq!(mismatch.status, 1);
    let remedy = "shm-limit set api --rate 5/s --burst 1";
    assert!(mismatch.err.contains(remedy), "{}", mismatch.err);
    place.ok(&remedy.split(' ').skip(1).collect::<Vec<_>>());
    place.ok(&["acquire", "api", "--rate", "5/s"]);
}

#[test]
fn a_limiter_that_was_made_without_permits_can_be_given_some() {
    let place = Place::new();
    place.ok(&["create", "api", "--rate", "1000/s", "--burst", "1000"]);
    place.ok(&["acquire", "api"]);
    place.ok(&["set", "api", "--permits", "1"]);
    let mut holder = holder(&place, "echo up; read end");
    assert_eq!(place.run(&["acquire", "api", "--try"]).status, 75);
    send(&holder, Signal::SIGKILL);
    holder.wait().unwrap();
    place.ok(&["acquire", "api", "--try"]);
}

#[test]
fn a_file_can_say_permits_and_nothing_else() {
    let place = Place::new();
    for (name, text) in [("p.toml", "permits = 3"), ("p.json", r#"{"permits": 3}"#)] {
        let file = place.path().join(format!(".{name}"));
        std::fs::write(&file, text).unwrap();
        let said = place.ok(&["create", &format!("of-{name}"), "--from", file.to_str().unwrap()]);
        assert!(said.ends_with("created, 3 permits\n"), "{said}");
    }
}
