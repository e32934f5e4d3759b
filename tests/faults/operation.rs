//! All operations into which faults are injected.

use crate::checks::{
    Budget, ChangedLine, Checks, Control, Creation, Deadline, KeyControl, KeyWaiting, Keys, Line, PERMITS,
    Permits, Reservations, Retirement, SlowedKeys, Waiting,
};

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
    /// Whether the victim has another thread. Then it is led step by step, since that one would run into the breakpoints of
    /// all; and it forks in no signal handler, since the C library holds its own locks for as long as a process with threads
    /// forks, and what is interrupted may hold them.
    pub(crate) has_threads: bool,
    /// Whether it sleeps, and looks again as often as the time allows. Then its path is hardly ever the same twice.
    pub(crate) sleeps: bool,
    /// At how many instructions a fault is injected where not all are tried.
    pub(crate) sample: usize,
    pub(crate) checks: fn() -> Box<dyn Checks>,
}

/// Budgets that do not grow while anybody watches: a state in a word, one in a record, one in a log.
const BUDGETS: [(&str, &str); 3] = [
    ("word", "bucket:1000/366d:1000"),
    ("record", "bucket:1000/366d:1000+calendar:1100/month"),
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

/// Turns that come soon, but not before the caller stands in the line.
const NEXT: [(&str, &str); 3] = [
    ("word", "bucket:50/s"),
    ("record", "bucket:50/s+bucket:100/s"),
    // All of them are free.
    ("permits", "bucket:50/s"),
];
/// Turns that come only after a change of the first limit or a reset.
const NEVER: [(&str, &str); 2] =
    [("word", "bucket:10/366d:10"), ("record", "bucket:10/366d:10+bucket:20/366d:20")];

/// Budgets of keys that do not grow, of one limit per key or of several, alone or beside limits of all keys.
const KEY: [(&str, &str); 2] =
    [("bucket", "key-bucket:1000/366d:1000"), ("sliding", "key-sliding:1000/366d")];
const KEY_LIMITS: [(&str, &str); 2] = [
    ("two", "key-bucket:1000/366d:1000+key-bucket:2000/366d:2000"),
    (
        "four",
        "key-bucket:1000/366d:1000+key-bucket:2000/366d:2000+key-bucket:3000/366d:3000+key-sliding:1500/366d",
    ),
];
const KEY_AND_ALL: [(&str, &str); 3] = [
    ("word", "bucket:1000/366d:1000+key-bucket:500/366d:500"),
    ("scarce", "bucket:400/366d:400+key-bucket:2000/366d:2000"),
    ("greedy", "greedy:1000/366d+key-bucket:500/366d:500"),
];
const KEY_AND_PERMIT: [(&str, &str); 1] = [("permit", "key-bucket:1000/366d:1000")];
/// Rates that are lowered beside the victim.
const KEY_FAST: [(&str, &str); 2] =
    [("bucket", "key-bucket:1000/s:1000"), ("two", "key-bucket:1000/s:1000+key-bucket:2000/s:2000")];
const KEY_SOON: [(&str, &str); 2] =
    [("alone", "key-bucket:50/s"), ("in-line", "bucket:100/s+key-bucket:50/s")];

/// How many instructions of each operation are tried where not all are; and of those that take tens of milliseconds.
const SAMPLE: usize = 100;
const FEW: usize = 5;
/// Operations on keys are many, and much alike.
const SOME: usize = 12;

type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)], fn() -> Box<dyn Checks>);

/// Name, what the victim does, the limiters, and what must hold.
const ROWS: &[Row] = &[
    ("create", "create", &BUDGETS, || Box::new(Creation::default())),
    ("open", "open", &BUDGETS, || Box::new(Budget::of_victim(0, 0))),
    ("first-request", "seat", &BUDGETS, || Box::new(Budget::of_victim(0, 1))),
    ("help", "seat", &BUDGETS, || Box::new(Budget::unsettled())),
    ("try", "try", &BUDGETS, || Box::new(Budget::of_victim(1, 2))),
    ("try-denied", "try", &BUDGETS, || Box::new(Budget::used_up())),
    ("settle-less", "refund", &BUDGETS, || Box::new(Budget::of_victim(3, 1))),
    ("settle-more", "charge", &BUDGETS, || Box::new(Budget::of_victim(1, 3))),
    ("schedule", "schedule", BUDGETS.first_chunk::<2>().unwrap(), || Box::new(Budget::of_victim(0, 3))),
    ("schedule", "schedule", BUDGETS.last_chunk::<1>().unwrap(), || Box::new(Budget::one_by_one(3))),
    ("reserve", "reserve", &TURNS, || Box::new(Reservations::new(false))),
    ("cancel", "cancel", &TURNS, || Box::new(Reservations::new(true))),
    ("wait", "wait", &SOON, || Box::new(Waiting::default())),
    ("permit-take", "permit", &EASY, || Box::new(Permits::of_victim(0, 1))),
    ("permit-release", "release", &EASY, || Box::new(Permits::of_victim(1, 0))),
    ("permit-reclaim", "reclaim", &EASY, || Box::new(Permits::reclaimed())),
    ("line-wait", "stand", &NEXT, || Box::new(Line::of_thread())),
    ("line-first", "stand", NEXT.first_chunk::<1>().unwrap(), || Box::new(Line::of_first())),
    ("line-second", "stand", NEXT.first_chunk::<1>().unwrap(), || Box::new(Line::of_second())),
    ("line-deadline", "quit", EASY.first_chunk::<1>().unwrap(), || Box::new(Deadline::default())),
    ("line-task", "poll", NEXT.first_chunk::<1>().unwrap(), || Box::new(Line::of_task())),
    ("line-drop", "give-up", &NEVER, || Box::new(Line::of_dropped())),
    ("line-change", "hurry", &NEVER, || Box::new(ChangedLine::by_change())),
    ("line-reset", "reset", &NEVER, || Box::new(ChangedLine::by_reset())),
    ("change", "change", &BUDGETS, || Box::new(Control::change())),
    ("reset", "reset", &BUDGETS, || Box::new(Control::reset())),
    ("pause", "pause", &BUDGETS, || Box::new(Control::pause())),
    ("resume", "resume", &BUDGETS, || Box::new(Control::resume())),
    ("retire", "retire", &BUDGETS, || Box::new(Retirement)),
    ("leave", "drop", &BUDGETS, || Box::new(Budget::of_victim(1, 1))),
    ("key-known", "key-try", &KEY, || Box::new(Keys::known())),
    ("key-fresh", "key-try", &KEY, || Box::new(Keys::fresh())),
    ("key-touch", "key-touch", KEY.first_chunk::<1>().unwrap(), || Box::new(Keys::untouched())),
    ("key-forgets", "key-try", &KEY, || Box::new(Keys::full())),
    ("key-life", "key-try", KEY.first_chunk::<1>().unwrap(), || Box::new(Keys::later_life())),
    ("key-denied", "key-try", KEY.first_chunk::<1>().unwrap(), || Box::new(Keys::used_up(1_000))),
    ("key-limits", "key-try", &KEY_LIMITS, || Box::new(Keys::known())),
    ("key-slowed", "key-try", &KEY_FAST, || Box::new(SlowedKeys)),
    ("key-and-all", "key-try", &KEY_AND_ALL, || Box::new(Keys::known())),
    ("key-permit", "key-permit", &KEY_AND_PERMIT, || Box::new(Keys::holding())),
    ("key-batch", "key-batch", KEY.first_chunk::<1>().unwrap(), || Box::new(Keys::batch())),
    ("key-charge", "key-charge", KEY.first_chunk::<1>().unwrap(), || Box::new(Keys::charged())),
    ("key-wait", "key-wait", &KEY_SOON, || Box::new(KeyWaiting::default())),
    ("key-reset-one", "key-reset-one", KEY.first_chunk::<1>().unwrap(), || Box::new(Keys::reset())),
    ("key-reset-all", "key-reset", KEY.first_chunk::<1>().unwrap(), || Box::new(KeyControl::reset())),
    ("key-change", "key-change", KEY.first_chunk::<1>().unwrap(), || Box::new(KeyControl::change())),
    ("key-pause", "key-pause", KEY.first_chunk::<1>().unwrap(), || Box::new(KeyControl::pause())),
];

impl Operation {
    /// All whose name contains `part`.
    pub(crate) fn matching(part: &str) -> Vec<Operation> {
        let one = |&(name, act, limiters, checks): &Row| {
            let has_permits = move |limiter| {
                matches!(limiter, "permits" | "permit")
                    || name.starts_with("permit")
                    || name == "line-deadline"
            };
            // One for the victim and one for the others; and one for a process that died before, where there is one.
            let seats = if name == "permit-reclaim" { 3 } else { 2 };
            limiters.iter().map(move |&(limiter, policy)| Operation {
                name: format!("{name}-{limiter}"),
                act,
                policy,
                permits: if has_permits(limiter) { PERMITS } else { 0 },
                seats,
                has_threads: matches!(name, "line-task" | "line-drop"),
                sleeps: matches!(act, "stand" | "quit" | "key-wait"),
                sample: match name {
                    "key-wait" => FEW,
                    _ if name.starts_with("line") => FEW,
                    _ if name.starts_with("key") => SOME,
                    _ => SAMPLE,
                },
                checks,
            })
        };
        ROWS.iter().flat_map(one).filter(|operation| operation.name.contains(part)).collect()
    }
}
