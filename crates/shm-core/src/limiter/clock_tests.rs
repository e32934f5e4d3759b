//! What a limiter does when the host's wall clock is set: with a clock and a wall clock that the test sets.

use super::{Decision, Demand, Limiter, Settings, WaitStep, Waiter};
use crate::clock::Nanos;
use crate::clock::set::{SetClock, SetWall};
use crate::directory::Directory;
use crate::limit::{Calendar, Cost, Limit, Policy, Rate, Start, Unit, Zone};
use crate::line::CallerWaker;
use crate::name::Name;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// The machine was started half a year ago.
const START: i64 = 180 * DAY;
/// 2026-11-26 12:10 UTC, a Thursday, when a test begins.
const WALL: i64 = 1_795_695_000 * SECOND;

/// A limiter, and both clocks.
struct Host {
    clock: SetClock,
    wall: SetWall,
    limiter: Limiter,
    now: i64,
    /// How much the wall clock is ahead of `now`.
    ahead: i64,
    _folder: tempfile::TempDir,
}

impl Host {
    fn new(policy: impl Into<Policy>) -> Host {
        let clock = SetClock::at(Nanos::from_nanos(START as u64));
        let wall = SetWall::ahead_by((WALL - START) as u64);
        let folder = tempfile::tempdir().unwrap();
        let (directory, name) = (Directory::at(folder.path()), Name::new("clock").unwrap());
        let limiter = Limiter::open(&directory, &name, &Settings::new(policy.into())).unwrap();
        Host { clock, wall, limiter, now: START, ahead: WALL - START, _folder: folder }
    }

    fn pass(&mut self, time: i64) {
        self.now += time;
        self.clock.pass_until(self.now as u64);
    }

    /// Sets the wall clock; a second later it is noticed at the latest.
    fn set_wall(&mut self, by: i64) {
        self.ahead += by;
        self.wall.step(by);
        self.pass(SECOND);
    }

    fn wall(&self) -> i64 {
        self.now + self.ahead
    }

    /// How many of these calls are admitted now.
    fn take(&self, calls: u64) -> u64 {
        let admitted = |_: &u64| matches!(self.limiter.try_acquire(1).unwrap(), Decision::Admitted(_));
        (0..calls).take_while(admitted).count() as u64
    }

    /// In how many seconds the next call is admitted.
    fn next_in(&self) -> i64 {
        let (status, now) = self.limiter.status().unwrap();
        status[0].next_at.since(now).as_secs_f64().round() as i64
    }

    fn was_set(&self) -> bool {
        self.limiter.inspect().unwrap().clock_was_set.is_some()
    }
}

/// At most `max` in each window of an hour that begins with the hour.
fn hourly(max: u64) -> [Limit; 2] {
    let fixed = Limit::fixed_window(Rate::per_hour(max).unwrap(), Start::Epoch).unwrap();
    [fixed, Limit::calendar_window(max, Calendar::Hour, Zone::UTC).unwrap()]
}

#[test]
fn within_the_same_window_usage_continues() {
    for limit in hourly(5) {
        let mut host = Host::new(limit);
        assert_eq!(host.take(3), 3);
        host.set_wall(20 * MINUTE);
        assert_eq!(host.take(9), 2, "{limit}");
        assert!(host.was_set());
        assert_eq!(host.next_in(), (30 * MINUTE) / SECOND - 1);
        host.set_wall(-25 * MINUTE);
        assert_eq!(host.take(9), 0);
        assert_eq!(host.next_in(), (55 * MINUTE) / SECOND - 2);
        host.pass(55 * MINUTE - 2 * SECOND);
        assert_eq!(host.take(9), 5);
    }
}

#[test]
fn a_later_window_starts_with_nothing_used() {
    for limit in hourly(5) {
        let mut host = Host::new(limit);
        assert_eq!(host.take(9), 5);
        host.set_wall(55 * MINUTE);
        assert_eq!(host.take(9), 5, "{limit}");
        assert_eq!(host.next_in(), (55 * MINUTE) / SECOND - 1);
    }
}

#[test]
fn windows_that_were_in_use_are_full_until_the_last_one_begins_again() {
    for limit in hourly(5) {
        let mut host = Host::new(limit);
        assert_eq!(host.take(1), 1);
        host.pass(2 * HOUR);
        assert_eq!(host.take(3), 3);
        // From 14:10 to 13:10, where the clock was an hour ago.
        host.set_wall(-HOUR);
        assert_eq!(host.take(9), 0, "{limit}");
        assert_eq!(host.next_in(), (50 * MINUTE) / SECOND - 1);
        host.pass(50 * MINUTE - 2 * SECOND);
        assert_eq!(host.take(9), 0);
        host.pass(SECOND);
        assert_eq!(host.take(9), 2, "3 calls count in this window already");
    }
}

#[test]
fn a_window_after_the_last_use_is_not_in_use() {
    for limit in hourly(5) {
        let mut host = Host::new(limit);
        assert_eq!(host.take(2), 2);
        host.pass(3 * HOUR);
        // Back by two hours: nothing was admitted in that window.
        host.set_wall(-2 * HOUR);
        assert_eq!(host.take(9), 5, "{limit}");
    }
}

#[test]
fn before_the_limiter_was_created_the_known_usage_counts() {
    for limit in hourly(5) {
        let mut host = Host::new(limit);
        assert_eq!(host.take(3), 3);
        host.set_wall(-5 * HOUR);
        assert_eq!(host.take(9), 2, "{limit}");
        assert_eq!(host.next_in(), (50 * MINUTE) / SECOND - 1);
        host.pass(50 * MINUTE);
        assert_eq!(host.take(9), 5);
    }
}

/// A time far ahead by mistake: only the window to which the clock returns is full.
#[test]
fn after_a_mistaken_time_one_window_is_full() {
    for (limit, mistake) in hourly(5).into_iter().flat_map(|limit| [(limit, 400 * DAY), (limit, 2 * HOUR)]) {
        let mut host = Host::new(limit);
        assert_eq!(host.take(2), 2);
        host.set_wall(mistake);
        assert_eq!(host.take(1), 1);
        host.set_wall(-mistake);
        assert_eq!(host.take(9), 0, "{limit}");
        assert_eq!(host.next_in(), (50 * MINUTE) / SECOND - 2);
        host.pass(50 * MINUTE);
        assert_eq!(host.take(9), 5);
    }
}

#[test]
fn a_reset_ends_the_denial_and_a_change_does_not() {
    for limit in hourly(5) {
        let mut host = Host::new(limit);
        host.pass(HOUR);
        assert_eq!(host.take(3), 3);
        host.set_wall(-30 * MINUTE);
        assert_eq!(host.take(9), 0, "{limit}");
        host.limiter.change(limit.at_rate(Rate::per_hour(7).unwrap()).unwrap()).unwrap();
        assert_eq!(host.take(9), 0);
        assert!(!host.was_set());
        host.limiter.pause_for(std::time::Duration::from_secs(1)).unwrap();
        host.limiter.resume().unwrap();
        assert_eq!(host.take(9), 0);
        host.limiter.reset().unwrap();
        assert_eq!(host.take(9), 7);
        assert_eq!(host.next_in(), (20 * MINUTE) / SECOND - 1);
    }
}

/// `set` and `reset` use the present wall clock, also before any decision has noticed that it was set.
#[test]
fn every_change_uses_the_present_wall_clock() {
    for limit in hourly(5) {
        let mut host = Host::new(limit);
        assert_eq!(host.take(5), 5);
        host.set_wall(55 * MINUTE);
        host.limiter.change(limit.at_rate(Rate::per_hour(6).unwrap()).unwrap()).unwrap();
        assert!(!host.was_set());
        assert_eq!(host.take(9), 6, "{limit}");
        host.set_wall(10 * MINUTE);
        host.limiter.reset().unwrap();
        assert_eq!(host.next_in(), 0);
        assert_eq!(host.take(9), 6);
        assert_eq!(host.next_in(), (45 * MINUTE) / SECOND - 2);
    }
}

/// A queue that waits for the next window is charged again under the new clock, by those who wait.
#[test]
fn turns_in_later_windows_are_dropped_by_a_step() {
    for limit in hourly(5) {
        let mut host = Host::new(limit);
        assert_eq!(host.take(3), 3);
        let turns = host.limiter.schedule(&Cost::calls(1), 4).unwrap();
        assert_eq!(turns.len(), 4);
        host.set_wall(10 * MINUTE);
        assert_eq!(host.take(9), 0, "{limit}: this window is full, because turns of it were taken");
        assert_eq!(host.next_in(), (40 * MINUTE) / SECOND - 1);
        host.pass(40 * MINUTE);
        assert_eq!(host.take(9), 5);
    }
}

/// A caller that waits for the next window is served in the window in which the clock now is.
#[test]
fn a_waiting_caller_notices_a_step() {
    for limit in hourly(5) {
        let mut host = Host::new(limit);
        assert_eq!(host.take(5), 5);
        let word = Arc::new(AtomicU64::new(0));
        let mut waiter = Waiter::new(Demand::new(&Cost::one()));
        let mut look = |host: &Host| {
            host.limiter.poll_turn(&mut waiter, &CallerWaker::Thread(Arc::clone(&word))).unwrap()
        };
        assert!(matches!(look(&host), WaitStep::Sleep { .. }), "{limit}");
        host.pass(SECOND);
        assert!(matches!(look(&host), WaitStep::Sleep { .. }));
        host.set_wall(50 * MINUTE);
        assert!(matches!(look(&host), WaitStep::Granted(_)), "{limit}");
        assert_eq!(host.take(9), 4);
    }
}

#[test]
fn other_kinds_do_not_notice() {
    let unit = Unit::named("bytes").unwrap();
    let bucket = Limit::with_burst(Rate::per_hour(60).unwrap(), 10).unwrap().counting(unit);
    for limit in hourly(5) {
        let mut host = Host::new(Policy::new(&[limit, bucket]).unwrap());
        let take = |host: &Host, calls: u64, bytes: u64| {
            let cost = match calls {
                0 => Cost::of(unit, bytes),
                n => Cost::from(n).and(unit, bytes),
            };
            matches!(host.limiter.try_cost(&cost).unwrap().0, Decision::Admitted(_))
        };
        host.pass(HOUR);
        assert!(take(&host, 1, 7) && !take(&host, 1, 4));
        host.set_wall(-30 * MINUTE);
        assert!(!take(&host, 1, 1), "the window before, which was in use: {limit}");
        let (status, _) = host.limiter.status().unwrap();
        assert_eq!((status[1].used, status[1].available), (7, 3));
        host.set_wall(30 * MINUTE);
        assert!(take(&host, 1, 3) && !take(&host, 1, 1));
    }
    // A limiter without windows by the wall clock publishes nothing.
    let greedy = Limit::greedy(Rate::per_hour(5).unwrap()).unwrap();
    let first_use = Limit::fixed_window(Rate::per_hour(5).unwrap(), Start::FirstUse).unwrap();
    for limit in [greedy, first_use, Limit::sliding_counter(Rate::per_hour(5).unwrap()).unwrap()] {
        let mut host = Host::new(limit);
        assert_eq!(host.take(3), 3);
        host.set_wall(3 * HOUR);
        assert_eq!(host.take(9), 2, "{limit}");
        assert_eq!(host.limiter.inspect().unwrap().changes, 0);
    }
}

#[test]
fn a_small_difference_is_no_step() {
    let mut host = Host::new(hourly(5)[0]);
    host.set_wall(9_000_000);
    assert_eq!(host.take(1), 1);
    assert_eq!(host.limiter.inspect().unwrap().changes, 0);
    // It adds up.
    host.set_wall(9_000_000);
    assert_eq!(host.take(1), 1);
    assert_eq!(host.limiter.inspect().unwrap().changes, 1);
}

/// One process publishes at most one step a second, however often its clock changes.
#[test]
fn steps_are_published_once_a_second() {
    let mut host = Host::new(hourly(5)[0]);
    for step in 0..50 {
        host.wall.step(if step % 2 == 0 { HOUR } else { -HOUR });
        host.pass(SECOND / 10);
        host.take(1);
    }
    let changes = host.limiter.inspect().unwrap().changes;
    assert!((3..=6).contains(&changes), "{changes} in 5 s");
}

#[cfg(feature = "zones-bundled")]
#[test]
fn calendar_windows_follow_their_zone() {
    let zone = Zone::named("Europe/Berlin").unwrap();
    let mut host = Host::new(Limit::calendar_window(5, Calendar::Day, zone).unwrap());
    assert_eq!(host.take(9), 5);
    let end = host.limiter.inspect().unwrap().window_ends[0].unwrap();
    assert_eq!(end.local.to_string(), "2026-11-27 00:00:00 +01:00");
    // Midnight in Berlin is at 23:00 UTC.
    assert_eq!(host.next_in(), (10 * HOUR + 50 * MINUTE) / SECOND);
    host.pass(10 * HOUR + 50 * MINUTE);
    assert_eq!(host.take(9), 5);
    // To the first Sunday of summer time, which has 23 hours.
    host.set_wall(121 * DAY + 12 * HOUR);
    assert_eq!(host.take(9), 5);
    let inspected = host.limiter.inspect().unwrap();
    assert_eq!(inspected.window_ends[0].unwrap().local.to_string(), "2027-03-29 00:00:00 +02:00");
    // Another zone has other windows; the usage is kept.
    let policy = Policy::from(Limit::calendar_window(6, Calendar::Day, Zone::UTC).unwrap());
    host.limiter.change(policy).unwrap();
    assert_eq!(host.take(9), 1);
}

#[cfg(feature = "zones-bundled")]
#[test]
fn what_cannot_be_exact_is_refused() {
    let lord_howe = Zone::named("Australia/Lord_Howe").unwrap();
    let berlin = Zone::named("europe/berlin").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (directory, name) = (Directory::at(folder.path()), Name::new("zone").unwrap());
    let open = |limit: Limit| Limiter::open(&directory, &name, &Settings::new(limit)).map(drop);
    let hours = Limit::calendar_window(5, Calendar::Hour, lord_howe).unwrap();
    let error = open(hours).unwrap_err().to_string();
    assert!(error.contains("a part of an hour") && error.contains("Lord_Howe"), "{error}");
    open(Limit::calendar_window(5, Calendar::Day, lord_howe).unwrap()).unwrap();
    let two = [berlin, lord_howe].map(|zone| Limit::calendar_window(5, Calendar::Day, zone).unwrap());
    let error = Policy::new(&two).unwrap_err().to_string();
    assert!(error.contains("Europe/Berlin and Australia/Lord_Howe"), "{error}");
    assert!(Zone::named("Europe/Berlim").unwrap_err().to_string().contains("not a known time zone"));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Pass(i64),
    /// Sets the wall clock, but not to before the limiter was created, and not forward by an hour.
    Set(i64),
    Take(u64),
    Change(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let times = || prop_oneof![SECOND..MINUTE, MINUTE..HOUR, HOUR..9 * HOUR];
    let step = prop_oneof![
        3 => times().prop_map(Step::Pass),
        2 => times().prop_map(|time| Step::Set(-time)),
        1 => (SECOND..HOUR - SECOND).prop_map(Step::Set),
        4 => (1u64..6).prop_map(Step::Take),
        1 => (1u64..6).prop_map(Step::Change),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However the wall clock is set, within the limits of `Step::Set`: of the calls that it placed in a window, never more than `max` were admitted.
    #[test]
    fn no_window_of_the_wall_clock_has_too_many(which in 0usize..2, steps in steps()) {
        let limit = hourly(5)[which];
        let mut host = Host::new(limit);
        let (mut windows, mut max, mut earliest) = (BTreeMap::<i64, u64>::new(), 5, WALL);
        for step in steps {
            match step {
                Step::Pass(time) => host.pass(time),
                Step::Set(by) if (host.wall() + by) / HOUR < earliest / HOUR => {}
                Step::Set(by) => {
                    host.set_wall(by);
                    // It is noticed, so that steps forward do not add up to an hour.
                    host.limiter.status().unwrap();
                }
                Step::Take(calls) => {
                    host.pass(SECOND);
                    let window = host.wall() / HOUR;
                    let admitted = host.take(calls);
                    let used = windows.entry(window).or_default();
                    *used += admitted;
                    prop_assert!(admitted == 0 || *used <= max, "{used} in window {window}");
                }
                Step::Change(most) => {
                    max = most;
                    host.limiter.change(limit.at_rate(Rate::per_hour(most).unwrap()).unwrap()).unwrap();
                }
            }
            earliest = earliest.min(host.wall());
        }
    }
}
