//! The worker process of the tests. The first argument says what it does; see `work/`.

#![deny(unsafe_code)]

mod work {
    pub(crate) mod ahead;
    pub(crate) mod constrained;
    pub(crate) mod control;
    pub(crate) mod controller;
    pub(crate) mod copies;
    pub(crate) mod fork_pool;
    pub(crate) mod fork_storm;
    pub(crate) mod forks;
    pub(crate) mod fuzz;
    pub(crate) mod hammer;
    pub(crate) mod holding;
    pub(crate) mod key_orders;
    pub(crate) mod key_storm;
    pub(crate) mod keys;
    pub(crate) mod mixed;
    pub(crate) mod race;
    pub(crate) mod repl;
    pub(crate) mod sleepers;
    pub(crate) mod storm;
    #[cfg(target_arch = "x86_64")]
    pub(crate) mod victim;
}

use harness::{Job, load, raw, ready};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use shm_lib::RateLimit;
use std::fs::File;

fn main() {
    // Whatever happens to the test, no worker is left behind.
    set_pdeathsig(Signal::SIGKILL).expect("to die with the test");
    let job = Job::parse(std::env::args().skip(1));
    // It sees the mounts that the process with this PID sees.
    let pid = job.number_or("mounts-of", 0);
    if pid > 0 {
        let mounts = File::open(format!("/proc/{pid}/ns/mnt")).expect("its mounts");
        setns(mounts, CloneFlags::CLONE_NEWNS).expect("to see its mounts");
    }
    match job.mode() {
        "fork_pool" => work::fork_pool::run(&job),
        "fuzz" => work::fuzz::run(&job),
        load::CLIENT => load::client::run(&job),
        _ => run(&job, None),
    }
}

/// Does the job, with a handle inherited by fork if there is one.
fn run(job: &Job, inherited: Option<RateLimit>) {
    let limit = || {
        let limit = inherited.unwrap_or_else(|| job.join().expect("the limiter"));
        if job.number_or("closefrom", 0) == 1 {
            raw::close_from(3).expect("to close them");
        }
        limit
    };
    match job.mode() {
        "hammer" => work::hammer::run(job, &limit()),
        "brief" => work::hammer::brief(job, &limit()),
        "mixed" => work::mixed::run(job, &limit()),
        "schedule" => work::ahead::schedule(job, &limit()),
        "reserve" => work::ahead::reserve(job, &limit()),
        "late" => work::ahead::late(job, &limit()),
        "race" => work::race::run(job),
        "sleepers" => work::sleepers::run(job, &limit()),
        "change" => work::control::change(job, &limit()),
        "fire" => work::control::fire(job, &limit()),
        "forks" => work::forks::run(job, &limit()),
        "fork-storm" => work::fork_storm::run(job, &limit()),
        "fork-in-closure" => work::copies::in_closure(job, &limit()),
        "fork-in-handler" => work::copies::in_handler(job, &limit()),
        "fork-by-timer" => work::copies::by_timer(job, &limit()),
        "fork-beside-future" => work::copies::beside_future(job),
        "storm" => work::storm::run(job),
        "key-hammer" => work::keys::hammer(job),
        "key-share" => work::keys::share(job),
        "key-fork-in-handler" => work::keys::fork_in_handler(job),
        "key-fork-beside-waiters" => work::keys::fork_beside_waiters(job),
        "key-storm" => work::key_storm::run(job),
        "controller" => work::controller::run(job),
        #[cfg(target_arch = "x86_64")]
        "victim" => work::victim::run(job),
        #[cfg(target_arch = "x86_64")]
        "traceable" => work::victim::traceable(),
        "remote" => work::repl::run(job),
        "container" => work::repl::contained(job),
        other => panic!("no such work: {other}"),
    }
}
