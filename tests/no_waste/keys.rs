//! Callers that wait for a key get its limit in full, and processes that leave take nothing with them.

use harness::arena::{assert_never_over, delivered};
use harness::{Arena, WorkerPool, alone, log_uncaptured};
use shm_lib::Limit;
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const WARM_UP: Duration = Duration::from_millis(300);
const SPAN: Duration = Duration::from_secs(2);
/// As parts of the key's rate; on a machine that does other work as well.
const AT_LEAST: f64 = 0.95;
/// The same for a key beside a limit of all keys: its turns are not charged ahead, so late wake-ups add up.
const AT_LEAST_OF_BOTH: f64 = 0.85;

/// Four processes wait for one key, with two threads each. In the first half of the time two of them are killed.
fn part_delivered(rate: &str, of_all: &str, kills: bool) -> f64 {
    let arena = Arena::with_policy(&format!("{of_all}key-bucket:{rate}"), 0);
    let _watcher = arena.job("watcher").open_keys().unwrap();
    let limit = Limit::with_burst(rate.parse().unwrap(), 1).unwrap();
    let mut pool = WorkerPool::new(WORKER);
    pool.spawn_many(&arena.job("key-hammer").set("how", "wait"), 4);
    pool.start();
    std::thread::sleep(WARM_UP);
    if kills {
        (0..2).for_each(|index| pool.kill(index));
        std::thread::sleep(Duration::from_millis(100));
    }
    let from = shm_lib::now().as_nanos();
    std::thread::sleep(SPAN);
    pool.kill_all();
    let times = arena.times();
    assert_never_over(limit, &times);
    let part = delivered(limit, &times, from, SPAN);
    log_uncaptured(&format!(
        "{of_all}a key of {rate}, kills: {kills}: {:.1} % delivered to waiters",
        100.0 * part
    ));
    part
}

#[test]
fn waiters_for_a_key_get_its_rate_in_full() {
    let _alone = alone();
    for (rate, of_all, kills, least) in [
        ("20/s", "", false, AT_LEAST),
        ("1000/s", "", false, AT_LEAST),
        ("1000/s", "", true, AT_LEAST),
        ("100/s", "bucket:5000/s:100+", true, AT_LEAST_OF_BOTH),
    ] {
        // A disturbed measurement is repeated; that nothing is over has no second try.
        let best = (0..3).map(|_| part_delivered(rate, of_all, kills)).find(|&part| part >= least);
        assert!(best.is_some(), "{rate}, kills: {kills}");
    }
}
