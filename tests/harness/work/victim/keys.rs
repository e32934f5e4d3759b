//! Operations on keys.

use super::{TURN, Taken, YEAR, observed, one, taken};
use shm_lib::{Admission, KeyedRateLimit, Result};
use std::time::Duration;

/// The key of the victim, and those that it names besides in a batch.
const KEY: &str = "k";
const BATCH: [&str; 3] = [KEY, "l", "m"];
/// What is charged as a debt.
const DEBT: u64 = 3;

/// A keyed limiter, and what this process holds of it.
pub(super) struct Keys {
    limit: KeyedRateLimit,
    held: Option<Admission>,
}

impl Keys {
    pub(super) fn new(limit: KeyedRateLimit) -> Keys {
        Keys { limit, held: None }
    }

    /// The operation, and what comes before it.
    pub(super) fn first(&mut self, what: &str, turns: u32) -> Result<Taken> {
        // It takes its seat, reads the clock, and looks whether its file is there. (The first touch of the table does all of
        // that for the first time.)
        if what != "key-touch" {
            drop(self.limit.key("warm").try_acquire(1)?);
        }
        if what == "key-wait" {
            // The next turns belong to earlier callers.
            while self.limit.key(KEY).status()?[0].next_at < shm_lib::now().plus(turns * TURN) {
                self.limit.key(KEY).charge(1)?;
            }
        }
        observed(|| self.act(what))
    }

    /// The operation once more.
    pub(super) fn act(&mut self, what: &str) -> Result<Taken> {
        let key = self.limit.key(KEY);
        match what {
            "key-try" | "key-touch" => key.try_acquire(1).map(taken),
            "key-batch" => {
                let outcomes = self.limit.try_acquire_many(BATCH, 1)?;
                Ok(outcomes.into_iter().map(taken).fold((0, 0), |sum, one| (sum.0 + one.0, one.1.max(sum.1))))
            }
            "key-permit" => {
                self.held = None;
                self.held = key.try_acquire(1)?.admission();
                let at = self.held.as_ref().map_or(0, |admission| admission.at().as_nanos());
                Ok((u64::from(self.held.is_some()), at))
            }
            "key-wait" => key.acquire(1).wait().map(one),
            "key-charge" => key.charge(DEBT).map(|()| (DEBT, 0)),
            "key-reset-one" => key.reset().map(|_| (0, 0)),
            "key-reset" => self.limit.all_keys().reset().map(|()| (0, 0)),
            "key-change" => self.limit.change(1_010, YEAR).map(|()| (0, 0)),
            "key-pause" => self.limit.all_keys().pause_for(Duration::from_secs(3_600)).map(|()| (0, 0)),
            other => panic!("no such operation: {other}"),
        }
    }

    /// Gives back what it holds.
    pub(super) fn give_back(&mut self) {
        self.held = None;
    }
}

/// Whether the operation is one on keys.
pub(super) fn is_of_keys(what: &str) -> bool {
    what.starts_with("key-")
}
