//! Help, and what is answered to a command line that is wrong.

mod common;

use common::Sandbox;

fn commands(sandbox: &Sandbox) -> Vec<String> {
    let help = sandbox.ok(&["--help"]);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let names = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn every_page_fits_a_terminal_of_80_columns() {
    let sandbox = Sandbox::new();
    let commands = commands(&sandbox);
    assert!(commands.len() > 15, "{commands:?}");
    for command in commands.iter().map(|name| vec![name.as_str()]).chain([vec![]]) {
        for flag in ["-h", "--help"] {
            let text = sandbox.ok(&[&command[..], &[flag]].concat());
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{command:?} {flag}: {line}");
            }
        }
    }
}

#[test]
fn help_of_a_command_is_the_same_in_both_ways() {
    let sandbox = Sandbox::new();
    for command in commands(&sandbox) {
        assert_eq!(sandbox.ok(&["help", &command]), sandbox.ok(&[&command, "--help"]), "{command}");
    }
    assert_eq!(sandbox.ok(&["help"]), sandbox.ok(&["--help"]));
    assert!(sandbox.ok(&["help", "--help"]).contains("shm-limit help run"));
    let topic = sandbox.ok(&["help", "keys"]);
    assert!(topic.starts_with("Limits per key\n") && topic.lines().all(|line| line.chars().count() <= 80));
    assert_eq!(sandbox.ok(&["help", "ls"]), sandbox.ok(&["list", "--help"]));
    let unknown = sandbox.run(&["help", "status"]);
    assert!(unknown.status == 2 && unknown.err.contains("`shm-limit inspect`"), "{}", unknown.err);
}

#[test]
fn an_unknown_command_is_answered_with_the_one_that_does_it() {
    let sandbox = Sandbox::new();
    for (word, tip) in [
        ("status", "'inspect'"),
        ("delete", "'remove'"),
        ("crate", "'create'"),
        ("settle", "'run --settle'"),
        ("frobnicate", "`shm-limit help` lists the commands"),
        ("pase", "'pause'"),
    ] {
        let ended = sandbox.run(&[word, "api"]);
        assert_eq!((ended.status, ended.out.as_str()), (2, ""));
        let tips: Vec<&str> = ended.err.lines().filter(|line| line.contains("tip:")).collect();
        assert!(tips.len() == 1 && tips[0].contains(tip), "{word}: {}", ended.err);
    }
}

#[test]
fn the_root_page_lists_every_exit_status() {
    let help = Sandbox::new().ok(&["--help"]);
    let (_, statuses) = help.split_once("Exit status:\n").unwrap();
    for status in ["0 ", "1 ", "2 ", "75 ", "126, 127 "] {
        assert!(statuses.lines().any(|line| line.trim_start().starts_with(status)), "{status}: {statuses}");
    }
}

#[test]
fn one_of_a_thing_is_singular() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "1/h", "--burst", "5", "--seats", "1"]);
    sandbox.ok(&["acquire", "api", "-n", "5"]);
    let page = sandbox.ok(&["inspect", "api"]);
    assert!(page.contains("admitted  1 request for 5 calls\n"), "{page}");
    assert!(page.contains(" of 1 seat\n"), "{page}");
    sandbox.ok(&["create", "narrow", "--rate", "1/h", "--max-waiters", "1"]);
    sandbox.ok(&["acquire", "narrow"]);
    let mut waiter = sandbox.start(&["acquire", "narrow"]);
    sandbox.until_queue_is("narrow", 1);
    let denied = sandbox.run(&["run", "narrow", "--", "true"]);
    assert!(denied.err.contains("1 request already waits"), "{}", denied.err);
    waiter.kill().unwrap();
    waiter.wait().unwrap();
}
