//! What is asked of a limiter, whatever is in its file: each operation noted in the progress, each bounded.

use super::spec::Spec;
use harness::fuzz_progress::Progress;
use harness::{Rng, raw};
use nix::sys::wait::{WaitStatus, waitpid};
use shm_lib::{
    Admission, Cost, Directory, Error, ErrorKind, Name, OnMismatch, Outcome, RateLimit, Reservation,
};
use std::path::Path;
use std::time::{Duration, Instant};

/// What any operation may take longer than it was told to wait. Changes wait for each other for two seconds; the rest
/// is for a busy machine.
const SLACK: Duration = Duration::from_secs(8);
const TURNS: usize = 8;

/// Handles, and what they took.
pub(super) struct Player<'a> {
    pub(super) progress: &'a Progress,
    dir: &'a Path,
    spec: Spec,
    handles: Vec<RateLimit>,
    admissions: Vec<Admission>,
    turns: Vec<Reservation>,
}

/// What an operation came to: yes, no, or an error.
type Came = Result<bool, Error>;

impl<'a> Player<'a> {
    pub(super) fn new(progress: &'a Progress, dir: &'a Path, spec: Spec) -> Player<'a> {
        Player { progress, dir, spec, handles: Vec::new(), admissions: Vec::new(), turns: Vec::new() }
    }

    /// Does it, with the watchdog told, and checks that it came back in time.
    pub(super) fn timed(progress: &Progress, op: &str, wait: Duration, what: impl FnOnce() -> Came) {
        let began = Instant::now();
        let index = progress.begin(op, shm_lib::now().as_nanos());
        let came = what();
        let took = began.elapsed();
        // The message is part of the answer.
        let came = came.map_err(|e| {
            assert!(!e.to_string().is_empty());
            e.kind()
        });
        progress.end(index, came, took.as_nanos() as u64);
        assert!(took <= wait + SLACK, "{op} took {took:?} where {wait:?} was allowed");
    }

    /// Opens it, creating it or not.
    pub(super) fn open(&mut self, rng: &mut Rng) {
        let way = [OnMismatch::Error, OnMismatch::Keep, OnMismatch::Change][rng.below(3) as usize];
        let opened = || self.spec.builder(self.dir).on_mismatch(way).open_policy(self.spec.policy);
        let mut handle = None;
        Self::timed(self.progress, "open", Duration::ZERO, || {
            opened().map(|limit| handle = Some(limit)).map(|()| true)
        });
        self.keep(handle);
    }

    pub(super) fn attach(&mut self) {
        let mut handle = None;
        let attached = || RateLimit::builder("f").directory(self.dir).attach();
        Self::timed(self.progress, "attach", Duration::ZERO, || {
            attached().map(|limit| handle = Some(limit)).map(|()| true)
        });
        self.keep(handle);
    }

    fn keep(&mut self, handle: Option<RateLimit>) {
        self.handles.extend(handle);
        if self.handles.len() > 3 {
            self.handles.remove(0);
        }
    }

    /// Gives everything back and lets go of the file.
    pub(super) fn leave(&mut self) {
        self.turns.clear();
        self.admissions.clear();
        self.handles.clear();
    }

    /// What leads to a file worth spoiling.
    pub(super) fn act_mildly(&mut self, rng: &mut Rng) {
        let op = ["try", "try units", "reserve", "try n", "change", "reset", "schedule", "cancel"];
        self.perform(op[[0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7][rng.below(11) as usize]], rng);
    }

    /// Anything.
    pub(super) fn act(&mut self, rng: &mut Rng) {
        let op = match rng.below(64) {
            0 => "retire",
            1 => "remove",
            2 => "forked try",
            3 => "list",
            4 | 5 => "attach",
            6 => "open",
            7..=10 => "try n",
            11..=14 => "try units",
            15..=18 => "wait timeout",
            // It may last a second.
            19 if rng.below(8) == 0 => "wait",
            21..=24 => "reserve",
            25 => "commit",
            26 | 27 => "cancel",
            28 | 29 => "wait for turn",
            30..=32 => "settle",
            33 | 34 => "schedule",
            35 | 36 => "charge",
            37..=40 => "give back",
            41 | 42 => "status",
            43 => "policy",
            44..=46 => "inspect",
            47 => "stats",
            48 | 49 => "change",
            50 => "change policy",
            51 | 52 => "reset",
            53 => "pause",
            54 | 55 => "resume",
            _ => "try",
        };
        match op {
            "open" => self.open(rng),
            "attach" => self.attach(),
            _ => self.perform(op, rng),
        }
    }

    fn perform(&mut self, op: &str, rng: &mut Rng) {
        if self.handles.is_empty() {
            return;
        }
        let limit = &self.handles[rng.below(self.handles.len() as u64) as usize].clone();
        let n = 1 + rng.below(4);
        let n = if rng.below(30) == 0 { rng.below(u64::MAX) } else { n };
        let (spec, dir) = (self.spec.clone(), self.dir);
        let (admissions, turns) = (&mut self.admissions, &mut self.turns);
        let wait = Duration::from_micros(rng.below(3_000));
        let mut taken = None;
        let mut took = |outcome: Outcome| match outcome {
            Outcome::Admitted(admission) => {
                taken = Some(admission);
                true
            }
            Outcome::Denied(denial) => {
                let _ = denial.retry_after();
                false
            }
        };
        let done = |result: Result<(), Error>| result.map(|()| true);
        Self::timed(self.progress, op, wait, || match op {
            "try" => limit.try_acquire(1).map(&mut took),
            "try n" => limit.try_acquire(n).map(&mut took),
            "try units" => limit.try_acquire(spec.cost(n)).map(&mut took),
            "wait timeout" => limit.acquire(1 + n % 3).timeout(wait).wait().map(&mut took),
            "wait" => {
                // No deadline, so that a turn far away is met; asked at least once a second.
                let end = Instant::now() + wait;
                let acquire = limit.acquire(spec.cost(1)).or_denied();
                acquire.stop_when(|| Instant::now() >= end).wait().map(&mut took)
            }
            "reserve" => limit.reserve(spec.cost(n)).map(|turn| {
                turns.push(turn);
                turns.drain(..turns.len().saturating_sub(TURNS));
                true
            }),
            "commit" => turns.pop().map_or(Ok(false), |turn| turn.commit().map(|_| true)),
            "cancel" => Ok(turns.pop().is_some_and(Reservation::cancel)),
            "wait for turn" => match turns.pop() {
                // Turns are honoured for up to a year: only those that are near.
                Some(turn) if turn.wait_time() < Duration::from_millis(20) => turn.wait().map(|_| true),
                _ => Ok(false),
            },
            "settle" => match admissions.pop() {
                Some(mut a) => done(limit.settle(&mut a, spec.cost(rng.below(6))).map(drop)),
                None => Ok(false),
            },
            "schedule" => limit.schedule(1, 1 + rng.below(40) as usize).map(|turns| !turns.is_empty()),
            "charge" => done(limit.charge(Cost::from(rng.below(12)))),
            "give back" => Ok(admissions.pop().is_some()),
            "status" => limit.status().map(|_| true),
            "policy" => limit.policy().map(|policy| !policy.to_string().is_empty()),
            "inspect" => limit.inspect().map(|seen| !format!("{seen:?}").is_empty()),
            "stats" => Ok(!format!("{:?}", limit.stats()).is_empty()),
            "change" => done(limit.change(1 + rng.below(100), Duration::from_millis(1 + rng.below(1_000)))),
            "change policy" => done(limit.change_policy(Spec::any(rng).policy)),
            "reset" => done(limit.reset()),
            "pause" => done(limit.pause_for(Duration::from_micros(rng.below(2_000)))),
            "resume" => done(limit.resume()),
            "retire" => done(limit.retire()),
            "remove" => done(shm_core::remove_by_force(&Directory::at(dir), &Name::new("f")?)),
            "list" => Directory::at(dir).names().map(|names| !names.is_empty()),
            "forked try" => Ok(forked(|| {
                let _ = limit.try_acquire(1).map_err(|e| e.kind() == ErrorKind::Corrupt);
                let _ = limit.acquire(1).timeout(Duration::from_millis(1)).wait();
            })),
            other => unreachable!("no such operation: {other}"),
        });
        admissions.extend(taken);
        admissions.drain(..admissions.len().saturating_sub(TURNS));
    }
}

/// A child asks, too, and must leave as it should.
pub(super) fn forked(ask: impl FnOnce()) -> bool {
    match raw::fork().expect("a child") {
        Some(child) => {
            let end = waitpid(child, None);
            assert_eq!(end, Ok(WaitStatus::Exited(child, 0)), "a forked child");
            true
        }
        None => {
            let came = std::panic::catch_unwind(std::panic::AssertUnwindSafe(ask));
            raw::exit_now(i32::from(came.is_err()));
        }
    }
}

impl Drop for Player<'_> {
    fn drop(&mut self) {
        let progress = self.progress;
        Self::timed(progress, "drop", Duration::ZERO, || {
            self.leave();
            Ok(true)
        });
    }
}
