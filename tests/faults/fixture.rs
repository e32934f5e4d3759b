//! What a fault is injected into: one limiter, created for each visit, and what other processes do with it.

use crate::operation::Operation;
use crate::victim::Result;
use harness::file::{Patch, offset};
use harness::{Job, policy};
use shm_lib::{KeyedRateLimit, Outcome, Policy, RateLimit};
use std::path::Path;
use std::time::{Duration, Instant};

/// Tokens of the limits that give nothing back while anybody watches.
pub(crate) const BUDGET: u64 = 1_000;
/// In which the budget comes once.
pub(crate) const YEAR: Duration = Duration::from_secs(366 * 86_400);
/// How much of it the others take beside a victim that is stopped.
pub(crate) const BESIDE: u64 = 300;

/// The limiter, and this process as one of its users.
pub(crate) struct Fixture {
    job: Job,
    dir: std::path::PathBuf,
    /// None before it is created.
    limit: Option<RateLimit>,
    /// The same, if it is one of keys.
    keys: Option<KeyedRateLimit>,
    /// Varies from one instruction to the next: which of two orders things are done in.
    pub(crate) odd: bool,
    /// The state when the victim was about to begin.
    state: u64,
    /// The slowest of what was done beside the victim.
    pub(crate) slowest: Duration,
    /// What came later than it should, but came: the machine may have stalled.
    pub(crate) late: Option<String>,
}

impl Fixture {
    /// A new limiter for this operation, in a directory in which there is nothing else.
    pub(crate) fn new(operation: &Operation, dir: &Path, seats: u64) -> Result<Fixture> {
        for entry in list(dir) {
            std::fs::remove_file(dir.join(entry)).map_err(|e| e.to_string())?;
        }
        let job = Job::new("victim")
            .set("do", operation.act)
            .set("dir", dir.display())
            .set("name", "arena")
            .set("policy", operation.policy)
            .set("permits", operation.permits)
            .set("seats", seats);
        let mut fixture = Fixture {
            job,
            dir: dir.to_owned(),
            limit: None,
            keys: None,
            odd: false,
            state: 0,
            slowest: Duration::ZERO,
            late: None,
        };
        if policy::has_keys(operation.policy) {
            fixture.keys = Some(fixture.open_keys()?);
            fixture.limit = fixture.keys.as_ref().map(|keys| keys.all_keys().clone());
        } else if operation.act != "create" {
            fixture.limit = Some(fixture.open()?);
        }
        Ok(fixture)
    }

    /// What the victim is told.
    pub(crate) fn job(&self) -> &Job {
        &self.job
    }

    /// This process's handle.
    pub(crate) fn limit(&self) -> RateLimit {
        self.limit.clone().expect("a limiter that is there before the victim")
    }

    /// This process's handle of a keyed limiter.
    pub(crate) fn keys(&self) -> KeyedRateLimit {
        self.keys.clone().expect("a keyed limiter")
    }

    /// Opens a keyed limiter once more, as another process would.
    pub(crate) fn open_keys(&self) -> Result<KeyedRateLimit> {
        self.job.open_keys().map_err(|e| e.to_string())
    }

    /// Opens the limiter that now has the name, and takes `n` times from it, of one key if it is one of keys. Returns it, and how
    /// often it admitted.
    pub(crate) fn open_and_take(&self, n: u64) -> Result<(RateLimit, u64)> {
        if self.keys.is_some() {
            let keys = self.open_keys()?;
            let got =
                (0..n).try_fold(0, |got, _| Ok::<_, String>(got + u64::from(attempt_key(&keys, "new")?)))?;
            return Ok((keys.all_keys().clone(), got));
        }
        let limit = self.open()?;
        let got = (0..n).try_fold(0, |got, _| Ok::<_, String>(got + u64::from(attempt(&limit)?)))?;
        Ok((limit, got))
    }

    /// Whether there is one.
    pub(crate) fn is_there(&self) -> bool {
        self.limit.is_some()
    }

    /// From here on there is one.
    pub(crate) fn adopt(&mut self, limit: RateLimit) {
        self.limit = Some(limit);
    }

    /// Whether the victim's operation leads to whatever has the name then.
    pub(crate) fn opens_by_name(&self) -> bool {
        matches!(self.job.text("do"), "open" | "create")
    }

    /// Whether that is what the victim's operation does.
    pub(crate) fn is_retired_by_victim(&self) -> bool {
        self.job.text("do") == "retire"
    }

    /// Whether the victim has its handle after the operation, too.
    pub(crate) fn keeps_its_handle(&self) -> bool {
        !matches!(self.job.text("do"), "drop" | "retire")
    }

    /// Remembers the state. The next question is whether it is another one.
    pub(crate) fn remember_state(&mut self) {
        self.state = self.limit.as_ref().map_or(0, state);
    }

    /// Whether anything was committed since. Only for the first configuration.
    pub(crate) fn has_changed(&self) -> bool {
        state(&self.limit()) != self.state
    }

    /// Opens the limiter once more, as another process would, and takes a seat.
    pub(crate) fn open(&self) -> Result<RateLimit> {
        self.job.open().map_err(|e| e.to_string())
    }

    /// What is in the directory.
    pub(crate) fn files(&self) -> Vec<String> {
        list(&self.dir)
    }

    /// Does something that the victim may not delay.
    pub(crate) fn beside<R>(&mut self, act: impl FnOnce() -> R) -> R {
        let begun = Instant::now();
        let result = act();
        self.slowest = self.slowest.max(begun.elapsed());
        result
    }

    /// Tries `n` times beside the victim; how often it was admitted.
    pub(crate) fn take_beside(&mut self, limit: &RateLimit, n: u64) -> Result<u64> {
        let mut got = 0;
        for _ in 0..n {
            got += u64::from(self.beside(|| attempt(limit))?);
        }
        Ok(got)
    }
}

/// The first generation's state.
fn state(limit: &RateLimit) -> u64 {
    let first = offset::GENERATIONS + offset::GENERATION_SIZE + offset::GENERATION_STATE;
    Patch::of(limit.path()).get(first)
}

/// One try.
pub(crate) fn attempt(limit: &RateLimit) -> Result<bool> {
    limit.try_acquire(1).map(|outcome| outcome.is_admitted()).map_err(|e| e.to_string())
}

/// One try for a key.
pub(crate) fn attempt_key(keys: &KeyedRateLimit, key: &str) -> Result<bool> {
    keys.key(key).try_acquire(1).map(|outcome| outcome.is_admitted()).map_err(|e| e.to_string())
}

/// Takes `n`, which must be there.
pub(crate) fn take(limit: &RateLimit, n: u64) -> Result<()> {
    (0..n).try_for_each(|i| match limit.try_acquire(1).map_err(|e| e.to_string())? {
        Outcome::Admitted(_) => Ok(()),
        Outcome::Denied(_) => Err(format!("only {i} of {n} are to be had")),
    })
}

/// Takes all that is left, and says how much that was.
pub(crate) fn drain(limit: &RateLimit) -> Result<u64> {
    let mut got = 0;
    while attempt(limit)? {
        got += 1;
        // Far more than there is.
        ensure(got < 10 * BUDGET, || format!("{got} and no end"))?;
    }
    Ok(got)
}

/// Whether this process alone is attached, this many permits are held, and the policy is one of these.
pub(crate) fn inspected(limit: &RateLimit, permits: u64, policies: &[Policy]) -> Result<()> {
    let seen = limit.inspect().map_err(|e| format!("inspect: {e}"))?;
    let pids: Vec<u32> = seen.attached.iter().map(|a| a.pid).collect();
    ensure(pids == [std::process::id()], || format!("attached: {pids:?}"))?;
    ensure(seen.permits_held == permits, || {
        format!("{} permits are held, not {permits}", seen.permits_held)
    })?;
    ensure(policies.contains(&seen.policy), || format!("its policy is {}", seen.policy))
}

/// Whether exactly this process and the other one are attached, in a seat each.
pub(crate) fn only_attached(limit: &RateLimit, other: u32) -> Result<()> {
    let seen = limit.inspect().map_err(|e| format!("inspect: {e}"))?;
    let mut pids: Vec<u32> = seen.attached.iter().map(|a| a.pid).collect();
    pids.sort_unstable();
    let mut expected = [std::process::id(), other];
    expected.sort_unstable();
    ensure(pids == expected, || format!("attached: {pids:?}, not {expected:?}"))
}

/// The error, unless it holds.
pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn list(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("the directory");
    entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}
