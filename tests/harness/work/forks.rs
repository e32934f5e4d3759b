//! Forks child after child, each of which uses the handle that it inherits and ends.

use super::constrained::usage;
use harness::{Job, raw};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use shm_lib::RateLimit;

/// `children=` children, one after the other. Every third is killed while it holds what it got, every third exits without
/// releasing it, every third releases it. Reports `admitted denied`, and its own usage before and after.
pub(crate) fn run(job: &Job, limit: &RateLimit) {
    crate::ready();
    let mut counted = [0, 0];
    // The first few children make the parent allocate what it needs once.
    (0..100).for_each(|k| counted[usize::from(!born(limit, k))] += 1);
    let before = usage();
    (100..job.number("children")).for_each(|k| counted[usize::from(!born(limit, k))] += 1);
    println!("{} {} {before} {}", counted[0], counted[1], usage());
}

/// Whether the child was admitted.
fn born(limit: &RateLimit, k: u64) -> bool {
    let (heard, mut voice) = std::io::pipe().expect("a pipe");
    let Some(child) = raw::fork().expect("a child") else {
        let outcome = limit.try_acquire(1);
        let Ok(outcome) = outcome else { raw::exit_now(3) };
        let admitted = outcome.is_admitted();
        if k.is_multiple_of(3) {
            drop(outcome);
        }
        if k % 3 == 2 {
            let _ = std::io::Write::write_all(&mut voice, &[u8::from(admitted)]);
            loop {
                std::thread::park();
            }
        }
        raw::exit_now(i32::from(admitted));
    };
    drop(voice);
    if k % 3 == 2 {
        let mut said = [0];
        std::io::Read::read_exact(&mut &heard, &mut said).expect("what the child got");
        kill(child, Signal::SIGKILL).expect("to kill the child");
        assert!(matches!(waitpid(child, None), Ok(WaitStatus::Signaled(_, Signal::SIGKILL, _))));
        return said[0] == 1;
    }
    match waitpid(child, None) {
        Ok(WaitStatus::Exited(_, code @ 0..=1)) => code == 1,
        other => panic!("a forked child ended with {other:?}"),
    }
}
