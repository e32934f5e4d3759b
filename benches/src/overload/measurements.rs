//! The measurements of an overloaded limiter: the full list, filtering, and batches that run at the same time.

use harness::load::kind::{FAST, KINDS, Kind};
use harness::load::overload::{Overload, Way};
use std::time::Duration;

const DURATION: Duration = Duration::from_secs(10);
const QUICK_DURATION: Duration = Duration::from_secs(5);
/// How many clients per second may arrive in measurements that run at the same time, if a client is a process. Two processors
/// are then about half busy.
const PROCESSES: u64 = 450;
/// The same, if a client is a thread or a task.
const TASKS: u64 = 1_500;

#[derive(Clone)]
pub(crate) struct Measurement {
    pub(crate) what: Overload,
}

impl Measurement {
    fn new(way: Way, kind: Kind, times: u64, processes: usize) -> Measurement {
        Measurement { what: Overload { kind, way, times, time: DURATION, processes } }
    }

    /// The three filters that select it: way to leave, limiter, load.
    fn filters(&self) -> [String; 3] {
        [self.what.way.name().to_owned(), self.what.kind.name.to_owned(), format!("{}x", self.what.times)]
    }

    pub(crate) fn needs_the_command(&self) -> bool {
        self.what.way == Way::Command
    }

    /// The share of the machine's capacity that this measurement uses.
    fn share(&self) -> f64 {
        let offered = (self.what.times * self.what.kind.per_second) as f64;
        offered / if self.what.way.is_a_process() { PROCESSES } else { TASKS } as f64
    }
}

/// The first three columns of its row.
pub(crate) fn columns(measurement: &Measurement) -> [String; 3] {
    let (what, limiter) = (measurement.what, measurement.what.kind.name);
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

fn all() -> Vec<Measurement> {
    let mut measurements = Vec::new();
    for way in Way::ALL {
        for times in [2, 10] {
            for kind in KINDS {
                measurements.push(Measurement::new(way, kind, times, 8));
            }
        }
        if way == Way::Dropped {
            measurements.extend([2, 10].map(|times| Measurement::new(way, FAST, times, 16)));
        }
    }
    // The command starts too slowly for the higher load, and its `acquire` holds no permit.
    measurements.retain(|measurement| {
        !measurement.needs_the_command()
            || (measurement.what.times == 2 && measurement.what.kind.permits == 0)
    });
    measurements
}

/// The measurements that the filters select. A filter names a way to leave, a limiter or a load; a measurement must match one
/// filter of each of these kinds for which there is a filter. `--quick` chooses the load, unless a filter does.
pub(crate) fn choose(filters: &[&str]) -> Vec<Measurement> {
    let quick = filters.contains(&"--quick");
    let filters: Vec<&str> = filters.iter().copied().filter(|word| *word != "--quick").collect();
    let mut measurements = all();
    let known = |kind: usize| -> Vec<String> {
        all().iter().map(|measurement| measurement.filters()[kind].clone()).collect()
    };
    for kind in 0..3 {
        let known = known(kind);
        let named: Vec<&str> =
            filters.iter().copied().filter(|word| known.iter().any(|k| k == word)).collect();
        measurements
            .retain(|measurement| named.is_empty() || named.contains(&measurement.filters()[kind].as_str()));
    }
    if let Some(unknown) =
        filters.iter().find(|word| !(0..3).any(|kind| known(kind).iter().any(|k| k == *word)))
    {
        let mut choice: Vec<String> = (0..3).flat_map(known).collect();
        choice.sort_unstable();
        choice.dedup();
        panic!("no measurement is named {unknown}; choose from: --quick {}", choice.join(" "));
    }
    if quick {
        let loads = known(2);
        if !filters.iter().any(|word| loads.iter().any(|load| load == word)) {
            // One load for each way to leave, so that the run takes less than a minute.
            measurements.retain(|measurement| {
                measurement.what.times == if measurement.what.way.is_a_process() { 2 } else { 10 }
            });
        }
        measurements.iter_mut().for_each(|measurement| measurement.what.time = QUICK_DURATION);
    }
    measurements
}

/// Groups the measurements, in order, so that those of a batch can run at the same time without disturbing each other.
pub(crate) fn batches(measurements: Vec<Measurement>) -> Vec<Vec<Measurement>> {
    let mut batches: Vec<Vec<Measurement>> = Vec::new();
    let mut taken = f64::INFINITY;
    for measurement in measurements {
        let share = measurement.share();
        if taken + share > 1.0 {
            batches.push(Vec::new());
            taken = 0.0;
        }
        taken += share;
        batches.last_mut().expect("a batch").push(measurement);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of the measurements that these filters select.
    fn chosen(filters: &[&str]) -> Vec<String> {
        choose(filters).iter().map(|measurement| measurement.filters().join(" ")).collect()
    }

    #[test]
    fn a_quick_run_has_the_load_that_is_named() {
        assert_eq!(chosen(&["--quick", "dropped", "2x", "patient"]), ["dropped patient 2x"]);
        assert_eq!(chosen(&["--quick", "dropped", "patient"]), ["dropped patient 10x"]);
        assert_eq!(chosen(&["dropped", "patient"]), ["dropped patient 2x", "dropped patient 10x"]);
        assert!(choose(&["--quick"]).iter().all(|measurement| measurement.what.time == QUICK_DURATION));
    }

    #[test]
    fn every_measurement_is_selected_by_its_own_names() {
        for measurement in all() {
            let names = measurement.filters();
            let [way, limiter, load] = names.each_ref().map(String::as_str);
            assert_eq!(chosen(&[way, limiter, load]).len(), 1);
            assert_eq!(chosen(&["--quick", way, limiter, load]).len(), 1);
        }
    }
}
