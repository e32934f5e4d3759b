//! Handles that a forked child inherits, and descriptors that a daemon closes.

use harness::{Arena, RemoteWorker, WorkerPool, alone, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// What `attached` says: seat, PID and tokens of each.
fn attached(worker: &mut RemoteWorker) -> Vec<(u64, u32, u64)> {
    let answer = worker.ask("attached");
    let one = |text: &str| {
        let parts: Vec<u64> = text.split(':').map(|n| n.parse().expect(text)).collect();
        (parts[0], parts[1] as u32, parts[2])
    };
    answer.split(' ').map(one).collect()
}

fn parent_of(arena: &Arena) -> RemoteWorker {
    let mut parent = RemoteWorker::new(WORKER, &arena.job("remote"));
    parent.expect_ok("open");
    parent
}

/// However the child ends, its parent's seat, the counts and the limiter stay.
#[test]
fn a_childs_end_leaves_its_parents_seat_and_counts() {
    for end in ["exit", "_exit", "kill-child", "drop"] {
        let arena = Arena::with_fixed_budget(20);
        let mut parent = parent_of(&arena);
        assert_eq!(parent.admitted_of(3), 3);
        let seat_before = attached(&mut parent);
        assert_eq!(seat_before, [(0, parent.pid(), 3)]);

        let child: u32 = parent.ask("fork").parse().unwrap();
        assert_eq!(parent.ask("child take 4"), "4", "{end}");
        assert_eq!(parent.admitted_of(2), 2);
        // Both are there, each in a seat of its own, with what each took.
        assert_eq!(attached(&mut parent), [(0, parent.pid(), 5), (1, child, 4)], "{end}");

        match end {
            "kill-child" => assert_eq!(parent.ask("kill-child"), "killed SIGKILL"),
            "drop" => {
                assert_eq!(parent.ask("child drop"), "ok");
                // The child lives on without the handle.
                assert_eq!(attached(&mut parent), [(0, parent.pid(), 5)], "{end}");
                assert_eq!(parent.ask("reap"), "exited 0");
            }
            leave => {
                assert_eq!(parent.ask(&format!("child {leave}")), "gone");
                assert_eq!(parent.ask("reap"), "exited 0");
            }
        }
        assert_eq!(attached(&mut parent), [(0, parent.pid(), 5)], "{end}");
        // What the child took stays taken and counted; the parent goes on in its old seat.
        assert_eq!(parent.admitted_of(100), 11, "{end}");
        assert_eq!(parent.numbers("stats")[1], 20, "{end}");
        assert_eq!(attached(&mut parent), [(0, parent.pid(), 16)], "{end}");
    }
}

/// The other way round: the parent drops its handle, and the child continues.
#[test]
fn a_child_keeps_working_after_its_parent_drops_the_handle() {
    let arena = Arena::with_fixed_budget(20);
    let watcher = arena.open();
    let mut parent = parent_of(&arena);
    assert_eq!(parent.admitted_of(3), 3);
    let child: u32 = parent.ask("fork").parse().unwrap();
    // Also before the child's first decision.
    parent.expect_ok("drop");
    assert_eq!(parent.ask("child take 4"), "4");
    let seats = watcher.inspect().unwrap().attached;
    assert_eq!(seats.iter().map(|a| a.pid).collect::<Vec<_>>(), [std::process::id(), child]);
    assert_eq!(watcher.stats().calls, 7);
}

/// A killed process leaves its seat at once, though a child lives on that inherited all its mappings but this one.
#[test]
fn a_living_child_does_not_keep_its_killed_parents_seat() {
    let arena = Arena::with_fixed_budget(20);
    let watcher = arena.open();
    let mut parent = parent_of(&arena);
    assert_eq!(parent.admitted_of(2), 2);
    let child = Pid::from_raw(parent.ask("orphan").parse().unwrap());
    assert_eq!(watcher.inspect().unwrap().attached.len(), 2);
    parent.signal(Signal::SIGKILL);
    parent.wait();
    let gone = eventually(Duration::from_secs(2), || watcher.inspect().unwrap().attached.len() == 1);
    let child_lived = kill(child, Signal::SIGKILL).is_ok();
    assert!(child_lived && gone, "child lived: {child_lived}, seat free: {gone}");
    assert_eq!(watcher.stats().calls, 2);
}

/// Children of children, each with the handle that the first one opened.
#[test]
fn a_grandchild_has_a_seat_of_its_own() {
    let arena = Arena::with_fixed_budget(20);
    let mut parent = parent_of(&arena);
    parent.admitted_of(1);
    let child: u32 = parent.ask("fork").parse().unwrap();
    assert_eq!(parent.ask("child take 2"), "2");
    let grandchild: u32 = parent.ask("child fork").parse().unwrap();
    assert_eq!(parent.ask("child child take 3"), "3");
    assert_eq!(attached(&mut parent), [(0, parent.pid(), 1), (1, child, 2), (2, grandchild, 3)]);
    assert_eq!(parent.ask("child kill-child"), "killed SIGKILL");
    assert_eq!(attached(&mut parent), [(0, parent.pid(), 1), (1, child, 2)]);
    assert_eq!(parent.numbers("stats")[1], 6);
}

/// A program with threads that forks all the time: parent and children work, and together they get no more than the limit.
#[test]
fn forks_beside_deciding_threads_admit_and_count_correctly() {
    let _alone = alone();
    let arena = Arena::new("20000/s", 50);
    let watcher = arena.open();
    let job = arena.job("fork-storm").set("children", 200).set("tries", 20);
    let mut pool = WorkerPool::new(WORKER);
    pool.spawn_many(&job, 2);
    pool.start();
    pool.join();
    let times = arena.times();
    assert!(!times.is_empty());
    assert_eq!(watcher.stats().calls, times.len() as u64, "each admission is counted once");
    assert_eq!(watcher.inspect().unwrap().attached.len(), 1);
    arena.assert_never_over(arena.limit());
}

/// A daemon that closes all descriptors after it opened the limiter keeps its seat, decides, hears of changes and
/// changes it itself; so does a child that it forks then.
#[test]
fn a_process_keeps_working_after_it_closed_all_descriptors() {
    let arena = Arena::with_fixed_budget(20);
    let watcher = arena.open();
    let mut daemon = parent_of(&arena);
    assert_eq!(daemon.admitted_of(2), 2);
    daemon.expect_ok("closefrom");
    assert_eq!(attached(&mut daemon)[1], (1, daemon.pid(), 2));
    assert_eq!(daemon.admitted_of(3), 3);

    // From here on nothing is paced, so that what is left of the budget doesn't matter.
    let (max, per) = (1_000_000_u64, 1_000_000_000_u64);
    watcher.change(max, Duration::from_nanos(per)).unwrap();
    std::thread::sleep(Duration::from_millis(1));
    assert_eq!(daemon.ask("try").split(' ').next(), Some("admitted"), "it hears of changes");
    daemon.expect_ok(&format!("change 500 {per}"));
    assert_eq!(watcher.limit().unwrap().rate().max(), 500, "its changes are heard");

    // It is forked by a process that has no descriptor of the limiter.
    daemon.ask("fork");
    assert_eq!(daemon.ask("child wait-ms 1000").split(' ').next(), Some("admitted"));
    assert_eq!(watcher.inspect().unwrap().attached.len(), 3);
    daemon.signal(Signal::SIGKILL);
    assert!(eventually(Duration::from_secs(5), || watcher.inspect().unwrap().attached.len() == 1));
}
