//! The command that turns an existing limiter into the requested one.

use crate::limit::{Kind, Limit, Policy, PolicySpec};
use crate::name::Name;

/// The remedy for a mismatch: a `shm-limit set` command with what differs from `existing`, or a new limiter if `room`
/// finds that the file is too small.
pub(super) fn remedy(
    name: &Name,
    existing: &Policy,
    asked: &PolicySpec,
    room: impl Fn(&Policy) -> Result<(), String>,
) -> String {
    let name = name.shell_word();
    let wanted = asked.applied_to(existing).unwrap_or(asked.policy());
    if let Err(why) = room(&wanted) {
        return format!(
            "its file has no room for the requested policy ({why}); to get that policy, replace the limiter: shm-limit \
             create {name} --replace, with all its settings"
        );
    }
    let flags = match (existing.limits().count(), wanted.limits().count()) {
        (a, b) if a == b => flags(existing, &wanted),
        (_, 0) => flags(existing, &wanted).map(|flags| format!(" --no-rate{flags}")),
        (0, 1) => first_rate(&wanted).zip(flags(existing, &wanted)).map(|(rate, flags)| rate + &flags),
        _ => None,
    };
    let flags = flags.unwrap_or_else(|| " --from FILE".to_owned());
    format!("to change it for every process: shm-limit set {name}{flags}")
}

/// Flags for one `set` command, which can change rate and burst of one limit, permits, waiters and shadow. `None` if
/// that is not enough.
fn flags(existing: &Policy, asked: &Policy) -> Option<String> {
    let mut flags = String::new();
    let mut different =
        existing.limits().zip(asked.limits()).enumerate().filter(|(_, (a, b))| !a.is_equivalent(*b));
    if let Some((index, (existing, asked))) = different.next() {
        flags += &pace(existing, asked)?;
        if index > 0 {
            flags += &format!(" --limit {}", index + 1);
        }
    }
    if different.next().is_some() {
        return None;
    }
    match (existing.permits(), asked.permits()) {
        (a, b) if a == b => {}
        (_, Some(n)) => flags += &format!(" --permits {n}"),
        (_, None) => flags += " --no-permits",
    }
    match (existing.max_waiters(), asked.max_waiters()) {
        (a, b) if a == b => {}
        (_, Some(n)) => flags += &format!(" --max-waiters {n}"),
        (_, None) => flags += " --no-max-waiters",
    }
    match (existing.is_shadow(), asked.is_shadow()) {
        (false, true) => flags += " --shadow",
        (true, false) => flags += " --no-shadow",
        _ => {}
    }
    Some(flags)
}

/// The flags that add this limit to a limiter without limits, if it is a bucket of calls.
fn first_rate(asked: &Policy) -> Option<String> {
    let limit = asked.first().filter(|limit| limit.unit().is_calls())?;
    matches!(limit.kind(), Kind::Bucket { .. })
        .then(|| format!(" --rate {} --burst {}", limit.rate(), limit.burst()))
}

/// The flags for a different rate and burst; `None` if anything else differs.
fn pace(existing: Limit, asked: Limit) -> Option<String> {
    let both_buckets = matches!((existing.kind(), asked.kind()), (Kind::Bucket { .. }, Kind::Bucket { .. }));
    let same_kind = both_buckets || existing.kind() == asked.kind();
    if !same_kind || existing.unit() != asked.unit() || existing.guard() != asked.guard() {
        return None;
    }
    let mut flags = String::new();
    if existing.rate() != asked.rate() {
        flags += &format!(" --rate {}", asked.rate());
    }
    if both_buckets && existing.burst() != asked.burst() {
        flags += &format!(" --burst {}", asked.burst());
    }
    Some(flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{LimitSpec, Unit};

    fn bucket(rate: &str, burst: u64) -> Limit {
        Limit::with_burst(rate.parse().unwrap(), burst).unwrap()
    }

    #[test]
    #[expect(clippy::large_stack_arrays, reason = "a table of policies")]
    fn the_remedy_contains_only_what_differs() {
        let one = Policy::from(bucket("5/s", 1));
        let permits = Policy::of_permits(4).unwrap();
        let two = Policy::new(&[bucket("5/s", 1), bucket("9/m", 2)]).unwrap();
        let greedy = Limit::greedy("5/s".parse().unwrap()).unwrap();
        let bytes = bucket("5/s", 1).counting(Unit::named("bytes").unwrap());
        let seven = PolicySpec::new(&[LimitSpec::of("7/s".parse().unwrap())]).unwrap();
        let cases = [
            (one, bucket("7/s", 3).into(), "set x --rate 7/s --burst 3"),
            (one, bucket("5/s", 3).into(), "set x --burst 3"),
            (one, one.with_permits(4).unwrap().into(), "set x --permits 4"),
            (one.with_permits(4).unwrap(), one.into(), "set x --no-permits"),
            (one, one.with_max_waiters(9).into(), "set x --max-waiters 9"),
            (one.with_max_waiters(9), one.into(), "set x --no-max-waiters"),
            (permits, Policy::of_permits(3).unwrap().into(), "set x --permits 3"),
            (permits, one.with_permits(4).unwrap().into(), "set x --rate 5/s --burst 1"),
            (permits, one.into(), "set x --rate 5/s --burst 1 --no-permits"),
            (permits, greedy.into(), "set x --from FILE"),
            (one.with_permits(4).unwrap(), permits.into(), "set x --no-rate"),
            (one, permits.into(), "set x --no-rate --permits 4"),
            (one, one.in_shadow(true).into(), "set x --shadow"),
            (one.in_shadow(true), bucket("7/s", 1).into(), "set x --rate 7/s --no-shadow"),
            (
                two,
                Policy::new(&[bucket("5/s", 1), bucket("8/m", 3)]).unwrap().into(),
                "set x --rate 8/m --burst 3 --limit 2",
            ),
            // Unspecified settings are kept.
            (two.with_permits(3).unwrap().in_shadow(true), seven, "set x --rate 7/s"),
            (bucket("5/s", 4).into(), seven, "set x --rate 7/s"),
            (two, one.into(), "set x --from FILE"),
            (one, greedy.into(), "set x --from FILE"),
            (one, bytes.into(), "set x --from FILE"),
            (greedy.into(), Limit::greedy("6/s".parse().unwrap()).unwrap().into(), "set x --rate 6/s"),
        ];
        let name = Name::new("x").unwrap();
        for (existing, asked, expected) in cases {
            let message = remedy(&name, &existing, &asked, |_| Ok(()));
            assert_eq!(
                message,
                format!("to change it for every process: shm-limit {expected}"),
                "{existing} -> {asked}"
            );
        }
        let message = remedy(&name, &one, &greedy.into(), |_| Err("it is small".into()));
        assert!(
            message.contains("no room")
                && message.contains("it is small")
                && message.contains("create x --replace"),
            "{message}"
        );
    }
}
