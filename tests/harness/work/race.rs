//! Opens names that do not exist, at the same moment as many other processes.

use harness::Job;
use harness::log::Log;
use harness::raw::MappedWords;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Opens the names `r0`, `r1` …, each after all `members=` are there, and writes three words a round: the inode that
/// its name leads to and the tokens it got, both plus one, and whether its handle is the one that others see.
pub(crate) fn run(job: &Job) {
    let members = job.number("members");
    let barrier = MappedWords::map(&job.path("barrier"), 512).expect("the barrier");
    let mut log = Log::create(&job.path("logs"));
    crate::ready();
    for round in 0..job.number("rounds") {
        meet(&barrier.all()[0], (round + 1) * members);
        let limit = job.clone().set("name", format!("r{round}")).open().expect("the limiter");
        let got = u64::from(limit.try_acquire(1).expect("a decision").is_admitted());
        let inode = std::fs::metadata(limit.path()).expect("the limiter's file").ino();
        log.push(inode + 1);
        log.push(got + 1);
    }
}

/// Waits until `count` arrivals.
fn meet(arrived: &AtomicU64, count: u64) {
    arrived.fetch_add(1, Ordering::AcqRel);
    while arrived.load(Ordering::Acquire) < count {
        std::thread::yield_now();
    }
}
