//! The storm's limiters and what each has to bear: known to its workers, its controllers and its judge.

use crate::{Job, policy};
use shm_lib::{OnLost, OnMismatch, RateLimit, Result};
use std::path::Path;

/// What happens to a limiter, besides that its users are killed and stopped at random instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing else: every window of the whole time is checked.
    KillsOnly,
    /// Changes to its current policy: checked as if there were no changes.
    NoOpChanges,
    /// Changes between [`RATES`]: each window is checked by the most generous that may have applied in it.
    Rates,
    /// Resets, pauses and resumptions: a reset is worth a burst to the windows that it lies in; in a pause nothing may be.
    PauseReset,
    /// Removed and recreated: each life is judged by itself.
    Recreate,
}

/// One of the limiters.
#[derive(Clone, Copy, Debug)]
pub struct StormLimiter {
    /// Its name.
    pub name: &'static str,
    /// As [`policy::parse`] reads it.
    pub policy: &'static str,
    /// 0: none.
    pub permits: u64,
    /// What it has to bear.
    pub trouble: Trouble,
    /// What it delivers, a second.
    pub nominal: f64,
    /// Whether its users only wait, and take nothing ahead: then all of it must be delivered while anybody waits.
    pub is_for_waiting: bool,
}

/// What the limiter under [`Trouble::Rates`] is changed between, a second. Its burst stays, so nothing is forgiven.
pub const RATES: [u64; 2] = [400, 1_600];

const fn limiter(name: &'static str, policy: &'static str, trouble: Trouble, nominal: f64) -> StormLimiter {
    StormLimiter { name, policy, permits: 0, trouble, nominal, is_for_waiting: false }
}

/// All of them.
pub const LIMITERS: [StormLimiter; 8] = [
    limiter("steady", "bucket:1000/s:20", Trouble::KillsOnly, 1_000.0),
    StormLimiter {
        permits: 8,
        ..limiter(
            "several",
            "greedy:100/100ms+bucket:20000/s:5000@tokens+fixed:450/500ms",
            Trouble::KillsOnly,
            900.0,
        )
    },
    StormLimiter { is_for_waiting: true, ..limiter("line", "bucket:500/s:4", Trouble::KillsOnly, 500.0) },
    limiter("same", "bucket:701/s:10", Trouble::NoOpChanges, 701.0),
    limiter("greedy", "greedy:80/100ms", Trouble::NoOpChanges, 800.0),
    limiter("rates", "bucket:400/s:10", Trouble::Rates, 0.0),
    limiter("pause_reset", "bucket:500/s:10", Trouble::PauseReset, 500.0),
    limiter("recreate", "greedy:50/50ms+bucket:1000/s:20", Trouble::Recreate, 1_000.0),
];

/// Threads of each worker.
pub const THREADS: usize = 2;

/// What is asked of a limiter, and done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Call {
    Try,
    Wait,
    WaitTimeout,
    WaitAndDrop,
    Reserve,
    Schedule,
    Settle,
    Look,
    Open,
    Change,
    Reset,
    Pause,
    Resume,
    Retire,
    Remove,
}

impl Call {
    /// As it is in a journal.
    pub fn of(code: u64) -> Option<Call> {
        use Call::*;
        [
            Try,
            Wait,
            WaitTimeout,
            WaitAndDrop,
            Reserve,
            Schedule,
            Settle,
            Look,
            Open,
            Change,
            Reset,
            Pause,
            Resume,
            Retire,
            Remove,
        ]
        .into_iter()
        .find(|&call| call as u64 == code)
    }
}

impl StormLimiter {
    /// Whether a request names an amount of tokens.
    pub fn has_units(&self) -> bool {
        self.policy.contains('@')
    }

    /// Joins it in `dir`, or makes it.
    ///
    /// # Errors
    /// As [`RateLimit::open`].
    pub fn open(&self, dir: &Path) -> Result<RateLimit> {
        RateLimit::builder(self.name)
            .directory(dir)
            .on_mismatch(OnMismatch::Keep)
            // It is removed and recreated on purpose: each life is judged by itself.
            .on_lost(OnLost::Error)
            .open_policy(policy::parse(self.policy, self.permits))
    }

    /// Orders for its workers and controllers.
    pub fn job(mode: &str, dir: &Path, logs: &Path) -> Job {
        Job::new(mode).set("dir", dir.display()).set("logs", logs.display())
    }
}
