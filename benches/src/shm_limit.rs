//! shm-limit as a subject, each limiter in a directory of its own.

use crate::subject::Subject;
use shm_lib::{Builder, Limit, Policy, Rate, RateLimit, Start};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

pub(crate) const ADMITTED: &str = "shm-limit, admitted";
pub(crate) const DENIED: &str = "shm-limit, denied";
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
/// One call per nanosecond: such a limiter never denies.
const UNLIMITED: u64 = 1_000_000_000;

/// A limiter, and its directory, which is removed when this is dropped.
pub(crate) struct Fixture {
    pub(crate) limit: RateLimit,
    pub(crate) dir: TempDir,
}

/// A directory in memory.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

pub(crate) fn fixture(open: impl FnOnce(Builder) -> shm_lib::Result<RateLimit>) -> Fixture {
    let dir = directory();
    let limit = open(builder(dir.path())).expect("a limiter");
    Fixture { limit, dir }
}

/// The builder for the limiter in this directory.
pub(crate) fn builder(dir: &Path) -> Builder {
    RateLimit::builder("bench").directory(dir)
}

/// Opens the limiter of [`wide_open`].
pub(crate) fn open_wide(builder: Builder) -> shm_lib::Result<RateLimit> {
    builder.burst(UNLIMITED).open(UNLIMITED, SECOND)
}

pub(crate) fn wide_open() -> Fixture {
    fixture(open_wide)
}

/// A limiter that denies every request for a day.
pub(crate) fn full() -> Fixture {
    let fixture = fixture(|b| b.open(1, DAY));
    let _ = fixture.limit.try_acquire(1);
    fixture
}

pub(crate) fn several(limits: usize) -> Fixture {
    let limit = Limit::with_burst(Rate::new(UNLIMITED, SECOND).expect("a rate"), UNLIMITED).expect("a limit");
    fixture(|b| b.open_policy(Policy::new(&vec![limit; limits]).expect("a policy")))
}

fn try_acquire(name: &'static str, fixture: Fixture) -> Subject {
    Subject::new(name, move || {
        // Captures the whole fixture, so that the directory is kept.
        let fixture = &fixture;
        fixture.limit.try_acquire(1).expect("a decision").is_admitted()
    })
}

pub(crate) fn admitted() -> Subject {
    try_acquire(ADMITTED, wide_open())
}

pub(crate) fn denied() -> Subject {
    try_acquire(DENIED, full())
}

pub(crate) fn limits(name: &'static str, limits: usize) -> Subject {
    try_acquire(name, several(limits))
}

pub(crate) fn greedy(name: &'static str, entries: u64) -> Subject {
    try_acquire(name, fixture(|b| b.greedy().open(entries, Duration::from_nanos(entries))))
}

pub(crate) fn windows(name: &'static str, sliding: bool) -> Subject {
    let kind = move |b: Builder| if sliding { b.sliding_counter() } else { b.fixed_window(Start::FirstUse) };
    try_acquire(name, fixture(|b| kind(b).open(UNLIMITED, SECOND)))
}

pub(crate) fn denied_by_two() -> Subject {
    let limit = Limit::with_burst(Rate::new(UNLIMITED, SECOND).expect("a rate"), UNLIMITED).expect("a limit");
    let fixture = fixture(|b| b.and(limit).open(1, DAY));
    let _ = fixture.limit.try_acquire(1);
    try_acquire("denied by two limits", fixture)
}

pub(crate) fn with_permit() -> Subject {
    try_acquire(
        "one limit, and a permit acquired and released",
        fixture(|b| b.burst(UNLIMITED).permits(8).open(UNLIMITED, SECOND)),
    )
}

pub(crate) fn waited(name: &'static str) -> Subject {
    let fixture = wide_open();
    Subject::new(name, move || {
        let fixture = &fixture;
        fixture.limit.wait().expect("an admission")
    })
}

/// Some requests are admitted and some denied: the processes empty the bucket as fast as it refills.
pub(crate) fn mixed() -> Subject {
    try_acquire("shm-limit, mixed", fixture(|b| b.burst(100).open(5_000_000, SECOND)))
}
