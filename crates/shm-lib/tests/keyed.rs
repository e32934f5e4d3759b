//! Limits per key, as a program uses them.

use shm_lib::{
    Cost, DeniedBy, ErrorKind, Fallback, Key, KeyedBuilder, KeyedRateLimit, Limit, OnLost, OnMismatch,
    Outcome, Rate, RateLimit, Unit,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

fn bucket(text: &str, burst: u64) -> Limit {
    Limit::with_burst(rate(text), burst).unwrap()
}

fn builder(dir: &TempDir) -> KeyedBuilder {
    KeyedRateLimit::builder("users").directory(dir.path())
}

fn admitted(limit: &KeyedRateLimit, key: &str, times: usize) -> usize {
    (0..times).filter(|_| limit.key(key).try_acquire(1).unwrap().is_admitted()).count()
}

#[test]
fn a_denial_by_all_keys_takes_nothing_of_the_key_and_the_other_way_round() {
    let dir = tempfile::tempdir().unwrap();
    let limit = builder(&dir).burst(5).in_all(bucket("8/h", 8)).open_rate(rate("5/h")).unwrap();
    assert_eq!((admitted(&limit, "a", 9), admitted(&limit, "b", 9)), (5, 3));
    assert_eq!(limit.key("b").status().unwrap()[0].used, 3);
    let by = limit.key("b").try_acquire(1).unwrap().denied().unwrap().by();
    assert!(matches!(by, DeniedBy::Limit { index: 0, .. }), "{by:?}");
    let by = limit.key("a").try_acquire(1).unwrap().denied().unwrap().by();
    assert!(matches!(by, DeniedBy::KeyLimit { index: 0, .. }), "{by:?}");
    assert_eq!(limit.all_keys().status().unwrap().used, 8);
    let stats = limit.all_keys().stats();
    assert_eq!((stats.admitted, stats.denied), (8, 12));
}

#[test]
fn permits_are_those_of_all_keys() {
    let dir = tempfile::tempdir().unwrap();
    let limit = builder(&dir).burst(9).permits_in_all(2).open_rate(rate("9/h")).unwrap();
    let held = [limit.key("a").try_acquire(1).unwrap(), limit.key("b").try_acquire(1).unwrap()];
    let denied = limit.key("c").try_acquire(1).unwrap().denied().unwrap();
    assert_eq!(denied.by(), DeniedBy::Permits);
    drop(held);
    assert!(limit.key("c").try_acquire(1).unwrap().is_admitted());
    assert_eq!(limit.key("c").status().unwrap()[0].used, 1);
}

#[test]
fn keys_and_plain_limiters_do_not_mix() {
    let dir = tempfile::tempdir().unwrap();
    let keyed = builder(&dir).open_rate(rate("5/s")).unwrap();
    let plain = || RateLimit::builder("users").directory(dir.path());
    let e = plain().open_rate(rate("5/s")).unwrap_err();
    assert!(e.kind() == ErrorKind::Mismatch && e.to_string().contains("per key"), "{e}");
    let attached = plain().attach().unwrap();
    for e in [attached.try_acquire(1).unwrap_err(), attached.wait().unwrap_err()] {
        assert!(e.kind() == ErrorKind::InvalidInput && e.to_string().contains("key"), "{e}");
    }
    keyed.all_keys().retire().unwrap();
    plain().open_rate(rate("5/s")).unwrap();
    let e = builder(&dir).open_rate(rate("5/s")).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Mismatch);
    let e = builder(&dir).attach().unwrap_err();
    assert!(e.kind() == ErrorKind::InvalidInput && e.to_string().contains("--replace"), "{e}");
    let e = builder(&dir).on_mismatch(OnMismatch::Change).open_rate(rate("5/s")).unwrap_err();
    assert!(e.to_string().contains("--replace"), "{e}");
    builder(&dir).replace().open_rate(rate("5/s")).unwrap();
}

#[test]
fn a_lost_limiter_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let limit = builder(&dir).open_rate(rate("1/h")).unwrap();
    assert_eq!(admitted(&limit, "a", 2), 1);
    builder(&dir).attach().unwrap().all_keys().retire().unwrap();
    assert_eq!(admitted(&limit, "a", 2), 1);
    assert_eq!(limit.all_keys().times_lost(), 1);
    std::fs::remove_file(limit.path()).unwrap();
    std::fs::write(limit.path(), "not a limiter").unwrap();
    thread::sleep(Duration::from_millis(1_200));
    assert!(limit.key("a").try_acquire(1).fail_open().unwrap().is_admitted());
}

#[test]
fn a_wait_ends_if_the_handle_does_not_reopen_its_limiter() {
    for on_lost in [OnLost::Error, OnLost::Reopen] {
        let dir = tempfile::tempdir().unwrap();
        let limit = builder(&dir).on_lost(on_lost).open_rate(rate("1/h")).unwrap();
        // A handle that has retired its limiter itself does not reopen it, whatever it does otherwise.
        match on_lost {
            OnLost::Error => builder(&dir).attach().unwrap().all_keys().retire().unwrap(),
            _ => limit.all_keys().retire().unwrap(),
        }
        let soon = Instant::now() + Duration::from_secs(20);
        let ended = limit.key("a").acquire(1).stop_when(|| Instant::now() > soon).wait();
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Retired);
    }
}

#[test]
fn units_are_taken_where_they_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = Unit::named("tokens").unwrap();
    let bytes = Unit::named("bytes").unwrap();
    let limit = builder(&dir)
        .in_all(bucket("100/h", 100))
        .in_all(bucket("1000/h", 1_000).counting(bytes))
        .open_limits(&[bucket("5/h", 5), bucket("500/h", 500).counting(tokens)])
        .unwrap();
    let cost = Cost::one().and(tokens, 300).and(bytes, 700);
    assert!(limit.key("a").try_acquire(cost).unwrap().is_admitted());
    let denied = limit.key("a").try_acquire(cost).unwrap().denied().unwrap();
    assert!(matches!(denied.by(), DeniedBy::KeyLimit { index: 1, .. }), "{denied:?}");
    let denied = limit.key("b").try_acquire(cost).unwrap().denied().unwrap();
    assert!(matches!(denied.by(), DeniedBy::Limit { index: 1, .. }), "{denied:?}");
    for (cost, named) in [(Cost::one(), "tokens"), (cost.and(Unit::named("cows").unwrap(), 1), "cows")] {
        let e = limit.key("c").try_acquire(cost).unwrap_err();
        assert!(e.kind() == ErrorKind::InvalidInput && e.to_string().contains(named), "{e}");
    }
    let mut admission = limit
        .key("c")
        .try_acquire(Cost::one().and(tokens, 100).and(bytes, 100))
        .unwrap()
        .admission()
        .unwrap();
    let settled = limit.key("c").settle(&mut admission, Cost::one().and(tokens, 150).and(bytes, 40)).unwrap();
    assert!(settled.given_back(bytes) > 59.0, "{settled:?}");
    assert_eq!((settled.charged(tokens), limit.key("c").status().unwrap()[1].used), (50, 150));
    assert!(limit.key("c").settle(&mut admission, 1).is_err());
}

#[test]
fn threads_wait_for_a_key_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let limit = builder(&dir).open_rate(rate("50/s")).unwrap();
    let _ = limit.key("a").wait().unwrap();
    let order = std::sync::Mutex::new(Vec::new());
    thread::scope(|scope| {
        for i in 0..8 {
            let (limit, order) = (&limit, &order);
            scope.spawn(move || {
                let admission = limit.key("a").wait().unwrap();
                order.lock().unwrap().push((admission.at(), i));
            });
            thread::sleep(Duration::from_millis(5));
        }
    });
    let mut order = order.into_inner().unwrap();
    order.sort_unstable();
    assert_eq!(order.iter().map(|&(_, i)| i).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7]);
    for pair in order.windows(2) {
        assert!(pair[1].0.since(pair[0].0) >= Duration::from_millis(20));
    }
    assert_eq!(limit.all_keys().stats().admitted, 9);
}

#[test]
fn a_key_delivers_in_full_to_those_who_wait() {
    let dir = tempfile::tempdir().unwrap();
    let limit = builder(&dir).open_rate(rate("1000/s")).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let served = AtomicU64::new(0);
    let (first, last) = runtime.block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..400 {
            let limit = limit.clone();
            tasks.push(tokio::spawn(async move { limit.key("a").acquire(1).await.unwrap().at() }));
        }
        let mut at = Vec::new();
        for task in tasks {
            at.push(task.await.unwrap());
            served.fetch_add(1, Ordering::Relaxed);
        }
        (*at.iter().min().unwrap(), *at.iter().max().unwrap())
    });
    let took = last.since(first);
    // 399 intervals of a millisecond. Only a machine that stands still for longer than 20 ms loses turns.
    assert!(took >= Duration::from_millis(399) && took < Duration::from_millis(1_500), "{took:?}");
}

#[test]
fn deadlines_and_limits_of_waiters_deny() {
    let dir = tempfile::tempdir().unwrap();
    let limit = builder(&dir).max_waiters(1).open_rate(rate("1/h")).unwrap();
    limit.key("a").wait().unwrap();
    let began = Instant::now();
    let denied = limit.key("a").acquire(1).timeout(Duration::from_secs(60)).wait().unwrap().denied().unwrap();
    assert!(matches!(denied.by(), DeniedBy::KeyLimit { .. }) && began.elapsed() < Duration::from_secs(30));
    let stop = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let waiting =
            scope.spawn(|| limit.key("a").acquire(1).stop_when(|| stop.load(Ordering::Relaxed)).wait());
        thread::sleep(Duration::from_millis(100));
        let denied = limit.key("a").acquire(1).or_denied().wait().unwrap().denied().unwrap();
        assert_eq!(denied.by(), DeniedBy::Line { waiting: 1 });
        assert_eq!(limit.key("a").wait().unwrap_err().kind(), ErrorKind::LineFull);
        stop.store(true, Ordering::Relaxed);
        assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Interrupted);
    });
    assert!(limit.key("b").wait().is_ok());
}

#[tokio::test]
async fn a_dropped_future_leaves_its_place_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let limit = builder(&dir).open_rate(rate("10/s")).unwrap();
    let _ = limit.key("a").acquire(1).await.unwrap();
    for _ in 0..20 {
        let _ = tokio::time::timeout(Duration::from_millis(2), limit.key("a").acquire(1)).await;
    }
    let began = Instant::now();
    assert!(limit.key("a").acquire(1).await.is_ok());
    // At most one turn of those that gave up is lost.
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

/// A turn that was charged for one call is none for fifty.
#[test]
fn a_turn_passes_only_to_a_caller_that_asks_for_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let limit = builder(&dir).burst(50).open_rate(rate("100/s")).unwrap();
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    for _ in 0..3 {
        limit.key("a").reset().unwrap();
        let Ok(Outcome::Admitted(_)) = limit.key("a").try_acquire(50) else { panic!("a full burst") };
        let mut small = Box::pin(limit.key("a").acquire(1).into_future());
        let mut large = Box::pin(limit.key("a").acquire(50).into_future());
        let began = Instant::now();
        assert!(small.as_mut().poll(&mut context).is_pending());
        assert!(large.as_mut().poll(&mut context).is_pending());
        drop(small);
        while large.as_mut().poll(&mut context).is_pending() {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    }
}

/// A rate that comes with the key counts for all that is done with it.
#[test]
fn a_key_is_counted_by_the_rate_that_comes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let limit = builder(&dir).burst(5).open_rate(rate("5/h")).unwrap();
    let paid = || limit.key("paid").at(rate("50/h"), 50);
    paid().charge(40).unwrap();
    let status = paid().status().unwrap()[0];
    assert_eq!((status.used, status.available), (40, 10));
    let Outcome::Admitted(mut admission) = paid().try_acquire(1).unwrap() else { panic!("there is room") };
    paid().settle(&mut admission, 5).unwrap();
    let status = paid().status().unwrap()[0];
    assert_eq!((status.used, status.available), (45, 5));
}

/// A caller charges its turn ahead, and a runtime may poll it at any time before.
#[test]
fn a_caller_is_not_admitted_before_its_turn() {
    let dir = tempfile::tempdir().unwrap();
    let limit = builder(&dir).open_rate(rate("50/s")).unwrap();
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    for _ in 0..5 {
        let mut caller = Box::pin(limit.key("a").acquire(1).into_future());
        let admission = loop {
            match caller.as_mut().poll(&mut context) {
                std::task::Poll::Ready(admission) => break admission.unwrap(),
                std::task::Poll::Pending => std::thread::yield_now(),
            }
        };
        assert!(shm_lib::now() >= admission.at());
    }
    // Threads, of which each wakes the next one.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let admission = limit.key("a").acquire(1).wait().unwrap();
                    assert!(shm_lib::now() >= admission.at());
                }
            });
        }
    });
}

/// A task that polls its future often, for example in a loop of `select!`, is woken no more often for that.
#[test]
fn polls_add_no_wake_ups() {
    for in_all in [None, Some(bucket("1/h", 1))] {
        let dir = tempfile::tempdir().unwrap();
        let limit = in_all.into_iter().fold(builder(&dir), KeyedBuilder::in_all);
        let limit = limit.open_rate(rate("1/h")).unwrap();
        limit.key("a").wait().unwrap();
        let woken = std::sync::Arc::new(Woken(AtomicU64::new(0)));
        let waker = std::task::Waker::from(std::sync::Arc::clone(&woken));
        let mut context = std::task::Context::from_waker(&waker);
        let mut callers: Vec<_> = (0..2).map(|_| Box::pin(limit.key("a").acquire(1).into_future())).collect();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(3_200) {
            for caller in &mut callers {
                assert!(caller.as_mut().poll(&mut context).is_pending());
            }
            thread::sleep(Duration::from_millis(1));
        }
        let woken = woken.0.load(Ordering::Relaxed);
        assert!(woken < 100, "{woken} wake-ups of {} callers", callers.len());
    }
}

/// Counts how often its task was woken.
struct Woken(AtomicU64);

impl std::task::Wake for Woken {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The turn that was charged for a caller before a pause is not passed around among those who wait until the pause ends.
#[test]
fn callers_sleep_through_a_pause() {
    let dir = tempfile::tempdir().unwrap();
    let limit = builder(&dir).open_rate(rate("100/s")).unwrap();
    limit.key("a").wait().unwrap();
    let woken = std::sync::Arc::new(Woken(AtomicU64::new(1)));
    let waker = std::task::Waker::from(std::sync::Arc::clone(&woken));
    let mut context = std::task::Context::from_waker(&waker);
    let mut callers: Vec<_> = (0..3).map(|_| Box::pin(limit.key("a").acquire(1).into_future())).collect();
    assert!(callers.iter_mut().all(|caller| caller.as_mut().poll(&mut context).is_pending()));
    limit.all_keys().pause_for(Duration::from_secs(3_600)).unwrap();
    let (began, mut polls) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_millis(500) {
        if woken.0.swap(0, Ordering::Relaxed) > 0 {
            polls += 1;
            for caller in &mut callers {
                assert!(caller.as_mut().poll(&mut context).is_pending());
            }
        }
        thread::sleep(Duration::from_micros(100));
    }
    assert!(polls < 100, "{polls}");
}

/// A task may hold a future and not poll it, or leak it. The callers behind it go on after two seconds.
#[test]
fn a_future_that_is_not_polled_holds_up_no_other_caller() {
    for in_all in [None, Some(bucket("1000/s", 10))] {
        let dir = tempfile::tempdir().unwrap();
        let limit = in_all.into_iter().fold(builder(&dir), KeyedBuilder::in_all);
        let limit = limit.open_rate(rate("20/s")).unwrap();
        limit.key("a").wait().unwrap();
        let mut held = Box::pin(limit.key("a").acquire(1).into_future());
        let waker = std::task::Waker::noop();
        let mut context = std::task::Context::from_waker(waker);
        assert!(held.as_mut().poll(&mut context).is_pending());
        let began = Instant::now();
        for _ in 0..3 {
            limit.key("a").acquire(1).wait().unwrap();
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        drop(held);
    }
}

#[tokio::test]
async fn waiting_with_limits_of_all_keys_stands_in_their_line() {
    let dir = tempfile::tempdir().unwrap();
    let limit = builder(&dir).burst(5).in_all(bucket("20/s", 1)).open_rate(rate("5/day")).unwrap();
    let mut at = Vec::new();
    for key in ["a", "b", "c", "d", "a", "b"] {
        at.push(limit.key(key).acquire(1).await.unwrap().at());
    }
    assert!(at[5].since(at[0]) >= Duration::from_millis(200));
    assert_eq!(limit.all_keys().stats().admitted, 6);
    limit.all_keys().charge(20).unwrap();
    let denied = limit.key("a").acquire(1).timeout(Duration::from_millis(1)).await.unwrap();
    assert!(!denied.is_admitted());
    assert_eq!(limit.key("a").status().unwrap()[0].used, 2, "the denial took nothing of the key");
}

#[test]
fn a_change_reaches_those_who_wait() {
    let dir = tempfile::tempdir().unwrap();
    let limit = builder(&dir).open_rate(rate("1/h")).unwrap();
    limit.key("a").wait().unwrap();
    thread::scope(|scope| {
        let waiting =
            scope.spawn(|| limit.key("a").acquire(1).timeout(Duration::from_secs(7_200)).wait().unwrap());
        thread::sleep(Duration::from_millis(100));
        limit.key("a").reset().unwrap();
        assert!(waiting.join().unwrap().is_admitted());
    });
}

#[test]
fn a_batch_equals_single_requests_also_with_parts_and_all_keys() {
    let dir = tempfile::tempdir().unwrap();
    let limit = builder(&dir).burst(2).open_rate(rate("2/h")).unwrap();
    let count = |outcomes: Vec<Outcome>| outcomes.iter().filter(|outcome| outcome.is_admitted()).count();
    assert_eq!(count(limit.try_acquire_many((0..40).map(|i| i % 10), 1).unwrap()), 20);
    let parts = (0..40).map(|i| Key::from(("a", i % 10)));
    assert_eq!(count(limit.try_acquire_many(parts, 1).unwrap()), 20);
    let other = KeyedRateLimit::builder("other").directory(dir.path()).in_all(bucket("7/h", 7));
    let other = other.open_rate(rate("1/h")).unwrap();
    assert_eq!(count(other.try_acquire_many(0..40, 1).unwrap()), 7);
}

#[test]
fn shadow_mode_denies_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let limit = builder(&dir).shadow().open_rate(rate("1/h")).unwrap();
    assert_eq!(admitted(&limit, "a", 5), 5);
    assert!(limit.key("a").wait().unwrap().shadowed().is_some());
    assert_eq!(limit.all_keys().stats().denied, 5);
}
