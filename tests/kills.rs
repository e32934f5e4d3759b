//! Processes that are killed or stopped at any moment.

use harness::{Arena, Crew, Dice, alone, eventually, shout};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// 16 processes ask all the time; one after another is killed in the middle of whatever it does, and replaced.
#[test]
fn killed_processes_break_nothing_and_leave_nothing() {
    let _alone = alone();
    const KILLS: usize = 150;
    for (how, rate, burst) in [("try", "50000/s", 5_000), ("wait", "5000/s", 1)] {
        let arena = Arena::new(rate, burst);
        let job = arena.job("hammer").set("how", how).set("threads", 2);
        let watcher = arena.open();
        let mut crew = Crew::new(WORKER);
        crew.hire_many(&job, 16);
        crew.go();
        let mut dice = Dice::new();
        for _ in 0..KILLS {
            std::thread::sleep(Duration::from_micros(dice.roll(20_000)));
            crew.replace(dice.roll(16) as usize, &job);
        }
        let alive: Vec<u32> = (0..16).map(|i| crew.pid(i)).collect();
        assert!(
            eventually(Duration::from_secs(5), || alive.iter().all(|pid| attached(&watcher).contains(pid))),
            "a living process is not listed"
        );
        // The watcher and the living, nobody else: the kernel frees the seats of the dead.
        assert_eq!(attached(&watcher).len(), 17);
        crew.dismiss();
        assert_eq!(attached(&watcher), [std::process::id()]);

        let logged = arena.times().len() as u64;
        let counted = watcher.stats().tokens;
        // A thread is killed at most once between being counted and writing that down, or between taking and being counted.
        let killed_threads = 2 * (KILLS as u64 + 16);
        assert!(counted <= logged + killed_threads, "{counted} counted, {logged} logged");
        assert!(logged <= counted, "{logged} logged, {counted} counted");
        shout(&format!("{how}: {KILLS} kills, {logged} logged, {counted} counted"));
        arena.assert_never_over(arena.limit());
        assert!(watcher.inspect().is_ok());
    }
}

fn attached(limit: &shm_lib::RateLimit) -> Vec<u32> {
    limit.inspect().expect("a healthy limiter").attached.iter().map(|a| a.pid).collect()
}

/// 8 seats, and hundreds of processes over time: some leave, some are killed where they sit. Each takes from the one
/// budget and is counted.
#[test]
fn seats_of_the_dead_are_taken_again_and_all_processes_count() {
    let _alone = alone();
    let arena = Arena::with_fixed_budget(700).seats(8);
    let watcher = arena.open();
    let brief = arena.job("brief").set("tries", 10);
    let lingering = brief.clone().set("linger", 1);

    for k in 0..40 {
        let mut crew = Crew::new(WORKER);
        crew.hire(if k % 2 == 0 { &brief } else { &lingering });
        crew.go();
        assert_eq!(crew.hear(Duration::from_secs(30)).as_deref(), Some("done"));
        let seats = watcher.inspect().unwrap().attached;
        assert!(seats.len() <= 2, "the seat of a dead process is still listed: {seats:?}");
        crew.dismiss();
    }
    assert_eq!(watcher.stats().tokens, 400);

    // More than the seats at once: those without are limited all the same, and counted together.
    for _ in 0..3 {
        let mut crew = Crew::new(WORKER);
        crew.hire_many(&lingering, 20);
        crew.go();
        for _ in 0..20 {
            assert_eq!(crew.hear(Duration::from_secs(30)).as_deref(), Some("done"));
        }
        assert_eq!(watcher.inspect().unwrap().attached.len(), 8);
        crew.dismiss();
    }
    let stats = watcher.stats();
    assert_eq!((stats.tokens, stats.denied), (700, 300));
    assert_eq!(arena.times().len(), 700);
    assert_eq!(attached(&watcher), [std::process::id()]);
}

/// Stopped for 300 ms at any instant, 50 times: whatever a process was about to do, the others go on meanwhile.
#[test]
fn a_stopped_process_holds_up_nobody() {
    let _alone = alone();
    for (how, rate, burst) in [("try", "20000/s", 2_000), ("wait", "2000/s", 1)] {
        let arena = Arena::new(rate, burst);
        let watcher = arena.open();
        let mut crew = Crew::new(WORKER);
        crew.hire_many(&arena.job("hammer").set("how", how), 10);
        crew.go();
        let mut dice = Dice::new();
        // 5 rounds of 5 for each way of asking; half of the processes always run.
        for _ in 0..5 {
            let mut stopped = Vec::new();
            for index in 0..5 {
                std::thread::sleep(Duration::from_micros(dice.roll(3_000)));
                crew.signal(index, Signal::SIGSTOP);
                stopped.push(Instant::now());
            }
            let before = watcher.stats().tokens;
            let progress = eventually(Duration::from_millis(250), || watcher.stats().tokens > before + 20);
            assert!(progress, "the others stand still with the stopped");
            for (index, since) in stopped.iter().enumerate() {
                std::thread::sleep(Duration::from_millis(300).saturating_sub(since.elapsed()));
                crew.signal(index, Signal::SIGCONT);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        crew.dismiss();
        arena.assert_never_over(arena.limit());
    }
}

/// A changer stopped in the middle of a change delays no decision.
#[test]
fn a_stopped_changer_holds_up_no_decision() {
    let _alone = alone();
    let arena = Arena::new("50000/s", 5_000);
    let watcher = arena.open();
    let mut crew = Crew::new(WORKER);
    let changer = crew.hire(&arena.job("change"));
    crew.hire_many(&arena.job("hammer").set("how", "try"), 4);
    crew.go();
    let mut dice = Dice::new();
    for _ in 0..30 {
        std::thread::sleep(Duration::from_micros(dice.roll(5_000)));
        crew.signal(changer, Signal::SIGSTOP);
        let before = watcher.stats().tokens;
        let progress = eventually(Duration::from_millis(500), || watcher.stats().tokens > before + 20);
        crew.signal(changer, Signal::SIGCONT);
        assert!(progress, "decisions wait for a stopped changer");
    }
    crew.dismiss();
    arena.assert_never_over(arena.limit());
}
