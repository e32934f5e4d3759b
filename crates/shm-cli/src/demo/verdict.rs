//! The demo's end: every admission against the limit, over every window.

use crate::demo::Script;
use crate::demo::crew::{Crew, Fate};
use crate::exit::{DONE, FAILED, Failure};
use crate::output::{self, BAD, GOOD, STRONG, duration, paint};
use shm_lib::limit::audit::{self, Admission};
use shm_lib::limit::format_span;
use shm_lib::{Limit, Nanos, Stats};
use std::time::Duration;

/// Says it; status 1 if the limit was not kept.
pub(super) fn say(script: &Script, crew: &Crew, counted: Stats) -> Result<u8, Failure> {
    let mut all: Vec<Admission> = crew.workers().iter().flat_map(|w| w.log().admissions.clone()).collect();
    let denied: u64 = crew.workers().iter().map(|w| w.log().denied).sum();
    let kept = audit::check(script.limit, &mut all);
    if all.is_empty() {
        return Err(Failure::new(
            "nobody was admitted, so there is nothing to check; try a higher --rate or more --seconds",
        ));
    }
    // A turn reserved before the end may come a little after it.
    let last = all.iter().map(|a| a.at).max().unwrap_or_default();
    let length = script.end.max(last.plus(Duration::from_nanos(1))).since(script.start);
    let allowed = most(script.limit, length);
    let mut text = Text(String::new());
    text.line("admitted", format!("{} times, {} processes; denied {denied} times", all.len(), crew.len()));
    text.line(
        "delivered",
        format!(
            "{:.1}% of the most that the limit allows in {:.2}s ({allowed})",
            100.0 * all.len() as f64 / allowed as f64,
            length.as_secs_f64(),
        ),
    );
    incidents(&mut text, crew, &all);
    let unreported = counted.admitted.saturating_sub(all.len() as u64);
    if unreported > 0 {
        text.line("unreported", format!("{unreported}, taken by the killed process just before"));
    }
    for (index, ms) in [10, 100, 1_000].into_iter().enumerate() {
        let window = Duration::from_millis(ms);
        let label = if index == 0 { "fullest" } else { "" };
        let held = fullest(&all, window);
        text.line(
            label,
            format!("{:>5}: {held} of at most {}", format_span(window), most(script.limit, window)),
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

/// What was done to processes, and that the others went on.
fn incidents(text: &mut Text, crew: &Crew, all: &[Admission]) {
    let during = |from: Nanos, to: Nanos| all.iter().filter(|a| (from..to).contains(&a.at)).count();
    for worker in crew.workers() {
        match worker.fate {
            Fate::Killed(_) => text.line("killed", format!("pid {}: nobody noticed", worker.pid)),
            Fate::Resumed(from, to) => text.line(
                "stopped",
                format!(
                    "pid {} for {}: nobody noticed, {} were admitted meanwhile",
                    worker.pid,
                    duration::short(to.since(from)),
                    during(from, to),
                ),
            ),
            Fate::Works | Fate::Stopped(_) => {}
        }
    }
}

/// The most that a window of this length may hold: fewer than `burst + length·max/per`.
fn most(limit: Limit, length: Duration) -> u64 {
    let per = limit.rate().per().as_nanos();
    ((u128::from(limit.burst()) * per + length.as_nanos() * u128::from(limit.rate().max()) - 1) / per) as u64
}

/// The most that any window of this length did hold. The list is in order of time.
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
    fn windows_are_counted_as_the_limit_means_them() {
        let limit = Limit::patient("2/10ns".parse().unwrap());
        let all: Vec<_> = [0, 5, 10, 15].map(|ns| Admission { at: Nanos::from_nanos(ns), tokens: 1 }).into();
        let ten = Duration::from_nanos(10);
        assert_eq!((fullest(&all, ten), most(limit, ten)), (2, 2));
        let eleven = Duration::from_nanos(11);
        assert_eq!((fullest(&all, eleven), most(limit, eleven)), (3, 3));
    }
}
