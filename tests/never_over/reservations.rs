//! Turns taken ahead of their time by several processes at once: together they keep the limit, and none is lost.

use harness::{Arena, Rng, WorkerPool, alone, log, log_uncaptured};
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// 8 processes ask for 10 schedules each, all at once. Returns all instants, in order.
fn scheduled(arena: &Arena, calls: u64) -> Vec<u64> {
    let watcher = arena.open();
    let mut pool = WorkerPool::new(WORKER);
    pool.spawn_many(&arena.job("schedule").set("rounds", 10).set("calls", calls), 8);
    pool.start();
    pool.join();
    let turns = arena.times();
    assert_eq!(turns.len() as u64, 80 * calls, "turns are lost");
    assert_eq!(watcher.stats().calls, 80 * calls);
    turns
}

/// Turns are queued one after the other: a later schedule begins after all turns before it.
#[test]
fn concurrent_schedules_fill_the_queue_without_gaps() {
    let _alone = alone();
    for policy in ["bucket:1000/s", "bucket:1000/s+bucket:5000/s:100"] {
        let arena = Arena::with_policy(policy, 0);
        let turns = scheduled(&arena, 50);
        // One per millisecond. The first few may come late, if it takes longer to ask than to wait.
        let queued: Vec<u64> =
            turns.windows(2).map(|t| t[1] - t[0]).filter(|&gap| gap != 1_000_000).collect();
        assert!(queued.iter().all(|&gap| gap > 1_000_000), "too soon: {queued:?}");
        assert!(queued.len() < 5, "holes in the queue: {queued:?}");
        arena.assert_all_kept(&turns.into_iter().map(|at| (1, at)).collect::<Vec<_>>());
    }
}

#[test]
fn concurrent_schedules_keep_every_kind_of_limit() {
    let _alone = alone();
    for policy in [
        "bucket:1000/s:100",
        "greedy:100/50ms",
        "fixed:100/50ms",
        "first:100/50ms",
        "sliding:100/50ms",
        "greedy:100/50ms+fixed:500/200ms+bucket:2500/s:50",
    ] {
        let arena = Arena::with_policy(policy, 0);
        let turns: Vec<(u64, u64)> = scheduled(&arena, 25).into_iter().map(|at| (1, at)).collect();
        arena.assert_all_kept(&turns);
        // 2000 turns at 2000 a second, or 2500.
        let span = Duration::from_nanos(turns.last().unwrap().1 - turns[0].1);
        assert!(span < Duration::from_secs(3), "{policy}: spread over {span:?}");
    }
}

/// Cancelling a turn that is no longer the last one forfeits it; the later ones stay taken.
#[test]
fn cancelling_an_earlier_turn_takes_nothing_from_later_ones() {
    for policy in ["bucket:10/366d:10", "greedy:10/366d", "fixed:10/366d+bucket:10/366d:10"] {
        let arena = Arena::with_policy(policy, 0);
        let limit = arena.open();
        let first = limit.reserve(1).unwrap();
        let second = limit.reserve(1).unwrap();
        assert!(!first.cancel(), "{policy}: not the last one");
        let _ = second.commit().unwrap();
        assert_eq!(limit.status().unwrap().used, 2, "{policy}");
        assert!(limit.reserve(1).unwrap().cancel(), "{policy}: the last one");
        let left = (0..20).filter(|_| limit.try_acquire(1).unwrap().is_admitted()).count();
        assert_eq!(left, 8, "{policy}");
    }
}

/// Processes that are killed use, cancel and drop reservations: the used ones keep the limit, and afterwards everything is
/// delivered again.
#[test]
fn reservations_under_kills_keep_every_window() {
    let _alone = alone();
    for (policy, nominal) in [
        ("bucket:2000/s:20", 2_000.0),
        ("greedy:200/100ms", 2_000.0),
        ("greedy:100/50ms+fixed:250/100ms+bucket:5000/s:100", 2_000.0),
        ("sliding:200/100ms+bucket:2000/s:40", 2_000.0),
    ] {
        let arena = Arena::with_policy(policy, 0);
        let watcher = arena.open();
        let job = arena.job("reserve");
        let mut pool = WorkerPool::new(WORKER);
        pool.spawn_many(&job, 8);
        pool.start();
        let mut rng = Rng::new();
        let end = Instant::now() + Duration::from_secs(2);
        let mut kills = 0;
        while Instant::now() < end {
            std::thread::sleep(Duration::from_micros(rng.below(20_000)));
            pool.replace(rng.below(8) as usize, &job);
            kills += 1;
        }
        pool.kill_all();
        let over = shm_lib::now();
        let used = used(&arena);
        arena.assert_all_kept(&used);

        // What was reserved by the dead passes within 0.2 s.
        let mut pool = WorkerPool::new(WORKER);
        pool.spawn_many(&arena.job("mixed"), 8);
        pool.start();
        std::thread::sleep(Duration::from_secs(1));
        pool.kill_all();
        watcher.inspect().expect("a healthy limiter");
        let all = self::used(&arena);
        arena.assert_all_kept(&all);
        // Whole periods of each of the limits.
        let from = over.plus(Duration::from_millis(400)).as_nanos();
        let span = from..from + 600_000_000;
        let part = all.iter().filter(|(_, at)| span.contains(at)).count() as f64 / 0.6 / nominal;
        log_uncaptured(&format!(
            "{policy}: {kills} kills, {} turns used; afterwards {:.1} % of nominal",
            used.len(),
            100.0 * part
        ));
        assert!(used.len() > 500);
        assert!(part > 0.5, "{policy}: only {:.1} % of nominal afterwards", 100.0 * part);
    }
}

/// `1, at` of each that was used.
fn used(arena: &Arena) -> Vec<(u64, u64)> {
    log::read_each(arena.logs())
        .iter()
        .flat_map(|words| words.chunks_exact(2).map(|w| (w[0], w[1])).collect::<Vec<_>>())
        .collect()
}
