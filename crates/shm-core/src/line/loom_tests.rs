//! Every interleaving of small scenarios of the line, by loom: turns that are charged, claimed, undone and lost, and
//! plans made while another process wakes the sleeper. Run by `cargo xtask test loom`.
//!
//! The steps between those protocols are in `limiter::wait`, which needs a file; they are repeated here in short form.

use super::places::{Front, Places};
use super::turns::{Charge, ReadyTurn};
use crate::clock::Nanos;
use crate::commit::loom_tests::{Ring, bucket, keep, now};
use crate::commit::{GenerationState, Verdict, WordState};
use crate::layout::{Place, TURNS, TurnTable};
use crate::seat::simulated_locks::SimulatedLocks;
use crate::seat::{HolderId, TakesLocks, begin, claim, has_ended};
use crate::sync::{AtomicU64, Ordering, fence};
use loom::sync::Arc;
use loom::thread;

const PLACES: usize = 2;
const FIRST: HolderId = HolderId { seat: 0, tenure: 1 };
const SECOND: HolderId = HolderId { seat: 1, tenure: 1 };
/// A time at which the second turn has come: the bucket leaks one token per day.
const NEXT_DAY: u64 = 86_400_000_000_000 + 1_000_000;

struct Shared {
    ring: Ring,
    turns: TurnTable,
    occupied: [AtomicU64; 1],
    places: [Place; PLACES],
    permits: [AtomicU64; 1],
    /// The locks of the first two tenures of each place.
    locks: SimulatedLocks<PLACES, 2>,
    /// A clock that advances concurrently.
    time: AtomicU64,
}

impl Shared {
    /// A limiter with this burst and an empty line.
    fn new(burst: u64) -> Arc<Shared> {
        let shared = Shared {
            ring: Ring::new(),
            turns: TurnTable::model(),
            occupied: [AtomicU64::new(0)],
            places: std::array::from_fn(|_| Place::model()),
            permits: [AtomicU64::new(0)],
            locks: SimulatedLocks::new(),
            time: AtomicU64::new(now().as_nanos()),
        };
        shared.words().initialise(&keep(bucket(burst)));
        Arc::new(shared)
    }

    fn words(&self) -> WordState<'_> {
        WordState(self.ring.generations())
    }

    fn line(&self) -> Places<'_> {
        Places { occupied: &self.occupied, places: &self.places, limits: 1 }
    }

    /// Charges a turn and makes it ready, as a filling process does.
    fn fill(&self, by: HolderId) -> Option<ReadyTurn> {
        let filling = self.turns.begin(by)?;
        let slot = filling.slot();
        let latest = Nanos::from_nanos(u64::MAX >> 1);
        let (at, charge) = match self.words().reserve(1, latest, true, &now).unwrap() {
            Verdict::Admitted { at, epoch, state, .. } => {
                (at, Charge { epoch, before: 0, after: state, costs: [1; 4], charged: [0; 4] })
            }
            Verdict::Denied { .. } => panic!("a year is long enough"),
        };
        self.turns.publish(filling, at.as_nanos(), &charge);
        self.turns.ready().all().iter().find(|turn| turn.slot == slot).copied()
    }

    /// Publishes a turn without a charge, identified by its costs.
    fn publish(&self, by: HolderId, tag: u64) -> bool {
        let Some(filling) = self.turns.begin(by) else { return false };
        self.turns.publish(filling, tag, &charge(tag));
        true
    }

    /// Takes any turn; returns its instant, and the charge that was read before.
    fn take_any(&self) -> Option<(u64, Charge)> {
        self.turns.ready().all().iter().find_map(|turn| {
            let charge = self.turns.charge_of(turn);
            self.turns.take(turn).then_some((turn.at, charge))
        })
    }

    /// Like `undo_word`: returns whether it was taken, and whether it was undone exactly.
    fn undo(&self, turn: &ReadyTurn) -> (bool, bool) {
        let charge = self.turns.charge_of(turn);
        if !self.turns.take(turn) {
            return (false, false);
        }
        if self.words().cancel(charge.epoch, charge.after, 1) {
            return (true, true);
        }
        let at = Nanos::from_nanos(turn.at);
        self.words().refund(charge.epoch, at, Some(charge.after), 1, &now);
        (true, false)
    }

    /// Tokens available at this instant.
    fn available(&self, at: u64) -> u64 {
        self.words().status(&|| Nanos::from_nanos(at)).unwrap().0.unwrap().available
    }

    /// Reads the clock; synchronizes with whatever happened before it was set.
    fn time(&self) -> Nanos {
        Nanos::from_nanos(self.time.fetch_or(0, Ordering::AcqRel))
    }

    fn stand(&self, place: usize, ticket: u64) {
        self.line().write(place, &Front { ticket, behind: 0, newest: ticket, costs: [1; 4], epoch: 1 });
        self.line().plan(place, now().as_nanos());
        self.line().enter(place);
    }

    /// Like `wake_first_now`, after something has become free.
    fn wake_first(&self) {
        fence(Ordering::SeqCst);
        let now = now().as_nanos();
        if let Some(first) = self.line().first(now)
            && self.line().advance_plan(&first, now)
        {
            self.places[first.place].bell.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Like a thread that is about to sleep for long, unless it finds something. Returns the value of the bell if it
    /// sleeps.
    fn sleeps_unless(&self, place: usize, finds: impl Fn() -> bool) -> Option<u64> {
        loop {
            let until = 1_000_000_000;
            self.line().plan(place, until);
            let seen = self.places[place].bell.load(Ordering::SeqCst);
            if finds() {
                return None;
            }
            if self.line().has_plan(place, until) {
                return Some(seen);
            }
        }
    }

    fn is_rung(&self, place: usize, since: u64) -> bool {
        self.places[place].bell.load(Ordering::SeqCst) != since
    }

    /// Like `clear_if_dead`.
    fn clear_if_dead(&self, place: usize) {
        let holder = &self.places[place].holder;
        let id = HolderId { seat: place, tenure: holder.tenure.load(Ordering::Acquire) };
        if has_ended(holder, id, &mut &self.locks).unwrap() {
            self.line().leave(place);
            self.turns.free_stuck(|filler| filler == id);
        }
    }
}

fn charge(tag: u64) -> Charge {
    Charge { epoch: tag, before: tag, after: tag, costs: [tag; 4], charged: [tag; 4] }
}

fn bounded(preemptions: usize, scene: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(scene);
}

#[test]
fn only_one_claimant_gets_a_turn_and_reads_its_charge() {
    loom::model(|| {
        let shared = Shared::new(1);
        let filler = {
            let s = shared.clone();
            thread::spawn(move || s.publish(FIRST, 7))
        };
        let other = {
            let s = shared.clone();
            thread::spawn(move || s.take_any())
        };
        let mine = shared.take_any();
        let theirs = other.join().unwrap();
        assert!(filler.join().unwrap());
        let rest = shared.take_any();
        let taken: Vec<_> = [mine, theirs, rest].into_iter().flatten().collect();
        assert_eq!(taken, [(7, charge(7))]);
    });
}

#[test]
fn a_turn_is_claimed_or_undone() {
    loom::model(|| {
        let shared = Shared::new(1);
        let turn = shared.fill(FIRST).unwrap();
        let claimer = {
            let s = shared.clone();
            thread::spawn(move || s.take_any().is_some())
        };
        let (undone, exactly) = shared.undo(&turn);
        let claimed = claimer.join().unwrap();
        assert!(claimed ^ undone);
        assert_eq!(undone, exactly);
        assert_eq!(shared.available(now().as_nanos()), u64::from(undone));
    });
}

#[test]
fn a_stale_read_cannot_claim_a_refilled_slot() {
    bounded(2, || {
        let shared = Shared::new(1);
        // Only one slot is in use.
        (1..TURNS).for_each(|_| drop(shared.turns.begin(HolderId { seat: 9, tenure: 9 })));
        assert!(shared.publish(FIRST, 1));
        let others = {
            let s = shared.clone();
            thread::spawn(move || {
                let first = s.take_any();
                let filled = s.publish(SECOND, 2);
                (first, filled)
            })
        };
        let mine = shared.take_any();
        let (theirs, filled) = others.join().unwrap();
        let rest = shared.take_any();
        assert!(filled);
        let mut taken: Vec<_> = [mine, theirs, rest]
            .into_iter()
            .flatten()
            .map(|(at, was)| {
                assert_eq!(was, charge(at));
                at
            })
            .collect();
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
    });
}

#[test]
fn a_killed_fillers_slot_is_freed_once() {
    bounded(3, || {
        let shared = Shared::new(1);
        (1..TURNS).for_each(|_| drop(shared.turns.begin(HolderId { seat: 9, tenure: 9 })));
        // Killed while filling.
        drop(shared.turns.begin(FIRST));
        let slow = {
            let s = shared.clone();
            thread::spawn(move || s.turns.free_stuck(|filler| filler == FIRST))
        };
        let next = {
            let s = shared.clone();
            // At the same place, later.
            thread::spawn(move || s.publish(HolderId { tenure: 3, ..FIRST }, 5))
        };
        shared.turns.free_stuck(|id| id == FIRST);
        let early = shared.take_any();
        slow.join().unwrap();
        let filled = next.join().unwrap() || shared.publish(SECOND, 5);
        assert!(filled);
        let taken: Vec<_> = [early, shared.take_any(), shared.take_any()].into_iter().flatten().collect();
        assert_eq!(taken, [(5, charge(5))]);
    });
}

/// A turn one day ahead, while the day passes and the limits are changed. Fails if more than one per day is admitted.
fn is_over_after_a_change(asks_for_the_epoch: bool) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::new(1);
        assert!(matches!(shared.words().reserve(1, now(), false, &now), Ok(Verdict::Admitted { .. })));
        let turn = shared.fill(FIRST).unwrap();
        let charge = shared.turns.charge_of(&turn);
        let changer = {
            let s = shared.clone();
            thread::spawn(move || {
                // It did not find the turn.
                s.words().publish(1, &keep(bucket(1)), &now).unwrap();
                s.words().settle(2, &|| s.time()).unwrap();
            })
        };
        let day = {
            let s = shared.clone();
            thread::spawn(move || s.time.fetch_max(NEXT_DAY, Ordering::AcqRel))
        };
        let admitted = shared.time().as_nanos() >= turn.at
            && shared.turns.take(&turn)
            && (!asks_for_the_epoch || shared.ring.generations().is_current_after_write(charge.epoch));
        changer.join().unwrap();
        day.join().unwrap();
        assert!(u64::from(admitted) + shared.available(NEXT_DAY) <= 1, "two tokens instead of one");
    }
}

#[test]
fn a_turn_of_a_past_epoch_is_not_used() {
    bounded(3, is_over_after_a_change(true));
}

/// Shows that the epoch check is necessary.
#[test]
#[should_panic(expected = "two tokens instead of one")]
fn without_the_epoch_check_a_turn_of_a_past_epoch_is_used() {
    bounded(3, is_over_after_a_change(false));
}

#[test]
fn a_turn_goes_to_a_change_or_a_claim_but_not_both() {
    bounded(3, || {
        let shared = Shared::new(1);
        let turn = shared.fill(FIRST).unwrap();
        let charge = shared.turns.charge_of(&turn);
        let changer = {
            let s = shared.clone();
            thread::spawn(move || {
                s.undo(&turn);
                s.words().publish(1, &keep(bucket(1)), &now).unwrap();
                s.words().settle(2, &now).unwrap();
            })
        };
        let claimed =
            shared.turns.take(&turn) && shared.ring.generations().is_current_after_write(charge.epoch);
        changer.join().unwrap();
        assert!(u64::from(claimed) + shared.available(1_000_000) <= 1);
    });
}

#[test]
fn undoing_a_turn_during_a_charge_returns_no_more_than_it_took() {
    loom::model(|| {
        let shared = Shared::new(2);
        let turn = shared.fill(FIRST).unwrap();
        let taker = {
            let s = shared.clone();
            let take = move || s.words().reserve(1, Nanos::from_nanos(0), false, &now).unwrap();
            thread::spawn(move || matches!(take(), Verdict::Admitted { .. }))
        };
        let (undone, exactly) = shared.undo(&turn);
        assert!(taker.join().unwrap() && undone);
        let left = shared.available(now().as_nanos());
        assert!(left <= 1);
        assert!(left == 1 || !exactly);
    });
}

/// Undone one after another, the latest first, while a reservation is cancelled.
#[test]
fn turns_are_undone_while_a_reservation_is_cancelled() {
    bounded(3, || {
        let shared = Shared::new(1);
        let turns = [shared.fill(FIRST).unwrap(), shared.fill(FIRST).unwrap()];
        let other = {
            let s = shared.clone();
            thread::spawn(move || {
                let latest = Nanos::from_nanos(u64::MAX >> 1);
                match s.words().reserve(1, latest, true, &now).unwrap() {
                    Verdict::Admitted { epoch, state, .. } => s.words().cancel(epoch, state, 1),
                    Verdict::Denied { .. } => panic!("a year is long enough"),
                }
            })
        };
        for turn in turns.iter().rev() {
            shared.undo(turn);
        }
        let cancelled = other.join().unwrap();
        let status = shared.words().status(&now).unwrap().0.unwrap();
        assert!(
            status.used + status.queued >= u64::from(!cancelled),
            "a reservation that was kept is returned"
        );
    });
}

#[test]
fn a_process_about_to_sleep_finds_a_free_permit_or_is_woken() {
    loom::model(|| {
        let shared = Shared::new(1);
        shared.stand(0, 1);
        shared.permits[0].store(1, Ordering::SeqCst);
        let releaser = {
            let s = shared.clone();
            thread::spawn(move || {
                // Like `Permits::give_back`.
                assert!(s.permits[0].compare_exchange(1, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok());
                s.wake_first();
            })
        };
        let asleep = shared.sleeps_unless(0, || shared.permits[0].load(Ordering::SeqCst) == 0);
        releaser.join().unwrap();
        assert!(asleep.is_none_or(|seen| shared.is_rung(0, seen)), "it sleeps despite a free permit");
    });
}

#[test]
fn a_process_that_becomes_first_before_sleeping_sees_it_or_is_woken() {
    loom::model(|| {
        let shared = Shared::new(1);
        shared.stand(0, 1);
        shared.stand(1, 2);
        let front = {
            let s = shared.clone();
            thread::spawn(move || {
                s.line().leave(0);
                s.wake_first();
            })
        };
        let is_first = || shared.line().first(now().as_nanos()).is_some_and(|first| first.place == 1);
        let asleep = shared.sleeps_unless(1, is_first);
        front.join().unwrap();
        assert!(asleep.is_none_or(|seen| shared.is_rung(1, seen)), "it was not woken");
    });
}

#[test]
fn moving_a_plan_forward_wakes_its_process() {
    loom::model(|| {
        let shared = Shared::new(1);
        shared.stand(0, 1);
        let other = {
            let s = shared.clone();
            thread::spawn(move || s.wake_first())
        };
        shared.wake_first();
        let asleep = shared.sleeps_unless(0, || false).unwrap();
        other.join().unwrap();
        // It sleeps as planned, or the bell rang after it had looked.
        assert!(shared.line().has_plan(0, 1_000_000_000) || shared.is_rung(0, asleep));
    });
}

/// The last process to leave undoes the turns, while another joins that needs one.
#[test]
fn a_process_that_joins_while_the_last_one_leaves_gets_a_turn() {
    bounded(2, || {
        let shared = Shared::new(1);
        shared.stand(0, 1);
        let turn = shared.fill(FIRST).unwrap();
        let last = {
            let s = shared.clone();
            thread::spawn(move || {
                s.line().leave(0);
                !s.line().is_occupied() && s.undo(&turn).0
            })
        };
        shared.stand(1, 2);
        let found = shared.take_any();
        let had_to_charge = found.is_none();
        let mine = found.or_else(|| {
            shared.fill(SECOND);
            shared.take_any()
        });
        let undone = last.join().unwrap();
        assert!(mine.is_some());
        assert!(!had_to_charge || undone);
        // At least as much is charged as is used: a turn that the other took back late is lost.
        let status = shared.words().status(&now).unwrap().0.unwrap();
        assert!(status.available == 0 && status.queued <= u64::from(had_to_charge));
    });
}

/// A process slowly clears the place of a dead one; meanwhile the place gets another holder.
#[test]
fn the_next_holder_of_a_dead_place_joins_and_fills() {
    bounded(3, || {
        let shared = Shared::new(1);
        // Joined the line, and was killed while filling.
        let dead = claim(0, &shared.places[0].holder, &mut &shared.locks).unwrap().unwrap();
        begin(&shared.places[0].holder, dead);
        shared.stand(0, 1);
        drop(shared.turns.begin(dead));
        (&shared.locks).unlock(dead);
        let slow = {
            let s = shared.clone();
            thread::spawn(move || s.clear_if_dead(0))
        };
        let next = claim(0, &shared.places[0].holder, &mut &shared.locks).unwrap().expect("it is dead");
        begin(&shared.places[0].holder, next);
        shared.stand(0, 2);
        assert!(shared.publish(next, 5));
        slow.join().unwrap();
        // It looks once more.
        shared.line().reenter(0);
        assert_eq!(shared.line().all().count(), 1);
        assert_eq!(shared.take_any(), Some((5, charge(5))));
        // And the dead process's slot is not lost.
        shared.turns.free_stuck(|filler| filler == dead);
        assert!((0..TURNS).all(|_| shared.turns.begin(next).is_some()));
    });
}
