//! Changes while others use the limiter, and changers that are killed in the middle of them.

use harness::{Arena, Job, Rng, WorkerPool, alone, log_uncaptured};
use shm_lib::Limit;
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// Lets a pool use the limiter while `changers` processes do `orders`, and kills these at random for `span`.
fn beside_killed_changers(arena: &Arena, users: &[Job], orders: &Job, changers: usize, span: Duration) {
    let watcher = arena.open();
    let mut pool = WorkerPool::new(WORKER);
    pool.spawn_many(orders, changers);
    for user in users {
        pool.spawn_many(user, 4);
    }
    pool.start();
    let mut rng = Rng::new();
    let end = Instant::now() + span;
    let mut kills = 0;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_micros(5_000 + rng.below(15_000)));
        pool.replace(rng.below(changers as u64) as usize, orders);
        kills += 1;
    }
    pool.kill_all();
    let seen = watcher.inspect().expect("a healthy limiter");
    log_uncaptured(&format!(
        "{}: {} changes, {kills} changers killed, {} admitted in {span:?}",
        arena.limit(),
        seen.changes,
        seen.counts.calls
    ));
    assert!(seen.changes > 500, "only {} changes", seen.changes);
    assert!(seen.counts.calls > 0);
}

/// Thousands of no-op changes, by changers that are killed at random instants: what is admitted is at most what one unchanged
/// limiter would have admitted. No usage is forgotten, no admission in flight is lost.
fn no_op_changes(rate: &str, burst: u64) {
    let _alone = alone();
    let arena = Arena::new(rate, burst);
    let users = ["try", "wait"].map(|how| arena.job("hammer").set("how", how));
    beside_killed_changers(&arena, &users, &arena.job("change"), 3, Duration::from_secs(3));
    arena.assert_never_over(arena.limit());
}

#[test]
fn no_op_changes_admit_nothing_extra_from_a_patient_limiter() {
    no_op_changes("1000/s", 1);
}

#[test]
fn no_op_changes_admit_nothing_extra_from_a_slow_limiter() {
    no_op_changes("7/s", 1);
}

#[test]
fn no_op_changes_admit_nothing_extra_from_a_burst() {
    no_op_changes("3000/s", 30);
}

#[test]
fn no_op_changes_admit_nothing_extra_at_an_awkward_rate() {
    no_op_changes("100003/s", 300);
}

/// Several processes that are killed at random change the rate, pause and reset at random: no user gets an error or stalls, and
/// afterwards the limiter works as a new one.
#[test]
fn killed_changers_leave_a_healthy_limiter() {
    let _alone = alone();
    let arena = Arena::new("1000/s", 10);
    let limit = arena.open();
    let as_it_is = |mode| arena.job(mode).set("as", "it-is");
    let users = ["try", "wait"].map(|how| as_it_is("hammer").set("how", how));
    beside_killed_changers(&arena, &users, &as_it_is("fire"), 4, Duration::from_secs(4));

    let calm = Limit::with_burst("5000/s".parse().unwrap(), 50).unwrap();
    limit.resume().unwrap();
    limit.change_policy(calm).unwrap();
    limit.reset().unwrap();
    let since = shm_lib::now().as_nanos();
    let mut pool = WorkerPool::new(WORKER);
    pool.spawn_many(&as_it_is("hammer").set("how", "try"), 4);
    pool.start();
    std::thread::sleep(Duration::from_millis(500));
    pool.kill_all();
    let times: Vec<u64> = arena.times().into_iter().filter(|&at| at >= since).collect();
    assert!(times.len() > 1_000, "{} admitted in 500 ms at 5000/s", times.len());
    harness::arena::assert_never_over(calm, &times);
}

/// The next decision completes what a killed changer had begun, and the next change finds the lock free.
#[test]
fn a_killed_changers_change_is_atomic() {
    let _alone = alone();
    let arena = Arena::new("1000/s", 10);
    let watcher = arena.open();
    let mut rng = Rng::new();
    for _ in 0..60 {
        let mut pool = WorkerPool::new(WORKER);
        let changer = pool.spawn(&arena.job("change"));
        pool.start();
        std::thread::sleep(Duration::from_micros(rng.below(3_000)));
        pool.kill(changer);
        pool.kill_all();
        assert_eq!(watcher.limit().unwrap(), arena.limit());
        let _ = watcher.try_acquire(1).unwrap();
        // The lock died with its holder.
        watcher.change_policy(arena.limit()).unwrap();
        watcher.inspect().unwrap();
    }
}
