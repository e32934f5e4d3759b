//! Every interleaving of small scenarios with permits and seats, by loom. Run by `cargo xtask test loom`.
//!
//! Kernel locks are simulated by words: 1 while the holder lives.

use super::*;
use crate::commit::loom_tests::{Ring, bucket, keep, now};
use crate::commit::{GenerationState, WordState};
use crate::limit::Policy;
use crate::seat::simulated_locks::SimulatedLocks;
use crate::seat::{TakesLocks, begin, claim, end};
use loom::sync::Arc;
use loom::thread;

const SLOTS: usize = 2;
const SEATS: usize = 3;
const TENURES: usize = 2;

struct Shared {
    ring: Ring,
    slots: [AtomicU64; SLOTS],
    seats: [Seat; SEATS],
    /// For each seat, the locks of its first tenures: 1, 3.
    locks: SimulatedLocks<SEATS, TENURES>,
}

impl Shared {
    /// A limiter with this many permits and no processes.
    fn new(permits: u32) -> Arc<Shared> {
        let shared = Shared {
            ring: Ring::new(),
            slots: std::array::from_fn(|_| AtomicU64::new(0)),
            seats: std::array::from_fn(|_| Seat::model()),
            locks: SimulatedLocks::new(),
        };
        shared.words().initialise(&keep(policy(permits)));
        Arc::new(shared)
    }

    /// One permit, held at seat 0 by a process that was killed.
    fn with_a_dead_holder() -> Arc<Shared> {
        let shared = Shared::new(1);
        let dead = shared.take_seat(0).unwrap();
        shared.take(0, dead).unwrap();
        shared.kill(dead);
        shared
    }

    fn words(&self) -> WordState<'_> {
        WordState(self.ring.generations())
    }

    fn permits(&self) -> Permits<'_> {
        Permits::for_model(&self.slots, &self.seats)
    }

    /// Locks the seat's next tenure, but does not begin it.
    fn claim(&self, seat: usize) -> Option<HolderId> {
        claim(seat, &self.seats[seat].holder, &mut &self.locks).unwrap()
    }

    fn take_seat(&self, seat: usize) -> Option<HolderId> {
        self.claim(seat).inspect(|&id| begin(&self.seats[seat].holder, id))
    }

    /// Kills this process: the kernel releases its lock, and nothing else happens.
    fn kill(&self, id: HolderId) {
        (&self.locks).unlock(id);
    }

    fn take(&self, hint: usize, id: HolderId) -> Option<PermitToken> {
        self.permits().take(&self.ring.generations(), hint, word_of(id, 0), process(id))
    }

    /// Requests a permit as a process does: reclaims those of dead holders if none is free.
    fn ask(&self, id: HolderId) -> Option<PermitToken> {
        self.take(0, id).or_else(|| {
            self.permits().reclaim(&mut &self.locks).unwrap();
            self.take(0, id)
        })
    }

    fn give_back(&self, held: PermitToken, id: HolderId) {
        self.permits().give_back(held, process(id));
    }

    /// Whether this permit is unchanged since it was taken.
    fn is_held(&self, held: PermitToken) -> bool {
        self.slots[held.index()].load(Ordering::Acquire) == held.word
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
        let (a, b) = (shared.take_seat(0).unwrap(), shared.take_seat(1).unwrap());
        let other = {
            let s = shared.clone();
            thread::spawn(move || s.take(0, b).is_some())
        };
        let mine = shared.take(0, a).is_some();
        assert!(mine ^ other.join().unwrap());
    });
}

#[test]
fn a_dead_holders_permit_goes_to_exactly_one_process() {
    loom::model(|| {
        let shared = Shared::with_a_dead_holder();
        let (a, b) = (shared.take_seat(1).unwrap(), shared.take_seat(2).unwrap());
        let other = {
            let s = shared.clone();
            thread::spawn(move || s.ask(b).is_some())
        };
        let mine = shared.ask(a).is_some();
        assert!(mine ^ other.join().unwrap());
    });
}

#[test]
fn a_permit_is_not_taken_from_the_next_holder_of_a_dead_seat() {
    loom::model(|| {
        let shared = Shared::with_a_dead_holder();
        let a = shared.take_seat(1).unwrap();
        let next = {
            let s = shared.clone();
            thread::spawn(move || {
                let id = s.take_seat(0).expect("the dead process's seat");
                s.ask(id)
            })
        };
        let mine = shared.ask(a);
        let held = next.join().unwrap();
        assert!(mine.is_none() || held.is_none());
        assert!(mine.or(held).is_none_or(|held| shared.is_held(held)));
    });
}

#[test]
fn a_killed_holders_permit_is_reclaimed_at_most_once() {
    loom::model(|| {
        let shared = Shared::new(1);
        let (doomed, a) = (shared.take_seat(0).unwrap(), shared.take_seat(1).unwrap());
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
        // Now it is dead, and its permit is available.
        let mine = early.or_else(|| shared.ask(a)).expect("no living process holds it");
        assert!(shared.is_held(mine));
        assert!(early.is_some() || was_held);
    });
}

#[test]
fn a_lowered_number_of_permits_is_never_exceeded() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let shared = Shared::new(2);
        let (a, b) = (shared.take_seat(0).unwrap(), shared.take_seat(1).unwrap());
        let early = {
            let s = shared.clone();
            thread::spawn(move || s.take(1, a).is_some())
        };
        shared.words().publish(1, &keep(policy(2)).with(policy(1)), &now).unwrap();
        let late = shared.take(0, b).is_some();
        assert!(!(early.join().unwrap() && late), "two permits held, with a maximum of one");
    });
}

#[test]
fn only_one_claimant_gets_a_dead_seat() {
    loom::model(|| {
        let shared = Shared::new(1);
        let dead = shared.take_seat(0).unwrap();
        shared.kill(dead);
        let other = {
            let s = shared.clone();
            thread::spawn(move || s.take_seat(0).is_some())
        };
        let mine = shared.take_seat(0).is_some();
        assert!(mine ^ other.join().unwrap());
    });
}

#[test]
fn a_stalled_claimant_does_not_take_a_seat_released_meanwhile() {
    loom::model(|| {
        let shared = Shared::new(1);
        let other = {
            let s = shared.clone();
            // Takes it, releases it, dies.
            thread::spawn(move || {
                let taken = s.take_seat(0);
                if let Some(id) = taken {
                    end(&s.seats[0].holder, id.tenure);
                    s.kill(id);
                }
                taken
            })
        };
        let mine = shared.take_seat(0);
        let theirs = other.join().unwrap();
        assert!(mine.is_some() || theirs.is_some());
        // The current tenure is that of the process that has the seat.
        if let Some(mine) = mine {
            assert!(theirs.is_none_or(|theirs| theirs.tenure < mine.tenure));
            assert_eq!(shared.seats[0].holder.tenure.load(Ordering::Acquire), mine.tenure);
        }
    });
}

#[test]
fn a_slow_claimant_of_a_dead_seat_blocks_no_other_process() {
    loom::model(|| {
        let shared = Shared::with_a_dead_holder();
        let a = shared.take_seat(1).unwrap();
        let slow = {
            let s = shared.clone();
            // Stopped at any point.
            thread::spawn(move || s.claim(0).is_some())
        };
        assert!(shared.ask(a).is_some());
        slow.join().unwrap();
    });
}
