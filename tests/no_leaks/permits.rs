//! Permits: at most so many held at once, by the living.

use harness::{Arena, RemoteWorker, Rng, WorkerPool, alone, eventually, log_uncaptured, shared_dir};
use nix::sys::signal::Signal;
use shm_lib::{DeniedBy, Nanos, Outcome, Policy, RateLimit};
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
/// A state in a word, one in a record, and no limit. Only permits are scarce here.
const ALL: [&str; 3] = ["bucket:1000000/s:10000", EASY, "none"];
const EASY: &str = "bucket:1000000/s:10000+fixed:1000000/s";
/// On any machine, however busy.
const SURELY: Duration = Duration::from_secs(1);

fn worker(arena: &Arena) -> RemoteWorker {
    let mut worker = RemoteWorker::new(WORKER, &arena.job("remote"));
    worker.expect_ok("open");
    worker
}

fn workers<const N: usize>(arena: &Arena) -> [RemoteWorker; N] {
    std::array::from_fn(|_| worker(arena))
}

fn hold(worker: &mut RemoteWorker) {
    let answer = worker.ask("hold");
    assert!(answer.starts_with("held"), "{answer}");
}

/// When it had its permit, by its own clock.
fn granted_at(answer: &str) -> Nanos {
    let words: Vec<&str> = answer.split(' ').collect();
    assert_eq!(words[0], "held", "{answer}");
    Nanos::from_nanos(words[2].parse().unwrap())
}

fn held(limit: &RateLimit) -> u64 {
    limit.inspect().unwrap().permits_held
}

fn with_permits(limit: &RateLimit, permits: u32) -> Policy {
    limit.policy().unwrap().with_permits(permits).unwrap()
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

/// 20 times: `end` frees the permit that one worker holds while another one waits. Returns how long the waiter then waits.
fn handover_times(what: &str, end: impl Fn(&mut RemoteWorker)) -> Vec<Duration> {
    let arena = Arena::with_policy(EASY, 1);
    let mut rng = Rng::new();
    let mut all = Vec::new();
    for _ in 0..20 {
        let [mut holder, mut waiter] = workers(&arena);
        hold(&mut holder);
        waiter.tell("hold-wait");
        std::thread::sleep(Duration::from_micros(30_000 + rng.below(100_000)));
        let freed = shm_lib::now();
        end(&mut holder);
        all.push(granted_at(&waiter.answer()).since(freed));
    }
    let slowest = all.iter().max().unwrap();
    log_uncaptured(&format!(
        "{what}: who waits has the permit after {:?} (median), {slowest:?} (slowest)",
        median(all.clone())
    ));
    assert!(*slowest < SURELY);
    all
}

/// A caller that asks after the death of a holder gets its permit, although no process released it.
#[test]
fn a_killed_holders_permit_is_free_for_the_next_caller() {
    for policy in ALL {
        let arena = Arena::with_policy(policy, 1);
        let limit = arena.open();
        for _ in 0..20 {
            let mut holder = worker(&arena);
            hold(&mut holder);
            assert!(!limit.try_acquire(1).unwrap().is_admitted());
            holder.signal(Signal::SIGKILL);
            holder.wait();
            assert_eq!(held(&limit), 0);
            // A process that has just looked at the holders looks again after 10 ms.
            let is_free = || limit.try_acquire(1).unwrap().is_admitted();
            assert!(eventually(SURELY, is_free), "the permit died with its holder");
        }
    }
}

/// The rate denies one of two callers again and again. The other caller needs no unit that is used up, so a permit must always
/// be free for it.
#[test]
fn a_caller_denied_by_the_rate_takes_no_permit() {
    let arena = Arena::with_policy("bucket:1000000/s:1000000+bucket:1/366d:1@bytes", 1);
    let limit = arena.open();
    let bytes = shm_lib::Unit::named("bytes").unwrap();
    let ask = |n| limit.try_acquire(shm_lib::Cost::one().and(bytes, n)).unwrap();
    assert!(ask(1).is_admitted());
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(!ask(1).is_admitted());
            }
        });
        let denied = (0..50_000).filter(|_| !ask(0).is_admitted()).count();
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(denied, 0, "denied for permits that nobody holds");
    });
}

/// A caller that the rate denies is told when to retry, also while all permits are held.
#[test]
fn a_rate_denial_names_its_retry_time_while_all_permits_are_held() {
    let arena = Arena::with_policy("bucket:1/1h:1", 1);
    let limit = arena.open();
    let _held = limit.try_acquire(1).unwrap();
    let Outcome::Denied(denied) = limit.try_acquire(1).unwrap() else { panic!("admitted") };
    assert!(matches!(denied.by(), DeniedBy::Limit { index: 0, .. }), "{denied:?}");
    assert!(denied.retry_after() > Some(Duration::from_secs(3_500)), "{denied:?}");
}

/// Promised is about 0.1 s.
#[test]
fn a_waiter_gets_a_killed_holders_permit_by_itself() {
    let _alone = alone();
    handover_times("holder killed", |holder| holder.signal(Signal::SIGKILL));
}

#[test]
fn a_released_permit_wakes_a_waiter_at_once() {
    let _alone = alone();
    let all = handover_times("given back", |holder| holder.tell("release"));
    assert!(median(all) < Duration::from_millis(50), "nobody is woken");
}

/// A forked child has copies of its parent's permits, and drops them in all ways in which a process can end.
#[test]
fn a_forked_copy_of_a_permit_releases_nothing() {
    for policy in ALL {
        for end in ["child release", "child drop", "child exit", "child _exit", "kill-child"] {
            let arena = Arena::with_policy(policy, 2);
            let limit = arena.open();
            let mut parent = worker(&arena);
            hold(&mut parent);
            parent.ask("fork");
            // The child's own is another one.
            assert!(parent.ask("child hold").starts_with("held"));
            assert_eq!(held(&limit), 2);
            parent.expect_ok("child release");
            assert_eq!(held(&limit), 1);
            parent.ask(end);
            assert_eq!(held(&limit), 1, "{end}");
            let second = limit.try_acquire(1).unwrap();
            assert!(second.is_admitted());
            assert!(!limit.try_acquire(1).unwrap().is_admitted(), "{end}");
            drop(second);
            parent.expect_ok("release");
            assert_eq!(held(&limit), 0, "{end}");
        }
    }
}

#[test]
fn a_permit_can_be_released_by_another_thread() {
    let arena = Arena::with_policy(EASY, 1);
    let limit = arena.open();
    let mut holder = worker(&arena);
    hold(&mut holder);
    holder.expect_ok("release-elsewhere");
    assert!(limit.try_acquire(1).unwrap().is_admitted());
}

/// The program that replaces the holder holds no permits.
#[test]
fn exec_frees_the_permits() {
    let arena = Arena::with_policy(EASY, 2);
    let limit = arena.open();
    let mut holder = worker(&arena);
    hold(&mut holder);
    hold(&mut holder);
    holder.expect_ok("exec");
    assert_eq!(holder.ask("pid"), holder.pid().to_string());
    assert_eq!(held(&limit), 0);
    let both = [limit.try_acquire(1).unwrap(), limit.try_acquire(1).unwrap()];
    assert!(both.iter().all(shm_lib::Outcome::is_admitted));
}

/// A stopped process is alive: it keeps its permit, while other processes take and release theirs.
#[test]
fn a_stopped_holder_keeps_its_permit_and_delays_no_other() {
    let arena = Arena::with_policy(EASY, 2);
    let limit = arena.open();
    let [mut stopped, mut other] = workers(&arena);
    hold(&mut stopped);
    stopped.signal(Signal::SIGSTOP);
    let began = Instant::now();
    for _ in 0..200 {
        hold(&mut other);
        assert_eq!(held(&limit), 2);
        assert!(!limit.try_acquire(1).unwrap().is_admitted());
        other.expect_ok("release");
    }
    assert!(began.elapsed() < 2 * SURELY, "{:?} for 200 permits", began.elapsed());
    assert_eq!(held(&limit), 1);
    stopped.signal(Signal::SIGCONT);
    stopped.expect_ok("release");
    assert_eq!(held(&limit), 0);
}

#[test]
fn after_a_change_to_fewer_permits_none_is_granted_until_enough_are_released() {
    let arena = Arena::with_policy(EASY, 4);
    let limit = arena.open();
    let [mut a, mut b] = workers(&arena);
    for _ in 0..2 {
        hold(&mut a);
        hold(&mut b);
    }
    limit.change_policy(with_permits(&limit, 2)).unwrap();
    for left in [4, 3, 2] {
        assert_eq!(held(&limit), left);
        assert!(!limit.try_acquire(1).unwrap().is_admitted(), "admitted beside {left} of 2");
        if left % 2 == 0 { a.expect_ok("release") } else { b.expect_ok("release") }
    }
    let second = limit.try_acquire(1).unwrap();
    assert!(second.is_admitted());
    assert!(!limit.try_acquire(1).unwrap().is_admitted());
    // The dead among those too many count no more.
    drop(second);
    limit.change_policy(with_permits(&limit, 4)).unwrap();
    (0..3).for_each(|_| hold(&mut a));
    limit.change_policy(with_permits(&limit, 1)).unwrap();
    a.signal(Signal::SIGKILL);
    a.wait();
    assert!(!limit.try_acquire(1).unwrap().is_admitted(), "b holds the only one");
    b.expect_ok("release");
    assert!(eventually(SURELY, || limit.try_acquire(1).unwrap().is_admitted()));
}

#[test]
fn adding_permits_wakes_waiters() {
    let arena = Arena::with_policy(EASY, 1);
    let limit = arena.open();
    let _only = limit.try_acquire(1).unwrap();
    let mut waiters: [RemoteWorker; 3] = workers(&arena);
    waiters.iter_mut().for_each(|w| w.tell("hold-wait"));
    std::thread::sleep(Duration::from_millis(50));
    let raised = shm_lib::now();
    limit.change_policy(with_permits(&limit, 4)).unwrap();
    let slowest = waiters.iter_mut().map(|w| granted_at(&w.answer()).since(raised)).max().unwrap();
    log_uncaptured(&format!("raised: three who wait have theirs after {slowest:?}"));
    assert!(slowest < SURELY);
    assert_eq!(held(&limit), 4);
}

/// A pause, a change of permits and a retirement reach a caller that waits for a permit.
#[test]
fn changes_reach_permit_waiters() {
    let arena = Arena::with_policy(EASY, 1);
    let limit = arena.open();
    let only = limit.try_acquire(1).unwrap();
    let mut waiter = worker(&arena);

    waiter.tell("hold-wait");
    std::thread::sleep(Duration::from_millis(30));
    limit.pause_for(Duration::from_millis(300)).unwrap();
    let until = limit.inspect().unwrap().paused_until.unwrap();
    drop(only);
    let begun = granted_at(&waiter.answer());
    assert!(begun >= until, "admitted in a pause");
    assert!(begun.since(until) < SURELY);

    // Now the waiter holds the permit, and another worker waits; without permits it need not wait.
    let mut other = worker(&arena);
    other.tell("hold-wait");
    std::thread::sleep(Duration::from_millis(30));
    limit.reset().unwrap();
    let permitted = limit.policy().unwrap();
    let free = Policy::new(&permitted.limits().collect::<Vec<_>>()).unwrap();
    let changed = shm_lib::now();
    limit.change_policy(free).unwrap();
    assert!(granted_at(&other.answer()).since(changed) < SURELY);

    // The first one's permit outlived that.
    limit.change_policy(permitted).unwrap();
    assert_eq!(held(&limit), 1);
    other.tell("hold-wait");
    std::thread::sleep(Duration::from_millis(30));
    let retired = Instant::now();
    limit.retire().unwrap();
    let answer = other.answer();
    assert!(answer.starts_with("error Retired"), "{answer}");
    assert!(retired.elapsed() < SURELY, "{:?}", retired.elapsed());
    waiter.expect_ok("release");
}

#[test]
fn a_permit_waiter_notices_a_removed_file() {
    let arena = Arena::with_policy(EASY, 1);
    let limit = arena.open();
    let _only = limit.try_acquire(1).unwrap();
    let mut waiter = worker(&arena);
    waiter.tell("hold-wait");
    std::thread::sleep(Duration::from_millis(30));
    std::fs::remove_file(arena.file()).unwrap();
    let removed = Instant::now();
    let answer = waiter.answer();
    assert!(answer.starts_with("error Removed"), "{answer}");
    assert!(removed.elapsed() < SURELY, "{:?}", removed.elapsed());
}

/// A process without a seat gets no permit and no record to write. It is told which setting to change, or waits for a seat.
#[test]
fn a_process_beyond_the_seats_gets_no_seat_or_waits_for_one() {
    for (policy, permits) in [(ALL[0], 4), (EASY, 0), (EASY, 4), ("none", 4)] {
        let arena = Arena::with_policy(policy, permits).seats(2);
        let [mut a, mut b, mut late] = workers(&arena);
        for seated in [&mut a, &mut b] {
            assert!(seated.ask("try").starts_with("admitted"));
        }
        for order in ["try", "wait-ms 50", "hold"] {
            let answer = late.ask(order);
            assert!(answer.starts_with("error NoSeat"), "{order}: {answer}");
            assert!(answer.contains("seats are taken (2)") && answer.contains("more seats"), "{answer}");
        }
        // Looking needs none.
        late.expect_ok("status");
        late.expect_ok("inspect");
        // A process that waits also waits for a seat.
        late.tell("wait-ms 20000");
        std::thread::sleep(Duration::from_millis(50));
        a.signal(Signal::SIGKILL);
        a.wait();
        let answer = late.answer();
        assert!(answer.starts_with("admitted"), "{policy}: {answer}");
        assert!(b.ask("try").starts_with("admitted"));
    }
}

/// 100 kills of holders and waiters at any instant: what the living hold is held, nothing else.
#[test]
fn killed_holders_and_waiters_leave_the_right_number_of_permits() {
    let _alone = alone();
    let arena = Arena::with_policy(EASY, 7);
    let limit = arena.open();
    let mut steady: [RemoteWorker; 3] = workers(&arena);
    steady.iter_mut().for_each(hold);
    let mut pool = WorkerPool::new(WORKER);
    let job = arena.job("mixed").set("hold", 2_000);
    pool.spawn_many(&job, 8);
    pool.start();
    let mut rng = Rng::new();
    for _ in 0..100 {
        std::thread::sleep(Duration::from_micros(rng.below(15_000)));
        pool.replace(rng.below(8) as usize, &job);
        let seen = held(&limit);
        assert!((3..=7).contains(&seen), "{seen} held");
    }
    pool.kill_all();
    assert!(eventually(Duration::from_millis(200), || held(&limit) == 3), "{} held, not 3", held(&limit));
    // Those that were killed while they waited are in the line for a moment.
    let patience = Duration::from_secs(5);
    let rest: Vec<_> = (0..4).map(|_| limit.acquire(1).timeout(patience).wait().unwrap()).collect();
    assert!(rest.iter().all(shm_lib::Outcome::is_admitted));
    assert!(!limit.try_acquire(1).unwrap().is_admitted());
    steady.iter_mut().for_each(|s| s.expect_ok("release"));
    drop(rest);
    assert_eq!(held(&limit), 0);
}

#[test]
fn a_limiter_with_40_000_permits_can_be_reopened() {
    let dir = shared_dir();
    let builder = || RateLimit::builder("r").directory(dir.path());
    let limit = builder().burst(10).permits(40_000).open(10, SURELY).unwrap();
    let _one = limit.try_acquire(1).unwrap();
    builder().attach().unwrap();
}
