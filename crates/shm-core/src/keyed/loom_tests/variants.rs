//! Protocols that look right, and are not: each must be refuted by loom, or the scenarios beside this file show nothing.

use super::{Arc, Log, SECOND, SLOTS, Shared, is_kept, key, limit};
use crate::clock::Nanos;
use crate::keyed::key_limit::Charge;
use crate::keyed::slot::Tag;
use crate::sync::{AtomicPair, Ordering};
use loom::thread;

/// What differs from the protocol of the row.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Variant {
    /// Nothing: the yardstick.
    Same,
    /// The tag is read before the state.
    TagFirst,
    /// A new key takes the first expired slot, by its own clock.
    FirstExpired,
    /// A new key starts unused, whatever slot it takes.
    NoInheritance,
    /// An expired slot of the key itself is not used again.
    ExpiredIsAbsent,
    /// Of equal states, each process takes another slot.
    TieByProcess,
}

fn load(variant: Variant, from: &AtomicPair) -> (u64, u64) {
    if variant == Variant::TagFirst {
        let tag = from.second(Ordering::Acquire);
        (from.first(Ordering::Acquire), tag)
    } else {
        let state = from.first(Ordering::Acquire);
        (state, from.second(Ordering::Acquire))
    }
}

/// One request for one call, as in the row, but for the variant.
fn admit(
    variant: Variant,
    shared: &Shared,
    process: usize,
    burst: u64,
    number: u64,
    second: u64,
    log: &mut Log,
) {
    let now = Nanos::from_nanos(second * SECOND);
    let limit = limit(burst);
    let raw = |tag: Tag| if tag.is_same_key(key(number)) { number << 32 } else { 0 };
    let mine = raw(key(number));
    loop {
        let seen: [(u64, u64); SLOTS] = std::array::from_fn(|i| load(variant, &shared.slots[i]));
        let is_mine = |&(state, tag): &(u64, u64)| {
            tag == mine && !(variant == Variant::ExpiredIsAbsent && !limit.is_live(state, now))
        };
        let least = (0..SLOTS)
            .min_by_key(|&i| {
                let tie = if variant == Variant::TieByProcess { (i + process) % SLOTS } else { i };
                (seen[i].0, tie)
            })
            .unwrap();
        let expired = (0..SLOTS).find(|&i| !limit.is_live(seen[i].0, now));
        let (index, base) = match seen.iter().position(is_mine) {
            Some(own) => (own, seen[own].0),
            None => match variant {
                Variant::FirstExpired => (expired.unwrap_or(least), seen[expired.unwrap_or(least)].0),
                Variant::NoInheritance => (least, 0),
                _ => (least, seen[least].0),
            },
        };
        let Charge::Conforms { at, state } = limit.charge(base, now, 1, now) else { return };
        if shared.slots[index].compare_exchange(seen[index], (state, mine)) {
            log.push((number, at));
            return;
        }
    }
}

/// Whether loom finds that this variant is over in one of the scenarios.
fn is_refuted(variant: Variant) -> bool {
    type Requests = &'static [(u64, u64)];
    let scenarios: [(u64, [u64; SLOTS], [Requests; 2]); 5] = [
        (1, [0, 0], [&[(1, 10)], &[(1, 10)]]),
        (1, [0, 0], [&[(1, 10), (2, 10)], &[(1, 9), (3, 9), (1, 10)]]),
        (2, [11, 12], [&[(100, 10), (100, 11)], &[(1, 10), (100, 10)]]),
        (2, [0, 0], [&[(1, 8), (1, 8), (1, 9), (1, 10)], &[(1, 11), (1, 11)]]),
        (2, [9, 5], [&[(1, 9), (1, 9)], &[(1, 8), (1, 8)]]),
    ];
    scenarios.into_iter().any(|(burst, debts, requests)| {
        let explored = std::panic::catch_unwind(move || {
            loom::model(move || {
                let shared = Shared::new(debts);
                let threads = [0, 1].map(|process| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        let mut log = Log::new();
                        for &(number, second) in requests[process] {
                            admit(variant, &shared, process, burst, number, second, &mut log);
                        }
                        log
                    })
                });
                let log: Log = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
                assert!(is_kept(burst, &log), "over: {log:?}");
            });
        });
        explored.is_err()
    })
}

#[test]
fn only_the_protocol_itself_survives() {
    for (variant, refuted) in [
        (Variant::Same, false),
        (Variant::TagFirst, true),
        (Variant::FirstExpired, true),
        (Variant::NoInheritance, true),
        (Variant::ExpiredIsAbsent, true),
        (Variant::TieByProcess, true),
    ] {
        assert_eq!(is_refuted(variant), refuted, "{variant:?}");
    }
}
