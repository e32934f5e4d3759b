//! One limit as in flags and files: optional settings, their defaults, and errors for incompatible combinations. Also
//! the comparison with an existing limit.

use super::{Kind, Limit, Rate, Start, Unit, format_span};
use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::time::Duration;

/// The kinds by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum KindName {
    /// See [`Kind::Bucket`].
    #[default]
    Bucket,
    /// See [`Kind::Greedy`].
    Greedy,
    /// See [`Kind::FixedWindow`].
    FixedWindow,
    /// See [`Kind::SlidingCounter`].
    SlidingCounter,
}

/// A description of a limit. Converted by `Limit::try_from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// At most this many per period.
    pub rate: Rate,
    /// How it counts.
    pub kind: KindName,
    /// For a bucket. Default: 1 for calls, which spaces them evenly; `max` for other units, of which one call takes
    /// many.
    pub burst: Option<u64>,
    /// For fixed windows. Default: aligned to the Unix epoch.
    pub start: Option<Start>,
    /// For a greedy limit.
    pub guard: Option<Duration>,
    /// What it counts.
    pub unit: Unit,
}

impl Description {
    /// A bucket of evenly spaced calls.
    pub fn of(rate: Rate) -> Description {
        Description { rate, kind: KindName::Bucket, burst: None, start: None, guard: None, unit: Unit::CALLS }
    }

    /// Whether it specifies how the limit counts. A bucket without a burst is the default.
    fn specifies_kind(self) -> bool {
        self.kind != KindName::Bucket || self.burst.is_some()
    }

    /// Whether this limit matches every specified part. Rate and unit are always specified; an unspecified part may be
    /// anything.
    pub(super) fn is_met_by(self, limit: Limit) -> bool {
        let existing = Description::from(limit);
        let same_rate = match existing.kind {
            KindName::Bucket => self.rate.same_ratio(existing.rate),
            _ => self.rate == existing.rate,
        };
        same_rate
            && self.unit == existing.unit
            && (!self.specifies_kind() || self.kind == existing.kind)
            && (self.burst.is_none() || self.burst == existing.burst)
            && (self.start.is_none() || self.start == existing.start)
            && (self.guard.is_none() || self.guard == existing.guard)
    }

    /// This limit with every specified part applied. The other parts are kept, unless the kind or the unit changes.
    pub(super) fn applied_to(self, limit: Limit) -> Result<Limit> {
        let existing = Description::from(limit);
        if self.is_met_by(limit) {
            return Ok(limit);
        }
        if self.unit != existing.unit || self.specifies_kind() && self.kind != existing.kind {
            return self.try_into();
        }
        Description {
            burst: self.burst.or(existing.burst),
            start: self.start.or(existing.start),
            guard: self.guard.or(existing.guard.map(|guard| guard.min(self.rate.per()))),
            ..Description { rate: self.rate, ..existing }
        }
        .try_into()
    }
}

/// The specified parts.
impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.unit.is_calls() {
            write!(f, "{} ", self.unit)?;
        }
        write!(f, "{}", self.rate)?;
        match (self.kind, self.start) {
            (KindName::Bucket, _) => match self.burst {
                Some(1) => f.write_str(" with a burst of 1"),
                Some(burst) => write!(f, " with bursts of {burst}"),
                None => Ok(()),
            },
            (KindName::Greedy, _) => f.write_str(" greedy"),
            (KindName::FixedWindow, Some(Start::FirstUse)) => f.write_str(" in windows from first use"),
            (KindName::FixedWindow, _) => f.write_str(" in fixed windows"),
            (KindName::SlidingCounter, _) => f.write_str(" by a sliding counter"),
        }?;
        match self.guard {
            Some(guard) if !guard.is_zero() => write!(f, ", guarded by {}", format_span(guard)),
            _ => Ok(()),
        }
    }
}

impl KindName {
    fn as_str(self) -> &'static str {
        match self {
            KindName::Bucket => "bucket",
            KindName::Greedy => "greedy",
            KindName::FixedWindow => "fixed-window",
            KindName::SlidingCounter => "sliding-counter",
        }
    }
}

impl fmt::Display for KindName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Kind> for KindName {
    fn from(kind: Kind) -> KindName {
        match kind {
            Kind::Bucket { .. } => KindName::Bucket,
            Kind::Greedy => KindName::Greedy,
            Kind::FixedWindow(_) => KindName::FixedWindow,
            Kind::SlidingCounter => KindName::SlidingCounter,
        }
    }
}

impl From<Limit> for Description {
    fn from(limit: Limit) -> Description {
        let (mut burst, mut start) = (None, None);
        match limit.kind() {
            Kind::Bucket { burst: b } => burst = Some(b.get()),
            Kind::FixedWindow(s) => start = Some(s),
            Kind::Greedy | Kind::SlidingCounter => {}
        }
        let guard = (limit.kind() == Kind::Greedy).then(|| limit.guard());
        Description { rate: limit.rate(), kind: limit.kind().into(), burst, start, guard, unit: limit.unit() }
    }
}

impl TryFrom<Description> for Limit {
    type Error = Error;

    fn try_from(d: Description) -> Result<Limit> {
        let bad = |why: String| Err(Error::new(ErrorKind::InvalidInput, why));
        let (rate, kind) = (d.rate, d.kind);
        if d.burst.is_some() && kind != KindName::Bucket {
            return bad(format!(
                "{rate}: only a bucket has a burst, and this is {kind}; omit one of the two"
            ));
        }
        if d.start.is_some() && kind != KindName::FixedWindow {
            return bad(format!("{rate}: only fixed windows have a start, and this is {kind}; omit it"));
        }
        if d.guard.is_some() && kind != KindName::Greedy {
            return bad(format!(
                "{rate}: a guard lengthens an exact window, which only a greedy limit has, and this is {kind}; omit the \
                 guard out, or make it greedy"
            ));
        }
        let limit = match kind {
            KindName::Bucket => {
                let default = if d.unit.is_calls() { 1 } else { rate.max() };
                Limit::with_burst(rate, d.burst.unwrap_or(default))
            }
            KindName::Greedy => {
                Limit::greedy(rate).and_then(|limit| limit.guarded(d.guard.unwrap_or_default()))
            }
            KindName::FixedWindow => Limit::fixed_window(rate, d.start.unwrap_or(Start::Epoch)),
            KindName::SlidingCounter => Limit::sliding_counter(rate),
        }?;
        Ok(limit.counting(d.unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rate: &str) -> Description {
        Description::of(rate.parse().unwrap())
    }

    #[test]
    fn omitted_settings_get_defaults() {
        assert_eq!(Limit::try_from(of("5/s")).unwrap(), Limit::patient("5/s".parse().unwrap()));
        let tokens = Description { unit: Unit::named("tokens").unwrap(), ..of("200000/m") };
        assert_eq!(Limit::try_from(tokens).unwrap().burst(), 200_000);
        let window = Description { kind: KindName::FixedWindow, ..of("5/s") };
        assert_eq!(Limit::try_from(window).unwrap().kind(), Kind::FixedWindow(Start::Epoch));
    }

    #[test]
    fn incompatible_settings_are_rejected() {
        let guard = Some(Duration::from_millis(1));
        for d in [
            Description { guard, ..of("5/s") },
            Description { start: Some(Start::FirstUse), ..of("5/s") },
            Description { kind: KindName::Greedy, burst: Some(2), ..of("5/s") },
            Description { kind: KindName::SlidingCounter, guard, ..of("5/s") },
            Description { kind: KindName::Greedy, start: Some(Start::Epoch), ..of("5/s") },
            Description { burst: Some(0), ..of("5/s") },
        ] {
            let error = Limit::try_from(d).expect_err(&format!("{d:?}"));
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }
}
