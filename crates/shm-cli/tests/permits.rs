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
