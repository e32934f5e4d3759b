//! The limiters of the storm of keys, and what each has to bear: known to its workers and to its judge.

use crate::{Job, policy};
use shm_lib::{KeyedRateLimit, OnLost, OnMismatch, Result};
use std::path::Path;

/// What happens to a keyed limiter, besides that its users are killed and stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyTrouble {
    /// Nothing else.
    KillsOnly,
    /// The rate of each key is changed between [`KEY_RATES`].
    Rates,
    /// Single keys are reset by its users, and all of them now and then.
    Resets,
}

/// One of the limiters.
#[derive(Clone, Copy, Debug)]
pub struct KeyStormLimiter {
    /// Its name.
    pub name: &'static str,
    /// As [`policy::parse`] reads it.
    pub policy: &'static str,
    /// What it has to bear.
    pub trouble: KeyTrouble,
    /// How many times as many keys come as its table has room for.
    pub crowd: u64,
}

/// What the limiter under [`KeyTrouble::Rates`] is changed between, a second and for each key. Its burst is 1, and stays.
pub const KEY_RATES: [u64; 2] = [2, 8];

const fn limiter(name: &'static str, policy: &'static str, trouble: KeyTrouble) -> KeyStormLimiter {
    KeyStormLimiter { name, policy, trouble, crowd: 1 }
}

/// All of them. The first one alone is that of the run with ten million keys.
pub const KEY_LIMITERS: [KeyStormLimiter; 6] = [
    limiter("keys", "key-bucket:1/10s:3", KeyTrouble::KillsOnly),
    KeyStormLimiter { crowd: 8, ..limiter("crowded", "key-bucket:1/s:3", KeyTrouble::KillsOnly) },
    limiter("rates", "key-bucket:2/s:1", KeyTrouble::Rates),
    limiter("resets", "key-bucket:1/s:3", KeyTrouble::Resets),
    KeyStormLimiter { crowd: 4, ..limiter("windows", "key-fixed:4/s", KeyTrouble::KillsOnly) },
    limiter("several", "bucket:3000/s:300+key-bucket:2/s:4+key-sliding:9/5s", KeyTrouble::KillsOnly),
];

/// The limiter with a limit of all keys: each of its admissions is in the journal.
pub const WITH_ALL: usize = 5;

/// The key that every worker asks for all the time.
pub const HOT: u64 = 0;

/// Keys whose every admission is in the journal, of as many as there are.
pub fn is_recorded(limiter: usize, key: u64, keys: u64) -> bool {
    limiter == WITH_ALL || key == HOT || key.is_multiple_of((keys / 20_000).max(1))
}

impl KeyStormLimiter {
    /// Joins it in `dir`, or makes it, for so many keys.
    ///
    /// # Errors
    /// As [`KeyedRateLimit::open`].
    pub fn open(&self, dir: &Path, keys: u64) -> Result<KeyedRateLimit> {
        KeyedRateLimit::builder(self.name)
            .directory(dir)
            .capacity(keys / self.crowd)
            .on_mismatch(OnMismatch::Keep)
            .on_lost(OnLost::Error)
            .open_policy(policy::parse(self.policy, 0))
    }

    /// Orders for its workers.
    pub fn job(dir: &Path, logs: &Path, keys: u64, limiters: usize) -> Job {
        Job::new("key-storm")
            .set("dir", dir.display())
            .set("logs", logs.display())
            .set("keys", keys)
            .set("limiters", limiters)
    }
}
