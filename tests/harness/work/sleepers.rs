//! Waits for one call per thread, and reports how that ended.

use super::hammer::named;
use harness::Job;
use shm_lib::RateLimit;

/// `threads=` threads wait once. Each reports `admitted AT NOW` or `error KIND NOW`.
pub(crate) fn run(job: &Job, limit: &RateLimit) {
    crate::ready();
    std::thread::scope(|scope| {
        for _ in 0..job.number("threads") {
            scope.spawn(|| {
                let result = limit.wait();
                let now = shm_lib::now().as_nanos();
                match result {
                    Ok(admission) => println!("admitted {} {now}", admission.at().as_nanos()),
                    Err(e) => println!("error {} {now}", named(e.kind())),
                }
            });
        }
    });
}
