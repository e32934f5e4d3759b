//! Handles that a forked child inherits, also in the middle of a call, and descriptors that vanish.

use harness::{Arena, Crew, Puppet, alone, arena, eventually, is_root, shared_dir, skip};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// What `attached` says: seat, PID and tokens of each.
fn attached(puppet: &mut Puppet) -> Vec<(u64, u32, u64)> {
    let answer = puppet.ask("attached");
    let one = |text: &str| {
        let parts: Vec<u64> = text.split(':').map(|n| n.parse().expect(text)).collect();
        (parts[0], parts[1] as u32, parts[2])
    };
    answer.split(' ').map(one).collect()
}

fn parent_of(arena: &Arena) -> Puppet {
    let mut parent = Puppet::new(WORKER, &arena.job("puppet"));
    parent.must("open");
    parent
}

/// However the child ends, it takes nothing with it: not the parent's seat, not the counts, not the limiter.
#[test]
fn parent_and_child_share_the_budget_and_the_childs_end_takes_nothing_with_it() {
    for end in ["exit", "_exit", "kill-child", "drop"] {
        let arena = Arena::with_fixed_budget(20);
        let mut parent = parent_of(&arena);
        assert_eq!(parent.takes(3), 3);
        let seat_before = attached(&mut parent);
        assert_eq!(seat_before, [(0, parent.pid(), 3)]);

        let child: u32 = parent.ask("fork").parse().unwrap();
        assert_eq!(parent.ask("child take 4"), "4", "{end}");
        assert_eq!(parent.takes(2), 2);
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
        assert_eq!(parent.takes(100), 11, "{end}");
        assert_eq!(parent.numbers("stats")[1], 20, "{end}");
        assert_eq!(attached(&mut parent), [(0, parent.pid(), 16)], "{end}");
    }
}

/// The other way round: the parent drops its handle, and the child goes on.
#[test]
fn a_child_goes_on_when_its_parent_lets_go() {
    let arena = Arena::with_fixed_budget(20);
    let watcher = arena.open();
    let mut parent = parent_of(&arena);
    assert_eq!(parent.takes(3), 3);
    let child: u32 = parent.ask("fork").parse().unwrap();
    // Also before the child's first decision.
    parent.must("drop");
    assert_eq!(parent.ask("child take 4"), "4");
    let seats = watcher.inspect().unwrap().attached;
    assert_eq!(seats.iter().map(|a| a.pid).collect::<Vec<_>>(), [std::process::id(), child]);
    assert_eq!(watcher.stats().tokens, 7);
}

/// A killed process leaves its seat at once, though a child lives on that inherited all its mappings but this one.
#[test]
fn a_living_child_does_not_keep_its_killed_parents_seat() {
    let arena = Arena::with_fixed_budget(20);
    let watcher = arena.open();
    let mut parent = parent_of(&arena);
    assert_eq!(parent.takes(2), 2);
    let child = Pid::from_raw(parent.ask("orphan").parse().unwrap());
    assert_eq!(watcher.inspect().unwrap().attached.len(), 2);
    parent.signal(Signal::SIGKILL);
    parent.wait();
    let gone = eventually(Duration::from_secs(2), || watcher.inspect().unwrap().attached.len() == 1);
    let child_lived = kill(child, Signal::SIGKILL).is_ok();
    assert!(child_lived && gone, "child lived: {child_lived}, seat free: {gone}");
    assert_eq!(watcher.stats().tokens, 2);
}

/// Children of children, each with the handle that the first one opened.
#[test]
fn grandchildren_are_told_apart_too() {
    let arena = Arena::with_fixed_budget(20);
    let mut parent = parent_of(&arena);
    parent.takes(1);
    let child: u32 = parent.ask("fork").parse().unwrap();
    assert_eq!(parent.ask("child take 2"), "2");
    let grandchild: u32 = parent.ask("child fork").parse().unwrap();
    assert_eq!(parent.ask("child child take 3"), "3");
    assert_eq!(attached(&mut parent), [(0, parent.pid(), 1), (1, child, 2), (2, grandchild, 3)]);
    assert_eq!(parent.ask("child kill-child"), "killed SIGKILL");
    assert_eq!(attached(&mut parent), [(0, parent.pid(), 1), (1, child, 2)]);
    assert_eq!(parent.numbers("stats")[1], 6);
}

/// A program with threads that forks all the time: neither is harmed, and nobody gets more than there is.
#[test]
fn forks_in_the_middle_of_decisions_disturb_nobody() {
    let _alone = alone();
    let arena = Arena::new("20000/s", 50);
    let watcher = arena.open();
    let job = arena.job("fork-storm").set("children", 200).set("tries", 20);
    let mut crew = Crew::new(WORKER);
    crew.hire_many(&job, 2);
    crew.go();
    crew.finish();
    let times = arena.times();
    assert!(!times.is_empty());
    assert_eq!(watcher.stats().tokens, times.len() as u64, "each admission is counted once");
    assert_eq!(watcher.inspect().unwrap().attached.len(), 1);
    arena.assert_never_over(arena.limit());
}

/// A daemon that closes all descriptors after it opened the limiter keeps its seat, decides, hears of changes and
/// changes it itself; so does a child that it forks then.
#[test]
fn closing_every_descriptor_takes_nothing_away() {
    let arena = Arena::with_fixed_budget(20);
    let watcher = arena.open();
    let mut daemon = parent_of(&arena);
    assert_eq!(daemon.takes(2), 2);
    daemon.must("closefrom");
    assert_eq!(attached(&mut daemon)[1], (1, daemon.pid(), 2));
    assert_eq!(daemon.takes(3), 3);

    // From here on nothing is paced, so that what is left of the budget doesn't matter.
    let (max, per) = (1_000_000_u64, 1_000_000_000_u64);
    watcher.change(max, Duration::from_nanos(per)).unwrap();
    std::thread::sleep(Duration::from_millis(1));
    assert_eq!(daemon.ask("try").split(' ').next(), Some("admitted"), "it hears of changes");
    daemon.must(&format!("change 500 {per}"));
    assert_eq!(watcher.limit().unwrap().rate().max(), 500, "its changes are heard");

    // It is forked by a process that has no descriptor of the limiter.
    daemon.ask("fork");
    assert_eq!(daemon.ask("child wait-ms 1000").split(' ').next(), Some("admitted"));
    assert_eq!(watcher.inspect().unwrap().attached.len(), 3);
    daemon.signal(Signal::SIGKILL);
    assert!(eventually(Duration::from_secs(5), || watcher.inspect().unwrap().attached.len() == 1));
}

/// The closure of a wait forks: of all who are then in that wait only the one that took the turn is admitted at it. The
/// others wait for turns of their own; and for permits.
fn each_waits_for_its_own(arena: &Arena, permits: u64) {
    const CHILDREN: u64 = 3;
    let watcher = arena.open();
    assert!(watcher.try_acquire(1).unwrap().is_admitted());
    let mut parent = Puppet::new(WORKER, &arena.job("fork-in-closure").set("children", CHILDREN));
    let mut turns: Vec<u64> = (0..=CHILDREN).map(|_| parent.answer().parse().unwrap()).collect();
    turns.sort_unstable();
    let apart = turns.windows(2).all(|pair| pair[0] != pair[1]);
    assert!(apart, "one turn was used by several: {turns:?}");
    arena::assert_never_over(arena.limit(), &turns);
    assert_eq!(watcher.inspect().unwrap().permits_held, permits);
}

#[test]
fn a_closure_that_forks_gives_no_turn_twice() {
    each_waits_for_its_own(&Arena::new("10/s", 1), 0);
}

#[test]
fn a_closure_that_forks_gives_no_permit_twice() {
    each_waits_for_its_own(&Arena::with_policy("bucket:10/s+bucket:20/s", 4), 4);
}

/// A signal handler forks again and again while its process asks all the time. What was admitted before a fork and not yet
/// written down is written down by both, and counts once.
#[test]
fn a_handler_that_forks_in_a_decision_wins_nothing() {
    const FORKS: u64 = 3_000;
    let _alone = alone();
    let arena = Arena::with_policy("greedy:2000/5ms", 0).seats(1_000);
    let _watcher = arena.open();
    let place = shared_dir();
    let counter = place.path().join("forks");
    let job = arena.job("fork-in-handler").set("forks", FORKS).set("for", FORKS);
    let mut crew = Crew::new(WORKER);
    crew.hire(&job.set("counter", counter.display()));
    crew.go();
    let group = Pid::from_raw(crew.pid(0) as i32);
    // Once a millisecond, and for a bit shorter than it asks.
    let end = Instant::now() + Duration::from_millis(FORKS - 100);
    for i in 1.. {
        if Instant::now() > end {
            break;
        }
        // Now and then its children fork, too.
        let sent = if i % 25 == 0 { killpg(group, Signal::SIGUSR1) } else { kill(group, Signal::SIGUSR1) };
        sent.expect("it lives");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(crew.finish(), ["done"]);
    let mut times = arena.times();
    times.dedup();
    assert!(times.len() > 1_000, "{} were admitted", times.len());
    let logged: Vec<(u64, u64)> = times.into_iter().map(|at| (1, at)).collect();
    arena.assert_all_kept(&logged);
}

/// The child that is forked in the middle of taking the only permit ends with it, and it is free; that its parent lives
/// does not matter. (Between the last look at whose process it is and the swap are a few instructions; a child that is
/// forked there takes the permit in its parent's name. That is one of thousands, and hardly happens twice.)
#[test]
fn a_handler_that_forks_in_a_decision_leaves_no_permit_behind() {
    let _alone = alone();
    let is_left = || {
        let arena = Arena::with_policy("greedy:1000000/s+bucket:1000000/s:1000000", 1);
        let watcher = arena.open();
        let mut parent = Puppet::new(WORKER, &arena.job("fork-by-timer").set("forks", 100));
        assert_eq!(parent.answer(), "done");
        // It lives, and holds nothing; all others have ended.
        watcher.inspect().unwrap().permits_held > 0
    };
    assert!(!(is_left() && is_left()), "a permit is held, and by nobody");
}

/// A future waits in a process that is PID 1 in its namespace, and so is the child that it forks: by PIDs one is taken for
/// the other.
#[test]
fn a_copy_of_a_future_is_told_from_it_where_both_are_the_first_process() {
    let arena = Arena::new("1/s", 1);
    let watcher = arena.open();
    assert!(watcher.try_acquire(1).unwrap().is_admitted());
    let spaces = if is_root() { "pid" } else { "user,pid" };
    let mut first = Puppet::new(WORKER, &arena.job("fork-beside-future").set("namespaces", spaces));
    match first.answer().as_str() {
        "forked" => {}
        why => skip!("no PID namespaces here: {why}"),
    }
    let turns: [u64; 2] = std::array::from_fn(|_| first.answer().parse().unwrap());
    assert!(turns[0] != turns[1], "one turn was used by two: {turns:?}");
}
