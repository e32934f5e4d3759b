//! A wait for a key's turn: the key is never over, no other process waits longer for it, and a process that dies takes at most the
//! turn with it that it had charged.

use super::Checks;
use crate::ending::{Finding, Pair};
use crate::fixture::{Fixture, ensure};
use crate::victim::{Result, Victim};
use shm_lib::limit::audit::{self, Admission};
use shm_lib::{KeyedRateLimit, Nanos};

const KEY: &str = "k";

/// Turns come every few milliseconds.
#[derive(Default)]
pub(crate) struct KeyWaiting {
    admitted: Vec<Admission>,
}

impl KeyWaiting {
    /// Waits for one turn, which must come within the time of `turns` turns after the victim's queue.
    fn wait(&mut self, keys: &KeyedRateLimit, turns: u32) -> Result<()> {
        let limit = keys.policy().map_err(|e| e.to_string())?.limits().next().ok_or("no limit")?;
        let ready = keys.key(KEY).status().map_err(|e| e.to_string())?[0].next_at;
        let admission = keys.key(KEY).wait().map_err(|e| e.to_string())?;
        let latest = ready.plus(turns * limit.rate().per());
        ensure(admission.at() <= latest, || format!("a turn {:?} too late", admission.at().since(latest)))?;
        self.note(admission.at());
        Ok(())
    }

    fn note(&mut self, at: Nanos) {
        self.admitted.push(Admission { at, calls: 1 });
    }

    fn audit(&mut self, keys: &KeyedRateLimit) -> Result<()> {
        let limit = keys.policy().map_err(|e| e.to_string())?.limits().next().ok_or("no limit")?;
        audit::check(limit, &mut self.admitted).map_err(|over| over.to_string())
    }
}

impl Checks for KeyWaiting {
    fn prepare(&mut self, fixture: &mut Fixture) -> Result<()> {
        let first = fixture.keys().key(KEY).wait().map_err(|e| e.to_string())?;
        self.note(first.at());
        Ok(())
    }

    fn after_death(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        let keys = fixture.keys();
        self.wait(&keys, 1)?;
        self.wait(&keys, 1)?;
        self.audit(&keys)?;
        Ok(None)
    }

    fn beside(&mut self, fixture: &mut Fixture) -> Result<()> {
        let keys = fixture.keys();
        (0..2).try_for_each(|_| self.wait(&keys, 2))
    }

    fn after_all(&mut self, fixture: &mut Fixture, victim: Victim) -> Result<()> {
        let keys = fixture.keys();
        self.note(Nanos::from_nanos(victim.leave()?.at));
        self.wait(&keys, 1)?;
        self.audit(&keys)
    }

    fn after_fork(&mut self, fixture: &mut Fixture, mut pair: Pair) -> Result<Finding> {
        let keys = fixture.keys();
        let parents = pair.parent.report()?;
        self.note(Nanos::from_nanos(parents.at));
        self.wait(&keys, 2)?;
        let childs = pair.child_goes_on()?;
        let copied = childs.at == parents.at;
        if !copied {
            self.note(Nanos::from_nanos(childs.at));
        }
        let mut parent = pair.child_ends()?;
        self.note(Nanos::from_nanos(parent.repeat(1)?.at));
        parent.end()?;
        self.audit(&keys)?;
        Ok(Finding { copied, ..Finding::default() })
    }
}
