//! When clients arrive: at random instants that do not depend on the limiter's answers (open loop). An equal offer gives equal
//! instants.

use crate::{Job, Rng};
use std::time::Duration;

const SEED: u64 = 20;

/// The offered load.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Clients per second.
    pub per_second: u64,
    /// How long clients keep arriving.
    pub time: Duration,
}

impl Offer {
    /// As words of a job.
    #[must_use]
    pub fn write(&self, job: Job) -> Job {
        job.set("offered-per-second", self.per_second).set("for", self.time.as_millis())
    }

    /// From the words of a job.
    pub fn read(job: &Job) -> Offer {
        Offer { per_second: job.number("offered-per-second"), time: job.duration() }
    }

    /// When each client arrives, counted from the start: one at a random instant of each `1 / per_second`.
    pub fn arrivals(&self) -> Vec<Duration> {
        let mut rng = Rng::seeded(SEED);
        let slot = 1_000_000_000 / self.per_second;
        let clients = self.time.as_nanos() as u64 / slot;
        (0..clients).map(|client| Duration::from_nanos(client * slot + rng.below(slot))).collect()
    }
}
