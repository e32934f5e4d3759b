//! Processes that are killed at random instants: the limits are kept, and their seats are free.

use harness::{Arena, Rng, WorkerPool, alone, eventually, log_uncaptured};
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// 16 processes ask all the time; one after another is killed at a random instant and replaced.
#[test]
fn killed_processes_keep_the_limit_and_free_their_seats() {
    let _alone = alone();
    const KILLS: usize = 150;
    for (how, rate, burst) in [("try", "50000/s", 5_000), ("wait", "5000/s", 1)] {
        let arena = Arena::new(rate, burst);
        let job = arena.job("hammer").set("how", how).set("threads", 2);
        let watcher = arena.open();
        let mut pool = WorkerPool::new(WORKER);
        pool.spawn_many(&job, 16);
        pool.start();
        let mut rng = Rng::new();
        for _ in 0..KILLS {
            std::thread::sleep(Duration::from_micros(rng.below(20_000)));
            pool.replace(rng.below(16) as usize, &job);
        }
        let alive: Vec<u32> = (0..16).map(|i| pool.pid(i)).collect();
        assert!(
            eventually(Duration::from_secs(5), || alive.iter().all(|pid| attached(&watcher).contains(pid))),
            "a living process is not listed"
        );
        // Only the watcher and the living processes: the kernel frees the seats of the dead ones.
        assert_eq!(attached(&watcher).len(), 17);
        pool.kill_all();
        assert_eq!(attached(&watcher), [std::process::id()]);

        let logged = arena.times().len() as u64;
        let counted = watcher.stats().calls;
        // A thread is killed at most once between being counted and writing that down, or between taking and being counted.
        let killed_threads = 2 * (KILLS as u64 + 16);
        assert!(counted <= logged + killed_threads, "{counted} counted, {logged} logged");
        assert!(logged <= counted, "{logged} logged, {counted} counted");
        log_uncaptured(&format!("{how}: {KILLS} kills, {logged} logged, {counted} counted"));
        arena.assert_never_over(arena.limit());
        assert!(watcher.inspect().is_ok());
    }
}

fn attached(limit: &shm_lib::RateLimit) -> Vec<u32> {
    limit.inspect().expect("a healthy limiter").attached.iter().map(|a| a.pid).collect()
}

/// 8 seats, and hundreds of processes over time: some leave, some are killed while they hold a seat. Each takes from the one
/// budget and is counted.
#[test]
fn dead_processes_seats_are_reused_and_all_requests_counted() {
    let _alone = alone();
    let arena = Arena::with_fixed_budget(700).seats(8);
    let watcher = arena.open();
    let brief = arena.job("brief").set("tries", 10);
    let lingering = brief.clone().set("linger", 1);

    for k in 0..40 {
        let mut pool = WorkerPool::new(WORKER);
        pool.spawn(if k % 2 == 0 { &brief } else { &lingering });
        pool.start();
        assert_eq!(pool.next_line(Duration::from_secs(30)).as_deref(), Some("done"));
        let seats = watcher.inspect().unwrap().attached;
        assert!(seats.len() <= 2, "the seat of a dead process is still listed: {seats:?}");
        pool.kill_all();
    }
    assert_eq!(watcher.stats().calls, 400);

    // More than the seats at once: those without are limited all the same, and counted together.
    for _ in 0..3 {
        let mut pool = WorkerPool::new(WORKER);
        pool.spawn_many(&lingering, 20);
        pool.start();
        for _ in 0..20 {
            assert_eq!(pool.next_line(Duration::from_secs(30)).as_deref(), Some("done"));
        }
        assert_eq!(watcher.inspect().unwrap().attached.len(), 8);
        pool.kill_all();
    }
    let stats = watcher.stats();
    assert_eq!((stats.calls, stats.denied), (700, 300));
    assert_eq!(arena.times().len(), 700);
    assert_eq!(attached(&watcher), [std::process::id()]);
}
