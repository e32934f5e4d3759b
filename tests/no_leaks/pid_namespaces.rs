//! "Containers": processes in PID namespaces of their own that share a directory.

use harness::{Arena, RemoteWorker, eventually, skip};
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// A worker that is PID 1 in its own namespace, or why that can't be.
fn container(arena: &Arena) -> Result<RemoteWorker, String> {
    let mut worker = RemoteWorker::new(WORKER, &arena.job("container"));
    match worker.answer().as_str() {
        "contained" => Ok(worker),
        why => Err(why.to_owned()),
    }
}

/// Both are PID 1. By PIDs one of them would be taken for the other, or for dead.
#[test]
fn two_pid_namespaces_share_a_budget_in_separate_seats() {
    let arena = Arena::with_fixed_budget(20);
    let watcher = arena.open();
    let (mut one, mut two) = match (container(&arena), container(&arena)) {
        (Ok(one), Ok(two)) => (one, two),
        (Err(why), _) | (_, Err(why)) => skip!("no PID namespaces here: {why}"),
    };
    for worker in [&mut one, &mut two] {
        assert_eq!(worker.ask("pid"), "1");
        worker.expect_ok("open");
    }
    assert_eq!((one.admitted_of(3), two.admitted_of(4)), (3, 4));

    let seats = || watcher.inspect().unwrap().attached;
    let seen: Vec<_> = seats().iter().map(|a| (a.seat, a.pid, a.foreign_pid, a.counts.calls)).collect();
    assert_eq!(seen, [(0, std::process::id(), false, 0), (1, 1, true, 3), (2, 1, true, 4)]);
    // Each sees the other as living.
    assert_eq!(one.ask("attached").split(' ').count(), 3);

    // One is killed: exactly its seat is free, though a living process has its PID.
    drop(one);
    let living = || seats().iter().map(|a| a.seat).collect::<Vec<_>>();
    assert!(eventually(Duration::from_secs(5), || living() == [0, 2]), "{:?}", living());
    assert_eq!(two.admitted_of(100), 13);
    assert_eq!(watcher.stats().calls, 20);

    // The next container takes a seat of its own.
    let mut three = container(&arena).expect("a third container");
    three.expect_ok("open");
    assert_eq!(living().len(), 3);
}

/// Sleepers in another namespace hear of changes: the futex is shared by the file, not by the namespace.
#[test]
fn a_change_wakes_a_waiter_in_another_pid_namespace() {
    let arena = Arena::new("1/m", 1);
    let watcher = arena.open();
    assert!(watcher.try_acquire(1).unwrap().is_admitted());
    let mut inside = match container(&arena) {
        Ok(worker) => worker,
        Err(why) => skip!("no PID namespaces here: {why}"),
    };
    inside.expect_ok("open");
    inside.tell("wait-ms 100000");
    assert!(eventually(Duration::from_secs(10), || watcher.status().unwrap().queued == 1));
    watcher.change(1_000, Duration::from_secs(1)).unwrap();
    assert_eq!(inside.answer().split(' ').next(), Some("admitted"));
}
