//! Clocks that are not the limiter's: time namespaces in which the machine started sooner or later.

use harness::file::{Patch, offset};
use harness::{Arena, RemoteWorker, is_root, skip};
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
/// Seconds that the other clock is ahead. (Behind: as far as the machine's uptime allows.)
const OFFSETS: [&str; 2] = ["-5", "1000"];

/// A worker under another clock, or why that can't be.
fn under_another_clock(arena: &Arena, offset: &str) -> Result<RemoteWorker, String> {
    let spaces = if is_root() { "time,pid" } else { "user,time,pid" };
    let job = arena.job("container").set("namespaces", spaces).set("boottime", offset);
    let mut worker = RemoteWorker::new(WORKER, &job);
    match worker.answer().as_str() {
        "contained" => Ok(worker),
        why => Err(why.to_owned()),
    }
}

fn refused(answer: &str) {
    assert!(answer.starts_with("error OtherClock"), "{answer}");
    assert!(answer.contains("in another time namespace") && !answer.contains("--force"), "{answer}");
}

/// Neither side opens what the other one created, and neither changes it.
#[test]
fn a_limiter_created_under_one_clock_is_refused_under_another() {
    for offset in OFFSETS {
        let here = Arena::with_fixed_budget(20);
        let limit = here.open();
        assert!(limit.try_acquire(1).unwrap().is_admitted());
        let bytes = || std::fs::read(here.file()).unwrap();
        let before = bytes();
        let mut other = match under_another_clock(&here, offset) {
            Ok(worker) => worker,
            Err(why) => skip!("{why}"),
        };
        refused(&other.ask("open"));
        refused(&other.ask("attach"));
        assert!(bytes() == before, "written to");
        assert!(limit.try_acquire(1).unwrap().is_admitted());

        let there = Arena::with_fixed_budget(20);
        let mut maker = under_another_clock(&there, offset).expect("another one");
        maker.expect_ok("open");
        assert_eq!(maker.admitted_of(3), 3);
        let mut host = RemoteWorker::new(WORKER, &there.job("remote"));
        refused(&host.ask("open"));
        // Processes under its clock share it, forked or not.
        maker.ask("fork");
        assert_eq!(maker.ask("child take 4"), "4");
        maker.expect_ok("child open");
        assert_eq!(maker.ask("child take 5"), "5");
        assert_eq!(maker.admitted_of(100), 8);
    }
}

/// A child that is born under a clock with older times, with a handle from before: it is admitted nothing extra, and it does
/// not turn the state back. To it the wall clock seems to be set; it does not publish that.
#[test]
fn an_inherited_handle_under_an_older_clock_admits_nothing_extra() {
    for policy in
        ["bucket:20/366d:20", "greedy:20/366d", "calendar:20/month+bucket:20/366d:20", "sliding:20/366d"]
    {
        let arena = Arena::with_policy(policy, 0);
        let limit = arena.open();
        let mut parent = RemoteWorker::new(WORKER, &arena.job("remote"));
        parent.expect_ok("open");
        let spaces = if is_root() { "time" } else { "user,time" };
        let why = parent.ask(&format!("leave namespaces={spaces} boottime=-5"));
        if why != "ok" {
            skip!("{why}");
        }
        // As many as were there a moment ago.
        assert_eq!(parent.admitted_of(7), 7, "{policy}");
        parent.ask("fork");
        let (now, past) = (shm_lib::now().as_nanos(), parent.numbers("child now")[0]);
        assert!(past + 4_000_000_000 < now, "the child's clock is the same");
        let answer = parent.ask("child take 100");
        let more: u64 = answer.parse().unwrap_or_else(|_| panic!("{policy}: {answer}"));
        let rest = (0..100).filter(|_| limit.try_acquire(1).unwrap().is_admitted()).count() as u64;
        assert!(more + rest <= 13, "{policy}: {more} under the older clock, {rest} under the right one");
        assert_eq!(more + rest, 13, "{policy}: something was lost");
        let changes = limit.inspect().unwrap().changes;
        assert_eq!(changes, 0, "{policy}: the child took its clock for one that was set");
        // No turn lies further ahead than it should. (A sliding counter looks back one window.)
        assert!(limit.status().unwrap().next_in < Duration::from_secs(2 * 367 * 86_400), "{policy}");
    }
}

/// A worker to which the kernel tells neither the boot nor the time namespace, under a clock that is ahead by `boottime`
/// seconds.
fn without_proc(arena: &Arena, boottime: &str) -> Result<RemoteWorker, String> {
    let mut worker = under_another_clock(arena, boottime)?;
    worker.expect_ok("tmpfs /proc 1m");
    Ok(worker)
}

#[test]
fn without_proc_the_same_clock_is_recognised() {
    let arena = Arena::with_fixed_budget(20);
    let limit = arena.open();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    let mut worker = match without_proc(&arena, "0") {
        Ok(worker) => worker,
        Err(why) => skip!("{why}"),
    };
    worker.expect_ok("open");
    worker.expect_ok("attach");
    assert_eq!(worker.admitted_of(4), 4);
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    assert_eq!(worker.admitted_of(100), 14);
}

#[test]
fn without_proc_another_time_namespace_is_refused() {
    for offset in ["-5", "2", "100000"] {
        let arena = Arena::with_fixed_budget(20);
        let limit = arena.open();
        let mut worker = match without_proc(&arena, offset) {
            Ok(worker) => worker,
            Err(why) => skip!("{why}"),
        };
        for order in ["open", "attach"] {
            let answer = worker.ask(order);
            assert!(answer.starts_with("error OtherClock"), "{offset}: {answer}");
            for words in ["/proc is not mounted here", "could not be confirmed", "mount /proc"] {
                assert!(answer.contains(words), "{words} is not in: {answer}");
            }
            assert!(!answer.contains("--force"), "a live limiter would be removed: {answer}");
        }
        // With /proc it is told apart by name.
        worker.expect_ok("uncover /proc");
        refused(&worker.ask("open"));
        assert_eq!(limit.status().unwrap().available, 20);
    }
}

#[test]
fn a_limiter_created_without_proc_is_joined_only_under_the_same_clock() {
    for (ahead, joined) in [("0", true), ("1000", false)] {
        let arena = Arena::with_fixed_budget(20);
        let mut maker = match without_proc(&arena, ahead) {
            Ok(worker) => worker,
            Err(why) => skip!("{why}"),
        };
        maker.expect_ok("open");
        assert_eq!(maker.admitted_of(3), 3);
        let patch = Patch::of(&arena.file());
        assert_eq!((patch.get(offset::BOOT_ID), patch.get(offset::TIME_NAMESPACE)), (0, 0), "it was known");
        let mut worker = RemoteWorker::new(WORKER, &arena.job("remote"));
        let answer = worker.ask("open");
        if joined {
            assert_eq!(answer, "ok");
            assert_eq!(worker.admitted_of(100), 17);
        } else {
            assert!(answer.starts_with("error OtherClock"), "{answer}");
            assert!(answer.contains("had no /proc"), "{answer}");
        }
        // Those under the same clock share it, also where neither knows it.
        let mut twin = without_proc(&arena, ahead).expect("another one");
        twin.expect_ok("open");
        assert_eq!(twin.admitted_of(100), if joined { 0 } else { 17 });
    }
}

/// The time of day stands in for what is unknown on one side, and for nothing that is known.
#[test]
fn the_time_of_day_decides_only_where_the_clock_is_unknown() {
    let arena = Arena::with_fixed_budget(20);
    drop(arena.open());
    let patch = Patch::of(&arena.file());
    let hour = 3_600_000_000_000u64;
    patch.set(offset::WALL, patch.get(offset::WALL) - hour).seal();
    drop(arena.job("open").attach().expect("the same boot and namespace"));
    patch.set(offset::TIME_NAMESPACE, 0).seal();
    let answer = arena.job("open").attach().map(drop).unwrap_err().to_string();
    assert!(answer.contains("clocks are") && answer.contains("apart"), "{answer}");
    patch.set(offset::WALL, patch.get(offset::WALL) + hour).seal();
    drop(arena.job("open").attach().expect("the same time of day"));
}

/// Where a filter refuses the system call, the C library still reads the clocks, from memory. The windows begin as for all
/// others, and the process does not take its ignorance for a clock that was set.
#[test]
fn a_filter_of_clock_calls_moves_no_window() {
    let (theirs, ours) = (Arena::with_policy("fixed:10/1h", 0), Arena::with_policy("fixed:10/1h", 0));
    let mut filtered = RemoteWorker::new(WORKER, &theirs.job("remote"));
    filtered.expect_ok("refuse clock_gettime");
    filtered.expect_ok("open");
    assert!(filtered.ask("try").starts_with("admitted"));
    let ends = |arena: &Arena| arena.open().inspect().unwrap().window_ends[0].unwrap().at;
    let apart = |a: shm_lib::Nanos, b: shm_lib::Nanos| a.since(b).max(b.since(a));
    // An hour may have ended in between.
    let difference = apart(ends(&theirs), ends(&ours)).as_secs_f64() % 3_600.0;
    assert!(!(1.0..3_599.0).contains(&difference), "{difference} s apart");
    let epoch = || Patch::of(&theirs.file()).get(offset::EPOCH);
    let before = epoch();
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(120));
        assert!(filtered.ask("try").starts_with("admitted"));
    }
    assert_eq!(epoch(), before, "it published a change");
}
