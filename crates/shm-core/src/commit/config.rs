//! A configuration: what a change asks for.

use crate::clock::Nanos;
use crate::limit::{Gcra, Kind, Policy};

/// A configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) policy: Policy,
    /// When it was asked for.
    pub(crate) since: Nanos,
    /// Admit nothing before this.
    pub(crate) not_before: Option<Nanos>,
    /// Start with nothing used.
    pub(crate) starts_empty: bool,
    /// The most permits that were ever in force.
    pub(crate) permits_ever: u32,
}

impl Config {
    /// A new limiter's.
    pub(crate) fn new(policy: Policy, since: Nanos) -> Config {
        let permits_ever = policy.permits().unwrap_or(0);
        Config { policy, since, not_before: None, starts_empty: true, permits_ever }
    }

    /// The same, with another policy.
    pub(crate) fn with(self, policy: Policy) -> Config {
        Config { policy, permits_ever: self.permits_ever.max(policy.permits().unwrap_or(0)), ..self }
    }

    /// When its pause ends, if that is after `now`.
    pub(crate) fn paused_until(&self, now: Nanos) -> Option<Nanos> {
        self.not_before.filter(|&at| at > now)
    }

    /// Whether a pause that ends at `at` still matters at `now`: past its end it still keeps a burst from leaving at once.
    pub(crate) fn pause_still_binds(&self, at: Nanos, now: Nanos) -> bool {
        at > now
            || self.policy.limits().any(|limit| {
                let gcra = Gcra::new(limit, Some(at));
                matches!(limit.kind(), Kind::Bucket { .. }) && gcra.floor > gcra.unused(now)
            })
    }

    /// The numbers of its only limit, where that is a bucket; `None` if it has no limit.
    pub(crate) fn gcra(&self) -> Option<Gcra> {
        self.policy.first().map(|limit| Gcra::new(limit, self.not_before))
    }
}
