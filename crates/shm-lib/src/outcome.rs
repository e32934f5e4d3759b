//! What was decided: values, not errors.

use shm_core::Decision;
use shm_core::clock::Nanos;
use std::time::Duration;

/// What a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a denied request must not be carried out"]
pub enum Outcome {
    /// The tokens are taken; go ahead.
    Admitted(Admission),
    /// Nothing was taken.
    Denied(Denial),
}

/// Tokens that were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    pub(crate) at: Nanos,
    pub(crate) waited: Duration,
}

/// A refusal. Nothing was taken, nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    pub(crate) ready: Nanos,
    pub(crate) now: Nanos,
}

impl Outcome {
    /// Whether the tokens are taken.
    #[inline]
    pub fn is_admitted(&self) -> bool {
        matches!(self, Outcome::Admitted(_))
    }

    /// After how long the same request would be admitted, if it was denied and nobody else asks.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Outcome::Admitted(_) => None,
            Outcome::Denied(denial) => Some(denial.retry_after()),
        }
    }
}

impl Admission {
    /// The instant that the tokens were taken for. These instants keep the limit in every window; the caller's own
    /// action comes at this instant or later, whenever the operating system lets it run.
    pub fn at(&self) -> Nanos {
        self.at
    }

    /// How long the caller waited for it. Zero if it was admitted at once.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl Denial {
    /// After how long the same request would be admitted, if nobody else asks: not a nanosecond sooner.
    pub fn retry_after(&self) -> Duration {
        self.ready.since(self.now)
    }

    /// The same as an instant.
    pub fn ready_at(&self) -> Nanos {
        self.ready
    }
}

impl From<Decision> for Outcome {
    #[inline]
    fn from(decision: Decision) -> Outcome {
        match decision {
            Decision::Admitted(r) => Outcome::Admitted(Admission { at: r.at, waited: Duration::ZERO }),
            Decision::Denied { ready, now } => Outcome::Denied(Denial { ready, now }),
        }
    }
}
