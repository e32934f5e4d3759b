//! "Containers": processes in PID namespaces of their own that share a directory.

use harness::{Arena, Puppet, eventually, skip};
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// A puppet that is PID 1 in its own namespace, or why that can't be.
fn container(arena: &Arena) -> Result<Puppet, String> {
    let mut puppet = Puppet::new(WORKER, &arena.job("container"));
    match puppet.answer().as_str() {
        "contained" => Ok(puppet),
        why => Err(why.to_owned()),
    }
}

/// Both are PID 1. By PIDs one of them would be taken for the other, or for dead.
#[test]
fn two_containers_share_the_budget_and_are_told_apart() {
    let arena = Arena::with_fixed_budget(20);
    let watcher = arena.open();
    let (mut one, mut two) = match (container(&arena), container(&arena)) {
        (Ok(one), Ok(two)) => (one, two),
        (Err(why), _) | (_, Err(why)) => skip!("no PID namespaces here: {why}"),
    };
    for puppet in [&mut one, &mut two] {
        assert_eq!(puppet.ask("pid"), "1");
        puppet.must("open");
    }
    assert_eq!((one.takes(3), two.takes(4)), (3, 4));

    let seats = || watcher.inspect().unwrap().attached;
    let seen: Vec<_> = seats().iter().map(|a| (a.seat, a.pid, a.foreign_pid, a.counts.tokens)).collect();
    assert_eq!(seen, [(0, std::process::id(), false, 0), (1, 1, true, 3), (2, 1, true, 4)]);
    // Each sees the other as living.
    assert_eq!(one.ask("attached").split(' ').count(), 3);

    // One is killed: exactly its seat is free, though a living process has its PID.
    drop(one);
    let living = || seats().iter().map(|a| a.seat).collect::<Vec<_>>();
    assert!(eventually(Duration::from_secs(5), || living() == [0, 2]), "{:?}", living());
    assert_eq!(two.takes(100), 13);
    assert_eq!(watcher.stats().tokens, 20);

    // The next container takes a seat of its own.
    let mut three = container(&arena).expect("a third container");
    three.must("open");
    assert_eq!(living().len(), 3);
}

/// Sleepers in another namespace hear of changes: the futex is shared by the file, not by the namespace.
#[test]
fn changes_reach_sleepers_in_containers() {
    let arena = Arena::new("1/m", 1);
    let watcher = arena.open();
    assert!(watcher.try_acquire(1).unwrap().is_admitted());
    let mut inside = match container(&arena) {
        Ok(puppet) => puppet,
        Err(why) => skip!("no PID namespaces here: {why}"),
    };
    inside.must("open");
    inside.tell("wait-ms 100000");
    assert!(eventually(Duration::from_secs(10), || watcher.peek().unwrap().queued == 1));
    watcher.change(1_000, Duration::from_secs(1)).unwrap();
    assert_eq!(inside.answer().split(' ').next(), Some("admitted"));
}
