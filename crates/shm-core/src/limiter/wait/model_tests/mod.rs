//! Tests the line against its specification: random scenarios of waiting processes, run on the real code in simulated
//! time.
//!
//! | file | content |
//! |---|---|
//! | `mod` | the scenarios, and the properties |
//! | `promise` | the specification of the line, independent of its implementation |
//! | `driver` | runs a scenario: processes, callers that sleep and wake, stops, kills, and a clock |
//!
//! `SHM_LIMIT_STORIES` sets the number of scenarios.

mod driver;
mod promise;

use crate::limit::{Limit, Rate};
use driver::{Driver, PROCESSES, Step, World};
use proptest::prelude::*;
use std::time::Duration;

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;

/// The number of scenarios of each kind.
fn stories() -> ProptestConfig {
    let cases = std::env::var("SHM_LIMIT_STORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() }
}

fn rates() -> impl Strategy<Value = u64> {
    prop_oneof![Just(2u64), Just(20), Just(100), Just(1_000)]
}

/// `late`: how late a caller may wake up.
fn worlds(
    late: std::ops::Range<u64>,
    permits: impl Strategy<Value = Option<u32>>,
) -> impl Strategy<Value = World> {
    (rates(), 1u64..4, any::<bool>(), permits, prop::collection::vec(late, 1..6)).prop_map(
        |(rate, burst, is_record, permits, late)| {
            let limit = Limit::with_burst(Rate::new(rate, Duration::from_secs(1)).unwrap(), burst).unwrap();
            World { limit, is_record, permits, late }
        },
    )
}

fn times() -> impl Strategy<Value = u64> {
    prop_oneof![0..2 * MS, 0..60 * MS, 0..600 * MS]
}

fn arrives(cost: impl Strategy<Value = u64>) -> impl Strategy<Value = Step> {
    let patience = prop::option::of(prop_oneof![0..5 * MS, 0..300 * MS, 0..2_000 * MS]);
    (0..PROCESSES, cost, any::<bool>(), patience)
        .prop_map(|(process, cost, is_task, patience)| Step::Arrives { process, cost, is_task, patience })
}

fn passes() -> impl Strategy<Value = Step> {
    times().prop_map(Step::Passes)
}

/// Waiting callers, and callers that leave.
fn callers(cost: impl Strategy<Value = u64>) -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => arrives(cost),
        4 => passes(),
        2 => (0usize..64).prop_map(Step::Leaves),
        1 => (0usize..64).prop_map(Step::Looks),
    ]
}

/// Callers that take without joining the line.
fn others() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..PROCESSES, 1u64..3).prop_map(|(process, cost)| Step::Tries { process, cost }),
        1 => (0..PROCESSES, 1u64..3).prop_map(|(process, tokens)| Step::Charges { process, tokens }),
    ]
}

fn accidents() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..PROCESSES).prop_map(Step::Stops),
        3 => (0..PROCESSES).prop_map(Step::GoesOn),
        2 => (0..PROCESSES).prop_map(Step::Dies),
        1 => (0..PROCESSES, any::<bool>())
            .prop_map(|(process, after_charging)| Step::DiesFilling { process, after_charging }),
    ]
}

fn changes() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => rates().prop_map(Step::ChangesRate),
        1 => Just(Step::Resets),
        1 => times().prop_map(Step::Pauses),
        1 => Just(Step::Resumes),
    ]
}

fn story(step: impl Strategy<Value = Step>) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(stories())]

    /// Callers arrive, are served, reach their deadlines or leave, and no turn is wasted, to the microsecond.
    #[test]
    fn leaving_callers_waste_no_turns(
        world in worlds(US..MS, Just(None)),
        steps in story(callers(Just(1))),
    ) {
        Driver::run(&world, &steps)?;
    }

    /// The same alongside callers that try without waiting.
    #[test]
    fn callers_that_try_never_overtake_the_line(
        world in worlds(US..MS, Just(None)),
        steps in story(prop_oneof![3 => callers(Just(1)), 1 => others()]),
    ) {
        Driver::run(&world, &steps)?;
    }

    #[test]
    fn large_and_small_requests_share_one_line(
        world in worlds(US..MS, Just(None)),
        steps in story(callers(1u64..4)),
    ) {
        Driver::run(&world, &steps)?;
    }

    #[test]
    fn stopped_processes_are_passed_and_dead_ones_cleared(
        world in worlds(US..15 * MS, Just(None)),
        steps in story(prop_oneof![5 => callers(Just(1)), 1 => others(), 2 => accidents()]),
    ) {
        Driver::run(&world, &steps)?;
    }

    #[test]
    fn permits_go_to_the_first_caller(
        world in worlds(US..MS, (1u32..3).prop_map(Some)),
        steps in story(prop_oneof![
            4 => callers(Just(1)),
            2 => (0usize..64).prop_map(Step::GivesPermitBack),
            1 => others(),
        ]),
    ) {
        Driver::run(&world, &steps)?;
    }

    #[test]
    fn changes_keep_the_order(
        world in worlds(US..MS, Just(None)),
        steps in story(prop_oneof![5 => callers(Just(1)), 1 => changes()]),
    ) {
        Driver::run(&world, &steps)?;
    }

    #[test]
    fn everything_combined(
        world in worlds(US..15 * MS, prop::option::weighted(0.3, 1u32..4)),
        steps in story(prop_oneof![
            9 => callers(1u64..4),
            2 => others(),
            2 => accidents(),
            1 => changes(),
            1 => (0usize..64).prop_map(Step::GivesPermitBack),
        ]),
    ) {
        Driver::run(&world, &steps)?;
    }
}

/// Regressions that the properties found, and cases too rare to leave to chance.
mod regressions {
    use super::*;

    fn world(rate: u64, burst: u64, permits: Option<u32>, late: u64) -> World {
        let limit = Limit::with_burst(Rate::per_second(rate).unwrap(), burst).unwrap();
        World { limit, is_record: false, permits, late: vec![late] }
    }

    fn thread(process: usize) -> Step {
        Step::Arrives { process, cost: 1, is_task: false, patience: None }
    }

    fn task(process: usize) -> Step {
        Step::Arrives { process, cost: 1, is_task: true, patience: None }
    }

    /// Two turns are charged, and one of their callers leaves: the next caller to arrive gets the other turn.
    #[test]
    fn a_turn_of_a_caller_that_left_serves_a_newcomer_in_time() {
        let patient = Step::Arrives { process: 0, cost: 1, is_task: false, patience: Some(2_200 * US) };
        let steps = [thread(0), thread(0), thread(0), Step::Leaves(0), patient];
        Driver::run(&world(1_000, 1, None, US), &steps).unwrap();
    }

    /// Of three turns that are charged right after a reset, one is left over when its caller leaves: it came before the arrival of
    /// those who still wait, and they undo it in time, though their own turn is far away.
    #[test]
    fn a_turn_from_before_all_arrivals_is_undone_while_the_next_one_is_far_away() {
        let refused = Step::Arrives { process: 0, cost: 1, is_task: false, patience: Some(0) };
        let before = [thread(0), thread(0), thread(0), refused, thread(2), task(0), Step::Resets];
        let after = [thread(2), thread(1), thread(0), Step::Leaves(26), Step::Leaves(34)];
        for time in [221 * MS, 300 * MS] {
            let steps = [&before[..], &after, &[Step::Passes(time)]].concat();
            Driver::run(&world(2, 3, None, US), &steps).unwrap();
        }
    }

    /// The only caller in line is killed. The next one that asks, and may not wait, is told when the next turn comes: that which was
    /// charged for the dead one.
    #[test]
    fn the_turn_of_the_last_caller_is_given_back_when_it_is_found_dead() {
        let steps = [thread(0), thread(1), Step::Dies(1), Step::Passes(400 * MS)];
        let mut driver = Driver::new(&world(1, 1, None, US));
        driver.play_all(&steps).unwrap();
        let refused = Step::Arrives { process: 2, cost: 1, is_task: false, patience: Some(0) };
        driver.play_all(&[refused]).unwrap();
        assert_eq!(driver.available_in(), Duration::from_millis(600));
    }

    /// The thread's turn comes earlier than planned, and the processes that could wake it rely on the plan of its
    /// process, which is that of the thread that tends the task.
    #[test]
    fn a_thread_is_woken_for_its_turn_while_tasks_of_its_process_wait() {
        let steps =
            [thread(0), thread(1), thread(0), task(0), Step::GivesPermitBack(0), Step::Passes(4 * MS)];
        Driver::run(&world(1_000, 1, Some(2), US), &steps).unwrap();
    }

    /// The same, and the task leaves before the thread's turn has come.
    #[test]
    fn a_thread_is_woken_for_its_turn_after_the_last_task_of_its_process_left() {
        let first = [thread(0); 7];
        let others = [thread(1), thread(3), thread(2), thread(4)];
        let leave = [Step::Leaves(0); 3];
        let rest = [task(4), thread(0), thread(1), thread(0), Step::Passes(10_500 * US), Step::Leaves(9)];
        let steps = [&first[..], &others[..], &leave[..], &rest[..]].concat();
        Driver::run(&world(100, 1, None, 480_728), &steps).unwrap();
    }

    /// The first task has no deadline, and the tending thread has planned a long sleep.
    #[test]
    fn a_task_behind_another_one_is_denied_in_time() {
        let deadline = Step::Arrives { process: 0, cost: 1, is_task: true, patience: Some(50 * MS) };
        let others = [thread(0), thread(1), thread(3), thread(2), task(0), Step::Passes(US), deadline];
        let steps = [&others[..], &[Step::Passes(70 * MS)]].concat();
        Driver::run(&world(100, 2, Some(1), US), &steps).unwrap();
    }

    /// A turn was charged for the end of the pause. When the pause ends early, the budget that was unused before it is
    /// available.
    #[test]
    fn a_pause_that_ends_early_wastes_nothing() {
        let steps = [Step::Pauses(400 * MS), thread(0), Step::Passes(MS), Step::Resumes];
        Driver::run(&world(2, 1, None, US), &steps).unwrap();
    }

    /// The large request's turn is far away. Once it has left, the small one behind it has an earlier turn.
    #[test]
    fn a_large_request_that_left_does_not_delay_a_small_one() {
        let large = Step::Arrives { process: 4, cost: 3, is_task: false, patience: None };
        let two = Step::Arrives { process: 0, cost: 2, is_task: false, patience: None };
        let steps = [two, large, thread(0), Step::Leaves(1)];
        Driver::run(&world(20, 3, None, US), &steps).unwrap();
        let a_task = [two, large, task(0), Step::Passes(MS), Step::Leaves(1)];
        Driver::run(&world(20, 3, None, US), &a_task).unwrap();
    }

    /// The ready turns belong to earlier callers, which are late, and not to the newcomer.
    #[test]
    fn a_newcomer_behind_late_callers_gets_a_turn() {
        let steps = [thread(0), thread(0), thread(0), thread(2), Step::Passes(2_999_391), thread(1)];
        Driver::run(&world(1_000, 2, None, 3_109_282), &steps).unwrap();
    }

    /// It was charged for a caller that died. A caller that arrives after its instant cannot claim it, and undoes it.
    #[test]
    fn a_turn_that_no_caller_can_claim_is_undone() {
        let before = [thread(0), thread(3), Step::Passes(300 * MS), Step::Dies(3), Step::Passes(250 * MS)];
        let steps = [&before[..], &[thread(0), Step::Passes(400 * MS)]].concat();
        Driver::run(&world(2, 1, None, US), &steps).unwrap();
    }

    /// Three turns have come, and two callers are before the one that looks. One of them is of a stopped process, which is
    /// not late yet. It keeps its turn, but does not come for it.
    #[test]
    fn a_stopped_process_may_be_passed_before_it_is_late() {
        let arrive = [thread(0), thread(0), thread(0), thread(0), thread(2), thread(0)];
        let leave = [Step::Leaves(1), Step::Leaves(1), Step::Stops(2)];
        let rest = [Step::Passes(30_500 * US), Step::Looks(1), Step::Passes(400 * MS)];
        let steps = [&arrive[..], &leave[..], &rest[..]].concat();
        Driver::run(&world(100, 1, None, 25 * MS), &steps).unwrap();
    }

    /// The same, after a dead process in front of the stopped one was cleared.
    #[test]
    fn a_stopped_process_behind_a_dead_one_may_be_passed() {
        let late = vec![10_601_542, 14_094_410, 440_975, 6_900_480, 6_900_329];
        let world = World { late, ..world(2, 1, None, US) };
        let steps = [
            Step::ChangesRate(100),
            task(1),
            thread(0),
            Step::Leaves(1),
            Step::Tries { process: 0, cost: 1 },
            thread(1),
            Step::Looks(1),
            Step::Looks(0),
            thread(1),
            thread(1),
            thread(1),
            thread(2),
            Step::Leaves(14),
            Step::Tries { process: 0, cost: 1 },
            thread(0),
            Step::DiesFilling { process: 1, after_charging: false },
            thread(0),
            Step::Stops(2),
            thread(0),
            Step::Passes(248_288_481),
        ];
        Driver::run(&world, &steps).unwrap();
    }

    /// The bucket is in debt, so the first turn is further away than a process may be late. The caller that sleeps until
    /// then wakes up when the second turn has come, too.
    #[test]
    fn a_caller_that_wakes_late_after_a_long_sleep_wastes_nothing() {
        let world = World { late: vec![1_000, 10_101_971], ..world(100, 1, None, US) };
        let steps =
            [thread(0), Step::Charges { process: 0, tokens: 1 }, thread(0), thread(0), thread(1), thread(0)];
        Driver::run(&world, &steps).unwrap();
    }

    /// The same, with a burst.
    #[test]
    fn a_caller_that_wakes_late_after_a_long_sleep_wastes_nothing_of_a_burst() {
        let world = World { late: vec![1_000, 10_134_961, 125_971], ..world(100, 2, None, US) };
        let steps = [
            thread(0),
            thread(0),
            Step::Charges { process: 0, tokens: 1 },
            thread(0),
            thread(0),
            thread(0),
            thread(0),
            thread(0),
            thread(1),
            thread(1),
        ];
        Driver::run(&world, &steps).unwrap();
    }

    /// A caller is passed. Then another one, which is before it and was late, gets the last permit.
    #[test]
    fn a_passed_caller_may_have_to_wait_for_a_permit() {
        let arrives = |process, cost, is_task| Step::Arrives { process, cost, is_task, patience: None };
        let world =
            World { is_record: true, late: vec![1_098_907, 12_219_720], ..world(100, 3, Some(2), US) };
        let steps = [
            thread(0),
            arrives(4, 3, true),
            arrives(4, 2, true),
            Step::Passes(39_009_004),
            Step::Passes(25_627_910),
            arrives(1, 3, false),
            task(2),
            thread(1),
            thread(0),
            Step::GivesPermitBack(0),
            Step::Leaves(15),
            thread(0),
            Step::Leaves(32),
            Step::GivesPermitBack(0),
            Step::Passes(77_637_439),
        ];
        Driver::run(&world, &steps).unwrap();
    }

    /// The caller that left cannot undo its turn exactly, since something else was charged. The turn stays, and the next
    /// caller, for which it is too small, comes after it.
    #[test]
    fn a_turn_that_is_left_behind_may_cause_a_refusal() {
        let steps = [
            Step::Tries { process: 0, cost: 1 },
            Step::Tries { process: 0, cost: 1 },
            Step::ChangesRate(20),
            thread(0),
            Step::Charges { process: 0, tokens: 2 },
            Step::Leaves(0),
            Step::Arrives { process: 0, cost: 2, is_task: false, patience: Some(200_201_660) },
        ];
        Driver::run(&world(2, 2, None, US), &steps).unwrap();
    }

    /// The second process sleeps longer than the first would have. The process that clears the dead first one wakes it.
    #[test]
    fn the_next_process_is_woken_when_a_dead_one_is_cleared() {
        let mut driver = Driver::new(&world(50, 1, None, US));
        let steps = [thread(0), thread(1), thread(2), Step::Dies(1), Step::Passes(23 * MS), thread(0)];
        driver.play_all(&steps).unwrap();
        assert_eq!(driver.waiting(), [2, 0]);
        driver.play_all(&[Step::Passes(MS)]).unwrap();
        assert_eq!(driver.waiting(), [0]);
    }

    /// The same, where a caller that is refused probes the whole line.
    #[test]
    fn the_next_process_is_woken_when_a_refused_caller_clears_a_dead_one() {
        let mut driver = Driver::new(&world(50, 1, None, US));
        let refused = Step::Arrives { process: 0, cost: 1, is_task: false, patience: Some(MS) };
        let before = [thread(0), thread(1), thread(2), Step::Passes(15 * MS), thread(0), Step::Dies(1)];
        driver.play_all(&before).unwrap();
        driver.play_all(&[Step::Passes(8 * MS), refused]).unwrap();
        assert_eq!(driver.waiting(), [2, 0]);
        driver.play_all(&[Step::Passes(MS)]).unwrap();
        assert_eq!(driver.waiting(), [0]);
    }

    /// A turn came for a caller that left. It is refunded after a while, which replaces the record, so the next turn,
    /// which was charged for a large request that left, cannot be charged again for the small one behind it.
    #[test]
    fn a_refunded_turn_of_a_record_keeps_later_turns_as_they_are() {
        let two = |process| Step::Arrives { process, cost: 2, is_task: false, patience: None };
        let steps = [
            thread(0),
            two(0),
            task(0),
            Step::Leaves(44),
            Step::Looks(0),
            two(0),
            Step::Leaves(12),
            thread(0),
            Step::Passes(100_000_880),
            Step::Leaves(0),
            thread(0),
        ];
        let world = World { is_record: true, ..world(2, 2, None, US) };
        Driver::run(&world, &steps).unwrap();
    }

    /// Two turns came while the only caller slept. The first newcomer can use neither, though one is left over, so the
    /// second newcomer needs a turn beyond the one that is charged for the first.
    #[test]
    fn a_turn_that_is_left_over_does_not_count_for_newcomers() {
        let steps = [
            thread(0),
            thread(0),
            task(2),
            Step::Leaves(6),
            Step::Passes(23_417_241),
            thread(0),
            thread(3),
            Step::Passes(0),
        ];
        let world = World { late: vec![1_000, 13_417_701], ..world(100, 1, None, US) };
        Driver::run(&world, &steps).unwrap();
    }

    /// No permit is free. Until the first caller left, a little while ago, the turn that has come was its own.
    #[test]
    fn a_turn_from_before_all_arrivals_is_not_undone_at_once() {
        let world = World {
            late: vec![12_129_221, 7_905_192, 1_000, 1_000, 8_893_830],
            ..world(100, 1, Some(2), US)
        };
        let steps = [
            Step::Tries { process: 0, cost: 1 },
            Step::Passes(9_999_850),
            thread(1),
            Step::Charges { process: 0, tokens: 2 },
            Step::GivesPermitBack(0),
            Step::Arrives { process: 0, cost: 1, is_task: true, patience: Some(236_363_300) },
            Step::Passes(46_126_354),
            thread(0),
            Step::Passes(672_268),
            thread(1),
            Step::Passes(212_119_453),
            Step::Passes(7_880_208),
        ];
        Driver::run(&world, &steps).unwrap();
    }

    /// The turn of a large request stays while its process is stopped, also where the small one arrives after the stop.
    #[test]
    fn a_small_request_waits_for_the_turn_of_a_stopped_large_one() {
        let large = Step::Arrives { process: 2, cost: 2, is_task: true, patience: None };
        let steps = [thread(0), large, Step::Stops(2), thread(0), Step::Passes(491_999_946)];
        Driver::run(&world(2, 2, None, 2_000_001), &steps).unwrap();
    }

    /// The turn of the caller that left cannot be undone exactly, and a large request arrives in another process.
    #[test]
    fn a_turn_that_was_left_behind_is_no_surprise_to_another_process() {
        let large = |patience| Step::Arrives { process: 0, cost: 3, is_task: false, patience };
        let steps = [
            large(None),
            Step::Passes(4_276_171),
            thread(1),
            Step::Passes(41_792_461),
            Step::Charges { process: 0, tokens: 2 },
            Step::Leaves(0),
            large(Some(204_030_858)),
        ];
        for is_record in [false, true] {
            Driver::run(&World { is_record, ..world(20, 3, None, 1_000) }, &steps).unwrap();
        }
    }
}
