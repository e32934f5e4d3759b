//! Limits on memory: a file that cannot be mapped is an error, and nothing is left of it.

use harness::{Arena, RemoteWorker};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
/// A ring of a million slots, 8 MB, among others.
const KINDS: [(&str, u64); 3] =
    [("bucket:20/366d:20", 0), ("greedy:1000000/s", 0), ("first:20/366d+bucket:20/366d:20", 8)];

/// Nothing here is locked into memory.
#[test]
fn no_locked_memory_is_needed() {
    for (policy, permits) in KINDS {
        let arena = Arena::with_policy(policy, permits);
        let mut worker = RemoteWorker::new(WORKER, &arena.job("remote"));
        worker.expect_ok("memlock 0");
        worker.expect_ok("open");
        assert!(worker.ask("hold").starts_with("held"));
        worker.expect_ok("change 7 1000000000");
        worker.ask("fork");
        assert!(!worker.ask("child try").starts_with("error"));
    }
}

/// Too little address space for the mapping.
#[test]
fn a_mapping_beyond_the_address_space_limit_is_no_space_and_leaves_no_file() {
    let arena = Arena::with_policy("greedy:1000000/s", 0);
    let mut worker = RemoteWorker::new(WORKER, &arena.job("remote"));
    for exists in [false, true] {
        if exists {
            drop(arena.open());
        }
        worker.expect_ok("memory 4000000");
        for order in ["open", "attach"] {
            let answer = worker.ask(order);
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
    worker.expect_ok("open name=small policy=bucket:5/s");
    assert_eq!(worker.admitted_of(1), 1);
    worker.expect_ok("memory");
    worker.expect_ok("open");
    assert_eq!(worker.admitted_of(100), 100);
}
