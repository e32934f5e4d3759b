//! Mounts that change under a limiter: its directory becomes read-only, or another one lies over it.

use harness::{Arena, Puppet, eventually, is_root, skip};
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const KINDS: [&str; 2] = ["bucket:20/366d:20", "fixed:20/366d+greedy:20/366d"];

/// A puppet that uses the limiter and has mounts of its own, and where the limiter is.
fn user(arena: &Arena) -> (Puppet, String) {
    let mut puppet = Puppet::new(WORKER, &arena.job("puppet"));
    puppet.must("open");
    assert_eq!(puppet.takes(3), 3);
    (puppet, arena.dir().display().to_string())
}

/// Who is in goes on deciding; who would change it, or come in, is told that it may not.
#[test]
fn a_directory_made_read_only_stops_changes_and_no_decisions() {
    if !is_root() {
        skip!("only root can mount");
    }
    for policy in KINDS {
        let arena = Arena::with_policy(policy, 0);
        let (mut puppet, dir) = user(&arena);
        puppet.must(&format!("read-only {dir}"));
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(puppet.takes(4), 4, "{policy}");
        for order in ["change 7 1000000000", "reset", "retire"] {
            let answer = puppet.ask(order);
            assert!(answer.starts_with("error PermissionDenied"), "{policy}: {order}: {answer}");
        }
        puppet.ask("fork");
        for order in ["open", "attach", "open name=another"] {
            let answer = puppet.ask(&format!("child {order}"));
            assert!(answer.starts_with("error PermissionDenied"), "{policy}: {order}: {answer}");
        }
        // What the others do, who may write, it hears of.
        let limit = arena.open();
        limit.pause_for(Duration::from_secs(100)).unwrap();
        assert_eq!(puppet.takes(1), 0, "{policy}");
        limit.resume().unwrap();
        puppet.must(&format!("uncover {dir}"));
        puppet.must("child open");
        assert_eq!(puppet.takes(100), 13, "{policy}");
        assert_eq!(puppet.ask("child take 1"), "0");
    }
}

/// The name leads elsewhere: that is noticed, like a removal, and not answered from two budgets under one name.
#[test]
fn another_file_system_over_the_directory_is_noticed() {
    if !is_root() {
        skip!("only root can mount");
    }
    for policy in KINDS {
        let arena = Arena::with_policy(policy, 0);
        let (mut puppet, dir) = user(&arena);
        puppet.must(&format!("tmpfs {dir} 1m"));
        let mut last = String::new();
        let noticed = eventually(Duration::from_secs(2), || {
            last = puppet.ask("try");
            last.starts_with("error Removed")
        });
        assert!(noticed, "{policy}: {last}");
        for order in ["change 7 1000000000", "reset", "retire", "inspect"] {
            let answer = puppet.ask(order);
            assert!(answer.starts_with("error Removed"), "{policy}: {order}: {answer}");
        }
        // What is made there now is another limiter; without the cover the first one is there again, as it was left.
        puppet.must("open");
        assert_eq!(puppet.takes(100), 20, "{policy}");
        puppet.must(&format!("uncover {dir}"));
        puppet.must("open");
        let left = arena.open().peek().unwrap().available;
        assert!(left <= 17, "{policy}: {left}");
        assert_eq!(puppet.takes(100), left, "{policy}");
    }
}
