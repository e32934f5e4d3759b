//! The format of a scenario, and how an answer is compared with what a step expects. `tests/conformance/README.md` describes
//! both. The suite with real processes compiles this file as well, so that there is one format and one comparison.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Nanoseconds of a millisecond.
pub(crate) const MS: i64 = 1_000_000;

/// By how much the clock of an admission may lag behind, which is read every few microseconds.
const CLOCK_LAG: i64 = 10_000;

/// A policy, operations at instants, and what they lead to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// The name of its file.
    #[serde(skip)]
    pub(crate) name: String,
    /// The rule that it shows, in a sentence.
    pub(crate) why: String,
    /// As in a policy file of the command.
    pub(crate) policy: serde_json::Value,
    /// How many keys the table has room for, if the policy has limits per key.
    pub(crate) capacity: Option<u64>,
    /// What the wall clock shows when the scenario begins.
    pub(crate) wall: Option<Wall>,
    /// Whether the scenario begins at the instant at which the limiter was created.
    #[serde(default)]
    pub(crate) begins_when_created: bool,
    /// Why it cannot be run for real.
    pub(crate) only_simulated: Option<String>,
    /// By how much an instant moves if the operations before it are late by 1.
    #[serde(default = "one")]
    pub(crate) stretch: i64,
    /// By how many milliseconds the code may round instants, where an operation is defined less sharply than a decision.
    #[serde(default)]
    pub(crate) slack: f64,
    /// The outcomes are the same if every operation is late by up to so many milliseconds.
    #[serde(default = "tolerance")]
    pub(crate) tolerance: i64,
    pub(crate) steps: Vec<Step>,
}

/// When a scenario begins, by the wall clock.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wall {
    /// This instant, in Unix seconds: in simulated time only.
    pub(crate) unix: Option<i64>,
    /// In milliseconds: the wall clock is divided by this.
    pub(crate) every: Option<i64>,
    /// The remainder is this.
    pub(crate) at: Option<i64>,
    /// The remainder is at least this much before the end.
    pub(crate) clear: Option<i64>,
}

/// One operation, and what it leads to. Times are in milliseconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// When, after the beginning.
    pub(crate) at: f64,
    #[serde(rename = "do")]
    pub(crate) op: Op,
    /// How many times, with the same result.
    #[serde(default = "one")]
    pub(crate) times: i64,
    pub(crate) cost: Option<Amounts>,
    pub(crate) key: Option<String>,
    pub(crate) timeout: Option<f64>,
    pub(crate) max_waiters: Option<u32>,
    /// The admission or reservation is kept under this name. Any other admission ends at once, and its permit is free.
    pub(crate) keep: Option<String>,
    /// The kept one that is meant.
    pub(crate) of: Option<String>,
    /// For how long to pause.
    #[serde(rename = "for")]
    pub(crate) time: Option<f64>,
    /// How many turns to schedule.
    pub(crate) count: Option<usize>,
    /// The new rate of the first limit.
    pub(crate) rate: Option<String>,
    /// The new policy.
    pub(crate) policy: Option<serde_json::Value>,

    /// What comes of it. What is done without a decision is done.
    #[serde(default)]
    pub(crate) is: Outcome,
    /// What denied it.
    pub(crate) by: Option<String>,
    /// Which limit denied it, from 1.
    pub(crate) limit: Option<usize>,
    pub(crate) retry_after: Option<RetryAfter>,
    /// How long the request waited for its turn.
    #[serde(default)]
    pub(crate) waited: f64,
    /// After how long it was denied.
    #[serde(default)]
    pub(crate) after: f64,
    /// Whether it was admitted because of the shadow mode only.
    pub(crate) shadowed: Option<bool>,
    /// In how long the turns come.
    pub(crate) turns: Option<Vec<f64>>,
    pub(crate) status: Option<Status>,
    /// What a settlement gave back, by unit.
    pub(crate) given_back: Option<BTreeMap<String, f64>>,
    /// The kind of the error.
    pub(crate) kind: Option<String>,
}

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Op {
    /// Now or not at all.
    Try,
    /// Waits, within bounds.
    Acquire,
    /// Charges without asking.
    Charge,
    /// Corrects the cost of a kept admission.
    Settle,
    /// Gives the permit of a kept admission back.
    Release,
    /// Takes the next turn.
    Reserve,
    /// Gives a kept reservation back.
    Cancel,
    /// Takes several turns.
    Schedule,
    Pause,
    Resume,
    /// Another rate.
    Change,
    /// Another policy.
    ChangePolicy,
    Reset,
    Status,
}

impl Op {
    /// As in a scenario.
    pub(crate) fn word(self) -> String {
        let mut word = String::new();
        for c in format!("{self:?}").chars() {
            if c.is_uppercase() && !word.is_empty() {
                word.push('_');
            }
            word.push(c.to_ascii_lowercase());
        }
        word
    }

    /// Whether the result is a decision.
    pub(crate) fn decides(self) -> bool {
        matches!(self, Op::Try | Op::Acquire)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Admitted,
    Denied,
    #[default]
    Done,
    /// A reservation that could not be given back.
    Forfeited,
    /// An error.
    Refused,
    /// The front has no such operation.
    Unsupported,
}

/// A cost: a number of calls, or amounts by unit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Amounts {
    Calls(u64),
    Units(BTreeMap<String, u64>),
}

/// After how long to try again.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum RetryAfter {
    Time(f64),
    /// Until the end of a period of the calendar.
    Calendar {
        end_of: Period,
        zone: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Period {
    Hour,
    Day,
    Week,
    Month,
}

/// What a limit has, where it is expected to have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Status {
    pub(crate) available: Option<u64>,
    pub(crate) used: Option<u64>,
    /// Charged for instants to come.
    pub(crate) queued: Option<u64>,
}

/// What a front answered. Instants are in nanoseconds after the beginning of the scenario.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    /// When the operation was begun, and when the answer came.
    pub(crate) sent: i64,
    pub(crate) answered: i64,
    /// The instant of the admission.
    pub(crate) at: Option<i64>,
    pub(crate) retry_after: Option<i64>,
    pub(crate) denied_by: Option<String>,
    pub(crate) denied_limit: Option<usize>,
    pub(crate) shadowed: Option<bool>,
    /// Each between two instants: a front that tells in how long it comes counts from an instant that is not known.
    pub(crate) turns: Option<Vec<(i64, i64)>>,
    pub(crate) status: Option<Status>,
    pub(crate) given_back: Option<BTreeMap<String, f64>>,
    pub(crate) kind: Option<String>,
    /// For a person.
    pub(crate) message: String,
}

fn one() -> i64 {
    1
}

fn tolerance() -> i64 {
    400
}

/// Milliseconds as nanoseconds.
pub(crate) fn ns(ms: f64) -> i64 {
    (ms * MS as f64).round() as i64
}

impl Step {
    /// When it is done, after the beginning.
    pub(crate) fn at(&self) -> i64 {
        ns(self.at)
    }

    /// When the answer comes, after the beginning.
    pub(crate) fn answered(&self) -> i64 {
        ns(self.at) + ns(self.waited) + ns(self.after)
    }

    /// Whether the caller waits.
    pub(crate) fn waits(&self) -> bool {
        self.answered() > self.at()
    }

    /// Its cost by unit: one call if it does not say.
    pub(crate) fn cost(&self) -> BTreeMap<String, u64> {
        match &self.cost {
            None => BTreeMap::from([("calls".to_owned(), 1)]),
            Some(Amounts::Calls(n)) => BTreeMap::from([("calls".to_owned(), *n)]),
            Some(Amounts::Units(units)) => units.clone(),
        }
    }

    fn check(&self, kept: &mut BTreeSet<String>) -> Result<(), String> {
        let needs = |there: bool, what: &str| match there {
            true => Ok(()),
            false => Err(format!("{} needs {what:?}", self.op.word())),
        };
        let decision = matches!(self.is, Outcome::Admitted | Outcome::Denied | Outcome::Refused);
        needs(!self.op.decides() || decision, "is")?;
        needs(self.is != Outcome::Denied || self.by.is_some(), "by")?;
        needs(self.is != Outcome::Refused || self.kind.is_some(), "kind")?;
        needs(self.op != Op::Pause || self.time.is_some(), "for")?;
        needs(self.op != Op::Change || self.rate.is_some(), "rate")?;
        needs(self.op != Op::ChangePolicy || self.policy.is_some(), "policy")?;
        needs(self.op != Op::Status || self.status.is_some(), "status")?;
        needs(self.op != Op::Schedule || self.count.is_some() && self.turns.is_some(), "count and turns")?;
        let of = matches!(self.op, Op::Settle | Op::Release | Op::Cancel);
        needs(!of || self.of.as_ref().is_some_and(|of| kept.remove(of)), "of, something that is kept")?;
        needs(self.times == 1 || self.keep.is_none() && self.times > 1, "times of 1 or more, 1 with keep")?;
        if self.op == Op::Settle {
            // Its permit is still held.
            kept.extend(self.of.clone());
        }
        kept.extend(self.keep.clone());
        Ok(())
    }
}

impl Scenario {
    /// Reads all of a directory, by name.
    ///
    /// # Panics
    /// If one is not valid.
    pub(crate) fn all(dir: &Path) -> Vec<Scenario> {
        let mut all: Vec<Scenario> = fs::read_dir(dir)
            .expect("the scenarios")
            .map(|entry| entry.expect("a file").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .map(|path| {
                let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
                let text = fs::read_to_string(&path).expect("a scenario");
                Scenario::read(&name.unwrap_or_default(), &text)
                    .unwrap_or_else(|why| panic!("{}: {why}", path.display()))
            })
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Reads one.
    pub(crate) fn read(name: &str, text: &str) -> Result<Scenario, String> {
        let mut scenario: Scenario = serde_json::from_str(text).map_err(|e| e.to_string())?;
        name.clone_into(&mut scenario.name);
        let mut kept = BTreeSet::new();
        let mut last = 0;
        for (index, step) in scenario.steps.iter().enumerate() {
            step.check(&mut kept).map_err(|why| format!("step {}: {why}", index + 1))?;
            if step.at() < last {
                return Err(format!("step {} is before the one before it", index + 1));
            }
            last = step.at();
        }
        if !scenario.steps.iter().any(|step| step.op.decides() || step.turns.is_some()) {
            return Err("it decides nothing".to_owned());
        }
        let unix = scenario.wall.as_ref().is_some_and(|wall| wall.unix.is_some());
        if unix && scenario.only_simulated.is_none() {
            return Err("the wall clock can be set in simulated time only".to_owned());
        }
        Ok(scenario)
    }

    /// Whether the policy has limits per key.
    pub(crate) fn is_keyed(&self) -> bool {
        self.policy.get("keys").is_some()
    }
}

/// How exactly times are compared.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clocks {
    /// How late any operation was, or any answer came.
    pub(crate) late: i64,
    /// See [`Scenario`].
    pub(crate) stretch: i64,
    pub(crate) slack: i64,
    /// The wall clock at the beginning of the scenario, in Unix nanoseconds.
    pub(crate) wall: i64,
}

/// Compares an answer with what is expected. Returns what is wrong, and which expected fields the answer does not have.
pub(crate) fn compare(step: &Step, got: &Answer, clocks: Clocks) -> (Vec<String>, BTreeSet<&'static str>) {
    let mut judge = Judge { clocks, wrong: Vec::new(), silent: BTreeSet::new() };
    judge.compare(step, got);
    (judge.wrong, judge.silent)
}

struct Judge {
    clocks: Clocks,
    wrong: Vec<String>,
    silent: BTreeSet<&'static str>,
}

impl Judge {
    fn compare(&mut self, step: &Step, got: &Answer) {
        if got.outcome != step.is {
            let by = got.denied_by.as_deref().unwrap_or_default();
            let message = &got.message;
            self.wrong.push(format!("expected {:?}, got {:?} {by} {message}", step.is, got.outcome));
            return;
        }
        if got.answered < step.answered() {
            self.wrong.push(format!("answered {}, before {}", ms(got.answered), ms(step.answered())));
        }
        match step.is {
            Outcome::Admitted => self.admitted(step, got),
            Outcome::Denied => self.denied(step, got),
            Outcome::Refused => self.same("kind", step.kind.as_ref(), got.kind.as_ref()),
            Outcome::Done | Outcome::Forfeited | Outcome::Unsupported => {}
        }
        if let Some(turns) = &step.turns {
            self.turns(step, turns, got);
        }
        if let Some(status) = &step.status {
            let seen = got.status.unwrap_or_default();
            self.same("available", status.available.as_ref(), seen.available.as_ref());
            self.same("used", status.used.as_ref(), seen.used.as_ref());
            self.same("queued", status.queued.as_ref(), seen.queued.as_ref());
        }
        match (&step.given_back, &got.given_back) {
            (Some(expected), Some(got)) => {
                let most = if self.clocks.late > 0 { 0.1 } else { 1e-6 };
                let is_close =
                    |(unit, n): (&String, &f64)| got.get(unit).is_some_and(|got| (got - n).abs() <= most);
                if !expected.iter().all(is_close) {
                    self.wrong.push(format!("gave back {got:?}, expected {expected:?}"));
                }
            }
            (expected, got) => self.same("given_back", expected.as_ref(), got.as_ref()),
        }
    }

    fn admitted(&mut self, step: &Step, got: &Answer) {
        // An admission without a decision of its own is not shadowed.
        self.same("shadowed", Some(&step.shadowed.unwrap_or(false)), got.shadowed.as_ref());
        let Some(at) = got.at else {
            self.silent.insert("at");
            return;
        };
        if at > got.answered || at + CLOCK_LAG < got.sent {
            let (sent, answered) = (ms(got.sent), ms(got.answered));
            self.wrong
                .push(format!("admitted for {}, but asked at {sent} and answered at {answered}", ms(at)));
        }
        self.within("admitted for", at, step.answered(), self.early());
    }

    fn denied(&mut self, step: &Step, got: &Answer) {
        self.same("denied_by", step.by.as_ref(), got.denied_by.as_ref());
        self.same("denied_limit", step.limit.as_ref(), got.denied_limit.as_ref());
        let Some(expected) = &step.retry_after else { return };
        let Some(retry_after) = got.retry_after else {
            self.silent.insert("retry_after");
            return;
        };
        match expected {
            RetryAfter::Time(time) => {
                self.within("retry after", retry_after, ns(*time), self.clocks.late * self.clocks.stretch);
            }
            RetryAfter::Calendar { end_of, zone } => {
                let now = self.clocks.wall + got.answered;
                let end = calendar::end_of(*end_of, zone, now) - now;
                // The answer was found between the two readings of the clock.
                let early = self.clocks.slack;
                let latest = end + (got.answered - got.sent) + early;
                if retry_after < end - early || retry_after > latest {
                    self.wrong.push(format!(
                        "retry after {}, the period ends in {}",
                        ms(retry_after),
                        ms(end)
                    ));
                }
            }
        }
    }

    fn turns(&mut self, step: &Step, turns: &[f64], got: &Answer) {
        let Some(seen) = &got.turns else {
            self.silent.insert("turns");
            return;
        };
        if seen.len() != turns.len() {
            self.wrong.push(format!("{} turns, not {}", seen.len(), turns.len()));
            return;
        }
        for (turn, &expected) in seen.iter().zip(turns) {
            self.between("a turn at", *turn, step.at() + ns(expected), self.early());
        }
    }

    /// How early something may be: not by a nanosecond, unless lateness can make it earlier.
    fn early(&self) -> i64 {
        (self.clocks.stretch - 1) * self.clocks.late
    }

    fn within(&mut self, what: &str, got: i64, expected: i64, early: i64) {
        self.between(what, (got, got), expected, early);
    }

    fn between(&mut self, what: &str, (earliest, latest): (i64, i64), expected: i64, early: i64) {
        // An instant between two nanoseconds is rounded up, sometimes twice.
        let slack = self.clocks.slack;
        let (early, late) = (early + slack, self.clocks.late * self.clocks.stretch + slack.max(1));
        if latest < expected - early || earliest > expected + late {
            let (got, expected, late) = (ms(latest), ms(expected), ms(late));
            self.wrong.push(format!("{what} {got}, expected {expected} (up to {late} later)"));
        }
    }

    fn same<T: PartialEq + std::fmt::Debug>(
        &mut self,
        field: &'static str,
        expected: Option<&T>,
        got: Option<&T>,
    ) {
        match (expected, got) {
            (Some(_), None) => {
                self.silent.insert(field);
            }
            (Some(expected), Some(got)) if expected != got => {
                self.wrong.push(format!("{field} is {got:?}, expected {expected:?}"));
            }
            _ => {}
        }
    }
}

fn ms(ns: i64) -> String {
    format!("{} ms", ns as f64 / MS as f64)
}

/// Ends of periods of the calendar, computed from dates with the time zone library alone.
mod calendar {
    use super::Period;
    use jiff::{Timestamp, ToSpan};

    /// The end, in Unix nanoseconds, of the period in which `now` is.
    pub(super) fn end_of(period: Period, zone: &str, now: i64) -> i64 {
        let local = Timestamp::from_nanosecond(i128::from(now)).and_then(|now| now.in_tz(zone));
        let local = local.expect("a time zone of the database");
        let today = local.date();
        let days = match period {
            Period::Hour => {
                let offset = i64::from(local.offset().seconds()) * 1_000_000_000;
                let hour = 3_600_000_000_000;
                return ((now + offset).div_euclid(hour) + 1) * hour - offset;
            }
            Period::Day => 1,
            Period::Week => 8 - i64::from(today.weekday().to_monday_one_offset()),
            Period::Month => i64::from(today.days_in_month() - today.day()) + 1,
        };
        let end = today.checked_add(days.days()).and_then(|date| date.in_tz(zone));
        i64::try_from(end.expect("a date").timestamp().as_nanosecond()).expect("a date of this century")
    }
}
