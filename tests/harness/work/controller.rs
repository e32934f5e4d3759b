//! Changes one of the storm's limiters all the time, and writes down from when to when each change may have happened.

use super::storm::open;
use harness::journal::{Board, Entry, EntryKind, Journal};
use harness::storm::{Call, LIMITERS, RATES, THREADS, Trouble};
use harness::{Job, Rng};
use shm_lib::{Error, ErrorKind};
use std::thread::sleep;
use std::time::Duration;

/// `limiter=`: which one. There is one controller for each at a time, so their entries don't overlap.
pub(crate) fn run(job: &Job) {
    let (dir, logs) = (job.path("dir"), job.path("logs"));
    let place = job.number("slot") as usize * THREADS;
    let limiter = job.number("limiter") as usize;
    let what = &LIMITERS[limiter];
    let mut journal = Journal::resume(&logs, place);
    let board = Board::map(&logs, job.number("places") as usize);
    let mut rng = Rng::new();
    let (mut limit, mut made) = open(what, &dir);
    crate::ready();
    loop {
        sleep(Duration::from_micros(gap(what.trouble, what.name, &mut rng)));
        while board.is_quiet() {
            sleep(Duration::from_millis(2));
        }
        let (call, to) = match what.trouble {
            Trouble::KillsOnly => return,
            Trouble::NoOpChanges => (Call::Change, 0),
            Trouble::Rates => {
                let now = limit.limit().expect("its limit").rate().max();
                (Call::Change, RATES[usize::from(now == RATES[0])])
            }
            Trouble::PauseReset => match rng.below(4) {
                0..=1 => (Call::Pause, 1_000_000 + rng.below(49_000_000)),
                2 => (Call::Resume, 0),
                _ => (Call::Reset, 0),
            },
            Trouble::Recreate => (if rng.below(2) == 0 { Call::Retire } else { Call::Remove }, made),
        };
        let a = shm_lib::now();
        let entry =
            Entry { kind: EntryKind::Control, limiter, extra: call as u64, a: a.as_nanos(), b: 0, c: to };
        let open_entry = journal.begin(entry);
        // Only one controller is stopped at a time, and not for as long as changes wait for one another.
        board.begin(place, call as u64, a.plus(Duration::from_secs(2)).as_nanos());
        let done = match call {
            Call::Change if what.trouble == Trouble::NoOpChanges => {
                limit.policy().and_then(|same| limit.change_policy(same))
            }
            Call::Change => limit.change(to, Duration::from_secs(1)),
            Call::Pause => limit.pause_for(Duration::from_nanos(to)),
            Call::Resume => limit.resume(),
            Call::Reset => limit.reset(),
            Call::Retire => limit.retire(),
            _ => std::fs::remove_file(limit.path()).map_err(|e| Error::new(ErrorKind::Io, e.to_string())),
        };
        board.end(place);
        done.unwrap_or_else(|e| panic!("{}: {call:?}: {e:?}", what.name));
        journal.finish(open_entry, shm_lib::now().as_nanos());
        if what.trouble == Trouble::Recreate {
            drop(limit);
            (limit, made) = open(what, &dir);
        }
    }
}

/// How long it is left alone, in µs.
fn gap(trouble: Trouble, name: &str, rng: &mut Rng) -> u64 {
    match trouble {
        Trouble::NoOpChanges if name == "greedy" => 50_000 + rng.below(950_000),
        Trouble::NoOpChanges => rng.below(10_000),
        Trouble::Rates => 1_000 + rng.below(100_000),
        Trouble::Recreate => 100_000 + rng.below(900_000),
        _ => 1_000 + rng.below(50_000),
    }
}
