//! Clocks that are not the limiter's: time namespaces in which the machine started sooner or later.

use harness::{Arena, Puppet, is_root, skip};
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
/// Seconds that the other clock is ahead. (Behind: as far as the machine's uptime allows.)
const OFFSETS: [&str; 2] = ["-5", "1000"];

/// A puppet under another clock, or why that can't be.
fn elsewhen(arena: &Arena, offset: &str) -> Result<Puppet, String> {
    let spaces = if is_root() { "time,pid" } else { "user,time,pid" };
    let job = arena.job("container").set("namespaces", spaces).set("boottime", offset);
    let mut puppet = Puppet::new(WORKER, &job);
    match puppet.answer().as_str() {
        "contained" => Ok(puppet),
        why => Err(why.to_owned()),
    }
}

fn refused(answer: &str) {
    assert!(answer.starts_with("error OtherClock"), "{answer}");
    assert!(answer.contains("time namespace") && answer.contains("remove --force"), "{answer}");
}

/// Neither side opens what the other one made, and neither touches it.
#[test]
fn a_limiter_made_under_one_clock_is_refused_under_another() {
    for offset in OFFSETS {
        let here = Arena::with_fixed_budget(20);
        let limit = here.open();
        assert!(limit.try_acquire().unwrap().is_admitted());
        let bytes = || std::fs::read(here.file()).unwrap();
        let before = bytes();
        let mut other = match elsewhen(&here, offset) {
            Ok(puppet) => puppet,
            Err(why) => skip!("{why}"),
        };
        refused(&other.ask("open"));
        refused(&other.ask("attach"));
        assert!(bytes() == before, "written to");
        assert!(limit.try_acquire().unwrap().is_admitted());

        let there = Arena::with_fixed_budget(20);
        let mut maker = elsewhen(&there, offset).expect("another one");
        maker.must("open");
        assert_eq!(maker.takes(3), 3);
        let mut host = Puppet::new(WORKER, &there.job("puppet"));
        refused(&host.ask("open"));
        // Those who have its clock share it, forked or not.
        maker.ask("fork");
        assert_eq!(maker.ask("child take 4"), "4");
        maker.must("child open");
        assert_eq!(maker.ask("child take 5"), "5");
        assert_eq!(maker.takes(100), 8);
    }
}

/// A child that is born under a clock that hands out older times, with a handle from before: it takes nothing that
/// isn't there, and the state is not turned back by it.
#[test]
fn an_inherited_handle_under_an_older_clock_takes_nothing_extra() {
    for policy in
        ["bucket:20/366d:20", "greedy:20/366d", "fixed:20/366d+bucket:20/366d:20", "sliding:20/366d"]
    {
        let arena = Arena::with_policy(policy, 0);
        let limit = arena.open();
        let mut parent = Puppet::new(WORKER, &arena.job("puppet"));
        parent.must("open");
        let spaces = if is_root() { "time" } else { "user,time" };
        let why = parent.ask(&format!("leave namespaces={spaces} boottime=-5"));
        if why != "ok" {
            skip!("{why}");
        }
        // As many as were there a moment ago.
        assert_eq!(parent.takes(7), 7, "{policy}");
        parent.ask("fork");
        let (now, past) = (shm_lib::now().as_nanos(), parent.numbers("child now")[0]);
        assert!(past + 4_000_000_000 < now, "the child's clock is the same");
        let answer = parent.ask("child take 100");
        let more: u64 = answer.parse().unwrap_or_else(|_| panic!("{policy}: {answer}"));
        let rest = (0..100).filter(|_| limit.try_acquire().unwrap().is_admitted()).count() as u64;
        assert!(more + rest <= 13, "{policy}: {more} under the older clock, {rest} under the right one");
        assert_eq!(more + rest, 13, "{policy}: something was lost");
        // No turn lies where nobody put it. (A sliding counter looks back one window.)
        assert!(limit.peek().unwrap().next_in < Duration::from_secs(2 * 367 * 86_400), "{policy}");
    }
}
