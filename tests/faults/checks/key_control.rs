//! Changes of a keyed limiter: what keys have used still counts, the configuration is the old or the new one, and the next
//! change works.

use super::Checks;
use crate::ending::{Finding, Pair, of_child};
use crate::fixture::{Fixture, YEAR, attempt_key, ensure};
use crate::victim::{Result, Victim};
use shm_lib::{Inspection, KeyedRateLimit};

/// Used before of two keys, each of which has this budget.
const USED: u64 = 300;
const BUDGET: u64 = 1_000;
const KEYS: [&str; 2] = ["k", "other"];
/// Calls per year: before and after the victim's change, and after the next one.
const MAX: [u64; 3] = [BUDGET, 1_010, 1_020];
const BESIDE: u64 = 50;

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Change,
    Reset,
    Pause,
}

pub(crate) struct KeyControl {
    what: What,
    taken_beside: u64,
}

impl KeyControl {
    pub(crate) fn change() -> KeyControl {
        KeyControl { what: What::Change, taken_beside: 0 }
    }

    pub(crate) fn reset() -> KeyControl {
        KeyControl { what: What::Reset, ..KeyControl::change() }
    }

    pub(crate) fn pause() -> KeyControl {
        KeyControl { what: What::Pause, ..KeyControl::change() }
    }

    /// Whether the configuration is the new one. All of it must be new, or all of it old.
    fn are_new(&self, keys: &KeyedRateLimit) -> Result<bool> {
        let seen: Inspection = keys.all_keys().inspect().map_err(|e| e.to_string())?;
        ensure(seen.changes <= 1, || format!("{} changes", seen.changes))?;
        let new = seen.changes == 1;
        let max = if new && self.what == What::Change { MAX[1] } else { MAX[0] };
        let limits = seen.policy.keys().map(|keys| keys.limits().map(|limit| limit.rate().max()).collect());
        let limits: Vec<u64> = limits.unwrap_or_default();
        ensure(limits == [max], || format!("{limits:?} after {new}"))?;
        let paused = seen.paused_until.is_some();
        ensure(paused == (new && self.what == What::Pause), || format!("paused: {paused}"))?;
        let used = if new && self.what == What::Reset { 0 } else { USED };
        // By another rate, the same debt is another number of calls.
        let used = used..=used + used / 100;
        for key in KEYS {
            let now = keys.key(key).status().map_err(|e| e.to_string())?[0];
            ensure(used.contains(&now.used), || format!("{} of {key} are used after {new}", now.used))?;
            ensure(paused == (now.available == 0), || format!("{} of {key} are available", now.available))?;
        }
        Ok(new)
    }

    /// The next changes work, and then there is what was left.
    fn goes_on(keys: &KeyedRateLimit, used: &[u64]) -> Result<()> {
        keys.all_keys().resume().map_err(|e| format!("the next resume: {e}"))?;
        keys.change(MAX[2], YEAR).map_err(|e| format!("the next change: {e}"))?;
        let mut left = 0;
        while attempt_key(keys, KEYS[0])? {
            left += 1;
            ensure(left <= 2 * BUDGET, || format!("{left} and no end"))?;
        }
        let fits = |used: &u64| left <= BUDGET - used && left + used + used / 50 + 2 >= BUDGET;
        ensure(used.iter().any(fits), || format!("{left} are left of {BUDGET}, with one of {used:?} used"))?;
        keys.all_keys().reset().map_err(|e| format!("the next reset: {e}"))?;
        for key in KEYS {
            ensure(attempt_key(keys, key)?, || format!("{key} is denied after a reset"))?;
        }
        Ok(())
    }

    /// What may be used when the victim's operation is done, if so much was taken beside it.
    fn used_after(&self, beside: u64) -> Vec<u64> {
        match self.what {
            // It came before the reset, or after it.
            What::Reset => vec![0, beside],
            _ => vec![USED + beside],
        }
    }
}

impl Checks for KeyControl {
    fn prepare(&mut self, fixture: &mut Fixture) -> Result<()> {
        let keys = fixture.keys();
        for key in KEYS {
            for _ in 0..USED {
                ensure(attempt_key(&keys, key)?, || format!("{key} is denied"))?;
            }
        }
        Ok(())
    }

    fn after_death(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        let keys = fixture.keys();
        let new = self.are_new(&keys)?;
        let used = if new && self.what == What::Reset { 0 } else { USED };
        KeyControl::goes_on(&keys, &[used])?;
        Ok(Some(new))
    }

    fn beside(&mut self, fixture: &mut Fixture) -> Result<()> {
        let keys = fixture.keys();
        for _ in 0..BESIDE {
            self.taken_beside += u64::from(fixture.beside(|| attempt_key(&keys, KEYS[0]))?);
        }
        let seen = keys.all_keys().inspect().map_err(|e| e.to_string())?;
        let expected = if seen.paused_until.is_some() { 0 } else { BESIDE };
        ensure(self.taken_beside == expected, || format!("{} of {expected}", self.taken_beside))
    }

    fn after_all(&mut self, fixture: &mut Fixture, victim: Victim) -> Result<()> {
        victim.leave()?;
        let keys = fixture.keys();
        let seen = keys.all_keys().inspect().map_err(|e| e.to_string())?;
        ensure(seen.changes == 1, || format!("{} changes", seen.changes))?;
        KeyControl::goes_on(&keys, &self.used_after(self.taken_beside))
    }

    fn after_fork(&mut self, fixture: &mut Fixture, mut pair: Pair) -> Result<Finding> {
        let keys = fixture.keys();
        pair.parent.report()?;
        ensure(self.are_new(&keys)?, || "the change came to nothing".into())?;
        if fixture.odd {
            keys.change(MAX[2], YEAR).map_err(|e| format!("the next change: {e}"))?;
        } else {
            pair.parent.repeat(1)?;
        }
        of_child(pair.child.finish_operation().and_then(|()| pair.child.says()))?;
        let mut parent = pair.child_ends()?;
        parent.repeat(1)?;
        parent.end()?;
        KeyControl::goes_on(&keys, &self.used_after(0))?;
        Ok(Finding::default())
    }

    fn has_effect(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        self.are_new(&fixture.keys()).map(Some)
    }
}
