//! Runs a scenario on a front, for real.
//!
//! Nothing is early, and how late anything was is measured: an operation by its answer, a caller that waits by when it stands in
//! the line. Instants are compared with what the scenario expects up to that much later. If something was later than the scenario
//! bears, the run says nothing, and there is another one; in the end without other scenarios beside it, where a front that is late is
//! told from a machine that is.

use crate::driver::{Dialogue, PATIENCE};
use crate::front::{self, Front};
use crate::scenario::{self, Answer, Clocks, Outcome, Scenario, Step, Wall, ns};
use harness::file::{Patch, offset};
use harness::shared_dir;
use serde_json::{Value, json};
use shm_lib::RateLimit;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The limiter's name.
const NAME: &str = "scenario";
/// How often a scenario is tried on a machine that is too late: beside others, and then as often without them.
const ATTEMPTS: usize = 3;
/// By how much two measurements of the wall clock may differ, in nanoseconds.
const CLOCKS_DIFFER: i64 = 100_000;

/// What a run showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed {
        /// Expected fields that the front does not have: the operation and the field.
        silent: BTreeSet<(String, &'static str)>,
        /// How late anything was, in nanoseconds.
        late: i64,
    },
    /// The front does not have this operation.
    Unsupported(String),
    /// The machine was so late each time, in nanoseconds.
    TooLate(Vec<i64>),
    Wrong(Vec<String>),
}

/// What one attempt showed.
enum Attempt {
    Passed(BTreeSet<(String, &'static str)>, i64),
    Unsupported(String),
    TooLate(i64),
    Wrong(Vec<String>),
}

/// Runs it beside others.
pub(crate) fn run(front: &Front, scenario: &Scenario) -> Verdict {
    attempts(|| (attempt(front, scenario), None))
}

/// Runs it without others. Something that is late where the machine is not is a mistake of the front.
pub(crate) fn run_alone(front: &Front, scenario: &Scenario) -> Verdict {
    attempts(|| {
        let machine = Machine::watch();
        (attempt(front, scenario), Some(machine.lateness()))
    })
}

fn attempts(attempt: impl Fn() -> (Attempt, Option<Duration>)) -> Verdict {
    let (mut late, mut of_the_front) = (Vec::new(), Vec::new());
    for _ in 0..ATTEMPTS {
        match attempt() {
            (Attempt::Passed(silent, late), _) => return Verdict::Passed { silent, late },
            (Attempt::Unsupported(op), _) => return Verdict::Unsupported(op),
            (Attempt::Wrong(wrong), _) => return Verdict::Wrong(wrong),
            (Attempt::TooLate(by), machine) => {
                late.push(by);
                let by = Duration::from_nanos(by as u64);
                let other = machine.filter(|machine| by > 3 * *machine + Duration::from_millis(100));
                of_the_front.extend(
                    other.map(|machine| format!("{by:?} late, beside a machine that is {machine:?} late")),
                );
            }
        }
    }
    if of_the_front.len() == ATTEMPTS { Verdict::Wrong(of_the_front) } else { Verdict::TooLate(late) }
}

/// How long it takes to start a process and to hear that it has ended, again and again.
struct Machine {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Machine {
    fn watch() -> Machine {
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !until.load(Ordering::Relaxed) {
                let began = Instant::now();
                front::start_and_end_a_process();
                longest = longest.max(began.elapsed());
                std::thread::sleep(Duration::from_millis(20));
            }
            longest
        });
        Machine { over, thread }
    }

    fn lateness(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

/// A request whose answer is still to come.
struct Asked<'a> {
    place: String,
    step: &'a Step,
    id: u64,
    at_ns: u64,
}

fn attempt(front: &Front, scenario: &Scenario) -> Attempt {
    let dir = shared_dir();
    let mut dialogue = match open(front, scenario, dir.path()) {
        Ok(dialogue) => dialogue,
        Err(why) => return Attempt::Wrong(vec![why]),
    };
    let start = match &scenario.wall {
        Some(wall) => begin(wall),
        None if scenario.begins_when_created => Patch::of(&dir.path().join(NAME)).get(offset::CREATED),
        None => shm_lib::now().as_nanos(),
    };
    let wall = (unix_ns() as u64 - shm_lib::now().as_nanos() + start) as i64;
    let (mut late, mut asked, mut answers) = (0, Vec::new(), Vec::new());
    for (index, step) in scenario.steps.iter().enumerate() {
        for _ in 0..step.times {
            sleep_until(start + step.at() as u64);
            let standing = step.waits().then(|| waiting(dir.path()));
            let (id, at_ns) = dialogue.driver.ask(&step.op.word(), request(step));
            let place = format!("step {}", index + 1);
            let one = Asked { place, step, id, at_ns };
            if let Some(standing) = standing {
                if !scenario.is_keyed() && step.is != Outcome::Refused {
                    late = late.max(stands(dir.path(), standing) - (start + step.at() as u64) as i64);
                }
                asked.push(one);
                continue;
            }
            match answer(&mut dialogue, id, start, at_ns, PATIENCE) {
                Ok(got) if got.outcome == Outcome::Unsupported => {
                    return Attempt::Unsupported(step.op.word());
                }
                Ok(got) => answers.push((one, got)),
                Err(why) => return Attempt::Wrong(vec![format!("{}: {why}", one.place)]),
            }
        }
    }
    for one in asked {
        let patience = Duration::from_nanos(
            (start + one.step.answered() as u64).saturating_sub(shm_lib::now().as_nanos()),
        );
        match answer(&mut dialogue, one.id, start, one.at_ns, patience + PATIENCE) {
            Ok(got) if got.outcome == Outcome::Unsupported => {
                return Attempt::Unsupported(one.step.op.word());
            }
            Ok(got) => answers.push((one, got)),
            Err(why) => return Attempt::Wrong(vec![format!("{}: {why}", one.place)]),
        }
    }
    for (one, got) in &answers {
        late = late.max(got.answered - one.step.answered());
    }
    judge(scenario, &answers, late, wall)
}

/// Starts a driver and opens the limiter. One at a time: to start an interpreter takes the time of others.
fn open(front: &Front, scenario: &Scenario, dir: &Path) -> Result<Dialogue, String> {
    static STARTS: Mutex<()> = Mutex::new(());
    let _one = STARTS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut dialogue = Dialogue::start(front, dir);
    let open = json!({"name": NAME, "policy": scenario.policy, "capacity": scenario.capacity});
    let (id, asked) = dialogue.driver.ask("open", open);
    match answer(&mut dialogue, id, 0, asked, PATIENCE)? {
        Answer { outcome: Outcome::Done, .. } => Ok(dialogue),
        other => Err(format!("not opened: {other:?}")),
    }
}

fn judge(scenario: &Scenario, answers: &[(Asked<'_>, Answer)], late: i64, wall: i64) -> Attempt {
    if late > scenario.tolerance * scenario::MS {
        return Attempt::TooLate(late);
    }
    // The limiter and this test have measured the wall clock, each for itself.
    let of_wall = if scenario.wall.is_some() { CLOCKS_DIFFER } else { 0 };
    let clocks = Clocks { late, stretch: scenario.stretch, slack: ns(scenario.slack).max(of_wall), wall };
    let (mut wrong, mut silent) = (Vec::new(), BTreeSet::new());
    for (one, got) in answers {
        let (complaints, fields) = scenario::compare(one.step, got, clocks);
        wrong.extend(complaints.iter().map(|what| format!("{}: {what}", one.place)));
        silent.extend(fields.into_iter().map(|field| (one.step.op.word(), field)));
    }
    if wrong.is_empty() { Attempt::Passed(silent, late) } else { Attempt::Wrong(wrong) }
}

fn request(step: &Step) -> Value {
    let seconds = |ms: Option<f64>| ms.map(|ms| ms / 1_000.0);
    json!({
        "cost": step.cost(),
        "key": step.key,
        "timeout_s": seconds(step.timeout),
        "max_waiters": step.max_waiters,
        "keep": step.keep,
        "of": step.of,
        "for_s": seconds(step.time),
        "count": step.count,
        "rate": step.rate,
        "policy": step.policy,
    })
}

fn answer(
    dialogue: &mut Dialogue,
    id: u64,
    start: u64,
    asked: u64,
    patience: Duration,
) -> Result<Answer, String> {
    let line = dialogue.answer_to(id, patience)?;
    line.ok_or_else(|| "no answer".to_owned())?.answer(start, asked)
}

fn sleep_until(ns: u64) {
    loop {
        let left = ns.saturating_sub(shm_lib::now().as_nanos());
        if left == 0 {
            return;
        }
        std::thread::sleep(Duration::from_nanos(left));
    }
}

/// How many callers stand in the line.
fn waiting(dir: &Path) -> u64 {
    let limit = RateLimit::builder(NAME).directory(dir).attach();
    let seen = limit.and_then(|limit| limit.inspect()).expect("the limiter");
    seen.waiting.iter().map(|process| process.callers).sum()
}

/// Waits until one more stands there; returns when. If none comes, because it did not have to wait, its answer tells how late it
/// was.
fn stands(dir: &Path, before: u64) -> i64 {
    let end = shm_lib::now() + Duration::from_millis(300);
    while waiting(dir) <= before && shm_lib::now() < end {
        std::thread::sleep(Duration::from_millis(2));
    }
    shm_lib::now().as_nanos() as i64
}

fn unix_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as i64)
}

/// Waits until the wall clock is as the scenario needs it; the instant from which on it is.
fn begin(wall: &Wall) -> u64 {
    let Some(every) = wall.every.map(|ms| ms * scenario::MS) else { return shm_lib::now().as_nanos() };
    let into = unix_ns().rem_euclid(every);
    let left = match (wall.at, wall.clear) {
        (Some(at), _) => (at * scenario::MS - into).rem_euclid(every),
        (None, Some(clear)) if every - into < clear * scenario::MS => every - into,
        (None, _) => 0,
    };
    let start = shm_lib::now().as_nanos() + left as u64;
    sleep_until(start);
    start
}
