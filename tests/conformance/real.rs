//! Runs a scenario for real, on a front or on several by turns.
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
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

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

/// A scenario, and the fronts that do its steps, by turns. Each of them has opened the limiter.
pub(crate) struct Run<'a> {
    pub(crate) fronts: Vec<&'a Front>,
    pub(crate) scenario: &'a Scenario,
}

impl Run<'_> {
    /// Runs it beside others.
    pub(crate) fn run(&self) -> Verdict {
        attempts(|| (self.attempt(), None))
    }

    /// Runs it without others. Something that is late where the machine is not is a mistake of the front.
    pub(crate) fn run_alone(&self) -> Verdict {
        attempts(|| {
            let machine = Machine::watch();
            (self.attempt(), Some(machine.lateness()))
        })
    }

    fn attempt(&self) -> Attempt {
        match Play::begin(self).and_then(|mut play| Ok((play.run()?, play))) {
            Ok((answers, play)) => play.judge(&answers),
            Err(attempt) => attempt,
        }
    }
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

/// A request.
struct Asked<'a> {
    place: String,
    step: &'a Step,
    /// Who was asked.
    by: usize,
    id: u64,
    at_ns: u64,
}

/// A run that is going on.
struct Play<'a> {
    scenario: &'a Scenario,
    fronts: &'a [&'a Front],
    dialogues: Vec<Dialogue>,
    dir: TempDir,
    start: u64,
    /// The wall clock at the start.
    wall: i64,
    /// How late anything was.
    late: i64,
    /// Who keeps something, by its name.
    keepers: BTreeMap<&'a str, usize>,
}

impl<'a> Play<'a> {
    fn begin(run: &'a Run<'a>) -> Result<Play<'a>, Attempt> {
        let (scenario, dir) = (run.scenario, shared_dir());
        // The last one first: an interpreter takes a while to start, and should not do so after the limiter was created.
        let dialogues = run.fronts.iter().rev().map(|front| open(front, scenario, dir.path()));
        let mut dialogues =
            dialogues.collect::<Result<Vec<_>, _>>().map_err(|why| Attempt::Wrong(vec![why]))?;
        dialogues.reverse();
        let start = match &scenario.wall {
            Some(wall) => begin(wall),
            None if scenario.begins_when_created => Patch::of(&dir.path().join(NAME)).get(offset::CREATED),
            None => shm_lib::now().as_nanos(),
        };
        let wall = (unix_ns() as u64 - shm_lib::now().as_nanos() + start) as i64;
        let fronts = &run.fronts;
        Ok(Play { scenario, fronts, dialogues, dir, start, wall, late: 0, keepers: BTreeMap::new() })
    }

    fn run(&mut self) -> Result<Vec<(Asked<'a>, Answer)>, Attempt> {
        let (mut waiting, mut answers) = (Vec::new(), Vec::new());
        for (index, step) in self.scenario.steps.iter().enumerate() {
            for time in 0..step.times as usize {
                sleep_until(self.start + step.at() as u64);
                let standing = step.waits().then(|| callers_in_line(self.dir.path()));
                let asked = self.ask(index, time, step);
                match standing {
                    Some(standing) => {
                        if !self.scenario.is_keyed() && step.is != Outcome::Refused {
                            let stands = stands(self.dir.path(), standing);
                            self.late = self.late.max(stands - (self.start as i64 + step.at()));
                        }
                        waiting.push(asked);
                    }
                    None => answers.push(self.answer(asked, PATIENCE)?),
                }
            }
        }
        for asked in waiting {
            let due = self.start + asked.step.answered() as u64;
            let patience = Duration::from_nanos(due.saturating_sub(shm_lib::now().as_nanos()));
            answers.push(self.answer(asked, patience + PATIENCE)?);
        }
        for (asked, got) in &answers {
            self.late = self.late.max(got.answered - asked.step.answered());
        }
        Ok(answers)
    }

    fn ask(&mut self, index: usize, time: usize, step: &'a Step) -> Asked<'a> {
        let keeper = step.of.as_deref().and_then(|name| self.keepers.get(name)).copied();
        // Another front begins each scenario.
        let by = keeper.unwrap_or((index + time + self.scenario.name.len()) % self.dialogues.len());
        self.keepers.extend(step.keep.as_deref().map(|name| (name, by)));
        let (id, at_ns) = self.dialogues[by].driver.ask(&step.op.word(), request(step));
        let by_whom =
            if self.fronts.len() > 1 { format!(" ({})", self.fronts[by].name) } else { String::new() };
        Asked { place: format!("step {}{by_whom}", index + 1), step, by, id, at_ns }
    }

    fn answer(&mut self, asked: Asked<'a>, patience: Duration) -> Result<(Asked<'a>, Answer), Attempt> {
        match answer(&mut self.dialogues[asked.by], asked.id, self.start, asked.at_ns, patience) {
            Ok(got) if got.outcome == Outcome::Unsupported => Err(Attempt::Unsupported(asked.step.op.word())),
            Ok(got) => Ok((asked, got)),
            Err(why) => Err(Attempt::Wrong(vec![format!("{}: {why}", asked.place)])),
        }
    }

    fn judge(&self, answers: &[(Asked<'_>, Answer)]) -> Attempt {
        let Play { scenario, late, wall, .. } = *self;
        if late > scenario.tolerance * scenario::MS {
            return Attempt::TooLate(late);
        }
        // The limiter and this test have measured the wall clock, each for itself.
        let of_wall = if scenario.wall.is_some() { CLOCKS_DIFFER } else { 0 };
        let clocks = Clocks { late, stretch: scenario.stretch, slack: ns(scenario.slack).max(of_wall), wall };
        let (mut wrong, mut silent) = (Vec::new(), BTreeSet::new());
        for (asked, got) in answers {
            let (complaints, fields) = scenario::compare(asked.step, got, clocks);
            wrong.extend(complaints.iter().map(|what| format!("{}: {what}", asked.place)));
            silent.extend(fields.into_iter().map(|field| (asked.step.op.word(), field)));
        }
        if wrong.is_empty() { Attempt::Passed(silent, late) } else { Attempt::Wrong(wrong) }
    }
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
fn callers_in_line(dir: &Path) -> u64 {
    let limit = RateLimit::builder(NAME).directory(dir).attach();
    let seen = limit.and_then(|limit| limit.inspect()).expect("the limiter");
    seen.waiting.iter().map(|process| process.callers).sum()
}

/// Waits until one more stands there; returns when. If none comes, because it did not have to wait, its answer tells how late it
/// was.
fn stands(dir: &Path, before: u64) -> i64 {
    let end = shm_lib::now() + Duration::from_millis(300);
    while callers_in_line(dir) <= before && shm_lib::now() < end {
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
