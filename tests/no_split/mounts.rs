//! Mounts that change under a limiter: its directory becomes read-only, or another one lies over it.

use harness::{Arena, RemoteWorker, eventually, is_root, skip};
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const KINDS: [&str; 2] = ["bucket:20/366d:20", "fixed:20/366d+greedy:20/366d"];

/// A worker that uses the limiter and has mounts of its own, and where the limiter is.
fn user(arena: &Arena) -> (RemoteWorker, String) {
    let mut worker = RemoteWorker::new(WORKER, &arena.job("remote"));
    worker.expect_ok("open");
    assert_eq!(worker.admitted_of(3), 3);
    (worker, arena.dir().display().to_string())
}

/// A process that has the limiter open continues to decide; changes and opens get `PermissionDenied`.
#[test]
fn a_read_only_directory_stops_changes_but_not_decisions() {
    if !is_root() {
        skip!("only root can mount");
    }
    for policy in KINDS {
        let arena = Arena::with_policy(policy, 0);
        let (mut worker, dir) = user(&arena);
        worker.expect_ok(&format!("read-only {dir}"));
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(worker.admitted_of(4), 4, "{policy}");
        for order in ["change 7 1000000000", "reset", "retire"] {
            let answer = worker.ask(order);
            assert!(answer.starts_with("error PermissionDenied"), "{policy}: {order}: {answer}");
        }
        worker.ask("fork");
        for order in ["open", "attach", "open name=another"] {
            let answer = worker.ask(&format!("child {order}"));
            assert!(answer.starts_with("error PermissionDenied"), "{policy}: {order}: {answer}");
        }
        // Changes by processes that may write reach it.
        let limit = arena.open();
        limit.pause_for(Duration::from_secs(100)).unwrap();
        assert_eq!(worker.admitted_of(1), 0, "{policy}");
        limit.resume().unwrap();
        worker.expect_ok(&format!("uncover {dir}"));
        worker.expect_ok("child open");
        assert_eq!(worker.admitted_of(100), 13, "{policy}");
        assert_eq!(worker.ask("child take 1"), "0");
    }
}

/// The name leads elsewhere: that is noticed like a removal, so that one name never has two budgets.
#[test]
fn a_mount_over_the_directory_is_reported_as_removed() {
    if !is_root() {
        skip!("only root can mount");
    }
    for policy in KINDS {
        let arena = Arena::with_policy(policy, 0);
        let (mut worker, dir) = user(&arena);
        worker.expect_ok(&format!("tmpfs {dir} 1m"));
        let mut last = String::new();
        let noticed = eventually(Duration::from_secs(2), || {
            last = worker.ask("try");
            last.starts_with("error Removed")
        });
        assert!(noticed, "{policy}: {last}");
        for order in ["change 7 1000000000", "reset", "retire", "inspect"] {
            let answer = worker.ask(order);
            assert!(answer.starts_with("error Removed"), "{policy}: {order}: {answer}");
        }
        // What is made there now is another limiter; without the cover the first one is there again, as it was left.
        worker.expect_ok("open");
        assert_eq!(worker.admitted_of(100), 20, "{policy}");
        worker.expect_ok(&format!("uncover {dir}"));
        worker.expect_ok("open");
        let left = arena.open().status().unwrap().available;
        assert!(left <= 17, "{policy}: {left}");
        assert_eq!(worker.admitted_of(100), left, "{policy}");
    }
}
