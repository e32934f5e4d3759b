//! The flags by which `create` makes a policy: the other direction of `args`.

use shm_lib::limit::{LimitKind, LimitSpec, format_span};
use shm_lib::{Limit, Policy, Start, Zone};
use std::fmt::Write;

/// The flags, each with a space before it; `None` if only a file can state this policy.
pub(crate) fn of(policy: &Policy) -> Option<String> {
    let mut flags = String::new();
    match policy.keys() {
        None => policy.limits().for_each(|limit| flags += &of_limit(limit)),
        Some(keys) => {
            flags += " --keyed";
            keys.limits().for_each(|limit| flags += &of_limit(limit));
            let mut of_all = policy.limits();
            if let Some(limit) = of_all.next() {
                flags += &of_all_keys(limit)?;
            }
            if of_all.next().is_some() {
                return None;
            }
            for (flag, is_set) in
                [(" --refuse-new-keys", keys.refuses_new_keys()), (" --hide-names", keys.hides_names())]
            {
                flags += if is_set { flag } else { "" };
            }
        }
    }
    if let Some(n) = policy.permits() {
        let _ = write!(flags, " --permits {n}");
    }
    if let Some(n) = policy.max_waiters() {
        let _ = write!(flags, " --max-waiters {n}");
    }
    flags += if policy.is_shadow() { " --shadow" } else { "" };
    Some(flags)
}

fn of_limit(limit: Limit) -> String {
    let LimitSpec { rate, kind, burst, start, zone, guard, unit } = limit.into();
    let mut flags = format!(" --rate {rate}");
    match kind {
        LimitKind::Greedy => flags += " --greedy",
        LimitKind::FixedWindow if start == Some(Start::FirstUse) => flags += " --window first-use",
        LimitKind::FixedWindow => flags += " --window fixed",
        LimitKind::CalendarWindow => flags += " --window calendar",
        LimitKind::SlidingCounter => flags += " --window sliding",
        _ => {}
    }
    let default_burst = if unit.is_calls() { 1 } else { rate.max() };
    if let Some(burst) = burst.filter(|&burst| burst != default_burst) {
        let _ = write!(flags, " --burst {burst}");
    }
    if let Some(zone) = zone.filter(|&zone| zone != Zone::UTC) {
        let _ = write!(flags, " --zone {zone}");
    }
    if let Some(guard) = guard.filter(|guard| !guard.is_zero()) {
        let _ = write!(flags, " --guard {}", format_span(guard));
    }
    if !unit.is_calls() {
        let _ = write!(flags, " --unit {unit}");
    }
    flags
}

/// The flags of a limit of all keys, if it is a bucket of calls.
fn of_all_keys(limit: Limit) -> Option<String> {
    let LimitSpec { rate, kind, burst, unit, .. } = limit.into();
    let burst = match burst {
        Some(1) | None => String::new(),
        Some(burst) => format!(" --all-burst {burst}"),
    };
    (kind == LimitKind::Bucket && unit.is_calls()).then(|| format!(" --all-rate {rate}{burst}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;

    /// The policy that `create` would make of these flags.
    fn policy(flags: &str) -> Policy {
        let words = ["shm-limit", "create", "x"].into_iter().chain(flags.split_whitespace());
        match Args::try_parse_from(words).unwrap_or_else(|e| panic!("{e}")).command {
            Command::Create(create) => create.flags.policy().unwrap().unwrap().policy(),
            _ => unreachable!(),
        }
    }

    #[test]
    fn the_flags_make_the_same_policy_again() {
        for flags in [
            " --rate 5/s",
            " --rate 5/s --burst 9 --permits 2 --max-waiters 0 --shadow",
            " --rate 500/m --greedy --guard 50ms --rate 200000/m --unit tokens",
            " --rate 500/m --window first-use --rate 5/m --burst 2 --unit tokens",
            " --rate 9/day --window calendar --zone Europe/Berlin --rate 5/h --window sliding",
            " --rate 9/month --window calendar --rate 5/h --window fixed",
            " --permits 3",
            " --keyed --rate 5/s --burst 10 --rate 1000/h --window sliding",
            " --keyed --rate 5/m --window fixed --all-rate 2000/s --all-burst 100 --refuse-new-keys --hide-names",
            " --keyed --rate 5/s --all-rate 9/s --permits 3 --shadow",
        ] {
            let made = policy(flags);
            assert_eq!(of(&made).as_deref(), Some(flags), "{made}");
        }
    }

    #[test]
    fn only_a_file_can_state_several_limits_of_all_keys() {
        let keyed = *policy(" --keyed --rate 5/s").keys().unwrap();
        for of_all in [" --rate 5/s --rate 9/m", " --rate 5/s --greedy", " --rate 5/s --unit bytes"] {
            assert_eq!(of(&policy(of_all).with_keys(keyed)), None, "{of_all}");
        }
    }
}
