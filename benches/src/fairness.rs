//! Callers that request again immediately: the share that each gets, and the longest wait.

use crate::overload::this_program;
use harness::load::fairness::{Fairness, Shares};
use harness::load::heartbeat::DISTURBED;
use std::time::Duration;

const QUICK: Duration = Duration::from_secs(4);
/// How many measurements run at the same time. Most processes of a measurement sleep.
const CONCURRENT_MEASUREMENTS: usize = 3;

/// Prints the table; with `--quick` each measurement is shorter.
pub(crate) fn print(words: &[&str]) {
    let quick = match words {
        [] => false,
        ["--quick"] => true,
        other => panic!("unexpected {other:?}; the only option is --quick"),
    };
    let mut all = Fairness::all();
    if quick {
        all.iter_mut().for_each(|measurement| measurement.time = QUICK);
    }
    println!(
        "\n## Fairness\n\nEach process or task requests again as soon as it has had its turn, for {:?}. Shares are those of the \
         waiting callers, in per cent of the mean share. The bound on a wait is one turn of each waiting caller, plus two of the \
         longest turns. A turn on a permit takes as long as the permit was held on average (a task's timer fires up to a \
         millisecond late). The waiter next to three processes that call `try_acquire` in a loop pauses for 5 ms after each \
         turn.\n",
        all[0].time
    );
    println!(
        "| callers and limit | held | delivered % | smallest share % | greatest share % | longest wait | bound | turns by try_acquire |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let exe = this_program();
    for batch in all.chunks(CONCURRENT_MEASUREMENTS) {
        let shares: Vec<Shares> = std::thread::scope(|scope| {
            let running: Vec<_> =
                batch.iter().map(|measurement| scope.spawn(|| measurement.run(exe))).collect();
            running.into_iter().map(|measurement| measurement.join().expect("a measurement")).collect()
        });
        for (measurement, shares) in batch.iter().zip(shares) {
            let tried = if measurement.groups.iter().any(|group| group.tries) {
                shares.tried.to_string()
            } else {
                String::new()
            };
            let stall = match shares.stall {
                stall if stall > DISTURBED => format!(" (the machine stalled for {} ms)", stall.as_millis()),
                _ => String::new(),
            };
            let held = match measurement.permits {
                0 => String::new(),
                _ => format!("{:.1} ms", shares.held.as_secs_f64() * 1e3),
            };
            println!(
                "| {} | {held} | {:.0} | {:.0} | {:.0} | {} ms{stall} | {} ms | {tried} |",
                measurement.name,
                shares.delivered,
                shares.smallest(),
                shares.greatest(),
                shares.longest.as_millis(),
                shares.bound.as_millis()
            );
        }
    }
}
