//! Processes of all fronts, each with callers that ask again as soon as they were admitted, and what is done to the processes.
//!
//! What happens is written down here, and not by the processes: a process that is killed takes at most the answers with it that it
//! had not written. An admission of which nobody was told is one for which no call was made, so it does not count as over; it may
//! have been charged, so it does not count as wasted.

use crate::driver::{Driver, Line};
use crate::front::Front;
use crate::scenario::Outcome;
use harness::{Rng, shared_dir};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tempfile::TempDir;

const NAME: &str = "crowd";
/// As it is written in three languages.
const KEY: &str = "münchen/7 £";
const MS: u64 = 1_000_000;
/// How long an admission is kept, with its permit.
const HOLD: u64 = 5 * MS;
/// A trouble comes every so often, on average: a kill, or a stop.
const TROUBLE: u64 = 200 * MS;
/// How long a process is stopped at most.
const LONGEST_STOP: u64 = 400 * MS;
/// How long the processes have to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Of each front.
    pub(super) processes: usize,
    /// Of each process.
    pub(super) callers: usize,
    /// The same for the front whose callers are processes.
    pub(super) commands: usize,
    pub(super) time: Duration,
    /// Whether processes are killed and stopped.
    pub(super) troubles: bool,
}

/// A request that waits.
#[derive(Clone, Debug)]
pub(super) struct Waited {
    /// The number of its process.
    pub(super) process: usize,
    pub(super) front: &'static str,
    pub(super) asked: u64,
    /// When the answer was read; 0: there is none.
    pub(super) answered: u64,
    /// The instant that it was admitted for; 0: it was not.
    pub(super) at: u64,
}

/// What happened, in nanoseconds of the common clock.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Since when all processes ask, and until when.
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) waited: Vec<Waited>,
    /// When permits were surely held.
    pub(super) held: Vec<(u64, u64)>,
    /// When a process was killed.
    pub(super) kills: Vec<(usize, u64)>,
    /// When a process was stopped, and until when.
    pub(super) stops: Vec<(usize, u64, u64)>,
    /// Answers that are no admissions.
    pub(super) refusals: Vec<String>,
}

/// A process.
struct Member {
    driver: Driver,
    number: usize,
    is_open: bool,
    is_stopped: bool,
    /// Requests without an answer, by their numbers: which of the record they are.
    asked: BTreeMap<u64, usize>,
}

/// What is to be done, by when.
enum Due {
    Release { process: usize, name: String, held_from: u64 },
    GoOn { process: usize, from: u64 },
}

pub(super) struct Crowd<'a> {
    dir: TempDir,
    fronts: &'a [Front],
    plan: &'a Plan,
    policy: &'a Value,
    has_permits: bool,
    /// The key of all requests, if the limits are per key.
    key: Option<&'static str>,
    /// In the order of the fronts, several of each.
    members: Vec<Member>,
    /// Requests of processes that are dead: their answers may still be in a pipe.
    of_the_dead: BTreeMap<(usize, u64), usize>,
    started: usize,
    due: BTreeMap<(u64, usize), Due>,
    record: Record,
    lines: (Sender<Line>, Receiver<Line>),
    rng: Rng,
}

fn now() -> u64 {
    shm_lib::now().as_nanos()
}

impl<'a> Crowd<'a> {
    /// Starts all processes.
    pub(super) fn gather(fronts: &'a [Front], plan: &'a Plan, policy: &'a Value) -> Crowd<'a> {
        let mut crowd = Crowd {
            dir: shared_dir(),
            fronts,
            plan,
            policy,
            has_permits: policy.get("permits").is_some(),
            key: policy.get("keys").map(|_| KEY),
            members: Vec::new(),
            of_the_dead: BTreeMap::new(),
            started: 0,
            due: BTreeMap::new(),
            record: Record::default(),
            lines: channel(),
            rng: Rng::new(),
        };
        for place in 0..fronts.len() * plan.processes {
            let member = crowd.start(place);
            crowd.members.push(member);
        }
        let end = now() + PATIENCE.as_nanos() as u64;
        while crowd.members.iter().any(|member| !member.is_open) {
            assert!(now() < end, "a driver does not open the limiter");
            crowd.goes_on(end);
        }
        crowd.record.from = now();
        crowd
    }

    fn front(&self, place: usize) -> &'a Front {
        &self.fronts[place / self.plan.processes]
    }

    fn start(&mut self, place: usize) -> Member {
        let number = self.started;
        self.started += 1;
        let mut driver = Driver::start(self.front(place), self.dir.path(), number, self.lines.0.clone());
        driver.ask("open", json!({"name": NAME, "policy": self.policy}));
        Member { driver, number, is_open: false, is_stopped: false, asked: BTreeMap::new() }
    }

    /// Lets them ask for the planned time.
    pub(super) fn run(mut self) -> Record {
        let end = self.record.from + self.plan.time.as_nanos() as u64;
        let mut trouble = self.next_trouble();
        loop {
            if now() >= end {
                break;
            }
            if now() >= trouble {
                self.makes_trouble();
                trouble = self.next_trouble();
            }
            self.goes_on(trouble.min(end));
        }
        self.ends()
    }

    /// Does what is due, and hears what is answered next, until then at most.
    fn goes_on(&mut self, until: u64) {
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now()) {
            let due = entry.remove();
            self.does(due);
        }
        let next = self.due.keys().next().map_or(until, |&(at, _)| at.min(until));
        match self.lines.1.recv_timeout(Duration::from_nanos(next.saturating_sub(now()))) {
            Ok(line) => self.hears(&line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => unreachable!("it has a sender itself"),
        }
    }

    /// All processes are killed. What they had written by then counts.
    fn ends(mut self) -> Record {
        self.record.to = now();
        for due in std::mem::take(&mut self.due).into_values() {
            match due {
                Due::Release { held_from, .. } => self.record.held.push((held_from, self.record.to)),
                Due::GoOn { process, from } => self.record.stops.push((process, from, self.record.to)),
            }
        }
        self.members.iter().for_each(|member| member.driver.signal(Signal::SIGKILL));
        for member in std::mem::take(&mut self.members) {
            self.buries(member);
        }
        // Their readers end when all their children are dead.
        while let Ok(line) = self.lines.1.recv_timeout(Duration::from_millis(200)) {
            self.hears(&line);
        }
        self.record
    }

    fn next_trouble(&mut self) -> u64 {
        if self.plan.troubles { now() + TROUBLE / 2 + self.rng.below(TROUBLE) } else { u64::MAX }
    }

    fn makes_trouble(&mut self) {
        let place = self.rng.below(self.members.len() as u64) as usize;
        let member = &mut self.members[place];
        if !member.is_open || member.is_stopped {
            return;
        }
        let process = member.number;
        if self.rng.below(3) == 0 {
            let from = now();
            member.driver.signal(Signal::SIGSTOP);
            member.is_stopped = true;
            let until = from + 50 * MS + self.rng.below(LONGEST_STOP - 50 * MS);
            self.due.insert((until, process), Due::GoOn { process, from });
            return;
        }
        self.record.kills.push((process, now()));
        member.driver.signal(Signal::SIGKILL);
        let new = self.start(place);
        let dead = std::mem::replace(&mut self.members[place], new);
        self.buries(dead);
    }

    fn buries(&mut self, dead: Member) {
        let number = dead.number;
        self.of_the_dead.extend(dead.asked.into_iter().map(|(id, index)| ((number, id), index)));
    }

    fn does(&mut self, due: Due) {
        match due {
            Due::Release { process, name, held_from } => {
                // The permit of a process that was killed was held until then at most.
                let killed = self.record.kills.iter().find(|(killed, _)| *killed == process);
                let until = killed.map_or_else(now, |&(_, at)| at);
                self.record.held.push((held_from, until));
                if let Some(member) = self.members.iter_mut().find(|member| member.number == process) {
                    member.driver.ask("release", json!({"of": name}));
                }
            }
            Due::GoOn { process, from } => {
                if let Some(member) = self.members.iter_mut().find(|member| member.number == process) {
                    self.record.stops.push((process, from, now()));
                    member.driver.signal(Signal::SIGCONT);
                    member.is_stopped = false;
                }
            }
        }
    }

    fn hears(&mut self, line: &Line) {
        let Some(place) = self.members.iter().position(|member| member.number == line.driver) else {
            if let Some(index) = self.of_the_dead.remove(&(line.driver, line.id)) {
                self.answered(index, line);
            }
            return;
        };
        if !self.members[place].is_open {
            self.members[place].is_open = true;
            let is_command = !self.front(place).tells_kept_instants();
            let callers = if is_command { self.plan.commands } else { self.plan.callers };
            (0..callers).for_each(|_| self.asks(place));
            return;
        }
        // The answer to a release is no request's.
        let Some(index) = self.members[place].asked.remove(&line.id) else { return };
        if self.answered(index, line) && self.keeps(place) {
            let (process, name) = (line.driver, format!("{index}"));
            let release = Due::Release { process, name, held_from: line.read_ns };
            self.due.insert((line.read_ns + HOLD, usize::MAX - index), release);
        }
        self.asks(place);
    }

    /// Whether admissions keep their permits for a while.
    fn keeps(&self, place: usize) -> bool {
        self.has_permits && self.front(place).tells_kept_instants()
    }

    fn asks(&mut self, place: usize) {
        let index = self.record.waited.len();
        let keep = self.keeps(place).then(|| index.to_string());
        let front = self.front(place).name;
        let member = &mut self.members[place];
        let (id, asked) =
            member.driver.ask("acquire", json!({"cost": {"calls": 1}, "key": self.key, "keep": keep}));
        member.asked.insert(id, index);
        self.record.waited.push(Waited { process: member.number, front, asked, answered: 0, at: 0 });
    }

    /// Notes the answer; whether it is an admission.
    fn answered(&mut self, index: usize, line: &Line) -> bool {
        let answer = line.answer(0, 0);
        let waited = &mut self.record.waited[index];
        waited.answered = line.read_ns;
        match answer {
            Ok(answer) if answer.outcome == Outcome::Admitted && answer.at.is_some() => {
                waited.at = answer.at.unwrap_or_default() as u64;
                return true;
            }
            other => self.record.refusals.push(format!("{}: {other:?}", waited.front)),
        }
        false
    }
}
