//! Nothing that a user or another process wrote reaches the terminal as a control sequence.

mod common;

use common::Sandbox;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;

/// A colour, a title, a C1 introducer, marks that change the direction of text, a bell, a carriage return.
const EVIL: [&str; 9] = [
    "\u{1b}[31mx",
    "\u{1b}]0;title\u{7}",
    "\u{9b}31mx",
    "x\u{202e}y",
    "x\u{2066}y\u{61c}",
    "x\u{200f}\u{200e}",
    "bell\u{7}",
    "x\ry",
    "del\u{7f}\u{8}",
];

fn is_control(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && c != '\n')
}

/// Runs the command without and with colours, checks its output, and returns both; the second without the program's styles.
fn output_of(sandbox: &Sandbox, args: &[&OsStr]) -> [String; 2] {
    let run = |colours: Option<&str>| {
        let mut command = sandbox.command(&[]);
        command.env_remove("CLICOLOR_FORCE").env_remove("NO_COLOR").args(args);
        let output = command.envs(colours.map(|force| ("CLICOLOR_FORCE", force))).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let (plain, coloured) = (run(None), run(Some("1")));
    assert!(!coloured.contains("\u{1b}[31mx"), "{args:?}: {coloured:?}");
    let both = [plain, without_styles(&coloured)];
    for text in &both {
        assert_eq!(text.chars().find(|&c| is_control(c)), None, "{args:?}: {text:?}");
    }
    both
}

/// The text without the sequences that set a style.
fn without_styles(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let (style, rest) = part.split_once('m').unwrap();
        assert!(style.chars().all(|c| c.is_ascii_digit() || c == ';'), "{part:?}");
        text + rest
    })
}

fn words<'a>(words: &'a [&'a str]) -> Vec<&'a OsStr> {
    words.iter().map(OsStr::new).collect()
}

#[test]
fn arguments_are_shown_escaped() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "5/s"]);
    for evil in EVIL {
        let [flag, short, near, value] =
            [format!("--{evil}"), format!("-{evil}"), format!("--rate{evil}"), format!("--rate={evil}")];
        let [list, amount, path] = [format!("list{evil}"), format!("{evil}={evil}"), format!("/{evil}.json")];
        for args in [
            &["inspect", evil][..],
            &["inspect", "--", &format!("no{evil}")],
            &[evil],
            &[&list],
            &[&flag],
            &["list", &flag],
            &["list", &short],
            &["list", evil],
            &["create", "x", &near, "5/s"],
            &["create", "x", &value],
            &["create", "x", "--rate", evil],
            &["create", "x", "--rate", "5/s", "--burst", evil],
            &["create", "x", "--rate", "5/s", "--window", evil],
            &["create", "x", "--rate", "5/s", "--unit", evil],
            &["create", "x", "--rate", "5/s", "--mode", evil],
            &["create", "x", "--from", &path],
            &["set", "api", "--from", &path],
            &["acquire", "api", "--take", &amount],
            &["acquire", "api", "--take", &format!("tokens={evil}")],
            &["pause", "api", evil],
            &["completions", evil],
            &["help", evil],
            &["hold", "api", "--pid", evil],
            &["charge", "api", "--take", &amount],
            &["man", &path],
            &["run", "api", &flag],
            &["run", "api", "--", &path],
            &["--dir", &path, "list"],
            &["--dir", &path, "inspect", "api"],
        ] {
            let [plain, coloured] = output_of(&sandbox, &words(args));
            assert_eq!(coloured, plain, "{args:?}");
            let shown: String = plain.split_whitespace().collect();
            // Of several short flags in one word, clap repeats only the first.
            let cluster = args.contains(&short.as_str());
            assert!(cluster || shown.contains("\\u{") || shown.contains("\\r"), "{args:?}: {plain}");
        }
    }
}

#[test]
fn names_paths_and_files_are_shown_escaped() {
    for evil in EVIL {
        let sandbox = Sandbox::new();
        let dir = sandbox.path().join(format!("d{evil}"));
        fs::create_dir(&dir).unwrap();
        let dir = dir.as_os_str();
        let run = |args: &[&str]| {
            let args: Vec<&OsStr> = [OsStr::new("--dir"), dir].into_iter().chain(words(args)).collect();
            output_of(&sandbox, &args)[0].clone()
        };
        run(&["list"]);
        run(&["list", "--json"]);
        run(&["create", "api", "--rate", "5/s"]);
        run(&["create", "api", "--rate", "5/s", "--mode", "660"]);
        run(&["create", "api", "--rate", "6/s"]);
        fs::write(sandbox.path().join(format!("d{evil}/junk")), "junk").unwrap();
        for args in [&["list"][..], &["list", "--json"], &["inspect", "junk"], &["inspect", "junk", "--json"]]
        {
            run(args);
        }
        let json = run(&["inspect", "api", "--json"]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["directory"], dir.to_str().unwrap());
        let policy = sandbox.path().join("policy.toml");
        fs::write(&policy, format!("[[limit]]\nrate = \"{evil}\"\n")).unwrap();
        run(&["create", "x", "--from", policy.to_str().unwrap()]);
        // A name may contain such marks, but they must not reach the terminal.
        if !evil.contains(char::is_control) {
            run(&["create", evil, "--rate", "5/s"]);
            for args in
                [&["list"][..], &["list", "--json"], &["set", evil, "--rate", "6/s"], &["reset", evil]]
            {
                run(args);
            }
        }
    }
}

#[test]
fn arguments_that_are_not_utf8_are_shown() {
    let sandbox = Sandbox::new();
    let bad = OsString::from(OsStr::from_bytes(b"\xff\x1b[31m\xfe"));
    for args in
        [vec![OsStr::new("inspect"), &bad], vec![&bad], vec![OsStr::new("run"), OsStr::new("api"), &bad]]
    {
        output_of(&sandbox, &args);
    }
}

#[test]
fn messages_keep_their_styles_if_colours_are_on() {
    let sandbox = Sandbox::new();
    let output = sandbox.command(&["inspect", "\u{1b}[35mx"]).env("CLICOLOR_FORCE", "1").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("\u{1b}[1m\u{1b}[31merror:"), "{text:?}");
    assert!(!text.contains("\u{1b}[35m") && text.contains("\\u{1b}[35mx"), "{text:?}");
}
