//! Operations on a limiter with damaged data fail, and the error says how to repair it.

use shm_lib::{ErrorKind, Limit, Policy, Rate, RateLimit};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// The generation of epoch 1, the burst of its first limit, and its state: see docs/format.md.
const GENERATION: u64 = 2_560 + 832;
const BURST: u64 = GENERATION + 64 + 8;
const STATE: u64 = GENERATION + 768;

fn damaged(limit: &RateLimit) -> File {
    let file = File::options().read(true).write(true).open(limit.path()).unwrap();
    let mut word = [0; 8];
    file.read_exact_at(&mut word, BURST).unwrap();
    assert_eq!(u64::from_ne_bytes(word), 3, "the burst");
    file.write_all_at(&7_u64.to_ne_bytes(), BURST).unwrap();
    file
}

fn open(dir: &std::path::Path) -> RateLimit {
    let policy = Policy::from(Limit::with_burst(Rate::per_minute(1).unwrap(), 3).unwrap());
    RateLimit::builder("api").directory(dir).open_policy(policy).unwrap()
}

/// For speed, decisions read the configuration without validating it; it is validated at intervals.
#[test]
fn every_operation_reports_a_damaged_configuration_with_the_same_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let limit = open(dir.path());
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    let _file = damaged(&limit);
    let begun = Instant::now();
    let decided = loop {
        match limit.try_acquire(1) {
            Err(e) => break e,
            Ok(_) => assert!(begun.elapsed() < Duration::from_secs(20), "decisions do not notice the damage"),
        }
    };
    // A new handle notices at its first decision.
    let first = RateLimit::builder("api").directory(dir.path()).attach().unwrap().try_acquire(1).unwrap_err();
    let others = [limit.reset().unwrap_err(), limit.policy().unwrap_err(), limit.wait().unwrap_err()];
    for e in [decided, first].into_iter().chain(others) {
        assert_eq!(e.kind(), ErrorKind::Corrupt);
        assert!(e.to_string().contains("shm-limit remove --force api"), "{e}");
    }
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
