//! Limits per key: processes share the budget of each key exactly, whatever other keys come in between.

use harness::{Arena, WorkerPool, alone, arena, log, log_uncaptured};
use shm_lib::Limit;
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const KEYS: u64 = 40;
/// Of each key, in more than a year.
const BUDGET: u64 = 100;

/// How often each key was admitted, by the logs.
fn counted(arena: &Arena) -> Vec<u64> {
    let mut counts = vec![0; KEYS as usize];
    log::read(arena.logs()).into_iter().for_each(|key| counts[key as usize - 1] += 1);
    counts
}

/// One by one and in batches, by eight processes, and by children that one of them forks.
#[test]
fn processes_share_the_budget_of_each_key_exactly() {
    for policy in
        ["key-bucket:100/366d:100", "key-bucket:100/366d:100+key-bucket:130/366d:130", "key-sliding:100/366d"]
    {
        for children in [0, 7] {
            let arena = Arena::with_policy(policy, 0);
            let watcher = arena.job("watcher").open_keys().unwrap();
            let job = arena.job("key-share").set("keys", KEYS).set("tries", 60).set("children", children);
            let mut pool = WorkerPool::new(WORKER);
            pool.spawn_many(&job, if children == 0 { 8 } else { 1 });
            pool.start();
            pool.join();
            let counts = counted(&arena);
            // With several limits, a loser of a race for the last call may leave one charged in the faster limit only.
            assert_eq!(counts, vec![BUDGET; KEYS as usize], "{policy}, {children} children");
            for key in 0..KEYS {
                assert!(!watcher.key(key).try_acquire(1).unwrap().is_admitted(), "{policy}: {key}");
            }
            assert_eq!(watcher.table_status().unwrap().forgotten.total, 0);
        }
    }
}

/// Far more keys than the table has slots, from eight processes: no key is over, though nearly all are forgotten again and again.
#[test]
fn no_key_of_a_crowded_table_is_over() {
    let arena = Arena::with_policy("key-bucket:100/366d:100", 0);
    let watcher = arena.job("watcher").open_keys().unwrap();
    let mut pool = WorkerPool::new(WORKER);
    pool.spawn_many(&arena.job("key-share").set("keys", KEYS).set("tries", 200), 8);
    pool.start();
    let mut stranger = KEYS;
    while watcher.table_status().unwrap().forgotten.total < 5_000 && stranger < 100_000 {
        let _ = watcher.key(stranger).charge(1).unwrap();
        stranger += 1;
        let _ = watcher.key(stranger).try_acquire(1).unwrap();
    }
    pool.join();
    let forgotten = watcher.table_status().unwrap().forgotten.total;
    let counts = counted(&arena);
    log_uncaptured(&format!(
        "{stranger} keys in 256 slots, {forgotten} forgotten: {counts:?} admitted of {BUDGET}"
    ));
    assert!(forgotten > 100, "{forgotten} forgotten");
    assert!(counts.iter().all(|&count| count <= BUDGET), "{counts:?}");
}

/// A key that eight processes ask for all the time, some of them killed, gets its rate and not more.
#[test]
fn a_hot_key_is_never_over_under_kills() {
    let _alone = alone();
    for (how, rate, burst) in [("try", "20000/s", 100), ("many", "5000/s", 20), ("wait", "2000/s", 1)] {
        let arena = Arena::with_policy(&format!("key-bucket:{rate}:{burst}"), 0);
        let _watcher = arena.job("watcher").open_keys().unwrap();
        let limit = Limit::with_burst(rate.parse().unwrap(), burst).unwrap();
        let job = arena.job("key-hammer").set("how", how);
        let mut pool = WorkerPool::new(WORKER);
        pool.spawn_many(&job, 8);
        pool.start();
        for round in 0..12 {
            std::thread::sleep(Duration::from_millis(60));
            pool.replace(round % 8, &job);
        }
        pool.kill_all();
        let times = arena.times();
        log_uncaptured(&format!("{how} {rate} of one key: {} admitted in about 0.8 s", times.len()));
        assert!(times.len() > 200, "{} admitted", times.len());
        arena::assert_never_over(limit, &times);
    }
}
