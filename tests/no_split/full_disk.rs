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

/// A table of keys gets its memory as keys come. On a full file system keys whose part of the table has none are refused, and the
/// others go on; with space again, all go on.
#[test]
fn keys_without_memory_are_no_space_on_a_full_disk_and_go_on_with_space() {
    if !is_root() {
        skip!("only root can mount a small tmpfs");
    }
    for policy in ["key-bucket:3/366d:3", "bucket:100000/366d:100000+key-bucket:3/366d:3+key-sliding:5/366d"]
    {
        let arena = Arena::with_policy(policy, 0);
        let dir = arena.dir().display().to_string();
        let mut worker = RemoteWorker::new(WORKER, &arena.job("remote"));
        worker.expect_ok(&format!("tmpfs {dir} 16m"));
        worker.expect_ok("keys-open capacity=100000");
        assert_eq!(worker.numbers("key-many 0 10"), [10, 0, 0], "{policy}");
        worker.expect_ok(&format!("fill {dir}"));
        let came = worker.numbers("key-many 1000 500");
        assert!(came[2] > 400 && came[1] == 0, "{policy}: {came:?}");
        let denied = worker.ask(&format!("key-take {} 1", 1_000 + came[0]));
        assert!(denied.starts_with("error NoSpace") || denied == "1", "{policy}: {denied}");
        if denied.starts_with("error") {
            assert!(denied.contains("free some space"), "{denied}");
        }
        // Those that have memory go on, in a forked child, too, and so does control.
        assert_eq!(worker.numbers("key-many 0 10"), [10, 0, 0], "{policy}");
        worker.ask("fork");
        assert_eq!(worker.numbers("child key-many 0 10"), [10, 0, 0], "{policy}");
        assert_eq!(worker.numbers("key-many 0 10"), [0, 10, 0], "{policy}");
        worker.expect_ok("keys-change 4 31622400000000000");
        assert_eq!(worker.ask("key-reset 3"), "true", "{policy}");
        worker.expect_ok("keys-reset");
        assert_eq!(worker.numbers("key-many 0 10"), [10, 0, 0], "{policy}");

        worker.expect_ok(&format!("rm {dir}/ballast"));
        assert_eq!(worker.numbers("key-many 1000 500"), [500, 0, 0], "{policy}");
    }
}
