//! The command that turns an existing limiter into the requested one.

use crate::limit::{KeyPolicy, Kind, Limit, Policy, PolicySpec};

/// The remedy for a mismatch, beginning with a verb: a `shm-limit set` command with what differs from `existing`, or a new limiter
/// if `room` finds that the file cannot be used for the requested policy. `shell` is the limiter's name as a word of a shell
/// command, and the option that leads to its directory.
pub(super) fn remedy(
    (name, in_dir): (&str, &str),
    existing: &Policy,
    asked: &PolicySpec,
    room: impl Fn(&Policy) -> Result<(), String>,
) -> String {
    if existing.keys().is_some() && asked.policy().keys().is_none() {
        return format!(
            "to limit each key, add --keyed (a program: KeyedRateLimit); to limit all requests together, replace the limiter: \
             shm-limit create {name} --replace{in_dir}, with all its settings"
        );
    }
    let wanted = asked.applied_to(existing).unwrap_or(asked.policy());
    if let Err(why) = room(&wanted) {
        let keyed = if wanted.keys().is_some() { " --keyed" } else { "" };
        return format!(
            "its file cannot be used for the requested policy ({why}); to get that policy, replace the limiter: shm-limit \
             create {name} --replace{keyed}{in_dir}, with all its settings"
        );
    }
    let flags = set_flags(existing, &wanted).unwrap_or_else(|| " --from FILE".to_owned());
    format!("to change it for every process: shm-limit set {name}{flags}{in_dir}")
}

/// The names of the flags that change the limits of all requests: with limits per key, those have the plain names.
struct Names {
    rate: &'static str,
    burst: &'static str,
    limit: &'static str,
    no_rate: &'static str,
}

const PLAIN: Names = Names { rate: "--rate", burst: "--burst", limit: "--limit", no_rate: "--no-rate" };
const OF_ALL: Names =
    Names { rate: "--all-rate", burst: "--all-burst", limit: "--all-limit", no_rate: "--no-all-rate" };

/// Flags for one `set` command, which can change rate and burst of one limit, the zone, permits, waiters and shadow; with limits
/// per key, those of one of them, too. `None` if that is not enough.
fn set_flags(existing: &Policy, wanted: &Policy) -> Option<String> {
    let (of_keys, names) = match (existing.keys(), wanted.keys()) {
        (Some(existing), Some(wanted)) => (key_flags(existing, wanted)?, &OF_ALL),
        _ => (String::new(), &PLAIN),
    };
    let of_all = match (existing.limits().count(), wanted.limits().count()) {
        (a, b) if a == b => changed_limit(existing.limits().zip(wanted.limits()), names)?,
        (_, 0) => format!(" {}", names.no_rate),
        (0, 1) => first_rate(wanted, names)?,
        _ => return None,
    };
    Some(of_keys + &of_all + &other_flags(existing, wanted))
}

/// The flags for what differs between limits per key.
fn key_flags(existing: &KeyPolicy, wanted: &KeyPolicy) -> Option<String> {
    let mut flags = changed_limit(existing.limits().zip(wanted.limits()), &PLAIN)?;
    match (existing.refuses_new_keys(), wanted.refuses_new_keys()) {
        (false, true) => flags += " --refuse-new-keys",
        (true, false) => flags += " --no-refuse-new-keys",
        _ => {}
    }
    match (existing.hides_names(), wanted.hides_names()) {
        (false, true) => flags += " --hide-names",
        (true, false) => flags += " --no-hide-names",
        _ => {}
    }
    Some(flags)
}

/// The flags for the one limit that differs; `None` if several do.
fn changed_limit(pairs: impl Iterator<Item = (Limit, Limit)>, names: &Names) -> Option<String> {
    let mut different = pairs.enumerate().filter(|(_, (a, b))| !a.is_equivalent(*b));
    let Some((index, (existing, wanted))) = different.next() else { return Some(String::new()) };
    let mut flags = pace(existing, wanted, names)?;
    // A zone is one of the limiter, and needs no number.
    if index > 0 && [names.rate, names.burst].iter().any(|flag| flags.contains(flag)) {
        flags += &format!(" {} {}", names.limit, index + 1);
    }
    different.next().is_none().then_some(flags)
}

fn other_flags(existing: &Policy, wanted: &Policy) -> String {
    let mut flags = String::new();
    match (existing.permits(), wanted.permits()) {
        (a, b) if a == b => {}
        (_, Some(n)) => flags += &format!(" --permits {n}"),
        (_, None) => flags += " --no-permits",
    }
    match (existing.max_waiters(), wanted.max_waiters()) {
        (a, b) if a == b => {}
        (_, Some(n)) => flags += &format!(" --max-waiters {n}"),
        (_, None) => flags += " --no-max-waiters",
    }
    match (existing.is_shadow(), wanted.is_shadow()) {
        (false, true) => flags += " --shadow",
        (true, false) => flags += " --no-shadow",
        _ => {}
    }
    flags
}

/// The flags that add this limit to a limiter without limits, if it is a bucket of calls.
fn first_rate(wanted: &Policy, names: &Names) -> Option<String> {
    let limit = wanted.first().filter(|limit| limit.unit().is_calls())?;
    matches!(limit.kind(), Kind::Bucket { .. })
        .then(|| format!(" {} {} {} {}", names.rate, limit.rate(), names.burst, limit.burst()))
}

/// The flags for a different rate and burst; `None` if anything else differs.
fn pace(existing: Limit, asked: Limit, names: &Names) -> Option<String> {
    let both_buckets = matches!((existing.kind(), asked.kind()), (Kind::Bucket { .. }, Kind::Bucket { .. }));
    let zones = match (existing.kind(), asked.kind()) {
        (Kind::CalendarWindow { zone: a, .. }, Kind::CalendarWindow { zone: b, .. }) => Some((a, b)),
        _ => None,
    };
    let same_kind = both_buckets || zones.is_some() || existing.kind() == asked.kind();
    if !same_kind || existing.unit() != asked.unit() || existing.guard() != asked.guard() {
        return None;
    }
    let mut flags = String::new();
    if existing.rate() != asked.rate() {
        flags += &format!(" {} {}", names.rate, asked.rate());
    }
    if both_buckets && existing.burst() != asked.burst() {
        flags += &format!(" {} {}", names.burst, asked.burst());
    }
    if let Some((_, zone)) = zones.filter(|(a, b)| a != b) {
        flags += &format!(" --zone {zone}");
    }
    Some(flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Calendar, KeySpec, LimitSpec, Unit, Zone};

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
        let calendar = |max, period, zone| Limit::calendar_window(max, period, zone).unwrap();
        let monthly = calendar(5, Calendar::Month, Zone::UTC);
        let tokyo = Zone::from_words([0x6b6f_542f_6169_7341, 0x6f79, 0, 0, 0]).unwrap();
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
            (monthly.into(), calendar(7, Calendar::Week, Zone::UTC).into(), "set x --rate 7/week"),
            (monthly.into(), calendar(5, Calendar::Month, tokyo).into(), "set x --zone Asia/Tokyo"),
            (monthly.into(), greedy.into(), "set x --from FILE"),
            (greedy.into(), Limit::greedy("6/s".parse().unwrap()).unwrap().into(), "set x --rate 6/s"),
        ];
        for (existing, asked, expected) in cases {
            let message = remedy(("x", ""), &existing, &asked, |_| Ok(()));
            assert_eq!(
                message,
                format!("to change it for every process: shm-limit {expected}"),
                "{existing} -> {asked}"
            );
        }
        let message = remedy(("x", ""), &one, &greedy.into(), |_| Err("it is small".into()));
        assert!(
            message.contains("cannot be used")
                && message.contains("it is small")
                && message.contains("create x --replace"),
            "{message}"
        );
    }

    #[test]
    fn limits_per_key_are_changed_by_the_plain_flags_and_those_of_all_keys_by_others() {
        let keys = |rate: &str, burst| KeyPolicy::new(&[bucket(rate, burst)]).unwrap();
        let (five, hidden) = (keys("5/s", 1), keys("5/s", 1).hiding_names(true));
        let of = |keys| Policy::of_keys(keys);
        let both = |all: Limit, keys| Policy::from(all).with_keys(keys);
        let two = KeyPolicy::new(&[bucket("5/s", 1), bucket("9/m", 2)]).unwrap();
        let slower = KeyPolicy::new(&[bucket("5/s", 1), bucket("8/m", 2)]).unwrap();
        let partly = KeySpec::new(&[LimitSpec::of("7/s".parse().unwrap())]).unwrap();
        let cases: Vec<(Policy, PolicySpec, &str)> = vec![
            (of(five), of(keys("7/s", 3)).into(), "set x --rate 7/s --burst 3"),
            (of(two), of(slower).into(), "set x --rate 8/m --limit 2"),
            (of(five), of(five.refusing_new_keys(true)).into(), "set x --refuse-new-keys"),
            (of(five.refusing_new_keys(true)), of(five).into(), "set x --no-refuse-new-keys"),
            (of(five), of(hidden).into(), "set x --hide-names"),
            (of(hidden), of(five).into(), "set x --no-hide-names"),
            (of(five), both(bucket("9/s", 2), five).into(), "set x --all-rate 9/s --all-burst 2"),
            (both(bucket("9/s", 2), five), of(five).into(), "set x --no-all-rate"),
            (
                both(bucket("9/s", 2), five),
                both(bucket("8/s", 2), keys("6/s", 1)).into(),
                "set x --rate 6/s --all-rate 8/s",
            ),
            (both(bucket("9/s", 2), five), PolicySpec::of_keys(partly), "set x --rate 7/s"),
            (of(five), of(five).with_permits(3).unwrap().into(), "set x --permits 3"),
        ];
        for (existing, asked, expected) in cases {
            let message = remedy(("x", " --dir /d"), &existing, &asked, |_| Ok(()));
            let all = format!("to change it for every process: shm-limit {expected} --dir /d");
            assert_eq!(message, all, "{existing} -> {asked}");
        }
        let plain = remedy(("x", ""), &of(five), &bucket("5/s", 1).into(), |_| Ok(()));
        assert!(plain.contains("add --keyed") && plain.contains("create x --replace,"), "{plain}");
        let keyed = remedy(("x", ""), &bucket("5/s", 1).into(), &of(five).into(), |_| Err("no".into()));
        assert!(keyed.contains("create x --replace --keyed,"), "{keyed}");
    }
}
