//! `hold`: a permit for several commands of a script, which is free again however the script ends.

mod common;

use common::{Sandbox, until};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn held(sandbox: &Sandbox) -> u64 {
    sandbox.json(&["inspect", "build", "--json"])["permits"]["held"].as_u64().unwrap()
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// A script that takes a permit, prints the holder's PID, and goes on when it reads a line.
fn script(sandbox: &Sandbox, flags: &str, rest: &str) -> Child {
    let text = format!(
        "holder=$(\"$PROGRAM\" hold build --pid $$ {flags}) || exit\necho $holder\nread line\n{rest}"
    );
    Command::new("sh")
        .args(["-c", &text])
        .env("PROGRAM", env!("CARGO_BIN_EXE_shm-limit"))
        .env("SHM_LIMIT_DIR", sandbox.path())
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn line(child: &mut Child) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while child.stdout.as_mut().unwrap().read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

fn go_on(child: &mut Child) {
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
}

#[test]
fn the_permit_is_held_until_the_script_ends_the_holder() {
    let sandbox = Sandbox::new();
    let mut script = script(&sandbox, "--permits 1", "kill $holder; echo free; read line");
    let holder = line(&mut script);
    assert!(is_alive(&holder));
    assert_eq!(held(&sandbox), 1);
    let seen = sandbox.json(&["inspect", "build", "--json"]);
    assert_eq!(seen["permits"]["holders"][0]["pid"].to_string(), holder);
    assert_eq!(sandbox.run(&["run", "build", "--try", "--", "true"]).status, 75);
    go_on(&mut script);
    assert_eq!(line(&mut script), "free");
    until(|| held(&sandbox) == 0 && !is_alive(&holder));
    go_on(&mut script);
    assert_eq!(script.wait().unwrap().code(), Some(0));
}

#[test]
fn a_script_that_ends_in_any_way_gives_its_permit_back() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "build", "--permits", "1"]);
    for signal in [None, Some(libc::SIGKILL), Some(libc::SIGTERM)] {
        let mut script = script(&sandbox, "", "true");
        let holder = line(&mut script);
        assert_eq!(held(&sandbox), 1);
        match signal {
            None => go_on(&mut script),
            // SAFETY: kill has no memory preconditions; the script is not reaped yet.
            Some(signal) => assert_eq!(unsafe { libc::kill(script.id() as i32, signal) }, 0),
        }
        // Before it is reaped as well.
        until(|| held(&sandbox) == 0 && !is_alive(&holder));
        assert_eq!(script.wait().unwrap().signal(), signal);
    }
}

/// Ctrl-C is for the script, which may go on.
#[test]
fn a_signal_to_the_scripts_group_leaves_the_permit_held() {
    let sandbox = Sandbox::new();
    let mut script = script(&sandbox, "--permits 1", "echo on; read line");
    let holder = line(&mut script);
    // The shell of the script would end by INT; WINCH shows the same.
    nix::sys::signal::killpg(
        nix::unistd::Pid::from_raw(script.id() as i32),
        nix::sys::signal::Signal::SIGWINCH,
    )
    .unwrap();
    let status = fs::read_to_string(format!("/proc/{holder}/stat")).unwrap();
    let fields: Vec<&str> = status.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // State, parent, process group, session.
    assert_eq!([fields[2], fields[3]], [holder.as_str(); 2]);
    go_on(&mut script);
    assert_eq!((line(&mut script).as_str(), held(&sandbox)), ("on", 1));
    script.kill().unwrap();
    script.wait().unwrap();
    until(|| held(&sandbox) == 0);
}

/// A lock that the script has open must be free when the script closes it, and a pipe must end with the script.
#[test]
fn the_holder_has_nothing_open_of_the_script() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "build", "--permits", "1"]);
    let text = "exec 7>&1 8</dev/zero\nholder=$(\"$PROGRAM\" hold build --pid $$)\nls -l /proc/$holder/fd\nls -l /proc/$holder/cwd";
    let mut shell = assert_cmd::Command::new("sh");
    shell.env("PROGRAM", env!("CARGO_BIN_EXE_shm-limit")).env("SHM_LIMIT_DIR", sandbox.path());
    // It would not end before the holder if that had its standard output.
    let output = shell.args(["-c", text]).timeout(Duration::from_secs(20)).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.matches("/dev/null").count() == 3, "{said}");
    assert!(
        !said.contains("pipe:")
            && !said.contains("socket:")
            && !said.contains("/dev/zero")
            && said.trim_end().ends_with("-> /"),
        "{said}"
    );
}

#[test]
fn a_denied_or_failed_hold_leaves_no_process() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "build", "--permits", "1"]);
    let me = std::process::id().to_string();
    let hold = |flags: &[&str]| {
        let ended = sandbox.run(&[&["hold", "build", "--pid", &me], flags].concat());
        assert_eq!(ended.out, "", "{flags:?}");
        (ended.status, ended.err)
    };
    let mut script = script(&sandbox, "", "true");
    line(&mut script);
    let (status, said) = hold(&["--try"]);
    assert!(status == 75 && said.contains("no permit is held"), "{said}");
    assert_eq!(hold(&["--timeout", "50ms", "--quiet", "--denied-status", "9"]), (9, String::new()));
    assert_eq!(held(&sandbox), 1);
    go_on(&mut script);
    script.wait().unwrap();
    let no_such = sandbox.run(&["hold", "build", "--pid", "2147483647"]);
    assert!(no_such.status == 1 && no_such.err.contains("2147483647"), "{}", no_such.err);
    assert_eq!(sandbox.run(&["hold", "missing", "--pid", &me]).status, 1);
    until(|| sandbox.json(&["inspect", "build", "--json"])["attached"] == serde_json::json!([]));
}

/// Nothing is taken if there is nothing to hold.
#[test]
fn a_limiter_without_permits_is_a_mistake() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "1/h"]);
    let me = std::process::id().to_string();
    let ended = sandbox.run(&["hold", "api", "--pid", &me]);
    assert!(ended.status == 2 && ended.err.contains("no permits"), "{}", ended.err);
    let ended = sandbox.run(&["hold", "new", "--rate", "1/h", "--pid", &me]);
    assert!(ended.status == 2 && ended.err.contains("give --permits N as well"), "{}", ended.err);
    assert_eq!(sandbox.run(&["inspect", "new"]).status, 1);
    sandbox.ok(&["acquire", "api", "--try"]);
}

/// Killed while it waits, or before it could tell the script: no permit may be left behind.
#[test]
fn a_killed_hold_leaves_nothing_behind() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "build", "--permits", "1"]);
    let me = std::process::id().to_string();
    let mut first = script(&sandbox, "", "true");
    line(&mut first);
    let mut waiter = sandbox.start(&["hold", "build", "--pid", &me]);
    sandbox.until_queue_is("build", 1);
    waiter.kill().unwrap();
    waiter.wait().unwrap();
    sandbox.until_queue_is("build", 0);
    // At any instant of its life.
    go_on(&mut first);
    first.wait().unwrap();
    until(|| held(&sandbox) == 0);
    for micros in (0..20_000).step_by(500) {
        let mut hold =
            sandbox.command(&["hold", "build", "--pid", &me]).stdout(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(micros));
        hold.kill().unwrap();
        let output = hold.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        if let Ok(holder) = said.trim().parse() {
            // The script was told, so ending the holder is up to the script.
            // SAFETY: kill has no memory preconditions.
            unsafe { libc::kill(holder, libc::SIGTERM) };
        }
        until(|| held(&sandbox) == 0);
    }
}
