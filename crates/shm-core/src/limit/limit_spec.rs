//! One limit as in flags and files: optional settings, their defaults, and errors for incompatible combinations. Also
//! the comparison with an existing limit.

use super::{Kind, Limit, Rate, Start, Unit, Zone, format_span};
use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::time::Duration;

/// The kind of a limit by its name in policy files and JSON: a [`Kind`] without its parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum LimitKind {
    /// See [`Kind::Bucket`].
    #[default]
    Bucket,
    /// See [`Kind::Greedy`].
    Greedy,
    /// See [`Kind::FixedWindow`].
    FixedWindow,
    /// See [`Kind::CalendarWindow`].
    CalendarWindow,
    /// See [`Kind::SlidingCounter`].
    SlidingCounter,
}

/// A limit as a caller specified it: optional settings, with defaults for the rest. `Limit::try_from` checks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSpec {
    /// At most this many per period.
    pub rate: Rate,
    /// How it counts.
    pub kind: LimitKind,
    /// For a bucket. Default: 1 for calls, which spaces them evenly; `max` for other units, of which one call takes
    /// many.
    pub burst: Option<u64>,
    /// For fixed windows. Default: aligned to the Unix epoch.
    pub start: Option<Start>,
    /// For calendar windows. Default: UTC. All calendar windows of a limiter have the same zone.
    pub zone: Option<Zone>,
    /// For a greedy limit.
    pub guard: Option<Duration>,
    /// What it counts.
    pub unit: Unit,
}

impl LimitSpec {
    /// A bucket of evenly spaced calls.
    pub fn of(rate: Rate) -> LimitSpec {
        LimitSpec {
            rate,
            kind: LimitKind::Bucket,
            burst: None,
            start: None,
            zone: None,
            guard: None,
            unit: Unit::CALLS,
        }
    }

    /// Whether it specifies how the limit counts. A bucket without a burst is the default.
    fn specifies_kind(self) -> bool {
        self.kind != LimitKind::Bucket || self.burst.is_some()
    }

    /// Whether this limit matches every specified part. Rate and unit are always specified; an unspecified part may be
    /// anything.
    pub(super) fn is_met_by(self, limit: Limit) -> bool {
        let existing = LimitSpec::from(limit);
        let same_rate = match existing.kind {
            LimitKind::Bucket => self.rate.same_ratio(existing.rate),
            _ => self.rate == existing.rate,
        };
        same_rate
            && self.unit == existing.unit
            && (!self.specifies_kind() || self.kind == existing.kind)
            && (self.burst.is_none() || self.burst == existing.burst)
            && (self.start.is_none() || self.start == existing.start)
            && (self.zone.is_none() || self.zone == existing.zone)
            && (self.guard.is_none() || self.guard == existing.guard)
    }

    /// This limit with every specified part applied. The other parts are kept, unless the kind or the unit changes.
    pub(super) fn applied_to(self, limit: Limit) -> Result<Limit> {
        let existing = LimitSpec::from(limit);
        if self.is_met_by(limit) {
            return Ok(limit);
        }
        if self.unit != existing.unit || self.specifies_kind() && self.kind != existing.kind {
            return self.try_into();
        }
        LimitSpec {
            burst: self.burst.or(existing.burst),
            start: self.start.or(existing.start),
            zone: self.zone.or(existing.zone),
            guard: self.guard.or(existing.guard.map(|guard| guard.min(self.rate.per()))),
            ..LimitSpec { rate: self.rate, ..existing }
        }
        .try_into()
    }
}

/// The specified parts.
impl fmt::Display for LimitSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.unit.is_calls() {
            write!(f, "{} ", self.unit)?;
        }
        write!(f, "{}", self.rate)?;
        if let (LimitKind::CalendarWindow, Some(zone)) = (self.kind, self.zone) {
            return write!(f, " by the calendar of {zone}");
        }
        match (self.kind, self.start) {
            (LimitKind::Bucket, _) => match self.burst {
                Some(1) => f.write_str(" with a burst of 1"),
                Some(burst) => write!(f, " with bursts of {burst}"),
                None => Ok(()),
            },
            (LimitKind::Greedy, _) => f.write_str(" greedy"),
            (LimitKind::FixedWindow, Some(Start::FirstUse)) => f.write_str(" in windows from first use"),
            (LimitKind::FixedWindow, _) => f.write_str(" in fixed windows"),
            (LimitKind::CalendarWindow, _) => f.write_str(" by the calendar"),
            (LimitKind::SlidingCounter, _) => f.write_str(" by a sliding counter"),
        }?;
        match self.guard {
            Some(guard) if !guard.is_zero() => write!(f, ", guarded by {}", format_span(guard)),
            _ => Ok(()),
        }
    }
}

impl LimitKind {
    fn as_str(self) -> &'static str {
        match self {
            LimitKind::Bucket => "bucket",
            LimitKind::Greedy => "greedy",
            LimitKind::FixedWindow => "fixed-window",
            LimitKind::CalendarWindow => "calendar-window",
            LimitKind::SlidingCounter => "sliding-counter",
        }
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Kind> for LimitKind {
    fn from(kind: Kind) -> LimitKind {
        match kind {
            Kind::Bucket { .. } => LimitKind::Bucket,
            Kind::Greedy => LimitKind::Greedy,
            Kind::FixedWindow(_) => LimitKind::FixedWindow,
            Kind::CalendarWindow { .. } => LimitKind::CalendarWindow,
            Kind::SlidingCounter => LimitKind::SlidingCounter,
        }
    }
}

impl From<Limit> for LimitSpec {
    fn from(limit: Limit) -> LimitSpec {
        let (mut burst, mut start, mut zone) = (None, None, None);
        match limit.kind() {
            Kind::Bucket { burst: b } => burst = Some(b.get()),
            Kind::FixedWindow(s) => start = Some(s),
            Kind::CalendarWindow { zone: z, .. } => zone = Some(z),
            Kind::Greedy | Kind::SlidingCounter => {}
        }
        let guard = (limit.kind() == Kind::Greedy).then(|| limit.guard());
        LimitSpec {
            rate: limit.rate(),
            kind: limit.kind().into(),
            burst,
            start,
            zone,
            guard,
            unit: limit.unit(),
        }
    }
}

impl TryFrom<LimitSpec> for Limit {
    type Error = Error;

    fn try_from(d: LimitSpec) -> Result<Limit> {
        let bad = |why: String| Err(Error::new(ErrorKind::InvalidInput, why));
        let (rate, kind) = (d.rate, d.kind);
        if d.burst.is_some() && kind != LimitKind::Bucket {
            return bad(format!(
                "{rate}: only a bucket has a burst, and the kind is {kind}; omit one of the two"
            ));
        }
        if d.start.is_some() && kind != LimitKind::FixedWindow {
            return bad(format!("{rate}: only fixed windows have a start, and the kind is {kind}; omit it"));
        }
        if d.zone.is_some() && kind != LimitKind::CalendarWindow {
            return bad(format!(
                "{rate}: only calendar windows have a time zone, and the kind is {kind}; omit the zone, or choose calendar windows \
                 (--window calendar)"
            ));
        }
        if d.guard.is_some() && kind != LimitKind::Greedy {
            return bad(format!(
                "{rate}: a guard lengthens an exact window, which only a greedy limit has, and the kind is {kind}; omit the \
                 guard out, or make it greedy"
            ));
        }
        let limit = match kind {
            LimitKind::Bucket => {
                let default = if d.unit.is_calls() { 1 } else { rate.max() };
                Limit::with_burst(rate, d.burst.unwrap_or(default))
            }
            LimitKind::Greedy => {
                Limit::greedy(rate).and_then(|limit| limit.guarded(d.guard.unwrap_or_default()))
            }
            LimitKind::FixedWindow => Limit::fixed_window(rate, d.start.unwrap_or(Start::Epoch)),
            LimitKind::CalendarWindow => Limit::calendar_window_at(rate, d.zone.unwrap_or(Zone::UTC)),
            LimitKind::SlidingCounter => Limit::sliding_counter(rate),
        }?;
        Ok(limit.counting(d.unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rate: &str) -> LimitSpec {
        LimitSpec::of(rate.parse().unwrap())
    }

    #[test]
    fn omitted_settings_get_defaults() {
        assert_eq!(Limit::try_from(of("5/s")).unwrap(), Limit::patient("5/s".parse().unwrap()));
        let tokens = LimitSpec { unit: Unit::named("tokens").unwrap(), ..of("200000/m") };
        assert_eq!(Limit::try_from(tokens).unwrap().burst(), 200_000);
        let window = LimitSpec { kind: LimitKind::FixedWindow, ..of("5/s") };
        assert_eq!(Limit::try_from(window).unwrap().kind(), Kind::FixedWindow(Start::Epoch));
    }

    #[test]
    fn incompatible_settings_are_rejected() {
        let guard = Some(Duration::from_millis(1));
        for d in [
            LimitSpec { guard, ..of("5/s") },
            LimitSpec { start: Some(Start::FirstUse), ..of("5/s") },
            LimitSpec { kind: LimitKind::Greedy, burst: Some(2), ..of("5/s") },
            LimitSpec { kind: LimitKind::SlidingCounter, guard, ..of("5/s") },
            LimitSpec { kind: LimitKind::Greedy, start: Some(Start::Epoch), ..of("5/s") },
            LimitSpec { burst: Some(0), ..of("5/s") },
        ] {
            let error = Limit::try_from(d).expect_err(&format!("{d:?}"));
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }
}
