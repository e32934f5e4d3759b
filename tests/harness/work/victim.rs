//! Does one thing between two marks, for a tracer that kills or stops it at an instruction in between.
//!
//! What it says in the end: how many tokens it has taken in all, and for when the last one was.

use harness::{Job, raw};
use nix::sys::ptrace;
use shm_lib::{Outcome, RateLimit, Request};
use std::hint::black_box;
use std::time::Duration;

const YEAR: Duration = Duration::from_secs(366 * 86_400);
/// Nothing takes so long. The tracer sees the signal, and that something hangs.
const PATIENCE_S: u32 = 30;

pub(crate) fn run(job: &Job) {
    ptrace::traceme().expect("a parent that traces");
    nix::unistd::alarm::set(PATIENCE_S);
    let (tokens, at) = act(job);
    println!("{tokens} {at}");
}

/// Whether it can be done here.
pub(crate) fn traceable() {
    ptrace::traceme().expect("a parent that may trace");
}

/// Tokens, and when the last one's turn is.
type Taken = (u64, u64);

fn act(job: &Job) -> Taken {
    match job.text("do") {
        "open" | "create" => {
            let limit = observed(|| job.open_only()).expect("the limiter");
            told(limit.try_acquire().expect("a decision"))
        }
        // The first request of this process.
        "seat" => {
            let limit = job.open_only().expect("the limiter");
            told(observed(|| limit.try_acquire()).expect("a decision"))
        }
        "drop" => {
            let limit = job.open().expect("the limiter");
            let taken = told(limit.try_acquire().expect("a decision"));
            observed(|| drop(limit));
            taken
        }
        what => with_seat(what, &job.open().expect("the limiter")),
    }
}

/// In a process that has its seat and has read the clock before.
fn with_seat(what: &str, limit: &RateLimit) -> Taken {
    let take = |n| limit.try_acquire_n(n).expect("a decision");
    let done = |result: shm_lib::Result<()>| {
        result.expect("a change");
        (0, 0)
    };
    match what {
        "try" => {
            let (first, _) = told(take(1));
            let (more, at) = told(observed(|| limit.try_acquire()).expect("a decision"));
            (first + more, at)
        }
        "wait" => {
            let admission = observed(|| limit.wait()).expect("a turn");
            (1, admission.at().as_nanos())
        }
        "reserve" => {
            let turn = observed(|| limit.reserve(1)).expect("a turn");
            (1, turn.commit().expect("our turn").at().as_nanos())
        }
        "schedule" => {
            let turns = observed(|| limit.schedule(3)).expect("turns");
            (turns.len() as u64, 0)
        }
        "cancel" => {
            let turn = limit.reserve(1).expect("a turn");
            let at = turn.at().as_nanos();
            let given_back = observed(|| turn.cancel());
            (u64::from(!given_back), at)
        }
        // From what was taken to what was needed, less or more.
        "refund" => (settled(limit, 3, 1), 0),
        "charge" => (settled(limit, 1, 3), 0),
        "permit" => {
            let outcome = observed(|| limit.try_acquire()).expect("a decision");
            (u64::from(outcome.is_admitted()), 0)
        }
        "release" => {
            let held = take(1);
            assert!(held.is_admitted(), "no permit to give back");
            observed(|| drop(held));
            (0, 0)
        }
        "hold-all" => {
            let all: Vec<Outcome> = (0..4).map(|_| take(1)).collect();
            assert!(all.iter().all(Outcome::is_admitted), "no permits to hold");
            observed(|| ());
            (0, 0)
        }
        "change" => done(observed(|| limit.change(1_010, YEAR))),
        "reset" => done(observed(|| limit.reset())),
        "pause" => done(observed(|| limit.pause_for(Duration::from_secs(3_600)))),
        "resume" => done(observed(|| limit.resume())),
        "retire" => done(observed(|| limit.retire())),
        other => panic!("no such operation: {other}"),
    }
}

fn observed<R>(operation: impl FnOnce() -> R) -> R {
    raw::mark();
    let result = black_box(operation());
    raw::mark();
    result
}

fn told(outcome: Outcome) -> Taken {
    match outcome {
        Outcome::Admitted(admission) => (1, admission.at().as_nanos()),
        Outcome::Denied(_) => (0, 0),
    }
}

fn settled(limit: &RateLimit, estimate: u64, actual: u64) -> u64 {
    let mut admission = limit.try_acquire_n(estimate).expect("a decision").admission().expect("tokens");
    observed(|| limit.settle(&mut admission, &Request::calls(actual))).expect("a settlement");
    actual
}
