//! A handle whose limiter is retired, replaced, or removed reopens its name.

use shm_lib::{Builder, ErrorKind, Found, OnLost, OnMismatch, Outcome, Rate, RateLimit};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
/// Longer than the interval between a handle's lookups of its name.
const PAST_LOOKUP_INTERVAL: Duration = Duration::from_millis(130);
/// Enough for any short operation on any machine.
const LONG: Duration = Duration::from_secs(20);

struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new() -> Fixture {
        Fixture(tempfile::tempdir().unwrap())
    }

    fn builder(&self) -> Builder {
        RateLimit::builder("api").directory(self.0.path())
    }

    /// A limiter with ten calls; the next one comes in an hour.
    fn open(&self) -> RateLimit {
        self.builder().burst(10).open(10, 10 * HOUR).unwrap()
    }

    fn retire(&self) {
        self.builder().attach().unwrap().retire().unwrap();
    }

    fn remove_file(&self) {
        std::fs::remove_file(self.0.path().join("api")).unwrap();
    }

    fn inode(&self) -> u64 {
        std::fs::metadata(self.0.path().join("api")).unwrap().ino()
    }
}

fn admitted_of(limit: &RateLimit, n: usize) -> usize {
    (0..n).filter(|_| limit.try_acquire(1).unwrap().is_admitted()).count()
}

/// Calls `try_acquire` until `done`. On a busy machine the thread may reopen the name so late that the next loss comes before
/// another lookup is allowed; that is the only error it may get.
fn hammer(limit: &RateLimit, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        if let Err(e) = limit.try_acquire(1) {
            assert!(e.to_string().contains("looks its name up"), "{e}");
        }
    }
}

/// The name of an operation, and the operation.
type Operation = (&'static str, fn(&RateLimit) -> shm_lib::Result<()>);

#[test]
fn every_operation_reopens_the_name() {
    let operations: [Operation; 15] = [
        ("try_acquire", |l| l.try_acquire(1).map(drop)),
        ("wait", |l| l.wait().map(drop)),
        ("acquire", |l| l.acquire(1).timeout(SECOND).wait().map(drop)),
        ("reserve", |l| l.reserve(1).map(drop)),
        ("schedule", |l| l.schedule(1, 2).map(drop)),
        ("charge", |l| l.charge(1)),
        ("status", |l| l.status().map(drop)),
        ("inspect", |l| l.inspect().map(drop)),
        ("pause_for", |l| l.pause_for(Duration::ZERO)),
        ("resume", RateLimit::resume),
        ("change", |l| l.change(10, 10 * HOUR)),
        ("change_policy", |l| l.change_policy(l.policy()?)),
        ("update_policy", |l| l.update_policy(Ok)),
        ("reset", RateLimit::reset),
        ("settle", |l| l.settle(&mut l.try_acquire(5)?.admission().unwrap(), 1).map(drop)),
    ];
    for (name, operation) in operations {
        for permits in [None, Some(20)] {
            let fixture = Fixture::new();
            let builder = permits.map_or(fixture.builder(), |n| fixture.builder().permits(n));
            let limit = builder.burst(10).open(10, 10 * HOUR).unwrap();
            assert_eq!(admitted_of(&limit, 20), 10);
            let before = fixture.inode();
            fixture.retire();
            operation(&limit).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_ne!(fixture.inode(), before, "{name}");
            assert_eq!(limit.times_lost(), 1, "{name}");
            assert!(admitted_of(&limit, 20) >= 5, "{name}: a new budget");
            assert_eq!(limit.policy().unwrap().permits(), permits, "{name}");
        }
    }
}

#[test]
fn a_removed_file_is_noticed_and_the_name_reopened() {
    let fixture = Fixture::new();
    let limit = fixture.open();
    assert_eq!(admitted_of(&limit, 20), 10);
    fixture.remove_file();
    let end = Instant::now() + LONG;
    while admitted_of(&limit, 1) == 0 {
        assert!(Instant::now() < end, "the handle keeps using the removed file");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(limit.times_lost(), 1);
    // A new handle of the name shares the budget.
    assert_eq!(admitted_of(&fixture.open(), 20), 9);
}

#[test]
fn handles_of_a_lost_limiter_share_one_new_limiter() {
    let fixture = Fixture::new();
    let handles: Vec<RateLimit> = (0..8).map(|_| fixture.open()).collect();
    fixture.retire();
    let admitted = std::thread::scope(|scope| {
        let threads: Vec<_> = handles.iter().map(|limit| scope.spawn(|| admitted_of(limit, 10))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert_eq!(admitted, 10);
    assert!(handles.iter().all(|limit| limit.times_lost() == 1));
}

/// One thread looks the name up; the others get its result, and no error.
#[test]
fn threads_sharing_a_handle_reopen_it_once() {
    let fixture = Fixture::new();
    let limit = fixture.builder().burst(1_000_000).open(1_000_000, SECOND).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| hammer(&limit, &done));
        }
        for _ in 0..8 {
            std::thread::sleep(PAST_LOOKUP_INTERVAL);
            fixture.retire();
        }
        std::thread::sleep(PAST_LOOKUP_INTERVAL);
        done.store(true, Ordering::Relaxed);
    });
    assert!((1..=8).contains(&limit.times_lost()), "{}", limit.times_lost());
}

#[test]
fn the_name_is_looked_up_at_most_ten_times_a_second() {
    let fixture = Fixture::new();
    let limit = fixture.builder().burst(1_000_000).open(1_000_000, SECOND).unwrap();
    let began = Instant::now();
    let mut errors = 0;
    while began.elapsed() < Duration::from_millis(500) {
        if let Ok(limiter) = fixture.builder().attach() {
            limiter.retire().unwrap();
        }
        match limit.try_acquire(1) {
            Ok(_) => {}
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Retired);
                assert!(e.to_string().contains("looks its name up"), "{e}");
                errors += 1;
            }
        }
    }
    let most = began.elapsed().as_millis() / 100 + 1;
    assert!(u128::from(limit.times_lost()) <= most, "{} times", limit.times_lost());
    assert!(limit.times_lost() >= 2 && errors > 0);
    // A caller that may wait does so until the next lookup.
    limit.wait().unwrap();
}

/// However often a handle reopens its name, it maps at most two limiters.
#[test]
fn lost_limiters_are_unmapped() {
    let fixture = Fixture::new();
    let limit = fixture.open();
    let maps = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let dir = fixture.0.path().to_str().unwrap().to_owned();
        // Two mappings for each limiter: its file, and the lock of the process's seat.
        maps.lines().filter(|line| line.contains(&dir)).count()
    };
    fixture.retire();
    assert_eq!(admitted_of(&limit, 20), 10);
    let with_two = maps();
    for _ in 0..5 {
        std::thread::sleep(PAST_LOOKUP_INTERVAL);
        fixture.retire();
        assert_eq!(admitted_of(&limit, 20), 10);
    }
    assert!(maps() <= with_two, "{} mappings, {with_two} before", maps());
}

#[test]
fn an_attached_handle_joins_and_never_creates() {
    let fixture = Fixture::new();
    let first = fixture.open();
    let limit = fixture.builder().attach().unwrap();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    first.retire().unwrap();
    let error = limit.try_acquire(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    // The same error while no lookup is allowed.
    assert_eq!(limit.wait().unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!limit.path().exists());
    let other = fixture.builder().burst(3).open(3, HOUR).unwrap();
    std::thread::sleep(PAST_LOOKUP_INTERVAL);
    assert_eq!(admitted_of(&limit, 10), 3);
    assert_eq!(admitted_of(&other, 1), 0);
    assert_eq!(limit.times_lost(), 1);
}

#[test]
fn a_new_limiter_must_match_the_settings() {
    let fixture = Fixture::new();
    let (strict, keeping) = (
        fixture.open(),
        fixture.builder().burst(10).on_mismatch(OnMismatch::Keep).open(10, 10 * HOUR).unwrap(),
    );
    fixture.retire();
    fixture.builder().burst(2).open(2, HOUR).unwrap();
    let error = strict.try_acquire(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert_eq!(admitted_of(&keeping, 10), 2);
    // It continues once a matching limiter can be opened.
    fixture.retire();
    std::thread::sleep(PAST_LOOKUP_INTERVAL);
    assert_eq!(admitted_of(&strict, 20), 10);
}

#[test]
fn on_lost_error_returns_the_error() {
    let fixture = Fixture::new();
    let limit = fixture.builder().burst(10).on_lost(OnLost::Error).open(10, 10 * HOUR).unwrap();
    let open = fixture.open();
    fixture.retire();
    assert!(open.try_acquire(1).unwrap().is_admitted());
    for _ in 0..2 {
        assert_eq!(limit.try_acquire(1).unwrap_err().kind(), ErrorKind::Retired);
        assert_eq!(limit.wait().unwrap_err().kind(), ErrorKind::Retired);
        assert_eq!(limit.status().unwrap_err().kind(), ErrorKind::Retired);
    }
    assert_eq!(limit.times_lost(), 0);
}

/// A program that retires its limiter does not want it recreated.
#[test]
fn a_handle_that_retired_its_limiter_does_not_recreate_it() {
    let fixture = Fixture::new();
    let (limit, other) = (fixture.open(), fixture.open());
    let clone = limit.clone();
    limit.retire().unwrap();
    for limit in [&limit, &clone] {
        assert_eq!(limit.try_acquire(1).unwrap_err().kind(), ErrorKind::Retired);
    }
    assert!(!limit.path().exists());
    assert!(other.try_acquire(1).unwrap().is_admitted());
    assert_eq!(limit.try_acquire(1).unwrap_err().kind(), ErrorKind::Retired);
}

#[test]
fn waiting_callers_move_to_the_new_line_in_order() {
    let fixture = Fixture::new();
    let limit = fixture.builder().open(1, HOUR).unwrap();
    limit.wait().unwrap();
    let served = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for i in 0..3 {
            let (limit, served) = (&limit, &served);
            scope.spawn(move || {
                let admission = limit.acquire(1).wait().unwrap();
                served.lock().unwrap().push((admission.at(), i));
            });
            let end = Instant::now() + LONG;
            while limit.inspect().unwrap().callers_waiting() <= i {
                assert!(Instant::now() < end);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        fixture.retire();
        let new = || fixture.builder().attach().ok();
        // One caller takes the new limiter's only call; the others wait for an hour, or for a new rate.
        let end = Instant::now() + LONG;
        while new().and_then(|new| new.inspect().ok()).is_none_or(|seen| seen.callers_waiting() < 2) {
            assert!(Instant::now() < end, "no caller waits for the new limiter");
            std::thread::sleep(Duration::from_millis(1));
        }
        new().unwrap().change(10, SECOND).unwrap();
    });
    let mut served = served.into_inner().unwrap();
    served.sort_unstable();
    // The caller that woke first got the first call; the others are served in order of arrival.
    let mut behind: Vec<_> = served[1..].iter().map(|&(_, i)| i).collect();
    let in_order = behind.is_sorted();
    behind.sort_unstable();
    assert!(in_order, "{served:?}");
}

#[test]
fn a_deadline_ends_the_wait_for_a_lookup() {
    let fixture = Fixture::new();
    let limit = fixture.builder().burst(1_000).open(1_000, SECOND).unwrap();
    fixture.retire();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    fixture.retire();
    // The name was reopened just now, and the next lookup is allowed only after the deadline.
    let error = limit.acquire(1).timeout(Duration::from_millis(1)).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retired);
    limit.acquire(1).timeout(LONG).wait().unwrap().admission().unwrap();
}

#[test]
fn each_loss_is_reported_once() {
    let fixture = Fixture::new();
    let reports = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&reports);
    let limit = fixture
        .builder()
        .when_lost(move |lost| {
            let found = lost.found().map_err(shm_lib::Error::kind);
            sink.lock().unwrap().push((lost.why(), found, lost.to_string()));
        })
        .open_rate(Rate::per_second(5).unwrap())
        .unwrap();
    fixture.retire();
    let _ = limit.try_acquire(1).unwrap();
    std::thread::sleep(PAST_LOOKUP_INTERVAL);
    fixture.retire();
    // For a while, a file that is not a limiter has the name.
    std::fs::write(limit.path(), "not a limiter").unwrap();
    for _ in 0..5 {
        assert_eq!(limit.try_acquire(1).unwrap_err().kind(), ErrorKind::NotALimiter);
        std::thread::sleep(PAST_LOOKUP_INTERVAL);
    }
    fixture.remove_file();
    let other = fixture.builder().open_rate(Rate::per_second(5).unwrap()).unwrap();
    std::thread::sleep(PAST_LOOKUP_INTERVAL);
    let _ = limit.try_acquire(1).unwrap();
    drop(other);
    let reports = reports.lock().unwrap();
    let kinds: Vec<_> = reports.iter().map(|(why, found, _)| (*why, *found)).collect();
    let expected = [Ok(Found::Created), Err(ErrorKind::NotALimiter), Ok(Found::Joined)];
    assert_eq!(kinds, expected.map(|found| (ErrorKind::Retired, found)));
    assert!(reports[0].2.contains("it was retired; this process recreated it"), "{}", reports[0].2);
    assert_eq!(limit.times_lost(), 2);
}

#[test]
fn every_handle_joins_a_replacement_and_none_recreates_it() {
    let fixture = Fixture::new();
    let open = || fixture.builder().burst(1_000_000).on_mismatch(OnMismatch::Keep);
    let limits: Vec<RateLimit> = (0..4).map(|_| open().seats(2).open(1_000_000, SECOND).unwrap()).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for limit in &limits {
            scope.spawn(|| hammer(limit, &done));
        }
        for seats in 10..16 {
            std::thread::sleep(PAST_LOOKUP_INTERVAL);
            let new = open().seats(seats).replace().open(1_000_000, SECOND).unwrap();
            assert_eq!(new.inspect().unwrap().seats, seats);
            std::thread::sleep(Duration::from_millis(20));
            // No other process or thread has created another one.
            assert_eq!(fixture.builder().attach().unwrap().inspect().unwrap().seats, seats);
        }
        done.store(true, Ordering::Relaxed);
    });
    std::thread::sleep(PAST_LOOKUP_INTERVAL);
    for limit in &limits {
        assert_eq!(limit.inspect().unwrap().seats, 15);
        assert!((1..=6).contains(&limit.times_lost()));
    }
}

#[test]
fn replace_creates_a_missing_limiter() {
    let fixture = Fixture::new();
    let limit = fixture.builder().burst(10).replace().open(10, HOUR).unwrap();
    assert_eq!(admitted_of(&limit, 20), 10);
    let error = fixture.builder().replace().attach().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

/// Settling an admission of the lost limiter neither credits nor charges its successor.
#[test]
fn settling_an_admission_of_a_lost_limiter_changes_nothing() {
    let fixture = Fixture::new();
    let limit = fixture.open();
    let Outcome::Admitted(mut admission) = limit.try_acquire(5).unwrap() else {
        panic!("ten calls are available")
    };
    fixture.retire();
    assert_eq!(admitted_of(&limit, 20), 10);
    assert!(limit.settle(&mut admission, 1).unwrap().is_empty());
    assert_eq!(admitted_of(&limit, 20), 0);
}
