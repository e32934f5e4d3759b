//! Forks in the middle of a call, after which parent and child are both in it: in the closure of a wait, in a signal handler,
//! beside a waiting future.

use super::constrained;
use harness::log::Log;
use harness::raw::{self, MappedWords};
use harness::{Job, Rng};
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, wait, waitpid};
use nix::unistd::Pid;
use shm_lib::{Admission, Outcome, RateLimit, Result};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// How much later a child returns from the signal handler. Its parent has continued meanwhile.
const CHILDS_LATE_US: u64 = 300;

/// Waits for a turn with a closure that forks `children=` children, and all processes continue to wait. Each reports when its
/// turn was, and holds what it has until its input ends.
pub(crate) fn in_closure(job: &Job, limit: &RateLimit) {
    let mut children = Vec::new();
    let mut left = job.number("children");
    let admission = limit
        .acquire(1)
        .stop_when(|| {
            while left > 0 {
                left -= 1;
                match fork() {
                    Some(child) => children.push(child),
                    None => (left, children) = (0, Vec::new()),
                }
            }
            false
        })
        .wait();
    let admission = admission.expect("an admission");
    say(&admission);
    drop(admission);
    children.into_iter().for_each(reap);
}

/// In a PID namespace in which it is the first process: begins to wait for a turn in a future, forks the first process of
/// another one, and both continue to wait. Reports `forked` first, or why that is impossible; then both report when their turn
/// was.
pub(crate) fn beside_future(job: &Job) {
    if let Err(why) = constrained::leave(job) {
        println!("{why}");
        return;
    }
    if let Some(first) = fork() {
        return reap(first);
    }
    let limit = job.open().expect("the limiter");
    let mut waiting = Box::pin(limit.acquire(1).into_future());
    let mut poll = || waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll().is_pending(), "the turn had come already");
    if let Err(why) = constrained::leave(job) {
        println!("{why}");
        return;
    }
    let child = fork();
    if child.is_some() {
        println!("forked");
    }
    assert_eq!(std::process::id(), 1);
    let admission = loop {
        match poll() {
            Poll::Ready(admission) => break admission.expect("a decision"),
            Poll::Pending => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    say(&admission);
    if let Some(child) = child {
        reap(child);
    }
}

/// Asks all the time, for `for=` milliseconds, while each SIGUSR1 forks a child wherever this process or one of its descendants
/// is: `forks=` in all. Each child ends with the call that it was forked in; of those that a signal to the group forks not all
/// are children of this process.
///
/// Reports `done` when all have ended, and what goes wrong in any of them.
pub(crate) fn in_handler(job: &Job, limit: &RateLimit) {
    asked_in_handler(job, || limit.try_acquire(1));
}

/// The same with another call: it asks once.
pub(super) fn asked_in_handler(job: &Job, mut ask: impl FnMut() -> Result<Outcome>) {
    // A signal to the group is for all descendants.
    nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0)).expect("a group of its own");
    // In a file, so that all its descendants count together.
    let counter = MappedWords::map(&job.path("counter"), 1).expect("a file to count in");
    let forks = &Box::leak(Box::new(counter)).all()[0];
    forks.store(job.number("forks"), Ordering::Relaxed);
    raw::fork_on(Signal::SIGUSR1, CHILDS_LATE_US, forks).expect("a signal handler");
    crate::ready();

    let logs = job.path("logs");
    let (mut generation, mut log) = (raw::generation(), Log::create(&logs));
    let mut end = Instant::now() + job.duration();
    while Instant::now() < end {
        let outcome = ask();
        if raw::generation() != generation {
            // Another process than before this call.
            (generation, log) = (raw::generation(), Log::create(&logs));
            end = Instant::now();
        }
        match outcome {
            Ok(Outcome::Admitted(admission)) => log.admitted(admission.at()),
            Ok(Outcome::Denied(_)) => {}
            Err(e) => return println!("{e}"),
        }
    }
    if generation == 0 {
        forks.store(0, Ordering::Relaxed);
        wait_for_all();
        println!("done");
    }
}

/// Takes a permit and releases it, `forks=` times, and forks in between: a timer signal comes in the middle of the call, or soon
/// after it. The child ends while it holds what it got, and the next call has to free that.
///
/// Reports `done`, and holds nothing then; it lives until its input ends.
pub(crate) fn by_timer(job: &Job, limit: &RateLimit) {
    static FORKS: AtomicU64 = AtomicU64::new(u64::MAX);
    raw::fork_on(Signal::SIGUSR1, CHILDS_LATE_US, &FORKS).expect("a signal handler");
    let mut rng = Rng::new();
    for _ in 0..job.number("forks") {
        raw::signal_after(Duration::from_nanos(1_000 + rng.below(20_000)), Signal::SIGUSR1).expect("a timer");
        let outcome = limit.try_acquire(1);
        if raw::generation() > 0 {
            // As if it was killed: it releases nothing.
            raw::exit_now(0);
        }
        drop(outcome.expect("a decision"));
        std::thread::sleep(Duration::from_micros(50));
        wait_for_all();
        if raw::generation() > 0 {
            raw::exit_now(0);
        }
    }
    println!("done");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// The kernel reaps them; this returns when the last one has ended.
fn wait_for_all() {
    while wait() != Err(Errno::ECHILD) {}
}

pub(super) fn fork() -> Option<Pid> {
    let child = raw::fork().expect("a child");
    if child.is_none() {
        set_pdeathsig(Signal::SIGKILL).expect("to die with its parent");
    }
    child
}

pub(super) fn reap(child: Pid) {
    let end = waitpid(child, None);
    assert!(matches!(end, Ok(WaitStatus::Exited(_, 0))), "a forked child ended with {end:?}");
}

/// Reports when the turn was, in one write, and holds it until the input ends.
fn say(admission: &Admission) {
    let line = format!("{}\n", admission.at().as_nanos());
    std::io::stdout().write_all(line.as_bytes()).and_then(|()| std::io::stdout().flush()).expect("an output");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
