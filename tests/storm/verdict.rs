//! Reads what the storm's threads wrote down, and judges each limiter by what happened to it.

use crate::audit::{self, Change, Generous};
use crate::disruptor::{PATIENCE, PROCESSES, Record};
use crate::line::{Served, Stood};
use harness::check::{Origins, kept, most_at_once};
use harness::file::{Patch, offset};
use harness::journal::{self, EntryKind};
use harness::policy;
use harness::storm::{Call, LIMITERS, THREADS, Trouble};
use shm_lib::Nanos;
use shm_lib::limit::audit::Admission;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// A removed limiter may be used for as long as its users look at most: sleepers look every second, others ten times that.
const NOTICED: Duration = Duration::from_millis(1_500);
/// How long after its call returned a change applies, at the latest.
const SLACK: u64 = 2_000;

struct Used {
    at: u64,
    returned: u64,
    amount: u64,
    made: u64,
}

struct Control {
    call: Option<Call>,
    from: u64,
    /// 0: cut off.
    done: u64,
    to: u64,
}

/// What became of one limiter.
#[derive(Default)]
pub(crate) struct Observed {
    used: Vec<Used>,
    controls: Vec<Control>,
    held: Vec<(u64, u64)>,
    stood: Vec<Stood>,
    /// Admissions that cannot be judged: it is unknown whether they were decided before or after a change.
    aside: usize,
}

/// A time in which no process was disturbed: from, to, and the rate of the limiter under [`Trouble::Rates`].
pub(crate) type Calm = (u64, u64, u64);

#[derive(Default)]
pub(crate) struct Verdict {
    pub(crate) limiters: Vec<Observed>,
    pub(crate) over: Vec<String>,
    pub(crate) stalls: Vec<String>,
}

impl Verdict {
    /// Reads all and judges all.
    pub(crate) fn of(dir: &Path, logs: &Path, record: &Record) -> Verdict {
        let mut all = Verdict::default();
        all.limiters.resize_with(LIMITERS.len(), Observed::default);
        for place in 0..PROCESSES * THREADS {
            let slot = place / THREADS;
            for e in journal::read(logs, place) {
                let limiter = &mut all.limiters[e.limiter];
                match e.kind {
                    EntryKind::Admitted => {
                        limiter.used.push(Used { at: e.a, returned: e.b, amount: e.extra, made: e.c });
                    }
                    EntryKind::Held => {
                        let to = if e.b > 0 { e.b } else { record.lived_until(slot, e.a) };
                        limiter.held.push((e.a, to));
                    }
                    EntryKind::Stood => {
                        let to = if e.b > 0 { e.b } else { record.lived_until(slot, e.a) };
                        limiter.stood.push(Stood { slot, from: e.a, to, at: e.c });
                    }
                    EntryKind::Control => limiter.controls.push(Control {
                        call: Call::of(e.extra),
                        from: e.a,
                        done: e.b,
                        to: e.c,
                    }),
                    EntryKind::Slow => {
                        let name = LIMITERS[e.limiter].name;
                        let late = (e.b - e.c).saturating_sub(record.stopped(slot, e.a.min(e.c), e.b));
                        if e.c == 0 {
                            all.stalls.push(format!("{name}: a queue of seconds, at {} ns", e.a));
                        } else if Duration::from_nanos(late) > PATIENCE {
                            let call = Call::of(e.extra);
                            all.stalls.push(format!("{name}: {call:?} came back {late} ns late"));
                        }
                    }
                }
            }
        }
        for (limiter, what) in all.limiters.iter_mut().zip(&LIMITERS) {
            limiter.controls.sort_by_key(|control| control.from);
            let judged = match what.trouble {
                Trouble::KillsOnly | Trouble::NoOpChanges => limiter.unchanged(what, &dir.join(what.name)),
                Trouble::Rates => limiter.at_rates(what),
                Trouble::PauseReset => limiter.reset_and_paused(what),
                Trouble::Recreate => limiter.each_by_itself(what),
            };
            if let Err(over) = judged {
                all.over.push(format!("{}: {over}", what.name));
            }
        }
        all
    }

    /// Changes that were done.
    pub(crate) fn changes(&self) -> usize {
        self.limiters.iter().flat_map(|limiter| &limiter.controls).filter(|control| control.done > 0).count()
    }

    pub(crate) fn admitted(&self) -> usize {
        self.limiters.iter().map(|limiter| limiter.used.len()).sum()
    }

    pub(crate) fn aside(&self) -> usize {
        self.limiters.iter().map(|limiter| limiter.aside).sum()
    }

    pub(crate) fn most_held(&self) -> u64 {
        self.limiters.iter().map(|limiter| most_at_once(&limiter.held)).max().unwrap_or(0)
    }

    /// What each delivered in all the calm times together, as a part of what it should.
    pub(crate) fn delivered(&self, calm: &[Calm]) -> Vec<(&'static str, f64)> {
        let part = |(limiter, what): (&Observed, &harness::storm::StormLimiter)| {
            let (mut got, mut due) = (0, 0.0);
            for &(from, to, rate) in calm {
                let inside = limiter.used.iter().filter(|used| (from..to).contains(&used.at));
                got += inside.map(|used| if what.has_units() { 1 } else { used.amount }).sum::<u64>();
                let nominal = if what.trouble == Trouble::Rates { rate as f64 } else { what.nominal };
                due += nominal * (to - from) as f64 / 1e9;
            }
            (what.name, got as f64 / due)
        };
        self.limiters.iter().zip(&LIMITERS).map(part).collect()
    }

    /// How the limiter whose users only wait served them.
    pub(crate) fn served(&self, record: &Record) -> Served {
        let (limiter, what) =
            self.limiters.iter().zip(&LIMITERS).find(|(_, what)| what.is_for_waiting).expect("one of them");
        let admitted = limiter.used.iter().map(|used| (used.at, used.amount)).collect();
        Served::of(&limiter.stood, admitted, what.nominal, record)
    }
}

impl Observed {
    /// Every window of the whole time, by each limit's definition.
    fn unchanged(&self, what: &harness::storm::StormLimiter, file: &Path) -> Result<(), String> {
        let patch = Patch::of(file);
        let origins = Origins { wall_ns: patch.get(offset::WALL), created_ns: patch.get(offset::CREATED) };
        for limit in policy::parse(what.policy, what.permits).limits() {
            let calls_only = what.has_units() && limit.unit().is_calls();
            let mut all: Vec<Admission> = self
                .used
                .iter()
                .map(|used| admission(used.at, if calls_only { 1 } else { used.amount }))
                .collect();
            kept(limit, origins, &mut all).map_err(|over| format!("{limit}: {over}"))?;
        }
        let most = most_at_once(&self.held);
        if most <= what.permits {
            return Ok(());
        }
        // Those at the last instant that has too many: it begins with one of them.
        let mut held: Vec<_> = self.held.iter().filter(|(from, to)| from < to).collect();
        held.sort_unstable();
        let mut at_once: Vec<&(u64, u64)> = Vec::new();
        let mut all = String::new();
        for one in held {
            at_once.retain(|(_, to)| *to > one.0);
            at_once.push(one);
            if at_once.len() as u64 > what.permits {
                all = format!("{at_once:?}");
            }
        }
        Err(format!("{most} permits held at once, from and to: {all}"))
    }

    /// When each of these may have happened. An interrupted change may be completed by the next process: at the latest by the
    /// next change that was done.
    fn changes(&self, which: Call) -> Vec<Change> {
        let done_by = |i: usize| self.controls[i..].iter().map(|c| c.done).find(|&done| done > 0);
        (self.controls.iter().enumerate())
            .filter(|(_, control)| control.call == Some(which))
            .map(|(i, control)| Change {
                from: control.from,
                to: done_by(i).map_or(u64::MAX, |done| done + SLACK),
                rate: control.to,
            })
            .collect()
    }

    /// A decision may read the clock, then sleep, then be made after a change: its time is from before. Under one rate
    /// that is harmless; under two rates it is unknown by which to judge it. So admissions that were in flight while a change
    /// may have happened are set aside.
    fn at_rates(&mut self, what: &harness::storm::StormLimiter) -> Result<(), String> {
        let limit = policy::parse(what.policy, 0).first().expect("a limit");
        let changes = self.changes(Call::Change);
        let astride = |used: &&Used| {
            // The first that is not surely over by its time.
            let next = changes.partition_point(|change| change.to <= used.at);
            changes.get(next).is_none_or(|change| used.returned < change.from)
        };
        let mut all: Vec<Admission> =
            self.used.iter().filter(astride).map(|used| admission(used.at, used.amount)).collect();
        self.aside = self.used.len() - all.len();
        let rates = Generous::changing(limit.rate().max(), &changes);
        audit::kept(limit.burst(), &rates, &[], &mut all)
    }

    /// No window over, with a burst more for each reset that may lie in it; nothing in a pause.
    fn reset_and_paused(&mut self, what: &harness::storm::StormLimiter) -> Result<(), String> {
        let limit = policy::parse(what.policy, 0).first().expect("a limit");
        let resets = self.changes(Call::Reset);
        // As above: from before a reset by its clock, from after it by its state.
        let plain = |used: &&Used| {
            let next = resets.partition_point(|reset| reset.from <= used.at);
            resets.get(next).is_none_or(|reset| used.returned < reset.from)
        };
        let mut all: Vec<Admission> =
            self.used.iter().filter(plain).map(|used| admission(used.at, used.amount)).collect();
        self.aside = self.used.len() - all.len();
        audit::kept(limit.burst(), &Generous::constant(limit.rate().max()), &resets, &mut all)?;

        let mut times: Vec<u64> = self.used.iter().map(|used| used.at).collect();
        times.sort_unstable();
        for (i, pause) in self.controls.iter().enumerate() {
            if pause.call != Some(Call::Pause) || pause.done == 0 {
                continue;
            }
            let resumed = self.controls[i..].iter().find(|c| c.call == Some(Call::Resume)).map(|c| c.from);
            let end = (pause.from + pause.to).min(resumed.unwrap_or(u64::MAX));
            let next = times.partition_point(|&at| at <= pause.done);
            if let Some(at) = times.get(next).filter(|&&at| at < end) {
                return Err(format!(
                    "admitted {} ns after a pause began, {} before its end",
                    at - pause.done,
                    end - at
                ));
            }
        }
        Ok(())
    }

    /// Each of that name by itself, and none for long after it was removed.
    fn each_by_itself(&self, what: &harness::storm::StormLimiter) -> Result<(), String> {
        let mut by_made: BTreeMap<u64, Vec<Admission>> = BTreeMap::new();
        for used in &self.used {
            by_made.entry(used.made).or_default().push(admission(used.at, used.amount));
        }
        let none = Origins { wall_ns: 0, created_ns: 0 };
        for (made, mut all) in by_made {
            for limit in policy::parse(what.policy, 0).limits() {
                kept(limit, none, &mut all).map_err(|over| format!("{limit} made at {made}: {over}"))?;
            }
            let gone = self.controls.iter().find(|c| c.to == made && c.done > 0).map(|c| c.done);
            let last = all.last().map_or(0, |a| a.at.as_nanos());
            if gone.is_some_and(|gone| last > gone + NOTICED.as_nanos() as u64) {
                return Err(format!("used at {last}, removed at {gone:?}"));
            }
        }
        Ok(())
    }
}

fn admission(at: u64, tokens: u64) -> Admission {
    Admission { at: Nanos::from_nanos(at), calls: tokens }
}
