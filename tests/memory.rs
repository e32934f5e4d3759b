//! Limits on memory: what can't be mapped is an error, and nothing is left of it.

use harness::{Arena, Puppet};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
/// A ring of a million slots, 8 MB, among others.
const KINDS: [(&str, u64); 3] =
    [("bucket:20/366d:20", 0), ("greedy:1000000/s", 0), ("fixed:20/366d+bucket:20/366d:20", 8)];

/// Nothing here is locked into memory.
#[test]
fn no_locked_memory_is_needed() {
    for (policy, permits) in KINDS {
        let arena = Arena::with_policy(policy, permits);
        let mut puppet = Puppet::new(WORKER, &arena.job("puppet"));
        puppet.must("memlock 0");
        puppet.must("open");
        assert!(puppet.ask("hold").starts_with("held"));
        puppet.must("change 7 1000000000");
        puppet.ask("fork");
        assert!(!puppet.ask("child try").starts_with("error"));
    }
}

/// Too little address space for the mapping.
#[test]
fn what_does_not_fit_into_the_address_space_is_an_error_and_leaves_nothing() {
    let arena = Arena::with_policy("greedy:1000000/s", 0);
    let mut puppet = Puppet::new(WORKER, &arena.job("puppet"));
    for exists in [false, true] {
        if exists {
            drop(arena.open());
        }
        puppet.must("memory 4000000");
        for order in ["open", "attach"] {
            let answer = puppet.ask(order);
            if order == "attach" && !exists {
                assert!(answer.starts_with("error NotFound"), "{answer}");
                continue;
            }
            assert!(answer.starts_with("error NoSpace"), "{answer}");
            assert!(answer.contains("cannot map the file"), "{answer}");
        }
        assert_eq!(std::fs::read_dir(arena.dir()).unwrap().count(), usize::from(exists));
    }
    // A small one has room, and so has this one later.
    puppet.must("open name=small policy=bucket:5/s");
    assert_eq!(puppet.takes(1), 1);
    puppet.must("memory");
    puppet.must("open");
    assert_eq!(puppet.takes(100), 100);
}
