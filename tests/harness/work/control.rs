//! Changes a limiter while others use it.

use harness::{Job, Rng};
use shm_lib::{Limit, Rate, RateLimit};
use std::time::{Duration, Instant};

/// Makes no-op changes, over and over, for `for=` milliseconds. Sleeps `gap=` µs in between.
pub(crate) fn change(job: &Job, limit: &RateLimit) {
    let same = limit.limit().expect("its limit");
    let gap = Duration::from_micros(job.number_or("gap", 0));
    crate::ready();
    let end = Instant::now() + job.duration();
    while Instant::now() < end {
        limit.change_policy(same).expect("a change");
        if !gap.is_zero() {
            std::thread::sleep(gap);
        }
    }
}

/// Changes, pauses, resumes and resets, in random order, for `for=` milliseconds.
pub(crate) fn fire(job: &Job, limit: &RateLimit) {
    crate::ready();
    let mut rng = Rng::new();
    let end = Instant::now() + job.duration();
    while Instant::now() < end {
        let done = match rng.below(6) {
            0 => limit.pause_for(Duration::from_millis(rng.below(5))),
            1 => limit.resume(),
            2 => limit.reset(),
            _ => {
                let rate = Rate::new(1 + rng.below(50_000), Duration::from_secs(1)).expect("a rate");
                limit.change_policy(Limit::with_burst(rate, 1 + rng.below(100)).expect("a limit"))
            }
        };
        done.expect("a change");
    }
}
