//! One operation at many of its instructions.

use crate::checks::Checks;
use crate::ending::{End, Finding};
use crate::fixture::Fixture;
use crate::operation::Operation;
use crate::route::{Route, Trace};
use crate::tally::Tally;
use crate::victim::{Reached, Result, Victim};
use harness::{log_uncaptured, shared_dir};
use std::cmp::Reverse;
use std::fmt;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// On any machine, however busy.
const SURELY: Duration = Duration::from_secs(1);
/// How often an instruction is tried that is not always on the path.
const TRIES: usize = 4;
/// How often the path is recorded again if it turns out to be a rare one: on a slow machine a step may take so long that a
/// recorded path looks at the clock, or for the file, where no other path does.
const RECORDINGS: usize = 3;
/// How many runs try whether a recorded path is the usual one.
const ARRIVALS: usize = 16;
/// Each run that hangs takes long.
const HANGS: usize = 3;
/// At so many instructions of an operation a forked child may take a permit in its parent's name: those between the last
/// check of the process token and the swap.
const MISNAMED: usize = 8;

/// One operation, and what was found.
pub(crate) struct Round<'a> {
    operation: &'a Operation,
    dir: TempDir,
    tally: Tally,
    took: Duration,
    pub(crate) failures: Vec<String>,
}

/// What became of one visit.
struct Visit {
    reached: Reached,
    finding: Finding,
}

impl<'a> Round<'a> {
    pub(crate) fn new(operation: &'a Operation) -> Round<'a> {
        Round {
            operation,
            dir: shared_dir(),
            tally: Tally::default(),
            took: Duration::ZERO,
            failures: Vec::new(),
        }
    }

    /// Goes to `points(instructions)`, the first and the distance from each to the next, until so many have failed.
    pub(crate) fn run(
        &mut self,
        ends: &[End],
        failures: usize,
        points: impl Fn(&Operation, usize) -> (usize, usize),
    ) {
        let begun = Instant::now();
        for _ in 0..RECORDINGS {
            self.tally = Tally::default();
            if let Err(why) = self.record().map(|path| self.visit_all(&path, ends, failures, &points)) {
                self.failures.push(format!("{}: {why}", self.operation.name));
            }
            if self.tally.is_usual_path() || !self.failures.is_empty() {
                break;
            }
        }
        let name = &self.operation.name;
        if !self.tally.is_usual_path() && self.failures.is_empty() {
            let (passed, missed) = self.tally.sums();
            self.failures.push(format!("{name}: {missed} missed, {passed} passed"));
        }
        if self.tally.misnamed > MISNAMED {
            let n = self.tally.misnamed;
            self.failures
                .push(format!("{name}: at {n} instructions a child takes a permit in its parent's name"));
        }
        self.took = begun.elapsed();
    }

    fn visit_all(
        &mut self,
        path: &Trace,
        ends: &[End],
        failures: usize,
        points: impl Fn(&Operation, usize) -> (usize, usize),
    ) {
        self.tally.instructions = path.len();
        let (first, distance) = points(self.operation, path.len());
        for point in (first..path.len()).step_by(distance) {
            let ends = ends.iter().filter(|&&end| end != End::Forked || !self.operation.has_threads);
            for &end in &ends.copied().collect::<Vec<_>>() {
                self.visit(path, point, end);
            }
            let hangs = self.failures.iter().filter(|why| why.contains("hangs")).count();
            if self.failures.len() >= failures || hangs >= HANGS {
                break;
            }
        }
    }

    /// The usual path: the one that most runs at full speed take, or the most common one, or the shortest. A run by single
    /// steps is slow, so its path may be one that no other run takes.
    pub(crate) fn record(&self) -> Result<Trace> {
        let mut known: Vec<(Trace, usize)> = Vec::new();
        for _ in 0..10 {
            let (_fixture, _checks, mut victim) = self.stage(End::Killed, true)?;
            let path = victim.record()?;
            if self.operation.has_threads {
                return Ok(path);
            }
            match known.iter_mut().find(|known| known.0 == path) {
                Some(known) => known.1 += 1,
                None => known.push((path, 1)),
            }
            if known.iter().any(|known| known.1 == 3) {
                break;
            }
        }
        if known.len() == 1 {
            return Ok(known.remove(0).0);
        }
        let mut rated = Vec::new();
        for (path, count) in known {
            rated.push(((self.arrivals(&path)?, count, Reverse(path.len())), path));
        }
        let usual = rated.into_iter().max_by_key(|way| way.0);
        usual.map(|way| way.1).ok_or_else(|| "it was never recorded".into())
    }

    /// How many of some that are led as fast as can be get to where this way goes.
    fn arrivals(&self, path: &Trace) -> Result<usize> {
        let mut arrived = 0;
        for trial in 1..=ARRIVALS {
            let point = (path.len() - 1) * trial / ARRIVALS;
            let route = path.to(point);
            let (_fixture, _checks, mut victim) = self.stage(End::Killed, route.is_by_single_step())?;
            arrived += usize::from(victim.run_to(route)? == Reached::There);
        }
        Ok(arrived)
    }

    /// All that a visit needs: the operation has not begun yet.
    pub(crate) fn stage(&self, end: End, by_single_step: bool) -> Result<(Fixture, Box<dyn Checks>, Victim)> {
        let mut checks = (self.operation.checks)();
        let mut fixture = Fixture::new(self.operation, self.dir.path(), self.operation.seats + end.seats())?;
        checks.prepare(&mut fixture)?;
        // A turn must be farther away for a run that gets to its wait later. Both words have one length, since the stack
        // begins after them.
        let led = if by_single_step { "by-step" } else { "by-jump" };
        let victim = Victim::start(&fixture.job().clone().set("led", led))?;
        checks.begin(&mut fixture)?;
        if end == End::Retired {
            fixture.remember_state();
        }
        Ok((fixture, checks, victim))
    }

    fn visit(&mut self, path: &Trace, point: usize, end: End) {
        let name = &self.operation.name;
        let (mut elsewhere, mut slow, mut undone, mut late) = (false, false, 0, 0);
        for attempt in 0..TRIES {
            // Some paths are taken only by slow runs, such as the recorded one.
            let by_breakpoint = attempt < TRIES / 2 && !self.operation.has_threads;
            let route = if by_breakpoint { path.to(point) } else { path.by_single_step(point) };
            let mut at = String::new();
            let visit = match self.cut_off(route, point, end, &mut at) {
                Ok(visit) => visit,
                Err(why) => {
                    self.tally.failed[end as usize] += 1;
                    let of = path.len();
                    return self.failures.push(format!("{name}: {end:?} at {point} of {of} ({at}): {why}"));
                }
            };
            let Finding { took, effect, late: ref what, .. } = visit.finding;
            if let Some(what) = what {
                late += 1;
                self.tally.late += 1;
                log_uncaptured(&format!("{name}: {end:?} at {point} ({at}): {what}"));
                if late == TRIES {
                    self.tally.failed[end as usize] += 1;
                    return self.failures.push(format!("{name}: {end:?} at {point}: each time {what}"));
                }
            } else if took > SURELY && slow {
                self.tally.failed[end as usize] += 1;
                return self.failures.push(format!("{name}: {end:?} at {point}: the others needed {took:?}"));
            } else if took > SURELY {
                // The whole machine stalls now and then; twice at the same instruction is no accident.
                slow = true;
                log_uncaptured(&format!("{name} at {point}: the others needed {took:?}"));
            } else if visit.reached != Reached::There {
                elsewhere = visit.reached == Reached::Elsewhere;
            } else if effect == Some(false) && self.tally.effect.is_some() {
                // One instruction takes effect, and it was passed before; so this was another instruction, in spite of all checks.
                undone += 1;
                self.tally.doubtful += 1;
            } else {
                let first = effect == Some(true) && self.tally.effect.is_none();
                if first && self.is_in_effect(path, point) {
                    self.tally.effect = Some(point);
                }
                return self.tally.add(end, &visit.finding);
            }
        }
        if undone == TRIES {
            let before = self.tally.effect;
            return self.failures.push(format!("{name}: in effect at {before:?}, and not at {point}"));
        }
        self.tally.missed[usize::from(elsewhere || undone > 0)] += 1;
    }

    /// Whether that is so once more.
    fn is_in_effect(&self, path: &Trace, point: usize) -> bool {
        let again = self.cut_off(path.by_single_step(point), point, End::Killed, &mut String::new());
        matches!(again, Ok(visit) if visit.reached == Reached::There && visit.finding.effect == Some(true))
    }

    fn cut_off(&self, route: Route, point: usize, end: End, at: &mut String) -> Result<Visit> {
        let (mut fixture, mut checks, mut victim) = self.stage(end, route.is_by_single_step())?;
        // Whatever the distance of the points.
        fixture.odd = point.count_ones() % 2 == 1;
        let mut reached = victim.run_to(route)?;
        // Where no two ways are the same it was led so many steps, and any instruction will do.
        let is_free = self.operation.has_threads || self.operation.sleeps && route.is_by_single_step();
        if reached == Reached::Elsewhere && is_free {
            reached = Reached::There;
        }
        if reached != Reached::There {
            return Ok(Visit { reached, finding: Finding::default() });
        }
        *at = victim.location();
        checks.reached(&mut fixture)?;
        Ok(Visit { reached, finding: end.apply(&mut fixture, checks.as_mut(), victim)? })
    }
}

impl fmt::Display for Round<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = format!("{:.1?}", self.took);
        write!(f, "{:<24} {} {took:>9}", self.operation.name, self.tally)
    }
}
