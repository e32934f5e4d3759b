//! Processes that are stopped in the middle of requests for a key: the others go on with the same key.

use harness::{Arena, Rng, WorkerPool, alone, arena, eventually};
use nix::sys::signal::Signal;
use shm_lib::Limit;
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const SURELY: Duration = Duration::from_millis(250);

#[test]
fn requests_for_a_key_go_on_beside_stopped_processes() {
    let _alone = alone();
    for (how, rate, burst) in [("try", "20000/s", 2_000), ("many", "20000/s", 2_000), ("wait", "2000/s", 1)] {
        let arena = Arena::with_policy(&format!("key-bucket:{rate}:{burst}"), 0);
        let watcher = arena.job("watcher").open_keys().unwrap();
        let mut pool = WorkerPool::new(WORKER);
        pool.spawn_many(&arena.job("key-hammer").set("how", how), 8);
        pool.start();
        let mut rng = Rng::new();
        for _ in 0..6 {
            for index in 0..4 {
                std::thread::sleep(Duration::from_micros(rng.below(3_000)));
                pool.signal(index, Signal::SIGSTOP);
            }
            let before = watcher.all_keys().stats().calls;
            let progress = eventually(SURELY, || watcher.all_keys().stats().calls > before + 20);
            // Nor does a caller here wait for them.
            let began = Instant::now();
            let outcome = watcher.key("cold").acquire(1).timeout(Duration::from_secs(1)).wait().unwrap();
            let took = began.elapsed();
            (0..4).for_each(|index| pool.signal(index, Signal::SIGCONT));
            assert!(progress, "{how}: the others stand still with the stopped");
            assert!(outcome.is_admitted() && took < SURELY, "{how}: another key needed {took:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        pool.kill_all();
        arena::assert_never_over(Limit::with_burst(rate.parse().unwrap(), burst).unwrap(), &arena.times());
    }
}
