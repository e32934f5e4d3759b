//! Every interleaving of small scenarios of one row of two slots, by loom: never over, and no key in two slots. The
//! variants of the protocol that must fail are in [`variants`]. Run by `cargo xtask test loom`.

mod variants;

use super::key_limit::{KeyClock, KeyLimit};
use super::row::{Decision, KeyReset, Request, Row};
use super::slot::{Slot, Tag};
use crate::clock::Nanos;
use crate::limit::{KeyPolicy, Limit, Rate, audit};
use crate::sync::AtomicPair;
use loom::sync::Arc;
use loom::thread;
use std::time::Duration;

/// Slots of the row.
const SLOTS: usize = 2;
const SECOND: u64 = 1_000_000_000;

/// One call a second for each key.
fn limit(burst: u64) -> KeyLimit {
    let limit = Limit::with_burst(Rate::new(1, Duration::from_secs(1)).unwrap(), burst).unwrap();
    let clock = KeyClock::new(&KeyPolicy::new(&[limit]).unwrap(), Nanos::from_nanos(0), 0);
    KeyLimit::of(&KeyLimit::params_of(limit, 0, &clock, None))
}

fn key(number: u64) -> Tag {
    Tag::of_key(number << 32)
}

struct Shared {
    slots: [AtomicPair; SLOTS],
}

/// What one thread got: the key, and the instant if it was admitted.
type Log = Vec<(u64, Nanos)>;

impl Shared {
    /// Slots whose keys (100, 101) have debts until these seconds; 0: never used.
    fn new(debts: [u64; SLOTS]) -> Arc<Shared> {
        let slot = |i: usize| match debts[i] {
            0 => AtomicPair::new(0, 0),
            debt => {
                AtomicPair::new(limit(1).unused(Nanos::from_nanos(debt * SECOND)), (100 + i as u64) << 32)
            }
        };
        Arc::new(Shared { slots: std::array::from_fn(slot) })
    }

    fn row(&self) -> Row<'_, SLOTS> {
        Row(&self.slots)
    }

    /// Requests one call for a key, at this second of the requester's clock.
    fn admit(&self, burst: u64, number: u64, second: u64, log: &mut Log) -> Decision {
        let now = Nanos::from_nanos(second * SECOND);
        let request = Request { key: key(number), now, cost: 1, latest: now, may_forget: true };
        let decision = self.row().admit(&limit(burst), &request);
        if let Decision::Admitted { at, .. } = decision {
            log.push((number, at));
        }
        decision
    }

    fn slots(&self) -> [Slot; SLOTS] {
        std::array::from_fn(|i| Slot::load(&self.slots[i]))
    }

    fn has_no_key_twice(&self) {
        let slots = self.slots();
        assert!(
            slots[0].tag == Tag::default() || !slots[0].tag.is_same_key(slots[1].tag),
            "one key has two slots: {slots:?}"
        );
    }
}

/// Whether each key kept its limit.
fn is_kept(burst: u64, log: &[(u64, Nanos)]) -> bool {
    let limit = Limit::with_burst(Rate::new(1, Duration::from_secs(1)).unwrap(), burst).unwrap();
    (0..200).all(|number| {
        let mut admissions: Vec<_> = log
            .iter()
            .filter(|(of, _)| *of == number)
            .map(|&(_, at)| audit::Admission { at, calls: 1 })
            .collect();
        audit::check(limit, &mut admissions).is_ok()
    })
}

/// Two threads, each with its requests: key and second.
fn explore(burst: u64, debts: [u64; SLOTS], requests: [&'static [(u64, u64)]; 2]) {
    loom::model(move || {
        let shared = Shared::new(debts);
        let run = |requests: &'static [(u64, u64)]| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut log = Log::new();
                for &(number, second) in requests {
                    shared.admit(burst, number, second, &mut log);
                }
                log
            })
        };
        let threads = requests.map(run);
        let log: Log = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert!(is_kept(burst, &log), "over: {log:?}, {:?}", shared.slots());
        shared.has_no_key_twice();
    });
}

#[test]
fn two_inserts_of_one_key_share_one_slot() {
    explore(1, [0, 0], [&[(1, 10)], &[(1, 10)]]);
    explore(2, [0, 0], [&[(1, 10), (1, 10)], &[(1, 10)]]);
    // One slot is live, or both are.
    explore(2, [11, 0], [&[(1, 10), (1, 10)], &[(1, 10)]]);
    explore(3, [11, 12], [&[(1, 10), (1, 10)], &[(1, 10)]]);
}

#[test]
fn inserts_of_different_keys_take_different_slots() {
    explore(1, [0, 0], [&[(1, 10), (2, 10)], &[(2, 10), (1, 10)]]);
    explore(2, [11, 0], [&[(1, 10), (2, 10)], &[(2, 10)]]);
}

#[test]
fn a_key_that_is_evicted_while_it_is_charged_returns_with_its_debt() {
    // Key 100 is the least of the row; the other thread evicts it.
    explore(2, [11, 12], [&[(100, 10), (100, 11)], &[(1, 10), (100, 10)]]);
    explore(3, [11, 11], [&[(100, 10)], &[(1, 10), (2, 10), (100, 10)]]);
}

#[test]
fn a_lagging_clock_forgets_no_debt() {
    explore(1, [0, 0], [&[(1, 10), (2, 10)], &[(1, 9), (3, 9), (1, 10)]]);
    explore(2, [11, 11], [&[(1, 11), (2, 11)], &[(2, 10), (1, 10)]]);
}

#[test]
fn a_reset_beside_requests_admits_at_most_one_more_burst() {
    loom::model(|| {
        let shared = Shared::new([0, 0]);
        let mut before = Log::new();
        shared.admit(1, 1, 10, &mut before);
        let other = Arc::clone(&shared);
        let resetting =
            thread::spawn(move || other.row().reset(&limit(1), key(1), Nanos::from_nanos(10 * SECOND)));
        let mut log = Log::new();
        for _ in 0..2 {
            shared.admit(1, 1, 10, &mut log);
        }
        let reset = resetting.join().unwrap();
        assert_eq!(reset, KeyReset::Done);
        shared.admit(1, 1, 10, &mut log);
        // One before the reset, and one after it.
        assert_eq!((before.len(), log.len()), (1, 1), "{:?}", shared.slots());
    });
}

#[test]
fn two_requests_after_a_reset_share_the_new_life() {
    loom::model(|| {
        let shared = Shared::new([0, 0]);
        shared.admit(1, 1, 10, &mut Log::new());
        assert_eq!(shared.row().reset(&limit(1), key(1), Nanos::from_nanos(10 * SECOND)), KeyReset::Done);
        let request = |second: u64| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut log = Log::new();
                shared.admit(1, 1, second, &mut log);
                log
            })
        };
        let threads = [request(10), request(10)];
        let log: Log = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(log.len(), 1);
    });
}

/// The row is full, and a stranger evicts the key's own slot or the slot of its new life meanwhile.
#[test]
fn a_key_in_a_later_life_keeps_its_debt_when_it_is_evicted() {
    loom::model(|| {
        let shared = Shared::new([0, 0]);
        shared.admit(2, 1, 10, &mut Log::new());
        assert_eq!(shared.row().reset(&limit(1), key(1), Nanos::from_nanos(10 * SECOND)), KeyReset::Done);
        let other = Arc::clone(&shared);
        let stranger = thread::spawn(move || {
            let mut log = Log::new();
            other.admit(2, 2, 10, &mut log);
            other.admit(2, 1, 10, &mut log);
            log
        });
        let mut log = Log::new();
        for _ in 0..2 {
            shared.admit(2, 1, 10, &mut log);
        }
        log.extend(stranger.join().unwrap());
        assert!(is_kept(2, &log), "over: {log:?}, {:?}", shared.slots());
    });
}
