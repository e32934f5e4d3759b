//! `shm-limit demo`: processes compete for one limiter, one of them is killed and one is stopped; then every admission is checked.

mod display;
mod verdict;
mod worker;
mod workers;

use crate::args::{Demo, DemoWorker};
use crate::exit::{DONE, Failure};
use crate::signals::SignalCatcher;
use display::Display;
use nix::sys::signal::Signal;
use shm_lib::{Directory, Limit, Nanos, RateLimit, now};
use std::io;
use std::path::Path;
use std::time::Duration;
use worker::Assignment;
use workers::{Fate, Workers};

const NAME: &str = "demo";
/// Enough time to start all processes before the demo begins.
const HEAD_START: Duration = Duration::from_millis(150);
const FRAME: Duration = Duration::from_millis(100);

/// When things happen in a demo.
struct Timeline {
    limit: Limit,
    start: Nanos,
    end: Nanos,
    /// A process is killed.
    kill: Nanos,
    /// Another process is stopped.
    stop: Nanos,
    /// The stopped process is resumed.
    resume: Nanos,
}

impl Timeline {
    fn new(limit: Limit, length: Duration) -> Timeline {
        let start = now().plus(HEAD_START);
        let at = |tenths: u32| start.plus(length * tenths / 10);
        Timeline { limit, start, end: at(10), kill: at(3), stop: at(4), resume: at(7) }
    }
}

/// Runs the demo; the exit status tells whether the limit was kept.
pub(crate) fn demo(args: &Demo) -> Result<u8, Failure> {
    let limit = Limit::with_burst(args.rate, args.burst)?;
    let signals = SignalCatcher::begin().map_err(|e| Failure::new(format!("cannot catch signals: {e}")))?;
    let ended = perform(args, limit, &signals);
    // Everything is cleaned up now, also after an error.
    signals.end();
    ended
}

fn perform(args: &Demo, limit: Limit, signals: &SignalCatcher) -> Result<u8, Failure> {
    let place = temporary_directory()
        .map_err(|e| Failure::new(format!("cannot create a directory for the demo: {e}")))?;
    let limiter = RateLimit::builder(NAME)
        .directory(place.path())
        .burst(limit.burst())
        .open(args.rate.max(), args.rate.per())?;
    let timeline = Timeline::new(limit, Duration::from_secs(args.seconds));
    let mut workers = Workers::start(args.workers as usize, &limiter, place.path(), &timeline, signals)
        .map_err(|e| Failure::new(format!("cannot start the demo's processes: {e}")))?;
    let mut display = Display::begin(&timeline, workers.len())?;
    let (victim, sleeper) = (0, workers.len() - 2);
    loop {
        let t = now();
        if signals.caught() {
            return Err(Failure::new("interrupted"));
        }
        if t >= timeline.kill && workers.fate(victim) == Fate::Works {
            workers.send(victim, Signal::SIGKILL, Fate::Killed(t));
        }
        if t >= timeline.stop && workers.fate(sleeper) == Fate::Works {
            workers.send(sleeper, Signal::SIGSTOP, Fate::Stopped(t));
        }
        if let (true, Fate::Stopped(from)) = (t >= timeline.resume, workers.fate(sleeper)) {
            workers.send(sleeper, Signal::SIGCONT, Fate::Resumed(from, t));
        }
        display.draw(&workers, t)?;
        if t >= timeline.end {
            break;
        }
        std::thread::sleep(FRAME.min(timeline.end.since(t)));
    }
    workers.finish()?;
    display.end(&workers)?;
    verdict::print(&timeline, &workers, limiter.stats())
}

/// A directory for the demo, in memory if possible; removed when dropped.
fn temporary_directory() -> io::Result<tempfile::TempDir> {
    let prefix = format!("shm-limit-demo-{}-", std::process::id());
    let named = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix);
        builder
    };
    named().tempdir_in(Path::new("/dev/shm")).or_else(|_| named().tempdir())
}

/// An executed process of the demo, which knows only the directory and the name.
pub(crate) fn executed_worker(dir: &Directory, args: &DemoWorker) -> Result<u8, Failure> {
    let limiter = RateLimit::builder(args.name.as_str()).directory(dir.path()).attach()?;
    let assignment = Assignment {
        start: Nanos::from_nanos(args.start_ns),
        end: Nanos::from_nanos(args.end_ns),
        work: args.work_ns.map(Duration::from_nanos),
    };
    worker::work(&limiter, &assignment, &mut io::stdout().lock())?;
    Ok(DONE)
}
