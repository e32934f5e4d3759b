//! 64 processes, half of them forked and half exec'd, with two threads each, on one limiter.

use harness::arena::{assert_never_over, delivered};
use harness::{Arena, WorkerPool, alone, log_uncaptured};
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
/// What is measured.
const SPAN: Duration = Duration::from_secs(5);
/// Until all 128 threads take part and the first burst is used up.
const WARM_UP: Duration = Duration::from_millis(400);
/// The promise, as parts of the nominal rate.
const AT_LEAST: f64 = 0.999;

/// Nothing else on the machine may keep a patient limiter idle for more than 0.1 % of five seconds. Only a machine of
/// one's own can promise that, so a disturbed measurement is repeated. The audit has no second try.
fn hammer(how: &str, rate: &str, burst: u64) {
    let _alone = alone();
    let mut best = 0.0_f64;
    for _ in 0..4 {
        let part = measure(how, rate, burst);
        best = best.max(part);
        if best >= AT_LEAST {
            return;
        }
    }
    panic!("at most {:.3} % of {rate} delivered by {how}", 100.0 * best);
}

fn measure(how: &str, rate: &str, burst: u64) -> f64 {
    let arena = Arena::new(rate, burst);
    let mut pool = WorkerPool::new(WORKER);
    let job = arena.job("hammer").set("how", how).set("threads", 2);
    pool.spawn_many(&job, 32);
    pool.spawn_forked(&job, 32);
    pool.start();
    let start = shm_lib::now().as_nanos();
    std::thread::sleep(WARM_UP + SPAN + Duration::from_millis(100));
    pool.kill_all();
    let times = arena.times();
    assert_never_over(arena.limit(), &times);
    let part = delivered(arena.limit(), &times, start + WARM_UP.as_nanos() as u64, SPAN);
    log_uncaptured(&format!(
        "{how} {rate} burst {burst}: {} admitted, {:.3} % of nominal",
        times.len(),
        100.0 * part
    ));
    // Not over it either, on average over the span: the audit in other words.
    assert!(part <= 1.0 + burst as f64 / (arena.limit().rate().as_per_second() * SPAN.as_secs_f64()) + 1e-6);
    part
}

#[test]
fn waiters_get_exactly_7_per_second() {
    hammer("wait", "7/s", 1);
}

#[test]
fn waiters_get_exactly_1000_per_second() {
    hammer("wait", "1000/s", 1);
}

#[test]
fn waiters_get_exactly_20_000_per_second() {
    hammer("wait", "20000/s", 1);
}

// A patient limiter that is polled loses the time between free and asked, so these have a burst that bridges the gaps
// in which the scheduler runs none of the pollers: 100 ms worth of tokens.

#[test]
fn pollers_get_exactly_1000_per_second() {
    hammer("try", "1000/s", 100);
}

#[test]
fn pollers_get_exactly_100_000_per_second() {
    hammer("try", "100000/s", 10_000);
}

#[test]
fn pollers_get_exactly_a_million_per_second() {
    hammer("try", "1000000/s", 100_000);
}
