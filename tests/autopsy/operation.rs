//! All operations that are cut off.

use crate::exam::{Birth, Budget, Ending, Exam, PERMITS, Permits, Terms, Turns, Waiting};

/// One of them, on one kind of limiter.
pub(crate) struct Operation {
    /// For people, and for `--op`.
    pub(crate) name: String,
    /// For the victim.
    pub(crate) act: &'static str,
    /// As `harness::policy` reads it.
    pub(crate) policy: &'static str,
    pub(crate) permits: u64,
    pub(crate) seats: u64,
    pub(crate) exam: fn() -> Box<dyn Exam>,
}

/// Budgets that do not grow while anybody watches: a state in a word, one in a record, one in a log.
const BUDGETS: [(&str, &str); 3] = [
    ("word", "bucket:1000/366d:1000"),
    ("record", "bucket:1000/366d:1000+first:1100/366d"),
    ("greedy", "greedy:1000/366d"),
];
/// Turns that are days apart.
const TURNS: [(&str, &str); 3] =
    [("word", "bucket:100/366d"), ("record", "bucket:100/366d+bucket:200/366d"), ("greedy", "greedy:2/1d")];
/// Turns that come soon.
const SOON: [(&str, &str); 2] = [("word", "bucket:200/s"), ("record", "bucket:200/s+bucket:400/s")];
/// What is scarce is permits.
const EASY: [(&str, &str); 2] =
    [("word", "bucket:1000000/s:100000"), ("record", "bucket:1000000/s:100000+fixed:1000000/s")];

type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)], fn() -> Box<dyn Exam>);

/// Name, what the victim does, the limiters, and what must hold.
const ROWS: &[Row] = &[
    ("create", "create", &BUDGETS, || Box::new(Birth::default())),
    ("open", "open", &BUDGETS, || Box::new(Budget::of_victim(0, 0))),
    ("first-request", "seat", &BUDGETS, || Box::new(Budget::of_victim(0, 1))),
    ("help", "seat", &BUDGETS, || Box::new(Budget::unsettled())),
    ("try", "try", &BUDGETS, || Box::new(Budget::of_victim(1, 2))),
    ("try-denied", "try", &BUDGETS, || Box::new(Budget::used_up())),
    ("settle-less", "refund", &BUDGETS, || Box::new(Budget::of_victim(3, 1))),
    ("settle-more", "charge", &BUDGETS, || Box::new(Budget::of_victim(1, 3))),
    ("schedule", "schedule", BUDGETS.first_chunk::<2>().unwrap(), || Box::new(Budget::of_victim(0, 3))),
    ("schedule", "schedule", BUDGETS.last_chunk::<1>().unwrap(), || Box::new(Budget::one_by_one(3))),
    ("reserve", "reserve", &TURNS, || Box::new(Turns::new(false))),
    ("cancel", "cancel", &TURNS, || Box::new(Turns::new(true))),
    ("wait", "wait", &SOON, || Box::new(Waiting::default())),
    ("permit-take", "permit", &EASY, || Box::new(Permits::of_victim(0, 1))),
    ("permit-release", "release", &EASY, || Box::new(Permits::of_victim(1, 0))),
    ("permit-reclaim", "reclaim", &EASY, || Box::new(Permits::reclaimed())),
    ("change", "change", &BUDGETS, || Box::new(Terms::change())),
    ("reset", "reset", &BUDGETS, || Box::new(Terms::reset())),
    ("pause", "pause", &BUDGETS, || Box::new(Terms::pause())),
    ("resume", "resume", &BUDGETS, || Box::new(Terms::resume())),
    ("retire", "retire", &BUDGETS, || Box::new(Ending)),
    ("leave", "drop", &BUDGETS, || Box::new(Budget::of_victim(1, 1))),
];

impl Operation {
    /// All whose name contains `part`.
    pub(crate) fn matching(part: &str) -> Vec<Operation> {
        let one = |&(name, act, limiters, exam): &Row| {
            let permits = if name.starts_with("permit") { PERMITS } else { 0 };
            // One for the victim and one for the others; and one of the dead, where there is a dead one before.
            let seats = if name == "permit-reclaim" { 3 } else { 2 };
            limiters.iter().map(move |&(limiter, policy)| Operation {
                name: format!("{name}-{limiter}"),
                act,
                policy,
                permits,
                seats,
                exam,
            })
        };
        ROWS.iter().flat_map(one).filter(|operation| operation.name.contains(part)).collect()
    }
}
