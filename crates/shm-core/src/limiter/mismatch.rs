//! The command that makes a limiter what was asked for, in place of what it is.

use crate::limit::{Kind, Limit, Policy};
use crate::name::Name;
use crate::segment::shell_word;

/// `shm-limit set`, with what has to be changed in `there` for `asked`.
pub(super) fn remedy(name: &Name, there: &Policy, asked: &Policy) -> String {
    let flags = match (there.limits().count(), asked.limits().count()) {
        (a, b) if a == b => flags(there, asked),
        (_, 0) => flags(there, asked).map(|flags| format!(" --no-rate{flags}")),
        (0, 1) => first_rate(asked).zip(flags(there, asked)).map(|(rate, flags)| rate + &flags),
        _ => None,
    };
    let flags = flags.unwrap_or_else(|| " --from FILE".to_owned());
    format!("shm-limit set {}{flags}", shell_word(name))
}

/// `None` where flags can't do it: one `set` changes rate and burst of one limit, and permits and shadow.
fn flags(there: &Policy, asked: &Policy) -> Option<String> {
    let mut flags = String::new();
    let mut different =
        there.limits().zip(asked.limits()).enumerate().filter(|(_, (a, b))| !a.is_equivalent(*b));
    if let Some((index, (there, asked))) = different.next() {
        flags += &pace(there, asked)?;
        if index > 0 {
            flags += &format!(" --limit {}", index + 1);
        }
    }
    if different.next().is_some() {
        return None;
    }
    match (there.permits(), asked.permits()) {
        (a, b) if a == b => {}
        (_, Some(n)) => flags += &format!(" --permits {n}"),
        (_, None) => flags += " --no-permits",
    }
    match (there.max_waiters(), asked.max_waiters()) {
        (a, b) if a == b => {}
        (_, Some(n)) => flags += &format!(" --max-waiters {n}"),
        (_, None) => flags += " --no-max-waiters",
    }
    match (there.is_shadow(), asked.is_shadow()) {
        (false, true) => flags += " --shadow",
        (true, false) => flags += " --no-shadow",
        _ => {}
    }
    Some(flags)
}

/// The rate and burst that give a limiter without a limit this one, if it is a bucket of calls.
fn first_rate(asked: &Policy) -> Option<String> {
    let limit = asked.first().filter(|limit| limit.unit().is_calls())?;
    matches!(limit.kind(), Kind::Bucket { .. }).then(|| pace(limit, limit))?
}

/// Rate and burst, if that is all that differs.
fn pace(there: Limit, asked: Limit) -> Option<String> {
    let burst = |limit: Limit| match limit.kind() {
        Kind::Bucket { .. } => format!(" --burst {}", limit.burst()),
        _ => String::new(),
    };
    let same_kind = match (there.kind(), asked.kind()) {
        (Kind::Bucket { .. }, Kind::Bucket { .. }) => true,
        (a, b) => a == b,
    };
    let same = same_kind && there.unit() == asked.unit() && there.guard() == asked.guard();
    same.then(|| format!(" --rate {}{}", asked.rate(), burst(asked)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Unit;

    fn bucket(rate: &str, burst: u64) -> Limit {
        Limit::with_burst(rate.parse().unwrap(), burst).unwrap()
    }

    #[test]
    fn the_remedy_names_what_differs_and_nothing_else() {
        let one = Policy::from(bucket("5/s", 1));
        let permits = Policy::of_permits(4).unwrap();
        let two = Policy::new(&[bucket("5/s", 1), bucket("9/m", 2)]).unwrap();
        let greedy = Limit::greedy("5/s".parse().unwrap()).unwrap();
        let bytes = bucket("5/s", 1).counting(Unit::named("bytes").unwrap());
        let cases = [
            (one, bucket("7/s", 3).into(), "set x --rate 7/s --burst 3"),
            (one, one.with_permits(4).unwrap(), "set x --permits 4"),
            (one.with_permits(4).unwrap(), one, "set x --no-permits"),
            (one, one.with_max_waiters(9), "set x --max-waiters 9"),
            (one.with_max_waiters(9), one, "set x --no-max-waiters"),
            (permits, Policy::of_permits(3).unwrap(), "set x --permits 3"),
            (permits, one.with_permits(4).unwrap(), "set x --rate 5/s --burst 1"),
            (permits, one, "set x --rate 5/s --burst 1 --no-permits"),
            (permits, greedy.into(), "set x --from FILE"),
            (one.with_permits(4).unwrap(), permits, "set x --no-rate"),
            (one, permits, "set x --no-rate --permits 4"),
            (one, one.in_shadow(true), "set x --shadow"),
            (one.in_shadow(true), bucket("7/s", 1).into(), "set x --rate 7/s --burst 1 --no-shadow"),
            (
                two,
                Policy::new(&[bucket("5/s", 1), bucket("8/m", 2)]).unwrap(),
                "set x --rate 8/m --burst 2 --limit 2",
            ),
            (two, one, "set x --from FILE"),
            (one, greedy.into(), "set x --from FILE"),
            (one, bytes.into(), "set x --from FILE"),
            (greedy.into(), Limit::greedy("6/s".parse().unwrap()).unwrap().into(), "set x --rate 6/s"),
        ];
        let name = Name::new("x").unwrap();
        for (there, asked, expected) in cases {
            assert_eq!(remedy(&name, &there, &asked), format!("shm-limit {expected}"), "{there} -> {asked}");
        }
    }
}
