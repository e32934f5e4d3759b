//! A damaged word of a limiter with limits per key is named with its offset, and a reset restores a damaged configuration.

use super::*;
use crate::limit::{KeyPolicy, Limit, Rate, Start, Unit};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;
use tempfile::TempDir;

/// Offsets in the file: see docs/format.md.
const EPOCH: u64 = 448;
const GENERATIONS: u64 = 2_560;
const GENERATION: u64 = 1_344;
const SEATS: u64 = 20_480;

const HEADER: [&str; 25] = [
    "magic",
    "version",
    "layout",
    "file_size",
    "boot_id[0]",
    "boot_id[1]",
    "time_namespace",
    "checksum",
    "seats",
    "name_len",
    "created_ns",
    "created_unix",
    "cells",
    "permits",
    "rings[0]",
    "rings[1]",
    "rings[2]",
    "rings[3]",
    "wall_ns",
    "key_tables",
    "key_rows",
    "hash_key[0]",
    "hash_key[1]",
    "",
    "name[0]",
];
const CONFIG: [&str; 8] =
    ["number", "origin", "since_ns", "not_before_ns", "shape", "max_waiters", "checksum", "wall_ns"];
const LIMIT: [&str; 16] = [
    "kind",
    "burst",
    "ticks_per_ns",
    "ns_per_tick",
    "floor",
    "fast_burst",
    "",
    "",
    "max",
    "per_ns",
    "guard_ns",
    "unit[0]",
    "unit[1]",
    "unit[2]",
    "",
    "",
];
const KEY_LIMIT: [&str; 16] = [
    "kind",
    "burst",
    "speed",
    "inverse",
    "floor",
    "anchor_ns",
    "anchor_ticks",
    "",
    "max",
    "per_ns",
    "unit[0]",
    "unit[1]",
    "unit[2]",
    "",
    "",
    "",
];

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

/// A limiter of three calls an hour for each key, at least, of which a key has taken one, and its file. It was reset twice.
struct Specimen {
    _dir: TempDir,
    directory: Directory,
    policy: Policy,
    limiter: Limiter,
    file: File,
    /// All that the file had before its seats.
    bytes: Vec<u8>,
}

impl Specimen {
    fn new(policy: Policy, pause: Duration) -> Specimen {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::at(dir.path());
        let settings = Settings { capacity: 1_000, ..Settings::new(policy) };
        let limiter = Limiter::open(&directory, &Name::new("api").unwrap(), &settings).unwrap();
        for _ in 0..2 {
            admitted(&limiter);
            limiter.reset().unwrap();
        }
        if !pause.is_zero() {
            limiter.pause_for(pause).unwrap();
        }
        let file = File::options().read(true).write(true).open(limiter.path()).unwrap();
        let mut bytes = vec![0; SEATS as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        Specimen { _dir: dir, directory, policy, limiter, file, bytes }
    }

    fn attach(&self) -> Result<Limiter> {
        Limiter::attach(&self.directory, &Name::new("api").unwrap())
    }

    fn word(&self, at: u64) -> u64 {
        u64::from_ne_bytes(self.bytes[at as usize..][..8].try_into().unwrap())
    }

    fn set(&self, at: u64, value: u64) {
        self.file.write_all_at(&value.to_ne_bytes(), at).unwrap();
    }

    fn heal(&self) {
        self.file.write_all_at(&self.bytes[EPOCH as usize..], EPOCH).unwrap();
        self.file.write_all_at(&self.bytes[..EPOCH as usize], 0).unwrap();
    }

    /// Values of a damaged word.
    fn damages(&self, at: u64) -> Vec<u64> {
        let word = self.word(at);
        let mut all = vec![!word, word ^ 1 << 62, word.wrapping_add(1), 0, u64::MAX];
        all.retain(|&damage| damage != word);
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The words of the current generation that its checksum covers, and the checksum: offsets in the file, and names.
    fn config_words(&self) -> Vec<(u64, String)> {
        let start = GENERATIONS + self.word(EPOCH) % 8 * GENERATION;
        let mut words: Vec<_> =
            CONFIG.iter().zip(0..).map(|(name, i)| (start + 8 * i, format!("{name}` of "))).collect();
        for (first, names, per_key) in [(64, LIMIT, ""), (576, KEY_LIMIT, " per key")] {
            for i in 0..4 {
                for (name, k) in names.iter().zip(0..).filter(|(name, _)| !name.is_empty()) {
                    let name = format!("{name}` of limit {}{per_key} in ", i + 1);
                    words.push((start + first + 128 * i + 8 * k, name));
                }
            }
        }
        let calendar = [("zone", 5), ("offsets", 17), ("earliest_ns", 1), ("continuous_ns", 1)];
        let names = calendar.into_iter().flat_map(|(name, words)| std::iter::repeat_n(name, words));
        words.extend(names.zip(0..).map(|(name, i)| (start + 1_088 + 8 * i, format!("{name}` of "))));
        words
    }

    #[track_caller]
    fn check(&self) {
        let epoch = self.word(EPOCH);
        let words = self.config_words();
        assert_eq!(words.len(), 8 + 4 * 12 + 4 * 12 + 24);
        for (at, name) in words {
            for damage in self.damages(at) {
                self.set(at, damage);
                let e = self.limiter.inspect().unwrap_err();
                let expected = format!(
                    "damaged: `{name}generation {epoch} (offset {at}) is {damage:#x}, expected {:#x}; run `shm-limit reset api",
                    self.word(at)
                );
                assert!(
                    e.kind() == ErrorKind::Corrupt && e.to_string().contains(&expected),
                    "not {expected}: {e}"
                );
                self.limiter.reset().unwrap();
                assert_eq!(self.limiter.policy().unwrap(), self.policy, "{expected}");
                self.limiter.resume().unwrap();
                assert_eq!(admitted(&self.limiter), 3, "{expected}");
                self.heal();
            }
        }
        self.limiter.inspect().unwrap();
    }
}

/// How many of four requests of a key are admitted.
fn admitted(limiter: &Limiter) -> usize {
    let cost = crate::limit::Cost::one().and(Unit::named("tokens").unwrap(), 1);
    let calls = crate::limit::Cost::one();
    let counts_units =
        limiter.policy().unwrap().keys().unwrap().limits().any(|limit| !limit.unit().is_calls());
    let cost = if counts_units { &cost } else { &calls };
    let ask = KeyAsk { key: KeyOf::All(&[b"alice"]), cost, at: None };
    (0..4)
        .filter(|_| matches!(limiter.try_key_beside_nothing(&ask).unwrap().unwrap(), Decision::Admitted(_)))
        .count()
}

fn three_an_hour() -> Limit {
    Limit::with_burst(rate("3/h"), 3).unwrap()
}

#[test]
fn every_damaged_word_of_one_limit_per_key_is_named_and_restored() {
    let keys = KeyPolicy::new(&[three_an_hour()]).unwrap();
    Specimen::new(Policy::of_keys(keys), Duration::ZERO).check();
}

#[test]
fn every_damaged_word_of_several_limits_per_key_is_named_and_restored() {
    let keys = KeyPolicy::new(&[
        Limit::with_burst(rate("5/h"), 5).unwrap().counting(Unit::named("tokens").unwrap()),
        Limit::fixed_window(rate("30/day"), Start::Epoch).unwrap(),
        three_an_hour(),
        Limit::sliding_counter(rate("40/366day")).unwrap(),
    ])
    .unwrap();
    let all = Policy::new(&[
        Limit::greedy(rate("9/h")).unwrap(),
        Limit::fixed_window(rate("50/day"), Start::Epoch).unwrap(),
    ]);
    let policy = all.unwrap().with_permits(2).unwrap().with_max_waiters(5);
    Specimen::new(policy.with_keys(keys.refusing_new_keys(true).hiding_names(true)), Duration::ZERO).check();
}

/// Then a floor follows from the pause and from the table's clock.
#[test]
fn every_damaged_word_of_a_paused_limit_per_key_is_named_and_restored() {
    let keys = KeyPolicy::new(&[Limit::sliding_counter(rate("3/366day")).unwrap(), three_an_hour()]).unwrap();
    Specimen::new(Policy::of_keys(keys), Duration::from_secs(60)).check();
}

/// The checksum tells one word, but of the two words of the random key it cannot tell which.
#[test]
fn every_damaged_word_of_the_header_is_named() {
    let keys = KeyPolicy::new(&[three_an_hour(), three_an_hour()]).unwrap();
    let specimen = Specimen::new(Policy::of_keys(keys), Duration::ZERO);
    for (name, at) in
        HEADER.iter().zip(0..).map(|(name, i)| (name, 8 * i)).filter(|(name, _)| !name.is_empty())
    {
        for damage in specimen.damages(at) {
            specimen.set(at, damage);
            let e = specimen.attach().unwrap_err();
            let expected = match *name {
                "checksum" => {
                    format!("damaged: `checksum` of the header (offset 56) is {damage:#x}, expected ")
                }
                "hash_key[0]" | "hash_key[1]" => {
                    "(or one of the two words of `hash_key` is damaged, at offset 168)".into()
                }
                _ => format!(
                    "damaged: `{name}` (offset {at}) is {damage:#x}, expected {:#x}; ",
                    specimen.word(at)
                ),
            };
            assert!(
                e.kind() == ErrorKind::Corrupt && e.to_string().contains(&expected),
                "not {expected}: {e}"
            );
            assert!(e.to_string().contains("run `shm-limit remove --force api"), "{e}");
            specimen.heal();
        }
    }
    specimen.attach().unwrap();
}
