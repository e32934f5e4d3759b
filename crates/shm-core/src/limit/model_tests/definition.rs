//! The literal definition of each kind of limit.

use crate::limit::log::{Log, STEP_NS};
use crate::limit::rule::Rule;
use crate::limit::window::{FixedWindow, SlidingCounter, Windows};
use crate::limit::{Gcra, Limit, Rate};
use std::time::Duration;

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spec {
    /// A leaky bucket: one drop leaks per `interval`, and `burst` drops fit in.
    Bucket { interval: u64, burst: u64 },
    /// At most `max` in every half-open window of `span`.
    Log { max: u64, span: u64 },
    /// At most `max` in each window of `per`, one beginning at `origin`.
    Fixed { max: u64, per: u64, origin: u64 },
    /// The same, but a window begins with the first admission after the previous one ended.
    First { max: u64, per: u64 },
    /// In windows of `per`, one of them beginning at `phase`: the current window's count, plus the previous one's times
    /// its part that lies less than `per` back, is at most `max`.
    Sliding { max: u64, per: u64, phase: u64 },
}

/// One per `interval`.
pub(super) fn bucket(interval: u64, burst: u64) -> Limit {
    Limit::with_burst(Rate::new(1, Duration::from_nanos(interval)).unwrap(), burst).unwrap()
}

fn round_up(at: u64) -> u64 {
    at.div_ceil(STEP_NS) * STEP_NS
}

impl Spec {
    pub(super) fn rule(self) -> Rule {
        match self {
            Spec::Bucket { interval, burst } => Rule::Bucket(Gcra::new(bucket(interval, burst), None)),
            Spec::Log { max, span } => Rule::Log(Log { max, span }),
            Spec::Fixed { max, per, origin } => {
                let windows = Windows::Aligned { per, wall_ns: per - 1 - (origin + per - 1) % per };
                Rule::Fixed(FixedWindow { max, windows })
            }
            Spec::First { max, per } => Rule::Fixed(FixedWindow { max, windows: Windows::FirstUse { per } }),
            Spec::Sliding { max, per, .. } => Rule::Sliding(SlidingCounter { max, per }),
        }
    }

    pub(super) fn max_cost(self) -> u64 {
        match self {
            Spec::Bucket { burst: max, .. }
            | Spec::Log { max, .. }
            | Spec::Fixed { max, .. }
            | Spec::First { max, .. }
            | Spec::Sliding { max, .. } => max,
        }
    }

    pub(super) fn with_most(mut self, n: u64) -> Spec {
        match &mut self {
            Spec::Bucket { burst: max, .. }
            | Spec::Log { max, .. }
            | Spec::Fixed { max, .. }
            | Spec::First { max, .. }
            | Spec::Sliding { max, .. } => *max = n,
        }
        self
    }

    /// The longest time for which an admission matters.
    pub(super) fn memory(self) -> u64 {
        match self {
            Spec::Bucket { interval, burst } => interval * burst,
            Spec::Log { span, .. } => span,
            Spec::Fixed { per, .. } | Spec::First { per, .. } => per,
            Spec::Sliding { per, .. } => 2 * per,
        }
    }

    /// Whether `cost` at `t` is within the limit, after this history of times and amounts, none later than `t`.
    pub(super) fn conforms(self, history: &[(u64, u64)], t: u64, cost: u64) -> bool {
        let sum = |keep: &dyn Fn(u64) -> bool| -> u64 {
            history.iter().filter(|(at, _)| keep(*at)).map(|(_, amount)| amount).sum()
        };
        match self {
            Spec::Bucket { interval, burst } => {
                let (mut level, mut then) = (0, 0);
                for &(at, amount) in history.iter().chain([&(t, cost)]) {
                    level = u64::saturating_sub(level, at - then) + amount * interval;
                    then = at;
                }
                level <= burst * interval
            }
            Spec::Log { max, span } => sum(&|at| at + span > t) + cost <= max,
            Spec::Fixed { max, per, origin } => {
                let window = |at: u64| (i128::from(at) - i128::from(origin)).div_euclid(per.into());
                sum(&|at| window(at) == window(t)) + cost <= max
            }
            Spec::First { max, per } => {
                let (mut begin, mut used) = (None, 0);
                for &(at, amount) in history.iter().chain([&(t, cost)]) {
                    if begin.is_none_or(|begin| at >= begin + per) {
                        (begin, used) = (Some(at), 0);
                    }
                    used += amount;
                }
                used <= max
            }
            Spec::Sliding { max, per, phase } => {
                let window = |at: u64| (i128::from(at) - i128::from(phase)).div_euclid(per.into());
                let into = (i128::from(t) - i128::from(phase)).rem_euclid(per.into()) as u64;
                let this = sum(&|at| window(at) == window(t)) + cost;
                let before = sum(&|at| window(at) == window(t) - 1);
                let all = u128::from(this) * u128::from(per) + u128::from(before) * u128::from(per - into);
                all <= u128::from(max) * u128::from(per)
            }
        }
    }

    /// The first instant from `from` on at which `cost` is within the limit, with the log's times rounded to steps.
    pub(super) fn earliest(self, history: &[(u64, u64)], cost: u64, from: u64) -> u64 {
        let kept: Vec<_> = match self {
            Spec::Log { .. } => history.iter().map(|&(at, amount)| (round_up(at), amount)).collect(),
            _ => history.to_vec(),
        };
        let conforms = |t| self.conforms(&kept, t, cost);
        let newest = kept.iter().map(|&(at, _)| at).max().unwrap_or(0);
        let (mut low, mut high) = (from, from.max(newest) + self.memory());
        assert!(conforms(high), "{self:?} never admits {cost} after {history:?}");
        while low < high {
            let middle = low + (high - low) / 2;
            if conforms(middle) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }
}
