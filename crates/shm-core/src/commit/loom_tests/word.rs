//! Every interleaving of small scenarios with a state of one word, by loom. Run by `cargo xtask test loom`.

use super::*;
use crate::layout::RETIRED;
use crate::sync::Ordering;
use loom::sync::Arc;
use loom::thread;

/// The shared memory.
struct Shared(Ring);

impl Shared {
    fn new(burst: u64) -> Arc<Shared> {
        let shared = Arc::new(Shared(Ring::new()));
        shared.words().initialise(&config(burst));
        shared
    }

    fn generations(&self) -> Generations<'_> {
        self.0.generations()
    }

    fn words(&self) -> WordState<'_> {
        WordState(self.generations())
    }
}

fn config(burst: u64) -> Config {
    keep(bucket(burst))
}

/// Whether one token was admitted immediately.
fn take(shared: &Shared) -> bool {
    matches!(shared.words().reserve(1, at(0), false, &now).unwrap(), Verdict::Admitted { .. })
}

fn available(shared: &Shared) -> u64 {
    shared.words().status(&later).unwrap().0.unwrap().available
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
fn a_change_neither_loses_nor_invents_admissions() {
    loom::model(|| {
        let shared = Shared::new(3);
        let other = {
            let s = shared.clone();
            thread::spawn(move || u64::from(take(&s)))
        };
        // The changer dies right after publishing: only the takers can finish it.
        let changer = {
            let s = shared.clone();
            thread::spawn(move || s.words().publish(1, &config(3), &now).unwrap())
        };
        let taken = u64::from(take(&shared)) + other.join().unwrap();
        changer.join().unwrap();
        assert_eq!(taken, 2);
        assert_eq!(available(&shared), 3 - taken);
    });
}

#[test]
fn two_changes_during_an_admission_charge_it_once() {
    loom::model(|| {
        let shared = Shared::new(2);
        let changer = {
            let s = shared.clone();
            thread::spawn(move || {
                s.words().publish(1, &config(2), &now).unwrap();
                s.words().publish(2, &config(2), &now).unwrap();
            })
        };
        let taken = u64::from(take(&shared));
        changer.join().unwrap();
        assert_eq!(taken, 1);
        // Only a taker that stalled for a full ring cycle may be charged twice.
        assert_eq!(available(&shared), 2 - taken);
    });
}

#[test]
fn a_decision_stalled_for_a_full_ring_cycle_is_never_uncharged() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let shared = Shared::new(3);
        let changer = {
            let s = shared.clone();
            thread::spawn(move || {
                for epoch in 1..=GENERATIONS as u64 {
                    s.words().publish(epoch, &config(3), &now).unwrap();
                }
            })
        };
        let taken = match shared.words().reserve(1, at(0), false, &now) {
            Ok(Verdict::Admitted { .. }) => 1,
            Ok(Verdict::Denied { .. }) => 0,
            // A stalled helper froze the current state: nothing was admitted, and the limiter republishes.
            Err(CommitError::Frozen) => 0,
            Err(why) => panic!("{why:?}"),
        };
        changer.join().unwrap();
        match shared.words().status(&later) {
            Ok((seen, _)) => assert!(seen.unwrap().available <= 3 - taken),
            Err(why) => assert_eq!(why, CommitError::Frozen),
        }
    });
}

#[test]
fn a_decision_is_never_charged_to_another_generation() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        // Each generation begins with the same state, 0: the only coincidence that can deceive the CAS.
        let anew = Config { starts_empty: true, ..config(3) };
        let shared = Shared::new(3);
        let last = 1 + GENERATIONS as u64;
        let changer = {
            let s = shared.clone();
            thread::spawn(move || {
                for epoch in 1..last {
                    s.words().publish(epoch, &anew, &now).unwrap();
                }
                let _ = s.words().settle(last, &now);
            })
        };
        let decision = shared.words().reserve(1, at(0), false, &now);
        changer.join().unwrap();
        let end = shared.words().status(&later);
        match (decision, end) {
            (Ok(Verdict::Admitted { epoch, .. }), Ok((seen, _))) if epoch == last => {
                assert!(seen.unwrap().available <= 2)
            }
            (Ok(Verdict::Admitted { .. }), Ok((seen, _))) => assert_eq!(seen.unwrap().available, 3),
            (Ok(Verdict::Denied { .. }), _) => panic!("three were free"),
            (Err(why), _) | (_, Err(why)) => assert_eq!(why, CommitError::Frozen),
        }
    });
}

#[test]
fn a_stalled_helper_sets_no_state() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let shared = Shared::new(3);
        let last = 2 + GENERATIONS as u64;
        shared.words().publish(1, &config(3), &now).unwrap();
        let helper = {
            let s = shared.clone();
            thread::spawn(move || s.words().settle(2, &now))
        };
        for epoch in 2..last {
            shared.words().publish(epoch, &config(3), &now).unwrap();
            if epoch == last - 2 && shared.words().reserve(1, at(0), false, &now).is_err() {
                // Frozen by the helper, which the limiter repairs under the control lock: not part of this scenario.
                let _ = helper.join().unwrap();
                return;
            }
        }
        // `last` begins with that one token used, whichever process computes its state.
        let _ = helper.join().unwrap();
        match shared.words().status(&later) {
            Ok((seen, _)) => assert_eq!(seen.unwrap().available, 2),
            Err(why) => assert_eq!(why, CommitError::Frozen),
        }
    });
}

#[test]
fn no_decision_uses_half_of_two_configurations() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        // Generation `e` has burst `e`, and the last one reuses the slot of the first.
        let shared = Shared::new(1);
        let last = 1 + GENERATIONS as u64;
        let reader = {
            let s = shared.clone();
            thread::spawn(move || {
                let g = s.generations();
                let epoch = g.epoch();
                let gcra = g.gcra(epoch);
                if g.is_current(epoch) {
                    assert_eq!(Some(gcra), config(epoch).gcra());
                }
            })
        };
        for epoch in 1..last {
            shared.words().publish(epoch, &config(epoch + 1), &now).unwrap();
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_cancelled_token_can_be_taken_again_once() {
    loom::model(|| {
        let shared = Shared::new(1);
        let Ok(Verdict::Admitted { epoch, state: tat, .. }) = shared.words().reserve(1, at(0), true, &now)
        else {
            panic!()
        };
        let other = {
            let s = shared.clone();
            thread::spawn(move || u64::from(take(&s)))
        };
        let cancelled = shared.words().cancel(epoch, tat, 1);
        assert!(cancelled);
        let taken = u64::from(take(&shared)) + other.join().unwrap();
        assert!(taken <= 1);
    });
}

/// A refund and an admission bring the state back to what it was right after the reservation: it must not be mistaken
/// for that.
#[test]
fn a_reservation_is_not_cancelled_after_a_refund_and_an_admission() {
    loom::model(|| {
        let shared = Shared::new(3);
        let admitted = |cancellable| match shared.words().reserve(1, at(0), cancellable, &now).unwrap() {
            Verdict::Admitted { at, epoch, state, .. } => (at, epoch, state),
            Verdict::Denied { .. } => panic!("three are free"),
        };
        let (first_at, epoch, _) = admitted(false);
        let (_, _, reserved) = admitted(true);
        let other = {
            let s = shared.clone();
            thread::spawn(move || {
                let given = s.words().refund(epoch, first_at, None, 1, &now);
                (!given.is_zero(), u64::from(take(&s)))
            })
        };
        let cancelled = shared.words().cancel(epoch, reserved, 1);
        let (refunded, taken) = other.join().unwrap();
        // Used: the first unless refunded, the second unless cancelled, and the third.
        let used = u64::from(!refunded) + u64::from(!cancelled) + taken;
        assert!(available(&shared) <= 3 - used);
    });
}

#[test]
fn nothing_is_admitted_after_retirement() {
    loom::model(|| {
        let shared = Shared::new(2);
        let other = {
            let s = shared.clone();
            thread::spawn(move || s.words().reserve(1, at(0), false, &now).is_ok())
        };
        shared.generations().retire();
        let state = || shared.generations().slot(1).state.word.load(Ordering::Acquire);
        let last = state();
        assert_eq!(shared.words().reserve(1, at(0), false, &now), Err(CommitError::Retired));
        other.join().unwrap();
        assert_eq!(state(), last, "something was taken after retirement");
        assert!(shared.generations().epoch() & RETIRED != 0);
    });
}

/// The changer died right after publishing, so the previous state is not frozen yet.
#[test]
fn retiring_freezes_both_states_of_an_unfinished_change() {
    loom::model(|| {
        let shared = Shared::new(2);
        let other = {
            let s = shared.clone();
            thread::spawn(move || s.words().reserve(1, at(0), false, &now).is_ok())
        };
        shared.words().publish(1, &config(2), &now).unwrap();
        shared.generations().retire();
        let states = || [1, 2].map(|e| shared.generations().slot(e).state.word.load(Ordering::Acquire));
        let last = states();
        other.join().unwrap();
        assert_eq!(states(), last, "something was taken after retirement");
    });
}

/// Checked within the decision itself: a process that checks before it may be stopped in between.
#[test]
fn a_decision_without_a_permit_never_misses_new_permits() {
    loom::model(|| {
        let shared = Shared::new(2);
        let changer = {
            let s = shared.clone();
            thread::spawn(move || {
                let with_permits = Policy::from(bucket(2)).with_permits(1).unwrap();
                s.words().publish(1, &keep(with_permits), &now).unwrap();
            })
        };
        let taken = match shared.words().take_without_permit(1, &now) {
            Ok(Verdict::Admitted { epoch, .. }) => {
                assert_eq!(epoch, 1, "admitted without a permit");
                1
            }
            Err(CommitError::PermitsInForce) => 0,
            other => panic!("{other:?}"),
        };
        changer.join().unwrap();
        assert_eq!(shared.words().take_without_permit(1, &now), Err(CommitError::PermitsInForce));
        assert_eq!(available(&shared), 2 - taken);
    });
}

#[test]
fn a_limit_that_is_added_again_counts_only_its_own_admissions() {
    loom::model(|| {
        let shared = Shared::new(1);
        let changer = {
            let s = shared.clone();
            thread::spawn(move || {
                s.words().publish(1, &keep(Policy::of_permits(1).unwrap()), &now).unwrap();
                s.words().publish(2, &config(1), &now).unwrap();
            })
        };
        // There is room for one call in each of the three generations.
        let Ok(Verdict::Admitted { epoch, .. }) = shared.words().reserve(1, at(0), false, &now) else {
            panic!("denied");
        };
        changer.join().unwrap();
        assert_eq!(available(&shared), u64::from(epoch != 3));
    });
}
