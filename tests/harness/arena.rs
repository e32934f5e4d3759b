//! A limiter in a directory of its own, and the log of its admissions.

use crate::check::{self, Origins};
use crate::file::{Patch, offset};
use crate::{Job, log, policy, turns};
use shm_lib::limit::audit::Admission;
use shm_lib::limit::{audit, parse_span};
use shm_lib::{Limit, Nanos, Rate, RateLimit};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A new directory, in shared memory if there is any, or where `SHM_LIMIT_TEST_DIR` says; gone when the test ends.
///
/// With its first one a test begins to share the machine, see [`turns`].
pub fn shared_dir() -> TempDir {
    turns::share();
    let place = std::env::var_os("SHM_LIMIT_TEST_DIR").unwrap_or_else(|| "/dev/shm".into());
    tempfile::Builder::new()
        .prefix("shm-limit-test-")
        .tempdir_in(place)
        .or_else(|_| TempDir::new())
        .expect("a directory to work in")
}

/// A limiter under test, its directory, and the logs of its users.
pub struct Arena {
    dir: TempDir,
    logs: TempDir,
    limit: Limit,
    /// The policy, if it is more than one limit: as `policy::parse` reads it, and the number of permits (0: none).
    policy: Option<(String, u64)>,
    seats: usize,
}

impl Arena {
    /// A place for the limiter `arena` with this rate (`5/s`) and burst.
    pub fn new(rate: &str, burst: u64) -> Arena {
        let rate: Rate = rate.parse().expect("a rate");
        let limit = Limit::with_burst(rate, burst).expect("a limit");
        Arena { dir: shared_dir(), logs: shared_dir(), limit, policy: None, seats: shm_core::DEFAULT_SEATS }
    }

    /// A place for the limiter `arena` with this policy (see [`policy::parse`]) and this many permits (0: none).
    pub fn with_policy(text: &str, permits: u64) -> Arena {
        let any = Arena::new("1/s", 1);
        let limit = policy::parse(text, permits).first().unwrap_or(any.limit);
        Arena { limit, policy: Some((text.to_owned(), permits)), ..any }
    }

    /// A budget that does not grow during a test: `tokens`, and then about none.
    pub fn with_fixed_budget(tokens: u64) -> Arena {
        let year = parse_span("366d").expect("a span");
        let limit = Limit::with_burst(Rate::new(tokens, year).expect("a rate"), tokens).expect("a limit");
        Arena { limit, ..Arena::new("1/s", 1) }
    }

    /// With this many seats.
    #[must_use]
    pub fn seats(mut self, seats: usize) -> Arena {
        self.seats = seats;
        self
    }

    /// The limit.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// The limiter's directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The limiter's file.
    pub fn file(&self) -> PathBuf {
        self.dir().join("arena")
    }

    /// Where the workers log.
    pub fn logs(&self) -> &Path {
        self.logs.path()
    }

    /// Orders that name this limiter.
    pub fn job(&self, mode: &str) -> Job {
        let (policy, permits) = self.policy.clone().unwrap_or_default();
        Job::new(mode)
            .set("policy", policy)
            .set("permits", permits)
            .set("dir", self.dir().display())
            .set("logs", self.logs().display())
            .set("name", "arena")
            .set("max", self.limit.rate().max())
            .set("per", self.limit.rate().per().as_nanos())
            .set("burst", self.limit.burst())
            .set("seats", self.seats)
    }

    /// Checks each of its limits by its own definition. The logs hold pairs of `amount` and `at`, where the amount is that of
    /// each unit; a call counts 1.
    ///
    /// # Panics
    /// With the first window of the first limit that is over.
    pub fn assert_all_kept(&self, logged: &[(u64, u64)]) {
        self.assert_all(logged, check::kept);
    }

    /// The same where callers may have been killed before they wrote down what they got.
    ///
    /// # Panics
    /// With the first window of the first limit that is over.
    pub fn assert_all_kept_with_gaps(&self, logged: &[(u64, u64)]) {
        self.assert_all(logged, check::kept_with_gaps);
    }

    fn assert_all(
        &self,
        logged: &[(u64, u64)],
        kept: impl Fn(Limit, Origins, &mut [Admission]) -> Result<(), String>,
    ) {
        let (text, permits) = self.policy.as_ref().expect("a policy");
        let patch = Patch::of(&self.file());
        let origins = Origins { wall_ns: patch.get(offset::WALL), created_ns: patch.get(offset::CREATED) };
        for limit in policy::parse(text, *permits).limits() {
            let tokens = |amount| if limit.unit().is_calls() { 1 } else { amount };
            let mut admitted: Vec<Admission> = logged
                .iter()
                .map(|&(amount, at)| Admission { at: Nanos::from_nanos(at), calls: tokens(amount) })
                .collect();
            if let Err(over) = kept(limit, origins, &mut admitted) {
                panic!("over the limit of {limit}: {over} (of {} admissions)", logged.len());
            }
        }
    }

    /// Opens the limiter in this process.
    pub fn open(&self) -> RateLimit {
        self.job("open").open().expect("the limiter")
    }

    /// All logged times, in order.
    pub fn times(&self) -> Vec<u64> {
        log::read(self.logs())
    }

    /// Checks that no window of all that was logged holds more than `limit` allows.
    ///
    /// # Panics
    /// With the first window that does.
    pub fn assert_never_over(&self, limit: Limit) {
        assert_never_over(limit, &self.times());
    }
}

/// Checks that no window holds more than `limit` allows.
///
/// # Panics
/// With the first window that does.
pub fn assert_never_over(limit: Limit, times: &[u64]) {
    if let Err(over) = audit::check(limit, &mut log::admissions(times)) {
        let span = over.to.since(over.from);
        let allowed =
            limit.burst() as f64 + (span.as_nanos() + 1) as f64 * 1e-9 * limit.rate().as_per_second();
        panic!(
            "over the limit of {limit}: {over}, where fewer than {allowed:.6} may be (of {} admissions)",
            times.len()
        );
    }
}

/// The rate that was delivered between two instants, as a part of the nominal one. Counts whole intervals between
/// the first and the last admission, so that the edges don't matter.
pub fn delivered(limit: Limit, times: &[u64], from: u64, span: Duration) -> f64 {
    let until = from + span.as_nanos() as u64;
    let (start, end) = (times.partition_point(|&t| t < from), times.partition_point(|&t| t <= until));
    let Some([first, .., last]) = times.get(start..end) else { return 0.0 };
    // Admissions at the very first instant belong to the time before it.
    let counted = end - times.partition_point(|&t| t <= *first);
    counted as f64 / (last - first) as f64 * 1e9 / limit.rate().as_per_second()
}
