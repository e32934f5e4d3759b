//! Forks again and again while its own threads use the limiter.

use harness::log::Log;
use harness::{Job, raw};
use nix::sys::wait::{WaitStatus, waitpid};
use shm_lib::{Outcome, RateLimit};
use std::sync::atomic::{AtomicBool, Ordering};

/// Two threads take what they get; meanwhile a third one forks `children=` children, each of which tries `tries=` times with the
/// inherited handle and ends.
pub(crate) fn run(job: &Job, limit: &RateLimit) {
    crate::ready();
    let logs = job.path("logs");
    let over = AtomicBool::new(false);
    let take = |log: &mut Log| match limit.try_acquire(1).expect("a decision") {
        Outcome::Admitted(admission) => log.admitted(admission.at()),
        Outcome::Denied(_) => {}
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut log = Log::create(&logs);
                while !over.load(Ordering::Relaxed) {
                    take(&mut log);
                }
            });
        }
        for _ in 0..job.number("children") {
            let Some(child) = raw::fork().expect("a child") else {
                let mut log = Log::create(&logs);
                (0..job.number("tries")).for_each(|_| take(&mut log));
                raw::exit_now(0);
            };
            let end = waitpid(child, None).expect("the child's end");
            assert!(matches!(end, WaitStatus::Exited(_, 0)), "a forked child ended with {end:?}");
        }
        over.store(true, Ordering::Relaxed);
    });
}
