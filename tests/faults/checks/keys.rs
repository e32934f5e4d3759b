//! What is charged to keys: never over for the key, at most one operation charged that no caller made, and no other key affected.

use super::{Checks, PERMITS};
use crate::ending::{Finding, Pair, of_child};
use crate::fixture::{Fixture, attempt_key, ensure};
use crate::victim::{Result, Victim};
use harness::mark::Order;
use shm_lib::{KeyStatus, KeyedRateLimit};
use std::os::unix::fs::MetadataExt;

/// The victim's key, and those that it names besides in a batch.
const KEYS: [&str; 3] = ["k", "l", "m"];
/// A key that the victim does not name, and how much of it is used before.
const OTHER: &str = "other";
const OTHERS: u64 = 5;
/// How much of the victim's key others take beside it.
const BESIDE: u64 = 50;
/// Far more than the table has slots, and what each of them uses.
const CROWD: usize = 600;
const EACH: u64 = 3;

/// How the victim's key is when the operation begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing of the limiter has ever been used: the table has no memory.
    Untouched,
    /// The key was never used.
    Fresh,
    /// So much is used.
    Known(u64),
    /// The key was never used, and the table is full of keys with debts.
    Full,
    /// It was reset while so much was used, and is in use again.
    LaterLife(u64),
}

/// Budgets of keys that do not grow.
pub(crate) struct Keys {
    before: Before,
    /// How many keys the operation names.
    keys: usize,
    /// What it costs of each key. 0: it is denied.
    cost: u64,
    /// Whether it is a reset of the key.
    resets: bool,
    /// Whether it holds a permit.
    holds: bool,
    /// What the keys were when the victim was about to begin.
    seen: Vec<Vec<KeyStatus>>,
    others: u64,
    /// What the limits of all keys had left then, less what other keys have taken since. None: there are no such limits.
    of_all: Option<u64>,
    taken_beside: u64,
    /// How much memory the file has without that of the table.
    fixed: u64,
}

impl Keys {
    fn of_victim(before: Before, cost: u64) -> Keys {
        let (seen, others, of_all, taken_beside, fixed) = (Vec::new(), 0, None, 0, 0);
        Keys { before, keys: 1, cost, resets: false, holds: false, seen, others, of_all, taken_beside, fixed }
    }

    pub(crate) fn known() -> Keys {
        Keys::of_victim(Before::Known(2), 1)
    }

    pub(crate) fn fresh() -> Keys {
        Keys::of_victim(Before::Fresh, 1)
    }

    pub(crate) fn untouched() -> Keys {
        Keys::of_victim(Before::Untouched, 1)
    }

    pub(crate) fn full() -> Keys {
        Keys::of_victim(Before::Full, 1)
    }

    pub(crate) fn later_life() -> Keys {
        Keys::of_victim(Before::LaterLife(300), 1)
    }

    pub(crate) fn used_up(budget: u64) -> Keys {
        Keys::of_victim(Before::Known(budget), 0)
    }

    pub(crate) fn batch() -> Keys {
        Keys { keys: 3, ..Keys::fresh() }
    }

    pub(crate) fn charged() -> Keys {
        Keys::of_victim(Before::Known(2), 3)
    }

    pub(crate) fn reset() -> Keys {
        Keys { resets: true, ..Keys::of_victim(Before::Known(300), 0) }
    }

    pub(crate) fn holding() -> Keys {
        Keys { holds: true, ..Keys::known() }
    }

    fn own(&self) -> impl Iterator<Item = &'static str> {
        KEYS.into_iter().take(self.keys)
    }

    fn has_effect_to_tell(&self) -> bool {
        self.cost > 0 || self.resets
    }

    /// How much was admitted in all, of one key that had so much when the victim was about to begin.
    fn sum_up(&self, keys: &KeyedRateLimit, at: usize, taken: u64, wasted: u64) -> Result<()> {
        let had = available(&self.seen[at]).min(self.of_all.unwrap_or(u64::MAX));
        let all = taken + drain(keys, KEYS[at])?;
        ensure(all <= had && all + wasted >= had, || {
            format!("{all} of {had} admitted of {}, where at most {wasted} may be wasted", KEYS[at])
        })
    }

    /// What does not belong to the operation is as it was, and nothing is left behind.
    fn others_are_unharmed(&self, fixture: &Fixture, living: &[u32], permits: u64) -> Result<()> {
        let (keys, limit) = (fixture.keys(), fixture.limit());
        let other = status(&keys, OTHER)?;
        let used = other[0].used;
        ensure(used == self.others, || format!("{used} of another key are used, {} were", self.others))?;
        let seen = limit.inspect().map_err(|e| format!("inspect: {e}"))?;
        let strangers: Vec<u32> =
            seen.attached.iter().map(|a| a.pid).filter(|pid| !living.contains(pid)).collect();
        ensure(strangers.is_empty(), || format!("attached: {strangers:?}"))?;
        ensure(seen.permits_held == permits, || format!("{} permits are held", seen.permits_held))?;
        let table = keys.table_status().map_err(|e| e.to_string())?;
        let memory = memory(&limit) - self.fixed;
        ensure(memory <= table.bytes, || format!("{memory} bytes for tables of {}", table.bytes))?;
        ensure(memory <= table.allocated || self.before == Before::Untouched, || {
            format!("{memory} bytes of tables, of which {} are known", table.allocated)
        })
    }
}

fn status(keys: &KeyedRateLimit, key: &str) -> Result<Vec<KeyStatus>> {
    keys.key(key).status().map_err(|e| format!("status: {e}"))
}

fn available(limits: &[KeyStatus]) -> u64 {
    limits.iter().map(|limit| limit.available).min().unwrap_or(0)
}

fn drain(keys: &KeyedRateLimit, key: &str) -> Result<u64> {
    let mut got = 0;
    while attempt_key(keys, key)? {
        got += 1;
        ensure(got < 10_000, || format!("{got} and no end"))?;
    }
    Ok(got)
}

fn take(keys: &KeyedRateLimit, key: &str, n: u64) -> Result<u64> {
    (0..n).try_fold(0, |got, _| Ok(got + u64::from(attempt_key(keys, key)?)))
}

fn memory(limit: &shm_lib::RateLimit) -> u64 {
    std::fs::metadata(limit.path()).map_or(0, |file| file.blocks() * 512)
}

impl Checks for Keys {
    fn prepare(&mut self, fixture: &mut Fixture) -> Result<()> {
        let (keys, limit) = (fixture.keys(), fixture.limit());
        self.fixed = memory(&limit);
        if self.before == Before::Untouched {
            return Ok(());
        }
        if self.before == Before::Full {
            for stranger in 0..CROWD {
                keys.key(stranger).charge(EACH).map_err(|e| e.to_string())?;
            }
        }
        if let Before::Known(used) | Before::LaterLife(used) = self.before {
            keys.key(KEYS[0]).charge(used).map_err(|e| e.to_string())?;
        }
        if let Before::LaterLife(_) = self.before {
            ensure(keys.key(KEYS[0]).reset().map_err(|e| e.to_string())?, || "it is unknown".into())?;
            take(&keys, KEYS[0], 2)?;
        }
        keys.key(OTHER).charge(OTHERS).map_err(|e| e.to_string())
    }

    fn begin(&mut self, fixture: &mut Fixture) -> Result<()> {
        let keys = fixture.keys();
        self.seen = self.own().map(|key| status(&keys, key)).collect::<Result<_>>()?;
        self.others = status(&keys, OTHER)?[0].used;
        let limit = fixture.limit();
        let has_limits_of_all = limit.policy().is_ok_and(|policy| policy.limits().next().is_some());
        if has_limits_of_all {
            self.of_all = Some(limit.status().map_err(|e| e.to_string())?.available);
        }
        let known = matches!(self.before, Before::Known(_) | Before::LaterLife(_));
        ensure(self.seen[0].iter().all(|limit| limit.known == known), || format!("{:?}", self.seen))
    }

    fn after_death(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        let keys = fixture.keys();
        // At once: its permit is free, and its seat.
        self.others_are_unharmed(fixture, &[std::process::id()], 0)?;
        let newcomer = fixture.open_keys()?;
        let mut is_complete = true;
        for (key, before) in self.own().zip(&self.seen) {
            for (now, before) in status(&newcomer, key)?.iter().zip(before) {
                // A key that was new inherits what the least one of its row owes.
                let all = before.used + self.cost;
                let done = if self.resets { now.used == 0 } else { now.used == all };
                ensure(done || now.used == before.used, || {
                    format!("{} of {key} are used, {} were", now.used, before.used)
                })?;
                is_complete &= done;
            }
        }
        // The operation works after it.
        match (self.resets, self.cost) {
            (true, _) => {
                newcomer.key(KEYS[0]).reset().map_err(|e| format!("the next reset: {e}"))?;
                let now = status(&newcomer, KEYS[0])?;
                ensure(now[0].used == 0, || format!("{} are used after the next reset", now[0].used))?;
            }
            _ => {
                for at in 0..self.keys {
                    let admitted = attempt_key(&newcomer, KEYS[at])?;
                    ensure(admitted == (self.cost > 0), || format!("the next try is admitted: {admitted}"))?;
                    self.sum_up(&keys, at, u64::from(admitted), self.cost)?;
                }
            }
        }
        if self.holds {
            let all: Vec<_> = (0..PERMITS).map(|i| keys.key(i).try_acquire(1)).collect();
            let got = all.iter().filter(|outcome| outcome.as_ref().is_ok_and(shm_lib::Outcome::is_admitted));
            let got = got.count() as u64;
            ensure(got == PERMITS, || format!("{got} of {PERMITS} permits are free"))?;
        }
        Ok(self.has_effect_to_tell().then_some(is_complete))
    }

    fn beside(&mut self, fixture: &mut Fixture) -> Result<()> {
        let keys = fixture.keys();
        for _ in 0..BESIDE {
            let admitted = fixture.beside(|| attempt_key(&keys, KEYS[0]))?;
            self.taken_beside += u64::from(admitted);
            let admitted = fixture.beside(|| attempt_key(&keys, OTHER))?;
            ensure(admitted, || "another key is denied".into())?;
            self.others += 1;
            self.of_all = self.of_all.map(|left| left - 1);
        }
        let expected = BESIDE.min(available(&self.seen[0]));
        ensure(self.taken_beside == expected, || format!("{} of {expected} tries", self.taken_beside))
    }

    fn after_all(&mut self, fixture: &mut Fixture, victim: Victim) -> Result<()> {
        let taken = victim.leave()?.tokens;
        self.others_are_unharmed(fixture, &[std::process::id()], 0)?;
        let keys = fixture.keys();
        if self.resets {
            // What was taken beside it came before the reset, or after it.
            let used = status(&keys, KEYS[0])?[0].used;
            return ensure([0, self.taken_beside].contains(&used), || {
                format!("{used} are used after a reset")
            });
        }
        let each = taken / self.keys as u64;
        ensure(each == self.cost, || format!("{taken} were taken"))?;
        for at in 0..self.keys {
            let beside = if at == 0 { self.taken_beside } else { 0 };
            self.sum_up(&keys, at, each + beside, 0)?;
        }
        Ok(())
    }

    fn after_fork(&mut self, fixture: &mut Fixture, mut pair: Pair) -> Result<Finding> {
        let keys = fixture.keys();
        let parents = pair.parent.report()?;
        // (A victim that holds a permit says how many, and has one from then on.)
        let again = if self.holds { 0 } else { 2 };
        let mut taken = parents.tokens + if again > 0 { pair.parent.repeat(again)?.tokens } else { 0 };
        let beside = take(&keys, KEYS[0], BESIDE)?;
        if fixture.odd && again > 0 {
            taken += pair.parent.repeat(1)?.tokens;
        }
        let childs = pair.child_goes_on()?;
        let copied = childs.at == parents.at && childs.at > 0;
        taken += if copied { 0 } else { childs.tokens };
        if self.holds {
            let held = fixture.limit().inspect().map_err(|e| e.to_string())?.permits_held;
            let expected = 1 + u64::from(!copied);
            ensure(held <= expected, || format!("{held} permits are held, {expected} were taken"))?;
            of_child(pair.child.obey(Order::GiveBack).map(drop))?;
            pair.parent.obey(Order::GiveBack)?;
        } else {
            taken += of_child(pair.child.repeat(2))?.tokens;
        }
        let mut parent = pair.child_ends()?;
        taken += parent.repeat(1)?.tokens;
        if self.holds {
            parent.obey(Order::GiveBack)?;
        }
        self.others_are_unharmed(fixture, &[std::process::id(), parent.pid()], 0)?;
        parent.end()?;
        if self.resets {
            let used = status(&keys, KEYS[0])?[0].used;
            ensure([0, beside].contains(&used), || format!("{used} are used after a reset"))?;
        } else {
            let each = taken / self.keys as u64;
            for at in 0..self.keys {
                let beside = if at == 0 { beside } else { 0 };
                // The child may have repeated what its parent had done.
                self.sum_up(&keys, at, each + beside, self.cost)?;
            }
        }
        Ok(Finding { copied, ..Finding::default() })
    }

    fn has_effect(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        if self.cost == 0 {
            return Ok(None);
        }
        let keys = fixture.keys();
        let mut is_complete = true;
        for (key, before) in self.own().zip(&self.seen) {
            let now = status(&keys, key)?;
            is_complete &= now.iter().zip(before).all(|(now, before)| now.used == before.used + self.cost);
        }
        Ok(Some(is_complete))
    }
}
