//! Every interleaving of small scenes, by loom. Run by `cargo xtask test loom`.

use super::*;
use crate::clock::Nanos;
use crate::layout::{GENERATIONS, Generation, RETIRED};
use crate::limit::{Limit, Rate};
use crate::sync::AtomicU64;
use loom::sync::Arc;
use loom::thread;
use std::time::Duration;

/// The shared part, without a file around it.
struct Shared {
    epoch: AtomicU64,
    ring: [Generation; GENERATIONS],
}

fn word() -> AtomicU64 {
    AtomicU64::new(0)
}

impl Shared {
    fn new(burst: u64) -> Arc<Shared> {
        let shared =
            Arc::new(Shared { epoch: word(), ring: std::array::from_fn(|_| Generation::for_loom(word)) });
        shared.generations().initialise(&terms(burst));
        shared
    }

    fn generations(&self) -> Generations<'_> {
        Generations::for_loom(&self.epoch, &self.ring)
    }
}

/// So slow that time plays no part: what counts is the burst.
fn terms(burst: u64) -> Terms {
    let rate = Rate::new(1, Duration::from_secs(86_400)).unwrap();
    Terms { limit: Limit::with_burst(rate, burst).unwrap(), since: at(0), not_before: None, forget: false }
}

fn at(ns: u64) -> Nanos {
    Nanos::from_nanos(ns)
}

fn now() -> Nanos {
    at(10)
}

/// Whether one token was admitted at once.
fn take(shared: &Shared) -> bool {
    loop {
        match shared.generations().reserve(1, at(0), now) {
            Ok(decision) => return matches!(decision, Decision::Admitted { .. }),
            // The limiter heals this under the control lock; in these scenes it must not happen.
            Err(halt) => panic!("{halt:?}"),
        }
    }
}

fn available(shared: &Shared) -> u64 {
    shared.generations().outlook(now).unwrap().0.available
}

#[test]
fn two_takers_never_share_a_token() {
    loom::model(|| {
        let shared = Shared::new(1);
        let other = {
            let s = shared.clone();
            thread::spawn(move || take(&s))
        };
        let mine = take(&shared);
        assert!(mine ^ other.join().unwrap());
    });
}

#[test]
fn a_change_forgets_and_invents_no_admission() {
    loom::model(|| {
        let shared = Shared::new(3);
        let other = {
            let s = shared.clone();
            thread::spawn(move || u64::from(take(&s)))
        };
        // The changer dies right after publishing: nobody but the takers can finish it.
        let changer = {
            let s = shared.clone();
            thread::spawn(move || s.generations().publish(1, &terms(3), now).unwrap())
        };
        let taken = u64::from(take(&shared)) + other.join().unwrap();
        changer.join().unwrap();
        assert_eq!(taken, 2);
        assert_eq!(available(&shared), 3 - taken);
    });
}

#[test]
fn two_changes_while_one_takes() {
    loom::model(|| {
        let shared = Shared::new(2);
        let changer = {
            let s = shared.clone();
            thread::spawn(move || {
                s.generations().publish(1, &terms(2), now).unwrap();
                s.generations().publish(2, &terms(2), now).unwrap();
            })
        };
        let taken = u64::from(take(&shared));
        changer.join().unwrap();
        assert_eq!(taken, 1);
        assert!(available(&shared) <= 2 - taken);
        // Only a taker that slept through the whole ring may be charged twice.
        assert_eq!(available(&shared), 1);
    });
}

#[test]
fn a_sleeper_through_the_whole_ring_is_never_uncharged() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let shared = Shared::new(3);
        let changer = {
            let s = shared.clone();
            thread::spawn(move || {
                for epoch in 1..=GENERATIONS as u64 {
                    s.generations().publish(epoch, &terms(3), now).unwrap();
                }
            })
        };
        let taken = match shared.generations().reserve(1, at(0), now) {
            Ok(Decision::Admitted { .. }) => 1,
            Ok(Decision::Denied { .. }) => 0,
            // A stalled helper froze the current state: nothing was admitted, the limiter republishes.
            Err(Halt::Frozen) => 0,
            Err(halt) => panic!("{halt:?}"),
        };
        changer.join().unwrap();
        match shared.generations().outlook(now) {
            Ok((seen, _)) => assert!(seen.available <= 3 - taken),
            Err(halt) => assert_eq!(halt, Halt::Frozen),
        }
    });
}

#[test]
fn a_cancelled_token_can_be_taken_again_once() {
    loom::model(|| {
        let shared = Shared::new(1);
        let Ok(Decision::Admitted { epoch, tat, .. }) = shared.generations().reserve(1, at(0), now) else {
            panic!()
        };
        let other = {
            let s = shared.clone();
            thread::spawn(move || u64::from(take(&s)))
        };
        let cancelled = shared.generations().cancel(epoch, tat, 1);
        assert!(cancelled);
        let taken = u64::from(take(&shared)) + other.join().unwrap();
        assert!(taken <= 1);
    });
}

#[test]
fn after_retiring_nothing_is_admitted() {
    loom::model(|| {
        let shared = Shared::new(2);
        let other = {
            let s = shared.clone();
            thread::spawn(move || s.generations().reserve(1, at(0), now).is_ok())
        };
        shared.generations().retire();
        assert_eq!(shared.generations().reserve(1, at(0), now), Err(Halt::Retired));
        other.join().unwrap();
        assert!(shared.generations().epoch() & RETIRED != 0);
    });
}
