//! More clients than the limit serves, each with one second of patience: the limit is delivered in full, and clients that
//! leave take nothing with them.

use harness::load::CLIENT;
use harness::load::api::NextCall;
use harness::load::kind::{FAST, KINDS, Kind, PATIENT};
use harness::load::overload::{Figures, Overload, Way};
use harness::load::rounds::{self, Measured};
use harness::load::sheet::Sheet;
use harness::{Arena, WorkerPool, alone, log_uncaptured};
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const TIME: Duration = Duration::from_secs(4);
/// Per cent of the limit in each second after the first one, on a machine that does other work as well.
const DELIVERED: f64 = 80.0;
/// The same for permits: their holders sleep, and may wake late.
const PERMITS_DELIVERED: f64 = 60.0;
/// How much later than an interval after the last client left the next call may be admitted.
const MARGIN: Duration = Duration::from_millis(500);

fn complaints(what: &Overload, figures: &Figures) -> Vec<String> {
    let kind = what.kind;
    let mut all = Vec::new();
    let least = if kind.permits > 0 { PERMITS_DELIVERED } else { DELIVERED };
    if figures.worst() < least || figures.mean() < DELIVERED {
        all.push(format!("delivered in each second, in per cent: {:.0?}", figures.seconds));
    }
    if figures.failed > 0 {
        all.push(format!("{} clients got errors", figures.failed));
    }
    if figures.queued > 0 {
        all.push(format!("{} queued when all had left", figures.queued));
    }
    match figures.next_call {
        NextCall::Admitted(time) if time <= kind.interval + MARGIN => {}
        other => all.push(format!("the next call: {other:?}, and an interval is {:?}", kind.interval)),
    }
    let name = format!("{}, {}, {} times the limit", kind.name, what.way.name(), what.times);
    all.iter().map(|complaint| format!("{name}: {complaint}")).collect()
}

/// Makes a measurement for each kind at the same time, each on a limiter of its own.
fn judge(way: Way, times: u64, processes: usize, kinds: &[Kind]) {
    rounds::judge(kinds, |&kind| {
        let what = Overload { kind, way, times, time: TIME, processes };
        let figures = what.run(WORKER, None);
        let (mean, worst) = (figures.mean(), figures.worst());
        log_uncaptured(&format!(
            "{}, {}: {mean:.0} % delivered, {worst:.0} % in the worst second, {} queued afterwards, next call {:?}",
            way.name(),
            kind.name,
            figures.queued,
            figures.next_call
        ));
        Measured { complaints: complaints(&what, &figures), stall: figures.stall }
    });
}

#[test]
fn clients_that_reach_their_deadline_waste_nothing() {
    judge(Way::Deadline, 10, 4, &KINDS);
}

#[test]
fn dropped_futures_waste_nothing() {
    judge(Way::Dropped, 10, 4, &KINDS);
}

#[test]
fn dropped_futures_waste_nothing_of_a_high_rate() {
    judge(Way::Dropped, 2, 16, &[FAST]);
}

#[test]
fn processes_that_leave_on_sigterm_waste_nothing() {
    judge(Way::Terminated, 2, 0, &KINDS);
}

#[test]
fn killed_processes_waste_nothing() {
    judge(Way::Killed, 2, 0, &KINDS);
}

/// Ten of eleven processes, each with ten tasks in line, are killed at once, and no client arrives. The ten tasks that are left
/// move up at once.
#[test]
fn waiters_behind_a_killed_crowd_move_up() {
    const PROCESSES: usize = 11;
    const TASKS: usize = 10;
    const WATCHED: Duration = Duration::from_secs(3);
    let _alone = alone();
    let arena = Arena::with_policy(PATIENT.policy, 0);
    let _limit = arena.open();
    let lines = PROCESSES * TASKS;
    let file = arena.logs().join("sheet");
    let sheet = Sheet::map(&file, lines);
    let mut pool = WorkerPool::new(WORKER);
    for index in 0..PROCESSES {
        let job = arena.job(CLIENT).set("as", "it-is").set("sheet", file.display()).set("lines", lines);
        let job = job.set("work", "asking-tasks").set("cost", 1).set("tasks", TASKS).set("hold-us", 0);
        pool.spawn(&job.set("first", index * TASKS));
    }
    pool.start();
    sheet.start_at(shm_lib::now().as_nanos());
    std::thread::sleep(Duration::from_secs(1));
    (1..PROCESSES).for_each(|index| pool.kill(index));
    let turns = || (0..TASKS).map(|asker| sheet.asking(asker).turns).sum::<u64>();
    let (killed, before) = (std::time::Instant::now(), turns());
    let moves_up = harness::eventually(Duration::from_secs(30), || turns() > before);
    let next = killed.elapsed();
    std::thread::sleep(WATCHED.saturating_sub(next));
    let delivered = 100.0 * (turns() - before) as f64 / (WATCHED.as_secs_f64() * PATIENT.per_second as f64);
    pool.kill_all();
    log_uncaptured(&format!(
        "after 100 of 110 waiters were killed: the next is served after {next:?}, {delivered:.0} % delivered"
    ));
    assert!(moves_up && next <= PATIENT.interval + MARGIN, "the next waiter was served after {next:?}");
    assert!(delivered >= DELIVERED, "{delivered:.0} % delivered to the ten that are left");
}
