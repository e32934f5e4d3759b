//! Forks in the middle of a call, after which parent and child are both in it: in the closure of a wait, in a signal handler,
//! beside a waiting future.

use super::straits;
use harness::log::Log;
use harness::raw::{self, Words};
use harness::Job;
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, wait, waitpid};
use nix::unistd::Pid;
use shm_lib::{Admission, Outcome, RateLimit, Request, Timer};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Waits for a turn with a closure that forks `children=` children, and all of them wait on. Each says when its turn was,
/// and holds what it has until its input ends.
pub(crate) fn in_closure(job: &Job, limit: &RateLimit) {
    let mut children = Vec::new();
    let mut left = job.number("children");
    let outcome = limit.wait_unless(1, None, || {
        while left > 0 {
            left -= 1;
            match fork() {
                Some(child) => children.push(child),
                None => (left, children) = (0, Vec::new()),
            }
        }
        false
    });
    let admission = outcome.expect("a decision").admission().expect("a turn");
    say(&admission);
    drop(admission);
    children.into_iter().for_each(reap);
}

/// In a PID namespace in which it is the first process: begins to wait for a turn in a future, forks the first process of
/// another one, and both wait on. Says `forked` first, or why that can't be; then both say when their turn was.
pub(crate) fn beside_future(job: &Job) {
    if let Err(why) = straits::leave(job) {
        println!("{why}");
        return;
    }
    if let Some(first) = fork() {
        return reap(first);
    }
    let limit = job.open().expect("the limiter");
    let request = Request::one();
    let mut waiting = Box::pin(limit.acquire_with(&Pause, &request));
    let mut poll = || waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll().is_pending(), "the turn had come already");
    if let Err(why) = straits::leave(job) {
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
/// is: `forks=` in all. Each child asks on for `childs=` milliseconds, and ends. Of the last admissions `hold=` are held.
///
/// Says `done` when all descendants have ended and this process holds nothing; then it lives until its input ends. What goes
/// wrong in any of them is said, too.
pub(crate) fn in_handler(job: &Job, limit: &RateLimit) {
    // A signal to the group is for all descendants.
    nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0)).expect("a group of its own");
    // In a file, so that all its descendants count together.
    let counter = Words::map(&job.path("counter"), 1).expect("a file to count in");
    let forks = &Box::leak(Box::new(counter)).all()[0];
    forks.store(job.number("forks"), Ordering::Relaxed);
    raw::fork_on(Signal::SIGUSR1, forks).expect("a signal handler");
    crate::ready();

    let logs = job.path("logs");
    let hold = job.number_or("hold", 0) as usize;
    let (mut generation, mut log) = (raw::generation(), Log::create(&logs));
    let mut end = Instant::now() + job.duration();
    let mut held = VecDeque::new();
    while Instant::now() < end {
        let outcome = limit.try_acquire();
        if raw::generation() != generation {
            // Another process than before this call. What its parent holds is its parent's.
            (generation, log) = (raw::generation(), Log::create(&logs));
            end = Instant::now() + Duration::from_millis(job.number("childs"));
        }
        match outcome {
            Ok(Outcome::Admitted(admission)) => {
                log.admitted(admission.at());
                held.push_back(admission);
            }
            Ok(Outcome::Denied(_)) => {}
            Err(e) => return println!("{e}"),
        }
        while held.len() > hold {
            held.pop_front();
        }
    }
    if generation > 0 {
        // As if it was killed: what it holds it does not give back.
        raw::exit_now(0);
    } else {
        held.clear();
        forks.store(0, Ordering::Relaxed);
        // The kernel reaps them; this waits until the last one has ended.
        while wait() != Err(Errno::ECHILD) {}
        println!("done");
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
    }
}

fn fork() -> Option<Pid> {
    let child = raw::fork().expect("a child");
    if child.is_none() {
        set_pdeathsig(Signal::SIGKILL).expect("to die with its parent");
    }
    child
}

fn reap(child: Pid) {
    let end = waitpid(child, None);
    assert!(matches!(end, Ok(WaitStatus::Exited(_, 0))), "a forked child ended with {end:?}");
}

/// Says when the turn was, in one write, and holds it until the input ends.
fn say(admission: &Admission) {
    let line = format!("{}\n", admission.at().as_nanos());
    std::io::stdout().write_all(line.as_bytes()).and_then(|()| std::io::stdout().flush()).expect("an output");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// A timer whose sleeps last from one poll to the next.
struct Pause;

impl Timer for Pause {
    async fn sleep(&self, _: Duration) {
        let mut slept = false;
        std::future::poll_fn(|_| {
            if std::mem::replace(&mut slept, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
