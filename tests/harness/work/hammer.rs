//! Takes as much as the limiter admits.

use harness::Job;
use harness::log::Log;
use shm_lib::{ErrorKind, Outcome, RateLimit, Result};
use std::time::Instant;

/// `threads=` threads ask all the time, by `how=try` or `how=wait`, for `for=` milliseconds or until killed.
/// With `until=Retired` and the like, a thread ends well with that error.
pub(crate) fn run(job: &Job, limit: &RateLimit) {
    crate::ready();
    let end = Instant::now() + job.duration();
    let logs = job.path("logs");
    let ask: fn(&RateLimit) -> Result<Outcome> = match job.text("how") {
        "try" => |limit| limit.try_acquire(1),
        "wait" => |limit| limit.wait().map(Outcome::Admitted),
        other => panic!("ask how? {other}"),
    };
    let until = job.text_or("until", "");
    std::thread::scope(|scope| {
        for _ in 0..job.number_or("threads", 2) {
            scope.spawn(|| {
                let mut log = Log::create(&logs);
                loop {
                    match ask(limit) {
                        Ok(Outcome::Admitted(admission)) => log.admitted(admission.at()),
                        // Reading the clock for each of millions of admissions would be most of the work.
                        Ok(Outcome::Denied(_)) => {
                            if Instant::now() >= end {
                                break;
                            }
                        }
                        Err(e) if named(e.kind()) == until => {
                            println!("{until} {}", shm_lib::now().as_nanos());
                            break;
                        }
                        Err(e) => panic!("{e:?}"),
                    }
                }
            });
        }
    });
}

/// Asks `tries=` times, reports `done` or that it has no seat, and ends; or, with `linger=1`, stays to be killed.
pub(crate) fn brief(job: &Job, limit: &RateLimit) {
    crate::ready();
    let mut log = Log::create(&job.path("logs"));
    let mut end = "done".to_owned();
    for _ in 0..job.number("tries") {
        match limit.try_acquire(1) {
            Ok(Outcome::Admitted(admission)) => log.admitted(admission.at()),
            Ok(Outcome::Denied(_)) => {}
            Err(e) if e.kind() == ErrorKind::NoSeat => end = named(e.kind()),
            Err(e) => panic!("{e:?}"),
        }
    }
    println!("{end}");
    while job.number_or("linger", 0) == 1 {
        std::thread::park();
    }
}

pub(crate) fn named(kind: ErrorKind) -> String {
    format!("{kind:?}")
}
