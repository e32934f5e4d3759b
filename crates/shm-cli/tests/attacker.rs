//! Directories and files made by somebody who means harm to whoever looks at them. See docs/security.md.

mod common;

use common::Place;
use shm_lib::{Limit, RateLimit};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3_600);

fn open(place: &Place, name: &str) -> RateLimit {
    RateLimit::builder(name).directory(place.path()).burst(10).open(10, HOUR).unwrap()
}

/// Nothing that a terminal obeys.
fn plain(what: &str, text: &str) {
    let bad = text.chars().find(|&c| (c.is_control() && c != '\n') || c == '\u{202e}');
    assert_eq!(bad, None, "{what}: {text:?}");
}

/// File names that no limiter can have are not shown; what a process calls itself is cleaned; what a header says is
/// quoted.
#[test]
fn nothing_that_others_wrote_reaches_the_terminal_as_a_command() {
    let place = Place::new();
    for name in ["esc\x1b[31mred", "nl\nnl", "c1\u{9b}31m", "bell\x07", ".hidden", "del\x7f"] {
        fs::write(place.path().join(name), b"x").unwrap();
    }
    fs::write(place.path().join(std::ffi::OsStr::from_bytes(b"not\xff\xfeutf8")), b"x").unwrap();
    let limit = open(&place, "-v");
    assert!(limit.try_acquire().unwrap().is_admitted());
    // The name of the command in the first seat, as a process may choose it.
    let file = File::options().write(true).open(limit.path()).unwrap();
    file.write_all_at(b"\x1b]0;p\x07\xe2\x80\xae\xc2\x9bwn\n!", 16_384 + 32).unwrap();
    // And one whose header says that its name is something else.
    fs::copy(limit.path(), place.path().join("copy")).unwrap();
    for args in [
        &["list"] as &[&str],
        &["list", "--json"],
        &["inspect", "--", "-v"],
        &["inspect", "--json", "--", "-v"],
        &["inspect", "copy"],
        &["inspect", "no\x1b[31msuch"],
    ] {
        let ended = place.run(args);
        plain(&format!("{args:?}"), &ended.out);
        plain(&format!("{args:?}"), &ended.err);
        assert!(!ended.out.contains("hidden") && !ended.out.contains("red"), "{}", ended.out);
    }
    assert!(place.ok(&["inspect", "--", "-v"]).contains("]0;pwn!"));
}

/// Names lead nowhere else.
#[test]
fn names_do_not_leave_the_directory() {
    let place = Place::new();
    let inside = place.path().join("inside");
    fs::create_dir(&inside).unwrap();
    drop(open(&place, "api"));
    let long = "x".repeat(5_000);
    for name in ["../api", "/etc/passwd", "..", ".", "", "a/../api", "new\nline", "\u{9b}", long.as_str()] {
        for command in ["inspect", "reset", "remove", "create"] {
            let mut args = vec!["--dir", inside.to_str().unwrap(), command];
            args.extend(if command == "create" { &["--rate", "5/s"][..] } else { &[] });
            args.extend(["--", name]);
            let ended = place.run(&args);
            assert!(ended.status != 0, "{args:?} {}", ended.out);
        }
    }
    assert_eq!(fs::read_dir(&inside).unwrap().count(), 0);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
}

/// A million take as long as they are many: measured for docs/security.md with `MANY_NAMES=1000000`.
#[test]
fn a_directory_of_very_many_names_is_listed_and_its_limiters_are_opened_as_ever() {
    let many: usize = std::env::var("MANY_NAMES").map_or(20_000, |n| n.parse().unwrap());
    // Where names are cheap.
    let dir = TempDir::new_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }).unwrap();
    let place = Place(dir);
    drop(open(&place, "real"));
    fs::write(place.path().join("0"), b"").unwrap();
    for i in 1..many {
        fs::hard_link(place.path().join("0"), place.path().join(i.to_string())).unwrap();
    }
    let began = Instant::now();
    assert!(place.ok(&["inspect", "real"]).contains("10 of 10 free"));
    let one = began.elapsed();
    let mut list = place.command(&["list"]);
    let began = Instant::now();
    let output = list.output().unwrap();
    let all = began.elapsed();
    eprintln!("{many} names: inspect {one:?}, list {all:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.lines().any(|line| line.starts_with("real ")));
    assert_eq!(text.lines().count(), many + 2);
    assert!(one < Duration::from_secs(5), "{one:?}");
    assert!(all < Duration::from_millis(5_000 + many as u64), "{all:?}");
}

/// What can be read is shown, what can't be is said: no panic, no signal, no long wait, whatever the words are.
#[test]
fn rubbish_is_looked_at_calmly() {
    let seed = shm_lib::now().as_nanos() | 1;
    eprintln!("seed {seed}");
    let mut state = seed;
    let mut roll = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for _ in 0..40 {
        let place = Place::new();
        let second =
            if roll(2) == 0 { Limit::greedy("10/h".parse().unwrap()).unwrap() } else { limit_of_units() };
        let limit = match roll(2) {
            0 => open(&place, "x"),
            _ => {
                RateLimit::builder("x").directory(place.path()).and(second).permits(3).open(10, HOUR).unwrap()
            }
        };
        let _ = limit.try_acquire();
        let file = File::options().read(true).write(true).open(limit.path()).unwrap();
        let words = file.metadata().unwrap().len() / 8;
        for _ in 0..1 + roll(30) {
            // The first generation, the first seat, or anything but the header.
            let at = match roll(3) {
                0 => 4_096 / 8 + 80 + roll(80),
                1 => 16_384 / 8 + roll(32),
                _ => 56 + roll(words - 56),
            };
            let word =
                [0, 1, u64::MAX, 1 << 62, roll(u64::MAX), roll(u64::MAX) >> roll(64)][roll(6) as usize];
            file.write_all_at(&word.to_ne_bytes(), at * 8).unwrap();
        }
        if roll(2) == 0 {
            seal_first_generation(&file);
        }
        for args in
            [&["list"] as &[&str], &["list", "--json"], &["inspect", "x"], &["inspect", "x", "--json"]]
        {
            let began = Instant::now();
            let ended = place.run(args);
            assert!(ended.status != 101 && ended.status < 126, "{args:?}: {} {}", ended.status, ended.err);
            plain(&format!("{args:?}"), &(ended.out + &ended.err));
            assert!(began.elapsed() < Duration::from_secs(10));
        }
    }
}

fn limit_of_units() -> Limit {
    let limit = Limit::with_burst("10/h".parse().unwrap(), 5).unwrap();
    limit.counting(shm_lib::Unit::named("tokens").unwrap())
}

/// As docs/format.md says, so that the terms are believed.
fn seal_first_generation(file: &File) {
    let start = 4_096 + 640;
    let limit =
        |i: u64| (0..5).map(move |k| 64 + 128 * i + 8 * k).chain((0..6).map(move |k| 128 + 128 * i + 8 * k));
    let sum =
        (0..5).map(|i| 8 * i).chain((0..4).flat_map(limit)).fold(0xcbf2_9ce4_8422_2325_u64, |hash, at| {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, start + at).unwrap();
            let mixed = (hash ^ u64::from_ne_bytes(bytes)).wrapping_mul(0x0000_0100_0000_01b3);
            mixed ^ (mixed >> 29)
        });
    file.write_all_at(&sum.to_ne_bytes(), start + 40).unwrap();
}
