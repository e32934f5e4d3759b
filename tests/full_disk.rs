//! A file system of one megabyte: what does not fit is an error when it is opened; what is open goes on when it is full.

use harness::{Arena, Puppet, is_root, skip};

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

/// A puppet whose limiter's directory is a full megabyte. The mount is its alone and goes with it.
fn cramped(arena: &Arena) -> (Puppet, String) {
    let dir = arena.dir().display().to_string();
    let mut puppet = Puppet::new(WORKER, &arena.job("puppet"));
    puppet.must(&format!("tmpfs {dir} 1m"));
    puppet.must(&format!("fill {dir}"));
    (puppet, dir)
}

#[test]
fn every_kind_says_that_there_is_no_space_and_leaves_nothing() {
    if !is_root() {
        skip!("only root can mount a small tmpfs");
    }
    for (policy, permits) in KINDS {
        let arena = Arena::with_policy(policy, permits);
        let (mut puppet, dir) = cramped(&arena);
        let answer = puppet.ask("open");
        assert!(answer.starts_with("error NoSpace"), "{policy}: {answer}");
        assert!(answer.contains("free some space"), "{policy}: {answer}");
        assert_eq!(puppet.ask(&format!("ls {dir}")), "ballast", "{policy}");
        puppet.must(&format!("rm {dir}/ballast"));
        puppet.must("open");
    }
}

/// All that it will ever need was allocated when it was made.
#[test]
fn every_kind_goes_on_when_the_file_system_is_full() {
    if !is_root() {
        skip!("only root can mount a small tmpfs");
    }
    for (policy, permits) in KINDS {
        let arena = Arena::with_policy(policy, permits);
        let (mut puppet, dir) = cramped(&arena);
        puppet.must(&format!("rm {dir}/ballast"));
        puppet.must("open");
        puppet.must(&format!("fill {dir}"));
        if !policy.contains('@') {
            assert_eq!(puppet.takes(900), 900, "{policy}");
            assert!(puppet.ask("hold-ms 5000").starts_with("held"), "{policy}");
            assert_eq!(puppet.ask("schedule 50"), "50", "{policy}");
        }
        puppet.must("change 7 1000000000");
        puppet.must("reset");
        puppet.must("pause-ms 1");
        puppet.must("inspect");
        puppet.ask("fork");
        let answer = puppet.ask("child peek");
        assert_eq!(answer, "ok", "{policy}");
        puppet.must("child join");
        puppet.must("child retire");
        assert!(puppet.ask("try").starts_with("error Retired"), "{policy}");
        assert_eq!(puppet.ask(&format!("ls {dir}")), "ballast", "{policy}");
    }
}

/// Larger than the whole file system.
#[test]
fn what_can_never_fit_is_refused_before_it_has_a_name() {
    if !is_root() {
        skip!("only root can mount a small tmpfs");
    }
    let arena = Arena::new("5/s", 1);
    let (mut puppet, dir) = cramped(&arena);
    puppet.must(&format!("rm {dir}/ballast"));
    for order in ["open seats=4096", "open policy=greedy:1000000/s"] {
        let answer = puppet.ask(order);
        assert!(answer.starts_with("error NoSpace"), "{order}: {answer}");
        assert_eq!(puppet.ask(&format!("ls {dir}")), "", "{order}");
    }
    puppet.must("open");
}
