//! A damaged word: every command that cannot go on names it, and the remedy that it prints works.

mod common;

use common::{Ended, Sandbox};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// Offsets and names of the words before the generations: see docs/format.md.
const HEADER: [(u64, &str); 46] = [
    (0, "magic"),
    (8, "version"),
    (16, "layout"),
    (24, "file_size"),
    (32, "boot_id[0]"),
    (40, "boot_id[1]"),
    (48, "time_namespace"),
    (56, "checksum"),
    (64, "seats"),
    (72, "name_len"),
    (80, "created_ns"),
    (88, "created_unix"),
    (96, "cells"),
    (104, "permits"),
    (112, "rings[0]"),
    (120, "rings[1]"),
    (128, "rings[2]"),
    (136, "rings[3]"),
    (144, "wall_ns"),
    (152, "key_tables"),
    (160, "key_rows"),
    (168, "hash_key[0]"),
    (176, "hash_key[1]"),
    (184, ""),
    (192, "name[0]"),
    (200, "name[1]"),
    (440, "name[31]"),
    (448, "epoch"),
    (456, ""),
    (504, ""),
    // The line's header, the counters of processes without a seat, and the word that proofs increment.
    (512, ""),
    (520, ""),
    (528, ""),
    (536, ""),
    (544, ""),
    (568, ""),
    (576, ""),
    (584, ""),
    (592, ""),
    (600, ""),
    (608, ""),
    (616, ""),
    (632, ""),
    (640, ""),
    (648, ""),
    (2_552, ""),
];
/// The words of a generation's header, and of the two halves of a limit.
const GENERATION: [&str; 8] =
    ["number", "origin", "since_ns", "not_before_ns", "shape", "max_waiters", "checksum", "wall_ns"];
const PARAMS: [&str; 8] = ["kind", "burst", "ticks_per_ns", "ns_per_tick", "floor", "fast_burst", "", ""];
const KEY_PARAMS: [&str; 8] = ["kind", "burst", "speed", "inverse", "floor", "anchor_ns", "anchor_ticks", ""];
const KEY_DETAILS: [&str; 8] = ["max", "per_ns", "unit[0]", "unit[1]", "unit[2]", "", "", ""];
const DETAILS: [&str; 8] = ["max", "per_ns", "guard_ns", "unit[0]", "unit[1]", "unit[2]", "", ""];

/// The generation of epoch 1.
const FIRST: u64 = 2_560 + 1_344;
const KEY_LIMITS: u64 = FIRST + 576;
const CALENDAR: u64 = FIRST + 1_088;
const STATE: u64 = FIRST + 1_280;

/// Every word that is damaged, with its name; empty for a word whose damage changes no decision.
fn words() -> Vec<(u64, String)> {
    let mut words: Vec<_> = HEADER.map(|(at, name)| (at, name.to_owned())).into();
    words.extend(GENERATION.iter().zip(0..).map(|(name, i)| (FIRST + 8 * i, (*name).to_owned())));
    for (first, params, details, per_key) in
        [(FIRST + 64, PARAMS, DETAILS, ""), (KEY_LIMITS, KEY_PARAMS, KEY_DETAILS, " per key")]
    {
        for limit in 0..4 {
            let start = first + 128 * limit;
            for (name, i) in params.iter().chain(&details).zip(0..) {
                let of_limit = format!("{name}` of limit {}{per_key} in ", limit + 1);
                words.push((start + 8 * i, if name.is_empty() { String::new() } else { of_limit }));
            }
        }
    }
    let calendar = [("zone", 5), ("offsets", 17), ("earliest_ns", 1), ("continuous_ns", 1)];
    let names = calendar.into_iter().flat_map(|(name, words)| std::iter::repeat_n(name, words));
    words.extend(names.zip(0..).map(|(name, i)| (CALENDAR + 8 * i, name.to_owned())));
    words.push((STATE, "state".to_owned()));
    words.extend((1..8).map(|i| (STATE + 8 * i, String::new())));
    words
}

/// Values of a damaged word. A state of another time can be one that was there before: only impossible ones can be told.
fn damages(at: u64, word: u64) -> Vec<u64> {
    let mut damages = vec![!word, word ^ 1 << 62];
    if at != STATE {
        damages.extend([word.wrapping_add(1), 0, u64::MAX]);
        damages.retain(|&damage| damage != word);
    }
    damages.sort_unstable();
    damages.dedup();
    damages
}

/// A limiter of which little was used, and its file.
struct Specimen {
    sandbox: Sandbox,
    settings: &'static [&'static str],
    /// The flags of a request.
    key: &'static [&'static str],
    bytes: Vec<u8>,
    /// The words to be damaged.
    words: Vec<(u64, String)>,
}

impl Specimen {
    fn new(settings: &'static [&'static str]) -> Specimen {
        Specimen::of_key(settings, &[])
    }

    fn of_key(settings: &'static [&'static str], key: &'static [&'static str]) -> Specimen {
        let sandbox = Sandbox::new();
        sandbox.ok(&[&["create", "x"], settings].concat());
        sandbox.ok(&[&["acquire", "x"], key].concat());
        let bytes = fs::read(sandbox.path().join("x")).unwrap();
        Specimen { sandbox, settings, key, bytes, words: words() }
    }

    /// A request.
    fn acquire(&self, flags: &[&str]) -> Ended {
        self.run(&[&["acquire", "x"], self.key, flags].concat())
    }

    fn word(&self, at: u64) -> u64 {
        u64::from_ne_bytes(self.bytes[at as usize..][..8].try_into().unwrap())
    }

    /// Makes it the file that it was, but for this word.
    fn damage(&self, at: u64, value: u64) {
        let path = self.sandbox.path().join("x");
        fs::write(&path, &self.bytes).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        file.write_all_at(&value.to_ne_bytes(), at).unwrap();
    }

    fn run(&self, args: &[&str]) -> Ended {
        let ended = self.sandbox.run(args);
        let said = format!("{}{}", ended.out, ended.err);
        // All rates are per hour at least.
        assert!(!said.contains("year") && !said.contains("day"), "{args:?}: an absurd time: {said}");
        let seconds = ended.out.trim().parse::<f64>().unwrap_or(0.0);
        assert!(seconds <= 3_600.0, "{args:?}: an absurd time: {said}");
        ended
    }

    /// Does what a message advises.
    fn follow(&self, message: &str) {
        let (_, advice) =
            message.split_once("run `shm-limit ").unwrap_or_else(|| panic!("no advice: {message}"));
        let (command, rest) = advice.split_once('`').unwrap();
        let ended = self.run(&command.split(' ').collect::<Vec<_>>());
        assert_eq!(ended.status, 0, "{message}{}", ended.err);
        if rest.contains("then create it again") {
            self.sandbox.ok(&[&["create", "x"], self.settings].concat());
        }
    }

    /// Damages every word, runs every kind of command, and follows the advice.
    fn check(&self) {
        for (at, name) in &self.words {
            let at = *at;
            for value in damages(at, self.word(at)) {
                let case = format!("{name} (offset {at}) is {value:#x}, was {:#x}", self.word(at));
                self.damage(at, value);
                let inspected = self.run(&["inspect", "x"]);
                if name.is_empty() {
                    assert_eq!(inspected.status, 0, "{case}: {}", inspected.err);
                    // One of the burst of three is used.
                    assert_eq!(self.admitted(), 2, "{case}");
                    continue;
                }
                let expected = if name == "state" {
                    format!("the state word of generation 1 (offset {at}) is {value:#x}, expected a state")
                } else if matches!(name.as_str(), "checksum" | "epoch") {
                    format!("damaged: `{name}`")
                } else {
                    let closed = if name.contains('`') { "" } else { "`" };
                    format!("damaged: `{name}{closed}")
                };
                let is_named = |ended: &Ended| {
                    if name.starts_with("hash_key") {
                        // Random words: neither of them can be told from the other one, nor from the checksum.
                        assert!(
                            ended.status == 1 && ended.err.contains("`hash_key"),
                            "{case}: {}",
                            ended.err
                        );
                        return;
                    }
                    let found = format!(" (offset {at}) is {value:#x}, expected ");
                    assert_eq!(ended.status, 1, "{case}: {}", ended.err);
                    assert!(
                        ended.err.contains(&expected) && ended.err.contains(&found),
                        "{case}: {}",
                        ended.err
                    );
                };
                is_named(&inspected);
                is_named(&self.acquire(&["--timeout", "1s"]));
                let listed = self.run(&["list"]);
                assert!(listed.out.contains("corrupt"), "{case}: {}", listed.out);
                self.follow(&inspected.err);
                let healthy = self.run(&["inspect", "x"]);
                assert!(healthy.out.contains(" ok"), "{case}: {}{}", healthy.out, healthy.err);
                assert_eq!(self.acquire(&["--try"]).status, 0, "{case}");
                assert!(self.run(&["list"]).out.contains(" ok"), "{case}");
            }
        }
    }

    /// How many of four requests are admitted.
    fn admitted(&self) -> usize {
        (0..4).filter(|_| self.acquire(&["--try"]).status == 0).count()
    }
}

#[test]
fn every_damaged_word_of_a_bucket_is_named_and_its_remedy_works() {
    Specimen::new(&["--rate", "3/h", "--burst", "3"]).check();
}

#[test]
fn every_damaged_word_of_several_limits_is_named_and_its_remedy_works() {
    Specimen::new(&[
        "--rate",
        "3/h",
        "--greedy",
        "--rate",
        "9/h",
        "--window",
        "sliding",
        "--permits",
        "2",
        "--max-waiters",
        "5",
    ])
    .check();
}

/// The state word is that of the limit of all keys; without one it is not used.
#[test]
fn every_damaged_word_of_limits_per_key_is_named_and_its_remedy_works() {
    let settings = &[
        "--keyed",
        "--rate",
        "3/h",
        "--burst",
        "3",
        "--all-rate",
        "9/h",
        "--all-burst",
        "9",
        "--capacity",
        "1",
    ];
    Specimen::of_key(settings, &["--key", "alice"]).check();
}

/// Only the words that say when windows begin are others: those of the configuration are damaged.
#[test]
fn every_damaged_word_of_windows_per_key_is_named_and_its_remedy_works() {
    let settings = &["--keyed", "--rate", "3/h", "--window", "fixed", "--permits", "2", "--capacity", "1"];
    let mut specimen = Specimen::of_key(settings, &["--key", "alice"]);
    specimen.words.retain(|(at, _)| (KEY_LIMITS..KEY_LIMITS + 128).contains(at));
    assert_eq!(specimen.words.len(), 16);
    specimen.check();
}

/// Where the file has the slots of the keys: after everything else, each with the state and the tag.
#[test]
fn an_impossible_state_of_a_key_is_named_and_its_remedy_works() {
    let specimen = Specimen::of_key(&["--keyed", "--rate", "3/h", "--capacity", "1"], &["--key", "alice"]);
    let table = specimen.bytes.len() as u64 - 16 * 256;
    let used: Vec<u64> =
        (table..specimen.bytes.len() as u64).step_by(16).filter(|&at| specimen.word(at) != 0).collect();
    assert_eq!(used.len(), 1, "one key was used");
    for value in [u64::MAX, u64::MAX >> 1, 1 << 62] {
        specimen.damage(used[0], value);
        let ended = specimen.acquire(&["--timeout", "1s"]);
        assert_eq!(ended.status, 1, "{value:#x}: {}", ended.err);
        assert!(
            ended.err.contains("expected a time that a key's requests and debts can lead to"),
            "{}",
            ended.err
        );
        // A look at the key says the same. Other keys go on, and so does a look at the whole limiter.
        let look = specimen.run(&["inspect", "x", "--key", "alice"]);
        assert_eq!((look.status, &look.err), (1, &ended.err));
        assert_eq!(specimen.run(&["inspect", "x", "--key", "bob"]).status, 0);
        assert_eq!(specimen.run(&["inspect", "x"]).status, 0);
        specimen.follow(&ended.err);
        assert_eq!(specimen.acquire(&["--try"]).status, 0);
        assert_eq!(specimen.acquire(&["--try"]).status, 75);
    }
}

/// Commands that change or run something agree with `inspect`, and change nothing.
#[test]
fn every_command_names_the_damaged_word() {
    let specimen = Specimen::new(&["--rate", "3/h", "--burst", "3"]);
    let ticks_per_ns = FIRST + 64 + 16;
    for value in [0, 1, u64::MAX, specimen.word(ticks_per_ns) ^ 1] {
        for args in [
            &["inspect", "x"][..],
            &["acquire", "x"],
            &["acquire", "x", "--try"],
            &["run", "x", "--", "true"],
            &["set", "x", "--rate", "5/h"],
            &["pause", "x", "5s"],
            &["resume", "x"],
            &["charge", "x"],
            &["reserve", "x"],
            &["schedule", "x", "--requests", "2"],
            &["create", "x", "--rate", "3/h"],
        ] {
            specimen.damage(ticks_per_ns, value);
            let ended = specimen.run(args);
            assert_eq!(ended.status, 1, "{args:?}: {}", ended.err);
            assert!(
                ended.err.contains("`ticks_per_ns` of limit 1 in generation 1 (offset 3984)"),
                "{}",
                ended.err
            );
            assert!(ended.err.contains("run `shm-limit reset x"), "{}", ended.err);
        }
    }
}

/// The checksum tells a single word, not two.
#[test]
fn two_damaged_words_need_a_new_file() {
    let specimen = Specimen::new(&["--rate", "3/h", "--burst", "3"]);
    specimen.damage(FIRST + 64 + 8, 7);
    let path = specimen.sandbox.path().join("x");
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&9_u64.to_ne_bytes(), FIRST + 128).unwrap();
    let ended = specimen.run(&["inspect", "x"]);
    assert!(ended.err.contains("of which several are damaged"), "{}", ended.err);
    assert_eq!(specimen.run(&["reset", "x"]).err, ended.err);
    specimen.follow(&ended.err);
    assert_eq!(specimen.admitted(), 3);
}

/// Counters may say anything, but no mean is longer than the limiter exists.
#[test]
fn damaged_counters_show_no_absurd_time() {
    let specimen = Specimen::new(&["--rate", "3/h"]);
    specimen.damage(600, 1);
    let file = File::options().write(true).open(specimen.sandbox.path().join("x")).unwrap();
    file.write_all_at(&u64::MAX.to_ne_bytes(), 608).unwrap();
    let shown = specimen.run(&["inspect", "x"]).out;
    assert!(shown.contains("waited    1, "), "{shown}");
}
