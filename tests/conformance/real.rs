//! Runs a scenario on a front, for real.
//!
//! Nothing is early, and how late anything was is measured: an operation by its answer, a caller that waits by when it stands in
//! the line. Instants are compared with what the scenario expects up to that much later. If something was later than the scenario
//! bears, the run says nothing, and there is another one.

use crate::driver::{Dialogue, PATIENCE};
use crate::front::Front;
use crate::scenario::{self, Answer, Clocks, Outcome, Scenario, Step, Wall, ns};
use harness::shared_dir;
use serde_json::{Value, json};
use shm_lib::RateLimit;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The limiter's name.
const NAME: &str = "scenario";
/// How often a scenario is tried on a machine that is too late.
const ATTEMPTS: usize = 5;
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

pub(crate) fn run(front: &Front, scenario: &Scenario) -> Verdict {
    let mut late = Vec::new();
    for _ in 0..ATTEMPTS {
        match attempt(front, scenario) {
            Attempt::Passed(silent, late) => return Verdict::Passed { silent, late },
            Attempt::Unsupported(op) => return Verdict::Unsupported(op),
            Attempt::Wrong(wrong) => return Verdict::Wrong(wrong),
            Attempt::TooLate(by) => late.push(by),
        }
    }
    Verdict::TooLate(late)
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
    let mut dialogue = Dialogue::start(front, dir.path());
    let open = json!({"name": NAME, "policy": scenario.policy, "capacity": scenario.capacity});
    let (id, _) = dialogue.driver.ask("open", open);
    match answer(&mut dialogue, id, 0, 0, PATIENCE) {
        Ok(opened) if opened.outcome == Outcome::Done => {}
        opened => return Attempt::Wrong(vec![format!("not opened: {opened:?}")]),
    }
    let start = scenario.wall.as_ref().map_or_else(|| shm_lib::now().as_nanos(), begin);
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
