//! `acquire` and `run`: admitted, denied, waiting, interrupted.

mod common;

use common::{Sandbox, until};
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Stdio};
use std::time::Duration;

fn signal(child: &Child, signal: i32) {
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::try_from(signal).unwrap()).unwrap();
}

#[test]
fn a_request_is_admitted_after_the_printed_time() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "2/s"]);
    assert_eq!(sandbox.ok(&["acquire", "api"]), "");
    let denied = sandbox.run(&["acquire", "api", "--try"]);
    assert_eq!(denied.status, 75);
    let seconds: f64 = denied.out.trim().parse().unwrap();
    assert!(seconds > 0.0 && seconds <= 0.5, "{seconds}");
    std::thread::sleep(Duration::from_secs_f64(seconds));
    sandbox.ok(&["acquire", "api", "--try"]);
}

/// The loop in `acquire --help` ends on an error, and goes on after a denial.
#[test]
fn the_documented_loop_ends_on_an_error_and_sleeps_on_a_denial() {
    let sandbox = Sandbox::new();
    let help = sandbox.ok(&["acquire", "--help"]);
    let (_, script) = help.split_once("  until after=").unwrap();
    let (script, _) = script.split_once("  done\n").unwrap();
    let script = format!("until after={script}  done\n").replace("shm-limit", "counted");
    let script = format!("counted() {{ echo >>\"$TRIES\"; \"$PROGRAM\" \"$@\"; }}\n{script}");
    let tries = sandbox.path().join(".tries");
    let run = |script: &str| {
        let _ = std::fs::remove_file(&tries);
        let ended = assert_cmd::Command::new("sh")
            .args(["-c", script])
            .env("PROGRAM", env!("CARGO_BIN_EXE_shm-limit"))
            .env("SHM_LIMIT_DIR", sandbox.path())
            .env("TRIES", &tries)
            .timeout(Duration::from_secs(20))
            .output()
            .unwrap();
        (ended.status.code(), std::fs::read(&tries).unwrap().len(), String::from_utf8(ended.stderr).unwrap())
    };
    let (status, times, said) = run(&script);
    assert_eq!((status, times), (Some(1), 1), "{said}");
    assert!(said.contains("does not exist") || said.contains("there is none"), "{said}");
    // A request that can never pass is an error as well.
    sandbox.ok(&["create", "api", "--rate", "2/s"]);
    let (status, times, said) = run(&script.replace("--try", "--try -n 2"));
    assert_eq!((status, times), (Some(1), 1), "{said}");
    sandbox.ok(&["acquire", "api"]);
    let (status, times, said) = run(&script);
    assert_eq!((status, times), (Some(0), 2), "{said}");
    assert_eq!(sandbox.json(&["inspect", "api", "--json"])["admitted"], 2);
}

#[test]
fn a_turn_that_would_come_too_late_is_denied_at_once() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["acquire", "api", "--rate", "1/h"]);
    let denied = sandbox.run(&["acquire", "api", "--timeout", "30m", "--json"]);
    assert_eq!(denied.status, 75);
    let denied: serde_json::Value = serde_json::from_str(&denied.out).unwrap();
    assert_eq!(denied["outcome"], "denied");
    assert!(denied["retry_after_s"].as_f64().unwrap() > 3_000.0);
    assert_eq!(sandbox.json(&["inspect", "api", "--json"])["charged_ahead"], 0);
}

#[test]
fn a_full_line_is_a_denial_by_line() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["acquire", "api", "--rate", "1/h", "--max-waiters", "0"]);
    for patience in [&[][..], &["--timeout", "2h"]] {
        let denied = sandbox.run(&[&["acquire", "api", "--json"], patience].concat());
        assert_eq!(denied.status, 75, "{}", denied.err);
        let denied: serde_json::Value = serde_json::from_str(&denied.out).unwrap();
        assert_eq!(denied["denied_by"], "line");
        assert!(denied["retry_after_s"].is_null());
        let denied = sandbox.run(&[&["acquire", "api"], patience].concat());
        assert_eq!((denied.status, denied.out.as_str()), (75, "0.100000\n"));
        let denied = sandbox.run(&[&["run", "api"], patience, &["--", "echo", "ran"]].concat());
        assert_eq!((denied.status, denied.out.as_str()), (75, ""));
        assert!(denied.err.contains("0 requests already wait"), "{}", denied.err);
    }
}

#[test]
fn a_request_waits_for_a_turn_within_its_timeout() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["acquire", "api", "--rate", "5/s"]);
    let taken = sandbox.json(&["acquire", "api", "--timeout", "1h", "--json"]);
    assert_eq!(taken["outcome"], "admitted");
    assert!(taken["waited_s"].as_f64().unwrap() >= 0.0);
}

#[test]
fn without_a_rate_the_limiter_must_exist_and_with_one_it_must_match() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.run(&["acquire", "api"]).status, 1);
    sandbox.ok(&["acquire", "api", "--rate", "100/s", "--burst", "5", "-n", "5"]);
    assert_eq!(sandbox.run(&["acquire", "api", "--rate", "101/s"]).status, 1);
    let never = sandbox.run(&["acquire", "api", "-n", "6"]);
    assert!(never.status == 2 && never.err.contains("burst"), "{}", never.err);
}

#[test]
fn the_command_passes_its_status_output_and_arguments_through() {
    let sandbox = Sandbox::new();
    let ended =
        sandbox.run(&["run", "api", "--rate", "1000/s", "--", "sh", "-c", "echo $1; exit 7", "sh", "--json"]);
    assert_eq!((ended.status, ended.out.as_str(), ended.err.as_str()), (7, "--json\n", ""));
    let plain = sandbox.run(&["run", "api", "sh", "-c", "exit 3"]);
    assert_eq!(plain.status, 3);
    assert_eq!(sandbox.run(&["run", "api", "--", "no-such-command-anywhere"]).status, 127);
    assert_eq!(sandbox.run(&["run", "api", "--", "/etc/passwd"]).status, 126);
}

#[test]
fn a_denied_command_does_not_run() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["acquire", "api", "--rate", "1/h"]);
    let denied = sandbox.run(&["run", "api", "--try", "--", "echo", "ran"]);
    assert_eq!((denied.status, denied.out.as_str()), (75, ""));
    assert!(denied.err.contains("try again in"), "{}", denied.err);
}

/// As cron jobs need it: a denial is not mailed, and need not look like a failure.
#[test]
fn a_denial_can_be_quiet_and_have_another_status() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["acquire", "api", "--rate", "1/h"]);
    let denied = |args: &[&str]| {
        let ended = sandbox.run(args);
        (ended.status, ended.out + &ended.err)
    };
    let silent = |status| (status, String::new());
    assert_eq!(denied(&["run", "api", "--try", "--quiet", "--", "echo", "ran"]), silent(75));
    let status = ["run", "api", "--try", "-q", "--denied-status", "0", "--", "echo", "ran"];
    assert_eq!(denied(&status), silent(0));
    assert_eq!(denied(&["acquire", "api", "--try", "--quiet"]), silent(75));
    assert_eq!(denied(&["acquire", "api", "--timeout", "1m", "-q", "--denied-status", "9"]), silent(9));
    let said = sandbox.run(&["acquire", "api", "--try", "--denied-status", "9", "--json"]);
    assert!(said.status == 9 && said.out.contains("denied"), "{}", said.out);
    // The status of the command is not changed, and errors are still reported.
    sandbox.ok(&["reset", "api"]);
    let ran = ["run", "api", "--try", "--denied-status", "9", "--", "sh", "-c", "exit 75"];
    assert_eq!(sandbox.run(&ran).status, 75);
    let missing = sandbox.run(&["run", "nope", "--try", "--quiet", "--denied-status", "0", "--", "true"]);
    assert!(missing.status == 1 && !missing.err.is_empty());
    assert_eq!(sandbox.run(&["acquire", "api", "--quiet", "--json"]).status, 2);
    assert_eq!(sandbox.run(&["acquire", "api", "--denied-status", "256"]).status, 2);
}

#[test]
fn verbose_reports_the_position_of_a_long_wait() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "1/h"]);
    sandbox.ok(&["acquire", "api"]);
    let listen = |args: &[&str]| sandbox.command(args).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = listen(&["acquire", "api", "--verbose"]);
    sandbox.until_queue_is("api", 1);
    let silent = listen(&["acquire", "api"]);
    sandbox.until_queue_is("api", 2);
    let mut third = listen(&["run", "api", "-v", "--", "true"]);
    let line = |child: &mut Child| {
        let mut text = Vec::new();
        let mut byte = [0];
        while text.last() != Some(&b'\n') && child.stderr.as_mut().unwrap().read(&mut byte).unwrap() == 1 {
            text.push(byte[0]);
        }
        String::from_utf8(text).unwrap()
    };
    assert!(line(&mut first).starts_with("shm-limit: limiter \"api\": waiting, number 1 of "));
    assert_eq!(line(&mut third), "shm-limit: limiter \"api\": waiting, number 3 of 3 in line\n");
    sandbox.ok(&["reset", "api"]);
    // It is reported once, and a short wait is not reported.
    let ended = first.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.len()), (Some(0), 0));
    for mut child in [silent, third] {
        child.kill().unwrap();
        assert!(child.wait_with_output().unwrap().stderr.is_empty());
    }
    sandbox.ok(&["set", "api", "--rate", "100/s"]);
    assert_eq!(sandbox.run(&["acquire", "api", "--verbose"]).err, "");
}

#[test]
fn a_signal_reaches_the_command() {
    let sandbox = Sandbox::new();
    let mut child = sandbox
        .command(&[
            "run",
            "api",
            "--rate",
            "1000/s",
            "--",
            "sh",
            "-c",
            "trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    signal(&child, 15);
    assert_eq!(child.wait().unwrap().code(), Some(9));
    let mut child = sandbox.start(&["run", "api", "--", "sleep", "1000"]);
    until(|| std::fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap() == "sleep\n");
    signal(&child, 15);
    assert_eq!(child.wait().unwrap().signal(), Some(15));
}

/// Signals, mask and descriptors are the same as without `shm-limit`.
#[test]
fn the_command_inherits_the_same_as_without_shm_limit() {
    let sandbox = Sandbox::new();
    let look = ["sh", "-c", "grep -E 'Sig(Ign|Blk)' /proc/self/status; ls /proc/self/fd"];
    let alone = std::process::Command::new(look[0]).args(&look[1..]).stdin(Stdio::null()).output().unwrap();
    let through =
        sandbox.command(&[&["run", "api", "--rate", "1000/s", "--"][..], &look].concat()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&through.stdout), String::from_utf8_lossy(&alone.stdout));
}

#[test]
fn an_interrupted_wait_takes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["acquire", "api", "--rate", "1/h"]);
    for (args, number) in
        [(&["acquire", "api"][..], 2), (&["run", "api", "--", "true"], 15), (&["acquire", "api"], 1)]
    {
        let mut waiter = sandbox.start(args);
        sandbox.until_queue_is("api", 1);
        signal(&waiter, number);
        assert_eq!(waiter.wait().unwrap().signal(), Some(number));
        let left = sandbox.json(&["inspect", "api", "--json"]);
        assert_eq!((&left["charged_ahead"], &left["callers_waiting"]), (&0.into(), &0.into()));
    }
}

/// The first caller in the line leaves, in every possible way: the one behind it gets the turn.
#[test]
fn a_caller_behind_one_that_leaves_moves_up() {
    let leaves = |number: i32| {
        let sandbox = Sandbox::new();
        sandbox.ok(&["create", "api", "--rate", "1/6s"]);
        sandbox.ok(&["acquire", "api"]);
        let mut first = sandbox.start(&["acquire", "api"]);
        sandbox.until_queue_is("api", 1);
        // Two turns of six seconds each would be too late.
        let second = sandbox.command(&["acquire", "api", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        sandbox.until_queue_is("api", 2);
        signal(&first, number);
        assert_eq!(first.wait().unwrap().signal(), Some(number));
        let said = String::from_utf8(second.wait_with_output().unwrap().stdout).unwrap();
        let taken: serde_json::Value = serde_json::from_str(&said).unwrap();
        let waited = taken["waited_s"].as_f64().unwrap();
        assert!(waited < 9.0, "{number}: {waited}");
    };
    std::thread::scope(|scope| {
        for number in [2, 9, 15] {
            scope.spawn(move || leaves(number));
        }
    });
}

/// As under `nohup`: ignored signals stay ignored, also by the command.
#[test]
fn ignored_signals_stay_ignored() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "1/h"]);
    sandbox.ok(&["acquire", "api"]);
    let program = env!("CARGO_BIN_EXE_shm-limit");
    let mut waiter = std::process::Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$0\" run api -- grep SigIgn /proc/self/status", program])
        .env("SHM_LIMIT_DIR", sandbox.path())
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    sandbox.until_queue_is("api", 1);
    signal(&waiter, 1);
    sandbox.ok(&["reset", "api"]);
    let mut said = String::new();
    waiter.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(waiter.wait().unwrap().code(), Some(0));
    let ignored = u64::from_str_radix(said.split_whitespace().last().unwrap(), 16).unwrap();
    assert_eq!(ignored & 0x7fff_ffff, 1, "{said}");
}

#[test]
fn waiting_callers_notice_a_reset_and_a_removal() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["acquire", "api", "--rate", "1/h"]);
    let mut lucky = sandbox.start(&["acquire", "api"]);
    sandbox.until_queue_is("api", 1);
    sandbox.ok(&["reset", "api"]);
    assert_eq!(lucky.wait().unwrap().code(), Some(0));
    let late = sandbox.command(&["acquire", "api"]).stderr(Stdio::piped()).spawn().unwrap();
    sandbox.until_queue_is("api", 1);
    sandbox.ok(&["remove", "api"]);
    let output = late.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    // It looked for the name, and would have continued with another limiter.
    assert!(String::from_utf8_lossy(&output.stderr).contains("does not exist"));
}

#[test]
fn concurrent_processes_share_one_budget() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "1/h", "--burst", "3"]);
    let all: Vec<Child> = (0..8).map(|_| sandbox.start(&["acquire", "api", "--try"])).collect();
    let admitted =
        all.into_iter().filter_map(|mut c| c.wait().unwrap().code()).filter(|&code| code == 0).count();
    assert_eq!(admitted, 3);
}
