//! Three hundred processes at once, on as many seats and on fewer.

use harness::{Arena, WorkerPool, alone, eventually};
use shm_lib::RateLimit;
use std::collections::HashSet;
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const CROWD: usize = 300;
const PATIENCE: Duration = Duration::from_secs(60);

/// How many processes hold a seat. No seat and no PID is listed twice.
fn seated(limit: &RateLimit) -> usize {
    let all = limit.inspect().expect("a healthy limiter").attached;
    let seats: HashSet<usize> = all.iter().map(|a| a.seat).collect();
    let pids: HashSet<u32> = all.iter().map(|a| a.pid).collect();
    assert_eq!((seats.len(), pids.len()), (all.len(), all.len()), "two in one seat, or one in two");
    all.len()
}

/// Starts all processes, each of which asks `tries` times and stays. Returns how many had no seat.
fn start_all(arena: &Arena, tries: usize) -> (WorkerPool, usize) {
    let mut pool = WorkerPool::new(WORKER);
    pool.spawn_many(&arena.job("brief").set("tries", tries).set("linger", 1), CROWD);
    pool.start();
    let said: Vec<String> = (0..CROWD).map(|_| pool.next_line(PATIENCE).expect("all ask")).collect();
    (pool, said.iter().filter(|line| *line == "NoSeat").count())
}

/// In each of three rounds all seats are taken, each process is counted in its own, and all are free again after the kills.
#[test]
fn three_hundred_seats_are_free_again_after_their_holders_are_killed() {
    let _alone = alone();
    for policy in ["bucket:600/366d:600", "fixed:600/366d+greedy:600/366d"] {
        let arena = Arena::with_policy(policy, 0).seats(CROWD);
        drop(arena.open());
        let watcher = arena.job("watch").attach().expect("the limiter");
        for round in 1..=3 {
            let (pool, seatless) = start_all(&arena, 1);
            assert_eq!((seated(&watcher), seatless), (CROWD, 0), "{policy}");
            let tokens = watcher.stats().calls as usize;
            assert_eq!(tokens, (round * CROWD).min(600), "{policy}");
            pool.kill_all();
            assert!(
                eventually(Duration::from_secs(2), || seated(&watcher) == 0),
                "{policy}: seats of the dead"
            );
        }
        assert_eq!(watcher.stats().denied as usize, 3 * CROWD - 600);
        arena.assert_all_kept(&arena.times().into_iter().map(|at| (1, at)).collect::<Vec<_>>());
    }
}

/// A process that needs no seat is limited and counted without one.
#[test]
fn three_hundred_processes_on_fewer_seats_share_one_budget() {
    let _alone = alone();
    let arena = Arena::with_policy("bucket:1000/366d:1000", 0).seats(100);
    let watcher = arena.open();
    for _ in 0..2 {
        let (pool, seatless) = start_all(&arena, 2);
        assert_eq!((seated(&watcher), seatless), (100, 0));
        pool.kill_all();
    }
    let stats = watcher.stats();
    assert_eq!((stats.calls, stats.denied), (1_000, 200));
    assert_eq!(arena.times().len(), 1_000);
    assert_eq!(seated(&watcher), 1);
}

/// A process that needs a seat and finds none gets `NoSeat` and takes nothing; the seated processes have the whole budget.
#[test]
fn processes_without_a_seat_get_no_seat_where_one_is_needed() {
    let _alone = alone();
    let arena = Arena::with_policy("fixed:1000/366d+greedy:1000/366d", 0).seats(101);
    let watcher = arena.open();
    for round in 1..=2 {
        let (pool, seatless) = start_all(&arena, 2);
        assert_eq!((seated(&watcher), seatless), (101, CROWD - 100));
        assert_eq!(watcher.stats().calls, round * 200);
        pool.kill_all();
        assert!(eventually(Duration::from_secs(2), || seated(&watcher) == 1));
    }
}
