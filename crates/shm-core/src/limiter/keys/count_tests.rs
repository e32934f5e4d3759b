//! Counts and logs of keys, whose bounds come with the request.

use super::super::*;
use super::{CountRule, KeyCount, KeyOf, LogNotes};
use crate::clock::set::{SetClock, SetWall};
use crate::clock::{self, Nanos};
use crate::error::ErrorKind;
use crate::limit::{KeyPolicy, Limit, Rate, Start};
use std::sync::Mutex;
use std::time::Duration;
use tempfile::TempDir;

const SECOND: u64 = 1_000_000_000;

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

fn fixed(text: &str) -> Limit {
    Limit::fixed_window(rate(text), Start::Epoch).unwrap()
}

fn sliding(text: &str) -> Limit {
    Limit::sliding_counter(rate(text)).unwrap()
}

fn open(dir: &TempDir, limit: Limit, capacity: u64) -> Limiter {
    let policy = Policy::of_keys(KeyPolicy::new(&[limit]).unwrap());
    let settings = Settings { capacity, ..Settings::new(policy) };
    Limiter::open(&Directory::at(dir.path()), &Name::new("api").unwrap(), &settings).unwrap()
}

fn count(limiter: &Limiter, key: &str, amount: u64, rule: CountRule) -> KeyCount {
    limiter.count_key(KeyOf::All(&[key.as_bytes()]), amount, rule).unwrap()
}

fn take(limiter: &Limiter, key: &str, entries: usize, amount: usize, notes: &mut LogNotes) -> bool {
    limiter.take_entries(KeyOf::All(&[key.as_bytes()]), entries, amount, notes).unwrap().admitted
}

/// The start of a second, in which a window of the wall clock begins.
fn whole_second() -> u64 {
    clock::now().as_nanos().next_multiple_of(60 * SECOND)
}

#[test]
fn a_fixed_window_counts_what_it_denies_too() {
    let start = whole_second();
    let (clock, _wall) = (SetClock::at(Nanos::from_nanos(start)), SetWall::ahead_by(0));
    let dir = tempfile::tempdir().unwrap();
    let limiter = open(&dir, fixed("1000/m"), 1_000);
    let counts = [3, 3, 3, 0].map(|n| count(&limiter, "a", n, CountRule::Always(6)));
    assert_eq!(
        counts.map(|count| (count.admitted, count.used)),
        [(true, 3), (true, 6), (false, 9), (false, 9)]
    );
    assert!((59..=60).contains(&counts[0].ends_in.as_secs()), "{counts:?}");
    assert_eq!((limiter.counts().admitted, limiter.counts().calls, limiter.counts().denied), (2, 6, 1));
    assert_eq!(limiter.most_denied(1)[0].key, ["a"]);
    clock.pass_until(start + 60 * SECOND);
    assert_eq!(count(&limiter, "a", 1, CountRule::Always(6)).used, 1);
}

/// A count that has reached the limit's own end is not told: a caller would compare it with a bound that it cannot reach.
#[test]
fn counts_end_at_the_limit_of_the_table() {
    let (_clock, _wall) = (SetClock::at(Nanos::from_nanos(whole_second())), SetWall::ahead_by(0));
    for limit in [fixed("1000/m"), sliding("1000/m")] {
        let dir = tempfile::tempdir().unwrap();
        let limiter = open(&dir, limit, 1_000);
        let used: Vec<u64> = [999, u64::MAX, 1, u64::MAX]
            .map(|n| count(&limiter, "a", n, CountRule::Always(5_000)).used)
            .into();
        assert_eq!(used, [999, u64::MAX, u64::MAX, u64::MAX]);
        assert!(!count(&limiter, "a", 1, CountRule::IfAtMost(u64::MAX)).admitted);
        assert!(!count(&limiter, "b", 1_001, CountRule::IfAtMost(u64::MAX)).admitted);
        assert!(!count(&limiter, "b", u64::MAX, CountRule::IfAtMost(u64::MAX)).admitted);
        assert!(count(&limiter, "b", 999, CountRule::IfAtMost(u64::MAX)).admitted);
        // An operator lowers it: then it is over as soon as that many were counted, whatever bound comes with the request.
        limiter
            .change_from(|policy| {
                let lower = match limit.kind() {
                    crate::limit::Kind::SlidingCounter => sliding("5/m"),
                    _ => fixed("5/m"),
                };
                Ok(policy.with_keys(KeyPolicy::new(&[lower]).unwrap()))
            })
            .unwrap();
        let used: Vec<u64> = (0..6).map(|_| count(&limiter, "c", 1, CountRule::Always(5_000)).used).collect();
        assert_eq!(used, [1, 2, 3, 4, u64::MAX, u64::MAX], "{limit}");
    }
}

/// By the rule of the request: the count of the window before, weighted and rounded down.
#[test]
fn a_sliding_count_rounds_the_window_before_down() {
    let start = whole_second();
    let (clock, _wall) = (SetClock::at(Nanos::from_nanos(start)), SetWall::ahead_by(0));
    let dir = tempfile::tempdir().unwrap();
    let limiter = open(&dir, sliding("1000/m"), 1_000);
    let admitted =
        |n: u64| (0..n).filter(|_| count(&limiter, "a", 1, CountRule::IfAtMost(5)).admitted).count();
    assert_eq!(admitted(9), 5);
    let refused = count(&limiter, "a", 1, CountRule::IfAtMost(5));
    assert_eq!((refused.used, refused.before), (5, 0), "what is denied is not counted");
    // All five still count at the very start of the next window; after a moment, four do.
    clock.pass_until(start + 61 * SECOND);
    assert_eq!(admitted(9), 1);
    let now = count(&limiter, "a", 0, CountRule::IfAtMost(5));
    assert_eq!((now.used, now.before, now.ends_in.as_secs()), (1, 5, 58));
    clock.pass_until(start + 90 * SECOND);
    assert_eq!(admitted(9), 2);
    assert!(!count(&limiter, "a", 2, CountRule::IfAtMost(5)).admitted);
    clock.pass_until(start + 240 * SECOND);
    assert_eq!(admitted(9), 5);
}

#[test]
fn a_pause_and_a_reset_apply_to_counts_and_logs() {
    for limit in [fixed("1000/m"), sliding("1000/m"), Limit::patient(rate("1/m"))] {
        let dir = tempfile::tempdir().unwrap();
        let limiter = open(&dir, limit, 1_000);
        let mut notes = LogNotes::default();
        let mut is_admitted = |limiter: &Limiter| match limit.kind() {
            crate::limit::Kind::Bucket { .. } => take(limiter, "a", 2, 1, &mut notes),
            crate::limit::Kind::SlidingCounter => count(limiter, "a", 1, CountRule::IfAtMost(2)).admitted,
            _ => count(limiter, "a", 1, CountRule::Always(2)).admitted,
        };
        assert_eq!([(); 3].map(|()| is_admitted(&limiter)), [true, true, false]);
        limiter.reset().unwrap();
        assert!(is_admitted(&limiter), "{limit}");
        limiter.reset().unwrap();
        limiter.pause_for(Duration::from_secs(600)).unwrap();
        assert!(!is_admitted(&limiter));
        limiter.resume().unwrap();
        limiter.reset().unwrap();
        assert!(is_admitted(&limiter), "{limit}");
        limiter.change_from(|policy| Ok(policy.in_shadow(true))).unwrap();
        assert_eq!([(); 5].map(|()| is_admitted(&limiter)), [true; 5], "{limit}");
    }
}

#[test]
fn other_limits_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let limiter = open(&dir, Limit::with_burst(rate("5/s"), 2).unwrap(), 10);
    let key = KeyOf::All(&[b"a"]);
    let e = limiter.count_key(key, 1, CountRule::Always(1)).unwrap_err();
    assert!(e.kind() == ErrorKind::InvalidInput && e.to_string().contains("bucket"), "{e}");
    let e = limiter.take_entries(key, 9, 1, &mut LogNotes::default()).unwrap_err();
    assert!(e.kind() == ErrorKind::InvalidInput && e.to_string().contains("burst"), "{e}");
    limiter.change_from(|policy| Ok(policy.with_first(Limit::patient(rate("1/h"))))).unwrap();
    let e = limiter.count_key(key, 1, CountRule::Always(1)).unwrap_err();
    assert!(e.to_string().contains("limits of all keys"), "{e}");
}

/// Two processes with notes of their own.
#[test]
fn a_log_never_has_more_in_any_window() {
    let start = whole_second();
    let clock = SetClock::at(Nanos::from_nanos(start));
    let dir = tempfile::tempdir().unwrap();
    let limiter = open(&dir, Limit::patient(rate("1/m")), 10_000);
    let mut notes = [LogNotes::default(), LogNotes::default()];
    let mut admitted: Vec<u64> = Vec::new();
    for i in 0..3_000 {
        let at = start + i * (SECOND / 7);
        clock.pass_until(at);
        if take(&limiter, "a", 100, 1, &mut notes[i as usize * i as usize % 5 % 2]) {
            admitted.push(at);
        }
    }
    // As many as possible: 100 in each of seven minutes, and some of the next, a step later each time.
    assert!((745..=759).contains(&admitted.len()), "{}", admitted.len());
    for (first, last) in admitted.iter().zip(&admitted[100..]) {
        assert!(last - first >= 60 * SECOND);
    }
    let status = limiter.log_status(KeyOf::All(&[b"a"]), 100, &mut notes[0]).unwrap();
    let recent = admitted.iter().filter(|&&at| at + 60 * SECOND > clock::now().as_nanos()).count();
    // Each reading of the test's clock takes a moment.
    assert!(status.taken.abs_diff(recent) <= 1, "{status:?} {recent}");
}

#[test]
fn amounts_of_a_log_are_taken_whole_or_not_at_all() {
    let start = whole_second();
    let clock = SetClock::at(Nanos::from_nanos(start));
    let dir = tempfile::tempdir().unwrap();
    let limiter = open(&dir, Limit::patient(rate("1/m")), 1_000);
    let notes = &mut LogNotes::default();
    let taken = |limiter: &Limiter| {
        let status = limiter.log_status(KeyOf::All(&[b"a"]), 10, &mut LogNotes::default()).unwrap();
        (status.taken, status.next_in.as_secs())
    };
    assert!(!take(&limiter, "a", 10, 11, notes));
    assert!(take(&limiter, "a", 10, 7, notes) && !take(&limiter, "a", 10, 4, notes));
    assert_eq!(taken(&limiter).0, 7);
    clock.pass_until(start + 20 * SECOND);
    assert!(take(&limiter, "a", 10, 3, notes) && !take(&limiter, "a", 10, 1, notes));
    assert_eq!(taken(&limiter), (10, 40));
    clock.pass_until(start + 60 * SECOND + 1_000_000);
    assert!(!take(&limiter, "a", 10, 8, notes) && take(&limiter, "a", 10, 6, notes));
    assert_eq!(taken(&limiter).0, 9);
}

/// A reset by another process shows, although the notes say that nothing is free.
#[test]
fn notes_do_not_deny_after_another_process_resets_the_log() {
    let _clock = SetClock::at(Nanos::from_nanos(whole_second()));
    let dir = tempfile::tempdir().unwrap();
    let limiter = open(&dir, Limit::patient(rate("1/h")), 1_000);
    let (one, two) = (&mut LogNotes::default(), &mut LogNotes::default());
    for _ in 0..3 {
        assert_eq!((0..25).filter(|_| take(&limiter, "a", 20, 1, one)).count(), 20);
        assert!(!take(&limiter, "a", 20, 1, two));
        assert!(limiter.reset_log(KeyOf::All(&[b"a"]), 20, two).unwrap());
        // Another process is the first to use some of them again.
        assert_eq!((0..7).filter(|_| take(&limiter, "a", 20, 1, two)).count(), 7);
        assert_eq!(limiter.log_status(KeyOf::All(&[b"a"]), 20, one).unwrap().taken, 7);
        assert_eq!((0..25).filter(|_| take(&limiter, "a", 20, 1, one)).count(), 13);
        assert!(limiter.reset_log(KeyOf::All(&[b"a"]), 20, two).unwrap());
    }
    assert!(!limiter.reset_log(KeyOf::All(&[b"nobody"]), 20, two).unwrap());
}

/// Beyond its capacity the table forgets keys, and what it has forgotten is never admitted again too early.
#[test]
fn full_tables_are_never_over() {
    let start = whole_second();
    let (clock, _wall) = (SetClock::at(Nanos::from_nanos(start)), SetWall::ahead_by(0));
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let limits = [fixed("1000/h"), sliding("1000/h"), Limit::patient(rate("1/h"))];
    let [counts, sliding, log] = [0, 1, 2].map(|i| open(&dirs[i], limits[i], 1));
    let mut admitted = std::collections::HashMap::new();
    let mut notes = std::collections::HashMap::<usize, LogNotes>::new();
    for i in 0..30_000_usize {
        let number = i * 7_919 % 997;
        let key = number.to_string();
        clock.pass_until(start + i as u64 * 1_000);
        let all = [
            count(&counts, &key, 1, CountRule::Always(3)).admitted,
            count(&sliding, &key, 1, CountRule::IfAtMost(3)).admitted,
            take(&log, &key, 3, 1, notes.entry(number).or_default()),
        ];
        for (of, is_admitted) in all.into_iter().enumerate() {
            *admitted.entry((of, number)).or_insert(0) += u64::from(is_admitted);
        }
    }
    assert!(admitted.values().all(|&n| n <= 3), "{admitted:?}");
    assert!((0..3).all(|of| admitted.iter().filter(|(key, n)| key.0 == of && **n > 0).count() > 20));
    assert!(counts.table_status().unwrap().unwrap().inherited.total > 1_000);
}

/// A limiter that denies new keys while it is full forgets none, whatever the rule of a count is.
#[test]
fn a_limiter_that_refuses_new_keys_forgets_none() {
    let start = whole_second();
    let (_clock, _wall) = (SetClock::at(Nanos::from_nanos(start)), SetWall::ahead_by(0));
    for (limit, rule) in
        [(fixed("1000/h"), CountRule::Always(3)), (sliding("1000/h"), CountRule::IfAtMost(3))]
    {
        let dir = tempfile::tempdir().unwrap();
        let limiter = open(&dir, limit, 1);
        let keys = KeyPolicy::new(&[limit]).unwrap().refusing_new_keys(true);
        limiter.change(Policy::of_keys(keys)).unwrap();
        let first: Vec<bool> =
            (0..500).map(|key| count(&limiter, &key.to_string(), 3, rule).admitted).collect();
        let kept = first.iter().filter(|&&admitted| admitted).count();
        assert!((8..500).contains(&kept), "{kept}");
        // Each key that was admitted is known with what it counted, and none of the others gets in.
        for (key, admitted) in first.into_iter().enumerate() {
            let again = count(&limiter, &key.to_string(), 1, rule);
            assert!(!again.admitted && (!admitted || again.used >= 3), "{key} {again:?}");
        }
        let status = limiter.table_status().unwrap().unwrap();
        assert_eq!((status.forgotten.total, status.inherited.total), (0, 0));
        assert!(status.refused.total >= 2 * (500 - kept as u64), "{status:?}");
    }
}

#[test]
fn threads_that_race_are_never_over() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let limits = [fixed("1000/day"), sliding("1000/day"), Limit::patient(rate("1/day"))];
    let all = [0, 1, 2].map(|i| open(&dirs[i], limits[i], 10_000));
    let admitted = Mutex::new([0; 3]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut notes = LogNotes::default();
                for _ in 0..400 {
                    let each = [
                        count(&all[0], "a", 1, CountRule::Always(500)).admitted,
                        count(&all[1], "a", 1, CountRule::IfAtMost(500)).admitted,
                        take(&all[2], "a", 500, 1, &mut notes),
                    ];
                    let mut admitted = admitted.lock().unwrap();
                    (0..3).for_each(|i| admitted[i] += u64::from(each[i]));
                }
            });
        }
    });
    // Single ones lose nothing. (A day may end meanwhile, for the first two.)
    let admitted = admitted.into_inner().unwrap();
    assert_eq!(admitted[2], 500);
    assert!(admitted[..2].iter().all(|&n| n == 500 || n > 500 && clock_is_near_midnight()), "{admitted:?}");
}

fn clock_is_near_midnight() -> bool {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    since % 86_400 < 60
}
