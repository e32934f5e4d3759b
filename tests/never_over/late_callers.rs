//! Callers that make their calls late, to a server that counts what arrives and refuses every call too many.

use harness::{Arena, WorkerPool, alone, log_uncaptured};
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const MAX: usize = 40;
const PER: Duration = Duration::from_millis(50);
/// Callers are late by at most this.
const LATE: Duration = Duration::from_millis(5);

/// How many of these arrivals a server refuses that allows `MAX` in any half-open window of `PER`, refused ones counted.
fn refused(arrivals: &[u64]) -> usize {
    assert!(arrivals.is_sorted());
    (MAX..arrivals.len()).filter(|&i| arrivals[i] - arrivals[i - MAX] < PER.as_nanos() as u64).count()
}

/// 64 threads in 8 processes call as often as they may, each call late by up to `LATE`. When the calls arrive.
fn arrivals(policy: &str) -> Vec<u64> {
    let arena = Arena::with_policy(policy, 0);
    let mut pool = WorkerPool::new(WORKER);
    let job = arena.job("late").set("late", LATE.as_micros()).set("threads", 8).set("for", 3_000);
    pool.spawn_many(&job, 8);
    pool.start();
    let held_up = pool.join().len();
    let arrivals = arena.times();
    log_uncaptured(&format!(
        "{policy}: {} calls, {} refused ({held_up} held up by the scheduler and not made)",
        arrivals.len(),
        refused(&arrivals)
    ));
    assert!(arrivals.len() > 500, "only {} calls", arrivals.len());
    arrivals
}

/// The admissions are right, and the server refuses all the same. How many is luck, so it is only shown.
#[test]
fn without_a_guard_late_callers_are_refused_at_times() {
    let _alone = alone();
    arrivals("greedy:40/50ms");
}

/// A window longer by as much as callers may be late: whatever they do, the server never sees one too many.
#[test]
fn with_a_guard_late_callers_are_never_refused() {
    let _alone = alone();
    for policy in ["greedy:40/50ms~5ms", "greedy:40/50ms~6ms+bucket:2000/s:40"] {
        assert_eq!(refused(&arrivals(policy)), 0, "{policy}");
    }
}

/// The server itself.
#[test]
fn the_server_counts_any_window() {
    let spaced: Vec<u64> = (0..200).map(|i| i * 1_250_000).collect();
    assert_eq!(refused(&spaced), 0);
    let mut bunched = spaced;
    bunched[100] -= 1;
    assert_eq!(refused(&bunched), 1);
}
