//! Askers that ask again as soon as they have had their turn: how many turns each of them gets, and how long the longest wait
//! is.

use super::CLIENT;
use super::heartbeat::Heartbeat;
use super::sheet::{Asking, Sheet};
use crate::{Arena, WorkerPool};
use std::time::Duration;

const SEATS: usize = 256;

/// Askers that behave alike.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// How many processes.
    pub processes: usize,
    /// How many tasks in each; 0: the process itself asks, and blocks.
    pub tasks: usize,
    /// The cost of each request.
    pub cost: u64,
    /// How long an asker pauses after its turn. Tasks do not pause.
    pub pause: Duration,
    /// Whether they call `try_acquire` all the time instead of waiting.
    pub tries: bool,
}

impl Group {
    /// Processes that wait.
    pub fn processes(processes: usize) -> Group {
        Group { processes, tasks: 0, cost: 1, pause: Duration::ZERO, tries: false }
    }

    fn askers(&self) -> usize {
        self.processes * self.tasks.max(1)
    }
}

/// One measurement.
#[derive(Clone, Debug)]
pub struct Fairness {
    /// The name of the measurement.
    pub name: &'static str,
    /// The limiter's policy, as [`policy::parse`](crate::policy::parse) reads it.
    pub policy: &'static str,
    /// The number of permits; 0: the limiter has none.
    pub permits: u32,
    /// How long an asker holds its permit.
    pub hold: Duration,
    /// The time that each unit of cost takes when the limiter delivers as fast as it can.
    pub unit: Duration,
    /// The askers.
    pub groups: Vec<Group>,
    /// How long the measurement runs.
    pub time: Duration,
}

/// The result. Shares are those of the askers that wait: an asker that calls `try_acquire` has no place in the line.
#[derive(Clone, Debug)]
pub struct Shares {
    /// The turns of each asker that waits.
    pub turns: Vec<u64>,
    /// The turns of all askers that call `try_acquire`.
    pub tried: u64,
    /// The cost of all turns, or the time for which permits were held, in per cent of what the limiter can deliver.
    pub delivered: f64,
    /// How long an asker had a permit, in the mean. A task's timer rings up to a millisecond late.
    pub held: Duration,
    /// The longest wait, unfinished waits included.
    pub longest: Duration,
    /// How long a wait may be: as long as a turn of each asker that waits takes, and two of the longest turns more.
    pub bound: Duration,
    /// The longest stall of the machine.
    pub stall: Duration,
}

impl Shares {
    fn mean(&self) -> f64 {
        self.turns.iter().sum::<u64>() as f64 / self.turns.len() as f64
    }

    /// The smallest share, in per cent of the mean one.
    pub fn smallest(&self) -> f64 {
        100.0 * self.turns.iter().copied().min().unwrap_or(0) as f64 / self.mean().max(1e-9)
    }

    /// The greatest share, in per cent of the mean one.
    pub fn greatest(&self) -> f64 {
        100.0 * self.turns.iter().copied().max().unwrap_or(0) as f64 / self.mean().max(1e-9)
    }
}

/// A rate that no measurement reaches.
const PLENTY: &str = "bucket:1000000/s:1000000";

impl Fairness {
    /// A measurement of askers that share permits.
    pub fn of_permits(name: &'static str, permits: u32, hold_ms: u64, groups: &[Group]) -> Fairness {
        let hold = Duration::from_millis(hold_ms);
        let unit = hold / permits;
        let time = Duration::from_secs(8);
        Fairness { name, policy: PLENTY, permits, hold, unit, groups: groups.to_vec(), time }
    }

    /// A measurement of askers that share a rate limit.
    pub fn of_turns(name: &'static str, policy: &'static str, unit: Duration, groups: &[Group]) -> Fairness {
        let time = Duration::from_secs(8);
        Fairness { name, policy, permits: 0, hold: Duration::ZERO, unit, groups: groups.to_vec(), time }
    }

    /// All measurements.
    pub fn all() -> Vec<Fairness> {
        [
            Fairness::among_processes(),
            Fairness::among_tasks(),
            Fairness::among_costs(),
            Fairness::beside_tries(),
        ]
        .concat()
    }

    /// Processes share permits.
    pub fn among_processes() -> Vec<Fairness> {
        let processes = |n| [Group::processes(n)];
        vec![
            Fairness::of_permits("4 processes, 1 permit held 20 ms", 1, 20, &processes(4)),
            Fairness::of_permits("16 processes, 1 permit held 10 ms", 1, 10, &processes(16)),
            Fairness::of_permits("64 processes, 1 permit held 5 ms", 1, 5, &processes(64)),
            Fairness::of_permits("4 processes, 3 permits held 50 ms", 3, 50, &processes(4)),
            Fairness::of_permits("16 processes, 3 permits held 30 ms", 3, 30, &processes(16)),
            Fairness::of_permits("64 processes, 3 permits held 15 ms", 3, 15, &processes(64)),
        ]
    }

    /// Tasks of a few processes share permits or a rate limit. The line orders them by arrival, across all processes.
    pub fn among_tasks() -> Vec<Fairness> {
        let tasks = [Group { tasks: 20, ..Group::processes(4) }];
        let uneven = [Group { tasks: 40, ..Group::processes(1) }, Group { tasks: 1, ..Group::processes(8) }];
        let unit = Duration::from_millis(5);
        vec![
            Fairness::of_permits("80 tasks in 4 processes, 1 permit held 5 ms", 1, 5, &tasks),
            Fairness::of_permits("80 tasks in 4 processes, 3 permits held 15 ms", 3, 15, &tasks),
            Fairness::of_permits(
                "40 tasks in 1 process and 8 each in their own, 1 permit held 5 ms",
                1,
                5,
                &uneven,
            ),
            Fairness::of_turns("80 tasks in 4 processes, 200/s", "bucket:200/s:1", unit, &tasks),
        ]
    }

    /// Processes with small requests share a rate limit with processes with large requests.
    pub fn among_costs() -> Vec<Fairness> {
        let costing = |cost| Group { cost, ..Group::processes(8) };
        let name = "8 processes that ask for 1 and 8 for 5, 1000/s";
        let unit = Duration::from_millis(1);
        vec![Fairness::of_turns(name, "bucket:1000/s:5", unit, &[costing(1), costing(5)])]
    }

    /// One process waits beside others that call `try_acquire` all the time.
    pub fn beside_tries() -> Vec<Fairness> {
        // Without a pause the waiter would mostly hand over to itself.
        let waiter = Group { pause: Duration::from_millis(5), ..Group::processes(1) };
        let tries = Group { tries: true, ..Group::processes(3) };
        let unit = Duration::from_millis(20);
        let burst = [Group { cost: 5, ..waiter }, tries];
        vec![
            Fairness::of_permits("1 waiter beside 3 that try, 1 permit held 20 ms", 1, 20, &[waiter, tries]),
            Fairness::of_turns("1 waiter beside 3 that try, 50/s", "bucket:50/s:1", unit, &[waiter, tries]),
            Fairness::of_turns(
                "1 waiter for 5 beside 3 that try, 50/s, burst 5",
                "bucket:50/s:5",
                unit,
                &burst,
            ),
        ]
    }

    /// Runs the measurement. `exe` is a program that takes part in measurements, see [`load`](super).
    pub fn run(&self, exe: &'static str) -> Shares {
        let arena = Arena::with_policy(self.policy, u64::from(self.permits)).seats(SEATS);
        let _limit = arena.open();
        let lines = self.groups.iter().map(Group::askers).sum();
        let file = arena.logs().join("sheet");
        let sheet = Sheet::map(&file, lines);
        let job = arena
            .job(CLIENT)
            .set("as", "it-is")
            .set("sheet", file.display())
            .set("lines", lines)
            .set("hold-us", self.hold.as_micros());
        let mut pool = WorkerPool::new(exe);
        let mut askers: Vec<Group> = Vec::new();
        for &group in &self.groups {
            let work = match (group.tries, group.tasks) {
                (true, _) => "tryer",
                (false, 0) => "askers",
                (false, _) => "asking-tasks",
            };
            let job = job.clone().set("work", work).set("cost", group.cost).set("tasks", group.tasks);
            let job = job.set("pause-us", group.pause.as_micros());
            for _ in 0..group.processes {
                pool.spawn(&job.clone().set("first", askers.len()));
                askers.extend(std::iter::repeat_n(group, group.tasks.max(1)));
            }
        }
        pool.start();
        sheet.start_at(shm_lib::now().as_nanos());
        let heartbeat = Heartbeat::start();
        std::thread::sleep(self.time);
        let now = shm_lib::now().as_nanos();
        let lines: Vec<Asking> = (0..lines).map(|asker| sheet.asking(asker)).collect();
        pool.kill_all();
        self.shares(&askers, &lines, now, heartbeat.longest_stall())
    }

    fn shares(&self, askers: &[Group], lines: &[Asking], now: u64, stall: Duration) -> Shares {
        let waited = |line: &Asking| match line.waiting_since {
            0 => line.longest,
            since => line.longest.max(Duration::from_nanos(now.saturating_sub(since))),
        };
        let all = || askers.iter().zip(lines);
        let waiters = || all().filter(|(asker, _)| !asker.tries);
        let cost: u64 = all().map(|(asker, line)| asker.cost * line.turns).sum();
        let together: u64 = waiters().map(|(asker, _)| asker.cost).sum();
        let most = askers.iter().map(|asker| asker.cost).max().unwrap_or(0);
        let all_turns = lines.iter().map(|line| line.turns).sum::<u64>().max(1);
        let in_all: Duration = lines.iter().map(|line| line.held).sum();
        let held = in_all / all_turns as u32;
        let (unit, used) = match self.permits {
            0 => (self.unit, self.unit * cost as u32),
            permits => (held / permits, in_all / permits),
        };
        Shares {
            turns: waiters().map(|(_, line)| line.turns).collect(),
            tried: all().filter(|(asker, _)| asker.tries).map(|(_, line)| line.turns).sum(),
            delivered: 100.0 * used.as_secs_f64() / self.time.as_secs_f64(),
            held,
            longest: waiters().map(|(_, line)| waited(line)).max().unwrap_or_default(),
            bound: unit * (together + 2 * most) as u32,
            stall,
        }
    }
}
