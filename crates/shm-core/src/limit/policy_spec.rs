//! A policy as a caller specified it, for a limiter that may exist with additional settings.

use super::{KeySpec, Limit, LimitSpec, MAX_LIMITS, Policy};
use crate::error::Result;
use std::fmt;

/// A policy as a caller specified it: the specified parts, and a default for each unspecified part.
///
/// If the limiter does not exist, it is created with the specified parts and the defaults. If it exists, only the
/// specified parts are compared with it:
///
/// | part | specified by | if unspecified, the caller accepts |
/// |---|---|---|
/// | a rate, and the unit that it counts | every limit (a rate without a unit counts calls) | – |
/// | how the limit counts | a burst, greedy, a window | any kind |
/// | burst, start of windows, zone, guard | its own setting | any |
/// | permits | its own setting | any number, or none |
/// | maximum of waiting requests | its own setting | any |
/// | shadow mode | its own setting | on or off |
/// | further limits | a whole [`Policy`] | any, after the specified ones |
/// | limits per key | their own setting, in the same way as limits | any, or none |
///
/// Limits are compared in order. A [`Policy`] or [`Limit`] converted into a `PolicySpec` specifies all of its parts,
/// including the absence of further limits, permits and shadow mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicySpec {
    /// Filled from the front, without gaps. Empty: the limiter has no limit.
    limits: [Option<LimitSpec>; MAX_LIMITS],
    permits: Option<u32>,
    max_waiters: Option<u32>,
    shadow: Option<bool>,
    keys: Option<KeySpec>,
    /// Whether everything is specified: what is not in `policy` must not be in the limiter.
    is_whole: bool,
    /// The specified parts, and the defaults for the others.
    policy: Policy,
}

impl PolicySpec {
    /// These limits, each with its rate, its unit and its other named settings. Permits, shadow mode and further limits
    /// are unspecified.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for no limit, for more than four, and for an invalid
    /// limit.
    pub fn new(limits: &[LimitSpec]) -> Result<PolicySpec> {
        let whole: Vec<Limit> = limits.iter().map(|&limit| Limit::try_from(limit)).collect::<Result<_>>()?;
        let policy = Policy::new(&whole)?;
        let mut all = [None; MAX_LIMITS];
        for (place, &limit) in all.iter_mut().zip(limits) {
            *place = Some(limit);
        }
        Ok(PolicySpec {
            limits: all,
            permits: None,
            max_waiters: None,
            shadow: None,
            keys: None,
            is_whole: false,
            policy,
        })
    }

    /// Limits per key, and no limit of all keys together. A limiter that also has such a limit matches.
    pub fn of_keys(keys: KeySpec) -> PolicySpec {
        PolicySpec {
            limits: [None; MAX_LIMITS],
            permits: None,
            max_waiters: None,
            shadow: None,
            keys: Some(keys),
            is_whole: false,
            policy: Policy::of_keys(keys.policy()),
        }
    }

    /// The same, also specifying limits per key.
    #[must_use]
    pub fn with_keys(self, keys: KeySpec) -> PolicySpec {
        PolicySpec { keys: Some(keys), policy: self.policy.with_keys(keys.policy()), ..self }
    }

    /// `n` permits and no limit. A limiter that also has a limit does not match.
    ///
    /// # Errors
    /// Those of [`Policy::of_permits`].
    pub fn of_permits(n: u32) -> Result<PolicySpec> {
        let (limits, policy) = ([None; MAX_LIMITS], Policy::of_permits(n)?);
        Ok(PolicySpec {
            limits,
            permits: Some(n),
            max_waiters: None,
            shadow: None,
            keys: None,
            is_whole: false,
            policy,
        })
    }

    /// The same, also specifying `n` permits.
    ///
    /// # Errors
    /// Those of [`Policy::with_permits`].
    pub fn with_permits(self, n: u32) -> Result<PolicySpec> {
        Ok(PolicySpec { permits: Some(n), policy: self.policy.with_permits(n)?, ..self })
    }

    /// The same, also specifying how many requests may wait.
    #[must_use]
    pub fn with_max_waiters(self, n: u32) -> PolicySpec {
        PolicySpec { max_waiters: Some(n), policy: self.policy.with_max_waiters(n), ..self }
    }

    /// The same, also specifying whether shadow mode is on.
    #[must_use]
    pub fn in_shadow(self, shadow: bool) -> PolicySpec {
        PolicySpec { shadow: Some(shadow), policy: self.policy.in_shadow(shadow), ..self }
    }

    /// The policy of a new limiter: the specified parts, and the defaults for the others.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// Whether a limiter with this policy matches every specified part.
    pub fn is_met_by(&self, existing: &Policy) -> bool {
        if self.is_whole {
            return self.policy.is_equivalent(existing);
        }
        if self.limits[0].is_none() && self.keys.is_none() && !existing.is_unlimited() {
            return false;
        }
        let mut others = existing.limits();
        self.specified_limits().all(|limit| others.next().is_some_and(|other| limit.is_met_by(other)))
            && self.permits.is_none_or(|n| existing.permits() == Some(n))
            && self.max_waiters.is_none_or(|n| existing.max_waiters() == Some(n))
            && self.shadow.is_none_or(|shadow| existing.is_shadow() == shadow)
            && self.keys.is_none_or(|keys| existing.keys().is_some_and(|existing| keys.is_met_by(existing)))
    }

    /// `existing` with every specified part applied; the other parts are kept.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if a kept part is incompatible with the specified
    /// ones, such as a large burst with a much lower rate.
    pub fn applied_to(&self, existing: &Policy) -> Result<Policy> {
        if self.is_whole {
            return Ok(self.policy);
        }
        let permits = self.permits.or(existing.permits());
        let mut limits: Vec<Limit> = existing.limits().collect();
        for (index, specified) in self.specified_limits().enumerate() {
            match limits.get_mut(index) {
                Some(limit) => *limit = specified.applied_to(*limit)?,
                None => limits.push(Limit::try_from(specified)?),
            }
        }
        let keys = match (&self.keys, existing.keys()) {
            (Some(keys), Some(existing)) => Some(keys.applied_to(existing)?),
            (Some(keys), None) => Some(keys.policy()),
            (None, existing) => existing.copied(),
        };
        if self.limits[0].is_none() && self.keys.is_none() {
            limits.clear();
        }
        let policy = match (limits.is_empty(), permits, keys) {
            (true, None, Some(keys)) => Policy::of_keys(keys),
            (true, Some(n), _) => Policy::of_permits(n)?,
            (_, Some(n), _) => Policy::new(&limits)?.with_permits(n)?,
            (_, None, _) => Policy::new(&limits)?,
        };
        let policy = keys.map_or(policy, |keys| policy.with_keys(keys));
        let policy = policy.in_shadow(self.shadow.unwrap_or(existing.is_shadow()));
        let max_waiters = self.max_waiters.or(existing.max_waiters());
        Ok(max_waiters.map_or(policy, |n| policy.with_max_waiters(n)))
    }

    fn specified_limits(&self) -> impl Iterator<Item = LimitSpec> + '_ {
        self.limits.iter().map_while(|&limit| limit)
    }
}

impl From<Policy> for PolicySpec {
    fn from(policy: Policy) -> PolicySpec {
        let mut limits = [None; MAX_LIMITS];
        for (place, limit) in limits.iter_mut().zip(policy.limits()) {
            *place = Some(limit.into());
        }
        let (permits, max_waiters, shadow) =
            (policy.permits(), policy.max_waiters(), Some(policy.is_shadow()));
        let keys = policy.keys().map(|&keys| keys.into());
        PolicySpec { limits, permits, max_waiters, shadow, keys, is_whole: true, policy }
    }
}

impl From<Limit> for PolicySpec {
    fn from(limit: Limit) -> PolicySpec {
        Policy::from(limit).into()
    }
}

/// The specified parts.
impl fmt::Display for PolicySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole {
            return self.policy.fmt(f);
        }
        if let Some(keys) = &self.keys {
            write!(f, "{keys}")?;
            if self.limits[0].is_some() || self.permits.is_some() {
                f.write_str("; of all keys: ")?;
            }
        }
        for (i, limit) in self.specified_limits().enumerate() {
            write!(f, "{}{limit}", if i > 0 { " + " } else { "" })?;
        }
        match self.permits {
            Some(n) if self.limits[0].is_none() && self.keys.is_some() => {
                write!(f, "{n} permit{}", if n == 1 { "" } else { "s" })?;
            }
            Some(n) if self.limits[0].is_none() => {
                write!(f, "{n} permit{} and no rate", if n == 1 { "" } else { "s" })?;
            }
            Some(n) => write!(f, " + at most {n} at a time")?,
            None => {}
        }
        if let Some(n) = self.max_waiters {
            write!(f, ", at most {n} waiting")?;
        }
        match self.shadow {
            Some(true) => write!(f, " (shadow)"),
            Some(false) => write!(f, " (not in shadow)"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{LimitKind, Start, Unit, Zone};
    use std::time::Duration;

    fn rate(text: &str) -> LimitSpec {
        LimitSpec::of(text.parse().unwrap())
    }

    fn spec(limits: &[LimitSpec]) -> PolicySpec {
        PolicySpec::new(limits).unwrap()
    }

    fn greedy(text: &str) -> LimitSpec {
        LimitSpec { kind: LimitKind::Greedy, ..rate(text) }
    }

    fn policy(limits: &[LimitSpec]) -> Policy {
        spec(limits).policy()
    }

    #[test]
    fn only_specified_parts_of_a_limit_are_compared() {
        let tokens = Unit::named("tokens").unwrap();
        let bucket = LimitSpec { burst: Some(2), ..rate("2/10s") };
        let guarded = LimitSpec { guard: Some(Duration::from_millis(50)), ..greedy("2/10s") };
        let fixed = LimitSpec { kind: LimitKind::FixedWindow, ..rate("2/10s") };
        let first_use = LimitSpec { start: Some(Start::FirstUse), ..fixed };
        let sliding = LimitSpec { kind: LimitKind::SlidingCounter, ..rate("2/10s") };
        let monthly = LimitSpec { kind: LimitKind::CalendarWindow, ..rate("2/month") };
        let of_utc = LimitSpec { zone: Some(Zone::UTC), ..monthly };
        let elsewhere = LimitSpec { zone: Zone::from_words([0x6f69_7243, 0, 0, 0, 0]), ..monthly };
        let of_tokens = LimitSpec { unit: tokens, ..rate("2/10s") };
        for (specified, existing, met) in [
            (rate("2/10s"), bucket, true),
            (rate("1/5s"), bucket, true),
            (rate("3/10s"), bucket, false),
            (rate("2/10s"), guarded, true),
            (rate("1/5s"), guarded, false),
            (rate("2/10s"), first_use, true),
            (rate("2/10s"), sliding, true),
            (rate("2/10s"), of_tokens, false),
            (of_tokens, rate("2/10s"), false),
            (of_tokens, LimitSpec { burst: Some(1), ..of_tokens }, true),
            (bucket, bucket, true),
            (bucket, rate("2/10s"), false),
            (bucket, guarded, false),
            (bucket, LimitSpec { burst: Some(3), ..bucket }, false),
            (LimitSpec { burst: Some(1), ..bucket }, bucket, false),
            (greedy("2/10s"), guarded, true),
            (guarded, greedy("2/10s"), false),
            (greedy("2/10s"), bucket, false),
            (fixed, first_use, true),
            (first_use, fixed, false),
            (first_use, first_use, true),
            (sliding, fixed, false),
            (rate("2/month"), elsewhere, true),
            (monthly, elsewhere, true),
            (of_utc, monthly, true),
            (of_utc, elsewhere, false),
            (elsewhere, elsewhere, true),
            (LimitSpec { kind: LimitKind::CalendarWindow, ..rate("2/week") }, monthly, false),
        ] {
            assert_eq!(spec(&[specified]).is_met_by(&policy(&[existing])), met, "{specified} -> {existing}");
        }
    }

    #[test]
    fn permits_shadow_and_further_limits_are_compared_if_specified() {
        let two = policy(&[rate("5/s"), rate("9/m")]).with_permits(3).unwrap().in_shadow(true);
        let five = spec(&[rate("5/s")]);
        for (specified, met) in vec![
            (five, true),
            (spec(&[rate("5/s"), rate("9/m")]), true),
            (spec(&[rate("9/m")]), false),
            (spec(&[rate("5/s"), rate("9/m"), rate("100/h")]), false),
            (five.with_permits(3).unwrap(), true),
            (five.with_permits(4).unwrap(), false),
            (five.in_shadow(true), true),
            (five.in_shadow(false), false),
            (two.into(), true),
            (two.in_shadow(false).into(), false),
            (policy(&[rate("5/s"), rate("9/m")]).in_shadow(true).into(), false),
            (policy(&[rate("5/s")]).with_permits(3).unwrap().in_shadow(true).into(), false),
        ] {
            assert_eq!(specified.is_met_by(&two), met, "{specified}");
        }
        assert!(!five.with_permits(3).unwrap().is_met_by(&policy(&[rate("5/s")])));
    }

    #[test]
    fn a_spec_of_permits_alone_requires_no_limit() {
        let three = PolicySpec::of_permits(3).unwrap();
        let existing = Policy::of_permits(3).unwrap();
        assert!(three.is_met_by(&existing) && three.is_met_by(&existing.with_max_waiters(9).in_shadow(true)));
        assert!(!three.is_met_by(&Policy::of_permits(4).unwrap()));
        assert!(!three.is_met_by(&policy(&[rate("5/s")]).with_permits(3).unwrap()));
        assert!(!spec(&[rate("5/s")]).is_met_by(&existing));
        let limited = policy(&[rate("5/s")]).with_permits(2).unwrap().with_max_waiters(9);
        assert_eq!(three.applied_to(&limited).unwrap(), existing.with_max_waiters(9));
        let specified = spec(&[rate("5/s")]).with_max_waiters(9);
        assert!(specified.is_met_by(&limited) && !specified.is_met_by(&policy(&[rate("5/s")])));
        assert_eq!(
            (three.to_string(), specified.to_string()),
            ("3 permits and no rate".into(), "5/s, at most 9 waiting".into())
        );
    }

    #[test]
    fn a_whole_limit_specifies_all_its_parts() {
        let existing = policy(&[LimitSpec { guard: Some(Duration::from_millis(50)), ..greedy("2/10s") }]);
        let whole = Limit::greedy("2/10s".parse().unwrap()).unwrap();
        assert!(!PolicySpec::from(whole).is_met_by(&existing));
        // Also as one of several limits of which the others are only partly specified.
        assert!(!spec(&[whole.into()]).is_met_by(&existing));
        let patient = Limit::patient("2/10s".parse().unwrap());
        assert!(
            !spec(&[patient.into()]).is_met_by(&policy(&[LimitSpec { burst: Some(2), ..rate("2/10s") }]))
        );
    }

    #[test]
    fn applying_a_spec_keeps_unspecified_parts() {
        let bucket = LimitSpec { burst: Some(20), ..rate("5/s") };
        let guarded = LimitSpec { guard: Some(Duration::from_millis(50)), ..greedy("5/s") };
        let cairo = LimitSpec {
            kind: LimitKind::CalendarWindow,
            zone: Zone::from_words([0x6f_7269_6143, 0, 0, 0, 0]),
            ..rate("5/day")
        };
        let tokens = LimitSpec { unit: Unit::named("tokens").unwrap(), ..rate("100/m") };
        let two = policy(&[bucket, tokens]).with_permits(3).unwrap().in_shadow(true);
        for (specified, existing, expected) in vec![
            (spec(&[rate("7/s")]), policy(&[bucket]), "7/s with bursts of 20"),
            (spec(&[LimitSpec { burst: Some(1), ..rate("7/s") }]), policy(&[bucket]), "7/s evenly spaced"),
            (spec(&[greedy("7/s")]), policy(&[bucket]), "7/s greedy"),
            (spec(&[rate("7/s")]), policy(&[guarded]), "7/s greedy, guarded by 50ms"),
            (spec(&[rate("7/10ms")]), policy(&[guarded]), "7/10ms greedy, guarded by 10ms"),
            (spec(&[tokens]), policy(&[bucket]), "tokens 100/m with bursts of 100"),
            (spec(&[rate("7/week")]), policy(&[cairo]), "7/week by the calendar of Cairo"),
            (
                spec(&[LimitSpec { zone: Some(Zone::UTC), ..cairo }]),
                policy(&[cairo]),
                "5/day by the calendar of UTC",
            ),
            (
                spec(&[rate("7/s")]),
                two,
                "7/s with bursts of 20 + tokens 100/m with bursts of 100 + at most 3 at a time (shadow)",
            ),
            (
                spec(&[rate("5/s"), LimitSpec { burst: Some(5), ..tokens }])
                    .with_permits(4)
                    .unwrap()
                    .in_shadow(false),
                two,
                "5/s with bursts of 20 + tokens 100/m with bursts of 5 + at most 4 at a time",
            ),
            (
                spec(&[rate("5/s"), rate("9/m")]),
                policy(&[bucket]),
                "5/s with bursts of 20 + 9/m evenly spaced",
            ),
            (policy(&[rate("7/s")]).into(), two, "7/s evenly spaced"),
        ] {
            let changed = specified.applied_to(&existing).unwrap();
            assert_eq!(changed.to_string(), expected);
            assert!(specified.is_met_by(&changed), "{changed}");
        }
        let slow =
            spec(&[rate("1/day")]).applied_to(&policy(&[LimitSpec { burst: Some(5_000), ..rate("5/s") }]));
        assert!(slow.unwrap_err().to_string().contains("ten years"));
    }

    #[test]
    fn a_spec_is_displayed_with_its_specified_parts_only() {
        let tokens = LimitSpec { unit: Unit::named("tokens").unwrap(), ..rate("100/m") };
        for (specified, shown) in [
            (spec(&[rate("5/s")]), "5/s"),
            (spec(&[LimitSpec { burst: Some(1), ..rate("5/s") }]), "5/s with a burst of 1"),
            (
                spec(&[LimitSpec { guard: Some(Duration::from_millis(50)), ..greedy("5/s") }, tokens]),
                "5/s greedy, guarded by 50ms + tokens 100/m",
            ),
            (
                spec(&[LimitSpec { kind: LimitKind::FixedWindow, ..rate("5/s") }]).in_shadow(true),
                "5/s in fixed windows (shadow)",
            ),
            (spec(&[rate("5/s")]).with_permits(2).unwrap(), "5/s + at most 2 at a time"),
            (policy(&[rate("5/s")]).into(), "5/s evenly spaced"),
        ] {
            assert_eq!(specified.to_string(), shown);
        }
    }
}
