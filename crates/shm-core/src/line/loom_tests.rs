//! Every interleaving of small scenes of the line, by loom: turns that are charged, claimed, undone and lost, and plans that
//! are made while somebody wakes. Run by `cargo xtask test loom`.
//!
//! What a process does between them is in `limiter::wait`, which needs a file; here it is said again, step by step.

use super::places::{Front, Places};
use super::turns::{Charge, ReadyTurn};
use crate::clock::Nanos;
use crate::commit::loom_tests::{Ring, bucket, keep, now};
use crate::commit::{GenerationState, Verdict, WordState};
use crate::error::Result;
use crate::layout::{Place, TURNS, TurnTable};
use crate::seat::{HolderId, SeesLocks, TakesLocks, begin, claim, has_ended};
use crate::sync::{AtomicU64, Ordering, fence};
use loom::sync::Arc;
use loom::thread;

const PLACES: usize = 2;
const FIRST: HolderId = HolderId { seat: 0, tenure: 1 };
const SECOND: HolderId = HolderId { seat: 1, tenure: 1 };
/// A time at which the turn after the first one has come: a bucket leaks a token a day.
const NEXT_DAY: u64 = 86_400_000_000_000 + 1_000_000;

struct Shared {
    ring: Ring,
    turns: TurnTable,
    standing: [AtomicU64; 1],
    places: [Place; PLACES],
    permits: [AtomicU64; 1],
    /// The kernel's, of the first place's first two tenures: 1 while the holder lives.
    locks: [AtomicU64; 2],
    /// A clock that moves while others run.
    time: AtomicU64,
}

/// As the kernel: what it says of a lock is so at that moment.
struct Kernel<'a>(&'a Shared);

impl Kernel<'_> {
    fn lock(&self, of: HolderId) -> &AtomicU64 {
        &self.0.locks[of.tenure as usize / 2]
    }
}

impl SeesLocks for Kernel<'_> {
    fn is_held(&mut self, by: HolderId) -> Result<bool> {
        Ok(self.lock(by).fetch_or(0, Ordering::AcqRel) == 1)
    }
}

impl TakesLocks for Kernel<'_> {
    fn try_lock(&mut self, id: HolderId) -> Result<bool> {
        Ok(self.lock(id).swap(1, Ordering::AcqRel) == 0)
    }

    fn unlock(&mut self, id: HolderId) {
        self.lock(id).swap(0, Ordering::AcqRel);
    }
}

impl Shared {
    /// A limiter of so many tokens, nobody there.
    fn new(burst: u64) -> Arc<Shared> {
        let shared = Shared {
            ring: Ring::new(),
            turns: TurnTable::model(),
            standing: [AtomicU64::new(0)],
            places: std::array::from_fn(|_| Place::model()),
            permits: [AtomicU64::new(0)],
            locks: std::array::from_fn(|_| AtomicU64::new(0)),
            time: AtomicU64::new(now().as_nanos()),
        };
        shared.words().initialise(&keep(bucket(burst)));
        Arc::new(shared)
    }

    fn words(&self) -> WordState<'_> {
        WordState(self.ring.generations())
    }

    fn line(&self) -> Places<'_> {
        Places { standing: &self.standing, places: &self.places, limits: 1 }
    }

    /// Charges a turn and makes it ready: as a process that fills.
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

    /// A turn that was charged for nothing, told from others by its costs.
    fn publish(&self, by: HolderId, tag: u64) -> bool {
        let Some(filling) = self.turns.begin(by) else { return false };
        self.turns.publish(filling, tag, &charge(tag));
        true
    }

    /// Takes any turn; says what it took it for, and what the turn said of itself.
    fn take_any(&self) -> Option<(u64, Charge)> {
        self.turns.ready().all().iter().find_map(|turn| {
            let charge = self.turns.charge_of(turn);
            self.turns.take(turn).then_some((turn.at, charge))
        })
    }

    /// As `undo_word`: whether it was taken, and undone exactly.
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

    /// Tokens that could be taken at this instant.
    fn available(&self, at: u64) -> u64 {
        self.words().outlook(&|| Nanos::from_nanos(at)).unwrap().0.unwrap().available
    }

    /// The clock: whoever reads it later sees what was done before.
    fn time(&self) -> Nanos {
        Nanos::from_nanos(self.time.fetch_or(0, Ordering::AcqRel))
    }

    fn stand(&self, place: usize, ticket: u64) {
        self.line().write(place, &Front { ticket, behind: 0, newest: ticket, costs: [1; 4], epoch: 1 });
        self.line().plan(place, now().as_nanos());
        self.line().stand(place);
    }

    /// As `wake_first_now`: after something has become free.
    fn wake_first(&self) {
        fence(Ordering::SeqCst);
        let now = now().as_nanos();
        if let Some(first) = self.line().first(now)
            && self.line().hasten(&first, now)
        {
            self.places[first.place].bell.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// As a thread that is about to sleep for long, unless it finds something: whether it does, with the bell as it was.
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

    /// As `clear_if_dead`.
    fn bury(&self, place: usize) {
        let holder = &self.places[place].holder;
        let id = HolderId { seat: place, tenure: holder.tenure.load(Ordering::Acquire) };
        if has_ended(holder, id, &mut Kernel(self)).unwrap() {
            self.line().leave(place);
            self.turns.free_the_lost(|filler| filler == id);
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
fn of_two_who_claim_a_turn_one_has_it_and_knows_its_charge() {
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
fn a_slot_that_was_filled_again_is_not_claimed_by_what_was_read_before() {
    bounded(2, || {
        let shared = Shared::new(1);
        // One slot only is in play.
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
fn a_slot_of_a_killed_filler_is_freed_once_and_its_next_filler_keeps_it() {
    bounded(3, || {
        let shared = Shared::new(1);
        (1..TURNS).for_each(|_| drop(shared.turns.begin(HolderId { seat: 9, tenure: 9 })));
        // Killed in the middle of it.
        drop(shared.turns.begin(FIRST));
        let slow = {
            let s = shared.clone();
            thread::spawn(move || s.turns.free_the_lost(|filler| filler == FIRST))
        };
        let heir = {
            let s = shared.clone();
            // At the same place, later.
            thread::spawn(move || s.publish(HolderId { tenure: 3, ..FIRST }, 5))
        };
        shared.turns.free_the_lost(|id| id == FIRST);
        let early = shared.take_any();
        slow.join().unwrap();
        let filled = heir.join().unwrap() || shared.publish(SECOND, 5);
        assert!(filled);
        let taken: Vec<_> = [early, shared.take_any(), shared.take_any()].into_iter().flatten().collect();
        assert_eq!(taken, [(5, charge(5))]);
    });
}

/// A turn that is a day ahead, while the day passes and the limits are changed. Whether more was admitted than one a day.
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
        assert!(u64::from(admitted) + shared.available(NEXT_DAY) <= 1, "two tokens for one");
    }
}

#[test]
fn a_turn_of_limits_that_are_over_is_not_used() {
    bounded(3, is_over_after_a_change(true));
}

/// That question is needed.
#[test]
#[should_panic(expected = "two tokens for one")]
fn a_turn_of_limits_that_are_over_would_be_used_if_nobody_asked() {
    bounded(3, is_over_after_a_change(false));
}

#[test]
fn a_change_and_a_claim_take_a_turn_once() {
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
fn undone_beside_a_charge_a_turn_gives_back_no_more_than_it_took() {
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

/// Undone one after the other, the latest first, beside a reservation that is given back.
#[test]
fn turns_are_undone_beside_a_reservation_that_is_cancelled() {
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
        let outlook = shared.words().outlook(&now).unwrap().0.unwrap();
        assert!(
            outlook.used + outlook.queued >= u64::from(!cancelled),
            "a reservation that stands is given back"
        );
    });
}

#[test]
fn a_permit_is_found_by_who_is_about_to_sleep_or_rings() {
    loom::model(|| {
        let shared = Shared::new(1);
        shared.stand(0, 1);
        shared.permits[0].store(1, Ordering::SeqCst);
        let releaser = {
            let s = shared.clone();
            thread::spawn(move || {
                // As `Permits::give_back`.
                assert!(s.permits[0].compare_exchange(1, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok());
                s.wake_first();
            })
        };
        let asleep = shared.sleeps_unless(0, || shared.permits[0].load(Ordering::SeqCst) == 0);
        releaser.join().unwrap();
        assert!(asleep.is_none_or(|seen| shared.is_rung(0, seen)), "it sleeps beside a free permit");
    });
}

#[test]
fn who_moves_up_while_it_is_about_to_sleep_sees_it_or_is_woken() {
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
        assert!(asleep.is_none_or(|seen| shared.is_rung(1, seen)), "nobody told it");
    });
}

#[test]
fn a_plan_that_is_moved_forward_is_told() {
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
        // It sleeps as planned, or somebody rang after it had looked.
        assert!(shared.line().has_plan(0, 1_000_000_000) || shared.is_rung(0, asleep));
    });
}

/// The last one to leave undoes the turns, while somebody joins who wants one.
#[test]
fn who_joins_while_the_last_one_leaves_has_a_turn() {
    bounded(2, || {
        let shared = Shared::new(1);
        shared.stand(0, 1);
        let turn = shared.fill(FIRST).unwrap();
        let last = {
            let s = shared.clone();
            thread::spawn(move || {
                s.line().leave(0);
                !s.line().is_anybody_there() && s.undo(&turn).0
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
        // As much is charged as is used, or more: what the other took back late is lost.
        let outlook = shared.words().outlook(&now).unwrap().0.unwrap();
        assert!(outlook.available == 0 && outlook.queued <= u64::from(had_to_charge));
    });
}

/// Somebody who clears a dead one's place is slow; meanwhile it has another holder.
#[test]
fn who_took_a_dead_ones_place_stands_and_fills() {
    bounded(3, || {
        let shared = Shared::new(1);
        // Stood there and was killed while it filled.
        let dead = claim(0, &shared.places[0].holder, &mut Kernel(&shared)).unwrap().unwrap();
        begin(&shared.places[0].holder, dead);
        shared.stand(0, 1);
        drop(shared.turns.begin(dead));
        Kernel(&shared).unlock(dead);
        let slow = {
            let s = shared.clone();
            thread::spawn(move || s.bury(0))
        };
        let heir = claim(0, &shared.places[0].holder, &mut Kernel(&shared)).unwrap().expect("it is dead");
        begin(&shared.places[0].holder, heir);
        shared.stand(0, 2);
        assert!(shared.publish(heir, 5));
        slow.join().unwrap();
        // It looks once more.
        shared.line().stand_again(0);
        assert_eq!(shared.line().all().count(), 1);
        assert_eq!(shared.take_any(), Some((5, charge(5))));
        // And nobody has lost the dead one's slot.
        shared.turns.free_the_lost(|filler| filler == dead);
        assert!((0..TURNS).all(|_| shared.turns.begin(heir).is_some()));
    });
}
