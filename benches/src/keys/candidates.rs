//! What decides about keys: shm-limit, governor, and the baseline. And the keys themselves.
#![allow(unsafe_code)]

use crate::baselines::shared_words;
use crate::shm_limit::directory;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use harness::Rng;
use portable_atomic::AtomicU128;
use shm_lib::{KeyedBuilder, KeyedRateLimit};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;
use std::num::NonZeroU32;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;

/// Keys that are passed to a candidate at once.
pub(super) const BATCH: usize = 1_000;
/// The table's bytes for each key of the capacity.
const BYTES_PER_KEY: u64 = 40;
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// Random keys of a population of this size, as texts of 8 to 20 bytes.
pub(super) struct Keys {
    population: u64,
    rng: Rng,
    pub(super) texts: Vec<String>,
}

/// Writes key `index` of a population. Different keys have different texts.
pub(super) fn write_key(index: u64, text: &mut String) {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut push = |number: u64, digits: u64| {
        (0..digits).for_each(|i| text.push(DIGITS[(number >> (5 * i) & 31) as usize].into()));
    };
    // An odd factor permutes the numbers below 2^40.
    let own = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    push(own, 8);
    push(own >> 4, (own >> 40) % 13);
}

impl Keys {
    pub(super) fn new(population: u64) -> Keys {
        Keys { population, rng: Rng::seeded(population), texts: vec![String::with_capacity(20); BATCH] }
    }

    /// Draws the next batch.
    pub(super) fn draw(&mut self) {
        for text in &mut self.texts {
            text.clear();
            write_key(self.rng.below(self.population), text);
        }
    }

    /// Passes each key of the population on once.
    pub(super) fn each_once(&mut self, mut use_them: impl FnMut(&[String])) {
        for first in (0..self.population).step_by(BATCH) {
            let batch = &mut self.texts[..BATCH.min((self.population - first) as usize)];
            for (text, index) in batch.iter_mut().zip(first..) {
                text.clear();
                write_key(index, text);
            }
            use_them(batch);
        }
    }
}

/// Decides about each key of a batch; returns how many were admitted.
pub(super) type Decide = Box<dyn FnMut(&[String]) -> usize>;

pub(super) struct Candidate {
    pub(super) name: &'static str,
    pub(super) decide: Decide,
    /// What each decision must be, if that is known.
    pub(super) admits: Option<bool>,
}

impl Candidate {
    pub(super) fn new(
        name: &'static str,
        admits: Option<bool>,
        mut decide: impl FnMut(&String) -> bool + 'static,
    ) -> Candidate {
        let all = move |keys: &[String]| keys.iter().map(|key| usize::from(decide(key))).sum();
        Candidate { name, decide: Box::new(all), admits }
    }
}

/// A keyed limiter, and its directory, which is removed when this is dropped.
pub(super) struct KeyedFixture {
    pub(super) limit: KeyedRateLimit,
    _dir: TempDir,
}

pub(super) fn builder(dir: &Path, keys: u64) -> KeyedBuilder {
    KeyedRateLimit::builder("bench").directory(dir).capacity(keys)
}

pub(super) fn fixture(
    dir: TempDir,
    keys: u64,
    open: impl FnOnce(KeyedBuilder) -> shm_lib::Result<KeyedRateLimit>,
) -> Rc<KeyedFixture> {
    let limit = open(builder(dir.path(), keys)).expect("a limiter");
    Rc::new(KeyedFixture { limit, _dir: dir })
}

/// The burst of each of so many keys, and the time in which it recovers from one call: no request is denied, and keys owe something
/// for a long time, unless there are so few that they would be denied at last.
fn open_bucket(keys: u64) -> (u32, Duration) {
    if keys < 1_000 { (1_000_000_000, Duration::from_micros(1)) } else { (10_000, DAY / 144) }
}

/// A limiter that admits each request; or one that denies each request of a key that has had one.
pub(super) fn bucket(
    keys: u64,
    admits: bool,
) -> impl FnOnce(KeyedBuilder) -> shm_lib::Result<KeyedRateLimit> {
    let (burst, recovery) = open_bucket(keys);
    move |builder| match admits {
        true => builder.burst(burst.into()).open(1, recovery),
        false => builder.open(1, DAY),
    }
}

pub(super) fn one_by_one(name: &'static str, fixture: &Rc<KeyedFixture>, admits: Option<bool>) -> Candidate {
    let fixture = fixture.clone();
    Candidate::new(name, admits, move |key| {
        fixture.limit.key(key).try_acquire(1).expect("a decision").is_admitted()
    })
}

pub(super) fn in_batches(name: &'static str, fixture: &Rc<KeyedFixture>, size: usize) -> Candidate {
    let fixture = fixture.clone();
    let decide = move |keys: &[String]| {
        let admitted = |keys: &[String]| {
            let outcomes = fixture.limit.try_acquire_many(keys, 1).expect("decisions");
            outcomes.iter().filter(|outcome| outcome.is_admitted()).count()
        };
        keys.chunks(size).map(admitted).sum()
    };
    Candidate { name, decide: Box::new(decide), admits: Some(true) }
}

/// Its table (DashMap) owns its keys. It is called with a `String` that is there already.
pub(super) fn governor(keys: u64, admits: bool) -> Candidate {
    let (burst, recovery) = open_bucket(keys);
    let quota = Quota::with_period(if admits { recovery } else { DAY }).expect("not zero");
    let quota = if admits { quota.allow_burst(NonZeroU32::new(burst).expect("not zero")) } else { quota };
    let limiter: DefaultKeyedRateLimiter<String> = RateLimiter::keyed(quota);
    Candidate::new("governor, keyed", Some(admits), move |key| limiter.check_key(key).is_ok())
}

/// Reads the clock, hashes the key, and replaces 16 bytes of a random line, in memory as large as the table for so many keys. It
/// enforces no limit.
pub(super) fn baseline(keys: u64) -> Candidate {
    let lines = ((keys * BYTES_PER_KEY).div_ceil(64) as usize).max(1);
    let words = shared_words(lines * 8);
    // SAFETY: twice the size, of memory that is never unmapped; page-aligned; atomics allow any bytes and concurrent writers.
    let pairs = unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<AtomicU128>(), lines * 4) };
    Candidate::new("baseline", Some(true), move |key| {
        let now = u128::from(shm_lib::now().as_nanos());
        let mut hasher = SipHasher13::new_with_keys(1, 2);
        hasher.write(key.as_bytes());
        let hash = hasher.finish128();
        let line = ((u128::from(hash.h1) * lines as u128) >> 64) as usize;
        let (pair, words) = (&pairs[line * 4], &words[line * 8..line * 8 + 2]);
        loop {
            let [first, second] = [&words[0], &words[1]].map(|word| u128::from(word.load(Ordering::Acquire)));
            let seen = second << 64 | first;
            let new = u128::from(hash.h2) << 64 | (first.max(now) + 1);
            if pair.compare_exchange(seen, new, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
    })
}

pub(super) fn in_memory() -> TempDir {
    directory()
}
