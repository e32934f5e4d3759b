//! Askers that ask again as soon as they have had their turn: all get the same share, and no wait lasts longer than it takes
//! to serve all others.

use harness::load::fairness::{Fairness, Shares};
use harness::load::heartbeat::DISTURBED;
use harness::{alone, shout};
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const TIME: Duration = Duration::from_secs(4);
/// How often a measurement is repeated on a machine that stalls.
const ROUNDS: usize = 4;
/// The smallest and the greatest share that may be, in per cent of the mean share.
const SMALLEST: f64 = 70.0;
const GREATEST: f64 = 130.0;
/// In per cent of what the limiter can deliver. Each holder sleeps, and a sleep lasts longer than its time.
const DELIVERED: f64 = 50.0;
/// A machine that does other work as well makes each turn longer, and once in a while much longer.
const LONGER: f64 = 1.5;
const MARGIN: Duration = Duration::from_millis(250);

fn complaints(what: &Fairness, shares: &Shares) -> Vec<String> {
    let mut all = Vec::new();
    if shares.smallest() < SMALLEST || shares.greatest() > GREATEST {
        all.push(format!("turns of each: {:?}", shares.turns));
    }
    if shares.delivered < DELIVERED {
        all.push(format!("{:.0} % delivered", shares.delivered));
    }
    let most = shares.bound.mul_f64(LONGER) + MARGIN;
    if shares.longest > most {
        all.push(format!("the longest wait was {:?}, and may be {most:?}", shares.longest));
    }
    all.iter().map(|complaint| format!("{}: {complaint}", what.name)).collect()
}

/// Runs all measurements at once, each on a limiter of its own.
fn judge(all: &[Fairness]) {
    let _alone = alone();
    // A machine that stalls gets another chance.
    for rounds_left in (0..ROUNDS).rev() {
        let (complaints, stall) = measure(all);
        if complaints.is_empty() {
            return;
        }
        let disturbed = stall > DISTURBED;
        if !disturbed || rounds_left == 0 {
            panic!("(the machine stalled for up to {stall:?})\n{}", complaints.join("\n"));
        }
        shout(&format!("the machine stalled for {stall:?}: once more"));
    }
}

fn measure(all: &[Fairness]) -> (Vec<String>, Duration) {
    std::thread::scope(|scope| {
        let run = |what: &Fairness| {
            let what = Fairness { time: TIME, ..what.clone() };
            scope.spawn(move || {
                let shares = what.run(WORKER);
                shout(&format!(
                    "{}: {:.0} to {:.0} % of the mean share, the longest wait {:?}, {:.0} % delivered",
                    what.name,
                    shares.smallest(),
                    shares.greatest(),
                    shares.longest,
                    shares.delivered
                ));
                (complaints(&what, &shares), shares.stall)
            })
        };
        let running: Vec<_> = all.iter().map(run).collect();
        let done: Vec<_> = running.into_iter().map(|one| one.join().expect("a measurement")).collect();
        let stall = done.iter().map(|(_, stall)| *stall).max().unwrap_or_default();
        (done.into_iter().flat_map(|(complaints, _)| complaints).collect(), stall)
    })
}

#[test]
fn processes_share_permits_evenly() {
    judge(&Fairness::among_processes());
}

#[test]
fn tasks_share_permits_and_turns_evenly() {
    judge(&Fairness::among_tasks());
}

#[test]
fn small_and_large_requests_get_the_same_number_of_turns() {
    judge(&Fairness::among_costs());
}

#[test]
fn a_waiter_is_served_beside_callers_of_try_acquire() {
    judge(&Fairness::beside_tries());
}
