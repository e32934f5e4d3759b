//! A configuration: the policy of a limiter and its control state.

use crate::clock::Nanos;
use crate::limit::{Gcra, Kind, Policy};

/// What a change publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) policy: Policy,
    /// When it was requested.
    pub(crate) since: Nanos,
    /// End of the pause: nothing is admitted before this.
    pub(crate) not_before: Option<Nanos>,
    /// Whether its generation starts with zero usage.
    pub(crate) starts_empty: bool,
    /// The maximum number of permits that the limiter ever had.
    pub(crate) permits_ever: u32,
}

impl Config {
    /// The configuration of a new limiter.
    pub(crate) fn new(policy: Policy, since: Nanos) -> Config {
        let permits_ever = policy.permits().unwrap_or(0);
        Config { policy, since, not_before: None, starts_empty: true, permits_ever }
    }

    /// The same with another policy.
    pub(crate) fn with(self, policy: Policy) -> Config {
        Config { policy, permits_ever: self.permits_ever.max(policy.permits().unwrap_or(0)), ..self }
    }

    /// When its pause ends, if that is after `now`.
    pub(crate) fn paused_until(&self, now: Nanos) -> Option<Nanos> {
        self.not_before.filter(|&at| at > now)
    }

    /// Whether a pause that ends at `at` still has an effect at `now`: after its end it still prevents a burst.
    pub(crate) fn pause_still_binds(&self, at: Nanos, now: Nanos) -> bool {
        at > now
            || self.policy.limits().any(|limit| {
                let gcra = Gcra::new(limit, Some(at));
                matches!(limit.kind(), Kind::Bucket { .. }) && gcra.floor > gcra.unused(now)
            })
    }

    /// The parameters of its only limit, if that is a bucket; `None` without a limit.
    pub(crate) fn gcra(&self) -> Option<Gcra> {
        self.policy.first().map(|limit| Gcra::new(limit, self.not_before))
    }
}
