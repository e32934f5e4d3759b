//! One operation at many of its instructions.

use crate::exam::Exam;
use crate::operation::Operation;
use crate::route::{Path, Route};
use crate::scene::Scene;
use crate::victim::{Reached, Result, Victim};
use harness::{shared_dir, shout};
use std::cmp::Reverse;
use std::fmt;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// On any machine, however busy.
const SURELY: Duration = Duration::from_secs(1);
/// How often an instruction is looked for that is not always on the way.
const TRIES: usize = 4;
/// How often the way is recorded anew if it turns out to be one that is seldom taken: on a slow machine a step may take
/// so long that a recorded way looks at the clock, or for the file, when no other does.
const RECORDINGS: usize = 3;
/// How many try out whether a recorded way is the usual one.
const ARRIVALS: usize = 16;
/// Enough to know what is wrong.
const FAILURES: usize = 3;

#[derive(Clone, Copy, Debug)]
enum End {
    Killed,
    Stopped,
}

/// What was found.
pub(crate) struct Round<'a> {
    operation: &'a Operation,
    dir: TempDir,
    /// Instructions on its way.
    instructions: usize,
    /// Those at which it was killed, and at which it was stopped.
    passed: [usize; 2],
    /// Visits that led elsewhere each time they were tried: the operation was over before, or it was at another
    /// instruction after so many steps.
    missed: [usize; 2],
    /// Visits that were made again since they found undone what had been done at an earlier instruction.
    doubtful: usize,
    /// The first instruction before which it had taken effect.
    effect: Option<usize>,
    /// The slowest of what others did beside a stopped one.
    slowest: Duration,
    took: Duration,
    pub(crate) failures: Vec<String>,
}

/// What became of one visit.
struct Visit {
    reached: Reached,
    effect: Option<bool>,
    slowest: Duration,
    /// For how long all that others did lasted.
    took: Duration,
}

impl<'a> Round<'a> {
    /// The table's first line.
    pub(crate) const HEADING: &'static str = "operation                instructions   killed  stopped   over before   elsewhere   doubtful   effect at   slowest beside      time";

    pub(crate) fn new(operation: &'a Operation) -> Round<'a> {
        Round {
            operation,
            dir: shared_dir(),
            instructions: 0,
            passed: [0; 2],
            missed: [0; 2],
            doubtful: 0,
            effect: None,
            slowest: Duration::ZERO,
            took: Duration::ZERO,
            failures: Vec::new(),
        }
    }

    /// Goes to `points(instructions)`: the first, and the distance from each to the next.
    pub(crate) fn run(&mut self, points: impl Fn(usize) -> (usize, usize)) {
        let begun = Instant::now();
        for _ in 0..RECORDINGS {
            (self.passed, self.missed, self.doubtful, self.effect) = Default::default();
            if let Err(why) = self.record().map(|path| self.visit_all(&path, &points)) {
                self.failures.push(format!("{}: {why}", self.operation.name));
            }
            if self.was_worth_it() || !self.failures.is_empty() {
                break;
            }
        }
        if !self.was_worth_it() && self.failures.is_empty() {
            let (passed, missed) = self.sums();
            self.failures.push(format!("{}: {missed} missed, {passed} passed", self.operation.name));
        }
        self.took = begun.elapsed();
    }

    fn visit_all(&mut self, path: &Path, points: impl Fn(usize) -> (usize, usize)) {
        self.instructions = path.len();
        let (first, distance) = points(path.len());
        for point in (first..path.len()).step_by(distance) {
            self.visit(path, point, End::Killed);
            self.visit(path, point, End::Stopped);
            if self.failures.len() >= FAILURES {
                break;
            }
        }
    }

    /// The way that it takes usually: the one that most of those who are not held up take, or the most common one, or the
    /// shortest. Who is led step by step is slow, so what it takes may be a way that nobody else takes.
    pub(crate) fn record(&self) -> Result<Path> {
        let mut known: Vec<(Path, usize)> = Vec::new();
        for _ in 0..10 {
            let (_scene, _exam, mut victim) = self.stage()?;
            let path = victim.record()?;
            match known.iter_mut().find(|known| known.0 == path) {
                Some(known) => known.1 += 1,
                None => known.push((path, 1)),
            }
            if known.iter().any(|known| known.1 == 3) {
                break;
            }
        }
        let mut rated = Vec::new();
        for (path, count) in known {
            rated.push(((self.arrivals(&path)?, count, Reverse(path.len())), path));
        }
        let usual = rated.into_iter().max_by_key(|way| way.0);
        usual.map(|way| way.1).ok_or_else(|| "it was never recorded".into())
    }

    /// How many of some that are led as fast as can be get to where this way goes.
    fn arrivals(&self, path: &Path) -> Result<usize> {
        let mut arrived = 0;
        for trial in 1..=ARRIVALS {
            let point = (path.len() - 1) * trial / ARRIVALS;
            let (_scene, _exam, mut victim) = self.stage()?;
            arrived += usize::from(victim.lead(path.to(point))? == Reached::There);
        }
        Ok(arrived)
    }

    /// All that a visit needs: the operation has not begun yet.
    pub(crate) fn stage(&self) -> Result<(Scene, Box<dyn Exam>, Victim)> {
        let mut exam = (self.operation.exam)();
        let mut scene = Scene::new(self.operation, self.dir.path())?;
        exam.prepare(&mut scene)?;
        let victim = Victim::start(scene.job())?;
        Ok((scene, exam, victim))
    }

    fn visit(&mut self, path: &Path, point: usize, end: End) {
        let (mut elsewhere, mut slow, mut undone) = (false, false, 0);
        for attempt in 0..TRIES {
            // Some ways are only taken by who is slow, as when they were recorded.
            let route = if attempt < TRIES / 2 { path.to(point) } else { path.on_foot(point) };
            let mut at = String::new();
            match self.cut_off(route, end, &mut at) {
                // A machine stands still now and then, for everybody; twice at the same instruction it is no accident.
                Ok(visit) if visit.took > SURELY && !slow => {
                    slow = true;
                    shout(&format!("{} at {point}: the others needed {:?}", self.operation.name, visit.took));
                }
                Ok(visit) if visit.took > SURELY => {
                    let (name, took) = (&self.operation.name, visit.took);
                    return self
                        .failures
                        .push(format!("{name}: {end:?} at {point}: the others needed {took:?}"));
                }
                // There is one instruction that does it; so this was another one, in spite of all.
                Ok(Visit { reached: Reached::There, effect: Some(false), .. }) if self.effect.is_some() => {
                    undone += 1;
                    self.doubtful += 1;
                }
                Ok(Visit { reached: Reached::There, effect, slowest, .. }) => {
                    self.passed[end as usize] += 1;
                    self.slowest = self.slowest.max(slowest);
                    if effect == Some(true) && self.effect.is_none() && self.is_in_effect(path, point) {
                        self.effect = Some(point);
                    }
                    return;
                }
                Ok(visit) => elsewhere = visit.reached == Reached::Elsewhere,
                Err(why) => {
                    let (name, of) = (&self.operation.name, path.len());
                    return self.failures.push(format!("{name}: {end:?} at {point} of {of} ({at}): {why}"));
                }
            }
        }
        if undone == TRIES {
            let (name, before) = (&self.operation.name, self.effect);
            return self.failures.push(format!("{name}: in effect at {before:?}, and not at {point}"));
        }
        self.missed[usize::from(elsewhere || undone > 0)] += 1;
    }

    /// Whether that is so once more.
    fn is_in_effect(&self, path: &Path, point: usize) -> bool {
        let again = self.cut_off(path.on_foot(point), End::Killed, &mut String::new());
        matches!(again, Ok(Visit { reached: Reached::There, effect: Some(true), .. }))
    }

    fn cut_off(&self, route: Route, end: End, at: &mut String) -> Result<Visit> {
        let (mut scene, mut exam, mut victim) = self.stage()?;
        let mut visit = Visit {
            reached: victim.lead(route)?,
            effect: None,
            slowest: Duration::ZERO,
            took: Duration::ZERO,
        };
        if visit.reached != Reached::There {
            return Ok(visit);
        }
        *at = victim.describe(route.to.instruction);
        let begun = Instant::now();
        match end {
            End::Killed => {
                victim.kill();
                visit.effect = exam.after_death(&mut scene)?;
            }
            End::Stopped => {
                exam.beside(&mut scene)?;
                visit.slowest = scene.slowest;
                victim.go_on()?;
                exam.after_all(&mut scene, victim)?;
            }
        }
        visit.took = begun.elapsed();
        Ok(visit)
    }

    /// Visits passed and missed.
    fn sums(&self) -> (usize, usize) {
        (self.passed.iter().sum(), self.missed.iter().sum())
    }

    fn was_worth_it(&self) -> bool {
        let (passed, missed) = self.sums();
        passed > 0 && passed >= 3 * missed
    }
}

impl fmt::Display for Round<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = self.effect.map_or("-".into(), |point| point.to_string());
        let (slowest, took) = (format!("{:.1?}", self.slowest), format!("{:.1?}", self.took));
        let ([killed, stopped], [over, elsewhere]) = (self.passed, self.missed);
        write!(
            f,
            "{:<24} {:>12} {killed:>8} {stopped:>8} {over:>13} {elsewhere:>11} {:>10} {effect:>11} {slowest:>16} {took:>9}",
            self.operation.name, self.instructions, self.doubtful
        )
    }
}
