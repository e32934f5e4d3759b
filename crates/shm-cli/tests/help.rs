//! Help, and what is answered to a command line that is wrong.

mod common;

use common::Place;

fn commands(place: &Place) -> Vec<String> {
    let help = place.ok(&["--help"]);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let names = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn every_page_fits_a_terminal_of_80_columns() {
    let place = Place::new();
    let commands = commands(&place);
    assert!(commands.len() > 15, "{commands:?}");
    for command in commands.iter().map(|name| vec![name.as_str()]).chain([vec![]]) {
        for flag in ["-h", "--help"] {
            let text = place.ok(&[&command[..], &[flag]].concat());
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{command:?} {flag}: {line}");
            }
        }
    }
}

#[test]
fn help_of_a_command_is_the_same_in_both_ways() {
    let place = Place::new();
    for command in commands(&place) {
        assert_eq!(place.ok(&["help", &command]), place.ok(&[&command, "--help"]), "{command}");
    }
    assert_eq!(place.ok(&["help"]), place.ok(&["--help"]));
    assert!(place.ok(&["help", "--help"]).contains("shm-limit help run"));
    assert_eq!(place.ok(&["help", "ls"]), place.ok(&["list", "--help"]));
    let unknown = place.run(&["help", "status"]);
    assert!(unknown.status == 2 && unknown.err.contains("`shm-limit inspect`"), "{}", unknown.err);
}

#[test]
fn an_unknown_command_is_answered_with_the_one_that_does_it() {
    let place = Place::new();
    for (word, tip) in [
        ("status", "'inspect'"),
        ("delete", "'remove'"),
        ("crate", "'create'"),
        ("settle", "'run --settle'"),
        ("frobnicate", "`shm-limit help` lists the commands"),
        ("pase", "'pause'"),
    ] {
        let ended = place.run(&[word, "api"]);
        assert_eq!((ended.status, ended.out.as_str()), (2, ""));
        let tips: Vec<&str> = ended.err.lines().filter(|line| line.contains("tip:")).collect();
        assert!(tips.len() == 1 && tips[0].contains(tip), "{word}: {}", ended.err);
    }
}

#[test]
fn the_root_page_lists_every_exit_status() {
    let help = Place::new().ok(&["--help"]);
    let (_, statuses) = help.split_once("Exit status:\n").unwrap();
    for status in ["0 ", "1 ", "2 ", "75 ", "126, 127 "] {
        assert!(statuses.lines().any(|line| line.trim_start().starts_with(status)), "{status}: {statuses}");
    }
}

#[test]
fn one_of_a_thing_is_singular() {
    let place = Place::new();
    place.ok(&["create", "api", "--rate", "1/h", "--burst", "5", "--seats", "1"]);
    place.ok(&["acquire", "api", "-n", "5"]);
    let page = place.ok(&["inspect", "api"]);
    assert!(page.contains("admitted  1 request for 5 calls\n"), "{page}");
    assert!(page.contains(" of 1 seat\n"), "{page}");
    place.ok(&["create", "narrow", "--rate", "1/h", "--max-waiters", "1"]);
    place.ok(&["acquire", "narrow"]);
    let mut waiter = place.start(&["acquire", "narrow"]);
    place.until_queue_is("narrow", 1);
    let denied = place.run(&["run", "narrow", "--", "true"]);
    assert!(denied.err.contains("1 request waits already"), "{}", denied.err);
    waiter.kill().unwrap();
    waiter.wait().unwrap();
}
