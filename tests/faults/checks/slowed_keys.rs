//! A request of a key while the rate per key is lowered: what the key then owes is calls that it made, and no time that has passed
//! by the clock of the old rate.

use super::Checks;
use crate::ending::{Finding, Pair, of_child};
use crate::fixture::{Fixture, YEAR, attempt_key, ensure};
use crate::victim::{Result, Victim};
use shm_lib::KeyedRateLimit;
use std::time::Duration;

const KEY: &str = "k";
/// By the old rate, which is 1,000 a second, dozens of calls.
const LATER: Duration = Duration::from_millis(40);
/// The victim's call, charged by the old configuration and by the new one; and that of a forked child.
const CALLS: u64 = 4;

/// The limiter is slowed down when the victim is at the instruction.
#[derive(Default)]
pub(crate) struct SlowedKeys;

impl SlowedKeys {
    fn slow_down(keys: &KeyedRateLimit) -> Result<()> {
        keys.change(1_000, YEAR).map_err(|e| format!("change: {e}"))?;
        std::thread::sleep(LATER);
        Ok(())
    }

    fn owes_its_calls(keys: &KeyedRateLimit) -> Result<()> {
        let now = keys.key(KEY).status().map_err(|e| format!("status: {e}"))?[0];
        ensure(now.used <= CALLS, || format!("{} are used, of {CALLS} calls at most", now.used))?;
        ensure(attempt_key(keys, KEY)?, || "the next request is denied".into())
    }
}

impl Checks for SlowedKeys {
    fn prepare(&mut self, _: &mut Fixture) -> Result<()> {
        Ok(())
    }

    fn after_death(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        let keys = fixture.keys();
        SlowedKeys::slow_down(&keys)?;
        SlowedKeys::owes_its_calls(&keys)?;
        Ok(None)
    }

    fn beside(&mut self, fixture: &mut Fixture) -> Result<()> {
        SlowedKeys::slow_down(&fixture.keys())
    }

    fn after_all(&mut self, fixture: &mut Fixture, victim: Victim) -> Result<()> {
        victim.leave()?;
        SlowedKeys::owes_its_calls(&fixture.keys())
    }

    fn after_fork(&mut self, fixture: &mut Fixture, mut pair: Pair) -> Result<Finding> {
        pair.parent.report()?;
        let keys = fixture.keys();
        SlowedKeys::slow_down(&keys)?;
        of_child(pair.child.finish_operation().and_then(|()| pair.child.says()))?;
        pair.child_ends()?.end()?;
        SlowedKeys::owes_its_calls(&keys)?;
        Ok(Finding::default())
    }
}
