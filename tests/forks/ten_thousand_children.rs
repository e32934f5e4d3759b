//! Ten thousand children, each with the handle that its parent opened: nothing leaks, and the totals are right.

use harness::{Arena, WorkerPool, alone, eventually, log_uncaptured};
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const CHILDREN: u64 = 10_000;

fn fork_children(policy: &str, permits: u64, budget: u64) {
    let _alone = alone();
    let arena = Arena::with_policy(policy, permits).seats(16);
    let watcher = arena.open();
    let mut pool = WorkerPool::new(WORKER);
    pool.spawn(&arena.job("forks").set("children", CHILDREN));
    pool.start();
    let said = pool.next_line(Duration::from_secs(120)).expect("the parent's report");
    let numbers: Vec<u64> = said.split(' ').map(|n| n.parse().expect(&said)).collect();
    let [admitted, denied, files, maps, memory, files_after, maps_after, memory_after] = numbers[..] else {
        panic!("{said}");
    };
    log_uncaptured(&format!(
        "{policy}, {permits} permits: {CHILDREN} forks, {admitted} admitted; {files} and {files_after} descriptors, \
         {maps} and {maps_after} mappings, {memory} and {memory_after} kB"
    ));
    assert_eq!((admitted, denied), (budget, CHILDREN - budget), "what the children got");
    let stats = watcher.stats();
    assert_eq!((stats.calls, stats.denied), (admitted, denied), "what was counted");
    assert_eq!(files, files_after, "descriptors");
    // The allocator may take another arena; a leak would be thousands.
    assert!(maps_after <= maps + 4, "{maps} and {maps_after} mappings");
    assert!(memory_after <= memory + 512, "{memory} and {memory_after} kB");
    pool.join();
    let free = || watcher.inspect().is_ok_and(|seen| seen.attached.len() == 1 && seen.permits_held == 0);
    assert!(eventually(Duration::from_secs(2), free), "{:?}", watcher.inspect());
    assert_eq!(std::fs::read_dir(arena.dir()).unwrap().count(), 1);
}

#[test]
fn ten_thousand_children_of_a_word_limiter_leak_nothing() {
    fork_children("bucket:6000/366d:6000", 0, 6_000);
}

/// 16 seats and 4 permits, most of which are left by the dead each time.
#[test]
fn ten_thousand_children_with_records_and_permits_leak_nothing() {
    fork_children("fixed:6000/366d+greedy:6000/366d", 4, 6_000);
}
