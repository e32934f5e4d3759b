//! Garbage in every word that another process could have written: nothing panics, nothing loops, and it gains one burst
//! at most.

use super::{Costs, Memory, ns};
use crate::limit::log::Log;
use crate::limit::rule::Rule;
use crate::limit::rule_set::{LINE, RECORD_WORDS, Record, Rules};
use crate::limit::window::{FixedWindow, SlidingCounter};
use crate::limit::{Gcra, Limit, MAX_LIMITS, Rate, Ticks};
use proptest::prelude::*;
use std::time::Duration;

/// Mostly values that cause trouble.
fn word() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0u8..6).prop_map(|(any, kind)| match kind {
        0 => 0,
        1 => any % 5,
        2 => 1 << (any % 64),
        3 => (1 << (any % 64)) - 1,
        4 => u64::MAX - any % 5,
        _ => any,
    })
}

fn rule(word: &mut impl FnMut() -> u64) -> Rule {
    match word() % 4 {
        0 => {
            let ticks = Ticks { shift: word() as u32, per_ns: word(), inverse: word() };
            Rule::Bucket(Gcra { ticks, burst: word(), floor: word() })
        }
        1 => Rule::Log(Log { max: word(), span: word() }),
        2 => {
            Rule::Fixed(FixedWindow { max: word(), per: word(), origin: Some(word()).filter(|w| w % 3 > 0) })
        }
        _ => Rule::Sliding(SlidingCounter { max: word(), per: word() }),
    }
}

fn rules(word: &mut impl FnMut() -> u64) -> Rules {
    let rules: [Rule; 4] = std::array::from_fn(|_| rule(word));
    let ringed = std::array::from_fn(|_| word().is_multiple_of(2));
    Rules::new((word() % 6) as usize, |i| rules[i], ringed, word())
}

proptest! {
    #[test]
    fn garbage_never_panics_or_loops(words in prop::collection::vec(word(), 200), bits in 0u32..5) {
        let mut words = words.into_iter();
        let mut word = || words.next().unwrap();
        let (one, other) = (rules(&mut word), rules(&mut word));
        let record = Record(std::array::from_fn(|_| word()));
        let costs: Costs = std::array::from_fn(|_| word());
        let (now, at, goes_on) = (word(), word(), word());
        let slots: Vec<_> = (0..64).map(|_| word()).collect();
        let memory = Memory::new(1 << bits);
        for (i, slot) in slots.into_iter().enumerate() {
            memory.write((i % 4, i as u64 / 4..i as u64 / 4 + 1, slot));
        }
        let look = |rules: &Rules, record: &Record| {
            rules.never(&costs);
            rules.ready(record, &costs, now, &memory);
            rules.statuses(record, ns(now), &memory);
            rules.implausible(record, ns(now));
            rules.unwritten(record).for_each(drop);
            let mut charged = *record;
            rules.charge(&mut charged, &costs, at, now);
            rules.debt(&mut charged, &costs, now, &memory);
            rules.refund(&mut charged, &costs, at, (at % 3 > 0).then_some(&costs), at % 2 == 0);
            rules.cancel(&charged, record);
        };
        look(&one, &record);
        prop_assert!(one.size().lines(&Record([1; RECORD_WORDS])) * LINE <= RECORD_WORDS);
        let mut carried = one.carry(&record, ns(now), &other, |i| goes_on >> i & 1 > 0, &memory);
        look(&other, &carried);
        other.refund(&mut carried, &costs, at, (at % 3 > 0).then_some(&costs), at % 2 == 0);
        carried = other.carry(&carried, ns(at), &one, |_| true, &memory);
        look(&one, &carried);
        look(&one, &one.unused(ns(now)));
    }

    /// With arbitrary garbage in the record and the ring, a caller that requests continuously gets from then on what
    /// the limit admits plus at most one burst; or the corruption is detected.
    #[test]
    fn garbage_gains_at_most_one_burst(
        words in prop::collection::vec(word(), 140), kind in 0u8..5, max in 1u64..6, spoilt in any::<u64>(),
    ) {
        const SPAN: u64 = 1_000_000;
        const WINDOWS: u64 = 30;
        let begun = 1 << 40;
        let rate = Rate::new(max, Duration::from_nanos(SPAN)).unwrap();
        let rule = match kind {
            0 => Rule::Bucket(Gcra::new(Limit::with_burst(rate, max).unwrap(), None)),
            1 => Rule::Log(Log { max, span: SPAN }),
            2 => Rule::Fixed(FixedWindow { max, per: SPAN, origin: Some(7) }),
            3 => Rule::Fixed(FixedWindow { max, per: SPAN, origin: None }),
            _ => Rule::Sliding(SlidingCounter { max, per: SPAN }),
        };
        let rules = Rules::new(1, |_| rule, [kind == 1, false, false, false], 0);
        let mut words = words.into_iter();
        let mut word = || words.next().unwrap();
        let mut record = rules.unused(ns(begun));
        for i in 0..10 {
            let word = word();
            if spoilt >> i & 1 > 0 {
                record.0[i] = word;
            }
        }
        let memory = Memory::new(8);
        for i in 0..8 {
            // Anything, or a time long ago in a future era.
            let slot = if spoilt >> 20 & 1 > 0 { word() } else { word() << 54 | word() >> 40 };
            memory.write((0, i..i + 1, if spoilt >> (10 + i) & 1 > 0 { slot } else { 0 }));
        }
        let costs = [1; MAX_LIMITS];
        let mut admitted = 0;
        for step in 0..WINDOWS * 10 {
            let now = begun + step * SPAN / 10;
            for _ in 0..=max {
                let ready = rules.ready(&record, &costs, now, &memory);
                if ready > now {
                    break;
                }
                let unwritten: Vec<_> = rules.unwritten(&record).collect();
                // Detected as corrupt, as in `commit::record`.
                if unwritten.iter().any(|(_, range, _)| range.end - range.start > 8) {
                    return Ok(());
                }
                unwritten.into_iter().for_each(|slots| memory.write(slots));
                rules.charge(&mut record, &costs, now, now);
                admitted += 1;
            }
        }
        prop_assert!(admitted <= (WINDOWS + 2) * max, "{admitted} of {max} in each of {WINDOWS}: {rule:?}");
    }
}

/// A bucket that claims to be full until the end of time does not wrap around to empty.
#[test]
fn a_full_bucket_stays_full_at_the_end_of_time() {
    let bucket = Gcra::new(Limit::patient(Rate::EVERY_SECOND), None);
    for (tat, floor) in [(u64::MAX, 0), (0, u64::MAX)] {
        let bucket = Gcra { floor, ..bucket };
        assert!(bucket.slot(tat, 1) > bucket.ticks.at(1 << 50));
        assert!(bucket.is_implausible(tat, ns(1 << 50)));
    }
}
