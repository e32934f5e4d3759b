//! Faults at every instruction: a process is single-stepped through an operation to one of its instructions. There it is killed;
//! or stopped while others work, and then continued; or it forks; or its limiter is retired. Each time no limit is exceeded, no
//! state is torn, nothing is left behind.
//!
//! | module | what |
//! |---|---|
//! | `operation` | the operations |
//! | `route` | how to get to the i-th instruction |
//! | `victim` | a traced process |
//! | `ending` | the fault that hits it there |
//! | `fixture` | the limiter, and what others do with it |
//! | `checks` | what must hold |
//! | `round` | one operation at many of its instructions |
//! | `tally` | what was found there, in numbers |
//! | `busy` | changes beside a stopped changer |

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod busy;
mod checks;
mod ending;
mod fixture;
mod operation;
mod round;
mod route;
mod tally;
mod victim;

use ending::End;
use harness::{Rng, alone, log_uncaptured, skip};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use operation::Operation;
use round::Round;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;
use tally::Tally;

/// Where not all instructions of an operation are tried, reaching those that are takes so many steps at most, together: of a
/// long operation fewer are tried.
const STEPS: usize = 1_000_000;
/// After so many failures of one operation the rest of it is left out, unless all are to be counted.
const FAILURES: usize = 3;

/// Some of every operation's instructions, others each time.
#[test]
fn a_fault_at_a_sample_of_instructions_breaks_no_promise() {
    if let Err(why) = victim::can_be_traced() {
        skip!("{why}");
    }
    let _alone = alone();
    let first = Rng::new().below(1 << 20) as usize;
    run("", "", FAILURES, |operation, len| {
        let every = len.div_ceil(operation.sample.min(STEPS / len).max(5));
        (first % every, every)
    });
}

/// All of them: `cargo xtask faults [--op NAME] [--end NAME] [--every N]`. All that fail are counted.
#[test]
#[ignore = "takes long"]
fn a_fault_at_every_instruction_breaks_no_promise() {
    if let Err(why) = victim::can_be_traced() {
        skip!("{why}");
    }
    let word = |name| std::env::var(name).unwrap_or_default();
    let every = word("SHM_LIMIT_FAULT_EVERY").parse().unwrap_or(1).max(1);
    run(&word("SHM_LIMIT_FAULT_OP"), &word("SHM_LIMIT_FAULT_END"), usize::MAX, |_, _| (0, every));
}

/// Changes wait for a stopped changer, for two seconds; nothing else does.
#[test]
fn a_change_beside_a_stopped_changer_succeeds_or_is_busy() {
    if let Err(why) = victim::can_be_traced() {
        skip!("{why}");
    }
    let _alone = alone();
    for operation in Operation::matching("change-").iter().filter(|it| it.act == "change").take(2) {
        let (done, busy) = busy::changes_beside(operation, 6).unwrap_or_else(|why| panic!("{why}"));
        log_uncaptured(&format!("beside a stopped {}: {done} changes done, {busy} refused", operation.name));
        assert!(done > 0 && busy > 0);
    }
}

/// Injects all faults with this name into all operations with that in their names, each at `points(its length)`: the first
/// instruction and the distance to the next.
///
/// On all processors. A tracer and its victim keep to one of them, since only one of the two runs at a time; on two processors
/// each single step would have to wake the other one.
fn run(name: &str, end: &str, failures: usize, points: impl Fn(&Operation, usize) -> (usize, usize) + Sync) {
    let begun = Instant::now();
    let operations = Operation::matching(name);
    assert!(!operations.is_empty(), "no operation is called {name:?}");
    let ends = End::matching(end);
    assert!(!ends.is_empty(), "no end is called {end:?}");
    let next = AtomicUsize::new(0);
    let on_one = |processor| {
        let mut only = CpuSet::new();
        only.set(processor)
            .and_then(|()| sched_setaffinity(Pid::from_raw(0), &only))
            .expect("a processor of its own");
        let mut failed = Vec::new();
        while let Some(operation) = operations.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut round = Round::new(operation);
            round.run(&ends, failures, &points);
            log_uncaptured(&round.to_string());
            failed.append(&mut round.failures);
        }
        failed
    };
    log_uncaptured(Tally::HEADING);
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("the processors of this process");
    let processors = (0..CpuSet::count()).filter(|&processor| allowed.is_set(processor) == Ok(true));
    let failures: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = processors.map(|processor| scope.spawn(move || on_one(processor))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    log_uncaptured(&format!("{} operations in {:?}", operations.len(), begun.elapsed()));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
