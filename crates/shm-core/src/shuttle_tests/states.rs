//! State words and records: taken, reserved, cancelled and refunded, while the configuration changes.

use super::{Time, play, roll};
use crate::clock::Nanos;
use crate::commit::loom_tests::Ring;
use crate::commit::{
    CommitError, Config, GenerationState, Pair, RecordStore, Records, Scratch, Verdict, WordState,
};
use crate::layout::{CELL_PAIR, Cell, RINGS};
use crate::limit::audit::{self, Admission};
use crate::limit::{Asked, Cost, Limit, Policy, Rate};
use crate::sync::{AtomicU64, this_process};
use shuttle::sync::Arc;
use shuttle::thread;
use std::sync::Mutex;
use std::time::Duration;

const PROCESSES: usize = 3;
const OPERATIONS: u64 = 5;
const CHANGES: u64 = 3;
/// The period of the limits.
const PER: u64 = 100_000;
/// The maximum of the greedy limit, and the burst of the bucket.
const MAX: u64 = 3;

fn bucket() -> Limit {
    Limit::with_burst(Rate::new(2, Duration::from_nanos(PER)).unwrap(), MAX).unwrap()
}

fn greedy() -> Limit {
    Limit::greedy(Rate::new(MAX, Duration::from_nanos(PER)).unwrap()).unwrap()
}

struct Scene {
    ring: Ring,
    cells: Vec<Cell>,
    slots: Vec<AtomicU64>,
    rings: [usize; RINGS],
    policy: Policy,
    time: Time,
    /// When admitted calls were used. Not part of the model, so it causes no interleavings.
    used: Mutex<Vec<(u64, u64)>>,
}

/// What happens to a turn.
enum Fate {
    Kept,
    Cancelled,
    GivenBack,
}

impl Scene {
    fn new(policy: Policy) -> Arc<Scene> {
        let slots = if policy.fits_a_word() { 0 } else { 4 };
        let scene = Scene {
            ring: Ring::new(),
            cells: (0..(PROCESSES + 2) * CELL_PAIR).map(|_| Cell::model()).collect(),
            slots: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            rings: [0, slots, 0, 0],
            policy,
            time: Time::new(),
            used: Mutex::default(),
        };
        let config = Config::new(policy, Nanos::from_nanos(Time::START));
        match slots {
            0 => scene.words().initialise(&config),
            _ => scene.records(None).initialise(&config),
        }
        Arc::new(scene)
    }

    fn words(&self) -> WordState<'_> {
        WordState(self.ring.generations())
    }

    fn records(&self, seat: Option<usize>) -> Records<'_> {
        let table = RecordStore { cells: &self.cells, slots: &self.slots, rings: &self.rings };
        Records {
            generations: self.ring.generations(),
            table,
            pair: seat.map(|seat| Pair::of(seat, this_process())),
        }
    }

    fn is_word(&self) -> bool {
        self.slots.is_empty()
    }

    fn clock(&self) -> impl Fn() -> Nanos {
        || self.time.now()
    }

    fn use_at(&self, at: Nanos, tokens: u64) {
        self.used.lock().unwrap().push((at.as_nanos(), tokens));
    }

    /// Waits for a turn as a process does; returns whether it came before the configuration changed.
    fn wait_for(&self, at: Nanos, epoch: u64) -> bool {
        self.time.wait_until(at);
        let now = self.time.now();
        self.ring.generations().epoch() == epoch && now >= at
    }

    fn one_operation(&self, seat: usize, scratch: &mut Scratch) {
        let cost = 1 + roll(2);
        let latest = match roll(2) {
            0 => Nanos::from_nanos(0),
            _ => self.time.now().plus(Duration::from_nanos(3 * PER)),
        };
        let decided = if self.is_word() {
            self.words().reserve(cost, latest, true, &self.clock())
        } else {
            self.records(Some(seat)).reserve(Asked::Calls(cost), latest, &self.clock(), true, scratch)
        };
        let (at, now, epoch, state) = match decided {
            Ok(Verdict::Admitted { at, now, epoch, state, .. }) => (at, now.at, epoch, state),
            Ok(Verdict::Denied { denied, .. }) => {
                let ready = denied.retry_at().unwrap();
                return assert!(ready > denied.at() && ready > latest);
            }
            // A stalled helper froze it: the limiter repairs that under the control lock, which is not modelled.
            Err(CommitError::Frozen) => return,
            Err(why) => panic!("{why:?}"),
        };
        let fate = match roll(4) {
            0 => Fate::Cancelled,
            1 => Fate::GivenBack,
            _ => Fate::Kept,
        };
        match fate {
            Fate::Cancelled if at > now && self.cancel(seat, epoch, state, cost, scratch) => {}
            _ if at > now && !self.wait_for(at, epoch) => {}
            Fate::GivenBack => {
                // Used less than was taken: the refunded part may be taken again.
                self.use_at(at, cost - 1);
                self.give_back_one(seat, epoch, state, at, scratch);
            }
            _ => self.use_at(at, cost),
        }
    }

    fn cancel(&self, seat: usize, epoch: u64, state: u64, cost: u64, scratch: &Scratch) -> bool {
        if self.is_word() {
            return self.words().cancel(epoch, state, cost);
        }
        self.records(Some(seat)).cancel(epoch, state, &scratch.before()).unwrap().is_some()
    }

    fn give_back_one(&self, seat: usize, epoch: u64, state: u64, at: Nanos, scratch: &Scratch) {
        if self.is_word() {
            self.words().refund(epoch, at, Some(state), 1, &self.clock());
        } else {
            let charged = scratch.charged();
            let one = Cost::one();
            self.records(Some(seat)).refund(epoch, state, Some(&charged), Asked::of(&one), at).unwrap();
        }
    }

    /// Publishes the same configuration again, as a change to equal limits does.
    fn change(&self, epoch: u64) {
        let config =
            Config { starts_empty: false, ..Config::new(self.policy, Nanos::from_nanos(Time::START)) };
        let published = if self.is_word() {
            self.words().publish(epoch, &config, &self.clock())
        } else {
            self.records(Some(0)).publish(epoch, &config, &self.clock())
        };
        assert_eq!(published, Ok(()));
    }

    /// Checks the definitions alone: no window has too many.
    fn check(&self) {
        let mut used = self.used.lock().unwrap().clone();
        used.retain(|&(_, tokens)| tokens > 0);
        let admission = |&(at, calls): &(u64, u64)| Admission { at: Nanos::from_nanos(at), calls };
        let mut all: Vec<Admission> = used.iter().map(admission).collect();
        assert_eq!(audit::check(bucket(), &mut all), Ok(()), "{used:?}");
        if !self.is_word() {
            for &(from, _) in &used {
                let window = used.iter().filter(|&&(at, _)| (from..from + PER).contains(&at));
                let held: u64 = window.map(|&(_, tokens)| tokens).sum();
                assert!(held <= MAX, "{held} within a period: {used:?}");
            }
        }
    }
}

fn play_with(policy: fn() -> Policy) {
    play(move || {
        let scene = Scene::new(policy());
        let processes: Vec<_> = (0..PROCESSES)
            .map(|seat| {
                let s = scene.clone();
                thread::spawn(move || {
                    let mut scratch = Scratch::default();
                    (0..OPERATIONS).for_each(|_| s.one_operation(seat + 1, &mut scratch));
                })
            })
            .collect();
        (1..=CHANGES).for_each(|epoch| scene.change(epoch));
        processes.into_iter().for_each(|process| process.join().unwrap());
        scene.check();
    });
}

#[test]
fn a_word_keeps_the_limit() {
    play_with(|| bucket().into());
}

#[test]
fn records_of_a_bucket_and_a_log_keep_both_limits() {
    play_with(|| Policy::new(&[bucket(), greedy()]).unwrap());
}
