//! A configuration as words of the file: writing, reading, and validating.

use super::config::{Config, zone_tag};
use super::damage::{
    ANCHOR_TICKS, BEFORE_CALENDAR, BEFORE_KEYS, CALENDAR_WORDS, CONFIG_WORDS, Damage, DamagedWord, Expected,
    HEADER_WORDS, KEY_LIMIT_WORDS, Remedy,
};
use crate::clock::{self, Nanos};
use crate::keyed::{Anchor, BUCKET_OF_A_KEY, KeyClock, KeyLimit, KeyParams, KeyRules, Ratio};
use crate::layout::{CalendarWords, Generation, Hash, KeyLimitWords, LIMITS, LimitWords, RINGS};
use crate::limit::calendar::{LocalTime, Offsets};
use crate::limit::log::Log;
use crate::limit::rule::Rule;
use crate::limit::rule_set::Rules;
use crate::limit::window::{FixedWindow, SlidingCounter, WallClock, Windows};
use crate::limit::{
    Calendar, Gcra, KeyPolicy, Kind, Limit, MAX_LIMITS, MAX_WAIT, Policy, Rate, Start, Ticks, Unit, Zone,
};
use crate::sync::{AtomicU64, Ordering};
use std::cell::Cell;
use std::time::Duration;

/// Flag in the kind word: the limit counts a unit other than calls.
const COUNTS_A_UNIT: u64 = 1 << 16;
/// Flag in the kind word of every limit: shadow mode.
const SHADOW: u64 = 1 << 17;

/// Flag in the kind word of a limit per key: a request also takes from a limit of all keys, or a permit.
const TAKES_MORE: u64 = 1 << 18;
/// Flag in the kind word of a limit per key: a new key is denied rather than that one is forgotten.
const REFUSES_NEW: u64 = 1 << 19;

/// Where the kind word of a limit per key has the shifts of its ratios.
const SPEED_SHIFT: u32 = 32;
const INVERSE_SHIFT: u32 = 40;

/// Flags in the header's word `shape`.
const SHAPE_REFUSES_NEW: u64 = 1 << 16;
const SHAPE_HIDES_NAMES: u64 = 1 << 17;

/// Flags in the header's word `origin`.
const STARTS_EMPTY: u64 = 1;
const CLOCK_WAS_SET: u64 = 2;

/// The words of a generation's header, those of one limit, and those of the calendar.
type HeaderWords = [u64; HEADER_WORDS];
type LimitFields = [u64; 12];
type KeyLimitFields = [u64; KEY_LIMIT_WORDS];
type CalendarFields = [u64; CALENDAR_WORDS];

/// Flag in the word of `max_waiters`: the number is limited.
const HAS_MAX_WAITERS: u64 = 1 << 32;

impl Config {
    fn header_words(&self, number: u64) -> HeaderWords {
        let limits = self.policy.limits().count() as u64;
        let keys = self.policy.keys().map_or(0, |keys| {
            let flag = |is_set: bool, flag: u64| if is_set { flag } else { 0 };
            (keys.limits().count() as u64) << 8
                | flag(keys.refuses_new_keys(), SHAPE_REFUSES_NEW)
                | flag(keys.hides_names(), SHAPE_HIDES_NAMES)
        });
        let shape = limits
            | keys
            | u64::from(self.policy.permits().unwrap_or(0)) << 32
            | u64::from(self.permits_ever) << 48;
        [
            number,
            if self.starts_empty { STARTS_EMPTY } else { 0 }
                | if self.clock_was_set { CLOCK_WAS_SET } else { 0 },
            self.since.as_nanos(),
            self.not_before.map_or(0, Nanos::as_nanos),
            shape,
            self.policy.max_waiters().map_or(0, |n| HAS_MAX_WAITERS | u64::from(n)),
            self.wall.local.wall_ns,
        ]
    }

    /// The words for windows that follow the wall clock; zeros if there are none.
    fn calendar_fields(&self) -> CalendarFields {
        let mut words = [0; CALENDAR_WORDS];
        if self.policy.follows_wall_clock() {
            let zone = self.policy.zone().unwrap_or(Zone::UTC).words();
            let WallClock { local, earliest_ns, continuous_ns, .. } = &self.wall;
            let all = zone.into_iter().chain(local.offsets.words()).chain([*earliest_ns, *continuous_ns]);
            words.iter_mut().zip(all).for_each(|(to, word)| *to = word);
        }
        words
    }

    /// The words of limit `i`: zeros beyond the last limit, except for the policy-wide flags in the first.
    fn limit_fields(&self, i: usize) -> LimitFields {
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
            Kind::FixedWindow(Start::Epoch) => {
                let wall_ns = self.wall.local.wall_ns;
                (2 << 8, span, (per - wall_ns % per) % per, 0)
            }
            Kind::FixedWindow(Start::FirstUse) => (3 << 8, span, 0, 0),
            Kind::SlidingCounter => (4 << 8, span, 0, 0),
            Kind::CalendarWindow { period, .. } => (5 << 8, period.code(), 0, 0),
        };
        let kind = kind | if limit.unit().is_calls() { 0 } else { COUNTS_A_UNIT } | shadow;
        let fast_burst = if i == 0 { self.policy.fast_burst() } else { 0 };
        let (max, guard) = (limit.rate().max(), limit.guard().as_nanos() as u64);
        [kind, limit.burst(), x, y, floor, fast_burst, max, per, guard, a, b, c]
    }

    /// The words of limit `i` of each key: zeros beyond the last one.
    fn key_limit_fields(&self, i: usize) -> KeyLimitFields {
        let keys = self.policy.keys();
        let Some((keys, limit)) = keys.and_then(|keys| Some((keys, keys.limits().nth(i)?))) else {
            return [0; KEY_LIMIT_WORDS];
        };
        let KeyParams { kind, bits, burst, speed, inverse, floor, anchor_ns, anchor_ticks } =
            KeyLimit::params_of(limit, i, &self.key_clock, self.not_before);
        let flag = |is_set: bool, flag: u64| if is_set { flag } else { 0 };
        let kind = u64::from(bits)
            | u64::from(kind) << 8
            | u64::from(speed.shift) << SPEED_SHIFT
            | u64::from(inverse.shift) << INVERSE_SHIFT
            | flag(!limit.unit().is_calls(), COUNTS_A_UNIT)
            | flag(self.policy.is_shadow(), SHADOW)
            | flag(!self.policy.limits_only_keys(), TAKES_MORE)
            | flag(keys.refuses_new_keys(), REFUSES_NEW);
        let [a, b, c] = limit.unit().words();
        let (max, per) = (limit.rate().max(), limit.rate().per_ns());
        [kind, burst, speed.mantissa, inverse.mantissa, floor, anchor_ns, anchor_ticks, max, per, a, b, c]
    }

    /// The limits of each key, in order.
    fn key_limits(&self) -> impl Iterator<Item = KeyLimit> {
        let limits = self.policy.keys().into_iter().flat_map(KeyPolicy::limits).enumerate();
        limits
            .map(|(i, limit)| KeyLimit::of(&KeyLimit::params_of(limit, i, &self.key_clock, self.not_before)))
    }

    /// All words, with their checksum.
    fn raw(&self, number: u64) -> RawConfig {
        let mut raw = RawConfig {
            about: self.header_words(number),
            limits: std::array::from_fn(|i| self.limit_fields(i)),
            key_limits: std::array::from_fn(|i| self.key_limit_fields(i)),
            calendar: self.calendar_fields(),
            checksum: 0,
        };
        raw.checksum = raw.sum();
        raw
    }

    /// Writes the configuration to a slot that no process reads now, or whose words are damaged.
    pub(super) fn store(&self, number: u64, to: &Generation) {
        let raw = self.raw(number);
        let put = |word: &AtomicU64, value| word.store(value, Ordering::Relaxed);
        for (word, value) in header_fields(to).into_iter().zip(raw.about) {
            put(word, value);
        }
        for (place, values) in to.limits.iter().zip(raw.limits) {
            for (word, value) in fields_of_limit(place).into_iter().zip(values) {
                put(word, value);
            }
        }
        if self.policy.keys().is_some() || ALWAYS_READS_ALL {
            for (place, values) in to.key_limits.iter().zip(raw.key_limits) {
                key_limit_fields_of(place).into_iter().zip(values).for_each(|(word, value)| put(word, value));
            }
        }
        if self.policy.follows_wall_clock() || ALWAYS_READS_ALL {
            calendar_fields_of(&to.calendar).zip(raw.calendar).for_each(|(word, value)| put(word, value));
        }
        put(&to.header.checksum, raw.checksum);
    }

    /// Reads a configuration, possibly while it is being written: the caller verifies that the slot was current
    /// throughout, then calls [`check`](RawConfig::check).
    pub(super) fn load(from: &Generation) -> RawConfig {
        let get = |w: &AtomicU64| w.load(Ordering::Relaxed);
        let limits: [LimitFields; LIMITS] =
            std::array::from_fn(|i| fields_of_limit(&from.limits[i]).map(get));
        let about = header_fields(from).map(get);
        let mut key_limits = [[0; KEY_LIMIT_WORDS]; LIMITS];
        if ALWAYS_READS_ALL || key_limits_in(about[SHAPE]) > 0 {
            key_limits = std::array::from_fn(|i| key_limit_fields_of(&from.key_limits[i]).map(get));
        }
        let mut calendar = [0; CALENDAR_WORDS];
        if ALWAYS_READS_ALL || limits.iter().any(|words| follows_wall_clock(words[0])) {
            calendar
                .iter_mut()
                .zip(calendar_fields_of(&from.calendar))
                .for_each(|(to, from)| *to = get(from));
        }
        RawConfig { about, limits, key_limits, calendar, checksum: get(&from.header.checksum) }
    }
}

/// A configuration as read from the file, not yet validated.
#[derive(Clone, Copy)]
pub(super) struct RawConfig {
    about: HeaderWords,
    limits: [LimitFields; LIMITS],
    key_limits: [KeyLimitFields; LIMITS],
    /// Zeros if no windows follow the wall clock.
    calendar: CalendarFields,
    checksum: u64,
}

impl RawConfig {
    /// The configuration, if it is that of generation `number` and one that can be requested.
    pub(super) fn check(&self, number: u64) -> Result<Config, Damage> {
        self.sound(number).ok_or_else(|| self.damage(number))
    }

    /// The same, without an explanation.
    pub(super) fn sound(&self, number: u64) -> Option<Config> {
        self.consistent(number).filter(|_| self.sum() == self.checksum)
    }

    /// The number of the generation, according to its words.
    pub(super) fn number(&self) -> u64 {
        self.about[0]
    }

    /// The words that the checksum covers, in its order.
    fn words(&self) -> [u64; CONFIG_WORDS] {
        let words = self.about.into_iter().chain(self.limits.into_iter().flatten());
        let mut words = words.chain(self.key_limits.into_iter().flatten()).chain(self.calendar);
        std::array::from_fn(|_| words.next().unwrap_or(0))
    }

    fn set_word(&mut self, index: usize, value: u64) {
        let words = self.about.iter_mut().chain(self.limits.iter_mut().flatten());
        let words = words.chain(self.key_limits.iter_mut().flatten()).chain(&mut self.calendar);
        words.skip(index).take(1).for_each(|word| *word = value);
    }

    fn sum(&self) -> u64 {
        self.words().into_iter().fold(Hash::new(), Hash::word).0
    }

    /// The configuration, if all words follow from what they state.
    fn consistent(&self, number: u64) -> Option<Config> {
        let config = self.stated()?;
        let same = config.header_words(number) == self.about
            && self.limits.iter().enumerate().all(|(i, words)| config.limit_fields(i) == *words)
            && self.key_limits.iter().enumerate().all(|(i, words)| config.key_limit_fields(i) == *words)
            && config.calendar_fields() == self.calendar;
        same.then_some(config)
    }

    /// The configuration that the words state, if it can be requested. Words that follow from others are not read.
    fn stated(&self) -> Option<Config> {
        let [_, origin, since, not_before, shape, max_waiters, wall_ns] = self.about;
        let mut limits = [Limit::patient(Rate::EVERY_SECOND); MAX_LIMITS];
        let count = (shape & 0xff) as usize;
        if count > LIMITS {
            return None;
        }
        let (zone, wall) = wall_of(wall_ns, &self.calendar)?;
        for (limit, words) in limits.iter_mut().zip(&self.limits).take(count) {
            *limit = limit_of(words, zone)?;
        }
        let permits = (shape >> 32 & 0xffff) as u32;
        let (keys, key_clock) = self.keys()?;
        let policy = match (count, permits, keys) {
            (0, 0, Some(keys)) => Ok(Policy::of_keys(keys)),
            (0, n, _) => Policy::of_permits(n),
            (_, 0, _) => Policy::new(&limits[..count]),
            (_, n, _) => Policy::new(&limits[..count]).and_then(|policy| policy.with_permits(n)),
        };
        let mut policy = policy.ok()?;
        if let Some(keys) = keys {
            policy = policy.with_keys(keys);
        }
        if let Some(n) = max_waiters_in(max_waiters) {
            policy = policy.with_max_waiters(n);
        }
        let config = Config {
            policy: policy.in_shadow(self.limits[0][0] & SHADOW != 0),
            since: Nanos::from_nanos(since),
            not_before: (not_before != 0).then_some(Nanos::from_nanos(not_before)),
            starts_empty: origin & STARTS_EMPTY != 0,
            clock_was_set: origin & CLOCK_WAS_SET != 0,
            permits_ever: (shape >> 48) as u32,
            wall,
            key_clock,
        };
        let pause_is_possible = config.not_before.is_none_or(|at| at <= config.since.plus(MAX_WAIT));
        pause_is_possible.then_some(config)
    }

    /// The limits per key that the words state, if they can be requested, and the clock of their tables.
    fn keys(&self) -> Option<(Option<KeyPolicy>, KeyClock)> {
        let shape = self.about[SHAPE];
        let mut clock = KeyClock::default();
        let count = (shape >> 8 & 0xff) as usize;
        if count == 0 {
            return Some((None, clock));
        }
        let mut limits = [Limit::patient(Rate::EVERY_SECOND); MAX_LIMITS];
        for (i, (limit, words)) in limits.iter_mut().zip(self.key_limits.get(..count)?).enumerate() {
            let [kind, burst, _, origin, _, anchor_ns, anchor_ticks, max, per_ns, a, b, c] = *words;
            let rate = Rate::new(max, Duration::from_nanos(per_ns)).ok()?;
            let (kind, bits) = (kind >> 8 & 0xff, kind as u8);
            let of_kind = match kind {
                0 => Limit::with_burst(rate, burst),
                2 => Limit::fixed_window(rate, Start::Epoch),
                4 => Limit::sliding_counter(rate),
                _ => return None,
            };
            *limit = of_kind.ok()?.counting(Unit::from_words([a, b, c])?);
            clock.anchors[i] = Anchor { ns: anchor_ns, ticks: anchor_ticks, call_bits: 0 };
            if kind == 0 {
                clock.anchors[i].call_bits = bits;
                if bits > Anchor::MAX_CALL_BITS || !clock.anchors[i].allows(rate) {
                    return None;
                }
            } else {
                clock.wall_ns = origin;
            }
        }
        let keys = KeyPolicy::new(&limits[..count]).ok()?;
        let keys = keys
            .refusing_new_keys(shape & SHAPE_REFUSES_NEW != 0)
            .hiding_names(shape & SHAPE_HIDES_NAMES != 0);
        Some((Some(keys), clock))
    }

    /// The configuration of generation `number` before its words were damaged, if the checksum tells what it was: only
    /// words that follow from others are damaged, or only one word, or the checksum itself.
    #[cold]
    pub(super) fn restored(&self, number: u64) -> Option<Config> {
        let has_sum = |config: &Config| config.raw(number).checksum == self.checksum;
        if let Some(config) = self.stated().filter(has_sum) {
            return Some(config);
        }
        // For each word there is one value with which the checksum is right. For all but the damaged word that value is
        // arbitrary, and hardly ever one that leaves the configuration consistent. (If few bits are damaged, the next
        // word may have such a value, too, but it differs in more bits.) The tick of a table's clock is consistent
        // whatever it is: only a usual one is believed, and the least of several.
        let (words, now) = (self.words(), clock::now());
        let with_expected = |index: usize| {
            let expected = Hash::expected_word(&words, index, self.checksum);
            let mut raw = *self;
            raw.set_word(index, expected);
            let config = raw
                .consistent(number)
                .filter(|config| config.since <= now && config.has_plausible_clock())?;
            let Some(limit) = anchor_ticks_at(index) else {
                let is_possible = !is_key_origin(index) || config.has_plausible_key_origin();
                return is_possible.then_some(((words[index] ^ expected).count_ones(), config));
            };
            let is_usual =
                config.key_limits().nth(limit).is_some_and(|own| own.are_usual_ticks(expected, number));
            is_usual.then_some((2 * u64::BITS - expected.leading_zeros(), config))
        };
        let nearest = (0..CONFIG_WORDS).filter_map(with_expected).min_by_key(|&(distance, _)| distance);
        nearest.map(|(_, config)| config).or_else(|| self.consistent(number))
    }

    /// What is damaged, given that the words are not those of a configuration of generation `number`.
    #[cold]
    fn damage(&self, number: u64) -> Damage {
        let at = |index| DamagedWord::Config { epoch: number, index };
        let (words, sum) = (self.words(), self.sum());
        if let Some(config) = self.restored(number) {
            let right = config.raw(number);
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

/// The zone of calendar windows, and the wall clock.
fn wall_of(wall_ns: u64, words: &CalendarFields) -> Option<(Zone, WallClock)> {
    let (zone, rest) = words.split_first_chunk()?;
    let (offsets, rest) = rest.split_first_chunk()?;
    let &[earliest_ns, continuous_ns] = rest else { return None };
    let local = LocalTime { wall_ns, offsets: Offsets::from_words(*offsets) };
    let zone = Zone::from_words(*zone)?;
    // UTC has no table.
    (zone != Zone::UTC && local.offsets.is_sound() || local.offsets == Offsets::default())
        .then_some((zone, WallClock { local, zone: zone_tag(zone.words()), earliest_ns, continuous_ns }))
}

fn limit_of(words: &LimitFields, zone: Zone) -> Option<Limit> {
    let [kind, burst, x, _, _, _, max, per_ns, guard_ns, a, b, c] = *words;
    let rate = Rate::new(max, Duration::from_nanos(per_ns)).ok()?;
    let limit = match kind >> 8 & 0xff {
        0 => Limit::with_burst(rate, burst),
        1 => Limit::greedy(rate),
        2 => Limit::fixed_window(rate, Start::Epoch),
        3 => Limit::fixed_window(rate, Start::FirstUse),
        4 => Limit::sliding_counter(rate),
        5 => Limit::calendar_window(max, Calendar::of_code(x), zone),
        _ => return None,
    };
    Some(limit.ok()?.guarded(Duration::from_nanos(guard_ns)).ok()?.counting(Unit::from_words([a, b, c])?))
}

fn header_fields(g: &Generation) -> [&AtomicU64; HEADER_WORDS] {
    let a = &g.header;
    [&a.number, &a.origin, &a.since_ns, &a.not_before_ns, &a.shape, &a.max_waiters, &a.wall_ns]
}

fn calendar_fields_of(c: &CalendarWords) -> impl Iterator<Item = &AtomicU64> {
    c.zone.iter().chain(&c.offsets).chain([&c.earliest_ns, &c.continuous_ns])
}

/// Models skip the words of the calendar and of limits per key if there are none: each access would be one more step to
/// interleave.
const ALWAYS_READS_ALL: bool = cfg!(not(model));

/// Where the word `shape` is among those of the header.
const SHAPE: usize = 4;

/// The limit per key whose `anchor_ticks` this word of a configuration is.
fn anchor_ticks_at(index: usize) -> Option<usize> {
    let word = index.checked_sub(BEFORE_KEYS)?;
    (index < BEFORE_CALENDAR && word % KEY_LIMIT_WORDS == ANCHOR_TICKS).then_some(word / KEY_LIMIT_WORDS)
}

/// Whether this word of a configuration is `inverse`, for windows per key their offset of the wall clock.
fn is_key_origin(index: usize) -> bool {
    (BEFORE_KEYS..BEFORE_CALENDAR).contains(&index)
        && (index - BEFORE_KEYS) % KEY_LIMIT_WORDS == ANCHOR_TICKS - 3
}

/// The number of limits per key.
fn key_limits_in(shape: u64) -> usize {
    ((shape >> 8 & 0xff) as usize).min(LIMITS)
}

fn key_limit_fields_of(l: &KeyLimitWords) -> [&AtomicU64; KEY_LIMIT_WORDS] {
    let (n, w) = (&l.params, &l.details);
    let [a, b, c] = &w.unit;
    [
        &n.kind,
        &n.burst,
        &n.speed,
        &n.inverse,
        &n.floor,
        &n.anchor_ns,
        &n.anchor_ticks,
        &w.max,
        &w.per_ns,
        a,
        b,
        c,
    ]
}

/// The parameters of limit `i` of each key, and whether it counts a unit. Possibly garbage, as below.
#[inline(always)]
fn key_params(from: &Generation, i: usize) -> (KeyParams, bool) {
    let get = |w: &AtomicU64| w.load(Ordering::Relaxed);
    let n = &from.key_limits[i % LIMITS].params;
    let kind = get(&n.kind);
    let params = KeyParams {
        kind: (kind >> 8) as u8,
        bits: kind as u8,
        burst: get(&n.burst),
        speed: Ratio { mantissa: get(&n.speed), shift: (kind >> SPEED_SHIFT) as u8 },
        inverse: Ratio { mantissa: get(&n.inverse), shift: (kind >> INVERSE_SHIFT) as u8 },
        floor: get(&n.floor),
        anchor_ns: get(&n.anchor_ns),
        anchor_ticks: get(&n.anchor_ticks),
    };
    (params, kind & COUNTS_A_UNIT != 0)
}

/// The first limit of each key, and its largest request, if it counts calls, a request takes from nothing else but limits per key,
/// new keys are not refused, and shadow mode is off. Possibly garbage, as below.
#[inline(always)]
pub(super) fn plain_key_limit(from: &Generation) -> Option<(KeyLimit, u64)> {
    let kind = from.key_limits[0].params.kind.load(Ordering::Relaxed);
    if kind & (COUNTS_A_UNIT | SHADOW | TAKES_MORE | REFUSES_NEW) != 0 {
        return None;
    }
    let (params, _) = key_params(from, 0);
    Some((KeyLimit::of(&params), params.burst))
}

/// The same, if it is a bucket: of a known kind, so that a decision is compiled for that alone.
#[inline(always)]
pub(super) fn plain_key_bucket(from: &Generation) -> Option<(KeyLimit, u64)> {
    let kind = from.key_limits[0].params.kind.load(Ordering::Relaxed);
    // The kind and the flags; the rest are bits and shifts.
    if kind & 0xffff_ff00 != u64::from(BUCKET_OF_A_KEY) << 8 {
        return None;
    }
    let (params, _) = key_params(from, 0);
    Some((KeyLimit::of(&KeyParams { kind: BUCKET_OF_A_KEY, ..params }), params.burst))
}

/// Whether a request for a key also takes from a limit of all keys, or a permit. Possibly garbage, as below.
#[inline]
pub(super) fn keys_take_more(from: &Generation) -> bool {
    from.key_limits[0].params.kind.load(Ordering::Relaxed) & TAKES_MORE != 0
}

/// The limits of each key; of at most `tables` limits. Possibly garbage, as below.
#[inline]
pub(super) fn key_rules(from: &Generation, tables: usize) -> KeyRules {
    let get = |w: &AtomicU64| w.load(Ordering::Relaxed);
    let first = get(&from.key_limits[0].params.kind);
    // Not by the word that says how many limits there are: one bit less in it, and a limit would go unasked.
    let len = tables.min(LIMITS);
    let limit = |i: usize| {
        let (params, counts_a_unit) = key_params(from, i);
        (KeyLimit::of(&params), params.burst, counts_a_unit)
    };
    let mut rules = KeyRules {
        limits: [None; MAX_LIMITS],
        bursts: [0; MAX_LIMITS],
        counts_units: false,
        is_shadow: first & SHADOW != 0,
        takes_more: first & TAKES_MORE != 0,
        may_forget: first & REFUSES_NEW == 0,
    };
    for i in 0..len {
        let (limit, burst, counts_a_unit) = limit(i);
        (rules.limits[i], rules.bursts[i]) = (Some(limit), burst);
        rules.counts_units |= counts_a_unit;
    }
    rules
}

/// Which unit each limit per key counts; `None` for calls. Possibly garbage, as below.
pub(super) fn key_units(from: &Generation) -> [Option<[u64; 3]>; LIMITS] {
    from.key_limits.each_ref().map(|l| {
        let counts = l.params.kind.load(Ordering::Relaxed) & COUNTS_A_UNIT != 0;
        counts.then(|| l.details.unit.each_ref().map(|w| w.load(Ordering::Relaxed)))
    })
}

/// Whether the names of denied keys are not kept. Possibly garbage, as below.
pub(super) fn hides_names(from: &Generation) -> bool {
    from.header.shape.load(Ordering::Relaxed) & SHAPE_HIDES_NAMES != 0
}

/// Whether there is no limit of all requests: only permits, or only limits per key. Possibly garbage, as below.
pub(super) fn has_no_limit(from: &Generation) -> bool {
    from.header.shape.load(Ordering::Relaxed) as u8 == 0
}

/// Whether the windows of a limit of this kind follow the wall clock.
fn follows_wall_clock(kind: u64) -> bool {
    matches!(kind >> 8 & 0xff, 2 | 5)
}

/// Whether the generation starts with zero usage. Possibly garbage, as below.
pub(super) fn starts_empty(from: &Generation) -> bool {
    from.header.origin.load(Ordering::Relaxed) & STARTS_EMPTY != 0
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

/// The number of limits. A configuration without limits has permits. If both are 0, nothing was ever written, or there are only
/// limits per key, and a request names no key: the zero words act as a limit that admits nothing.
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
    let wall_ns = || get(&from.header.wall_ns);
    let follows = Cell::new(false);
    let rule = |i: usize| {
        let l = &from.limits[i % LIMITS];
        let n = &l.params;
        let (max, per) = (get(&n.burst), get(&n.ticks_per_ns));
        let kind = get(&n.kind);
        follows.set(follows.get() || follows_wall_clock(kind));
        match kind >> 8 & 0xff {
            0 => Rule::Bucket(gcra_of(l, kind)),
            1 => Rule::Log(Log { max, span: per }),
            2 => Rule::Fixed(FixedWindow { max, windows: Windows::Aligned { per, wall_ns: wall_ns() } }),
            3 => Rule::Fixed(FixedWindow { max, windows: Windows::FirstUse { per } }),
            5 => Rule::Fixed(FixedWindow { max, windows: Windows::Calendar(Calendar::of_code(per)) }),
            _ => Rule::Sliding(SlidingCounter { max, per }),
        }
    };
    let len = limits_in(get(&from.header.shape));
    let mut rules = Rules::new(len, rule, ringed, get(&from.header.not_before_ns));
    if follows.get() {
        let c = &from.calendar;
        let zone = zone_tag(c.zone.each_ref().map(get));
        let local =
            LocalTime { wall_ns: wall_ns(), offsets: Offsets::from_words(c.offsets.each_ref().map(get)) };
        let (earliest_ns, continuous_ns) = (get(&c.earliest_ns), get(&c.continuous_ns));
        rules.set_wall(WallClock { local, zone, earliest_ns, continuous_ns });
    }
    rules
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
    pub(crate) fn generation(config: &Config, number: u64) -> Generation {
        let generation = Generation::model();
        config.store(number, &generation);
        generation
    }

    /// The offsets in a generation of the words that its checksum covers, in this order.
    pub(crate) fn summed_offsets() -> Vec<usize> {
        let generation = Generation::model();
        let start = std::ptr::from_ref(&generation).addr();
        let offset = |word: &AtomicU64| std::ptr::from_ref(word).addr() - start;
        let limits = generation.limits.iter().flat_map(fields_of_limit);
        let limits = limits.chain(generation.key_limits.iter().flat_map(key_limit_fields_of));
        let calendar = calendar_fields_of(&generation.calendar);
        header_fields(&generation).into_iter().chain(limits).chain(calendar).map(offset).collect()
    }

    /// The word at this offset in a generation, if it is one that a configuration has.
    pub(crate) fn word_at(generation: &Generation, at: usize) -> Option<&AtomicU64> {
        let start = std::ptr::from_ref(generation).addr();
        let limits = generation.limits.iter().flat_map(fields_of_limit);
        let words = header_fields(generation).into_iter().chain(limits);
        let words = words.chain(generation.key_limits.iter().flat_map(key_limit_fields_of));
        let calendar = calendar_fields_of(&generation.calendar);
        let mut words = words.chain(calendar).chain([&generation.header.checksum]);
        words.find(|word| std::ptr::from_ref(*word).addr() == start + at)
    }

    /// The rules of this configuration, in a file whose limits have these rings.
    pub(crate) fn rules_of(config: &Config, ringed: [bool; RINGS]) -> Rules {
        rules(&generation(config, 1), ringed)
    }
}
