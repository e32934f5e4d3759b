//! Forks in the middle of a call, by the closure of a wait or by a signal handler: parent and child are both in that call.

use harness::{Arena, RemoteWorker, WorkerPool, alone, arena, is_root, shared_dir, skip};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// The closure of a wait forks: of all processes that are then in that wait only the one that took the turn is admitted at it. The
/// others wait for turns of their own; and for permits.
fn each_waits_for_its_own(arena: &Arena, permits: u64) {
    const CHILDREN: u64 = 3;
    let watcher = arena.open();
    assert!(watcher.try_acquire(1).unwrap().is_admitted());
    let mut parent = RemoteWorker::new(WORKER, &arena.job("fork-in-closure").set("children", CHILDREN));
    let mut turns: Vec<u64> = (0..=CHILDREN).map(|_| parent.answer().parse().unwrap()).collect();
    turns.sort_unstable();
    let apart = turns.windows(2).all(|pair| pair[0] != pair[1]);
    assert!(apart, "one turn was used by several: {turns:?}");
    arena::assert_never_over(arena.limit(), &turns);
    assert_eq!(watcher.inspect().unwrap().permits_held, permits);
}

#[test]
fn a_fork_in_a_wait_closure_duplicates_no_turn() {
    each_waits_for_its_own(&Arena::new("10/s", 1), 0);
}

#[test]
fn a_fork_in_a_wait_closure_duplicates_no_permit() {
    each_waits_for_its_own(&Arena::with_policy("bucket:10/s+bucket:20/s", 4), 4);
}

/// A signal handler forks again and again, once a millisecond, while the process of this job asks all the time. When it and its
/// descendants were admitted: what was admitted before a fork and not yet written down is written down by both, and counts once.
pub(crate) fn admitted_beside_forks(arena: &Arena, job: &str, forks: u64) -> Vec<u64> {
    let place = shared_dir();
    let job = arena.job(job).set("forks", forks).set("for", forks);
    let mut pool = WorkerPool::new(WORKER);
    pool.spawn(&job.set("counter", place.path().join("forks").display()));
    pool.start();
    let group = Pid::from_raw(pool.pid(0) as i32);
    // For a bit shorter than it asks.
    let end = Instant::now() + Duration::from_millis(forks - 100);
    for i in 1.. {
        if Instant::now() > end {
            break;
        }
        // Now and then its children fork, too.
        let sent = if i % 25 == 0 { killpg(group, Signal::SIGUSR1) } else { kill(group, Signal::SIGUSR1) };
        sent.expect("it lives");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(pool.join(), ["done"]);
    let mut times = arena.times();
    times.dedup();
    assert!(times.len() > 1_000, "{} were admitted", times.len());
    times
}

#[test]
fn a_fork_in_a_signal_handler_admits_nothing_extra() {
    const FORKS: u64 = 3_000;
    let _alone = alone();
    let arena = Arena::with_policy("greedy:2000/5ms", 0).seats(1_000);
    let _watcher = arena.open();
    let times = admitted_beside_forks(&arena, "fork-in-handler", FORKS);
    let logged: Vec<(u64, u64)> = times.into_iter().map(|at| (1, at)).collect();
    arena.assert_all_kept(&logged);
}

/// The child that is forked in the middle of taking the only permit ends with it, and it is free; that its parent lives
/// does not matter. (Between the last look at whose process it is and the swap are a few instructions; a child that is
/// forked there takes the permit in its parent's name. That is one of thousands, and hardly happens twice.)
#[test]
fn a_fork_in_a_signal_handler_leaks_no_permit() {
    let _alone = alone();
    let is_left = || {
        let arena = Arena::with_policy("greedy:1000000/s+bucket:1000000/s:1000000", 1);
        let watcher = arena.open();
        let mut parent = RemoteWorker::new(WORKER, &arena.job("fork-by-timer").set("forks", 100));
        assert_eq!(parent.answer(), "done");
        // It lives, and holds nothing; all others have ended.
        watcher.inspect().unwrap().permits_held > 0
    };
    assert!(!(is_left() && is_left()), "a permit is held, and by nobody");
}

/// A future waits in a process that is PID 1 in its namespace, and so is the child that it forks: by PIDs one is taken for
/// the other.
#[test]
fn a_forked_future_gets_a_turn_of_its_own_even_if_both_processes_are_pid_1() {
    let arena = Arena::new("1/s", 1);
    let watcher = arena.open();
    assert!(watcher.try_acquire(1).unwrap().is_admitted());
    let spaces = if is_root() { "pid" } else { "user,pid" };
    let mut first = RemoteWorker::new(WORKER, &arena.job("fork-beside-future").set("namespaces", spaces));
    match first.answer().as_str() {
        "forked" => {}
        why => skip!("no PID namespaces here: {why}"),
    }
    let turns: [u64; 2] = std::array::from_fn(|_| first.answer().parse().unwrap());
    assert!(turns[0] != turns[1], "one turn was used by two: {turns:?}");
}
