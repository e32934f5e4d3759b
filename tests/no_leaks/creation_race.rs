//! Many processes open a name that does not exist, at the same moment.

use harness::{Job, WorkerPool, log, shared_dir};
use std::collections::HashSet;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const MEMBERS: usize = 64;
const ROUNDS: usize = 200;

/// The first process creates the limiter, and all get the same one: of a budget of one call exactly one process gets it.
#[test]
fn processes_that_race_to_create_a_name_share_one_limiter() {
    let (dir, logs) = (shared_dir(), shared_dir());
    let barrier = shared_dir();
    let job = Job::new("race")
        .set("dir", dir.path().display())
        .set("logs", logs.path().display())
        .set("barrier", barrier.path().join("arrived").display())
        .set("members", MEMBERS)
        .set("rounds", ROUNDS)
        .set("max", 1)
        .set("per", 366 * 86_400 * 1_000_000_000_u64)
        .set("seats", 4);
    let mut pool = WorkerPool::new(WORKER);
    pool.spawn_many(&job, MEMBERS);
    pool.start();
    pool.join();

    let stories = log::read_each(logs.path());
    assert_eq!(stories.len(), MEMBERS);
    for round in 0..ROUNDS {
        let inodes: HashSet<u64> = stories.iter().map(|words| words[2 * round] - 1).collect();
        assert_eq!(inodes.len(), 1, "round {round}: more than one file");
        let tokens: u64 = stories.iter().map(|words| words[2 * round + 1] - 1).sum();
        assert_eq!(tokens, 1, "round {round}: a budget that is not shared");
    }
    // Nothing else was left behind: no half-made files, no temporary names.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), ROUNDS);
}
