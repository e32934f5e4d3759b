//! Rubbish in every word that another process could have written: nothing panics, nothing loops.

use super::{Costs, Memory, ns};
use crate::limit::log::Log;
use crate::limit::rule::Rule;
use crate::limit::rules::{RECORD_WORDS, Record, Rules};
use crate::limit::window::{Fixed, Sliding};
use crate::limit::{Gcra, Ticks};
use proptest::prelude::*;

/// Mostly what makes trouble.
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
        2 => Rule::Fixed(Fixed { max: word(), per: word(), origin: Some(word()).filter(|w| w % 3 > 0) }),
        _ => Rule::Sliding(Sliding { max: word(), per: word() }),
    }
}

fn rules(word: &mut impl FnMut() -> u64) -> Rules {
    let rules: [Rule; 4] = std::array::from_fn(|_| rule(word));
    let ringed = std::array::from_fn(|_| word().is_multiple_of(2));
    Rules::new((word() % 6) as usize, |i| rules[i], ringed, word())
}

proptest! {
    #[test]
    fn rubbish_gives_an_answer(words in prop::collection::vec(word(), 200), bits in 0u32..5) {
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
            rules.outlooks(record, ns(now), &memory);
            rules.is_absurd(record, ns(now));
            rules.unwritten(record).for_each(drop);
            let mut charged = *record;
            rules.charge(&mut charged, &costs, at, at > now);
            rules.refund(&mut charged, &costs, at, (at % 3 > 0).then_some(&costs), at % 2 == 0);
            rules.cancel(&charged, record);
        };
        look(&one, &record);
        prop_assert!(one.words() <= RECORD_WORDS);
        let mut carried = one.carry(&record, ns(now), &other, |i| goes_on >> i & 1 > 0, &memory);
        look(&other, &carried);
        other.refund(&mut carried, &costs, at, (at % 3 > 0).then_some(&costs), at % 2 == 0);
        carried = other.carry(&carried, ns(at), &one, |_| true, &memory);
        look(&one, &carried);
        look(&one, &one.unused(ns(now)));
    }
}
