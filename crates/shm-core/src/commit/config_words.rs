//! A configuration as words of the file: writing, reading, and validating.

use super::config::Config;
use super::damage::{CONFIG_WORDS, Damage, DamagedWord, Expected, Remedy};
use crate::clock::{self, Nanos};
use crate::layout::{Generation, Hash, LIMITS, LimitWords, RINGS};
use crate::limit::log::Log;
use crate::limit::rule::Rule;
use crate::limit::rule_set::Rules;
use crate::limit::window::{FixedWindow, SlidingCounter};
use crate::limit::{Gcra, Kind, Limit, MAX_LIMITS, MAX_WAIT, Policy, Rate, Start, Ticks, Unit};
use crate::sync::{AtomicU64, Ordering};
use std::time::Duration;

/// Flag in the kind word: the limit counts a unit other than calls.
const COUNTS_A_UNIT: u64 = 1 << 16;
/// Flag in the kind word of every limit: shadow mode.
const SHADOW: u64 = 1 << 17;

/// The words of a generation's header, and those of one limit.
type HeaderWords = [u64; 6];
type LimitFields = [u64; 12];

/// Flag in the word of `max_waiters`: the number is limited.
const HAS_MAX_WAITERS: u64 = 1 << 32;

impl Config {
    fn header_words(&self, number: u64) -> HeaderWords {
        let limits = self.policy.limits().count() as u64;
        let shape =
            limits | u64::from(self.policy.permits().unwrap_or(0)) << 32 | u64::from(self.permits_ever) << 48;
        [
            number,
            u64::from(self.starts_empty),
            self.since.as_nanos(),
            self.not_before.map_or(0, Nanos::as_nanos),
            shape,
            self.policy.max_waiters().map_or(0, |n| HAS_MAX_WAITERS | u64::from(n)),
        ]
    }

    /// The words of limit `i`: zeros beyond the last limit, except for the policy-wide flags in the first. `wall_ns`
    /// aligns windows to the Unix epoch.
    fn limit_fields(&self, i: usize, wall_ns: u64) -> LimitFields {
        let shadow = if self.policy.is_shadow() { SHADOW } else { 0 };
        let Some(limit) = self.policy.limits().nth(i) else {
            let mut words = [0; 12];
            words[0] = if i == 0 { shadow } else { 0 };
            return words;
        };
        let [a, b, c] = limit.unit().words();
        let per = limit.rate().per_ns();
        let span = per + limit.guard().as_nanos() as u64;
        let (kind, x, y, floor) = match limit.kind() {
            Kind::Bucket { .. } => {
                let g = Gcra::new(limit, self.not_before);
                (u64::from(g.ticks.shift), g.ticks.per_ns, g.ticks.inverse, g.floor)
            }
            Kind::Greedy => (1 << 8, span, 0, 0),
            // The clock reading, after boot, at which the wall time is a multiple of `per`.
            Kind::FixedWindow(Start::Epoch) => (2 << 8, span, (per - wall_ns % per) % per, 0),
            Kind::FixedWindow(Start::FirstUse) => (3 << 8, span, 0, 0),
            Kind::SlidingCounter => (4 << 8, span, 0, 0),
        };
        let kind = kind | if limit.unit().is_calls() { 0 } else { COUNTS_A_UNIT } | shadow;
        let fast_burst = if i == 0 { self.policy.fast_burst() } else { 0 };
        let (max, guard) = (limit.rate().max(), limit.guard().as_nanos() as u64);
        [kind, limit.burst(), x, y, floor, fast_burst, max, per, guard, a, b, c]
    }

    /// All words, with their checksum.
    fn raw(&self, number: u64, wall_ns: u64) -> RawConfig {
        let mut raw = RawConfig {
            about: self.header_words(number),
            limits: std::array::from_fn(|i| self.limit_fields(i, wall_ns)),
            checksum: 0,
        };
        raw.checksum = raw.sum();
        raw
    }

    /// Writes the configuration to a slot that no process reads now, or whose words are damaged.
    pub(super) fn store(&self, number: u64, wall_ns: u64, to: &Generation) {
        let raw = self.raw(number, wall_ns);
        let put = |word: &AtomicU64, value| word.store(value, Ordering::Relaxed);
        for (word, value) in header_fields(to).into_iter().zip(raw.about) {
            put(word, value);
        }
        for (place, values) in to.limits.iter().zip(raw.limits) {
            for (word, value) in fields_of_limit(place).into_iter().zip(values) {
                put(word, value);
            }
        }
        put(&to.header.checksum, raw.checksum);
    }

    /// Reads a configuration, possibly while it is being written: the caller verifies that the slot was current
    /// throughout, then calls [`check`](RawConfig::check).
    pub(super) fn load(from: &Generation) -> RawConfig {
        let get = |w: &AtomicU64| w.load(Ordering::Relaxed);
        RawConfig {
            about: header_fields(from).map(get),
            limits: std::array::from_fn(|i| fields_of_limit(&from.limits[i]).map(get)),
            checksum: get(&from.header.checksum),
        }
    }
}

/// A configuration as read from the file, not yet validated.
#[derive(Clone, Copy)]
pub(super) struct RawConfig {
    about: HeaderWords,
    limits: [LimitFields; LIMITS],
    checksum: u64,
}

impl RawConfig {
    /// The configuration, if it is that of generation `number` and one that can be requested.
    pub(super) fn check(&self, number: u64, wall_ns: u64) -> Result<Config, Damage> {
        self.sound(number, wall_ns).ok_or_else(|| self.damage(number, wall_ns))
    }

    /// The same, without an explanation.
    pub(super) fn sound(&self, number: u64, wall_ns: u64) -> Option<Config> {
        self.consistent(number, wall_ns).filter(|_| self.sum() == self.checksum)
    }

    /// The number of the generation, according to its words.
    pub(super) fn number(&self) -> u64 {
        self.about[0]
    }

    /// The words that the checksum covers, in its order.
    fn words(&self) -> [u64; CONFIG_WORDS] {
        let mut words = self.about.into_iter().chain(self.limits.into_iter().flatten());
        std::array::from_fn(|_| words.next().unwrap_or(0))
    }

    fn set_word(&mut self, index: usize, value: u64) {
        let words = self.about.iter_mut().chain(self.limits.iter_mut().flatten());
        words.skip(index).take(1).for_each(|word| *word = value);
    }

    fn sum(&self) -> u64 {
        self.words().into_iter().fold(Hash::new(), Hash::word).0
    }

    /// The configuration, if all words follow from what they state.
    fn consistent(&self, number: u64, wall_ns: u64) -> Option<Config> {
        let config = self.stated()?;
        let same = config.header_words(number) == self.about
            && self.limits.iter().enumerate().all(|(i, words)| config.limit_fields(i, wall_ns) == *words);
        same.then_some(config)
    }

    /// The configuration that the words state, if it can be requested. Words that follow from others are not read.
    fn stated(&self) -> Option<Config> {
        let [_, forget, since, not_before, shape, max_waiters] = self.about;
        let mut limits = [Limit::patient(Rate::EVERY_SECOND); MAX_LIMITS];
        let count = (shape & 0xff) as usize;
        if count > LIMITS {
            return None;
        }
        for (limit, words) in limits.iter_mut().zip(&self.limits).take(count) {
            *limit = limit_of(words)?;
        }
        let permits = (shape >> 32 & 0xffff) as u32;
        let policy = match (count, permits) {
            (0, n) => Policy::of_permits(n),
            (_, 0) => Policy::new(&limits[..count]),
            (_, n) => Policy::new(&limits[..count]).and_then(|policy| policy.with_permits(n)),
        };
        let mut policy = policy.ok()?;
        if let Some(n) = max_waiters_in(max_waiters) {
            policy = policy.with_max_waiters(n);
        }
        let config = Config {
            policy: policy.in_shadow(self.limits[0][0] & SHADOW != 0),
            since: Nanos::from_nanos(since),
            not_before: (not_before != 0).then_some(Nanos::from_nanos(not_before)),
            starts_empty: forget != 0,
            permits_ever: (shape >> 48) as u32,
        };
        let pause_is_possible = config.not_before.is_none_or(|at| at <= config.since.plus(MAX_WAIT));
        pause_is_possible.then_some(config)
    }

    /// The configuration of generation `number` before its words were damaged, if the checksum tells what it was: only
    /// words that follow from others are damaged, or only one word, or the checksum itself.
    #[cold]
    pub(super) fn restored(&self, number: u64, wall_ns: u64) -> Option<Config> {
        let has_sum = |config: &Config| config.raw(number, wall_ns).checksum == self.checksum;
        if let Some(config) = self.stated().filter(has_sum) {
            return Some(config);
        }
        // For each word there is one value with which the checksum is right. For all but the damaged word that value is
        // arbitrary, and hardly ever one that leaves the configuration consistent. (If few bits are damaged, the next
        // word may have such a value, too, but it differs in more bits.)
        let (words, now) = (self.words(), clock::now());
        let with_expected = |index: usize| {
            let expected = Hash::expected_word(&words, index, self.checksum);
            let mut raw = *self;
            raw.set_word(index, expected);
            let config = raw.consistent(number, wall_ns).filter(|config| config.since <= now)?;
            Some(((words[index] ^ expected).count_ones(), config))
        };
        let nearest = (0..CONFIG_WORDS).filter_map(with_expected).min_by_key(|&(bits, _)| bits);
        nearest.map(|(_, config)| config).or_else(|| self.consistent(number, wall_ns))
    }

    /// What is damaged, given that the words are not those of a configuration of generation `number`.
    #[cold]
    fn damage(&self, number: u64, wall_ns: u64) -> Damage {
        let at = |index| DamagedWord::Config { epoch: number, index };
        let (words, sum) = (self.words(), self.sum());
        if let Some(config) = self.restored(number, wall_ns) {
            let right = config.raw(number, wall_ns);
            let differs = (0..CONFIG_WORDS).find(|&index| words[index] != right.words()[index]);
            let (index, found, expected) = match differs {
                Some(index) => (index, words[index], right.words()[index]),
                None => (CONFIG_WORDS, self.checksum, right.checksum),
            };
            let expected = Expected::Value(expected);
            return Damage { word: at(index), found, expected, remedy: Remedy::ResetRestores };
        }
        let (index, found, expected) = if self.number() != number {
            (0, self.number(), Expected::Value(number))
        } else if sum != self.checksum {
            (CONFIG_WORDS, self.checksum, Expected::ChecksumOfWords(sum))
        } else {
            // Only something that computes checksums writes that.
            let impossible = Expected::Any("a configuration that can be requested, beginning with this word");
            (1, words[1], impossible)
        };
        Damage { word: at(index), found, expected, remedy: Remedy::Recreate }
    }
}

fn limit_of(words: &LimitFields) -> Option<Limit> {
    let [kind, burst, _, _, _, _, max, per_ns, guard_ns, a, b, c] = *words;
    let rate = Rate::new(max, Duration::from_nanos(per_ns)).ok()?;
    let limit = match kind >> 8 & 0xff {
        0 => Limit::with_burst(rate, burst),
        1 => Limit::greedy(rate),
        2 => Limit::fixed_window(rate, Start::Epoch),
        3 => Limit::fixed_window(rate, Start::FirstUse),
        4 => Limit::sliding_counter(rate),
        _ => return None,
    };
    Some(limit.ok()?.guarded(Duration::from_nanos(guard_ns)).ok()?.counting(Unit::from_words([a, b, c])?))
}

fn header_fields(g: &Generation) -> [&AtomicU64; 6] {
    let a = &g.header;
    [&a.number, &a.starts_empty, &a.since_ns, &a.not_before_ns, &a.shape, &a.max_waiters]
}

fn fields_of_limit(l: &LimitWords) -> [&AtomicU64; 12] {
    let (n, w) = (&l.params, &l.details);
    let [a, b, c] = &w.unit;
    let numbers = [&n.kind, &n.burst, &n.ticks_per_ns, &n.ns_per_tick, &n.floor, &n.fast_burst];
    let what = [&w.max, &w.per_ns, &w.guard_ns, a, b, c];
    std::array::from_fn(|i| if i < numbers.len() { numbers[i] } else { what[i - numbers.len()] })
}

/// The parameters of the only limit, and whether shadow mode is on. Possibly garbage: the caller checks that the slot
/// was current, and the arithmetic on them cannot fail.
#[inline]
pub(super) fn gcra(from: &Generation) -> (Gcra, bool) {
    let limit = &from.limits[0];
    let kind = limit.params.kind.load(Ordering::Relaxed);
    (gcra_of(limit, kind), kind & SHADOW != 0)
}

/// The same for the fast path: with a burst of 0 unless the limiter is one bucket of calls without permits.
#[inline]
pub(super) fn fast_gcra(from: &Generation) -> (Gcra, bool) {
    let (gcra, shadow) = gcra(from);
    (Gcra { burst: from.limits[0].params.fast_burst.load(Ordering::Relaxed), ..gcra }, shadow)
}

/// Whether there is no limit, only permits. Possibly garbage, as above.
pub(super) fn is_unlimited(from: &Generation) -> bool {
    limits_in(from.header.shape.load(Ordering::Relaxed)) == 0
}

/// The number of limits. A configuration without limits has permits: if both are 0, nothing was ever written, and the
/// zero words act as a limit that admits nothing.
fn limits_in(shape: u64) -> usize {
    match (shape & 0xff, shape >> 32 & 0xffff) {
        (0, 0) => 1,
        (limits, _) => (limits as usize).min(LIMITS),
    }
}

/// When the pause ends; 0 without one. Possibly garbage, as above.
pub(super) fn not_before(from: &Generation) -> Nanos {
    Nanos::from_nanos(from.header.not_before_ns.load(Ordering::Relaxed))
}

#[inline]
fn gcra_of(l: &LimitWords, kind: u64) -> Gcra {
    let n = &l.params;
    let get = |w: &AtomicU64| w.load(Ordering::Relaxed);
    Gcra {
        ticks: Ticks { shift: kind as u32 & 63, per_ns: get(&n.ticks_per_ns), inverse: get(&n.ns_per_tick) },
        burst: get(&n.burst),
        floor: get(&n.floor),
    }
}

/// The parameters of all limits. Possibly garbage, as above.
pub(super) fn rules(from: &Generation, ringed: [bool; RINGS]) -> Rules {
    let get = |w: &AtomicU64| w.load(Ordering::Relaxed);
    let rule = |i: usize| {
        let l = &from.limits[i % LIMITS];
        let n = &l.params;
        let (max, per) = (get(&n.burst), get(&n.ticks_per_ns));
        let kind = get(&n.kind);
        match kind >> 8 & 0xff {
            0 => Rule::Bucket(gcra_of(l, kind)),
            1 => Rule::Log(Log { max, span: per }),
            2 => Rule::Fixed(FixedWindow { max, per, origin: Some(get(&n.ns_per_tick)) }),
            3 => Rule::Fixed(FixedWindow { max, per, origin: None }),
            _ => Rule::Sliding(SlidingCounter { max, per }),
        }
    };
    let len = limits_in(get(&from.header.shape));
    Rules::new(len, rule, ringed, get(&from.header.not_before_ns))
}

/// Which unit each limit counts; `None` for calls. Possibly garbage, as above.
pub(super) fn units(from: &Generation) -> [Option<[u64; 3]>; LIMITS] {
    from.limits.each_ref().map(|l| {
        let counts = l.params.kind.load(Ordering::Relaxed) & COUNTS_A_UNIT != 0;
        counts.then(|| l.details.unit.each_ref().map(|w| w.load(Ordering::Relaxed)))
    })
}

/// The current number of permits, and the maximum there ever was. Possibly garbage, as above.
#[inline]
pub(super) fn permits(from: &Generation) -> (usize, usize) {
    let shape = from.header.shape.load(Ordering::Relaxed);
    ((shape >> 32 & 0xffff) as usize, (shape >> 48) as usize)
}

/// How many requests may wait, if that is limited. Possibly garbage, as above.
pub(super) fn max_waiters(from: &Generation) -> Option<u32> {
    max_waiters_in(from.header.max_waiters.load(Ordering::Relaxed))
}

fn max_waiters_in(word: u64) -> Option<u32> {
    (word & HAS_MAX_WAITERS != 0).then_some(word as u32)
}

/// Whether shadow mode is on. Possibly garbage, as above.
pub(super) fn is_shadow(from: &Generation) -> bool {
    from.limits[0].params.kind.load(Ordering::Relaxed) & SHADOW != 0
}

/// For the test vectors: a configuration in memory instead of a file.
#[cfg(all(test, not(model)))]
pub(crate) mod in_memory {
    use super::*;

    /// The generation of this number, with its state unwritten.
    pub(crate) fn generation(config: &Config, number: u64, wall_ns: u64) -> Generation {
        let generation = Generation::model();
        config.store(number, wall_ns, &generation);
        generation
    }

    /// The offsets in a generation of the words that its checksum covers, in this order.
    pub(crate) fn summed_offsets() -> Vec<usize> {
        let generation = Generation::model();
        let start = std::ptr::from_ref(&generation).addr();
        let offset = |word: &AtomicU64| std::ptr::from_ref(word).addr() - start;
        let limits = generation.limits.iter().flat_map(fields_of_limit);
        header_fields(&generation).into_iter().chain(limits).map(offset).collect()
    }

    /// The word at this offset in a generation, if it is one that a configuration has.
    pub(crate) fn word_at(generation: &Generation, at: usize) -> Option<&AtomicU64> {
        let start = std::ptr::from_ref(generation).addr();
        let limits = generation.limits.iter().flat_map(fields_of_limit);
        let mut words =
            header_fields(generation).into_iter().chain(limits).chain([&generation.header.checksum]);
        words.find(|word| std::ptr::from_ref(*word).addr() == start + at)
    }

    /// The rules of this configuration, in a file whose limits have these rings.
    pub(crate) fn rules_of(config: &Config, wall_ns: u64, ringed: [bool; RINGS]) -> Rules {
        rules(&generation(config, 1, wall_ns), ringed)
    }
}
