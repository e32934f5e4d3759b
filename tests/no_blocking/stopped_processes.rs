//! Processes that are stopped at random instants, in the middle of whatever they do: the others go on.

use harness::log::Log;
use harness::{Arena, Rng, WorkerPool, alone, eventually, log, log_uncaptured};
use nix::sys::signal::Signal;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
/// Phases with stops, and as many without, in turns.
const PHASES: usize = 20;
const STOPS_A_PHASE: u64 = 100;

/// The median of the phases' 99.9th percentiles, and the slowest of all.
fn median_p999(phases: &mut [Vec<u32>]) -> (Duration, Duration) {
    let mut slow: Vec<u32> = phases
        .iter_mut()
        .filter(|times| times.len() >= 1_000)
        .map(|times| {
            let place = times.len() - 1 - times.len() / 1_000;
            *times.select_nth_unstable(place).1
        })
        .collect();
    slow.sort_unstable();
    let slowest = phases.iter().flatten().max().copied().unwrap_or(0);
    (Duration::from_nanos(slow[slow.len() / 2].into()), Duration::from_nanos(slowest.into()))
}

/// Tries all the time and measures each decision, by the phase that it began in.
fn ask(arena: &Arena, phase: &AtomicUsize) -> Vec<Vec<u32>> {
    let limit = arena.open();
    let mut log = Log::create(arena.logs());
    let mut times: Vec<Vec<u32>> = (0..PHASES).map(|_| Vec::with_capacity(1 << 20)).collect();
    loop {
        let now = phase.load(Ordering::Relaxed);
        let Some(times) = times.get_mut(now) else { return times };
        let began = Instant::now();
        let outcome = limit.try_acquire(1).expect("a decision");
        times.push(began.elapsed().as_nanos() as u32);
        if let Some(admission) = outcome.admission() {
            log.admitted(admission.at());
        }
    }
}

/// Every other phase the victim is stopped for a while, again and again; in the others it goes on at its work.
fn stop_in_every_other_phase(pool: &WorkerPool, phase: &AtomicUsize) {
    let mut rng = Rng::new();
    for k in 0..PHASES {
        phase.store(k, Ordering::Relaxed);
        let signal = |signal| {
            if k % 2 == 0 {
                pool.signal(0, signal);
            }
        };
        for _ in 0..STOPS_A_PHASE {
            std::thread::sleep(Duration::from_micros(rng.below(300)));
            signal(Signal::SIGSTOP);
            std::thread::sleep(Duration::from_micros(100 + rng.below(900)));
            signal(Signal::SIGCONT);
        }
    }
    phase.store(PHASES, Ordering::Relaxed);
}

/// A decision takes as long beside a stopped process as beside a running one.
/// On a shared machine there are disturbances, so a bad measurement is repeated. That nothing is over has no second try.
#[test]
fn decisions_beside_a_stopped_process_take_no_longer() {
    let _alone = alone();
    for attempt in 1.. {
        let arena = Arena::with_policy("bucket:200000/s:1000+fixed:15000/100ms", 0);
        let mut pool = WorkerPool::new(WORKER);
        pool.spawn(&arena.job("hammer").set("how", "try").set("threads", 1));
        pool.start();
        let phase = AtomicUsize::new(0);
        let times = std::thread::scope(|scope| {
            let asker = scope.spawn(|| ask(&arena, &phase));
            stop_in_every_other_phase(&pool, &phase);
            asker.join().expect("the asker")
        });
        pool.kill_all();
        let admitted: Vec<(u64, u64)> = log::read(arena.logs()).into_iter().map(|at| (1, at)).collect();
        arena.assert_all_kept(&admitted);

        let (mut with, mut without): (Vec<_>, Vec<_>) =
            times.into_iter().enumerate().partition(|(k, _)| k % 2 == 0);
        let strip = |phases: &mut Vec<(usize, Vec<u32>)>| {
            median_p999(&mut phases.drain(..).map(|(_, times)| times).collect::<Vec<_>>())
        };
        let (with, without) = (strip(&mut with), strip(&mut without));
        log_uncaptured(&format!(
            "p99.9 of a decision: {:?} beside a process stopped {} times (slowest {:?}), {:?} beside a running one (slowest {:?}); {} admitted",
            with.0,
            PHASES as u64 / 2 * STOPS_A_PHASE,
            with.1,
            without.0,
            without.1,
            admitted.len()
        ));
        if with.0 <= 2 * without.0 + Duration::from_micros(50) {
            return;
        }
        assert!(attempt < 3, "{with:?} with, {without:?} without");
    }
}

/// Turns come on time beside a process that is stopped while it stands in the same line.
#[test]
fn turns_come_on_time_beside_a_stopped_waiter() {
    let _alone = alone();
    let arena = Arena::with_policy("bucket:1000/s+greedy:100/100ms", 4);
    let limit = arena.open();
    let mut pool = WorkerPool::new(WORKER);
    pool.spawn(&arena.job("mixed").set("threads", 2));
    pool.start();
    let mut rng = Rng::new();
    let mut late = Vec::new();
    for _ in 0..150 {
        std::thread::sleep(Duration::from_micros(rng.below(2_000)));
        pool.signal(0, Signal::SIGSTOP);
        let admission = limit.wait().expect("a turn");
        late.push(shm_lib::now().since(admission.at()));
        // It had two turns before ours at most.
        assert!(admission.waited() < Duration::from_secs(2), "waited for {:?}", admission.waited());
        pool.signal(0, Signal::SIGCONT);
    }
    pool.kill_all();
    late.sort_unstable();
    log_uncaptured(&format!("a turn beside a stopped waiter comes {:?} late (median)", late[75]));
    assert!(late[75] < Duration::from_millis(20));
}

/// Processes are stopped for 300 ms at random instants, 50 times: whatever they were about to do, the others continue.
#[test]
fn other_processes_progress_beside_stopped_ones() {
    let _alone = alone();
    for (how, rate, burst) in [("try", "20000/s", 2_000), ("wait", "2000/s", 1)] {
        let arena = Arena::new(rate, burst);
        let watcher = arena.open();
        let mut pool = WorkerPool::new(WORKER);
        pool.spawn_many(&arena.job("hammer").set("how", how), 10);
        pool.start();
        let mut rng = Rng::new();
        // 5 rounds of 5 for each way of asking; half of the processes always run.
        for _ in 0..5 {
            let mut stopped = Vec::new();
            for index in 0..5 {
                std::thread::sleep(Duration::from_micros(rng.below(3_000)));
                pool.signal(index, Signal::SIGSTOP);
                stopped.push(Instant::now());
            }
            let before = watcher.stats().calls;
            let progress = eventually(Duration::from_millis(250), || watcher.stats().calls > before + 20);
            assert!(progress, "the others stand still with the stopped");
            for (index, since) in stopped.iter().enumerate() {
                std::thread::sleep(Duration::from_millis(300).saturating_sub(since.elapsed()));
                pool.signal(index, Signal::SIGCONT);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        pool.kill_all();
        arena.assert_never_over(arena.limit());
    }
}

/// A changer stopped in the middle of a change delays no decision.
#[test]
fn decisions_progress_beside_a_stopped_changer() {
    let _alone = alone();
    let arena = Arena::new("50000/s", 5_000);
    let watcher = arena.open();
    let mut pool = WorkerPool::new(WORKER);
    let changer = pool.spawn(&arena.job("change"));
    pool.spawn_many(&arena.job("hammer").set("how", "try"), 4);
    pool.start();
    let mut rng = Rng::new();
    for _ in 0..30 {
        std::thread::sleep(Duration::from_micros(rng.below(5_000)));
        pool.signal(changer, Signal::SIGSTOP);
        let before = watcher.stats().calls;
        let progress = eventually(Duration::from_millis(500), || watcher.stats().calls > before + 20);
        pool.signal(changer, Signal::SIGCONT);
        assert!(progress, "decisions wait for a stopped changer");
    }
    pool.kill_all();
    arena.assert_never_over(arena.limit());
}
