//! shm-limit, in its own directories.

use crate::subject::Subject;
use shm_lib::{Builder, Limit, Policy, Rate, RateLimit, Start};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

pub(crate) const ADMITTED: &str = "shm-limit, admitted";
pub(crate) const DENIED: &str = "shm-limit, denied";
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
/// A token a nanosecond: never full.
const PLENTY: u64 = 1_000_000_000;

/// A limiter, and its directory while it is used.
pub(crate) struct Place {
    pub(crate) limit: RateLimit,
    pub(crate) dir: TempDir,
}

/// A place in memory, where limiters are.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

pub(crate) fn place(open: impl FnOnce(Builder) -> shm_lib::Result<RateLimit>) -> Place {
    let dir = directory();
    let limit = open(builder(dir.path())).expect("a limiter");
    Place { limit, dir }
}

/// The limiter of a place, to be opened by somebody else, too.
pub(crate) fn builder(dir: &Path) -> Builder {
    RateLimit::builder("bench").directory(dir)
}

/// With the terms of [`wide_open`].
pub(crate) fn widely(builder: Builder) -> shm_lib::Result<RateLimit> {
    builder.burst(PLENTY).open(PLENTY, SECOND)
}

pub(crate) fn wide_open() -> Place {
    place(widely)
}

/// Full for the rest of the day.
pub(crate) fn full() -> Place {
    let place = place(|b| b.open(1, DAY));
    let _ = place.limit.try_acquire(1);
    place
}

pub(crate) fn several(limits: usize) -> Place {
    let limit = Limit::with_burst(Rate::new(PLENTY, SECOND).expect("a rate"), PLENTY).expect("a limit");
    place(|b| b.open_policy(Policy::new(&vec![limit; limits]).expect("a policy")))
}

fn try_it(name: &'static str, place: Place) -> Subject {
    Subject::new(name, move || {
        // All of it, so that the directory stays.
        let place = &place;
        place.limit.try_acquire(1).expect("a decision").is_admitted()
    })
}

pub(crate) fn admitted() -> Subject {
    try_it(ADMITTED, wide_open())
}

pub(crate) fn denied() -> Subject {
    try_it(DENIED, full())
}

pub(crate) fn limits(name: &'static str, limits: usize) -> Subject {
    try_it(name, several(limits))
}

pub(crate) fn greedy(name: &'static str, entries: u64) -> Subject {
    try_it(name, place(|b| b.greedy().open(entries, Duration::from_nanos(entries))))
}

pub(crate) fn windows(name: &'static str, sliding: bool) -> Subject {
    let kind = move |b: Builder| if sliding { b.sliding_counter() } else { b.fixed_window(Start::FirstUse) };
    try_it(name, place(|b| kind(b).open(PLENTY, SECOND)))
}

pub(crate) fn denied_by_two() -> Subject {
    let limit = Limit::with_burst(Rate::new(PLENTY, SECOND).expect("a rate"), PLENTY).expect("a limit");
    let place = place(|b| b.and(limit).open(1, DAY));
    let _ = place.limit.try_acquire(1);
    try_it("denied by two limits", place)
}

pub(crate) fn with_permit() -> Subject {
    try_it(
        "one limit, and a permit taken and given back",
        place(|b| b.burst(PLENTY).permits(8).open(PLENTY, SECOND)),
    )
}

pub(crate) fn waited(name: &'static str) -> Subject {
    let place = wide_open();
    Subject::new(name, move || {
        let place = &place;
        place.limit.wait().expect("an admission")
    })
}

/// About half of them: a bucket that the crowd empties as fast as it fills.
pub(crate) fn mixed() -> Subject {
    try_it("shm-limit, mixed", place(|b| b.burst(100).open(5_000_000, SECOND)))
}
