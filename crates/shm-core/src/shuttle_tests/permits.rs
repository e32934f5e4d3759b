//! Permits and seats: processes that start, take, return, die and start again, while the number of permits changes.

use super::{play, roll};
use crate::commit::loom_tests::{Ring, bucket, keep, now};
use crate::commit::{Config, GenerationState, WordState};
use crate::layout::Seat;
use crate::limit::Policy;
use crate::permit::{PermitToken, Permits, word_of};
use crate::seat::simulated_locks::SimulatedLocks;
use crate::seat::{HolderId, TakesLocks, begin, claim, end};
use crate::sync::{AtomicU64, Ordering};
use shuttle::sync::Arc;
use shuttle::thread;
use std::sync::Mutex;

const PROCESSES: u64 = 3;
const OPERATIONS: u64 = 6;
const MOST: usize = 3;
const SEATS: usize = 4;

struct Scene {
    ring: Ring,
    places: [AtomicU64; MOST],
    seats: [Seat; SEATS],
    /// Simulated kernel: the locks that are held.
    locks: SimulatedLocks<SEATS, 64>,
    /// Permits that living processes believe they hold.
    held: Mutex<u64>,
}

fn config(permits: u32) -> Config {
    let most = Policy::from(bucket(1)).with_permits(MOST as u32).unwrap();
    keep(most).with(Policy::from(bucket(1)).with_permits(permits).unwrap())
}

/// One process: from taking a seat to releasing it, or to its death.
struct Life<'a> {
    scene: &'a Scene,
    id: HolderId,
    process: u64,
    permits: Vec<PermitToken>,
}

impl Scene {
    fn permits(&self) -> Permits<'_> {
        Permits::for_model(&self.places, &self.seats)
    }

    fn words(&self) -> WordState<'_> {
        WordState(self.ring.generations())
    }

    fn born(&self, process: u64) -> Option<Life<'_>> {
        let mut locks = &self.locks;
        let id = (0..SEATS).find_map(|seat| claim(seat, &self.seats[seat].holder, &mut locks).unwrap())?;
        if roll(8) == 0 {
            // Dies before it writes its description.
            locks.unlock(id);
            return None;
        }
        begin(&self.seats[id.seat].holder, id);
        Some(Life { scene: self, id, process, permits: Vec::new() })
    }
}

impl Life<'_> {
    fn ask(&mut self) {
        let take = || {
            let generations = self.scene.ring.generations();
            let word = word_of(self.id, roll(2));
            self.scene.permits().take(&generations, roll(3) as usize, word, self.process)
        };
        let mut locks = &self.scene.locks;
        let taken = take().or_else(|| {
            self.scene.permits().reclaim(&mut locks).unwrap();
            take()
        });
        if let Some(held) = taken {
            self.permits.push(held);
            let mut held = self.scene.held.lock().unwrap();
            *held += 1;
            assert!(*held <= MOST as u64, "{held} held");
        }
    }

    fn give_back(&mut self) {
        if let Some(held) = self.permits.pop() {
            *self.scene.held.lock().unwrap() -= 1;
            self.scene.permits().give_back(held, self.process);
            // The second time has no effect.
            self.scene.permits().give_back(held, self.process);
        }
    }

    /// From here on it holds no permits; the kernel releases its lock, whether or not it released the seat.
    fn over(self, leaves: bool) {
        *self.scene.held.lock().unwrap() -= self.permits.len() as u64;
        if leaves {
            end(&self.scene.seats[self.id.seat].holder, self.id.tenure);
        }
        let mut locks = &self.scene.locks;
        locks.unlock(self.id);
    }
}

#[test]
fn permits_are_never_exceeded_and_never_lost() {
    play(|| {
        let scene = Arc::new(Scene {
            ring: Ring::new(),
            places: std::array::from_fn(|_| AtomicU64::new(0)),
            seats: std::array::from_fn(|_| Seat::model()),
            locks: SimulatedLocks::new(),
            held: Mutex::default(),
        });
        scene.words().initialise(&config(2));
        let processes: Vec<_> = (0..PROCESSES)
            .map(|id| {
                let s = scene.clone();
                thread::spawn(move || {
                    let mut life = None;
                    for k in 0..OPERATIONS {
                        let mut one = match life.take().or_else(|| s.born(id * 100 + k + 1)) {
                            Some(life) => life,
                            None => continue,
                        };
                        match roll(5) {
                            0 => one.give_back(),
                            1 => return one.over(roll(2) == 0),
                            _ => one.ask(),
                        }
                        life = Some(one);
                    }
                    if let Some(life) = life {
                        life.over(false);
                    }
                })
            })
            .collect();
        for (epoch, permits) in [(1, 1), (2, 3)] {
            scene.words().publish(epoch, &config(permits), &now).unwrap();
        }
        processes.into_iter().for_each(|process| process.join().unwrap());
        // All processes have ended: all permits are available to a new one, but no more than there are.
        let mut last = scene.born_again();
        (0..MOST + 2).for_each(|_| last.ask());
        assert_eq!(last.permits.len(), MOST);
        assert!(scene.places.iter().all(|place| place.load(Ordering::Relaxed) != 0));
    });
}

impl Scene {
    fn born_again(&self) -> Life<'_> {
        (0..).find_map(|k| self.born(1_000 + k)).expect("a free seat")
    }
}
