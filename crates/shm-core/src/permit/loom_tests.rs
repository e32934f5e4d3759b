//! Every interleaving of small scenes with permits and seats, by loom. Run by `cargo xtask test loom`.
//!
//! The kernel's locks are words here: 1 while their holder lives.

use super::*;
use crate::commit::loom_tests::{Ring, bucket, keep, now};
use crate::commit::{GenerationState, WordState};
use crate::limit::Policy;
use crate::seat::{SeesLocks, TakesLocks, begin, claim, end};
use loom::sync::Arc;
use loom::thread;

const PLACES: usize = 2;
const SEATS: usize = 3;
const TENURES: usize = 2;

struct Shared {
    ring: Ring,
    places: [AtomicU64; PLACES],
    seats: [Seat; SEATS],
    /// For each seat, those of its first tenures: 1, 3.
    locks: [[AtomicU64; TENURES]; SEATS],
}

/// As the kernel: what it says of a lock is so at that moment.
struct Kernel<'a>(&'a Shared);

impl Kernel<'_> {
    fn lock(&self, of: HolderId) -> &AtomicU64 {
        &self.0.locks[of.seat][of.tenure as usize / 2]
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
    /// So many permits, and nobody here.
    fn new(permits: u32) -> Arc<Shared> {
        let shared = Shared {
            ring: Ring::new(),
            places: std::array::from_fn(|_| AtomicU64::new(0)),
            seats: std::array::from_fn(|_| Seat::model()),
            locks: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
        };
        shared.words().initialise(&keep(policy(permits)));
        Arc::new(shared)
    }

    /// One permit, held by a process that was killed, at seat 0.
    fn with_a_dead_holder() -> Arc<Shared> {
        let shared = Shared::new(1);
        let dead = shared.sit_down(0).unwrap();
        shared.take(0, dead).unwrap();
        shared.kill(dead);
        shared
    }

    fn words(&self) -> WordState<'_> {
        WordState(self.ring.generations())
    }

    fn permits(&self) -> Permits<'_> {
        Permits::for_model(&self.places, &self.seats)
    }

    /// Locks the seat's next tenure, but does not begin it.
    fn claim(&self, seat: usize) -> Option<HolderId> {
        claim(seat, &self.seats[seat].holder, &mut Kernel(self)).unwrap()
    }

    fn sit_down(&self, seat: usize) -> Option<HolderId> {
        self.claim(seat).inspect(|&id| begin(&self.seats[seat].holder, id))
    }

    /// This process is killed: the kernel frees its lock, and that is all that happens.
    fn kill(&self, id: HolderId) {
        Kernel(self).unlock(id);
    }

    fn take(&self, hint: usize, id: HolderId) -> Option<PermitToken> {
        self.permits().take(&self.ring.generations(), hint, word_of(id, 0), process(id))
    }

    /// As a process asks: it frees those of the dead if it finds none.
    fn ask(&self, id: HolderId) -> Option<PermitToken> {
        self.take(0, id).or_else(|| {
            self.permits().reclaim(&mut Kernel(self)).unwrap();
            self.take(0, id)
        })
    }

    fn give_back(&self, held: PermitToken, id: HolderId) {
        self.permits().give_back(held, process(id));
    }

    /// Whether this permit is still what it was when it was taken.
    fn is_held(&self, held: PermitToken) -> bool {
        self.places[held.index()].load(Ordering::Acquire) == held.word
    }
}

fn policy(permits: u32) -> Policy {
    Policy::from(bucket(1)).with_permits(permits).unwrap()
}

fn process(id: HolderId) -> u64 {
    id.seat as u64 + 1
}

#[test]
fn two_takers_never_share_a_permit() {
    loom::model(|| {
        let shared = Shared::new(1);
        let (a, b) = (shared.sit_down(0).unwrap(), shared.sit_down(1).unwrap());
        let other = {
            let s = shared.clone();
            thread::spawn(move || s.take(0, b).is_some())
        };
        let mine = shared.take(0, a).is_some();
        assert!(mine ^ other.join().unwrap());
    });
}

#[test]
fn a_dead_holders_permit_goes_to_one_of_those_who_ask() {
    loom::model(|| {
        let shared = Shared::with_a_dead_holder();
        let (a, b) = (shared.sit_down(1).unwrap(), shared.sit_down(2).unwrap());
        let other = {
            let s = shared.clone();
            thread::spawn(move || s.ask(b).is_some())
        };
        let mine = shared.ask(a).is_some();
        assert!(mine ^ other.join().unwrap());
    });
}

#[test]
fn a_permit_is_not_taken_from_a_holder_who_took_a_dead_ones_seat() {
    loom::model(|| {
        let shared = Shared::with_a_dead_holder();
        let a = shared.sit_down(1).unwrap();
        let heir = {
            let s = shared.clone();
            thread::spawn(move || {
                let id = s.sit_down(0).expect("the seat of the dead");
                s.ask(id)
            })
        };
        let mine = shared.ask(a);
        let held = heir.join().unwrap();
        assert!(mine.is_none() || held.is_none());
        assert!(mine.or(held).is_none_or(|held| shared.is_held(held)));
    });
}

#[test]
fn who_is_killed_while_others_look_loses_a_permit_at_most_once() {
    loom::model(|| {
        let shared = Shared::new(1);
        let (doomed, a) = (shared.sit_down(0).unwrap(), shared.sit_down(1).unwrap());
        let killer = {
            let s = shared.clone();
            thread::spawn(move || {
                let held = s.take(0, doomed);
                s.kill(doomed);
                held.is_some()
            })
        };
        let early = shared.ask(a);
        let was_held = killer.join().unwrap();
        // By now it is dead: what it held is free for who asks.
        let mine = early.or_else(|| shared.ask(a)).expect("nobody living holds it");
        assert!(shared.is_held(mine));
        assert!(early.is_some() || was_held);
    });
}

#[test]
fn fewer_permits_are_never_exceeded() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let shared = Shared::new(2);
        let (a, b) = (shared.sit_down(0).unwrap(), shared.sit_down(1).unwrap());
        let early = {
            let s = shared.clone();
            thread::spawn(move || s.take(1, a).is_some())
        };
        shared.words().publish(1, &keep(policy(2)).with(policy(1)), &now).unwrap();
        let late = shared.take(0, b).is_some();
        assert!(!(early.join().unwrap() && late), "two held where one may be");
    });
}

#[test]
fn of_two_who_take_a_dead_ones_seat_one_has_it() {
    loom::model(|| {
        let shared = Shared::new(1);
        let dead = shared.sit_down(0).unwrap();
        shared.kill(dead);
        let other = {
            let s = shared.clone();
            thread::spawn(move || s.sit_down(0).is_some())
        };
        let mine = shared.sit_down(0).is_some();
        assert!(mine ^ other.join().unwrap());
    });
}

#[test]
fn a_seat_that_was_left_in_between_is_not_taken_by_a_sleeper() {
    loom::model(|| {
        let shared = Shared::new(1);
        let other = {
            let s = shared.clone();
            // Takes it, leaves it, dies.
            thread::spawn(move || {
                let taken = s.sit_down(0);
                if let Some(id) = taken {
                    end(&s.seats[0].holder, id.tenure);
                    s.kill(id);
                }
                taken
            })
        };
        let mine = shared.sit_down(0);
        let theirs = other.join().unwrap();
        assert!(mine.is_some() || theirs.is_some());
        // The tenure in force is that of the one who sits there.
        if let Some(mine) = mine {
            assert!(theirs.is_none_or(|theirs| theirs.tenure < mine.tenure));
            assert_eq!(shared.seats[0].holder.tenure.load(Ordering::Acquire), mine.tenure);
        }
    });
}

#[test]
fn who_takes_a_dead_ones_seat_slowly_keeps_nobody_from_its_permit() {
    loom::model(|| {
        let shared = Shared::with_a_dead_holder();
        let a = shared.sit_down(1).unwrap();
        let slow = {
            let s = shared.clone();
            // Is stopped, wherever it is.
            thread::spawn(move || s.claim(0).is_some())
        };
        assert!(shared.ask(a).is_some());
        slow.join().unwrap();
    });
}
