//! Forks and limits per key: in the middle of requests, beside callers that wait, and of workers that share one handle.

use crate::forks_in_calls::admitted_beside_forks;
use harness::{Arena, WorkerPool, alone, arena, log};
use shm_lib::Limit;
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// Neither the key is over, nor the limit of all keys.
#[test]
fn a_fork_in_a_signal_handler_admits_nothing_extra_of_a_key() {
    const FORKS: u64 = 1_500;
    let _alone = alone();
    for (policy, rate) in
        [("key-bucket:20000/s", "20000/s"), ("bucket:10000/s+key-bucket:20000/s", "10000/s")]
    {
        let arena = Arena::with_policy(policy, 0).seats(1_000);
        let _watcher = arena.job("watcher").open_keys().unwrap();
        let times = admitted_beside_forks(&arena, "key-fork-in-handler", FORKS);
        arena::assert_never_over(Limit::with_burst(rate.parse().unwrap(), 1).unwrap(), &times);
    }
}

/// Three threads and a future wait for a key when their process forks. The child has copies of them that nobody runs; its own
/// callers, a copy of the future included, get turns of their own, and those of the parent are served.
#[test]
fn callers_of_a_forked_child_get_turns_of_their_own_beside_waiters_of_its_parent() {
    for policy in ["key-bucket:8/s", "bucket:100/s+key-bucket:8/s"] {
        let arena = Arena::with_policy(policy, 0);
        let _watcher = arena.job("watcher").open_keys().unwrap();
        let mut pool = WorkerPool::new(WORKER);
        pool.spawn_many(&arena.job("key-fork-beside-waiters"), 2);
        pool.start();
        let began = Instant::now();
        pool.join();
        let times = log::read(arena.logs());
        // Three threads and a future in each parent, a thread and the copy in each child.
        assert_eq!(times.len(), 12, "{policy}: {times:?}");
        arena::assert_never_over(Limit::with_burst("8/s".parse().unwrap(), 1).unwrap(), &times);
        // Twelve turns take one and a half seconds.
        assert!(began.elapsed() < Duration::from_secs(4), "{policy}: {:?}", began.elapsed());
    }
}

/// Workers of a server that are forked after it has opened the limiter and used it.
#[test]
fn forked_workers_share_one_handle_and_the_budget_of_each_key() {
    const KEYS: u64 = 20;
    for policy in ["key-bucket:50/366d:50", "bucket:100000/366d:100000+key-bucket:50/366d:50"] {
        let arena = Arena::with_policy(policy, 0);
        let watcher = arena.job("watcher").open_keys().unwrap();
        let mut pool = WorkerPool::new(WORKER);
        pool.spawn(&arena.job("key-share").set("keys", KEYS).set("tries", 40).set("children", 8));
        pool.start();
        pool.join();
        let mut counts = vec![0; KEYS as usize];
        log::read(arena.logs()).into_iter().for_each(|key| counts[key as usize - 1] += 1);
        assert_eq!(counts, vec![50; KEYS as usize], "{policy}");
        let attached = watcher.all_keys().inspect().unwrap().attached;
        assert!(attached.iter().all(|a| a.pid == std::process::id()), "{policy}: {attached:?}");
    }
}
