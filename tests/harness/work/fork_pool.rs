//! Forks workers that use the handle opened before the fork.

use harness::{Job, raw};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, wait};

pub(crate) fn run(job: &Job) {
    let work = job.as_mode(job.text("work"));
    let limit = work.join().expect("the limiter");
    let children = job.number("children");
    for _ in 0..children {
        if raw::fork().expect("a child").is_none() {
            set_pdeathsig(Signal::SIGKILL).expect("to die with the fork_pool");
            crate::run(&work, Some(limit.clone()));
            std::process::exit(0);
        }
    }
    for _ in 0..children {
        match wait().expect("a child's end") {
            WaitStatus::Exited(_, 0) => {}
            other => panic!("a forked worker ended with {other:?}"),
        }
    }
}
