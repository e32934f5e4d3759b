//! The line against its literal model: random stories of processes that wait, played on the real code in a time of its own.
//!
//! | file | what |
//! |---|---|
//! | `mod` | the stories, and the properties |
//! | `promise` | what the line promises, word for word: it knows nothing of how the line is built |
//! | `driver` | plays a story: processes, callers that sleep and wake up, stops, kills, and a clock |
//!
//! How many stories are played is said by `SHM_LIMIT_STORIES`.

mod driver;
mod promise;

use crate::limit::{Limit, Rate};
use driver::{Driver, PROCESSES, Step, World};
use proptest::prelude::*;
use std::time::Duration;

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;

/// How many stories of each kind.
fn stories() -> ProptestConfig {
    let cases = std::env::var("SHM_LIMIT_STORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() }
}

fn rates() -> impl Strategy<Value = u64> {
    prop_oneof![Just(2u64), Just(20), Just(100), Just(1_000)]
}

/// `late`: by how much a caller may wake up late.
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

/// What callers do that wait and leave.
fn callers(cost: impl Strategy<Value = u64>) -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => arrives(cost),
        4 => passes(),
        2 => (0usize..64).prop_map(Step::Leaves),
        1 => (0usize..64).prop_map(Step::Looks),
    ]
}

/// What others take beside the line.
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

    /// Callers come, are served, reach their deadlines or leave: nothing is wasted, to the microsecond.
    #[test]
    fn those_who_leave_take_nothing_along(
        world in worlds(US..MS, Just(None)),
        steps in story(callers(Just(1))),
    ) {
        Driver::plays(&world, &steps)?;
    }

    /// Beside others, who try.
    #[test]
    fn nobody_gets_ahead_of_the_line_by_trying(
        world in worlds(US..MS, Just(None)),
        steps in story(prop_oneof![3 => callers(Just(1)), 1 => others()]),
    ) {
        Driver::plays(&world, &steps)?;
    }

    #[test]
    fn large_requests_and_small_ones_stand_in_one_line(
        world in worlds(US..MS, Just(None)),
        steps in story(callers(1u64..4)),
    ) {
        Driver::plays(&world, &steps)?;
    }

    #[test]
    fn the_stopped_are_passed_and_the_dead_are_cleared(
        world in worlds(US..15 * MS, Just(None)),
        steps in story(prop_oneof![5 => callers(Just(1)), 1 => others(), 2 => accidents()]),
    ) {
        Driver::plays(&world, &steps)?;
    }

    #[test]
    fn permits_go_to_the_first(
        world in worlds(US..MS, (1u32..3).prop_map(Some)),
        steps in story(prop_oneof![
            4 => callers(Just(1)),
            2 => (0usize..64).prop_map(Step::GivesPermitBack),
            1 => others(),
        ]),
    ) {
        Driver::plays(&world, &steps)?;
    }

    #[test]
    fn changes_keep_the_order(
        world in worlds(US..MS, Just(None)),
        steps in story(prop_oneof![5 => callers(Just(1)), 1 => changes()]),
    ) {
        Driver::plays(&world, &steps)?;
    }

    #[test]
    fn all_of_it_at_once(
        world in worlds(US..15 * MS, prop::option::weighted(0.3, 1u32..4)),
        steps in story(prop_oneof![
            9 => callers(1u64..4),
            2 => others(),
            2 => accidents(),
            1 => changes(),
            1 => (0usize..64).prop_map(Step::GivesPermitBack),
        ]),
    ) {
        Driver::plays(&world, &steps)?;
    }
}

/// What the properties found once, and what is too rare to be left to chance.
mod found {
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

    /// Two turns are charged, and one of those they are for leaves: whoever comes gets the other one.
    #[test]
    fn a_turn_of_one_who_has_left_is_in_time_for_one_who_comes() {
        let patient = Step::Arrives { process: 0, cost: 1, is_task: false, patience: Some(2_200 * US) };
        let steps = [thread(0), thread(0), thread(0), Step::Leaves(0), patient];
        Driver::plays(&world(1_000, 1, None, US), &steps).unwrap();
    }

    /// The thread's turn comes earlier than it planned, and those who could tell it trust in the plan of its process, which
    /// is that of the thread that tends the task.
    #[test]
    fn a_thread_is_told_of_its_turn_though_tasks_of_its_process_wait_as_well() {
        let steps =
            [thread(0), thread(1), thread(0), task(0), Step::GivesPermitBack(0), Step::Passes(4 * MS)];
        Driver::plays(&world(1_000, 1, Some(2), US), &steps).unwrap();
    }

    /// The same, and the task leaves before the thread's turn has come.
    #[test]
    fn a_thread_is_told_of_its_turn_though_the_last_task_of_its_process_leaves() {
        let first = [thread(0); 7];
        let others = [thread(1), thread(3), thread(2), thread(4)];
        let leave = [Step::Leaves(0); 3];
        let rest = [task(4), thread(0), thread(1), thread(0), Step::Passes(10_500 * US), Step::Leaves(9)];
        let steps = [&first[..], &others[..], &leave[..], &rest[..]].concat();
        Driver::plays(&world(100, 1, None, 480_728), &steps).unwrap();
    }

    /// The first task has no deadline, and the thread that tends them sleeps for long.
    #[test]
    fn a_task_behind_another_one_is_denied_in_time() {
        let deadline = Step::Arrives { process: 0, cost: 1, is_task: true, patience: Some(50 * MS) };
        let others = [thread(0), thread(1), thread(3), thread(2), task(0), Step::Passes(US), deadline];
        let steps = [&others[..], &[Step::Passes(70 * MS)]].concat();
        Driver::plays(&world(100, 2, Some(1), US), &steps).unwrap();
    }

    /// A turn was charged for the end of the pause. What was not used before it is there when it ends early.
    #[test]
    fn a_pause_that_ends_early_costs_nothing() {
        let steps = [Step::Pauses(400 * MS), thread(0), Step::Passes(MS), Step::Resumes];
        Driver::plays(&world(2, 1, None, US), &steps).unwrap();
    }

    /// The large one's turn is far away. When it has left, the small one behind it has an earlier one.
    #[test]
    fn a_large_request_that_has_left_holds_up_no_small_one() {
        let large = Step::Arrives { process: 4, cost: 3, is_task: false, patience: None };
        let two = Step::Arrives { process: 0, cost: 2, is_task: false, patience: None };
        let steps = [two, large, thread(0), Step::Leaves(1)];
        Driver::plays(&world(20, 3, None, US), &steps).unwrap();
        let a_task = [two, large, task(0), Step::Passes(MS), Step::Leaves(1)];
        Driver::plays(&world(20, 3, None, US), &a_task).unwrap();
    }

    /// The turns that are there are for those who were there before, who are late, and not for the one who comes now.
    #[test]
    fn one_who_comes_behind_late_ones_has_a_turn() {
        let steps = [thread(0), thread(0), thread(0), thread(2), Step::Passes(2_999_391), thread(1)];
        Driver::plays(&world(1_000, 2, None, 3_109_282), &steps).unwrap();
    }

    /// It was charged for one who died. Who comes after its instant can't claim it, and undoes it.
    #[test]
    fn a_turn_that_nobody_can_claim_is_undone() {
        let before = [thread(0), thread(3), Step::Passes(300 * MS), Step::Dies(3), Step::Passes(250 * MS)];
        let steps = [&before[..], &[thread(0), Step::Passes(400 * MS)]].concat();
        Driver::plays(&world(2, 1, None, US), &steps).unwrap();
    }
}
