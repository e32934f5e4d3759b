//! Keyed limiters that are retired, removed or replaced under their users.

use harness::{Arena, RemoteWorker, WorkerPool, policy};
use shm_lib::KeyedRateLimit;
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const BUDGET: u64 = 10;
const POLICIES: [&str; 2] = ["key-bucket:10/366d:10", "bucket:1000/366d:1000+key-bucket:10/366d:10"];

/// Of all processes that had it open, forked children included, one recreates it and the others join that one.
#[test]
fn handles_that_reopen_a_lost_name_share_the_budget_of_each_key() {
    for policy in POLICIES {
        let arena = Arena::with_policy(policy, 0);
        let job = arena.job("remote").set("lost", "reopen");
        let mut workers: Vec<RemoteWorker> = (0..4).map(|_| RemoteWorker::new(WORKER, &job)).collect();
        for worker in &mut workers {
            worker.expect_ok("keys-open");
            worker.ask("fork");
        }
        for round in 0..3 {
            match round {
                0 => arena.job("watcher").open_keys().unwrap().all_keys().retire().unwrap(),
                1 => std::fs::remove_file(arena.file()).unwrap(),
                _ => replace(&arena, policy),
            }
            // Busy or not, each of them looks for its file by then.
            std::thread::sleep(Duration::from_millis(200));
            for key in ["alice", "bob"] {
                workers.iter_mut().for_each(|worker| worker.tell(&format!("key-take {key} 20")));
                let mut got: u64 =
                    workers.iter_mut().map(|worker| worker.answer().parse::<u64>().unwrap()).sum();
                let order = format!("child key-take {key} 20");
                got += workers.iter_mut().map(|worker| worker.numbers(&order)[0]).sum::<u64>();
                assert_eq!(got, BUDGET, "{policy}, round {round}, {key}");
            }
        }
    }
}

/// A new limiter with the same limits and a larger table takes its place.
fn replace(arena: &Arena, policy: &str) {
    let builder = KeyedRateLimit::builder("arena").directory(arena.dir()).capacity(5_000).replace();
    builder.open_policy(policy::parse(policy, 0)).unwrap();
}

/// With `OnLost::Error`, every caller gets the error soon, those that wait for a key included.
#[test]
fn every_caller_of_keys_notices_that_the_limiter_is_retired_or_removed() {
    for policy in ["key-bucket:5/s", "bucket:50/s+key-bucket:5/s"] {
        for end in ["Retired", "Removed"] {
            let arena = Arena::with_policy(policy, 0);
            let limit = arena.job("watcher").open_keys().unwrap();
            let mut pool = WorkerPool::new(WORKER);
            let job = arena.job("key-hammer").set("until", end);
            for how in ["try", "many", "wait"] {
                pool.spawn(&job.clone().set("how", how));
            }
            pool.start();
            std::thread::sleep(Duration::from_millis(100));
            let ended = shm_lib::now();
            match end {
                "Retired" => limit.all_keys().retire().unwrap(),
                _ => std::fs::remove_file(limit.path()).unwrap(),
            }
            let began = Instant::now();
            let said = pool.join();
            assert_eq!(said.len(), 6, "{policy}: {said:?} after {:?}", began.elapsed());
            for line in said {
                let at = line.strip_prefix(end).unwrap().trim().parse().unwrap();
                let after = shm_lib::Nanos::from_nanos(at).since(ended);
                assert!(after < Duration::from_secs(3), "{policy}: {end} is noticed after {after:?}");
            }
        }
    }
}
