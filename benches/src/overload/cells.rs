//! The measurements of an overloaded limiter: all of them, those that are chosen, and those that run at the same time.

use harness::load::kind::{FAST, KINDS, Kind};
use harness::load::overload::{Overload, Way};
use std::time::Duration;

const TIME: Duration = Duration::from_secs(10);
const QUICK: Duration = Duration::from_secs(5);
/// How many clients per second may arrive in measurements that run at once, where a client is a process or else a thread or
/// a task: two processors are then about half busy.
const PROCESSES: u64 = 450;
const TASKS: u64 = 1_500;

/// A measurement.
#[derive(Clone)]
pub(crate) struct Cell {
    pub(crate) what: Overload,
}

impl Cell {
    fn new(way: Way, kind: Kind, times: u64, processes: usize) -> Cell {
        Cell { what: Overload { kind, way, times, time: TIME, processes } }
    }

    /// The words that name it.
    fn words(&self) -> [String; 3] {
        [self.what.way.name().to_owned(), self.what.kind.name.to_owned(), format!("{}x", self.what.times)]
    }

    pub(crate) fn needs_the_command(&self) -> bool {
        self.what.way == Way::Command
    }

    /// The share that this measurement takes of what may run at once.
    fn share(&self) -> f64 {
        let offered = (self.what.times * self.what.kind.per_second) as f64;
        offered / if self.what.way.is_a_process() { PROCESSES } else { TASKS } as f64
    }
}

/// The first columns of its line.
pub(crate) fn columns(cell: &Cell) -> [String; 3] {
    let (what, limiter) = (cell.what, cell.what.kind.name);
    let way = match what.way {
        Way::Deadline => "deadline",
        Way::Dropped => "dropped future",
        Way::Request => "dropped request, `shm-tower`",
        Way::Terminated => "SIGTERM",
        Way::Killed => "SIGKILL",
        Way::Command => "SIGTERM to `shm-limit acquire`",
    };
    let limiter = match limiter {
        "patient" => "20/s, patient",
        "burst" => "20/s, burst 10",
        "greedy" => "20/s, greedy",
        "window" => "fixed window, 20 per second",
        "two-limits" => "two limits, 20/s and 1200/m",
        "permits" => "4 permits, held 200 ms",
        "fast" => "1000/s, patient, 16 processes",
        other => other,
    };
    [way.to_owned(), limiter.to_owned(), format!("{} ×", what.times)]
}

fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for way in Way::ALL {
        for times in [2, 10] {
            for kind in KINDS {
                cells.push(Cell::new(way, kind, times, 8));
            }
        }
        if way == Way::Dropped {
            cells.extend([2, 10].map(|times| Cell::new(way, FAST, times, 16)));
        }
    }
    // The command starts slowly, and `acquire` keeps no permit.
    cells.retain(|cell| !cell.needs_the_command() || (cell.what.times == 2 && cell.what.kind.permits == 0));
    cells
}

/// The measurements that the words name. A word names a way to leave, a limiter or a load; of each sort that the words name, a
/// measurement has one.
pub(crate) fn choose(words: &[&str]) -> Vec<Cell> {
    let quick = words.contains(&"--quick");
    let words: Vec<&str> = words.iter().copied().filter(|word| *word != "--quick").collect();
    let mut cells = all();
    let known =
        |sort: usize| -> Vec<String> { all().iter().map(|cell| cell.words()[sort].clone()).collect() };
    for sort in 0..3 {
        let known = known(sort);
        let named: Vec<&str> = words.iter().copied().filter(|word| known.iter().any(|k| k == word)).collect();
        cells.retain(|cell| named.is_empty() || named.contains(&cell.words()[sort].as_str()));
    }
    if let Some(unknown) =
        words.iter().find(|word| !(0..3).any(|sort| known(sort).iter().any(|k| k == *word)))
    {
        let mut choice: Vec<String> = (0..3).flat_map(known).collect();
        choice.sort_unstable();
        choice.dedup();
        panic!("no measurement is named {unknown}; choose of: --quick {}", choice.join(" "));
    }
    if quick {
        // One load for each way to leave, so that all of them are done within a minute.
        cells.retain(|cell| cell.what.times == if cell.what.way.is_a_process() { 2 } else { 10 });
        cells.iter_mut().for_each(|cell| cell.what.time = QUICK);
    }
    cells
}

/// Groups the measurements, in their order, so that those of a group can run at once without disturbing one another.
pub(crate) fn batches(cells: Vec<Cell>) -> Vec<Vec<Cell>> {
    let mut batches: Vec<Vec<Cell>> = Vec::new();
    let mut taken = f64::INFINITY;
    for cell in cells {
        let share = cell.share();
        if taken + share > 1.0 {
            batches.push(Vec::new());
            taken = 0.0;
        }
        taken += share;
        batches.last_mut().expect("a batch").push(cell);
    }
    batches
}
