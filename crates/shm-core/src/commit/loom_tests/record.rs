//! Every interleaving of small scenarios with a state that is a record: several words, cells, and a log's ring.

use super::*;
use crate::layout::{CELL_PAIR, Cell, RINGS};
use crate::limit::Asked;
use crate::sync::this_process;
use loom::sync::Arc;
use loom::thread;
use std::time::Duration;

const SEATS: usize = 3;
/// The period of the greedy limit.
const SECOND: u64 = 1_000_000_000;

struct Shared {
    ring: Ring,
    cells: Vec<Cell>,
    slots: Vec<AtomicU64>,
    rings: [usize; RINGS],
}

impl Shared {
    fn new(policy: Policy, slots: usize) -> Arc<Shared> {
        let shared = Arc::new(Shared {
            ring: Ring::new(),
            cells: (0..(SEATS + 1) * CELL_PAIR).map(|_| Cell::model()).collect(),
            slots: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            rings: [slots, 0, 0, 0],
        });
        shared.records(0).initialise(&keep(policy));
        shared
    }

    fn records(&self, seat: usize) -> Records<'_> {
        Records {
            generations: self.ring.generations(),
            table: RecordStore { cells: &self.cells, slots: &self.slots, rings: &self.rings },
            pair: Some(Pair::of(seat, this_process())),
        }
    }

    /// Takes one call from this seat, for a turn up to `latest`; returns its instant.
    fn take(&self, seat: usize, latest: Nanos) -> Option<u64> {
        let mut scratch = Scratch::default();
        match self.records(seat).reserve(Asked::Calls(1), latest, &now, false, &mut scratch).unwrap() {
            Verdict::Admitted { at, .. } => Some(at.as_nanos()),
            Verdict::Denied { .. } => None,
        }
    }
}

/// Two limits that are always charged together, so their states are always equal.
fn twins(burst: u64) -> Policy {
    Policy::new(&[bucket(burst), bucket(burst)]).unwrap()
}

fn bounded(preemptions: usize, scene: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(scene);
}

#[test]
fn two_takers_never_share_a_token() {
    bounded(3, || {
        let shared = Shared::new(twins(1), 0);
        let other = {
            let s = shared.clone();
            thread::spawn(move || s.take(1, at(0)).is_some())
        };
        let mine = shared.take(2, at(0)).is_some();
        assert!(mine ^ other.join().unwrap());
    });
}

/// A reader whose cell is overwritten while it copies. Without the release fence before a cell is written, or the
/// second load of the state word, this finds a mix of two records.
#[test]
fn no_copy_is_torn() {
    bounded(3, || {
        let shared = Shared::new(twins(9), 0);
        let reader = {
            let s = shared.clone();
            thread::spawn(move || {
                let (seen, _) = s.records(2).status(&later).unwrap();
                assert_eq!(seen[0].available, seen[1].available);
            })
        };
        // The third admission overwrites the cell of the first.
        for _ in 0..3 {
            assert!(shared.take(1, at(0)).is_some());
        }
        reader.join().unwrap();
        assert_eq!(shared.records(0).status(&later).unwrap().0[0].available, 6);
    });
}

#[test]
fn a_change_neither_loses_nor_invents_admissions() {
    bounded(2, || {
        let shared = Shared::new(twins(3), 0);
        // The changer dies right after publishing: only the taker can finish it.
        let changer = {
            let s = shared.clone();
            thread::spawn(move || s.records(1).publish(1, &keep(twins(3)), &now).unwrap())
        };
        let taken = u64::from(shared.take(2, at(0)).is_some());
        changer.join().unwrap();
        assert_eq!(taken, 1);
        assert!(shared.take(2, at(0)).is_some());
        let (seen, _) = shared.records(0).status(&later).unwrap();
        assert_eq!((seen[0].available, seen[1].available), (1, 1));
    });
}

#[test]
fn a_log_keeps_its_window_whichever_process_writes_its_slots() {
    bounded(2, || {
        let greedy = Limit::greedy(Rate::new(2, Duration::from_nanos(SECOND)).unwrap()).unwrap();
        let shared = Shared::new(greedy.into(), 2);
        let other = {
            let s = shared.clone();
            thread::spawn(move || [s.take(1, at(u64::MAX)).unwrap(), s.take(1, at(u64::MAX)).unwrap()])
        };
        let mut all = vec![shared.take(2, at(u64::MAX)).unwrap(), shared.take(2, at(u64::MAX)).unwrap()];
        all.extend(other.join().unwrap());
        all.sort_unstable();
        assert!(all.windows(3).all(|three| three[2] - three[0] >= SECOND), "{all:?}");
        assert!(all[3] < 10 + SECOND + 1_000, "{all:?}");
    });
}

#[test]
fn a_cancelled_turn_can_be_taken_again_once() {
    bounded(3, || {
        let shared = Shared::new(twins(1), 0);
        let mut scratch = Scratch::default();
        let taken = shared.records(1).reserve(Asked::Calls(1), at(0), &now, true, &mut scratch).unwrap();
        let Verdict::Admitted { epoch, state, .. } = taken else { panic!() };
        let other = {
            let s = shared.clone();
            thread::spawn(move || u64::from(s.take(2, at(0)).is_some()))
        };
        assert!(shared.records(1).cancel(epoch, state, &scratch.before()).unwrap().is_some());
        assert!(u64::from(shared.take(1, at(0)).is_some()) + other.join().unwrap() <= 1);
    });
}

/// By then, the same seat's other cell is current: it must not be written.
#[test]
fn only_the_newest_turn_can_be_cancelled() {
    bounded(3, || {
        let shared = Shared::new(twins(9), 0);
        let mut scratch = Scratch::default();
        let taken = shared.records(1).reserve(Asked::Calls(1), at(0), &now, true, &mut scratch).unwrap();
        let Verdict::Admitted { epoch, state, .. } = taken else { panic!() };
        let before = scratch.before();
        assert!(shared.take(1, at(0)).is_some());
        let reader = {
            let s = shared.clone();
            thread::spawn(move || {
                let (seen, _) = s.records(2).status(&later).unwrap();
                assert_eq!((seen[0].available, seen[1].available), (7, 7));
            })
        };
        assert!(shared.records(1).cancel(epoch, state, &before).unwrap().is_none());
        reader.join().unwrap();
        assert_eq!(shared.records(0).status(&later).unwrap().0[0].available, 7);
    });
}
