//! A handle whose limiter is retired, replaced, or removed finds its name again.

use shm_lib::{Builder, ErrorKind, Found, OnLost, OnMismatch, Outcome, Rate, RateLimit};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
/// More than the time after which a handle looks for its name again.
const A_MOMENT: Duration = Duration::from_millis(130);
/// Within this much something that takes a moment is done on any machine.
const LONG: Duration = Duration::from_secs(20);

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn builder(&self) -> Builder {
        RateLimit::builder("api").directory(self.0.path())
    }

    /// Ten calls, and the next ones in an hour.
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

fn takes(limit: &RateLimit, n: usize) -> usize {
    (0..n).filter(|_| limit.try_acquire(1).unwrap().is_admitted()).count()
}

/// Asks until told to stop. On a machine that lets a thread wait, it may find the name so late that the next loss comes too
/// soon for another look; it gets no other error.
fn hammer(limit: &RateLimit, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        if let Err(e) = limit.try_acquire(1) {
            assert!(e.to_string().contains("looks for its name again"), "{e}");
        }
    }
}

/// What an operation needs that is asked of a handle after its limiter was lost.
type Use = (&'static str, fn(&RateLimit) -> shm_lib::Result<()>);

#[test]
fn every_operation_finds_the_name_again() {
    let uses: [Use; 15] = [
        ("try_acquire", |l| l.try_acquire(1).map(drop)),
        ("wait", |l| l.wait().map(drop)),
        ("acquire", |l| l.acquire(1).timeout(SECOND).wait().map(drop)),
        ("reserve", |l| l.reserve(1).map(drop)),
        ("schedule", |l| l.schedule(1, 2).map(drop)),
        ("charge", |l| l.charge(1)),
        ("peek", |l| l.peek().map(drop)),
        ("inspect", |l| l.inspect().map(drop)),
        ("pause_for", |l| l.pause_for(Duration::ZERO)),
        ("resume", RateLimit::resume),
        ("change", |l| l.change(10, 10 * HOUR)),
        ("change_policy", |l| l.change_policy(l.policy()?)),
        ("update_policy", |l| l.update_policy(Ok)),
        ("reset", RateLimit::reset),
        ("settle", |l| l.settle(&mut l.try_acquire(5)?.admission().unwrap(), 1).map(drop)),
    ];
    for (name, use_it) in uses {
        for permits in [None, Some(20)] {
            let place = Place::new();
            let builder = permits.map_or(place.builder(), |n| place.builder().permits(n));
            let limit = builder.burst(10).open(10, 10 * HOUR).unwrap();
            assert_eq!(takes(&limit, 20), 10);
            let before = place.inode();
            place.retire();
            use_it(&limit).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_ne!(place.inode(), before, "{name}");
            assert_eq!(limit.times_lost(), 1, "{name}");
            assert!(takes(&limit, 20) >= 5, "{name}: a new budget");
            assert_eq!(limit.policy().unwrap().permits(), permits, "{name}");
        }
    }
}

#[test]
fn a_removed_file_is_noticed_and_the_name_found_again() {
    let place = Place::new();
    let limit = place.open();
    assert_eq!(takes(&limit, 20), 10);
    place.remove_file();
    let end = Instant::now() + LONG;
    while takes(&limit, 1) == 0 {
        assert!(Instant::now() < end, "goes on with a file that nobody else finds");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(limit.times_lost(), 1);
    // Whoever opens the name shares the budget.
    assert_eq!(takes(&place.open(), 20), 9);
}

#[test]
fn handles_that_are_lost_together_share_one_new_limiter() {
    let place = Place::new();
    let handles: Vec<RateLimit> = (0..8).map(|_| place.open()).collect();
    place.retire();
    let admitted = std::thread::scope(|scope| {
        let threads: Vec<_> = handles.iter().map(|limit| scope.spawn(|| takes(limit, 10))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert_eq!(admitted, 10);
    assert!(handles.iter().all(|limit| limit.times_lost() == 1));
}

/// One of them looks for the name; the others get what it finds, and no error.
#[test]
fn threads_that_share_a_handle_find_it_once() {
    let place = Place::new();
    let limit = place.builder().burst(1_000_000).open(1_000_000, SECOND).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| hammer(&limit, &done));
        }
        for _ in 0..8 {
            std::thread::sleep(A_MOMENT);
            place.retire();
        }
        std::thread::sleep(A_MOMENT);
        done.store(true, Ordering::Relaxed);
    });
    assert!((1..=8).contains(&limit.times_lost()), "{}", limit.times_lost());
}

#[test]
fn it_looks_for_its_name_ten_times_a_second_at_most() {
    let place = Place::new();
    let limit = place.builder().burst(1_000_000).open(1_000_000, SECOND).unwrap();
    let began = Instant::now();
    let mut errors = 0;
    while began.elapsed() < Duration::from_millis(500) {
        if let Ok(there) = place.builder().attach() {
            there.retire().unwrap();
        }
        match limit.try_acquire(1) {
            Ok(_) => {}
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Retired);
                assert!(e.to_string().contains("looks for its name again"), "{e}");
                errors += 1;
            }
        }
    }
    let most = began.elapsed().as_millis() / 100 + 1;
    assert!(u128::from(limit.times_lost()) <= most, "{} times", limit.times_lost());
    assert!(limit.times_lost() >= 2 && errors > 0);
    // A caller that may wait does so until the name is looked for.
    limit.wait().unwrap();
}

/// However often it finds its name again, at most two limiters are mapped for it.
#[test]
fn limiters_of_the_past_are_let_go() {
    let place = Place::new();
    let limit = place.open();
    let maps = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let dir = place.0.path().to_str().unwrap().to_owned();
        // Two mappings each: the file, and what holds the lock of the seat.
        maps.lines().filter(|line| line.contains(&dir)).count()
    };
    place.retire();
    assert_eq!(takes(&limit, 20), 10);
    let with_two = maps();
    for _ in 0..5 {
        std::thread::sleep(A_MOMENT);
        place.retire();
        assert_eq!(takes(&limit, 20), 10);
    }
    assert!(maps() <= with_two, "{} mappings, {with_two} before", maps());
}

#[test]
fn an_attached_handle_joins_and_never_creates() {
    let place = Place::new();
    let first = place.open();
    let limit = place.builder().attach().unwrap();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    first.retire().unwrap();
    let error = limit.try_acquire(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    // Also at once after that, when it does not look.
    assert_eq!(limit.wait().unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!limit.path().exists());
    let other = place.builder().burst(3).open(3, HOUR).unwrap();
    std::thread::sleep(A_MOMENT);
    assert_eq!(takes(&limit, 10), 3);
    assert_eq!(takes(&other, 1), 0);
    assert_eq!(limit.times_lost(), 1);
}

#[test]
fn what_it_finds_is_compared_as_at_its_opening() {
    let place = Place::new();
    let (strict, keeping) =
        (place.open(), place.builder().burst(10).on_mismatch(OnMismatch::Keep).open(10, 10 * HOUR).unwrap());
    place.retire();
    place.builder().burst(2).open(2, HOUR).unwrap();
    let error = strict.try_acquire(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert_eq!(takes(&keeping, 10), 2);
    // When the right one is there, it goes on.
    place.retire();
    std::thread::sleep(A_MOMENT);
    assert_eq!(takes(&strict, 20), 10);
}

#[test]
fn who_wants_the_error_gets_it() {
    let place = Place::new();
    let limit = place.builder().burst(10).on_lost(OnLost::Error).open(10, 10 * HOUR).unwrap();
    let open = place.open();
    place.retire();
    assert!(open.try_acquire(1).unwrap().is_admitted());
    for _ in 0..2 {
        assert_eq!(limit.try_acquire(1).unwrap_err().kind(), ErrorKind::Retired);
        assert_eq!(limit.wait().unwrap_err().kind(), ErrorKind::Retired);
        assert_eq!(limit.peek().unwrap_err().kind(), ErrorKind::Retired);
    }
    assert_eq!(limit.times_lost(), 0);
}

/// A program that ends its limiter does not want it back.
#[test]
fn a_handle_that_retired_its_limiter_does_not_create_it_again() {
    let place = Place::new();
    let (limit, other) = (place.open(), place.open());
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
fn callers_that_wait_stand_in_the_line_of_the_new_one_in_their_order() {
    let place = Place::new();
    let limit = place.builder().open(1, HOUR).unwrap();
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
        place.retire();
        let new = || place.builder().attach().ok();
        // The first takes the call that a new limiter has, and the next ones wait for an hour, or for another rate.
        let end = Instant::now() + LONG;
        while new().and_then(|new| new.inspect().ok()).is_none_or(|seen| seen.callers_waiting() < 2) {
            assert!(Instant::now() < end, "nobody waits for the new limiter");
            std::thread::sleep(Duration::from_millis(1));
        }
        new().unwrap().change(10, SECOND).unwrap();
    });
    let mut served = served.into_inner().unwrap();
    served.sort_unstable();
    // The first that woke got the first call; of those that stood in line the older one comes first.
    let mut behind: Vec<_> = served[1..].iter().map(|&(_, i)| i).collect();
    let in_order = behind.is_sorted();
    behind.sort_unstable();
    assert!(in_order, "{served:?}");
}

#[test]
fn a_deadline_ends_the_wait_for_a_name() {
    let place = Place::new();
    let limit = place.builder().burst(1_000).open(1_000, SECOND).unwrap();
    place.retire();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    place.retire();
    // It was found a moment ago, and is not looked for before the deadline.
    let error = limit.acquire(1).timeout(Duration::from_millis(1)).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retired);
    limit.acquire(1).timeout(LONG).wait().unwrap().admission().unwrap();
}

#[test]
fn the_program_is_told_once_what_became_of_it() {
    let place = Place::new();
    let said = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&said);
    let limit = place
        .builder()
        .when_lost(move |lost| {
            let found = lost.found().map_err(|e| e.kind());
            tell.lock().unwrap().push((lost.why(), found, lost.to_string()));
        })
        .open_rate(Rate::per_second(5).unwrap())
        .unwrap();
    place.retire();
    let _ = limit.try_acquire(1).unwrap();
    std::thread::sleep(A_MOMENT);
    place.retire();
    // Another kind of file is there for a while.
    std::fs::write(limit.path(), "not a limiter").unwrap();
    for _ in 0..5 {
        assert_eq!(limit.try_acquire(1).unwrap_err().kind(), ErrorKind::NotALimiter);
        std::thread::sleep(A_MOMENT);
    }
    place.remove_file();
    let other = place.builder().open_rate(Rate::per_second(5).unwrap()).unwrap();
    std::thread::sleep(A_MOMENT);
    let _ = limit.try_acquire(1).unwrap();
    drop(other);
    let said = said.lock().unwrap();
    let kinds: Vec<_> = said.iter().map(|(why, found, _)| (*why, *found)).collect();
    let expected = [Ok(Found::Created), Err(ErrorKind::NotALimiter), Ok(Found::Joined)];
    assert_eq!(kinds, expected.map(|found| (ErrorKind::Retired, found)));
    assert!(said[0].2.contains("was retired, and was created again"), "{}", said[0].2);
    assert_eq!(limit.times_lost(), 2);
}

#[test]
fn a_replacement_is_joined_by_all_and_made_again_by_none() {
    let place = Place::new();
    let open = || place.builder().burst(1_000_000).on_mismatch(OnMismatch::Keep);
    let limits: Vec<RateLimit> = (0..4).map(|_| open().seats(2).open(1_000_000, SECOND).unwrap()).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for limit in &limits {
            scope.spawn(|| hammer(limit, &done));
        }
        for seats in 10..16 {
            std::thread::sleep(A_MOMENT);
            let new = open().seats(seats).replace().open(1_000_000, SECOND).unwrap();
            assert_eq!(new.inspect().unwrap().seats, seats);
            std::thread::sleep(Duration::from_millis(20));
            // Nobody has created another one.
            assert_eq!(place.builder().attach().unwrap().inspect().unwrap().seats, seats);
        }
        done.store(true, Ordering::Relaxed);
    });
    std::thread::sleep(A_MOMENT);
    for limit in &limits {
        assert_eq!(limit.inspect().unwrap().seats, 15);
        assert!((1..=6).contains(&limit.times_lost()));
    }
}

#[test]
fn a_replacement_of_nothing_is_a_new_limiter() {
    let place = Place::new();
    let limit = place.builder().burst(10).replace().open(10, HOUR).unwrap();
    assert_eq!(takes(&limit, 20), 10);
    let error = place.builder().replace().attach().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

/// An admission of the limiter that was lost gives nothing back to the next one, nor does it charge that.
#[test]
fn an_admission_of_a_lost_limiter_is_settled_with_nobody() {
    let place = Place::new();
    let limit = place.open();
    let Outcome::Admitted(mut admission) = limit.try_acquire(5).unwrap() else { panic!("ten are free") };
    place.retire();
    assert_eq!(takes(&limit, 20), 10);
    assert!(limit.settle(&mut admission, 1).unwrap().is_nothing());
    assert_eq!(takes(&limit, 20), 0);
}
