//! A file system of one megabyte: what does not fit is an error when it is opened; what is open goes on when it is full.

use harness::{Arena, RemoteWorker, is_root, skip};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
/// Every kind, and permits.
const KINDS: [(&str, u64); 8] = [
    ("bucket:1000000/s:1000", 0),
    ("bucket:1000000/s:1000", 100),
    ("greedy:1000/s", 0),
    ("fixed:1000/s", 0),
    ("first:1000/s", 0),
    ("sliding:1000/s", 0),
    ("greedy:1000/s+fixed:1000/s+sliding:1000/s+bucket:1000000/s:1000", 4),
    ("bucket:1000/s:1000+bucket:1000/s:1000@tokens+greedy:1000/s@bytes", 0),
];

/// A worker whose limiter's directory is a full megabyte. The mount is its alone and goes with it.
fn on_a_full_disk(arena: &Arena) -> (RemoteWorker, String) {
    let dir = arena.dir().display().to_string();
    let mut worker = RemoteWorker::new(WORKER, &arena.job("remote"));
    worker.expect_ok(&format!("tmpfs {dir} 1m"));
    worker.expect_ok(&format!("fill {dir}"));
    (worker, dir)
}

#[test]
fn creating_on_a_full_disk_is_no_space_and_leaves_no_file() {
    if !is_root() {
        skip!("only root can mount a small tmpfs");
    }
    for (policy, permits) in KINDS {
        let arena = Arena::with_policy(policy, permits);
        let (mut worker, dir) = on_a_full_disk(&arena);
        let answer = worker.ask("open");
        assert!(answer.starts_with("error NoSpace"), "{policy}: {answer}");
        assert!(answer.contains("free some space"), "{policy}: {answer}");
        assert_eq!(worker.ask(&format!("ls {dir}")), "ballast", "{policy}");
        worker.expect_ok(&format!("rm {dir}/ballast"));
        worker.expect_ok("open");
    }
}

/// All that it will ever need was allocated when it was made.
#[test]
fn an_open_limiter_keeps_working_on_a_full_disk() {
    if !is_root() {
        skip!("only root can mount a small tmpfs");
    }
    for (policy, permits) in KINDS {
        let arena = Arena::with_policy(policy, permits);
        let (mut worker, dir) = on_a_full_disk(&arena);
        worker.expect_ok(&format!("rm {dir}/ballast"));
        worker.expect_ok("open");
        worker.expect_ok(&format!("fill {dir}"));
        if !policy.contains('@') {
            assert_eq!(worker.admitted_of(900), 900, "{policy}");
            assert!(worker.ask("hold-ms 5000").starts_with("held"), "{policy}");
            assert_eq!(worker.ask("schedule 50"), "50", "{policy}");
        }
        worker.expect_ok("change 7 1000000000");
        worker.expect_ok("reset");
        worker.expect_ok("pause-ms 1");
        worker.expect_ok("inspect");
        worker.ask("fork");
        let answer = worker.ask("child status");
        assert_eq!(answer, "ok", "{policy}");
        worker.expect_ok("child join");
        worker.expect_ok("child retire");
        assert!(worker.ask("try").starts_with("error Retired"), "{policy}");
        assert_eq!(worker.ask(&format!("ls {dir}")), "ballast", "{policy}");
    }
}

/// Larger than the whole file system.
#[test]
fn a_limiter_larger_than_the_disk_is_no_space_and_leaves_no_file() {
    if !is_root() {
        skip!("only root can mount a small tmpfs");
    }
    let arena = Arena::new("5/s", 1);
    let (mut worker, dir) = on_a_full_disk(&arena);
    worker.expect_ok(&format!("rm {dir}/ballast"));
    for order in ["open seats=4096", "open policy=greedy:1000000/s"] {
        let answer = worker.ask(order);
        assert!(answer.starts_with("error NoSpace"), "{order}: {answer}");
        assert_eq!(worker.ask(&format!("ls {dir}")), "", "{order}");
    }
    worker.expect_ok("open");
}
