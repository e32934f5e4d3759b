//! Containers: processes with PID, IPC and user namespaces of their own that share a directory, also without root.

use harness::{Arena, Job, RemoteWorker, eventually, is_root, skip};
use nix::sys::signal::Signal;
use std::os::unix::fs::chown;
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
/// The user `nobody`, who does not run the tests.
const NOBODY: u32 = 65_534;
const EASY: &str = "greedy:1000000/s+bucket:1000000/s:1000000";

/// Containers that share a directory: as root in PID and IPC namespaces, as a plain user in these within a user namespace.
struct Containers {
    arena: Arena,
    plain: bool,
}

impl Containers {
    fn new(arena: Arena, plain: bool) -> Containers {
        if plain && is_root() {
            chown(arena.dir(), Some(NOBODY), Some(NOBODY)).expect("to give the directory away");
        }
        Containers { arena, plain }
    }

    /// A worker that is PID 1 in its own namespaces, or why that can't be.
    fn container(&self) -> Result<RemoteWorker, String> {
        let spaces = if self.plain { "user,ipc,pid" } else { "ipc,pid" };
        let job: Job = self.arena.job("container").set("namespaces", spaces).set("mode", "666");
        let mut worker = match self.plain && is_root() {
            true => RemoteWorker::as_user(WORKER, &job, NOBODY),
            false => RemoteWorker::new(WORKER, &job),
        };
        match worker.answer().as_str() {
            "contained" => Ok(worker),
            why => Err(why.to_owned()),
        }
    }

    fn pair(&self) -> Result<(RemoteWorker, RemoteWorker), String> {
        let (mut one, mut two) = (self.container()?, self.container()?);
        for worker in [&mut one, &mut two] {
            assert_eq!(worker.ask("pid"), "1");
            worker.expect_ok("open");
        }
        Ok((one, two))
    }
}

/// Both are PID 1 and share a budget; the death of one frees its own seat only.
fn share_a_budget(plain: bool) -> Result<(), String> {
    let containers = Containers::new(Arena::with_fixed_budget(20), plain);
    let (mut one, mut two) = containers.pair()?;
    let watcher = containers.arena.job("watch").attach().expect("the limiter");
    assert_eq!((one.admitted_of(3), two.admitted_of(4)), (3, 4));
    let seats = || watcher.inspect().unwrap().attached;
    let seen: Vec<_> = seats().iter().map(|a| (a.seat, a.pid, a.foreign_pid, a.counts.calls)).collect();
    assert_eq!(seen, [(0, 1, true, 3), (1, 1, true, 4)]);
    // Each sees the other as alive, and as another process.
    assert_eq!(one.ask("attached"), "0:1:3 1:1:4");

    drop(one);
    let living = || seats().iter().map(|a| a.seat).collect::<Vec<_>>();
    assert!(eventually(Duration::from_secs(5), || living() == [1]), "{:?}", living());
    assert_eq!(two.admitted_of(100), 13);
    assert_eq!(watcher.stats().calls, 20);
    let mut three = containers.container()?;
    three.expect_ok("open");
    assert_eq!(living().len(), 2);
    Ok(())
}

/// Two processes that are both PID 1 are two holders: each holds one of two permits, and the other one gets a dead container's
/// permit.
fn hold_permits(plain: bool) -> Result<(), String> {
    let containers = Containers::new(Arena::with_policy(EASY, 2), plain);
    let (mut one, mut two) = containers.pair()?;
    for worker in [&mut one, &mut two] {
        assert!(worker.ask("hold").starts_with("held"));
    }
    assert_eq!(two.ask("hold"), "denied");
    // Stopped is not dead.
    one.signal(Signal::SIGSTOP);
    assert_eq!(two.ask("hold-ms 300"), "denied");
    one.signal(Signal::SIGCONT);
    drop(one);
    let answer = two.ask("hold-ms 5000");
    assert!(answer.starts_with("held"), "the dead container's permit: {answer}");
    assert_eq!(two.ask("held"), "2");
    Ok(())
}

/// A change made in one container wakes a waiter in the other.
fn wake_across_containers(plain: bool) -> Result<(), String> {
    let containers = Containers::new(Arena::new("1/m", 1), plain);
    let (mut one, mut two) = containers.pair()?;
    assert_eq!(one.admitted_of(1), 1);
    two.tell("wait-ms 100000");
    let watcher = containers.arena.job("watch").attach().expect("the limiter");
    assert!(eventually(Duration::from_secs(10), || watcher.status().unwrap().queued == 1));
    one.expect_ok("change 1000 1000000000");
    assert_eq!(two.answer().split(' ').next(), Some("admitted"));
    two.expect_ok("retire");
    assert!(one.ask("try").starts_with("error Retired"));
    Ok(())
}

fn as_root_and_as_user(what: fn(bool) -> Result<(), String>) {
    if is_root() {
        what(false).expect("root may have namespaces");
    }
    if let Err(why) = what(true) {
        skip!("not as a plain user: {why}");
    }
}

#[test]
fn two_containers_share_a_budget() {
    as_root_and_as_user(share_a_budget);
}

#[test]
fn a_dead_containers_permit_is_free_again() {
    as_root_and_as_user(hold_permits);
}

#[test]
fn a_change_in_one_container_reaches_the_other() {
    as_root_and_as_user(wake_across_containers);
}
