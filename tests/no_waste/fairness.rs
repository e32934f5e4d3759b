//! Askers that ask again as soon as they have had their turn: all get the same share, and no wait lasts longer than it takes
//! to serve all others.

use harness::load::fairness::{Fairness, Shares};
use harness::load::rounds::{self, Measured};
use harness::log_uncaptured;
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const TIME: Duration = Duration::from_secs(4);
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

/// Makes all measurements at the same time, each on a limiter of its own.
fn judge(all: &[Fairness]) {
    rounds::judge(all, |what| {
        let what = Fairness { time: TIME, ..what.clone() };
        let shares = what.run(WORKER);
        log_uncaptured(&format!(
            "{}: {:.0} to {:.0} % of the mean share, the longest wait {:?}, {:.0} % delivered",
            what.name,
            shares.smallest(),
            shares.greatest(),
            shares.longest,
            shares.delivered
        ));
        Measured { complaints: complaints(&what, &shares), stall: shares.stall }
    });
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
