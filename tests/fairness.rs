//! Askers that ask again as soon as they have had their turn: all get the same share, and nobody waits for longer than it
//! takes to serve all others.

use harness::load::fairness::{Fairness, Shares};
use harness::{alone, shout};
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const TIME: Duration = Duration::from_secs(4);
/// Of the mean share, in per cent.
const SMALLEST: f64 = 70.0;
const GREATEST: f64 = 130.0;
/// Of what is possible, in per cent. Each turn ends with a sleep, which takes longer than its time.
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

/// All of them at once, each on a limiter of its own.
fn judge(all: Vec<Fairness>) {
    let _alone = alone();
    let complaints: Vec<String> = std::thread::scope(|scope| {
        let run = |what: Fairness| {
            let what = Fairness { time: TIME, ..what };
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
                complaints(&what, &shares)
            })
        };
        let running: Vec<_> = all.into_iter().map(run).collect();
        running.into_iter().flat_map(|one| one.join().expect("a measurement")).collect()
    });
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn processes_share_permits_evenly() {
    judge(Fairness::among_processes());
}

#[test]
fn tasks_share_permits_and_turns_evenly() {
    judge(Fairness::among_tasks());
}

#[test]
fn small_and_large_requests_get_the_same_number_of_turns() {
    judge(Fairness::among_costs());
}

#[test]
fn a_waiter_is_served_beside_callers_of_try_acquire() {
    judge(Fairness::beside_tries());
}
