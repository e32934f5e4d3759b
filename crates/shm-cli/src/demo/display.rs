//! The display of a running demo: a block that is redrawn on a terminal, otherwise a line per second.

use crate::demo::Timeline;
use crate::demo::workers::{Fate, Worker, Workers};
use crate::exit::Failure;
use crate::output::{self, BAD, GOOD, STRONG, WEAK, duration, paint};
use anstream::{AutoStream, ColorChoice};
use shm_lib::Nanos;
use shm_lib::limit::format_span;
use std::io::{self, IsTerminal};
use std::time::Duration;
use terminal_size::{Width, terminal_size};

/// The columns beside the bar, the longest fate included.
const FIXED: usize = 66;
/// The shortest bar. On a narrower terminal lines would wrap, and could not be redrawn.
const BAR: usize = 8;

/// The state of the display.
pub(super) struct Display {
    start: Nanos,
    rate: shm_lib::Rate,
    /// The admissions of a process if all got the same number.
    share: f64,
    live: bool,
    bar: usize,
    lines_on_screen: usize,
    seconds_printed: u64,
    fates_printed: Vec<Fate>,
}

impl Display {
    /// Prints what the demo is going to do.
    pub(super) fn begin(timeline: &Timeline, workers: usize) -> Result<Display, Failure> {
        let length = timeline.end.since(timeline.start);
        output::print_line(&format!(
            "One limiter, {}. {workers} processes, {}.\n",
            paint(STRONG, timeline.limit),
            format_span(length),
        ))?;
        let columns = terminal_size().map_or(80, |(Width(columns), _)| usize::from(columns));
        let colours = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
        Ok(Display {
            start: timeline.start,
            rate: timeline.limit.rate(),
            share: timeline.limit.rate().as_per_second() * length.as_secs_f64() / workers as f64,
            live: colours && io::stdout().is_terminal() && columns >= FIXED + BAR,
            bar: columns.saturating_sub(FIXED).min(40),
            lines_on_screen: 0,
            seconds_printed: 0,
            fates_printed: vec![Fate::Works; workers],
        })
    }

    /// Shows the present state.
    pub(super) fn draw(&mut self, workers: &Workers, t: Nanos) -> Result<(), Failure> {
        if self.live { self.redraw(workers, t) } else { self.report(workers, t) }
    }

    /// Shows the final state.
    pub(super) fn end(&mut self, workers: &Workers) -> Result<(), Failure> {
        if self.live {
            self.redraw(workers, shm_lib::now())?;
        }
        output::print_line("")
    }

    fn redraw(&mut self, workers: &Workers, t: Nanos) -> Result<(), Failure> {
        let room = self.bar;
        let head = format!(
            "  {:>7}  {:<8}  {:<5}  {:<room$} {:>8} {:>7}",
            "PID", "STARTED", "ASKS", "ADMITTED", "", "DENIED"
        );
        let mut lines = vec![paint(WEAK, head)];
        lines.extend(workers.workers().iter().map(|worker| self.row(worker)));
        lines.push(String::new());
        lines.push(self.pace(workers, t));
        // Move up to the first line of the block, then redraw each line.
        let up = match self.lines_on_screen {
            0 => String::new(),
            n => format!("\x1b[{n}A"),
        };
        let block: String = lines.iter().map(|line| format!("\r\x1b[2K{line}\n")).collect();
        self.lines_on_screen = lines.len();
        output::print(&(up + &block))
    }

    fn row(&self, worker: &Worker) -> String {
        let log = worker.log();
        let (admitted, room) = (log.admissions.len(), self.bar);
        // Some processes get more than the average.
        let full = (admitted as f64 / (1.6 * self.share) * room as f64).ceil() as usize;
        let bar = "█".repeat(full.min(room));
        let fate = match worker.fate {
            Fate::Works => String::new(),
            Fate::Killed(at) => paint(BAD, format!("killed at {}", duration::short(at.since(self.start)))),
            Fate::Stopped(_) => paint(BAD, "stopped"),
            Fate::Resumed(from, to) => format!("stopped {}", duration::short(to.since(from))),
        };
        let (started, asks) = words(worker);
        format!(
            "  {:>7}  {started:<8}  {asks:<5}  {}{:pad$} {admitted:>8} {:>7}  {fate}",
            worker.pid,
            paint(GOOD, bar),
            "",
            log.denied,
            pad = room - full.min(room),
        )
    }

    /// The rate over the last second, or since the demo began.
    fn pace(&self, workers: &Workers, t: Nanos) -> String {
        let second = Duration::from_secs(1);
        let window = t.since(self.start).min(second);
        let recent: usize = workers
            .workers()
            .iter()
            .map(|w| w.log().admissions.iter().rev().take_while(|a| a.at.plus(window) > t).count())
            .sum();
        let pace = if window.is_zero() { 0.0 } else { recent as f64 / window.as_secs_f64() };
        format!(
            "  {:>5}  {} in the last second; the limit is {}",
            duration::short(t.since(self.start)),
            paint(STRONG, format!("{pace:.0}/s")),
            self.rate,
        )
    }

    fn report(&mut self, workers: &Workers, t: Nanos) -> Result<(), Failure> {
        for (worker, said) in workers.workers().iter().zip(&mut self.fates_printed) {
            if worker.fate == *said {
                continue;
            }
            *said = worker.fate;
            let what = match worker.fate {
                Fate::Works => continue,
                Fate::Killed(_) => "killed",
                Fate::Stopped(_) => "stopped",
                Fate::Resumed(..) => "resumed",
            };
            let (started, asks) = words(worker);
            output::print_line(&format!("      pid {} ({started}, {asks}) {what}", worker.pid))?;
        }
        let seconds = t.since(self.start).as_secs();
        if seconds > self.seconds_printed {
            self.seconds_printed = seconds;
            let (admitted, denied) = workers.workers().iter().fold((0, 0), |(admitted, denied), worker| {
                let log = worker.log();
                (admitted + log.admissions.len(), denied + log.denied)
            });
            output::print_line(&format!("{seconds:>3}s  {admitted} admitted, {denied} denied"))?;
        }
        Ok(())
    }
}

fn words(worker: &Worker) -> (&'static str, &'static str) {
    (if worker.forked { "forked" } else { "started" }, if worker.waits { "waits" } else { "tries" })
}
