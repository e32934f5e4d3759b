//! What a limiter enforces for each key.

use super::{Kind, Limit, LimitSpec, MAX_LIMITS, Start};
use crate::error::{Error, ErrorKind, Result};
use std::fmt;

/// How many bits a key's state has for each count of windows of this length: what the number of the window leaves, up to the year
/// 2116.
pub(crate) fn count_bits(per_ns: u64, counts: u32) -> u32 {
    let numbers = 64 - ((1u64 << 62) / per_ns.max(1)).leading_zeros();
    (64 - numbers) / counts
}

/// What a limiter enforces for each key: up to four limits, which are charged all or none.
///
/// ```
/// # use shm_core::limit::{KeyPolicy, Limit, Policy, Rate};
/// # fn main() -> shm_core::Result<()> {
/// let per_user = KeyPolicy::new(&[
///     Limit::with_burst(Rate::per_second(5)?, 10)?,
///     Limit::sliding_counter(Rate::per_hour(1_000)?)?,
/// ])?;
/// let policy = Policy::from(Limit::patient(Rate::per_second(2_000)?)).with_keys(per_user);
/// assert_eq!(policy.keys().unwrap().limits().count(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyPolicy {
    /// Without gaps: the `Some`s come first. At least one.
    limits: [Option<Limit>; MAX_LIMITS],
    refuses_new: bool,
    hides_names: bool,
}

/// So many limits, in words.
pub(crate) fn limits_text(count: usize) -> String {
    if count == 1 { "1 limit".to_owned() } else { format!("{count} limits") }
}

impl KeyPolicy {
    /// One to four limits for each key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there are no limits or more than four, and for a limit that a key cannot have: see
    /// [`check_limit`](Self::check_limit).
    pub fn new(limits: &[Limit]) -> Result<KeyPolicy> {
        if limits.is_empty() || limits.len() > MAX_LIMITS {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("each key has one to {MAX_LIMITS} limits, not {}", limits.len()),
            ));
        }
        let mut all = [None; MAX_LIMITS];
        for (slot, &limit) in all.iter_mut().zip(limits) {
            KeyPolicy::check_limit(limit)?;
            *slot = Some(limit);
        }
        Ok(KeyPolicy { limits: all, refuses_new: false, hides_names: false })
    }

    /// One limit, unchecked: tests use short windows.
    #[cfg(test)]
    pub(crate) fn of_any(limit: Limit) -> KeyPolicy {
        KeyPolicy { limits: [Some(limit), None, None, None], refuses_new: false, hides_names: false }
    }

    /// Checks that this limit can be one of each key: a bucket, a fixed window, or a sliding counter. The state of a key and limit
    /// is a single word, so a window is at least a second long, and the `max` of a sliding counter is bounded: for a second by
    /// 2^15 − 1, for an hour by 2^21 − 1. The log of a greedy limit does not fit.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`].
    pub fn check_limit(limit: Limit) -> Result<()> {
        let bad = |why: String| Err(Error::new(ErrorKind::InvalidInput, why));
        let max = limit.rate().max();
        let per_ns = limit.rate().per_ns();
        let room = match limit.kind() {
            Kind::Bucket { .. } => return Ok(()),
            Kind::FixedWindow(Start::Epoch) => (1 << count_bits(per_ns, 1)) - 1,
            Kind::SlidingCounter => (1 << count_bits(per_ns, 2)) - 1,
            Kind::Greedy => {
                return bad(format!(
                    "{limit}: a limit per key cannot be greedy, since a key has no room for a log; use a bucket (--burst {max}) or \
                     a sliding counter (--window sliding)"
                ));
            }
            Kind::FixedWindow(Start::FirstUse) | Kind::CalendarWindow { .. } => {
                return bad(format!(
                    "{limit}: windows per key begin at multiples of their length; use fixed windows (--window fixed), or a bucket \
                     (--burst {max})"
                ));
            }
        };
        if per_ns < 1_000_000_000 {
            return bad(format!(
                "{limit}: a window per key is at least a second long; use a bucket (--burst {max})"
            ));
        }
        if max > room {
            return bad(format!(
                "{limit}: a window per key counts at most {room}; use a bucket (--burst {max})"
            ));
        }
        Ok(())
    }

    /// This policy, where a new key is denied if all slots of its row hold keys with a debt. Otherwise, which is the default, the
    /// key that recovers first is forgotten, and the new one inherits its debt.
    #[must_use]
    pub fn refusing_new_keys(self, refuses: bool) -> KeyPolicy {
        KeyPolicy { refuses_new: refuses, ..self }
    }

    /// This policy, where the names of denied keys are not kept in the file. By default a sample of them is, cut at 48 bytes.
    #[must_use]
    pub fn hiding_names(self, hides: bool) -> KeyPolicy {
        KeyPolicy { hides_names: hides, ..self }
    }

    /// The limits of each key, in order.
    pub fn limits(&self) -> impl Iterator<Item = Limit> + Clone + '_ {
        self.limits.iter().map_while(|&limit| limit)
    }

    /// Whether a new key is denied rather than that one is forgotten.
    pub fn refuses_new_keys(&self) -> bool {
        self.refuses_new
    }

    /// Whether the names of denied keys are not kept.
    pub fn hides_names(&self) -> bool {
        self.hides_names
    }

    /// This policy with `limit` in place of limit `index`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there is no such limit, or for a limit that a key cannot have.
    pub fn with_limit(self, index: usize, limit: Limit) -> Result<KeyPolicy> {
        KeyPolicy::check_limit(limit)?;
        let mut limits = self.limits;
        match limits.get_mut(index) {
            Some(slot @ Some(_)) => *slot = Some(limit),
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("each key has {} limits, and no number {}", self.limits().count(), index + 1),
                ));
            }
        }
        Ok(KeyPolicy { limits, ..self })
    }

    /// Whether both policies make the same decisions.
    pub(crate) fn is_equivalent(&self, other: &KeyPolicy) -> bool {
        let (ours, theirs) = (self.limits(), other.limits());
        ours.count() == theirs.count()
            && self.limits().zip(other.limits()).all(|(a, b)| a.is_equivalent(b))
            && (self.refuses_new, self.hides_names) == (other.refuses_new, other.hides_names)
    }

    /// Why a table of keys under this policy cannot go on under `next`; `None` if it can. States of different kinds, or of windows
    /// of different length, can't be compared.
    pub(crate) fn obstacle_to(&self, next: &KeyPolicy) -> Option<String> {
        let (existing, wanted) = (self.limits().count(), next.limits().count());
        if existing != wanted {
            return Some(format!("it was created for {} per key, not for {wanted}", limits_text(existing)));
        }
        let differs = |(a, b): (Limit, Limit)| match (a.kind(), b.kind()) {
            (Kind::Bucket { .. }, Kind::Bucket { .. }) => false,
            (a_kind, b_kind) => a_kind != b_kind || a.rate().per_ns() != b.rate().per_ns(),
        };
        let index = self.limits().zip(next.limits()).position(differs)?;
        Some(format!(
            "the kind and the windows of limit {} per key are fixed, since what its keys have used is counted by them",
            index + 1
        ))
    }
}

impl fmt::Display for KeyPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_per_key(f, self.limits(), Some(self.refuses_new), Some(self.hides_names))
    }
}

fn write_per_key<L: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    limits: impl Iterator<Item = L>,
    refuses_new: Option<bool>,
    hides_names: Option<bool>,
) -> fmt::Result {
    for (i, limit) in limits.enumerate() {
        write!(f, "{}{limit}", if i > 0 { " + " } else { "" })?;
    }
    f.write_str(" per key")?;
    if refuses_new == Some(true) {
        f.write_str(", new keys denied when full")?;
    }
    if hides_names == Some(true) {
        f.write_str(", names hidden")?;
    }
    Ok(())
}

/// Limits per key as a caller specified them: see [`PolicySpec`](super::PolicySpec).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    limits: [Option<LimitSpec>; MAX_LIMITS],
    refuses_new: Option<bool>,
    hides_names: Option<bool>,
    /// Whether everything is specified.
    is_whole: bool,
    /// The specified parts, and the defaults for the others.
    policy: KeyPolicy,
}

impl KeySpec {
    /// These limits of each key. Everything else is unspecified.
    ///
    /// # Errors
    /// As [`KeyPolicy::new`], and for an invalid limit.
    pub fn new(limits: &[LimitSpec]) -> Result<KeySpec> {
        let whole: Vec<Limit> = limits.iter().map(|&limit| Limit::try_from(limit)).collect::<Result<_>>()?;
        let policy = KeyPolicy::new(&whole)?;
        let mut all = [None; MAX_LIMITS];
        for (place, &limit) in all.iter_mut().zip(limits) {
            *place = Some(limit);
        }
        Ok(KeySpec { limits: all, refuses_new: None, hides_names: None, is_whole: false, policy })
    }

    /// The same, also specifying whether new keys are denied rather than that one is forgotten.
    #[must_use]
    pub fn refusing_new_keys(self, refuses: bool) -> KeySpec {
        KeySpec { refuses_new: Some(refuses), policy: self.policy.refusing_new_keys(refuses), ..self }
    }

    /// The same, also specifying whether the names of denied keys are not kept.
    #[must_use]
    pub fn hiding_names(self, hides: bool) -> KeySpec {
        KeySpec { hides_names: Some(hides), policy: self.policy.hiding_names(hides), ..self }
    }

    /// The policy of new limiter.
    pub fn policy(&self) -> KeyPolicy {
        self.policy
    }

    fn specified_limits(&self) -> impl Iterator<Item = LimitSpec> + '_ {
        self.limits.iter().map_while(|&limit| limit)
    }

    pub(super) fn is_met_by(&self, existing: &KeyPolicy) -> bool {
        if self.is_whole {
            return self.policy.is_equivalent(existing);
        }
        let mut others = existing.limits();
        self.specified_limits().all(|limit| others.next().is_some_and(|other| limit.is_met_by(other)))
            && self.refuses_new.is_none_or(|refuses| refuses == existing.refuses_new)
            && self.hides_names.is_none_or(|hides| hides == existing.hides_names)
    }

    pub(super) fn applied_to(&self, existing: &KeyPolicy) -> Result<KeyPolicy> {
        if self.is_whole {
            return Ok(self.policy);
        }
        let mut limits: Vec<Limit> = existing.limits().collect();
        for (index, specified) in self.specified_limits().enumerate() {
            match limits.get_mut(index) {
                Some(limit) => *limit = specified.applied_to(*limit)?,
                None => limits.push(Limit::try_from(specified)?),
            }
        }
        Ok(KeyPolicy::new(&limits)?
            .refusing_new_keys(self.refuses_new.unwrap_or(existing.refuses_new))
            .hiding_names(self.hides_names.unwrap_or(existing.hides_names)))
    }
}

impl From<KeyPolicy> for KeySpec {
    fn from(policy: KeyPolicy) -> KeySpec {
        KeySpec {
            limits: policy.limits.map(|limit| limit.map(LimitSpec::from)),
            refuses_new: Some(policy.refuses_new),
            hides_names: Some(policy.hides_names),
            is_whole: true,
            policy,
        }
    }
}

impl fmt::Display for KeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole {
            return self.policy.fmt(f);
        }
        write_per_key(f, self.specified_limits(), self.refuses_new, self.hides_names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Calendar, Rate, Zone};

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn a_key_has_limits_whose_state_is_one_word() {
        let fixed = |text| Limit::fixed_window(rate(text), Start::Epoch).unwrap();
        let sliding = |text| Limit::sliding_counter(rate(text)).unwrap();
        for limit in [Limit::patient(rate("5/s")), fixed("1000000000/s"), sliding("32767/1s")] {
            assert!(KeyPolicy::new(&[limit]).is_ok(), "{limit}");
        }
        for (limit, remedy) in [
            (Limit::greedy(rate("5/s")).unwrap(), "--burst 5"),
            (Limit::fixed_window(rate("5/s"), Start::FirstUse).unwrap(), "--window fixed"),
            (Limit::calendar_window(5, Calendar::Day, Zone::UTC).unwrap(), "--window fixed"),
            (sliding("2097152/h"), "at most 2097151"),
            (fixed("5/100ms"), "at least a second"),
        ] {
            let e = KeyPolicy::new(&[limit]).unwrap_err();
            assert!(e.kind() == ErrorKind::InvalidInput && e.to_string().contains(remedy), "{e}");
        }
        assert!(KeyPolicy::new(&[]).is_err() && KeyPolicy::new(&[fixed("5/s"); 5]).is_err());
    }

    #[test]
    fn only_what_is_specified_is_compared() {
        let existing = KeyPolicy::new(&[Limit::with_burst(rate("5/s"), 9).unwrap()]).unwrap();
        let spec = KeySpec::new(&[LimitSpec::of(rate("5/s"))]).unwrap();
        assert!(spec.is_met_by(&existing.refusing_new_keys(true)));
        assert!(!spec.refusing_new_keys(true).is_met_by(&existing));
        assert!(!spec.hiding_names(true).is_met_by(&existing));
        assert!(!KeySpec::from(spec.policy()).is_met_by(&existing));
        assert!(KeySpec::from(existing).is_met_by(&existing));
        let faster = KeySpec::new(&[LimitSpec::of(rate("7/s"))]).unwrap().hiding_names(true);
        let applied = faster.applied_to(&existing).unwrap();
        assert_eq!(applied.to_string(), "7/s with bursts of 9 per key, names hidden");
        assert_eq!(spec.refusing_new_keys(true).to_string(), "5/s per key, new keys denied when full");
    }

    #[test]
    fn a_table_keeps_its_kinds_and_windows() {
        let policy = |limit| KeyPolicy::new(&[limit]).unwrap();
        let bucket = policy(Limit::patient(rate("5/s")));
        let minute = policy(Limit::sliding_counter(rate("5/m")).unwrap());
        let hour = policy(Limit::sliding_counter(rate("5/h")).unwrap());
        assert_eq!(bucket.obstacle_to(&policy(Limit::with_burst(rate("9/h"), 3).unwrap())), None);
        assert_eq!(minute.obstacle_to(&policy(Limit::sliding_counter(rate("9/m")).unwrap())), None);
        let two = KeyPolicy::new(&[Limit::patient(rate("5/s")); 2]).unwrap();
        for (from, to) in [(bucket, minute), (minute, hour), (bucket, two), (two, bucket)] {
            assert!(from.obstacle_to(&to).is_some(), "{from} to {to}");
        }
    }
}
