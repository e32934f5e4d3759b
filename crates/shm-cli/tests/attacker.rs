//! Directories and files made by an attacker to harm a user who looks at them. See docs/security.md.

mod common;

use common::Sandbox;
use shm_lib::{Limit, RateLimit};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3_600);

/// Where the seats begin, and the bits of the occupied places in the line: with 128 seats and one bucket.
const SEATS: u64 = 20_480;
/// The generation of epoch 1.
const FIRST_GENERATION: u64 = 2_560 + 1_344;
const STANDING: u64 = SEATS + 128 * 256 + 64 * 8;
/// The command name of a hostile process.
const EVIL_COMMAND: &[u8] = b"\x1b]0;p\x07\xe2\x80\xae\xc2\x9bwn\n!";

fn open(sandbox: &Sandbox, name: &str) -> RateLimit {
    RateLimit::builder(name).directory(sandbox.path()).burst(10).open(10, HOUR).unwrap()
}

/// Asserts that the text has no control sequence.
fn plain(what: &str, text: &str) {
    let bad = text.chars().find(|&c| (c.is_control() && c != '\n') || c == '\u{202e}');
    assert_eq!(bad, None, "{what}: {text:?}");
}

/// File names that no limiter can have are not shown; command names of processes are escaped; a name in a header is quoted.
#[test]
fn nothing_that_others_wrote_reaches_the_terminal_as_a_command() {
    let sandbox = Sandbox::new();
    for name in ["esc\x1b[31mred", "nl\nnl", "c1\u{9b}31m", "bell\x07", ".hidden", "del\x7f"] {
        fs::write(sandbox.path().join(name), b"x").unwrap();
    }
    fs::write(sandbox.path().join(std::ffi::OsStr::from_bytes(b"not\xff\xfeutf8")), b"x").unwrap();
    let limit = open(&sandbox, "-v");
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    // The command name in the first seat, which a process may choose.
    let file = File::options().write(true).open(limit.path()).unwrap();
    file.write_all_at(EVIL_COMMAND, SEATS + 32).unwrap();
    // And a file whose header has another name.
    fs::copy(limit.path(), sandbox.path().join("copy")).unwrap();
    for args in [
        &["list"] as &[&str],
        &["list", "--json"],
        &["inspect", "--", "-v"],
        &["inspect", "--json", "--", "-v"],
        &["inspect", "copy"],
        &["inspect", "no\x1b[31msuch"],
    ] {
        let ended = sandbox.run(args);
        plain(&format!("{args:?}"), &ended.out);
        plain(&format!("{args:?}"), &ended.err);
        assert!(!ended.out.contains("hidden") && !ended.out.contains("esc"), "{}", ended.out);
    }
    assert!(sandbox.ok(&["inspect", "--", "-v"]).contains("]0;pwn!"));
}

/// The same for the command name of a waiting process.
#[test]
fn the_command_name_of_a_waiter_is_escaped() {
    let sandbox = Sandbox::new();
    let limit = open(&sandbox, "api");
    assert!(limit.try_acquire(10).unwrap().is_admitted());
    let mut waiter = sandbox.start(&["acquire", "api"]);
    sandbox.until_queue_is("api", 1);
    let file = File::options().read(true).write(true).open(limit.path()).unwrap();
    let mut standing = [0; 8];
    file.read_exact_at(&mut standing, STANDING).unwrap();
    let index = u64::from(u64::from_ne_bytes(standing).trailing_zeros());
    file.write_all_at(EVIL_COMMAND, STANDING + 64 + index * 128 + 112).unwrap();
    for args in [&["inspect", "api"][..], &["inspect", "--json", "api"]] {
        let said = sandbox.ok(args);
        plain(&format!("{args:?}"), &said);
        assert!(said.contains("]0;pwn!"), "{said}");
    }
    waiter.kill().unwrap();
    waiter.wait().unwrap();
}

/// A name is never a path to another directory.
#[test]
fn names_do_not_leave_the_directory() {
    let sandbox = Sandbox::new();
    let inside = sandbox.path().join("inside");
    fs::create_dir(&inside).unwrap();
    drop(open(&sandbox, "api"));
    let long = "x".repeat(5_000);
    for name in ["../api", "/etc/passwd", "..", ".", "", "a/../api", "new\nline", "\u{9b}", long.as_str()] {
        for command in ["inspect", "reset", "remove", "create"] {
            let mut args = vec!["--dir", inside.to_str().unwrap(), command];
            args.extend(if command == "create" { &["--rate", "5/s"][..] } else { &[] });
            args.extend(["--", name]);
            let ended = sandbox.run(&args);
            assert!(ended.status != 0, "{args:?} {}", ended.out);
        }
    }
    assert_eq!(fs::read_dir(&inside).unwrap().count(), 0);
    assert_eq!(fs::read_dir(sandbox.path()).unwrap().count(), 2);
}

/// The time grows with the number of names: measured for docs/security.md with `MANY_NAMES=1000000`.
#[test]
fn limiters_open_in_a_directory_of_very_many_names() {
    let many: usize = std::env::var("MANY_NAMES").map_or(20_000, |n| n.parse().unwrap());
    // On tmpfs, where files are cheap.
    let dir = TempDir::new_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }).unwrap();
    let sandbox = Sandbox(dir);
    drop(open(&sandbox, "real"));
    fs::write(sandbox.path().join("0"), b"").unwrap();
    for i in 1..many {
        fs::hard_link(sandbox.path().join("0"), sandbox.path().join(i.to_string())).unwrap();
    }
    let began = Instant::now();
    assert!(sandbox.ok(&["inspect", "real"]).contains("10 of 10 free"));
    let one = began.elapsed();
    let mut list = sandbox.command(&["list"]);
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

/// Readable data is shown, and unreadable data is an error: no panic, no signal, no long wait, whatever the bytes are.
#[test]
fn list_and_inspect_survive_corrupt_data() {
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
        let sandbox = Sandbox::new();
        let second =
            if roll(2) == 0 { Limit::greedy("10/h".parse().unwrap()).unwrap() } else { limit_of_units() };
        let limit = match roll(2) {
            0 => open(&sandbox, "x"),
            _ => RateLimit::builder("x")
                .directory(sandbox.path())
                .and(second)
                .permits(3)
                .open(10, HOUR)
                .unwrap(),
        };
        let _ = limit.try_acquire(1);
        let file = File::options().read(true).write(true).open(limit.path()).unwrap();
        let words = file.metadata().unwrap().len() / 8;
        for _ in 0..=roll(30) {
            // The first generation, the first seat, or anything but the header.
            let at = match roll(3) {
                0 => FIRST_GENERATION / 8 + roll(168),
                1 => SEATS / 8 + roll(32),
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
            let ended = sandbox.run(args);
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

/// Sealed as docs/format.md describes, so that the configuration counts as valid.
fn seal_first_generation(file: &File) {
    let start = FIRST_GENERATION;
    let limit =
        |i: u64| (0..6).map(move |k| 64 + 128 * i + 8 * k).chain((0..6).map(move |k| 128 + 128 * i + 8 * k));
    let key_limit =
        |i: u64| (0..7).map(move |k| 576 + 128 * i + 8 * k).chain((0..5).map(move |k| 640 + 128 * i + 8 * k));
    let header = (0..6).chain([7]).map(|i| 8 * i);
    let limits = (0..4).flat_map(limit).chain((0..4).flat_map(key_limit));
    let sum = header.chain(limits).chain((0..24).map(|i| 1_088 + 8 * i)).fold(
        0xcbf2_9ce4_8422_2325_u64,
        |hash, at| {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, start + at).unwrap();
            let mixed = (hash ^ u64::from_ne_bytes(bytes)).wrapping_mul(0x0000_0100_0000_01b3);
            mixed ^ (mixed >> 29)
        },
    );
    file.write_all_at(&sum.to_ne_bytes(), start + 48).unwrap();
}
