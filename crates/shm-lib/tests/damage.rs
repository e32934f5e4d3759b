//! Operations on a limiter with damaged data fail, and the error says how to repair it.

use shm_lib::{Error, ErrorKind, Limit, Policy, Rate, RateLimit};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// The generation of epoch 1, the burst of its first limit, and its state: see docs/format.md.
const GENERATION: u64 = 2_560 + 1_344;
const BURST: u64 = GENERATION + 64 + 8;
const STATE: u64 = GENERATION + 1_280;

fn damaged(limit: &RateLimit) -> File {
    let file = File::options().read(true).write(true).open(limit.path()).unwrap();
    let mut word = [0; 8];
    file.read_exact_at(&mut word, BURST).unwrap();
    assert_eq!(u64::from_ne_bytes(word), 3, "the burst");
    file.write_all_at(&7_u64.to_ne_bytes(), BURST).unwrap();
    file
}

fn limit_of_three() -> Policy {
    Policy::from(Limit::with_burst(Rate::per_minute(1).unwrap(), 3).unwrap())
}

fn open(dir: &std::path::Path) -> RateLimit {
    RateLimit::builder("api").directory(dir).open_policy(limit_of_three()).unwrap()
}

/// For speed, decisions read the configuration without validating it; it is validated at intervals.
fn first_error(limit: &RateLimit) -> Error {
    let begun = Instant::now();
    loop {
        match limit.try_acquire(1) {
            Err(e) => break e,
            Ok(_) => assert!(begun.elapsed() < Duration::from_secs(20), "decisions do not notice the damage"),
        }
    }
}

#[test]
fn every_operation_names_the_damaged_word_until_a_reset_restores_it() {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(dir.path());
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    let _file = damaged(&limit);
    let decided = first_error(&limit);
    // A new handle notices at its first decision.
    let first = RateLimit::builder("api").directory(dir.path()).attach().unwrap().try_acquire(1).unwrap_err();
    let others = [
        limit.change(2, Duration::from_secs(60)).unwrap_err(),
        limit.pause_for(Duration::from_secs(1)).unwrap_err(),
        limit.policy().unwrap_err(),
        limit.wait().unwrap_err(),
        limit.schedule(1, 2).unwrap_err(),
    ];
    for e in [decided, first].into_iter().chain(others) {
        assert_eq!(e.kind(), ErrorKind::Corrupt);
        let expected = format!(
            "`burst` of limit 1 in generation 1 (offset {BURST}) is 0x7, expected 0x3; run `shm-limit reset api"
        );
        assert!(e.to_string().contains(&expected), "{e}");
    }
    limit.reset().unwrap();
    assert_eq!(limit.limit().unwrap().burst(), 3);
    let admitted = (0..5).filter(|_| limit.try_acquire(1).unwrap().is_admitted()).count();
    assert_eq!(admitted, 3);
}

/// The checksum tells one damaged word, but not two.
#[test]
fn a_configuration_with_two_damaged_words_must_be_recreated() {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(dir.path());
    let file = damaged(&limit);
    // `max`.
    file.write_all_at(&7_u64.to_ne_bytes(), BURST + 56).unwrap();
    for e in [first_error(&limit), limit.reset().unwrap_err()] {
        assert_eq!(e.kind(), ErrorKind::Corrupt);
        assert!(e.to_string().contains("run `shm-limit remove --force api"), "{e}");
    }
}

/// A caller that has just checked the file goes on with its numbers for 0.1 s. Nothing that follows from damaged ones is
/// reported as if the limiter were slow.
#[test]
fn a_wait_that_follows_from_damage_is_not_reported_as_too_long() {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(dir.path());
    assert!(limit.try_acquire(3).unwrap().is_admitted());
    let file = File::options().read(true).write(true).open(limit.path()).unwrap();
    // `ticks_per_ns`, `ns_per_tick` and `floor`.
    for (at, damage) in [(BURST + 8, 1), (BURST + 16, u64::MAX), (BURST + 24, 1_u64 << 61)] {
        let mut right = [0; 8];
        file.read_exact_at(&mut right, at).unwrap();
        for _ in 0..3 {
            assert!(!limit.try_acquire(1).unwrap().is_admitted());
            file.write_all_at(&damage.to_ne_bytes(), at).unwrap();
            for result in [limit.wait().map(drop), limit.reserve(1).map(drop), limit.schedule(1, 1).map(drop)]
            {
                let e = result.expect_err("a minute is too long for this test");
                assert_eq!(e.kind(), ErrorKind::Corrupt, "{e}");
                assert!(e.to_string().contains(&format!("(offset {at}) is {damage:#x}, expected ")), "{e}");
            }
            file.write_all_at(&right, at).unwrap();
        }
    }
}

/// A record is in one of the cells of the file.
#[test]
fn a_damaged_record_is_named_with_its_limit_and_cleared_by_a_reset() {
    let dir = tempfile::tempdir().unwrap();
    let builder = || RateLimit::builder("api").directory(dir.path()).seats(4);
    let rate = Rate::per_minute(5).unwrap();
    let window = Limit::sliding_counter(Rate::per_minute(9).unwrap()).unwrap();
    let limit = builder().and(window).open_rate(rate).unwrap();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    let file = File::options().read(true).write(true).open(limit.path()).unwrap();
    let word = |at: u64| {
        let mut word = [0; 8];
        file.read_exact_at(&mut word, at).unwrap();
        u64::from_ne_bytes(word)
    };
    let cell = word(STATE) & 0x3fff;
    let record = 20_480 + 4 * 256 + 448 * cell;
    // The times of the record as a whole, the bucket's TAT, and the window's start.
    for (index, name) in
        [(0, "`last admission` of the record"), (2, "`TAT` of limit 1"), (4, "`start ns` of limit 2")]
    {
        let (at, right) = (record + 8 * index, word(record + 8 * index));
        file.write_all_at(&(1_u64 << 61).to_ne_bytes(), at).unwrap();
        let e = limit.inspect().unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Corrupt);
        let damage = format!(
            "in cell {cell} (offset {at}) is 0x2000000000000000, expected a time at most 732 days ahead"
        );
        for words in [name, &damage, "run `shm-limit reset api"] {
            assert!(e.to_string().contains(words), "{words} is not in: {e}");
        }
        file.write_all_at(&right.to_ne_bytes(), at).unwrap();
    }
    file.write_all_at(&(1_u64 << 61).to_ne_bytes(), record).unwrap();
    limit.reset().unwrap();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
}

/// The ring of generations: the current one is in another slot after each change.
#[test]
fn damage_after_changes_is_found_in_the_current_generation() {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(dir.path());
    for epoch in 2..20_u64 {
        limit.change(epoch, Duration::from_secs(60)).unwrap();
        let burst = 2_560 + 1_344 * (epoch % 8) + 64 + 8;
        let file = File::options().write(true).open(limit.path()).unwrap();
        file.write_all_at(&0_u64.to_ne_bytes(), burst).unwrap();
        let expected =
            format!("`burst` of limit 1 in generation {epoch} (offset {burst}) is 0x0, expected 0x3");
        let e = limit.policy().unwrap_err().to_string();
        assert!(e.contains(&expected), "{e}");
        file.write_all_at(&3_u64.to_ne_bytes(), burst).unwrap();
        // An epoch that is not yet, one of long ago, and one that never was.
        for damage in [epoch + 1, epoch + 800, epoch + 803, 1 << 40, 0] {
            file.write_all_at(&damage.to_ne_bytes(), 448).unwrap();
            let e = limit.policy().unwrap_err().to_string();
            let expected =
                format!("`epoch` (offset 448) is {damage:#x}, expected {epoch:#x}; this cannot be repaired");
            assert!(e.contains(&expected), "{e}");
        }
        file.write_all_at(&epoch.to_ne_bytes(), 448).unwrap();
    }
    assert!(limit.try_acquire(3).unwrap().is_admitted());
}

/// A retirement sets a bit of the epoch. A damaged epoch with that bit is not one, so the budget is not lost silently.
#[test]
fn a_damaged_epoch_is_not_a_retirement() {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(dir.path());
    let file = File::options().write(true).open(limit.path()).unwrap();
    file.write_all_at(&u64::MAX.to_ne_bytes(), 448).unwrap();
    let again = RateLimit::builder("api").directory(dir.path());
    let e = again.open_policy(limit_of_three()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Corrupt);
    assert!(e.to_string().contains("`epoch` (offset 448) is 0xffffffffffffffff, expected 0x1; "), "{e}");
    file.write_all_at(&(1_u64 << 63 | 1).to_ne_bytes(), 448).unwrap();
    let again = RateLimit::builder("api").directory(dir.path());
    assert!(again.open_policy(limit_of_three()).unwrap().try_acquire(3).unwrap().is_admitted());
}

/// The remedy for a state that no sequence of calls can produce is a reset.
#[test]
fn a_damaged_state_is_cleared_by_a_reset() {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(dir.path());
    let file = File::options().write(true).open(limit.path()).unwrap();
    file.write_all_at(&(1_u64 << 62).to_ne_bytes(), STATE).unwrap();
    let e = limit.try_acquire(1).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Corrupt);
    assert!(e.to_string().contains("shm-limit reset api"), "{e}");
    limit.reset().unwrap();
    assert!(limit.try_acquire(3).unwrap().is_admitted());
}
