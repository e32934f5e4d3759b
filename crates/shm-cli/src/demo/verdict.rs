//! The end of the demo: every admission is checked against the limit, over every window.

use crate::demo::Timeline;
use crate::demo::workers::{Fate, Workers};
use crate::exit::{DONE, FAILED, Failure};
use crate::output::{self, BAD, GOOD, STRONG, count, duration, paint};
use shm_lib::limit::audit::{self, Admission};
use shm_lib::limit::format_span;
use shm_lib::{Limit, Nanos, Stats};
use std::time::Duration;

/// Prints the verdict; status 1 if the limit was not kept.
pub(super) fn print(timeline: &Timeline, workers: &Workers, counted: Stats) -> Result<u8, Failure> {
    let mut all: Vec<Admission> = workers.workers().iter().flat_map(|w| w.log().admissions.clone()).collect();
    let denied: u64 = workers.workers().iter().map(|w| w.log().denied).sum();
    let kept = audit::check(timeline.limit, &mut all);
    if all.is_empty() {
        return Err(Failure::new(
            "no request was admitted, so there is nothing to check; try a higher --rate or more --seconds",
        ));
    }
    // A waiting caller may be admitted a little after the end.
    let last = all.iter().map(|a| a.at).max().unwrap_or_default();
    let length = timeline.end.max(last.plus(Duration::from_nanos(1))).since(timeline.start);
    let allowed = most(timeline.limit, length);
    let mut text = Text(String::new());
    text.line(
        "admitted",
        format!(
            "{}, by {} processes; denied {}",
            count(all.len() as u64, "request"),
            workers.len(),
            count(denied, "request")
        ),
    );
    text.line(
        "delivered",
        format!(
            "{:.1}% of the most that the limit allows in {:.2}s ({allowed})",
            100.0 * all.len() as f64 / allowed as f64,
            length.as_secs_f64(),
        ),
    );
    incidents(&mut text, workers, &all);
    let unreported = counted.admitted.saturating_sub(all.len() as u64);
    if unreported > 0 {
        text.line("unreported", format!("{unreported}, admitted for the killed process just before its end"));
    }
    for (index, ms) in [10, 100, 1_000].into_iter().enumerate() {
        let window = Duration::from_millis(ms);
        let label = if index == 0 { "fullest" } else { "" };
        let held = fullest(&all, window);
        text.line(
            label,
            format!("{:>5}: {held} of at most {}", format_span(window), most(timeline.limit, window)),
        );
    }
    let verdict = match &kept {
        Ok(()) => paint(GOOD, "yes"),
        Err(over) => paint(BAD, format!("NO: {over}")),
    };
    text.0 += &format!("\n{}: {verdict}\n", paint(STRONG, "limit kept in every window of every length"));
    output::print(&text.0)?;
    Ok(if kept.is_ok() { DONE } else { FAILED })
}

struct Text(String);

impl Text {
    fn line(&mut self, label: &str, value: String) {
        self.0 += &format!("{label:<11} {value}\n");
    }
}

/// What was done to processes, and how many requests of others were admitted meanwhile.
fn incidents(text: &mut Text, workers: &Workers, all: &[Admission]) {
    let during = |from: Nanos, to: Nanos| all.iter().filter(|a| (from..to).contains(&a.at)).count();
    for worker in workers.workers() {
        match worker.fate {
            Fate::Killed(_) => text.line("killed", format!("pid {}: no effect on others", worker.pid)),
            Fate::Resumed(from, to) => text.line(
                "stopped",
                format!(
                    "pid {} for {}: no effect on others, {} admitted meanwhile",
                    worker.pid,
                    duration::short(to.since(from)),
                    count(during(from, to) as u64, "request"),
                ),
            ),
            Fate::Works | Fate::Stopped(_) => {}
        }
    }
}

/// The most admissions that a window of this length may hold: fewer than `burst + length·max/per`.
fn most(limit: Limit, length: Duration) -> u64 {
    let per = limit.rate().per().as_nanos();
    ((u128::from(limit.burst()) * per + length.as_nanos() * u128::from(limit.rate().max()) - 1) / per) as u64
}

/// The most admissions in any window of this length. The list is in order of time.
fn fullest(all: &[Admission], length: Duration) -> usize {
    let mut first = 0;
    let held = all.iter().enumerate().map(|(last, a)| {
        while a.at.since(all[first].at) >= length {
            first += 1;
        }
        last + 1 - first
    });
    held.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_half_open() {
        let limit = Limit::patient("2/10ns".parse().unwrap());
        let all: Vec<_> = [0, 5, 10, 15].map(|ns| Admission { at: Nanos::from_nanos(ns), calls: 1 }).into();
        let ten = Duration::from_nanos(10);
        assert_eq!((fullest(&all, ten), most(limit, ten)), (2, 2));
        let eleven = Duration::from_nanos(11);
        assert_eq!((fullest(&all, eleven), most(limit, eleven)), (3, 3));
    }
}
