//! Threads of one process that contend: none of them waits for long for another one's operation.

use harness::{alone, log_uncaptured, shared_dir};
use shm_lib::{Limit, RateLimit};
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);

fn builder(dir: &Path) -> shm_lib::Builder {
    RateLimit::builder("r").directory(dir).on_lost(shm_lib::OnLost::Error)
}

/// The first decision of a handle takes a seat, and a change takes the control lock: neither of the two threads may hold
/// what the other one needs while it waits.
#[test]
fn a_change_beside_a_first_decision_takes_less_than_15_ms() {
    let _alone = alone();
    let mut worst = Duration::ZERO;
    for i in 0..3_000u64 {
        let dir = shared_dir();
        let limit = builder(dir.path())
            .burst(10)
            .and(Limit::with_burst("20/h".parse().unwrap(), 20).unwrap())
            .open(10, HOUR)
            .unwrap();
        let both = Barrier::new(2);
        let took = std::thread::scope(|s| {
            s.spawn(|| {
                both.wait();
                for _ in 0..(i % 40) * 50 {
                    std::hint::spin_loop();
                }
                limit.try_acquire(1).unwrap().is_admitted()
            });
            both.wait();
            let began = Instant::now();
            limit.change(20, HOUR).unwrap();
            began.elapsed()
        });
        worst = worst.max(took);
    }
    log_uncaptured(&format!("the slowest change took {worst:?}"));
    assert!(worst < Duration::from_millis(15), "{worst:?}");
}

/// A schedule of 100,000 turns is one retry loop per turn at worst; another handle and a sibling thread change the state all
/// the time.
#[test]
fn a_large_schedule_completes_within_a_second_under_contention() {
    let _alone = alone();
    for records in [false, true] {
        let dir = shared_dir();
        let b = builder(dir.path()).burst(1_000_000);
        let b = if records {
            b.and(Limit::with_burst("1000000000/s".parse().unwrap(), 1_000_000).unwrap())
        } else {
            b
        };
        let limit = b.open(1_000_000_000, SECOND).unwrap();
        let other = builder(dir.path()).attach().unwrap();
        let over = AtomicBool::new(false);
        let took = std::thread::scope(|s| {
            s.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let _ = other.try_acquire(1).unwrap();
                }
            });
            s.spawn(|| {
                std::thread::sleep(Duration::from_secs(4));
                over.store(true, Ordering::Relaxed);
            });
            let longest = s.spawn(|| {
                let mut longest = Duration::ZERO;
                while !over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let _ = limit.try_acquire(1).unwrap();
                    longest = longest.max(began.elapsed());
                    std::thread::sleep(Duration::from_millis(1));
                }
                longest
            });
            std::thread::sleep(Duration::from_millis(20));
            let began = Instant::now();
            let turns = limit.schedule(1, 100_000).unwrap();
            assert_eq!(turns.len(), 100_000);
            let took = began.elapsed();
            over.store(true, Ordering::Relaxed);
            log_uncaptured(&format!(
                "records: {records}: a sibling thread waited for {:?}",
                longest.join().unwrap()
            ));
            took
        });
        assert!(took < SECOND, "records: {records}: {took:?}");
    }
}
