//! Rubbish in every word that another process could have written: nothing panics, nothing loops.

use super::{Costs, Memory, ns};
use crate::limit::log::Log;
use crate::limit::rules::{RECORD_WORDS, Record, Rule, Rules};
use crate::limit::window::{Fixed, Sliding};
use crate::limit::{Gcra, Ticks};
use proptest::prelude::*;

/// Mostly what makes trouble.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0u64),
        0u64..5,
        (0u32..64).prop_map(|bit| 1 << bit),
        (0u32..64).prop_map(|bit| (1 << bit) - 1),
        (0u64..5).prop_map(|n| u64::MAX - n),
        any::<u64>(),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    (0..4, word(), word(), word(), word(), any::<bool>(), any::<u32>()).prop_map(|(kind, a, b, c, d, some, bits)| {
        match kind {
            0 => {
                let ticks = Ticks { shift: if some { bits % 64 } else { bits }, per_ns: c, inverse: d };
                Rule::Bucket(Gcra { ticks, burst: a, floor: b })
            }
            1 => Rule::Log(Log { max: a, span: b }),
            2 => Rule::Fixed(Fixed { max: a, per: b, origin: some.then_some(c) }),
            _ => Rule::Sliding(Sliding { max: a, per: b }),
        }
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    (0usize..6, prop::array::uniform4(rule()), prop::array::uniform4(any::<bool>()), word())
        .prop_map(|(len, rules, ringed, not_before)| Rules::new(len, |i| rules[i], ringed, not_before))
}

fn record() -> impl Strategy<Value = Record> {
    prop::collection::vec(word(), RECORD_WORDS).prop_map(|words| Record(words.try_into().unwrap()))
}

proptest! {
    #[test]
    fn rubbish_gives_an_answer(
        one in rules(), other in rules(), record in record(), costs in prop::array::uniform4(word()),
        now in word(), at in word(), bits in 0u32..5, slots in prop::collection::vec(word(), 64),
        goes_on in prop::array::uniform4(any::<bool>()),
    ) {
        let costs: Costs = costs;
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
            rules.charge(&mut charged, &costs, at);
            rules.refund(&mut charged, &costs, at);
            rules.cancel(&charged, record);
        };
        look(&one, &record);
        prop_assert!(one.words() <= RECORD_WORDS);
        let mut carried = one.carry(&record, ns(now), &other, |i| goes_on[i], &memory);
        look(&other, &carried);
        other.refund(&mut carried, &costs, at);
        carried = other.carry(&carried, ns(at), &one, |_| true, &memory);
        look(&one, &carried);
        look(&one, &one.unused(ns(now)));
    }
}
