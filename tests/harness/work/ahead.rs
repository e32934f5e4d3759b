//! Turns taken ahead: schedules, reservations that are used, given back or dropped, and calls made late.

use harness::log::Log;
use harness::{Job, Rng};
use shm_lib::RateLimit;
use std::time::{Duration, Instant};

/// `rounds=` times a schedule for `calls=`; each instant is logged.
pub(crate) fn schedule(job: &Job, limit: &RateLimit) {
    crate::ready();
    let mut log = Log::create(&job.path("logs"));
    for _ in 0..job.number("rounds") {
        let turns = limit.schedule(1, job.number("calls") as usize).expect("a schedule");
        assert!(turns.is_sorted(), "turns out of order");
        turns.into_iter().for_each(|at| log.admitted(at));
    }
}

/// Reserves, and commits, waits, cancels, drops or settles for less, at random, for `for=` milliseconds or until killed.
/// The instants of what was used are logged as `1, at`.
pub(crate) fn reserve(job: &Job, limit: &RateLimit) {
    crate::ready();
    let end = Instant::now() + job.duration();
    std::thread::scope(|scope| {
        for _ in 0..job.number_or("threads", 2) {
            scope.spawn(|| {
                let mut rng = Rng::new();
                let mut log = Log::create(&job.path("logs"));
                let mut used = |at| {
                    log.push(1);
                    log.admitted(at);
                };
                while Instant::now() < end {
                    let turn = limit.reserve(1).expect("a turn");
                    // The queue is too long to wait for.
                    if turn.wait_time() > Duration::from_millis(200) {
                        turn.cancel();
                        std::thread::sleep(Duration::from_millis(1));
                        continue;
                    }
                    match rng.below(6) {
                        0 => used(turn.commit().expect("its own turn").at()),
                        1 => used(turn.wait().expect("its turn").at()),
                        2 => drop(turn),
                        // By then other turns mostly come after it.
                        3 => {
                            std::thread::sleep(Duration::from_micros(rng.below(300)));
                            turn.cancel();
                        }
                        _ => drop(turn.cancel()),
                    }
                }
            });
        }
    });
}

/// Calls a server after each admission, late by up to `late=` µs, and logs when the call arrives. A call that the scheduler
/// delays for longer than that is left out.
pub(crate) fn late(job: &Job, limit: &RateLimit) {
    crate::ready();
    let end = Instant::now() + job.duration();
    let latest = Duration::from_micros(job.number("late"));
    std::thread::scope(|scope| {
        for _ in 0..job.number_or("threads", 2) {
            scope.spawn(|| {
                let mut rng = Rng::new();
                let mut log = Log::create(&job.path("logs"));
                while Instant::now() < end {
                    let at = limit.wait().expect("a turn").at();
                    let arrival = at.plus(latest.mul_f64(rng.below(96) as f64 / 100.0));
                    std::thread::sleep(arrival.since(shm_lib::now()));
                    let now = shm_lib::now();
                    if now <= at.plus(latest) {
                        log.admitted(now);
                    } else {
                        println!("held up");
                    }
                }
            });
        }
    });
}
