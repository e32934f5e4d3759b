//! The time of a decision about a random key.

use super::candidates::{
    DAY, KeyedFixture, Keys, baseline, bucket, fixture, governor, in_batches, in_memory, one_by_one,
};
use super::rounds::{Rounds, count};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use shm_lib::{KeyedBuilder, KeyedRateLimit, Limit, Rate};
use std::rc::Rc;
use tempfile::TempDir;

const MANY: u64 = 10_000_000;

/// Numbers of keys, and the targets: of the baseline, and of governor.
const POPULATIONS: [(u64, Option<f64>, Option<f64>); 4] = [
    (1, None, None),
    (10_000, Some(1.9), Some(1.5)),
    (1_000_000, Some(1.6), Some(0.9)),
    (MANY, Some(1.6), Some(0.9)),
];

fn target(target: Option<f64>) -> String {
    target.map_or_else(String::new, |target| format!("{target}"))
}

pub(super) fn decisions() {
    println!(
        "\n### A decision\n\nMedians of interleaved rounds on random keys of 8 to 20 bytes; ratios are medians of those in one round. All keys \
         owe something, and the capacity is the number of keys. The baseline reads the clock, hashes the key (SipHash-1-3, by the crate siphasher), and \
         replaces 16 bytes of a random line by a compare-and-swap, in memory as large as the table."
    );
    for (title, admits) in [("admitted", true), ("denied", false)] {
        println!(
            "\n| {title}, live keys | baseline ns | shm-limit ns | × baseline | target | governor ns | shm-limit × governor | target |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        for (keys, of_baseline, of_governor) in POPULATIONS {
            let fixture = fixture(in_memory(), keys, bucket(keys, admits));
            let own = one_by_one("shm-limit", &fixture, Some(admits));
            let rounds = Rounds::measure(keys, &mut [baseline(keys), own, governor(keys, admits)]);
            println!(
                "| {} | {:.0} | {:.0} | {:.2} | {} | {:.0} | {:.2} | {} |",
                count(keys),
                rounds.nanos(0),
                rounds.nanos(1),
                rounds.ratio(1, 0),
                target(of_baseline),
                rounds.nanos(2),
                rounds.ratio(1, 2),
                target(of_governor)
            );
        }
    }
}

/// A limiter whose keys have been used.
fn filled(dir: TempDir, keys: u64) -> Rc<KeyedFixture> {
    let fixture = fixture(dir, keys, bucket(keys, true));
    let mut fill = in_batches("fill", &fixture, 16);
    Keys::new(keys).each_once(|keys| {
        let _ = (fill.decide)(keys);
    });
    fixture
}

pub(super) fn batches() {
    println!(
        "\n### Batches\n\n| live keys | one by one ns | 16 at once ns | ratio | target |\n|---|---|---|---|---|"
    );
    for (keys, goal) in [(10_000, None), (1_000_000, None), (MANY, Some(0.5))] {
        let fixture = filled(in_memory(), keys);
        let mut both = [one_by_one("one by one", &fixture, Some(true)), in_batches("16", &fixture, 16)];
        let rounds = Rounds::of_filled(keys, &mut both);
        println!(
            "| {} | {:.0} | {:.0} | {:.2} | {} |",
            count(keys),
            rounds.nanos(0),
            rounds.nanos(1),
            rounds.ratio(1, 0),
            target(goal)
        );
    }
}

type Open = fn(KeyedBuilder) -> shm_lib::Result<KeyedRateLimit>;

const KINDS: [(&str, Open); 6] = [
    ("one bucket", |builder| bucket(MANY, true)(builder)),
    ("two buckets", |builder| several(builder, 2)),
    ("four buckets", |builder| several(builder, 4)),
    ("a bucket, and one of all keys", |builder| {
        let all = Limit::with_burst(Rate::new(1_000_000_000, DAY / 86_400)?, 1_000_000_000)?;
        bucket(MANY, true)(builder.in_all(all))
    }),
    ("a fixed window", |builder| builder.fixed_window().open(10_000, DAY)),
    ("a sliding counter", |builder| builder.sliding_counter().open(10_000, DAY)),
];

fn several(builder: KeyedBuilder, limits: u64) -> shm_lib::Result<KeyedRateLimit> {
    let limit = |i| Limit::with_burst(Rate::new(144 / i, DAY)?, 10_000);
    bucket(MANY, true)((2..=limits).try_fold(builder, |builder, i| Ok(builder.and(limit(i)?)))?)
}

pub(super) fn kinds() {
    println!("\n### Several limits, other kinds\n\nAdmitted requests.");
    for keys in [10_000, 1_000_000] {
        let fixtures = KINDS.map(|(name, open)| (name, fixture(in_memory(), keys, open)));
        let mut all = fixtures.map(|(name, fixture)| one_by_one(name, &fixture, Some(true)));
        let rounds = Rounds::measure(keys, &mut all);
        println!("\n| limits, {} live keys | ns | × one bucket |\n|---|---|---|", count(keys));
        for (i, candidate) in all.iter().enumerate() {
            println!("| {} | {:.0} | {:.2} |", candidate.name, rounds.nanos(i), rounds.ratio(i, 0));
        }
    }
}

/// A tmpfs with huge pages. It is unmounted when this is dropped.
struct HugePages {
    at: TempDir,
}

impl HugePages {
    fn mount() -> nix::Result<HugePages> {
        let at = tempfile::tempdir().expect("a directory");
        let (kind, options) = (Some("tmpfs"), Some("huge=always,mode=700"));
        mount(Some("none"), at.path(), kind, MsFlags::empty(), options)?;
        Ok(HugePages { at })
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        // A limiter that is still mapped keeps its memory until the process ends; the directory is free.
        if let Err(why) = umount2(self.at.path(), MntFlags::MNT_DETACH) {
            println!("\n{} could not be unmounted: {why}", self.at.path().display());
        }
    }
}

pub(super) fn huge_pages() {
    println!("\n### Huge pages\n");
    let huge = match HugePages::mount() {
        Ok(huge) => huge,
        Err(why) => {
            println!("Not measured: a tmpfs with huge=always cannot be mounted here ({why}).");
            return;
        }
    };
    println!(
        "On a tmpfs that is mounted with `huge=always`, next to one with the usual pages of 4 KiB. Admitted requests.\n"
    );
    println!(
        "| live keys | baseline ns | 4 KiB ns | huge ns | huge × 4 KiB | huge × baseline | huge × governor |"
    );
    println!("|---|---|---|---|---|---|---|");
    for keys in [1_000_000, MANY] {
        let dir = TempDir::new_in(huge.at.path()).expect("a directory");
        let (plain, large) = (filled(in_memory(), keys), filled(dir, keys));
        let mut all = [
            baseline(keys),
            one_by_one("4 KiB", &plain, Some(true)),
            one_by_one("huge", &large, Some(true)),
            governor(keys, true),
        ];
        let rounds = Rounds::measure(keys, &mut all);
        println!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} |",
            count(keys),
            rounds.nanos(0),
            rounds.nanos(1),
            rounds.nanos(2),
            rounds.ratio(2, 1),
            rounds.ratio(2, 0),
            rounds.ratio(2, 3)
        );
    }
}
