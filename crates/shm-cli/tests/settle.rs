//! `run --settle`: the command says what it really took, and the difference to the estimate is given back or charged.

mod common;

use common::Sandbox;
use std::process::Stdio;

fn model(policy: &[&str]) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(&[&["create", "model", "--rate", "1000/h", "--unit", "tokens"], policy].concat());
    sandbox
}

fn used(sandbox: &Sandbox) -> u64 {
    sandbox.json(&["inspect", "model", "--json"])["limits"][0]["used"].as_u64().unwrap()
}

/// Takes an estimate of 600 tokens for a shell script.
fn run(sandbox: &Sandbox, script: &str) -> common::Ended {
    sandbox.run(&[
        "run",
        "model",
        "-n",
        "0",
        "--take",
        "tokens=600",
        "--settle",
        "--verbose",
        "--",
        "sh",
        "-c",
        script,
    ])
}

#[test]
fn less_than_the_estimate_is_given_back_and_more_is_charged() {
    for (permits, script, expected, reported) in [
        (&[][..], "echo tokens=400 > \"$SHM_LIMIT_ACTUAL\"", 400, "gave back "),
        (&["--permits", "1"], "echo tokens=400 > \"$SHM_LIMIT_ACTUAL\"", 400, "gave back "),
        (&[], "echo tokens=700 > \"$SHM_LIMIT_ACTUAL\"", 700, "charged 100 tokens more"),
        (&[], "for i in 1 2 3; do echo tokens=100 >> \"$SHM_LIMIT_ACTUAL\"; done", 300, "gave back "),
        // A process that the command starts finds the file too.
        (&[], "sh -c 'echo tokens=0 >> \"$SHM_LIMIT_ACTUAL\"'", 0, "gave back "),
        (&[], "echo tokens=600 >> \"$SHM_LIMIT_ACTUAL\"", 600, ""),
        (&[], "true", 600, ""),
    ] {
        let sandbox = model(permits);
        let ended = run(&sandbox, &format!("{script}; exit 7"));
        assert_eq!(ended.status, 7, "{script}: {}", ended.err);
        assert!(ended.err.contains(reported) && ended.err.is_empty() == reported.is_empty(), "{}", ended.err);
        // A second refills 0.28 tokens.
        assert!((expected..=expected + 1).contains(&used(&sandbox)), "{script}: {}", used(&sandbox));
    }
}

#[test]
fn what_cannot_be_settled_is_reported_and_stays_charged() {
    for (script, why) in [
        ("echo tokens=lots > \"$SHM_LIMIT_ACTUAL\"", "\"tokens=lots\" is not a valid amount"),
        ("echo bytes=5 > \"$SHM_LIMIT_ACTUAL\"", "nothing was taken of bytes"),
        ("echo 400 > \"$SHM_LIMIT_ACTUAL\"", "\"400\" is not a valid amount"),
        ("printf '\\377' > \"$SHM_LIMIT_ACTUAL\"", "UTF-8"),
    ] {
        let sandbox = model(&[]);
        let ended = run(&sandbox, script);
        // The command succeeded.
        assert_eq!(ended.status, 0, "{script}: {}", ended.err);
        assert!(ended.err.contains(why) && ended.err.contains("the estimate stays charged"), "{}", ended.err);
        assert!(used(&sandbox) >= 599, "{script}");
    }
}

#[test]
fn a_killed_run_has_used_its_estimate_and_leaves_no_file() {
    let sandbox = model(&[]);
    let script = "echo tokens=1 > \"$SHM_LIMIT_ACTUAL\"; echo up; exec sleep 1000";
    let args = ["run", "model", "-n", "0", "--take", "tokens=600", "--settle", "--kill-with-me", "--"];
    let mut child =
        sandbox.command(&[&args[..], &["sh", "-c", script]].concat()).stdout(Stdio::piped()).spawn().unwrap();
    let mut up = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut up).unwrap();
    let before = std::fs::read_dir(sandbox.path()).unwrap().count();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(used(&sandbox) >= 599);
    assert_eq!((before, std::fs::read_dir(sandbox.path()).unwrap().count()), (1, 1));
}

#[test]
fn without_the_option_a_command_gets_no_file() {
    let sandbox = model(&[]);
    let args =
        ["run", "model", "-n", "0", "--take", "tokens=1", "--", "sh", "-c", "echo \"[$SHM_LIMIT_ACTUAL]\""];
    assert_eq!(sandbox.ok(&args), "[]\n");
}

/// The example in the help, with a command that exists.
#[test]
fn the_documented_settlement_gives_back() {
    let sandbox = model(&[]);
    let help = sandbox.ok(&["run", "--help"]);
    let (_, example) = help.split_once("--take tokens=900 --settle -- \\\n").unwrap();
    let (example, _) = example.split_once('\n').unwrap();
    let script = format!(
        "\"$PROGRAM\" run model -n 0 --take tokens=900 --settle -- {}",
        example.trim().replace("./ask", "true")
    );
    let mut shell = assert_cmd::Command::new("sh");
    shell.env("PROGRAM", env!("CARGO_BIN_EXE_shm-limit")).env("SHM_LIMIT_DIR", sandbox.path());
    shell.args(["-c", &script]).assert().success();
    assert!((411..=412).contains(&used(&sandbox)), "{}", used(&sandbox));
}
