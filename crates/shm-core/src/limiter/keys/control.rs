//! Debts and resets of keys, and of all keys.

use super::super::Limiter;
use super::decide::limits_for;
use super::{KeyAsk, KeyOf};
use crate::clock::{self, Clock};
use crate::commit::{CommitError, Config};
use crate::error::{ErrorKind, Result};
use crate::keyed::{KeyClock, KeyRequest, KeyReset, Row, Table};
use crate::layout::RETIRED;
use crate::limit::{KeyPolicy, MAX_WAIT};
use crate::sys::signal::NoHandlers;

impl Limiter {
    /// Charges this cost to the key unconditionally: a debt, which later time pays. Units that are not named are not charged.
    ///
    /// # Errors
    /// [`ErrorKind::TooFar`] if the key could not make a request for more than a year, and those of [`try_key`](Self::try_key).
    pub fn charge_key(&self, ask: &KeyAsk<'_>) -> Result<()> {
        // A child forked by a handler would charge it a second time.
        let _no_handlers = NoHandlers::enter();
        loop {
            let (epoch, rules) = self.key_rules()?;
            let what = ask
                .cost
                .with_every_unit_of(self.config()?.policy.keys().into_iter().flat_map(KeyPolicy::limits));
            if what.largest() == 0 {
                return Ok(());
            }
            let now = clock::SystemClock.exact();
            let (keys, costs) = (self.key_hashes(ask.key)?, self.key_costs(&what, &rules, epoch)?);
            let request = KeyRequest { keys, now, costs, latest: now, may_forget: rules.may_forget };
            self.allocate(&request, &rules)?;
            if !self.segment.generations().is_current(epoch) {
                continue;
            }
            let latest = now.plus(MAX_WAIT);
            let limits = limits_for(ask.at, &rules).map_err(|e| self.named(e))?;
            let charged = self.with_tables(&limits, |tables| tables.charge(&request, latest));
            if let Err(ready) = charged {
                let cost = what.largest();
                return Err(self.segment.commit_error(CommitError::TooFar { ready, now }, cost));
            }
            // Not charged again if a change came meanwhile: a debt stays, unless the limiter has been retired with all its keys.
            let generations = self.segment.generations();
            if !generations.is_current(epoch) && generations.epoch() >= RETIRED {
                self.recover(CommitError::Retired, 0)?;
            }
            return self.maybe_check_file(now);
        }
    }

    /// Resets a key: it is as if it had never been used. Returns whether it was in the table.
    ///
    /// # Errors
    /// [`ErrorKind::Retired`], [`ErrorKind::Removed`], [`ErrorKind::Corrupt`], [`ErrorKind::InvalidInput`] if the limiter has no
    /// limits per key.
    pub fn reset_key(&self, key: KeyOf<'_>) -> Result<bool> {
        let (rules, now) = loop {
            let (epoch, rules) = self.key_rules()?;
            // The clock of a rate that was lowered meanwhile would show that nothing is owed.
            let now = clock::SystemClock.exact();
            if self.segment.generations().is_current(epoch) {
                break (rules, now);
            }
        };
        let keys = self.key_hashes(key)?;
        let mut was_known = false;
        for (index, limit) in rules.limits.iter().map_while(Option::as_ref).enumerate() {
            let (rows, key) = (self.segment.table(index), keys[index]);
            if self.segment.has_memory(index, key.row(rows.len())) {
                let table = Table { limit: *limit, rows };
                was_known |= table.row(key).reset(limit, key.tag, now) == KeyReset::Done;
            }
        }
        self.maybe_check_file(now)?;
        // Those who wait for it try again.
        self.wake_everybody();
        Ok(was_known)
    }

    /// For a reset: how far the clock of each table has to be so that all of its states are expired. Clears states that nothing
    /// can have led to. By the holder of the control lock.
    pub(in crate::limiter) fn advanced_key_clock(&self, config: &Config) -> Result<KeyClock> {
        let mut clock = config.key_clock;
        let (_, rules) = self.key_rules()?;
        for (index, limit) in rules.limits.iter().map_while(Option::as_ref).enumerate() {
            let mut greatest = 0;
            let now = clock::SystemClock.exact();
            for (_, row) in self.segment.rows_in_use(index) {
                greatest = greatest.max(Row(&row.0).greatest_plausible(limit, now, self.created_ns));
            }
            let ticks = &mut clock.anchors[index].ticks;
            *ticks = ticks.saturating_add(limit.advance_past(greatest, now));
            if limit.is_near_the_end(*ticks) {
                return Err(self.segment.error(
                    ErrorKind::InvalidInput,
                    format!(
                        "it was reset so often that its clock is at its end; replace it: shm-limit create {} --replace, with all \
                         its settings",
                        self.name().shell_word()
                    ),
                ));
            }
        }
        Ok(clock)
    }
}
