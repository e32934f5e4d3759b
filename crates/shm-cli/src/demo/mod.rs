//! `shm-limit demo`: processes hammer one limiter, one is killed, one is stopped; then every admission is checked.

mod crew;
mod draw;
mod verdict;
mod worker;

use crate::args::{Demo, DemoWorker};
use crate::exit::{DONE, Failure};
use crate::signals::SignalCatcher;
use crew::{Crew, Fate};
use draw::Display;
use nix::sys::signal::Signal;
use shm_lib::{Directory, Limit, Nanos, RateLimit, now};
use std::io;
use std::path::Path;
use std::time::Duration;
use worker::Shift;

const NAME: &str = "demo";
/// Enough for all processes to be there when it begins.
const HEAD_START: Duration = Duration::from_millis(150);
const FRAME: Duration = Duration::from_millis(100);

/// What happens in a demo, and when.
struct Script {
    limit: Limit,
    start: Nanos,
    end: Nanos,
    /// Somebody is killed.
    kill: Nanos,
    /// Somebody is stopped.
    stop: Nanos,
    /// And goes on.
    go_on: Nanos,
}

impl Script {
    fn new(limit: Limit, length: Duration) -> Script {
        let start = now().plus(HEAD_START);
        let at = |tenths: u32| start.plus(length * tenths / 10);
        Script { limit, start, end: at(10), kill: at(3), stop: at(4), go_on: at(7) }
    }
}

/// Shows it; the exit status says whether the limit was kept.
pub(crate) fn demo(args: &Demo) -> Result<u8, Failure> {
    let limit = Limit::with_burst(args.rate, args.burst)?;
    let signals = SignalCatcher::begin().map_err(|e| Failure::new(format!("cannot catch signals: {e}")))?;
    let ended = perform(args, limit, &signals);
    // Everything is cleaned up by now, whatever happened.
    signals.end();
    ended
}

fn perform(args: &Demo, limit: Limit, signals: &SignalCatcher) -> Result<u8, Failure> {
    let place = stage().map_err(|e| Failure::new(format!("can't make a directory for the demo: {e}")))?;
    let limiter = RateLimit::builder(NAME)
        .directory(place.path())
        .burst(limit.burst())
        .open(args.rate.max(), args.rate.per())?;
    let script = Script::new(limit, Duration::from_secs(args.seconds));
    let mut crew = Crew::hire(args.workers as usize, &limiter, place.path(), &script, signals)
        .map_err(|e| Failure::new(format!("can't start the demo's processes: {e}")))?;
    let mut picture = Display::begin(&script, crew.len())?;
    let (victim, sleeper) = (0, crew.len() - 2);
    loop {
        let t = now();
        if signals.caught() {
            return Err(Failure::new("interrupted"));
        }
        if t >= script.kill && crew.fate(victim) == Fate::Works {
            crew.send(victim, Signal::SIGKILL, Fate::Killed(t));
        }
        if t >= script.stop && crew.fate(sleeper) == Fate::Works {
            crew.send(sleeper, Signal::SIGSTOP, Fate::Stopped(t));
        }
        if let (true, Fate::Stopped(from)) = (t >= script.go_on, crew.fate(sleeper)) {
            crew.send(sleeper, Signal::SIGCONT, Fate::Resumed(from, t));
        }
        picture.draw(&crew, t)?;
        if t >= script.end {
            break;
        }
        std::thread::sleep(FRAME.min(script.end.since(t)));
    }
    crew.finish()?;
    picture.end(&crew)?;
    verdict::say(&script, &crew, limiter.stats())
}

/// A directory of the demo's own, in memory if possible; removed when dropped.
fn stage() -> io::Result<tempfile::TempDir> {
    let prefix = format!("shm-limit-demo-{}-", std::process::id());
    let named = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix);
        builder
    };
    named().tempdir_in(Path::new("/dev/shm")).or_else(|_| named().tempdir())
}

/// An executed process of the demo: knows the directory and the name, and nothing else.
pub(crate) fn executed_worker(dir: &Directory, args: &DemoWorker) -> Result<u8, Failure> {
    let limiter = RateLimit::builder(args.name.as_str()).directory(dir.path()).attach()?;
    let shift = Shift {
        start: Nanos::from_nanos(args.start_ns),
        end: Nanos::from_nanos(args.end_ns),
        work: args.work_ns.map(Duration::from_nanos),
    };
    worker::work(&limiter, &shift, &mut io::stdout().lock())?;
    Ok(DONE)
}
