//! What is done to the processes of a storm: killed, replaced, stopped, let go, watched.

use harness::journal::Board;
use harness::storm::{Call, LIMITERS, StormLimiter, THREADS, Trouble};
use harness::{Job, Rng, WorkerPool};
use nix::sys::signal::Signal;
use std::path::Path;
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
/// All processes; the last of them are controllers.
pub(crate) const PROCESSES: usize = 64;
/// How late any call may return. Less than the longest stop: a call that waited for a stopped process would be found.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
const LONG_STOP: Duration = Duration::from_secs(4);
/// So few that not all permits are theirs.
const LONG_STOPS: usize = 3;

/// A stop of a process, in ns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    pub(crate) slot: usize,
    pub(crate) from: u64,
    /// 0: not yet over.
    pub(crate) to: u64,
}

/// What happened.
#[derive(Default)]
pub(crate) struct Record {
    /// Slot, an instant right before, and one when it was surely dead.
    pub(crate) kills: Vec<(usize, u64, u64)>,
    pub(crate) stops: Vec<Stop>,
    /// In words.
    pub(crate) stalls: Vec<String>,
    pub(crate) leaks: Vec<String>,
}

impl Record {
    /// Until when the process that was in this slot at `at` surely lived. That may be before `at`: some processes run for a
    /// moment after the instant that was noted right before they were killed.
    pub(crate) fn lived_until(&self, slot: usize, at: u64) -> u64 {
        let end = self.kills.iter().find(|(killed, _, dead)| *killed == slot && *dead >= at);
        end.map_or(0, |(_, before, _)| *before)
    }

    /// For how much of a time this slot's process was stopped.
    pub(crate) fn stopped(&self, slot: usize, from: u64, to: u64) -> u64 {
        self.stops
            .iter()
            .filter(|stop| stop.slot == slot)
            .map(|stop| if stop.to == 0 { to } else { stop.to }.min(to).saturating_sub(stop.from.max(from)))
            .sum()
    }
}

pub(crate) struct Disruptor<'a> {
    pool: WorkerPool,
    jobs: Vec<Job>,
    dir: &'a Path,
    board: &'a Board,
    rng: Rng,
    stopped: Vec<(usize, Instant)>,
    pub(crate) record: Record,
}

/// The limiters that controllers change.
pub(crate) fn changed() -> impl Iterator<Item = (usize, &'static StormLimiter)> {
    LIMITERS.iter().enumerate().filter(|(_, limiter)| limiter.trouble != Trouble::KillsOnly)
}

impl<'a> Disruptor<'a> {
    /// Starts all processes.
    pub(crate) fn begin(dir: &'a Path, logs: &Path, board: &'a Board) -> Disruptor<'a> {
        let job = |mode, slot: usize| {
            StormLimiter::job(mode, dir, logs).set("slot", slot).set("places", PROCESSES * THREADS)
        };
        let workers = PROCESSES - changed().count();
        let controllers = changed().zip(workers..);
        let jobs: Vec<Job> = (0..workers)
            .map(|slot| job("storm", slot))
            .chain(controllers.map(|((limiter, _), slot)| job("controller", slot).set("limiter", limiter)))
            .collect();
        let mut pool = WorkerPool::new(WORKER);
        for job in &jobs {
            pool.spawn(job);
        }
        pool.start();
        Disruptor { pool, jobs, dir, board, rng: Rng::new(), stopped: Vec::new(), record: Record::default() }
    }

    /// Kills and stops at random for a while.
    pub(crate) fn disrupt(&mut self, span: Duration) {
        let end = Instant::now() + span;
        let mut watched = Instant::now();
        while Instant::now() < end {
            std::thread::sleep(Duration::from_micros(self.rng.below(40_000)));
            self.continue_stopped(Instant::now());
            let slot = self.rng.below(PROCESSES as u64) as usize;
            if self.rng.below(2) == 0 {
                self.kill(slot);
            } else if self.stopped.iter().all(|(stopped, _)| *stopped != slot) {
                self.stop(slot);
            }
            if watched.elapsed() > Duration::from_secs(1) {
                watched = Instant::now();
                self.watch();
            }
        }
        self.continue_stopped(Instant::now() + 2 * LONG_STOP);
    }

    /// Disturbs no process, and watches.
    pub(crate) fn watch_for(&mut self, span: Duration) {
        let end = Instant::now() + span;
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(100));
            self.watch();
        }
    }

    fn kill(&mut self, slot: usize) {
        let before = shm_lib::now().as_nanos();
        self.pool.replace(slot, &self.jobs[slot]);
        self.record.kills.push((slot, before, shm_lib::now().as_nanos()));
        for thread in 0..THREADS {
            self.board.clear(slot * THREADS + thread);
        }
        self.stopped.retain(|(stopped, _)| *stopped != slot);
        self.mark_end(slot);
    }

    fn stop(&mut self, slot: usize) {
        let long = self.stopped.iter().filter(|(_, until)| *until > Instant::now() + PATIENCE / 4).count();
        let is_worker = self.jobs[slot].mode() == "storm";
        let time = if is_worker && long < LONG_STOPS && self.rng.below(20) == 0 {
            LONG_STOP
        } else {
            Duration::from_micros(self.rng.below(300_000))
        };
        let from = shm_lib::now().as_nanos();
        self.pool.signal(slot, Signal::SIGSTOP);
        self.record.stops.push(Stop { slot, from, to: 0 });
        self.stopped.push((slot, Instant::now() + time));
    }

    /// Continues the processes whose stop is over by `now`.
    fn continue_stopped(&mut self, now: Instant) {
        let (over, still) = self.stopped.drain(..).partition(|(_, until)| *until <= now);
        self.stopped = still;
        let over: Vec<(usize, Instant)> = over;
        for (slot, _) in over {
            self.pool.signal(slot, Signal::SIGCONT);
            self.mark_end(slot);
        }
    }

    fn mark_end(&mut self, slot: usize) {
        let now = shm_lib::now().as_nanos();
        let open = self.record.stops.iter_mut().rev().find(|stop| stop.slot == slot && stop.to == 0);
        if let Some(stop) = open {
            stop.to = now;
        }
    }

    /// Finds calls that do not return.
    fn watch(&mut self) {
        for place in 0..PROCESSES * THREADS {
            let Some((what, due)) = self.board.going_on(place) else { continue };
            let now = shm_lib::now().as_nanos();
            let late = now.saturating_sub(due).saturating_sub(self.record.stopped(place / THREADS, due, now));
            if Duration::from_nanos(late) > PATIENCE {
                self.board.clear(place);
                self.record.stalls.push(format!("{:?} hangs, {late} ns overdue", Call::of(what)));
            }
        }
    }

    /// Counts descriptors and mappings of limiters in each process. Some are open for a moment, so the least of a few looks
    /// counts.
    pub(crate) fn look_for_leaks(&mut self) {
        let look = |pool: &WorkerPool, slot| {
            let proc = format!("/proc/{}", pool.pid(slot));
            let files = std::fs::read_dir(format!("{proc}/fd")).expect("its descriptors");
            let files = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
            let maps = std::fs::read_to_string(format!("{proc}/maps")).expect("its mappings");
            let here = self.dir.display().to_string();
            (
                files.filter(|file| file.to_string_lossy().contains(&here)).count(),
                maps.lines().filter(|line| line.contains(&here)).count(),
            )
        };
        let mut least = vec![(usize::MAX, usize::MAX); PROCESSES];
        for _ in 0..5 {
            for (slot, least) in least.iter_mut().enumerate() {
                let (files, maps) = look(&self.pool, slot);
                *least = (least.0.min(files), least.1.min(maps));
            }
            std::thread::sleep(Duration::from_millis(15));
        }
        // Each limiter is mapped, and so are the locks of the seat and of the place in it.
        let bad = least.iter().enumerate().filter(|(_, least)| least.0 > 0 || least.1 > 3 * LIMITERS.len());
        for (slot, (files, maps)) in bad {
            let leak = format!("process {slot} has {files} descriptors and {maps} mappings of limiters");
            self.record.leaks.push(leak);
        }
    }

    /// Ends it.
    pub(crate) fn end(mut self) -> Record {
        let now = shm_lib::now().as_nanos();
        self.record.kills.extend((0..PROCESSES).map(|slot| (slot, now, u64::MAX)));
        self.pool.kill_all();
        self.record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_ends_with_the_first_kill_after_its_start() {
        let kills = vec![(3, 100, 120), (5, 150, 160), (3, 900, 910)];
        let record = Record { kills, ..Record::default() };
        assert_eq!(record.lived_until(3, 90), 100);
        assert_eq!(record.lived_until(3, 110), 100);
        assert_eq!(record.lived_until(3, 130), 900);
        assert_eq!(record.lived_until(4, 1), 0);
    }
}
