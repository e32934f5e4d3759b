//! The keys that are denied most: a small sample in the file, with names. It is never part of a decision, and an update may be
//! lost.
//!
//! The places are in groups. A key has its place in one group, and takes the place there that has been denied least in the last
//! two minutes, after as many denials (as in the algorithm of Misra and Gries, "Finding repeated elements"). So a key with more
//! than a few per cent of all denials has a place, however many other keys there are.

use super::slot::Tag;
use crate::clock::Nanos;
use crate::layout::{DENIED_KEYS, DENIED_NAME, DeniedKeyWords, Hash};
use crate::sync::Ordering;

const MINUTE: u64 = 60_000_000_000;
/// Places of one group.
const GROUP: usize = 8;
/// One denial in so many is counted, for as many, beyond [`PACE`].
const SAMPLE: u64 = 64;
/// How long a handle counts so many denials one by one. Of further ones it counts one in [`SAMPLE`], for as many: so a decision that
/// denies takes no longer than one that admits, where it matters.
const PACE_SHIFT: u32 = 20;
const PACE: u64 = 64;
/// Between the parts of a key's name: the unit separator of ASCII.
pub(crate) const SEPARATOR: u8 = 0x1f;

/// The tag word while a place is being written.
const BUSY: u64 = 1;

/// A key that was denied, as the sample has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeniedKey {
    /// Its name, cut.
    pub(crate) name: Vec<u8>,
    /// How often it was denied in the last minute, estimated.
    pub(crate) last_minute: u64,
}

/// A count of one minute.
#[derive(Clone, Copy)]
struct MinuteCount {
    minute: u64,
    count: u64,
}

impl MinuteCount {
    fn of(word: u64) -> MinuteCount {
        MinuteCount { minute: word >> 32, count: word & 0xffff_ffff }
    }

    fn word(self) -> u64 {
        self.minute << 32 | self.count.min(0xffff_ffff)
    }

    /// What it counts for in this minute or the one before.
    fn within(self, minute: u64) -> u64 {
        if minute.wrapping_sub(self.minute) <= 1 { self.count } else { 0 }
    }
}

/// How many denials a handle has had in the current millisecond (2^20 ns): that, and the millisecond.
#[derive(Default)]
pub(crate) struct DenialPace(std::sync::atomic::AtomicU64);

impl DenialPace {
    /// For how many denials this one is to be counted; 0 if it is not. (If threads do this at the same time, some are lost.)
    #[inline]
    pub(crate) fn weight(&self, now: Nanos) -> u64 {
        const COUNT: u64 = (1 << PACE_SHIFT) - 1;
        let (seen, time) = (self.0.load(Ordering::Relaxed), now.as_nanos() & !COUNT);
        let count = if seen & !COUNT == time { seen & COUNT } else { 0 };
        self.0.store(time | (count + 1).min(COUNT), Ordering::Relaxed);
        match count {
            ..PACE => 1,
            _ if count.is_multiple_of(SAMPLE) => SAMPLE,
            _ => 0,
        }
    }
}

fn minute_of(now: Nanos) -> u64 {
    (now.as_nanos() / MINUTE) & 0xffff_ffff
}

/// The parts of a key as its name, cut.
fn name_of(parts: &[&[u8]]) -> ([u8; DENIED_NAME], usize) {
    let (mut name, mut len) = ([0; DENIED_NAME], 0);
    for (i, part) in parts.iter().enumerate() {
        let separator: &[u8] = if i > 0 { &[SEPARATOR] } else { &[] };
        for &byte in separator.iter().chain(*part) {
            let Some(to) = name.get_mut(len) else { return (name, len) };
            *to = byte;
            len += 1;
        }
    }
    (name, len)
}

fn check_of(tag: u64, len: u64, words: impl Iterator<Item = u64>) -> u64 {
    words.fold(Hash::new().word(tag).word(len), Hash::word).0
}

/// Counts so many denials of a key.
pub(crate) fn count(
    places: &[DeniedKeyWords; DENIED_KEYS],
    key: Tag,
    parts: &[&[u8]],
    times: u64,
    now: Nanos,
) {
    let (tag, minute) = (key.word(), minute_of(now));
    let groups = DENIED_KEYS / GROUP;
    let first = (tag >> 8) as usize % groups * GROUP;
    let group = &places[first..first + GROUP];
    if let Some(place) = group.iter().find(|place| place.tag.load(Ordering::Acquire) == tag) {
        count_at(place, minute, times);
        return;
    }
    let weight = |place: &DeniedKeyWords| {
        let word = |word: &crate::sync::AtomicU64| MinuteCount::of(word.load(Ordering::Relaxed));
        word(&place.recent).within(minute) + word(&place.before).within(minute)
    };
    let Some(least) = group.iter().min_by_key(|place| weight(place)) else { return };
    let seen = least.recent.load(Ordering::Relaxed);
    let recent = MinuteCount::of(seen);
    if weight(least) > 0 {
        // It gives way step by step.
        let step = if recent.within(minute) > 0 { &least.recent } else { &least.before };
        let _ = step.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            let of = MinuteCount::of(word);
            (of.count > 0).then(|| MinuteCount { count: of.count.saturating_sub(times), ..of }.word())
        });
        return;
    }
    let old = least.tag.load(Ordering::Relaxed);
    if least.tag.compare_exchange(old, BUSY, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        return;
    }
    // Two processes may write here at once, if one of them finds it busy because another was killed. Then the check fails.
    let (name, len) = name_of(parts);
    let words = || name.chunks(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()));
    least.before.store(0, Ordering::Relaxed);
    least.recent.store(MinuteCount { minute, count: times }.word(), Ordering::Relaxed);
    least.name_len.store(len as u64, Ordering::Relaxed);
    for (to, word) in least.name.iter().zip(words()) {
        to.store(word, Ordering::Relaxed);
    }
    least.check.store(check_of(tag, len as u64, words()), Ordering::Relaxed);
    least.tag.store(tag, Ordering::Release);
}

fn count_at(place: &DeniedKeyWords, minute: u64, times: u64) {
    let seen = place.recent.load(Ordering::Relaxed);
    let recent = MinuteCount::of(seen);
    if recent.minute != minute {
        // The first denial of this minute. If another process counts it at the same time, one of the two is lost.
        let next = MinuteCount { minute, count: times };
        if place.recent.compare_exchange(seen, next.word(), Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            place.before.store(seen, Ordering::Relaxed);
        }
    } else if recent.count < 0xffff_0000 {
        place.recent.fetch_add(times, Ordering::Relaxed);
    }
}

/// Erases all names.
pub(crate) fn clear(places: &[DeniedKeyWords; DENIED_KEYS]) {
    for place in places {
        place.tag.store(BUSY, Ordering::Relaxed);
        place
            .name
            .iter()
            .chain([&place.recent, &place.before, &place.name_len])
            .for_each(|word| word.store(0, Ordering::Relaxed));
        place.tag.store(0, Ordering::Release);
    }
}

/// The keys of the sample that were denied in the last minute, those denied most first.
pub(crate) fn most_denied(places: &[DeniedKeyWords; DENIED_KEYS], now: Nanos) -> Vec<DeniedKey> {
    let minute = minute_of(now);
    let mut keys: Vec<DeniedKey> = places
        .iter()
        .filter_map(|place| {
            let tag = place.tag.load(Ordering::Acquire);
            let len = place.name_len.load(Ordering::Relaxed);
            let words = place.name.each_ref().map(|word| word.load(Ordering::Relaxed));
            if tag <= BUSY
                || len > DENIED_NAME as u64
                || place.check.load(Ordering::Relaxed) != check_of(tag, len, words.into_iter())
            {
                return None;
            }
            let word = |word: &crate::sync::AtomicU64| MinuteCount::of(word.load(Ordering::Relaxed));
            let (recent, before) = (word(&place.recent), word(&place.before));
            // The sliding estimate: the minute before counts for what is left of it.
            let left = MINUTE - now.as_nanos() % MINUTE;
            let weighed = |count: u64| (u128::from(count) * u128::from(left) / u128::from(MINUTE)) as u64;
            let last_minute = match minute.wrapping_sub(recent.minute) {
                0 if before.minute.wrapping_add(1) == minute => recent.count + weighed(before.count),
                0 => recent.count,
                1 => weighed(recent.count),
                _ => 0,
            };
            let mut name: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            name.truncate(len as usize);
            (last_minute > 0).then_some(DeniedKey { name, last_minute })
        })
        .collect();
    keys.sort_by(|a, b| b.last_minute.cmp(&a.last_minute).then_with(|| a.name.cmp(&b.name)));
    keys
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;
    use crate::keyed::HashKey;
    use crate::sync::AtomicU64;

    const HOUR: u64 = 60 * MINUTE;

    fn places() -> Box<[DeniedKeyWords; DENIED_KEYS]> {
        let word = || AtomicU64::new(0);
        let words = |_| DeniedKeyWords {
            tag: word(),
            recent: word(),
            before: word(),
            name_len: word(),
            check: word(),
            name: std::array::from_fn(|_| word()),
            _reserved: std::array::from_fn(|_| word()),
        };
        Box::new(std::array::from_fn(words))
    }

    fn deny(places: &[DeniedKeyWords; DENIED_KEYS], parts: &[&str], at: u64) {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        let tag = HashKey([1, 2]).hash(&parts).tag;
        count(places, tag, &parts, 1, Nanos::from_nanos(at));
    }

    fn names(places: &[DeniedKeyWords; DENIED_KEYS], at: u64) -> Vec<(String, u64)> {
        let keys = most_denied(places, Nanos::from_nanos(at));
        keys.into_iter().map(|key| (String::from_utf8(key.name).unwrap(), key.last_minute)).collect()
    }

    #[test]
    fn the_most_denied_key_comes_first() {
        let places = places();
        for (key, times) in [("a", 1), ("b", 5), ("c", 3)] {
            (0..times).for_each(|i| deny(&places, &[key], HOUR + i));
        }
        let key = |name: &str, n| (name.to_owned(), n);
        assert_eq!(names(&places, HOUR + 9), [key("b", 5), key("c", 3), key("a", 1)]);
        // Half a minute into the next one they count for half, and later not at all.
        assert_eq!(names(&places, HOUR + MINUTE + MINUTE / 2), [key("b", 2), key("c", 1)]);
        assert_eq!(names(&places, HOUR + 2 * MINUTE), []);
    }

    #[test]
    fn many_denials_in_a_millisecond_are_sampled() {
        let pace = DenialPace::default();
        let start = HOUR >> PACE_SHIFT << PACE_SHIFT;
        let weights: Vec<u64> = (0..1_000).map(|i| pace.weight(Nanos::from_nanos(start + i))).collect();
        assert_eq!(weights[..64], [1; 64]);
        assert!(weights.iter().sum::<u64>().abs_diff(1_000) < SAMPLE);
        assert_eq!(weights[64..].iter().filter(|&&weight| weight > 0).count(), 936 / SAMPLE as usize + 1);
        assert_eq!(pace.weight(Nanos::from_nanos(start + (1 << PACE_SHIFT))), 1, "the next millisecond");
    }

    #[test]
    fn a_name_is_cut_and_its_parts_are_separated() {
        let places = places();
        deny(&places, &["alice", "/login"], HOUR);
        deny(&places, &["x".repeat(60).as_str()], HOUR);
        let names: Vec<String> = names(&places, HOUR).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["alice\u{1f}/login".to_owned(), "x".repeat(48)]);
    }

    /// One key in ten denials is "hot", and all the others are different ones.
    #[test]
    fn a_frequent_key_has_a_place_among_many_rare_ones() {
        let places = places();
        for i in 0..50_000u64 {
            let at = HOUR + i * 1_000_037;
            if i % 10 == 0 {
                deny(&places, &["hot"], at);
            } else {
                deny(&places, &[i.to_string().as_str()], at);
            }
        }
        let all = names(&places, HOUR + 50_000 * 1_000_037);
        assert_eq!(all[0].0, "hot", "{all:?}");
        assert!((1_000..9_000).contains(&all[0].1), "{all:?}");
    }

    /// A place whose words do not belong together is not shown.
    #[test]
    fn a_half_written_name_is_not_shown() {
        let places = places();
        deny(&places, &["alice"], HOUR);
        let place = places.iter().find(|place| place.tag.load(Ordering::Relaxed) != 0).unwrap();
        place.name[0].store(u64::from_le_bytes(*b"mallory!"), Ordering::Relaxed);
        assert_eq!(names(&places, HOUR), []);
        place.name_len.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(names(&places, HOUR), []);
        place.tag.store(BUSY, Ordering::Relaxed);
        deny(&places, &["alice"], HOUR);
    }
}
