//! Askers that ask again at once: how many turns each of them gets, and how long the longest wait is.

use crate::overload::this_program;
use harness::load::fairness::{Fairness, Shares};
use harness::load::heartbeat::DISTURBED;
use std::time::Duration;

const QUICK: Duration = Duration::from_secs(4);
/// How many measurements run at once. Most processes of a measurement sleep.
const AT_ONCE: usize = 3;

/// Prints the table; with `--quick` each measurement is shorter.
pub(crate) fn print(words: &[&str]) {
    let quick = match words {
        [] => false,
        ["--quick"] => true,
        other => panic!("{other:?}: only --quick can be said here"),
    };
    let mut all = Fairness::all();
    if quick {
        all.iter_mut().for_each(|one| one.time = QUICK);
    }
    println!(
        "\n## Fairness\n\nEach process or task asks again as soon as it has had its turn, for {:?}. Shares are those of the \
         askers that wait, in per cent of the mean share. The bound on a wait is a turn of each of them and two of the \
         longest turns more; a turn on a permit takes as long as it was held in the mean (a task's timer rings up to a \
         millisecond late). The waiter beside three processes that call `try_acquire` all the time pauses for 5 ms after \
         each turn.\n",
        all[0].time
    );
    println!(
        "| who, and on what | held | delivered % | smallest share % | greatest share % | longest wait | bound | turns by try_acquire |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let exe = this_program();
    for batch in all.chunks(AT_ONCE) {
        let shares: Vec<Shares> = std::thread::scope(|scope| {
            let running: Vec<_> = batch.iter().map(|one| scope.spawn(|| one.run(exe))).collect();
            running.into_iter().map(|one| one.join().expect("a measurement")).collect()
        });
        for (one, shares) in batch.iter().zip(shares) {
            let tried = if one.groups.iter().any(|group| group.tries) {
                shares.tried.to_string()
            } else {
                String::new()
            };
            let stall = match shares.stall {
                stall if stall > DISTURBED => format!(" (the machine stalled for {} ms)", stall.as_millis()),
                _ => String::new(),
            };
            let held = match one.permits {
                0 => String::new(),
                _ => format!("{:.1} ms", shares.held.as_secs_f64() * 1e3),
            };
            println!(
                "| {} | {held} | {:.0} | {:.0} | {:.0} | {} ms{stall} | {} ms | {tried} |",
                one.name,
                shares.delivered,
                shares.smallest(),
                shares.greatest(),
                shares.longest.as_millis(),
                shares.bound.as_millis()
            );
        }
    }
}
